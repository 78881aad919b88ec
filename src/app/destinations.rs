//! Where a configuration leads to.
//!
//! Owns [`destinations`]. The idea: connectors and destinations of messages are asked, and whatever else is written as a
//! web address is one that is connected to, unless its name says that it is our own or is only compared; so a setting
//! that is added later is not forgotten here.
//!
//! Must not: connect, or resolve a name.

use std::collections::BTreeSet;

use url::Url;

use super::accesses;
use crate::config::Config;
use crate::connectors::BUILT_IN;
use crate::connectors::manifest::Manifest;
use crate::error::Result;
use crate::json::{Value, json};

/// A host, a port, and over what: `tcp` or `udp`.
pub type Target = (String, u16, &'static str);

/// What names us, or is only compared.
const OURS: &[&str] = &["public_url", "audience", "audiences", "page", "origin", "link"];

/// Every host and port that a configuration leads to.
pub fn destinations(config: &Config) -> Result<BTreeSet<Target>> {
    let mut found = BTreeSet::new();
    for one in config.alerts.to.iter().chain(&config.audit.anchor.to) {
        found.extend(one.daemon().map(|(host, port, over)| (host.to_owned(), port, over)));
    }
    let mut add = |text: &str| found.extend(target(text));
    if !config.practice {
        for entry in &config.connector {
            let manifest = match (&entry.path, BUILT_IN.iter().find(|known| known.name == entry.name)) {
                (Some(folder), _) => Manifest::read(folder)?,
                (None, Some(known)) => Manifest::parse(known.manifest, known.name)?,
                (None, None) => continue,
            };
            match (&entry.base, &manifest.base) {
                (Some(base), _) => add(base),
                (None, Some(base)) => add(base.as_str()),
                (None, None) => {}
            }
        }
        for (_, access) in accesses(config)? {
            for way in access.ways() {
                if let Some(token_url) = way.token_url() {
                    add(token_url.as_str());
                }
            }
        }
        config.openapi.iter().for_each(|entry| add(&entry.base_url));
    }
    // issuers, stores, webhooks, collectors, a Vault, a proxy
    let mut rest = json!(config);
    for inward in ["introduction", "http", "contact", "connector", "openapi"] {
        rest.as_object_mut().and_then(|tables| tables.remove(inward));
    }
    walk(&rest, &mut add);
    Ok(found)
}

/// What a web address or that of a store leads to.
fn target(text: &str) -> Option<Target> {
    let url = Url::parse(text).ok()?;
    let port = match url.scheme() {
        "redis" | "rediss" => url.port().unwrap_or(6379),
        "http" | "https" => url.port_or_known_default()?,
        _ => return None,
    };
    Some((url.host_str()?.trim_matches(['[', ']']).to_owned(), port, "tcp"))
}

fn walk(value: &Value, add: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => add(text),
        Value::Array(items) => items.iter().for_each(|item| walk(item, add)),
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !OURS.contains(&name.as_str()))
            .for_each(|(_, one)| walk(one, add)),
        _ => {}
    }
}
