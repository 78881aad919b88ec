//! Which keys a manifest may have.
//!
//! Owns [`check`]. The idea: serde would name an unknown key and quote its line; we name the key, the nearest right
//! one, and nothing else of the file.

use toml::{Table, Value};

use crate::error::{Error, Kind, Result};

const TOP: &[&str] = &[
    "name",
    "title",
    "description",
    "base",
    "hosts",
    "document",
    "overlays",
    "health",
    "credentials",
    "quota",
    "timeout",
    "headers",
    "only_listed",
    "prefix",
    "permissions",
    "toolset",
    "response",
    "operation",
];
const TOOLSET: &[&str] = &["name", "description", "tags", "paths", "default"];
const OPERATION: &[&str] = &[
    "id",
    "tool",
    "title",
    "description",
    "effect",
    "toolset",
    "pages",
    "redact",
    "hidden",
    "idempotent",
    "output",
    "scopes",
    "permissions",
    "dry_run",
    "response",
];
const PAGES: &[&str] =
    &["style", "cursor", "send", "header", "more", "total", "id", "first", "items", "alone", "limit", "most"];
const RESPONSE: &[&str] = &["max_bytes", "drop", "prune"];
const QUOTA: &[&str] = &["per_minute", "burst"];
const CREDENTIALS: &[&str] = &[
    "kind",
    "from",
    "name",
    "user",
    "password",
    "token_url",
    "client_id",
    "client_secret",
    "style",
    "scope",
    "audience",
    "refresh_token",
    "rotates",
    "key",
    "key_id",
    "key_encoding",
    "algorithm",
    "sign",
    "encoding",
    "time",
    "headers",
    "certificate",
    "and",
];
const PROFILES: &[&str] = &["production", "staging", "development"];

/// Refuses the first unknown key.
pub(super) fn check(table: &Table, place: &str) -> Result<()> {
    known(table, TOP, place)?;
    each(table.get("quota"), QUOTA, &format!("{place}, [quota]"))?;
    signs(table.get("credentials"), &format!("{place}, [credentials]"))?;
    each(table.get("response"), RESPONSE, &format!("{place}, [response]"))?;
    each(table.get("toolset"), TOOLSET, &format!("{place}, [[toolset]]"))?;
    let there = format!("{place}, [[operation]]");
    each(table.get("operation"), OPERATION, &there)?;
    for operation in tables(table.get("operation")) {
        each(operation.get("pages"), PAGES, &format!("{there} pages"))?;
        each(operation.get("response"), RESPONSE, &format!("{there} response"))?;
    }
    Ok(())
}

/// One way to sign, several, or one for each profile; and what goes with a certificate.
fn signs(value: Option<&Value>, place: &str) -> Result<()> {
    for table in tables(value) {
        if table.keys().any(|key| PROFILES.contains(&key.as_str())) {
            known(table, PROFILES, place)?;
            PROFILES.iter().try_for_each(|profile| signs(table.get(*profile), place))?;
        } else {
            known(table, CREDENTIALS, place)?;
            signs(table.get("and"), place)?;
        }
    }
    Ok(())
}

fn each(value: Option<&Value>, right: &[&str], place: &str) -> Result<()> {
    tables(value).into_iter().try_for_each(|table| known(table, right, place))
}

fn tables(value: Option<&Value>) -> Vec<&Table> {
    match value {
        Some(Value::Table(table)) => vec![table],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_table).collect(),
        _ => Vec::new(),
    }
}

fn known(table: &Table, right: &[&str], place: &str) -> Result<()> {
    let Some(key) = table.keys().find(|key| !right.contains(&key.as_str())) else { return Ok(()) };
    let nearest = right.iter().max_by(|a, b| strsim::jaro(a, key).total_cmp(&strsim::jaro(b, key)));
    let plain = key.len() <= 40 && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let key = if plain { format!("unknown key `{key}`") } else { String::from("an unknown key") };
    let hint = nearest.map(|right| format!("; did you mean `{right}`?")).unwrap_or_default();
    Err(Error::new(Kind::BadConfig, format!("{place}: {key}{hint}")))
}
