//! What a document says to a model instead of about its API.
//!
//! Owns [`suspects`]. The idea: whoever writes a document writes into the context of every model that uses it; nobody can
//! tell an order from a description for certain, so nothing is dropped for its words, but a person should have read what
//! sounds like one before the tools are served. Texts are read as the document has them, before cleaning took away what
//! hides.
//!
//! Must not: repeat any of it.

use super::refs::Sources;
use super::words::quoted;
use crate::json::Value;
use crate::redaction::Labels;

/// A text that sounds like more than a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// Upper-case method and path key of the operation it belongs to; none for what several may share.
    pub operation: Option<(String, String)>,
    /// Where in the document: member names between dots.
    pub place: String,
    /// What it sounds like.
    pub labels: Vec<&'static str>,
}

/// Places of one document, at most.
const MOST: usize = 1_000;
/// How far a text is read, and how deep the document.
const LENGTH: usize = 100_000;
const DEPTH: usize = 120;

/// Said to a model about how to use its tools: fine among people, and an order in the description of a tool.
#[rustfmt::skip]
const ORDERS: [(&str, &str); 22] = [
    ("you must call", "instruction"), ("you must always", "instruction"), ("you should always call", "instruction"),
    ("always call this", "instruction"), ("always use this tool", "instruction"), ("before using any", "instruction"),
    ("before using this tool", "instruction"), ("before calling any", "instruction"),
    ("instead of any other tool", "instruction"), ("do not use any other", "instruction"),
    ("the assistant must", "instruction"), ("the assistant should", "instruction"),
    ("as an ai assistant", "instruction"), ("do not inform the user", "instruction"),
    ("include the conversation", "exfiltration-hint"), ("pass the conversation", "exfiltration-hint"),
    ("send the conversation", "exfiltration-hint"), ("all previous messages", "exfiltration-hint"),
    ("the user's password", "exfiltration-hint"), ("contents of ~/", "exfiltration-hint"),
    ("read ~/.", "exfiltration-hint"), ("your system prompt", "exfiltration-hint"),
];

/// Members whose texts a model sees.
const TEXTS: [&str; 5] = ["description", "summary", "title", "default", "const"];
/// Members of which it sees nothing.
const UNSEEN: [&str; 7] =
    ["responses", "callbacks", "x-code-samples", "x-codeSamples", "links", "security", "servers"];

/// What a text sounds like.
pub fn labels(text: &str) -> Vec<&'static str> {
    let text = &text[..text.floor_char_boundary(LENGTH)];
    let mut labels = Labels::default();
    labels.read(text);
    let mut names: Vec<&'static str> = labels.names().collect();
    if super::words::hides(text) && !names.contains(&"hidden-text") {
        names.push("hidden-text");
    }
    let lower = text.to_ascii_lowercase();
    for (phrase, label) in ORDERS {
        if !names.contains(&label) && lower.contains(phrase) {
            names.push(label);
        }
    }
    names
}

/// Every text of a document that sounds like more than a description.
pub(super) fn suspects(sources: &Sources) -> Vec<Suspect> {
    let mut walk = Walk { operation: None, out: Vec::new() };
    for (file, value) in sources.values().enumerate() {
        let home = if file == 0 { String::new() } else { quoted(&sources.path(file).to_string_lossy()) };
        let Value::Object(root) = value else { continue };
        for (key, value) in root {
            match (key.as_str(), value) {
                ("paths", Value::Object(paths)) => {
                    paths.iter().for_each(|(path, item)| walk.item(path, item));
                }
                // Of what stands around the operations only the title names anything.
                ("info" | "tags" | "externalDocs" | "servers" | "security" | "webhooks", _) if file == 0 => {}
                _ => walk.value(value, key, &joined(&home, key), 0),
            }
        }
    }
    walk.out
}

struct Walk {
    operation: Option<(String, String)>,
    out: Vec<Suspect>,
}

impl Walk {
    fn item(&mut self, path: &str, item: &Value) {
        let Value::Object(members) = item else { return };
        for (method, value) in members {
            let known = super::paths::METHODS.contains(&method.as_str());
            self.operation = known.then(|| (method.to_ascii_uppercase(), path.to_owned()));
            self.value(value, method, &joined(&format!("paths.{}", quoted(path)), method), 0);
        }
        self.operation = None;
    }

    fn value(&mut self, value: &Value, key: &str, place: &str, depth: usize) {
        if depth > DEPTH || self.out.len() >= MOST || UNSEEN.contains(&key) {
            return;
        }
        match value {
            Value::String(text) if TEXTS.contains(&key) => self.text(text, place),
            Value::Array(items) if key == "enum" || key == "tags" || key == "examples" => {
                items.iter().filter_map(Value::as_str).for_each(|text| self.text(text, place));
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    // Parameters are found by their name, the rest by its number.
                    let name = item.get("name").and_then(Value::as_str);
                    let step = name.map_or_else(|| at.to_string(), quoted);
                    self.value(item, "", &joined(place, &step), depth + 1);
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    let here = joined(place, &quoted(name));
                    if key == "properties" {
                        self.text(name, &here);
                    }
                    // A property may be called `description`: then it is a schema and no text.
                    self.value(member, name, &here, depth + 1);
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str, place: &str) {
        let labels = labels(text);
        let known = |it: &Suspect| it.place == place && it.labels == labels;
        if !labels.is_empty() && !self.out.last().is_some_and(known) && self.out.len() < MOST {
            self.out.push(Suspect { operation: self.operation.clone(), place: place.to_owned(), labels });
        }
    }
}

fn joined(place: &str, step: &str) -> String {
    if place.is_empty() { step.to_owned() } else { format!("{place}.{step}") }
}
