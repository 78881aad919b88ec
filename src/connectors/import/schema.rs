//! Looking at a converted schema: what members a value has.
//!
//! Owns [`View`]. The idea: references, `allOf` and "or null" are looked through, within bounds, and what is found is named
//! by the JSON Pointer of the value.
//!
//! Must not: change a schema.

use crate::json::Value;

/// References followed from one place.
const HOPS: usize = 12;
/// Members of one object.
const MEMBERS: usize = 500;

/// A schema with its `$defs`.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    root: &'a Value,
    here: &'a Value,
}

impl<'a> View<'a> {
    pub(super) fn of(root: &'a Value) -> Self {
        Self { root, here: root }.plain()
    }

    fn at(self, here: &'a Value) -> Self {
        Self { root: self.root, here }.plain()
    }

    /// What a reference, or a choice between something and null, stands for.
    fn plain(mut self) -> Self {
        for _ in 0..HOPS {
            if let Some(name) = self.here["$ref"].as_str().and_then(|to| to.strip_prefix("#/$defs/")) {
                let Some(next) = self.root["$defs"].get(name) else { return self };
                self.here = next;
                continue;
            }
            let choice = ["anyOf", "oneOf"].iter().find_map(|key| self.here[*key].as_array());
            let mut real = choice.into_iter().flatten().filter(|one| one["type"] != "null");
            match (real.next(), real.next()) {
                (Some(only), None) => self.here = only,
                _ => return self,
            }
        }
        self
    }

    /// A keyword of the schema.
    pub(super) fn word(self, key: &str) -> &'a str {
        self.here[key].as_str().unwrap_or_default()
    }

    pub(super) fn value(self, key: &str) -> &'a Value {
        &self.here[key]
    }

    pub(super) fn is(self, kind: &str) -> bool {
        match &self.here["type"] {
            Value::String(own) => own == kind,
            Value::Array(kinds) => kinds.iter().any(|own| own == kind),
            _ => match kind {
                "array" => self.here.get("items").is_some(),
                "object" => self.here.get("properties").is_some(),
                _ => false,
            },
        }
    }

    /// The members of an object, those of `allOf` too.
    pub(super) fn members(self) -> Vec<(&'a str, View<'a>)> {
        let mut found = Vec::new();
        let mut waiting = vec![self];
        for _ in 0..HOPS {
            let Some(view) = waiting.pop() else { break };
            let own = view.here["properties"].as_object();
            found.extend(
                own.into_iter().flatten().take(MEMBERS).map(|(name, one)| (name.as_str(), view.at(one))),
            );
            waiting.extend(
                view.here["allOf"].as_array().into_iter().flatten().take(HOPS).map(|one| view.at(one)),
            );
        }
        found
    }

    /// What the items of a list are.
    pub(super) fn items(self) -> Option<View<'a>> {
        self.here.get("items").map(|items| self.at(items))
    }

    /// Something that is the same for the same place in a document.
    pub(super) fn identity(self) -> *const Value {
        std::ptr::from_ref(self.here)
    }
}

/// A name as a step of a JSON Pointer.
pub(super) fn step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}
