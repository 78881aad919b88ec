//! How things stood.
//!
//! Owns the parts of a bundle beside the audit. The idea: each is one question that somebody who looks into an incident
//! asks, answered as JSON from what lies on the disk; a question that cannot be answered says why.
//!
//! Must not: resolve a reference for its value, or load a tool.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::known::{addresses, veil};
use super::{ANCHORS, Case, Counted, KEPT, VERIFICATION, hex};
use crate::app::inventory;
use crate::approvals::Approvals;
use crate::audit;
use crate::clock::rfc3339;
use crate::config::Config;
use crate::connectors::manifest::Access;
use crate::error::{Error, Kind, Result};
use crate::freeze::Freeze;
use crate::identity::keys::KeyStore;
use crate::json::{Map, Value, json};
use crate::policy::Policy;
use crate::protocol::Revision;
use crate::redaction::Redactor;
use crate::vault::{Ages, Reference, Switch};

/// What stands in place of a value under a name that secrets have.
const MARK: &str = "[redacted]";
/// Longest file that is summed up.
const LONGEST: u64 = 1 << 30;

/// Every part, by its name.
pub(super) fn all(case: &Case<'_>, audit: &Path) -> Vec<(&'static str, Result<Value>)> {
    let doctor = match &case.doctor {
        Ok(report) => Ok(report.clone()),
        Err(error) => Err(Error::new(error.kind(), error.message().to_owned())),
    };
    let mut parts = vec![
        (ANCHORS, Ok(anchors(case, audit))),
        ("approvals.json", approvals(case)),
        (VERIFICATION, verification(audit)),
        ("configuration.json", Ok(json!(veiled(case)))),
        ("credentials.json", credentials(case)),
        ("doctor.json", doctor),
        ("files.json", Ok(files(case))),
        ("freeze.json", Ok(freeze(case))),
        ("keys.json", keys(case)),
        ("policy.json", policy(case)),
        ("tools.json", inventory(case.config, case.redactor, case.clock).map(Value::Array)),
        ("versions.json", Ok(versions())),
    ];
    for (_, part) in &mut parts {
        if let Ok(value) = part {
            hush(value, case.redactor);
        }
    }
    parts
}

/// Takes out what looks like a secret; references stay, since they are none.
fn hush(value: &mut Value, redactor: &Redactor) {
    match value {
        Value::String(text) if !is_reference(text) => {
            let clean = redactor.logged(text).into_owned();
            *text = clean;
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hush(item, redactor)),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                let named = redactor.names_a_secret(name);
                match member {
                    Value::String(text) if named && !text.is_empty() && !is_reference(text) => {
                        *text = String::from(MARK);
                    }
                    other => hush(other, redactor),
                }
            }
        }
        _ => {}
    }
}

fn is_reference(text: &str) -> bool {
    Reference::parse(text).is_ok() || Access::parse(text).is_ok()
}

/// Who outside has what the chain has come to, so that it can be asked for.
fn anchors(case: &Case<'_>, audit: &Path) -> Value {
    let anchor = veiled(case).audit.anchor;
    json!({
        "to": anchor.to, "lines": anchor.lines, "seconds": anchor.seconds,
        KEPT: audit::kept_checkpoints(audit),
        "how": "whoever is named under `to` has signed checkpoints: bartizan audit verify --anchor FILE compares them",
    })
}

/// The configuration, without what its addresses for messages hold.
fn veiled(case: &Case<'_>) -> Config {
    let mut config = case.config.clone();
    addresses(&mut config).for_each(|url| *url = veil(url, case.redactor));
    config
}

fn verification(audit: &Path) -> Result<Value> {
    if audit.exists() && !audit.is_file() {
        return Err(Error::new(Kind::BadConfig, "The audit is written to no file that could be read."));
    }
    Ok(json!(audit::verify(audit, None)?))
}

/// What waits or was decided and is not forgotten yet; never what was asked for.
fn approvals(case: &Case<'_>) -> Result<Value> {
    let approvals = Approvals::look(&case.config.approvals, case.state.path(), case.clock.clone());
    let there = |name: &str| case.state.file(name).exists();
    let all = if there("approvals") { approvals.list()? } else { Vec::new() };
    let named = case.config.approvals.operators.is_some() || there("operators");
    let operators = if named { approvals.operators()? } else { Vec::new() };
    let waiting: Vec<Value> = all
        .iter()
        .map(|one| {
            let shown = &one.record.shown;
            json!({
                "id": one.record.id, "status": one.status, "principal": shown.principal,
                "tool": shown.tool, "effect": shown.effect,
            })
        })
        .collect();
    Ok(json!({"operators": operators, "approvals": waiting}))
}

/// How old credentials are, and which second ones are in use.
fn credentials(case: &Case<'_>) -> Result<Value> {
    let secrets = &case.config.secrets;
    let (profile, days) = (case.config.profile.name(), (secrets.warn_days, secrets.error_days));
    let ages = Ages::new(case.state.clone(), case.clock.clone(), profile, days, None);
    let seen: Vec<Value> = ages
        .list()?
        .into_iter()
        .map(|(seen, days, stand)| {
            let since = rfc3339(Duration::from_secs(seen.first));
            json!({"reference": seen.reference, "first_seen": since, "days": days, "stands": stand})
        })
        .collect();
    Ok(json!({"profile": profile, "in_use": seen, "second_in_use": Switch::new(case.state).on()?}))
}

fn freeze(case: &Case<'_>) -> Value {
    let approvals = Approvals::look(&case.config.approvals, case.state.path(), case.clock.clone());
    let freeze = Freeze::look(case.state.path(), approvals, case.clock.clone());
    json!({"frozen": freeze.extent(), "last": freeze.sheet()})
}

/// Every key and what it was used for; nothing that a key could be tried against.
fn keys(case: &Case<'_>) -> Result<Value> {
    if !case.state.file("keys.json").exists() {
        return Ok(json!([]));
    }
    let keys = KeyStore::read(case.state.path(), case.clock.clone())?;
    let (ages, now) = (&case.config.keys, case.clock.wall());
    let rows: Vec<Value> = keys
        .list()
        .iter()
        .map(|about| {
            let grant = &about.grant;
            json!({
                "id": about.id, "name": grant.name, "owner": grant.owner, "scopes": grant.scopes,
                "roles": grant.roles, "tenant": grant.tenant, "from": grant.from,
                "created": rfc3339(about.created), "expires": grant.expires.map(rfc3339),
                "state": ages.state(about, now).name(), "calls": about.used.calls,
                "failures": about.used.failures, "last_used": about.used.last.map(rfc3339),
            })
        })
        .collect();
    let revoked: BTreeSet<String> = keys.revoked()?;
    Ok(json!({"keys": rows, "revoked": revoked}))
}

fn policy(case: &Case<'_>) -> Result<Value> {
    let policy = Policy::load(&case.config.policy)?;
    Ok(json!({
        "set": case.config.policy.set, "version": policy.version(), "policies": policy.count(),
        "offer": case.config.offer,
    }))
}

/// The digest of every file that decides what may be done or what there is.
fn files(case: &Case<'_>) -> Value {
    let config = case.config;
    let mut named: Vec<(&str, PathBuf)> = Vec::new();
    named.extend(case.file.map(|file| ("configuration", file.to_path_buf())));
    named.extend(config.policy.files.iter().map(|file| ("policy", file.clone())));
    let set = Path::new(&config.policy.set);
    if set.extension().is_some_and(|ending| ending == "cedar") {
        named.push(("policy", set.to_path_buf()));
    }
    named.extend(config.openapi.iter().map(|entry| ("document", entry.file.clone())));
    let overlays = config.openapi.iter().flat_map(|entry| &entry.overlays);
    named.extend(overlays.map(|file| ("overlay", file.clone())));
    for folder in config.connector.iter().filter_map(|entry| entry.path.as_ref()) {
        let inside = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut inside: Vec<PathBuf> = inside.filter(|path| path.is_file()).collect();
        inside.sort();
        named.extend(inside.into_iter().map(|file| ("connector", file)));
    }
    let python = config.tools.iter().map(PathBuf::from).filter(|path| path.is_file());
    named.extend(python.map(|file| ("tools", file)));
    let rows: Vec<Value> = named
        .into_iter()
        .map(|(what, file)| match summed(&file) {
            Ok((bytes, sum)) => json!({"what": what, "file": file, "bytes": bytes, "sha256": sum}),
            Err(_) => json!({"what": what, "file": file, "missing": "it cannot be read"}),
        })
        .collect();
    json!(rows)
}

fn summed(path: &Path) -> std::io::Result<(u64, String)> {
    let mut counted = Counted { out: std::fs::File::open(path)?, sum: Sha256::new(), bytes: 0 };
    std::io::copy(&mut (&mut counted).take(LONGEST), &mut std::io::sink())?;
    Ok((counted.bytes, hex(&counted.sum.finalize())))
}

fn versions() -> Value {
    let revisions: Vec<&str> = Revision::ALL.iter().map(|revision| revision.name()).collect();
    let mut parts = Map::new();
    for (name, there) in [
        ("otlp", cfg!(feature = "otlp")),
        ("redis", cfg!(feature = "redis")),
        ("python", cfg!(feature = "python")),
    ] {
        parts.insert(String::from(name), Value::Bool(there));
    }
    json!({
        "bartizan": env!("CARGO_PKG_VERSION"), "system": std::env::consts::OS,
        "machine": std::env::consts::ARCH, "protocol_revisions": revisions, "parts": parts,
    })
}
