//! What must not be, whatever is configured, and what may be if somebody said so.
//!
//! Owns [`relaxations`], [`is_beyond`] and the checks that need the whole configuration. The idea: each relaxation is one
//! row here, so that the log of a start and `bartizan doctor` tell the same.
//!
//! Must not: read anything but the configuration.

use crate::approvals::SecondFactor;
use crate::config::{Config, Profile};
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};
use crate::limits::Outage;
use crate::ownership;

/// Every relaxation that is on: `{"setting", "value"}`.
pub fn relaxations(config: &Config) -> Vec<Value> {
    let rows = [
        (
            config.policy.set != "read-only" || !config.policy.files.is_empty(),
            "policy",
            json!(config.policy.set),
        ),
        (
            !config.approvals.trust_clients.is_empty(),
            "approvals.trust_clients",
            json!(config.approvals.trust_clients),
        ),
        (config.approvals.self_approval, "approvals.self_approval", json!(true)),
        (config.approvals.second_factor == SecondFactor::Off, "approvals.second_factor", json!("off")),
        (!config.egress.allow_private.is_empty(), "egress.allow_private", json!(config.egress.allow_private)),
        (config.egress.proxy_resolves, "egress.proxy_resolves", json!(true)),
        (config.store.insecure_plaintext, "store.insecure_plaintext", json!(true)),
        (
            config.store.is_used() && config.limits.on_outage != Outage::Refuse,
            "limits.on_outage",
            json!(config.limits.on_outage),
        ),
        (config.http.compress_from > 0, "http.compress_from", json!(config.http.compress_from)),
        (!config.http.trusted_proxies.is_empty(), "http.trusted_proxies", json!(config.http.trusted_proxies)),
        (config.http.insecure_plaintext, "http.insecure_plaintext", json!(true)),
        (config.allow_root, "allow_root", json!(true)),
        (config.stateless, "stateless", json!(true)),
        (
            config.secrets.shared_between_profiles.is_some(),
            "secrets.shared_between_profiles",
            json!(config.secrets.shared_between_profiles),
        ),
    ];
    let on = rows.into_iter().filter(|(on, ..)| *on);
    on.map(|(_, setting, value)| json!({"setting": setting, "value": value})).collect()
}

/// What clients are told of the server: what it says of itself, and that it keeps no book.
pub(super) fn described(config: &Config, description: Option<String>) -> Option<String> {
    const STATELESS: &str = "Stateless, for development: nothing is written to the disk.";
    if !config.stateless {
        return description;
    }
    Some(description.map_or_else(|| String::from(STATELESS), |said| format!("{said} {STATELESS}")))
}

/// Whether other machines can connect.
pub fn is_beyond(config: &Config) -> bool {
    let Some(listen) = config.http.listen.as_deref().filter(|listen| !listen.starts_with("unix:")) else {
        return false;
    };
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host).trim_matches(['[', ']']);
    !(host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback()))
}

/// Refuses what must not be together.
pub(super) fn check(config: &Config) -> Result<()> {
    let refuse = |what: &'static str| Err(Error::new(Kind::BadConfig, what));
    let level = config.log.level.to_ascii_lowercase();
    if config.profile == Profile::Production && (level.contains("debug") || level.contains("trace")) {
        return refuse(
            "In production nothing is logged below `info`: at `debug` and `trace` libraries tell what they send. Choose \
             another [log] level, or profile = \"development\" with a credential of its own.",
        );
    }
    if is_beyond(config) && config.profile == Profile::Production && config.contact.security.is_empty() {
        return refuse(
            "A production server that listens beyond loopback says whom to tell of a vulnerability: set [contact] security, \
             such as [\"mailto:security@example.com\"].",
        );
    }
    let contacts = config.contact.security.iter().chain(&config.contact.policy);
    if contacts.into_iter().any(|contact| {
        !["mailto:", "https://", "tel:"].iter().any(|scheme| contact.starts_with(scheme))
            || contact.contains(char::is_control)
    }) {
        return refuse("[contact]: write each address in full: mailto:…, https://… or tel:….");
    }
    if is_beyond(config) && ownership::is_root() && !config.allow_root {
        return refuse(
            "bartizan does not serve beyond loopback as root: whatever goes wrong could go everywhere. Run it as a user \
             of its own, or say `allow_root = true`.",
        );
    }
    Ok(())
}

/// RFC 9116, with an end a year from now.
pub(super) fn security_text(config: &Config, now: std::time::Duration) -> Option<String> {
    use std::fmt::Write as _;
    if config.contact.security.is_empty() {
        return None;
    }
    let mut text = String::new();
    for contact in &config.contact.security {
        let _ = writeln!(text, "Contact: {contact}");
    }
    let end = crate::clock::rfc3339(now + std::time::Duration::from_hours(24 * 364));
    let _ = writeln!(text, "Expires: {end}");
    if let Some(policy) = &config.contact.policy {
        let _ = writeln!(text, "Policy: {policy}");
    }
    text.push_str("Preferred-Languages: en\n");
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "bartizan.toml").unwrap()
    }

    #[test]
    fn debug_logs_and_production_do_not_go_together() {
        for level in ["debug", "trace", "warn,bartizan=debug", "DEBUG"] {
            let text = format!("[log]\nlevel = \"{level}\"");
            assert!(check(&config(&text)).unwrap_err().message().contains("In production"), "{level}");
            check(&config(&format!("profile = \"development\"\n{text}"))).unwrap();
        }
        check(&config("[log]\nlevel = \"info\"")).unwrap();
    }

    #[test]
    fn a_server_that_others_reach_has_a_contact_and_is_not_root() {
        for local in ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/x", "[::ffff:127.0.0.1]:1"] {
            let config = config(&format!("[http]\nlisten = \"{local}\""));
            assert!(!is_beyond(&config), "{local}");
            check(&config).unwrap();
        }
        let open = "[http]\nlisten = \"0.0.0.0:1\"\n";
        assert!(is_beyond(&config(open)) && !is_beyond(&config("")));
        assert!(check(&config(open)).unwrap_err().message().contains("[contact]"));
        let contact = format!("{open}[contact]\nsecurity = [\"mailto:security@example.com\"]\n");
        let root = ownership::is_root();
        assert_eq!(check(&config(&contact)).is_err(), root);
        check(&config(&format!("allow_root = true\n{contact}"))).unwrap();
        assert!(check(&config("[contact]\nsecurity = [\"security@example.com\"]")).is_err());
        assert!(check(&config("[contact]\nsecurity = [\"mailto:a\\nX: y\"]")).is_err());
    }

    #[test]
    fn the_contact_is_told_as_the_standard_says() {
        let config = config(
            "[contact]\nsecurity = [\"mailto:s@example.com\"]\npolicy = \"https://example.com/policy\"",
        );
        let text = security_text(&config, std::time::Duration::from_secs(1_800_000_000)).unwrap();
        assert!(text.starts_with("Contact: mailto:s@example.com\nExpires: 2028-01-"), "{text}");
        assert!(text.contains("Policy: https://example.com/policy\n"));
        assert_eq!(security_text(&Config::default(), std::time::Duration::ZERO), None);
    }
}
