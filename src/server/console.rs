//! `/console/`: the files of the console, compiled into the program.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::answer::{self, Reply};

/// The content security policy. The page may run and show what this broker serves, and may connect
/// to this broker. Nothing that is stored in the tree can become a script or a style of the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The names and texts of the page's files, and of the JavaScript client that the page uses. A file
/// that is named here but missing does not compile; a file that exists but is not named here fails
/// a test.
macro_rules! files {
    ($folder:literal, $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!($folder, $name)))),*]
    };
}

const PAGE: &[(&str, &str)] = files![
    "../console/",
    "banner.js",
    "base.css",
    "branch.js",
    "changes.js",
    "chart.js",
    "dialog.js",
    "dom.js",
    "drafts.js",
    "entry.js",
    "format.js",
    "health.js",
    "hex.js",
    "index.html",
    "keys.js",
    "link.js",
    "main.js",
    "mark.svg",
    "panels.css",
    "paths.js",
    "pretty.js",
    "previews.js",
    "rows.js",
    "search.js",
    "sessions.js",
    "spell.js",
    "stats.js",
    "tabs.js",
    "theme.js",
    "tree-view.js",
    "tree.css",
    "tree.js",
    "turn.js",
    "twigs.js",
    "write.js",
];

const CLIENT: &[(&str, &str)] = files![
    "../../clients/js/src/",
    "backoff.js",
    "blake2s.js",
    "changes.js",
    "client.js",
    "codes.js",
    "copy.js",
    "errors.js",
    "gaps.js",
    "holder.js",
    "index.js",
    "json-text.js",
    "json.js",
    "keep-indexeddb.js",
    "line.js",
    "live.js",
    "mirror.js",
    "msgpack.js",
    "options.js",
    "protocol/digests.js",
    "protocol/frames.js",
    "protocol/kinds.js",
    "protocol/log-keys.js",
    "protocol/paths.js",
    "protocol/patterns.js",
    "protocol/texts.js",
    "protocol/values.js",
    "protocol/views.js",
    "request.js",
    "room.js",
    "session/asked.js",
    "session/effects.js",
    "session/mirrors.js",
    "session/requests.js",
    "session/session.js",
    "session/subs.js",
    "snapshot.js",
    "sorted.js",
    "token.js",
    "transact.js",
    "transport.js",
];

/// Returns the file at `/console` + `rest`.
pub(super) fn file(rest: &str) -> Option<Reply> {
    if rest.is_empty() {
        let mut reply = answer::text(StatusCode::PERMANENT_REDIRECT, "/console/\n");
        reply.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/console/"));
        return Some(reply);
    }
    let name = rest.strip_prefix('/')?;
    let (name, files) = match name.strip_prefix("onetree/") {
        Some(name) => (name, CLIENT),
        None if name.is_empty() => ("index.html", PAGE),
        None => (name, PAGE),
    };
    let (name, text) = files.iter().find(|(known, _)| *known == name)?;
    let mut reply = answer::of(kind(name), Bytes::from_static(text.as_bytes()));
    for (header, value) in [
        ("content-security-policy", POLICY),
        ("cross-origin-opener-policy", "same-origin"),
        // Let the browser ask each time: another version of the broker has another page.
        ("cache-control", "no-cache"),
    ] {
        reply.headers_mut().insert(header, HeaderValue::from_static(value));
    }
    Some(reply)
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    /// Returns the names of all files below `folder` that a browser can run, relative to `folder`.
    fn below(folder: &str) -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut found = BTreeSet::new();
        let mut folders: Vec<PathBuf> = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !std::fs::read_to_string(&path).unwrap().contains("'node:") {
                    found.insert(path.strip_prefix(&root).unwrap().display().to_string());
                }
            }
        }
        found
    }

    fn named(files: &[(&str, &str)]) -> BTreeSet<String> {
        files.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    #[test]
    fn every_file_of_the_page_and_of_the_client_is_compiled_in() {
        assert_eq!(named(PAGE), below("src/console"));
        assert_eq!(named(CLIENT), below("clients/js/src"));
    }

    #[test]
    fn no_script_and_no_style_stands_in_the_page() {
        for (name, text) in PAGE.iter().filter(|(name, _)| name.ends_with(".html")) {
            for (place, _) in text.match_indices("<script") {
                assert!(text[place..].starts_with("<script type=\"module\" src="), "{name}");
            }
            assert!(!text.contains("<style") && !text.contains(" style="), "{name}");
            assert!(!text.contains(" onclick="), "{name}");
        }
    }
}
