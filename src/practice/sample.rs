//! Arguments that an operation accepts.
//!
//! Owns the making of valid arguments, for tests that call every operation. The idea: names in a path come from the
//! same arithmetic that seeds the collections, so a call made up here meets things that are there.
//!
//! Must not: look at what is held.

use super::faker::{Faker, Fill};
use super::request::ignored;
use super::route::Template;
use super::store::key_of;
use super::words;
use super::world::{ALWAYS, World};
use crate::connectors::document::Place;
use crate::json::{Map, Value, json};

impl World {
    /// Arguments by their names among the tool's arguments.
    pub(super) fn sample(&self, index: usize) -> Map<String, Value> {
        let operation = self.book.operation(index);
        let template = Template::parse(&operation.path);
        let mut path_values: Map<String, Value> = Map::new();
        let mut concrete: Vec<String> = Vec::new();
        for (position, segment) in template.0.iter().enumerate() {
            let terminal = position + 1 == template.0.len();
            if let Some(name) = segment.parameter() {
                let value = self.path_value(index, name, &concrete, terminal);
                concrete.push(key_of(&value));
                path_values.insert(name.to_owned(), value);
                continue;
            }
            let mut found: Vec<(String, Value)> = Vec::new();
            for parameter in &operation.parameters {
                let value = self.path_value(index, &parameter.name, &[], false);
                found.push((parameter.name.clone(), value));
            }
            concrete.push(segment.fill(|name| {
                found
                    .iter()
                    .find(|(known, _)| known == name)
                    .map_or_else(String::new, |(_, value)| key_of(value))
            }));
            if segment.literal().is_none() {
                let own = operation.parameters.iter().filter(|parameter| parameter.place == Place::Path);
                for parameter in own {
                    if let Some((_, value)) = found.iter().find(|(known, _)| *known == parameter.name) {
                        path_values.entry(parameter.name.clone()).or_insert_with(|| value.clone());
                    }
                }
            }
        }
        let mut arguments = Map::new();
        for (position, parameter) in operation.parameters.iter().enumerate() {
            if parameter.fixed.is_some() {
                continue;
            }
            let value = match parameter.place {
                Place::Path => path_values.get(&parameter.name).cloned().unwrap_or_else(|| "practice".into()),
                Place::Header if ignored(&parameter.name) => continue,
                Place::Header if parameter.name.eq_ignore_ascii_case("if-match") && parameter.required => {
                    "*".into()
                }
                _ if parameter.required => self.parameter_value(index, position),
                _ => continue,
            };
            arguments.insert(parameter.argument.clone(), value);
        }
        if let Some(body) = &operation.body
            && let Some(value) = self.sample_body(index)
        {
            arguments.insert(body.argument.clone(), value);
        }
        arguments
    }

    fn parameter_value(&self, index: usize, position: usize) -> Value {
        let (parameter, view) = self.book.parameter(index, position);
        let mut faker = self.faker(ALWAYS, Fill::Required, &parameter.name, 0);
        let made = faker.make(view, |value| self.book.check_parameter(index, position, value).is_ok());
        match made {
            Value::Array(items) if items.is_empty() => match view.items() {
                Some(items) => json!([faker.value(items, &parameter.name, 1)]),
                None => json!(["practice"]),
            },
            other => other,
        }
    }

    fn path_value(&self, index: usize, name: &str, before: &[String], terminal: bool) -> Value {
        let operation = self.book.operation(index);
        if let Some((_, collection)) = self.plan.find(before).filter(|(_, collection)| collection.addressed) {
            let count = collection.seeds(&self.book, self.seeds);
            let removes = terminal && operation.method == "DELETE";
            let number = if removes { count.saturating_sub(1) } else { 0 };
            return collection.name(&self.book, &super::world::join(before), number, self.seed);
        }
        let position = operation.parameters.iter().position(|parameter| parameter.name == name);
        let value =
            position.map_or_else(|| words::uuid(0).into(), |position| self.parameter_value(index, position));
        match value {
            // a name in a path holds no slash
            Value::String(text) if text.contains('/') => text.replace('/', "").into(),
            other => other,
        }
    }

    fn sample_body(&self, index: usize) -> Option<Value> {
        let view = self.book.body(index)?;
        if self.book.operation(index).body.as_ref().is_some_and(|body| body.binary) {
            return Some("cHJhY3RpY2U=".into());
        }
        let fits = |value: &Value| self.book.check_body(index, value).is_ok();
        let noun = words::singular(self.book.operation(index).path.rsplit('/').next().unwrap_or("thing"));
        let mut faker = self.faker(ALWAYS, Fill::Required, &noun, 0);
        let made = faker.make(view, fits);
        let full = match made {
            Value::Array(items) => Value::Array(steps(&faker, view, items)),
            other => other,
        };
        if fits(&full) {
            return Some(full);
        }
        // a document may forbid every step that has a value
        let mut removal = full;
        for step in removal.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            step.insert("op".into(), "remove".into());
            step.shift_remove("value");
        }
        if removal.is_array() && fits(&removal) {
            return Some(removal);
        }
        let mut faker = self.faker(ALWAYS, Fill::All, &noun, 0);
        let made = faker.make(view, fits);
        fits(&made).then_some(made)
    }
}

/// A list with at least one item; the steps of a patch with their values.
fn steps(faker: &Faker<'_>, view: super::recipe::View<'_>, mut items: Vec<Value>) -> Vec<Value> {
    let Some(place) = view.items() else { return items };
    if items.is_empty() {
        faker.budget.set(1000);
        items.push(faker.value(place, faker.noun, 1));
    }
    for item in &mut items {
        let Value::Object(step) = item else { continue };
        let changes = matches!(step.get("op").and_then(Value::as_str), Some("add" | "replace"));
        if changes && !step.contains_key("value") {
            let value = match place.property("value") {
                Some(view) => faker.value(view, "value", 1),
                None => "practice".into(),
            };
            step.insert("value".into(), value);
        }
    }
    items
}
