//! Which parts of an answer are secrets, as far as a document shows.
//!
//! Owns [`pointers`]. The idea: a password by its format, what is only meant to be written, and what is named like a
//! secret; each by the JSON Pointer that a manifest's `redact` takes. Redaction looks at every answer anyway; this names
//! what it could not know.
//!
//! Must not: believe that what is not named here is no secret.

use super::paging::step;
use crate::connectors::shape::{Look, Shape};
use crate::json::Value;
use crate::redaction::Redactor;

/// Levels, members looked at, and pointers of one answer.
const LEVELS: usize = 6;
const LOOKED: usize = 4_000;
const MOST: usize = 24;

/// The pointers of one answer.
pub(super) fn pointers(answer: &Shape, redactor: &Redactor) -> Vec<String> {
    let mut found = Vec::new();
    let mut search = Search { redactor, left: LOOKED, found: &mut found };
    search.look(answer.look(), "", &mut Vec::new());
    found
}

struct Search<'a> {
    redactor: &'a Redactor,
    left: usize,
    found: &'a mut Vec<String>,
}

impl Search<'_> {
    fn look(&mut self, view: Look<'_>, place: &str, above: &mut Vec<*const Value>) {
        // A thing that holds things of its own kind has the same secrets on every level; one is enough.
        if above.contains(&view.identity()) || above.len() >= LEVELS {
            return;
        }
        above.push(view.identity());
        if let Some(items) = view.items() {
            self.look(items, &format!("{place}/*"), above);
        }
        for (name, member) in view.properties() {
            let Some(left) = self.left.checked_sub(1).filter(|_| self.found.len() < MOST) else { break };
            self.left = left;
            let pointer = format!("{place}{}", step(name));
            // A `*` in a pointer stands for any name.
            if name == "*" || name.is_empty() {
                continue;
            }
            if self.is_secret(name, member) {
                if !self.found.contains(&pointer) {
                    self.found.push(pointer);
                }
            } else {
                self.look(member, &pointer, above);
            }
        }
        above.pop();
    }

    fn is_secret(&self, name: &str, member: Look<'_>) -> bool {
        let marked = member.word("format") == "password" || member.flag("writeOnly");
        let scalar = !member.is("object") && !member.is("array") && !member.is("boolean");
        marked || (scalar && self.redactor.names_a_secret(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::openapi;
    use crate::json::json;
    use crate::redaction::Config;

    #[test]
    fn passwords_what_is_only_written_and_what_is_named_like_a_secret_are_found() {
        let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"},
        "paths": {"/x": {"get": {"responses": {"200": {"description": "", "content": {"application/json":
            {"schema": {"$ref": "#/components/schemas/Page"}}}}}}}},
        "components": {"schemas": {
            "Page": {"properties": {"data": {"type": "array", "items": {"$ref": "#/components/schemas/User"}},
                "next_token": {"type": "string"}, "a/b": {"type": "string", "format": "password"}}},
            "User": {"allOf": [{"properties": {"name": {"type": "string"}, "pin": {"writeOnly": true}}},
                {"properties": {"client_secret": {"type": "string"}, "boss": {"$ref": "#/components/schemas/User"},
                    "password_set": {"type": "boolean"}}}]},
        }}});
        let document = openapi::load(document.to_string().as_bytes(), None).unwrap();
        let redactor = Redactor::new(&Config::default()).unwrap();
        let mut found = pointers(document.operations[0].responses["200"].schema.as_ref().unwrap(), &redactor);
        found.sort();
        assert_eq!(found, ["/a~1b", "/data/*/client_secret", "/data/*/pin"]);
    }
}
