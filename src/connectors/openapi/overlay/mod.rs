//! OpenAPI Overlay 1.0: changes to a document, made before it is read.
//!
//! Owns [`Overlay`]. The idea: actions are applied in their order, each to what the one before left; what comes out is a
//! document like any other and is believed no more than one. An action that matches nothing, or cannot be done, is named
//! and changes nothing.
//!
//! Must not: fetch what an overlay says it extends, or let a document grow or deepen beyond what may be read.

mod pattern;
mod target;

use std::collections::BTreeSet;
use std::path::Path;

pub(super) use self::target::Budget;
use self::target::{Step, Target};
use super::read;
use super::words::{line, quoted};
use crate::connectors::document::Refusal;
use crate::connectors::shape::measure;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};

/// Actions of one overlay.
const ACTIONS: usize = 10_000;
/// Places that one action changes at most.
const PLACES: usize = 200_000;
/// Bytes that one overlay adds at most, as JSON.
const GROWTH: usize = 16 << 20;
/// Levels of a document with what was added.
const DEPTH: usize = 100;

/// Changes to a document.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// The file's name, for what is said of it.
    name: String,
    title: String,
    actions: Vec<Action>,
}

#[derive(Debug, Clone)]
struct Action {
    target: Target,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    Remove,
    Update(Value),
}

impl Overlay {
    /// Reads an overlay from a file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|cause| {
            let message = format!("The overlay {} cannot be read; check the path.", path.display());
            Error::new(Kind::BadConfig, message).with_source(cause)
        })?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self::parse(&bytes, &name).map_err(|error| {
            let message = format!("{}: {}", path.display(), error.message());
            Error::new(error.kind(), message).with_source(error)
        })
    }

    /// Reads an overlay; `name` names it in what is said of it.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        let bad = |what: String| Error::new(Kind::BadConfig, what);
        let value = read::read(bytes, "The overlay")?;
        let version = match value.get("overlay") {
            Some(Value::String(version)) => version.trim().to_owned(),
            Some(Value::Number(version)) => version.to_string(),
            _ => String::new(),
        };
        if version != "1.0" && !version.starts_with("1.0.") {
            let what = if version.is_empty() {
                "This is no OpenAPI overlay: it does not say `overlay: 1.0.0`."
            } else {
                "The overlay says a version other than 1.0; only that one is applied."
            };
            return Err(bad(String::from(what)));
        }
        let info = |key: &str| value.get("info").and_then(|info| info.get(key));
        let Some(Value::String(title)) = info("title") else {
            return Err(bad(String::from("The overlay has no info.title; Overlay 1.0 asks for one.")));
        };
        if !matches!(info("version"), Some(Value::String(_) | Value::Number(_))) {
            return Err(bad(String::from("The overlay has no info.version; Overlay 1.0 asks for one.")));
        }
        let list = value.get("actions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if list.is_empty() || list.len() > ACTIONS {
            return Err(bad(format!("The overlay needs `actions`: a list of 1 to {ACTIONS}.")));
        }
        let actions = list.iter().enumerate().map(|(at, value)| {
            action(value).map_err(|what| bad(format!("Action {} of the overlay {what}.", at + 1)))
        });
        Ok(Self {
            name: quoted(name),
            title: line(title, 120).unwrap_or_default(),
            actions: actions.collect::<Result<_>>()?,
        })
    }

    /// What it says it is for.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Changes the document, at a cost that all overlays of it share. What matched nothing or could not be done is
    /// returned.
    pub(super) fn apply(&self, document: &mut Value, budget: &mut Budget) -> Vec<Refusal> {
        let mut refused = Vec::new();
        let mut left = GROWTH;
        for (at, action) in self.actions.iter().enumerate() {
            if let Err(reason) = action.apply(document, &mut left, budget) {
                let place = format!("overlay {}, action {} ({})", self.name, at + 1, action.target.shown());
                refused.push(Refusal { place, reason });
            }
        }
        refused
    }
}

fn action(value: &Value) -> std::result::Result<Action, String> {
    let Value::Object(object) = value else { return Err(String::from("is no object")) };
    let known = |key: &String| {
        matches!(key.as_str(), "target" | "description" | "update" | "remove") || key.starts_with("x-")
    };
    if !object.keys().all(known) {
        return Err(String::from("has a field that Overlay 1.0 does not have"));
    }
    let Some(Value::String(text)) = object.get("target") else {
        return Err(String::from("has no `target`"));
    };
    let target = Target::parse(text)?;
    let change = match (object.get("remove"), object.get("update")) {
        (Some(Value::Bool(true)), _) => Change::Remove,
        (Some(other), _) if !other.is_boolean() => {
            return Err(String::from("has a `remove` that is no boolean"));
        }
        (_, Some(update)) => Change::Update(update.clone()),
        _ => return Err(String::from("neither updates nor removes")),
    };
    Ok(Action { target, change })
}

impl Action {
    fn apply(
        &self,
        document: &mut Value,
        left: &mut usize,
        budget: &mut Budget,
    ) -> std::result::Result<(), String> {
        let places = self.target.find(document, budget)?;
        if places.is_empty() {
            return Err(String::from("It matches nothing."));
        }
        if places.len() > PLACES {
            return Err(format!("It matches more than {PLACES} places."));
        }
        let mut unfit = 0_usize;
        match &self.change {
            // From behind: what is in front keeps its index, and what is inside goes before what holds it.
            Change::Remove => {
                places.iter().rev().for_each(|place| unfit += usize::from(!remove(document, place)));
            }
            Change::Update(update) => {
                let (size, depth) = measure(update);
                let growth = size.saturating_mul(places.len());
                *left = left
                    .checked_sub(growth)
                    .ok_or_else(|| format!("It would add more than {} MiB to the document.", GROWTH >> 20))?;
                if places.iter().any(|place| place.len() + depth >= DEPTH) {
                    return Err(format!("It would nest the document deeper than {DEPTH} levels."));
                }
                for place in &places {
                    let spot = target::at(document, place);
                    unfit += usize::from(!spot.is_some_and(|spot| update_at(spot, update)));
                }
            }
        }
        match unfit {
            0 => Ok(()),
            1 if places.len() == 1 => Err(String::from(self.change.unfit())),
            some => Err(format!("At {some} of {} places: {}", places.len(), self.change.unfit())),
        }
    }
}

impl Change {
    fn unfit(&self) -> &'static str {
        match self {
            Self::Remove => "Only an object or a list can be removed, and not the whole document.",
            Self::Update(_) => {
                "Only an object can be updated, with an object, and a list, with an item for its end."
            }
        }
    }
}

/// Removes the object or list at a place from what holds it.
fn remove(document: &mut Value, place: &[Step]) -> bool {
    let Some((last, holder)) = place.split_last() else { return false };
    let Some(holder) = target::at(document, holder) else { return false };
    let holds = |value: &Value| value.is_object() || value.is_array();
    match (holder, last) {
        (Value::Object(object), Step::Name(name)) if object.get(name).is_some_and(holds) => {
            object.shift_remove(name).is_some()
        }
        (Value::Array(list), Step::Index(index)) if list.get(*index).is_some_and(holds) => {
            list.remove(*index);
            true
        }
        _ => false,
    }
}

fn update_at(spot: &mut Value, update: &Value) -> bool {
    match (spot, update) {
        (Value::Object(object), Value::Object(update)) => {
            merge(object, update);
            true
        }
        (Value::Array(list), update) => {
            list.push(update.clone());
            true
        }
        _ => false,
    }
}

/// Members of the same name are merged, lists are put together, anything else is replaced. Nothing in the place of an
/// object or a list changes nothing: an overlay that mirrors a document's outline leaves parts empty.
fn merge(object: &mut Map<String, Value>, update: &Map<String, Value>) {
    for (name, value) in update {
        match (object.get_mut(name), value) {
            (Some(Value::Object(inner)), Value::Object(update)) => merge(inner, update),
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more.iter().cloned()),
            (Some(Value::Object(_) | Value::Array(_)), Value::Null) => {}
            (Some(old), new) => *old = new.clone(),
            (None, new) => {
                object.insert(name.clone(), new.clone());
            }
        }
    }
}

/// Places in the order of the document's names, each once.
type Places = BTreeSet<Vec<Step>>;

#[cfg(test)]
mod tests;
