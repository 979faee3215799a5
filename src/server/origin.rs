//! Checks which web pages may connect.

use std::net::{IpAddr, SocketAddr};

use hyper::Uri;
use hyper::header::{self, HeaderMap};

use super::answer::{echoed, value};

/// Checks whether a request other than a WebSocket may be answered with information about the
/// broker. An error says why not.
///
/// Browsers send no origin when a page requests something from its own server. So the host has to
/// reveal a name that was made to point here (DNS rebinding): it must be the broker's own address,
/// as in [`allowed`], or that of a configured origin. If there is an origin, it must be allowed; if
/// there is none, the request must not come from another site, as far as the browser says so.
pub(super) fn admits(
    headers: &HeaderMap,
    local: SocketAddr,
    configured: &[String],
) -> Result<(), String> {
    let host = value(headers, header::HOST);
    let known = host.is_some_and(|host| {
        let names = configured.iter().filter_map(|origin| origin.split_once("://"));
        is_own(host, local.port())
            || names.into_iter().any(|(_, name)| name.eq_ignore_ascii_case(host))
    });
    if !known {
        let host = echoed(host.unwrap_or("no host"));
        return Err(format!(
            "this broker is not known as {host}; ask for its address, or add the origin to 'origins' \
             in the configuration"
        ));
    }
    if let Some(page) = headers.get(header::ORIGIN) {
        let page = page.to_str().unwrap_or("?");
        return match allowed(page, host, local, configured) {
            true => Ok(()),
            // Even if it were in 'origins', the browser would not show it the answer.
            false => Err(format!("pages of {} may not ask this", echoed(page))),
        };
    }
    match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        // Following a link shows the page to its user, and to nobody else.
        Some(_) if headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate") => Ok(()),
        Some(_) => Err("pages of other sites may not ask this".to_owned()),
    }
}

/// Checks that a request names at most one host and one origin. If it named several, the broker
/// might go by one and a proxy in front of it by another (RFC 9112, 3.2). An error says which.
pub(super) fn names_one(headers: &HeaderMap, target: &Uri) -> Result<(), &'static str> {
    let several = |name| headers.get_all(name).iter().nth(1).is_some();
    if several(header::HOST) {
        return Err("several host headers");
    }
    if several(header::ORIGIN) {
        return Err("several origin headers");
    }
    match (target.authority(), headers.get(header::HOST)) {
        (Some(name), Some(host))
            if !name.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) =>
        {
            Err("the target names another host than the host header does")
        }
        _ => Ok(()),
    }
}

/// Whether a page of `origin` may connect. Browsers always send the origin with a WebSocket
/// request; without this check any page that a user opens could connect to a broker on the user's
/// machine.
///
/// The broker's own address is allowed: `http://` and the `host` that the browser asked for, if
/// that is an IP address or `localhost`, with the port of `local`. A name is not allowed, because
/// its owner can make it point here (DNS rebinding). Names must be in the configured list.
pub(super) fn allowed(
    origin: &str,
    host: Option<&str>,
    local: SocketAddr,
    configured: &[String],
) -> bool {
    let own = || {
        let host = host?;
        let name = origin.strip_prefix("http://")?;
        Some(name.eq_ignore_ascii_case(host) && is_own(host, local.port()))
    };
    configured.iter().any(|other| other.eq_ignore_ascii_case(origin)) || own() == Some(true)
}

/// Returns the message to a page that may not connect.
pub(super) fn refused(page: &str) -> String {
    if page == "null" {
        return "pages that are of no origin (files, frames in a sandbox) may not connect, and 'origins' cannot name them: \
                let a server give them"
            .to_owned();
    }
    let page = echoed(page);
    format!("pages of {page} may not connect; add it to 'origins' in the configuration to allow it")
}

fn is_own(host: &str, port: u16) -> bool {
    let (name, said) = match host.rsplit_once(':') {
        Some((name, said)) if !said.ends_with(']') => (name, said.parse().ok()),
        _ => (host, Some(80)),
    };
    let address = name.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')).unwrap_or(name);
    said == Some(port)
        && (name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_known_and_pages_of_their_own() {
        let local = "127.0.0.1:7400".parse().unwrap();
        let check = |list: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in list {
                headers.insert(*name, value.parse().unwrap());
            }
            admits(&headers, local, &["https://a.example".to_owned()])
        };
        let own = ("host", "127.0.0.1:7400");
        for good in [
            &[own][..],
            &[("host", "localhost:7400")],
            &[("host", "[::1]:7400")],
            &[("host", "a.example")],
            &[own, ("origin", "http://127.0.0.1:7400")],
            &[own, ("origin", "https://a.example")],
            &[own, ("sec-fetch-site", "same-origin")],
            &[own, ("sec-fetch-site", "none")],
            &[own, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
        ] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        for bad in [
            &[][..],
            &[("host", "127.0.0.1")],
            &[("host", "127.0.0.1:7401")],
            &[("host", "evil.example:7400")],
            &[("host", "evil.example:7400"), ("sec-fetch-site", "same-origin")],
            &[("host", "evil.example:7400"), ("origin", "http://evil.example:7400")],
            &[own, ("origin", "http://evil.example:7400")],
            &[own, ("origin", "null")],
            &[own, ("sec-fetch-site", "cross-site")],
            &[own, ("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")],
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_request_names_one_host_and_one_origin() {
        let check = |list: &[(&'static str, &str)], target: &'static str| {
            let mut headers = HeaderMap::new();
            for (name, value) in list {
                headers.append(*name, value.parse().unwrap());
            }
            names_one(&headers, &Uri::from_static(target))
        };
        let own = ("host", "127.0.0.1:7400");
        for (good, target) in [
            (&[][..], "/healthz"),
            (&[own], "/healthz"),
            (&[own, ("origin", "null")], "/healthz"),
            (&[own], "http://127.0.0.1:7400/healthz"),
            (&[("host", "A.example")], "http://a.example/healthz"),
            (&[], "http://127.0.0.1:7400/healthz"),
        ] {
            assert_eq!(check(good, target), Ok(()), "{good:?}");
        }
        for (bad, target) in [
            (&[own, own][..], "/healthz"),
            (&[own, ("host", "evil.example")], "/healthz"),
            (&[own, ("origin", "null"), ("origin", "http://a.example")], "/healthz"),
            (&[own], "http://evil.example/healthz"),
        ] {
            assert!(check(bad, target).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn own_addresses_and_configured_names() {
        let local = "127.0.0.1:7400".parse().unwrap();
        let check = |origin, host| allowed(origin, host, local, &["https://a.example".to_owned()]);
        for (origin, host) in [
            ("http://127.0.0.1:7400", Some("127.0.0.1:7400")),
            ("http://localhost:7400", Some("localhost:7400")),
            ("http://[::1]:7400", Some("[::1]:7400")),
            ("https://a.example", Some("127.0.0.1:7400")),
            ("https://A.example", None),
        ] {
            assert!(check(origin, host), "{origin} at {host:?} should be allowed");
        }
        for (origin, host) in [
            ("http://127.0.0.1:7400", None),
            ("http://127.0.0.1:7401", Some("127.0.0.1:7400")),
            ("http://127.0.0.1:7401", Some("127.0.0.1:7401")),
            ("http://evil.example:7400", Some("127.0.0.1:7400")),
            // DNS rebinding: the attacker's name points to this machine.
            ("http://evil.example:7400", Some("evil.example:7400")),
            ("https://127.0.0.1:7400", Some("127.0.0.1:7400")),
            ("http://127.0.0.1", Some("127.0.0.1")),
            ("http://[::1]", Some("[::1]")),
            ("http://a.example", Some("127.0.0.1:7400")),
            ("null", Some("127.0.0.1:7400")),
            ("", Some("")),
        ] {
            assert!(!check(origin, host), "{origin} at {host:?} should be refused");
        }
    }
}
