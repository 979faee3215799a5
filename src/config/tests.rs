//! Tests of the configuration.

use super::*;

fn wrong(text: &str) -> String {
    Config::from_str("my.toml", text).unwrap_err().to_string()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn the_defaults_are_whole_and_safe() {
    let config = Config::default();
    assert!(config.listen.ip().is_loopback() && !config.allow_anonymous);
    // Every key except the commented example of `retention` is in the file, with a comment.
    for key in KEYS.iter().filter(|key| **key != "retention") {
        assert!(DEFAULTS.contains(&format!("\n{key} = ")), "{key} is not in broker.toml");
    }
    // The commented example is valid.
    let example: String = DEFAULTS
        .lines()
        .skip_while(|line| *line != "# [[retention]]")
        .map(|line| line.trim_start_matches("# ").to_owned() + "\n")
        .collect();
    assert_eq!(Config::from_str("example", &example).unwrap().retention.len(), 1);
}

#[test]
fn a_file_that_is_not_utf_8_is_refused_with_its_line() {
    // As written by an editor that knows only Latin-1.
    let path = std::env::temp_dir().join(format!("onetree-latin-{}.toml", std::process::id()));
    std::fs::write(&path, b"connections = 5\n# f\xfcr alle\nheartbeat_ms = 1000\n").unwrap();
    let refused = Config::load(Some(&path), [], []).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(refused, format!("{}:2: this line is not UTF-8", path.display()));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_one() {
    let message = wrong("connections = 5\n\nframe_byte = 1");
    assert_eq!(message, "my.toml:3: unknown key 'frame_byte'; did you mean 'frame_bytes'?");
    assert_eq!(wrong("zzz = 1"), "my.toml:1: unknown key 'zzz'");
    let message = wrong("[[retention]]\npattern = \"a\"\nkep = 1");
    assert_eq!(message, "my.toml:3: unknown key 'kep'; did you mean 'keep'?");
}

#[test]
fn a_wrong_value_is_refused_with_its_line() {
    for (text, start) in [
        (
            "\nconnections = \"many\"",
            "my.toml:2: 'connections': it is \"many\", but must be a whole number from 0 to 4294967295",
        ),
        ("origins = \"http://x\"", "my.toml:1: 'origins': it is \"http://x\", but must be a list"),
        ("listen = \"localhost:7400\"", "my.toml:1: 'listen': not an IP address and a port"),
        (
            "listen = 7400",
            "my.toml:1: 'listen': it is 7400, but must be an IP address and a port, like \"127.0.0.1:7400\"",
        ),
        ("allow_anonymous = 1", "my.toml:1: 'allow_anonymous': it is 1, but must be true or false"),
        ("allow_anonymous = yes", "my.toml:1: a text stands in quotes"),
        ("heartbeat_ms = 5s", "my.toml:1: a text stands in quotes"),
        ("heartbeat_ms", "my.toml:1: a key without a value"),
        ("heartbeat_ms = 1.5", "my.toml:1: 'heartbeat_ms': it is 1.5, but must be a whole number"),
        (
            "heartbeat_ms = 99999999999999999999",
            "my.toml:1: 'heartbeat_ms': it is 99999999999999999999, but must be a whole number",
        ),
        ("origins = [1]", "my.toml:1: 'origins': it is 1, but must be a text in quotes"),
        ("listen = [\"a\"]", "my.toml:1: 'listen': it is a list, but must be an IP address"),
        ("listen = \"127.0.0.1:7400", "my.toml:1: a text without its end"),
        ("connections = -1", "my.toml:1: "),
        ("connections = 0", "my.toml:1: 'connections' must be at least 1"),
        ("connections = 1\nconnections = 2", "my.toml:2: duplicate key"),
        ("listen = \"localhost\"", "my.toml:1: "),
        ("\n\nframe_bytes = 5000", "my.toml:3: 'frame_bytes' is 5000, but must be at least"),
        ("commit_changes = 65536", "my.toml:1: 'commit_changes' must be below"),
        ("commit_conditions = 65536", "my.toml:1: 'commit_conditions' must be below"),
        (
            "subscriptions_per_connection = 65536",
            "my.toml:1: 'subscriptions_per_connection' must be below",
        ),
        ("pattern_segments = 65536", "my.toml:1: 'pattern_segments' must be below"),
        ("origins = [\"a.example\"]", "my.toml:1: 'origins' has \"a.example\""),
        (
            "origins = [\"https://a.example/\"]",
            "my.toml:1: 'origins' has \"https://a.example/\", which",
        ),
        (
            "origins = [\"https://*.example\"]",
            "my.toml:1: 'origins' has \"https://*.example\", and '*'",
        ),
        (
            "origins = [\"https://a.example:443\"]",
            "my.toml:1: 'origins' has \"https://a.example:443\", with",
        ),
        ("origins = [\"null\"]", "my.toml:1: 'origins' has \"null\", which is no origin"),
        ("[[retention]]\npattern = \"/a\"\nkeep = 1", "my.toml:2: 'retention': not a pattern"),
        (
            "[[retention]]\npattern = \"chat/log-*\"\nkeep = 1",
            "my.toml:2: 'retention': not a pattern: '*' stands for a whole segment",
        ),
        (
            "durability = true",
            "my.toml:1: 'durability': it must be \"sync\", \"interval\" or \"memory\"",
        ),
        (
            "durability = \"x\"",
            "my.toml:1: 'durability': it is \"x\", but must be \"sync\", \"interval\" or \"memory\"",
        ),
        (
            "[retention]\npattern = \"a\"\nkeep = 1",
            "my.toml:1: 'retention': it is a table, but must be [[retention]]",
        ),
        ("[[retention]]\npattern = \"a\"", "my.toml:1: 'retention' 'a' needs keep"),
        (
            "[[retention]]\npattern = \"a\"\nkeep = \"5\"",
            "my.toml:3: 'retention': it is \"5\", but must be a whole number, 0 or more",
        ),
        ("[[retention]]\nkeep = 5", "my.toml:1: 'retention': a rule needs its pattern"),
        ("what is this", "my.toml:1: "),
    ] {
        assert!(wrong(text).starts_with(start), "{text:?}: {}", wrong(text));
    }
}

#[test]
fn later_sources_win() {
    let dir = std::env::temp_dir().join(format!("onetree-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("broker.toml");
    std::fs::write(&file, "connections = 1\nsessions = 1\nheartbeat_ms = 1\n").unwrap();
    let config = Config::load(
        Some(&file),
        [pair("ONETREE_SESSIONS", "2"), pair("ONETREE_HEARTBEAT_MS", "2"), pair("HOME", "/")],
        [pair("heartbeat_ms", "3"), pair("listen", "127.0.0.1:0")],
    )
    .unwrap();
    assert_eq!((config.connections, config.sessions, config.heartbeat_ms), (1, 2, 3));
    assert_eq!(config.listen.port(), 0);
    std::fs::remove_dir_all(&dir).unwrap();
    let missing = Config::load(Some(&file), [], []).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read ") && missing.contains("broker.toml"), "{missing}");
}

#[test]
fn variables_and_flags_are_checked_like_a_file() {
    let variable = |name: &str, value: &str| {
        Config::load(None, [pair(name, value)], []).map_err(|error| error.to_string())
    };
    let message = variable("ONETREE_SESSION_GRACE", "1").unwrap_err();
    let expected =
        "ONETREE_SESSION_GRACE: unknown key 'session_grace'; did you mean 'session_grace_ms'?";
    assert_eq!(message, expected);
    let message = variable("ONETREE_CONNECTIONS", "0").unwrap_err();
    assert_eq!(message, "ONETREE_CONNECTIONS: 'connections' must be at least 1");
    assert!(variable("ONETREE_CONNECTIONS", "ten").unwrap_err().contains("it is \"ten\""));
    let config = variable("ONETREE_ORIGINS", r#"["https://a.example"]"#).unwrap();
    assert_eq!(config.origins, ["https://a.example"]);
    assert!(variable("ONETREE_CONFIG", "x.toml").is_ok());
    let flag = Config::load(None, [], [pair("connection", "1")]).unwrap_err().to_string();
    assert_eq!(flag, "--set connection: unknown key 'connection'; did you mean 'connections'?");
}

/// A rule is a table in every source, and mistakes in it are reported as for a file.
#[test]
fn rules_are_checked_wherever_they_come_from() {
    const NO_RULE: &str = "'retention': it is a list, but must be a rule, like {pattern = \"chat/*/log\", keep = 1000}";
    let rule = |fields: &str| format!("[{{pattern = \"chat/*/log\", {fields}}}]");
    for (value, message) in [
        (rule("keep = 5, max_age = 5"), "unknown key 'max_age'; did you mean 'max_age_ms'?"),
        (rule("kept = 5"), "unknown key 'kept'; the keys are pattern, keep, max_age_ms, max_bytes"),
        ("[{keep = 5}]".to_owned(), "'retention': a rule needs its pattern"),
        ("[[\"chat/*/log\", 5, 6, 7]]".to_owned(), NO_RULE),
        ("[[]]".to_owned(), NO_RULE),
        (format!("[{}]", rule("keep = 5")), NO_RULE),
        (format!("[{}, {}]", rule("keep = 5"), rule("keep = 5")), NO_RULE),
        (rule("keep = \"5\""), "'retention': it is \"5\", but must be a whole number, 0 or more"),
        (
            "[\"chat/*/log\"]".to_owned(),
            "'retention': it is \"chat/*/log\", but must be a rule, like {pattern = \"chat/*/log\", keep = 1000}",
        ),
    ] {
        let said = |error: ConfigError| error.to_string();
        let file = wrong(&format!("retention = {value}"));
        assert_eq!(file, format!("my.toml:1: {message}"));
        let pair = |key: &str| [pair(key, &value)];
        // The place already says which key it is about.
        let message = message.trim_start_matches("'retention': ");
        let flag = Config::load(None, [], pair("retention")).map_err(said).unwrap_err();
        assert_eq!(flag, format!("--set retention: {message}"));
        let variable = Config::load(None, pair("ONETREE_RETENTION"), []).map_err(said).unwrap_err();
        assert_eq!(variable, format!("ONETREE_RETENTION: {message}"));
    }
    let rules = "a list of rules, like [{pattern = \"chat/*/log\", keep = 1000}]";
    for (value, found) in [("x", "\"x\""), ("{pattern = \"a\", keep = 1}", "a table")] {
        let flag = Config::load(None, [], [pair("retention", value)]).unwrap_err().to_string();
        assert_eq!(flag, format!("--set retention: it is {found}, but must be {rules}"));
    }
    // A value that was meant to be a list shows where its syntax is wrong.
    for (value, told) in [
        (rule("keep = 1, keep = 2"), "duplicate key, at \"keep = 2}]\""),
        (rule("keep = "), "invalid"),
        ("[{pattern = \"a\", keep = 1}".to_owned(), "unclosed array"),
        ("{pattern = \"a\" keep = 1}".to_owned(), "missing comma"),
        ("[] # none".to_owned(), "there is more behind the value, at \" # none\""),
        ("[\"chat/*/log\"".to_owned(), "unclosed array"),
    ] {
        let flag = Config::load(None, [], [pair("retention", &value)]).unwrap_err().to_string();
        assert!(flag.starts_with(&format!("--set retention: {told}")), "{value}: {flag}");
    }
    // An address may begin like a list.
    let flag = Config::load(None, [], [pair("listen", "[::1]:7400")]).unwrap();
    assert!(flag.listen.is_ipv6());
    let flag = Config::load(None, [], [pair("retention", &rule("keep = 5"))]).unwrap();
    assert_eq!(flag.retention[0].keep, Some(5));
}

/// In a container, a service named `onetree` puts its address into the environment of all programs.
#[test]
fn variables_of_others_are_left_alone() {
    let variables = [("ONETREE_PORT", "tcp://10.0.0.1:7400"), ("ONETREE_SERVICE_HOST", "10.0.0.1")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(Config::load(None, variables, []).is_ok());
    let slip = ("ONETREE_HARTBEAT_MS".to_owned(), "5".to_owned());
    assert!(Config::load(None, [slip], []).unwrap_err().to_string().contains("'heartbeat_ms'"));
}
