//! What must be nowhere in a bundle.
//!
//! Owns [`learn`], [`veil`] and [`addresses`]. The idea: the redactor finds what it knows, so it is told, before anything
//! is gathered, every credential that can be read here without asking anybody; and an address that a message is sent to
//! is a credential from its path on, since whoever has it can send there.
//!
//! Must not: run a command, ask a keyring or a Vault, or keep what it read.

use std::collections::BTreeSet;

use url::Url;

use super::Case;
use crate::app::credentials;
use crate::config::Config;
use crate::redaction::Redactor;
use crate::secret::Secret;

/// What holds a key of this installation in its state directory.
const OWN: &[&str] = &["http.key", "audit.key"];

/// Tells the redactor every credential that can be read here; what could not be read comes back.
pub(super) fn learn(case: &Case<'_>) -> BTreeSet<String> {
    let learn = |secret: &Secret| case.redactor.learn(secret, "credential");
    let mut unread = credentials(case.config);
    unread.retain(|one| one.asks() || one.resolve().map(|secret| learn(&secret)).is_err());
    for name in OWN {
        if let Ok(text) = std::fs::read_to_string(case.state.file(name)) {
            learn(&Secret::new(text.trim()));
        }
    }
    for url in addresses(&mut case.config.clone()) {
        let Some(after) = Url::parse(url).ok().and_then(|url| inner(&url)) else { continue };
        for part in
            after.split(['/', '?', '&', '=', '@']).filter(|part| case.redactor.fingerprint(part).is_some())
        {
            learn(&Secret::new(part));
        }
        learn(&Secret::new(after));
    }
    unread.iter().map(ToString::to_string).collect()
}

/// Where messages go: alerts, checkpoints, approvals that wait, telemetry.
pub(super) fn addresses(config: &mut Config) -> impl Iterator<Item = &mut String> {
    let told = config.alerts.to.iter_mut().chain(&mut config.audit.anchor.to);
    told.filter_map(|one| one.url())
        .chain(config.approvals.webhook.as_mut().map(|webhook| &mut webhook.url))
        .chain(&mut config.telemetry.otlp_endpoint)
}

/// Path and query; nothing where there is neither.
fn inner(url: &Url) -> Option<String> {
    let after = &url[url::Position::BeforePath..];
    (after.len() > 1).then(|| after.to_owned())
}

/// An address of which only scheme, host and port are left; the rest is a fingerprint.
pub(super) fn veil(url: &str, redactor: &Redactor) -> String {
    let mark = redactor
        .keyed_digest(url.as_bytes())
        .map_or_else(String::new, |digest| format!("#{}", digest.hex().get(..12).unwrap_or_default()));
    let Ok(parsed) = Url::parse(url) else { return format!("[redacted:address{mark}]") };
    let named = parsed.password().is_some() || !parsed.username().is_empty();
    if inner(&parsed).is_none() && !named {
        return url.to_owned();
    }
    let (scheme, host) = (parsed.scheme(), parsed.host_str().unwrap_or_default());
    let port = parsed.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{scheme}://{host}{port}/[redacted:address{mark}]")
}
