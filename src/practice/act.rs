//! What an act does to the thing it is about.
//!
//! Owns the change that `POST …/{thing}/actions`, `…/{thing}/activate` and the like make. The idea: the act's own word
//! says where it leads (accept, reject, cancel, disable), the document says which states a thing can be in; where the
//! two meet, the thing changes, and where they do not, the act is only answered.
//!
//! Must not: answer.

use super::request::Call;
use super::store::Store;
use super::words;
use super::world::{World, join};
use crate::json::Value;

impl World {
    /// Brings the thing that an act is about, at `owner`, into the state that the act leads to.
    pub(super) fn affect(&self, store: &mut Store, call: &Call, owner: &[String]) {
        let Some((name, above)) = owner.split_last() else { return };
        let Some((index, collection)) = self.plan.find(above) else { return };
        let Some(goals) = word(call).as_deref().and_then(words::goals) else { return };
        if !collection.addressed || self.look(store, index, above).is_err() {
            return;
        }
        let path = join(above);
        let Some(before) = store.thing(&path, name).map(|thing| thing.value.clone()) else { return };
        let mut after = before.clone();
        for property in ["state", "status"] {
            let known = self.view_of(index).and_then(|view| view.property(property));
            let choices = known.and_then(|view| view.plain().choices).unwrap_or_default();
            let found = goals.iter().find_map(|goal| {
                choices
                    .iter()
                    .find(|choice| choice.as_str().is_some_and(|text| text.eq_ignore_ascii_case(goal)))
            });
            if let (Some(goal), Some(object)) = (found, after.as_object_mut()) {
                object.insert(property.to_owned(), goal.clone());
            }
        }
        if after != before {
            store.put(&path, name, self.changed(index, &before, after));
        }
    }
}

/// What is to be done: the last word of the path, or what the body says under `actions`.
fn word(call: &Call) -> Option<String> {
    let last = call.segments.last()?.as_str();
    if !matches!(last, "actions" | "action") {
        return Some(last.to_owned());
    }
    let body = call.body.as_ref()?;
    ["type", "action", "name"]
        .iter()
        .find_map(|key| body.get(*key).and_then(Value::as_str))
        .map(str::to_owned)
}
