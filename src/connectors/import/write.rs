//! A manifest as text, with remarks.
//!
//! Owns [`text`]. The idea: what is meant is a [`Manifest`]; the text says exactly that and explains it. Words of a document
//! appear only as quoted values or behind `#`, and in neither can they end the line.
//!
//! Must not: let a word of a document become a key.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::access::Proposal;
use super::report::Noise;
use crate::connectors::manifest::{Manifest, Override, PageStyle, Pages, Toolset};
use crate::connectors::openapi::is_hidden;

/// What is said beside the settings.
pub(super) struct Remarks<'a> {
    /// Lines at the top.
    pub(super) top: Vec<String>,
    /// Addresses that the document names, and whether each could be a base.
    pub(super) hosts: &'a [(String, bool)],
    pub(super) quota: String,
    pub(super) proposals: &'a [Proposal],
    pub(super) noise: &'a [Noise],
    /// Answers that were looked at, and those with members that may be null.
    pub(super) answers: (usize, usize),
    /// About single operations.
    pub(super) operations: HashMap<String, Vec<String>>,
}

/// The text of a manifest.
pub(super) fn text(manifest: &Manifest, remarks: &Remarks<'_>) -> String {
    let mut out = String::new();
    for line in &remarks.top {
        remark(&mut out, line);
    }
    set(&mut out, "name", &quoted(&manifest.name));
    if let Some(title) = &manifest.title {
        set(&mut out, "title", &quoted(title));
    }
    base(&mut out, manifest, remarks);
    if let Some(document) = &manifest.document {
        set(&mut out, "document", &quoted(document));
    }
    if !manifest.overlays.is_empty() {
        set(&mut out, "overlays", &list(&manifest.overlays));
    }
    if let Some(health) = &manifest.health {
        remark(&mut out, "A read without arguments: `bartizan check --health` tries it.");
        set(&mut out, "health", &quoted(health));
    }
    credentials(&mut out, remarks);
    if let Some(quota) = manifest.quota {
        out.push('\n');
        remark(&mut out, &format!("How fast the API may be asked: {}.", remarks.quota));
        out.push_str("[quota]\n");
        set(&mut out, "per_minute", &quota.per_minute.to_string());
        set(&mut out, "burst", &quota.burst.to_string());
    }
    response(&mut out, remarks);
    toolsets(&mut out, manifest);
    if !manifest.operations.is_empty() {
        out.push('\n');
        remark(&mut out, "What is special about single operations; all others are as the document says.");
    }
    for operation in &manifest.operations {
        about(&mut out, operation, remarks.operations.get(&operation.id).map_or(&[], Vec::as_slice));
    }
    out
}

fn base(out: &mut String, manifest: &Manifest, remarks: &Remarks<'_>) {
    out.push('\n');
    remark(
        out,
        "Where requests go: no other scheme, host or port is ever asked. A document does not decide that.",
    );
    if remarks.hosts.is_empty() {
        remark(out, "The document names no address.");
    }
    for (host, _) in remarks.hosts {
        remark(out, &format!("The document names {host}"));
    }
    if let Some(base) = &manifest.base {
        set(out, "base", &quoted(base.as_str()));
        return;
    }
    let proposed = remarks.hosts.iter().find(|(_, usable)| *usable);
    let proposed = proposed.map_or("https://api.example.com", |(host, _)| host);
    remark(out, "Nothing can be served before you say it here, or with --base-url when importing:");
    remark(out, &format!("base = {}", quoted(proposed)));
}

fn credentials(out: &mut String, remarks: &Remarks<'_>) {
    out.push('\n');
    remark(
        out,
        "How requests are signed: nothing is, until you say so. References only (env:NAME, file:PATH, keyring:NAME),",
    );
    remark(
        out,
        "never a secret itself. What signs goes to the host of `base` alone; the host of `token_url` has to be that",
    );
    remark(out, "one, or one of `hosts`.");
    if remarks.proposals.is_empty() {
        remark(out, "The document asks for no credential.");
    }
    for proposal in remarks.proposals {
        remark(out, &format!("The document asks for {}:", proposal.says));
        proposal.notes.iter().for_each(|note| remark(out, note));
        if proposal.keys.is_empty() {
            continue;
        }
        remark(out, "[credentials]");
        for (key, value) in &proposal.keys {
            remark(out, &format!("{key} = {}", quoted(value)));
        }
        if !proposal.headers.is_empty() {
            remark(out, "[credentials.headers]");
        }
        for (name, value) in &proposal.headers {
            remark(out, &format!("{} = {}", quoted(name), quoted(value)));
        }
    }
}

fn response(out: &mut String, remarks: &Remarks<'_>) {
    let ((all, nulls), noise) = (remarks.answers, remarks.noise);
    let nulls = if nulls * 20 < all { 0 } else { nulls };
    if noise.is_empty() && nulls == 0 {
        return;
    }
    out.push('\n');
    remark(
        out,
        "Noise, which a model does not get unless it asks for it with `fields`. An answer that lost some says so, and",
    );
    remark(
        out,
        "cannot be sent back as the whole. Pages are followed before. Take the # from what nobody here needs.",
    );
    out.push_str("[response]\n");
    if !noise.is_empty() {
        out.push_str("drop = [\n");
        for Noise { drop, why, answers, left_out } in noise {
            out.push_str("    ");
            remark(out, &format!("in {answers} of {all} answers: {why}"));
            out.push_str("    ");
            if *left_out {
                let _ = writeln!(out, "{},", quoted(drop));
            } else {
                remark(out, &format!("{},", quoted(drop)));
            }
        }
        out.push_str("]\n");
    }
    if nulls > 0 {
        remark(out, &format!("What is null or empty; {nulls} of {all} answers may have such members."));
        remark(out, "prune = true");
    }
}

fn toolsets(out: &mut String, manifest: &Manifest) {
    if manifest.toolsets.is_empty() {
        return;
    }
    out.push('\n');
    remark(
        out,
        &format!(
            "Parts that are switched on together: `--toolsets {0}.NAME,...`; `--toolsets {0}` is all of them.",
            manifest.name
        ),
    );
    remark(
        out,
        "An operation is in the first whose tags or paths fit. `default = false` is offered to those only who name it.",
    );
    for Toolset { name, description, tags, paths, default } in &manifest.toolsets {
        out.push_str("\n[[toolset]]\n");
        set(out, "name", &quoted(name));
        if let Some(description) = description {
            set(out, "description", &quoted(description));
        }
        if !tags.is_empty() {
            set(out, "tags", &list(tags));
        }
        if !paths.is_empty() {
            set(out, "paths", &list(paths));
        }
        if !default {
            set(out, "default", "false");
        }
    }
}

fn about(out: &mut String, operation: &Override, remarks: &[String]) {
    out.push_str("\n[[operation]]\n");
    set(out, "id", &quoted(&operation.id));
    for line in remarks {
        remark(out, line);
    }
    if let Some(effect) = operation.effect {
        set(out, "effect", &quoted(effect.name()));
    }
    if let Some(pages) = &operation.pages {
        set(out, "pages", &inline(pages));
    }
    if !operation.redact.is_empty() {
        set(out, "redact", &list(&operation.redact));
    }
}

/// What a style is called.
pub(super) const fn style(style: PageStyle) -> &'static str {
    match style {
        PageStyle::Token => "token",
        PageStyle::Link => "link",
        PageStyle::LinkHeader => "link_header",
        PageStyle::Offset => "offset",
        PageStyle::Page => "page",
        PageStyle::Last => "last",
        PageStyle::None => "none",
    }
}

/// A table on one line.
pub(super) fn inline(pages: &Pages) -> String {
    let Pages { style: own, cursor, send, header, more, total, id, first, items, alone, limit, most } = pages;
    let mut keys = vec![format!("style = {}", quoted(style(*own)))];
    let texts = [
        ("cursor", cursor),
        ("send", send),
        ("header", header),
        ("more", more),
        ("total", total),
        ("id", id),
        ("items", items),
    ];
    keys.extend(
        texts.into_iter().filter_map(|(key, text)| Some(format!("{key} = {}", quoted(text.as_deref()?)))),
    );
    keys.extend(first.map(|first| format!("first = {first}")));
    keys.extend(alone.then(|| String::from("alone = true")));
    let usual = Pages::default();
    keys.extend((*limit != usual.limit).then(|| format!("limit = {limit}")));
    keys.extend((*most != usual.most).then(|| format!("most = {most}")));
    format!("{{ {} }}", keys.join(", "))
}

fn set(out: &mut String, key: &str, value: &str) {
    // A String takes whatever is written to it.
    let _ = writeln!(out, "{key} = {value}");
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// One line behind `#`: whatever could end or hide it is gone.
fn remark(out: &mut String, words: &str) {
    out.push_str("# ");
    for character in words.chars() {
        out.push(if is_hidden(character) || character.is_control() { ' ' } else { character });
    }
    while out.ends_with(' ') {
        out.pop();
    }
    out.push('\n');
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            character if is_hidden(character) || character.is_control() => {
                // A String takes whatever is written to it.
                let _ = write!(out, "\\U{:08X}", u32::from(character));
            }
            character => out.push(character),
        }
    }
    out.push('"');
    out
}
