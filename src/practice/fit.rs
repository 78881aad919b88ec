//! Mends a value until it fits a schema.
//!
//! Owns [`fit`]. The idea: what was stored (a client's words, an example of the document) is kept where the schema
//! allows it, and replaced by a made value only where it does not.
//!
//! Must not: drop what the schema leaves open.

use super::faker::{Faker, clamp, fit_length};
use super::pattern;
use super::recipe::{Flat, View, is};
use crate::json::{Map, Value};

/// Levels that are looked at.
const DEEPEST: usize = 20;

/// The value, mended.
pub(super) fn fit(faker: &Faker<'_>, view: View<'_>, value: Value) -> Value {
    place(faker, view, value, faker.noun, 0)
}

fn place(faker: &Faker<'_>, view: View<'_>, value: Value, name: &str, depth: usize) -> Value {
    if depth > DEEPEST {
        return value;
    }
    let flat = view.flat(|view, group| best(view, group, &value));
    if let Some(constant) = flat.constant {
        return constant.clone();
    }
    if let Some(choices) = flat.choices {
        return if choices.contains(&value) { value } else { faker.value(view, name, depth) };
    }
    if !flat.allows(&value) {
        return match (flat.main_type(), &value) {
            (Some("string"), Value::Number(_) | Value::Bool(_)) => {
                place(faker, view, Value::String(value.to_string()), name, depth)
            }
            _ => faker.value(view, name, depth),
        };
    }
    match value {
        Value::Object(object) => Value::Object(mend_object(faker, view, &flat, object, depth)),
        Value::Array(items) => Value::Array(mend_array(faker, view, &flat, items, name, depth)),
        Value::String(text) => mend_text(faker, view, &flat, text, name, depth),
        Value::Number(number) => {
            let is_number = flat.types.iter().any(|kind| matches!(*kind, "number" | "integer"));
            let wish = number.as_f64().unwrap_or(0.0);
            let clamped = if is_number { clamp(&flat, wish) } else { Value::Number(number.clone()) };
            if clamped.as_f64() == Some(wish) { Value::Number(number) } else { clamped }
        }
        other => other,
    }
}

fn mend_object(
    faker: &Faker<'_>,
    view: View<'_>,
    flat: &Flat<'_>,
    object: Map<String, Value>,
    depth: usize,
) -> Map<String, Value> {
    let mut mended = Map::new();
    for (name, value) in object {
        match flat.properties.get(name.as_str()) {
            Some(schema) => {
                let place_view = view.of(schema);
                let drop_null = value.is_null() && !flat.required.contains(&name.as_str());
                if drop_null && !place_view.plain().types.contains(&"null") {
                    continue;
                }
                let fitted = place(faker, place_view, value, &name, depth + 1);
                mended.insert(name, fitted);
            }
            None if flat.closed && flat.additional.is_none() => {}
            None => {
                let fitted = match flat.additional {
                    Some(schema) => place(faker, view.of(schema), value, &name, depth + 1),
                    None => value,
                };
                mended.insert(name, fitted);
            }
        }
    }
    for name in &flat.required {
        if !mended.contains_key(*name) {
            let made = match flat.properties.get(name).copied().or(flat.additional) {
                Some(schema) => faker.value(view.of(schema), name, depth + 1),
                None => "practice".into(),
            };
            mended.insert((*name).to_owned(), made);
        }
    }
    mended
}

fn mend_array(
    faker: &Faker<'_>,
    view: View<'_>,
    flat: &Flat<'_>,
    items: Vec<Value>,
    name: &str,
    depth: usize,
) -> Vec<Value> {
    let schema = flat.items.filter(|schema| schema.is_object());
    let mut mended: Vec<Value> = items
        .into_iter()
        .take(flat.max_items.unwrap_or(usize::MAX))
        .map(|item| match schema {
            Some(schema) => place(faker, view.of(schema), item, name, depth + 1),
            None => item,
        })
        .collect();
    if flat.unique {
        let mut seen: Vec<Value> = Vec::new();
        mended.retain(|item| {
            let new = !seen.contains(item);
            if new {
                seen.push(item.clone());
            }
            new
        });
    }
    while mended.len() < flat.min_items.unwrap_or(0).min(50) {
        let made = schema.map_or_else(
            || format!("practice {}", mended.len()).into(),
            |schema| faker.value(view.of(schema), name, depth + 1),
        );
        mended.push(made);
    }
    mended
}

fn mend_text(
    faker: &Faker<'_>,
    view: View<'_>,
    flat: &Flat<'_>,
    text: String,
    name: &str,
    depth: usize,
) -> Value {
    let formed = match flat.format {
        _ if !faker.formats => true,
        Some("uuid") => uuid::Uuid::parse_str(&text).is_ok(),
        Some("date-time") => text.parse::<jiff::Timestamp>().is_ok(),
        _ => true,
    };
    if !formed {
        return faker.value(view, name, depth);
    }
    let text = fit_length(text, flat);
    let Some(source) = flat.pattern else { return Value::String(text) };
    let matches = regex::Regex::new(source).is_ok_and(|pattern| pattern.is_match(&text));
    if matches { Value::String(text) } else { pattern::sample(source, 0).unwrap_or(text).into() }
}

/// The branch that suits a value best: right type, most of its properties, no required one missing.
fn best<'a>(view: View<'a>, group: &'a [Value], value: &Value) -> usize {
    let score = |branch: &'a Value| {
        let flat = view.of(branch).plain();
        let mut score: i64 = if flat.allows(value) { 100 } else { 0 };
        if let Some(object) = value.as_object() {
            for (name, held) in object {
                match flat.properties.get(name.as_str()) {
                    Some(schema) => {
                        let place = view.of(schema).plain();
                        let chosen = place.choices.is_none_or(|choices| choices.contains(held));
                        let constant = place.constant.is_none_or(|constant| constant == held);
                        score += if chosen && constant && place.allows(held) { 2 } else { -20 };
                    }
                    None if flat.closed => score -= 5,
                    None => {}
                }
            }
            let missing = flat.required.iter().filter(|name| !object.contains_key(**name)).count();
            score -= 3 * i64::try_from(missing).unwrap_or(i64::MAX / 8);
        }
        if let Some(choices) = flat.choices {
            score += if choices.contains(value) { 10 } else { -50 };
        }
        if flat.types.iter().any(|kind| *kind == "null" && !is("null", value)) {
            score -= 1;
        }
        score
    };
    let mut winner = (0, i64::MIN);
    for (index, branch) in group.iter().enumerate() {
        let score = score(branch);
        if score > winner.1 {
            winner = (index, score);
        }
    }
    winner.0
}

#[cfg(test)]
mod tests {
    use super::fit;
    use crate::json::json;
    use crate::practice::faker::{Faker, Fill};
    use crate::practice::recipe::View;

    #[test]
    fn what_fits_is_kept_and_what_does_not_is_mended() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["uuid", "size"],
            "properties": {
                "uuid": {"type": "string", "format": "uuid"},
                "size": {"type": "integer", "maximum": 10},
                "note": {"type": "string"},
                "side": {"oneOf": [
                    {"type": "object", "required": ["port"], "properties": {"port": {"type": "string"}}},
                    {"type": "object", "required": ["router"], "properties": {"router": {"type": "string"}}}
                ]}
            }
        });
        let mut faker = Faker::new(1, "2026-01-15T09:00:00Z", Fill::All, "port", 0);
        faker.formats = true;
        let value = json!({"size": 99, "note": "kept", "other": 1, "uuid": "no", "side": {"router": "r"}});
        let mended = fit(&faker, View::new(&schema), value);
        assert_eq!(mended["size"], 10);
        assert_eq!(mended["note"], "kept");
        assert_eq!(mended["side"], json!({"router": "r"}));
        assert!(mended.get("other").is_none());
        assert!(uuid::Uuid::parse_str(mended["uuid"].as_str().unwrap()).is_ok());
    }
}
