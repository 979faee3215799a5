//! Whose pages may connect.

use std::net::{IpAddr, SocketAddr};

/// Whether a page of `origin` may connect. Browsers always say the origin of a WebSocket; without
/// this any page that a user opens could talk to a broker on the user's machine.
///
/// The broker's own address is allowed: `http://` and the `host` that the browser asked for, when
/// that is an address or `localhost`, with the port of `local`. A name is not: whoever owns it can
/// let it point here (DNS rebinding). Names stand in the configured list.
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
