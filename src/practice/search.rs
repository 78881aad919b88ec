//! Which things a search means, and in which order.
//!
//! Owns [`matches`] and [`sort`]. The idea: an expression is `and`, `or`, or property, operator and values; a property
//! is a JSON Pointer, and a pointer that meets a list looks at each of its items.
//!
//! Must not: cut pages.

use std::cmp::Ordering;

use crate::json::Value;

/// Whether a thing satisfies a filter. What is no filter lets everything through.
pub(super) fn matches(thing: &Value, filter: &Value) -> bool {
    let list = |name: &str| filter.get(name).and_then(Value::as_array);
    let mut result = true;
    if let Some(all) = list("and") {
        result &= all.iter().all(|part| matches(thing, part));
    }
    if let Some(any) = list("or") {
        result &= any.is_empty() || any.iter().any(|part| matches(thing, part));
    }
    if let Some(property) = filter.get("property").and_then(Value::as_str) {
        let operator = filter.get("operator").and_then(Value::as_str).unwrap_or("=");
        let none = Vec::new();
        let values = list("values").unwrap_or(&none);
        result &= compare(&held(thing, property), operator, values);
    }
    result
}

/// The equalities that a filter asks for, so that made things can be made to satisfy it.
pub(super) fn equalities<'a>(filter: &'a Value, found: &mut Vec<(&'a str, &'a Value)>) {
    for part in filter.get("and").and_then(Value::as_array).into_iter().flatten() {
        equalities(part, found);
    }
    if let Some(first) = filter.get("or").and_then(Value::as_array).and_then(|any| any.first()) {
        equalities(first, found);
    }
    let operator = filter.get("operator").and_then(Value::as_str).unwrap_or("=");
    if let Some(property) = filter.get("property").and_then(Value::as_str)
        && matches!(operator, "=" | "IN")
        && let Some(value) = filter.get("values").and_then(Value::as_array).and_then(|all| all.first())
    {
        found.push((property, value));
    }
}

/// Every value that a property path leads to.
fn held<'a>(thing: &'a Value, property: &str) -> Vec<&'a Value> {
    let mut places = vec![thing];
    for token in property.trim_start_matches('/').split(['/', '.']) {
        let mut next = Vec::new();
        for place in places {
            match place {
                Value::Object(object) if token == "*" => next.extend(object.values()),
                Value::Object(object) => next.extend(object.get(token)),
                Value::Array(items) => next.extend(items.iter().filter_map(|item| item.get(token))),
                _ => {}
            }
        }
        places = next;
    }
    let mut values = Vec::new();
    for place in places {
        match place {
            Value::Array(items) => values.extend(items),
            other => values.push(other),
        }
    }
    values.retain(|value| !value.is_null());
    values
}

fn compare(held: &[&Value], operator: &str, values: &[Value]) -> bool {
    let operator = operator.trim().to_ascii_uppercase();
    let any = |test: &dyn Fn(&Value, &Value) -> bool| {
        held.iter().any(|one| values.iter().any(|value| test(one, value)))
    };
    let order = |wanted: &[Ordering]| {
        any(&|one, value| ordering(one, value).is_some_and(|order| wanted.contains(&order)))
    };
    let between = || {
        let [low, high] = values else { return false };
        held.iter().any(|one| {
            ordering(one, low).is_some_and(Ordering::is_ge)
                && ordering(one, high).is_some_and(Ordering::is_le)
        })
    };
    match operator.as_str() {
        "=" | "==" | "EQ" | "IN" => any(&same),
        "!=" | "<>" | "NE" | "NOT IN" => !any(&same),
        ">" => order(&[Ordering::Greater]),
        ">=" => order(&[Ordering::Greater, Ordering::Equal]),
        "<" => order(&[Ordering::Less]),
        "<=" => order(&[Ordering::Less, Ordering::Equal]),
        "LIKE" => any(&|one, value| like(one, value, false)),
        "ILIKE" | "ILKE" | "CONTAINS" => any(&|one, value| like(one, value, true)),
        "NOT LIKE" => !any(&|one, value| like(one, value, false)),
        "NOT ILIKE" => !any(&|one, value| like(one, value, true)),
        "BETWEEN" => between(),
        "NOT BETWEEN" => !between(),
        "IS NULL" => held.is_empty(),
        "IS NOT NULL" => !held.is_empty(),
        _ => false,
    }
}

fn same(one: &Value, other: &Value) -> bool {
    one == other || ordering(one, other) == Some(Ordering::Equal)
}

/// Order of two scalars; numbers that were written as text count as numbers.
fn ordering(one: &Value, other: &Value) -> Option<Ordering> {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    };
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.partial_cmp(&other),
        _ => Some(text(one)?.cmp(&text(other)?)),
    }
}

/// `LIKE`: `%` stands for anything; without one, the text may stand anywhere.
fn like(one: &Value, wanted: &Value, fold: bool) -> bool {
    let text = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if fold { text.to_lowercase() } else { text }
    };
    let (one, wanted) = (text(one), text(wanted));
    if !wanted.contains('%') {
        return one.contains(&wanted);
    }
    let parts: Vec<&str> = wanted.split('%').collect();
    let Some((first, rest)) = parts.split_first() else { return true };
    let Some((last, middle)) = rest.split_last() else { return true };
    let Some(mut left) = one.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// Sorts by a list of `{property, direction}`.
pub(super) fn sort(things: &mut [Value], criteria: &Value) {
    let Some(criteria) = criteria.as_array() else { return };
    things.sort_by(|one, other| {
        for criterion in criteria {
            let Some(property) = criterion.get("property").and_then(Value::as_str) else { continue };
            let (left, right) = (held(one, property), held(other, property));
            let order = match (left.first(), right.first()) {
                (Some(left), Some(right)) => ordering(left, right).unwrap_or(Ordering::Equal),
                (left, right) => left.is_some().cmp(&right.is_some()),
            };
            let down = criterion
                .get("direction")
                .and_then(Value::as_str)
                .is_some_and(|direction| direction.eq_ignore_ascii_case("desc"));
            if order != Ordering::Equal {
                return if down { order.reverse() } else { order };
            }
        }
        Ordering::Equal
    });
}

#[cfg(test)]
mod tests {
    use super::{matches, sort};
    use crate::json::{Value, json};

    fn thing() -> Value {
        json!({"name": "Port-1", "size": 100, "side": {"vlans": [{"tag": 7}, {"tag": 9}]}, "old": null})
    }

    #[test]
    fn every_operator() {
        let test = |property: &str, operator: &str, values: Value| {
            matches(
                &thing(),
                &json!({"and": [{"property": property, "operator": operator, "values": values}]}),
            )
        };
        assert!(test("/name", "=", json!(["Port-1"])) && !test("/name", "=", json!(["port-1"])));
        assert!(test("/name", "!=", json!(["x"])) && test("/size", ">", json!(["99"])));
        assert!(test("/size", "BETWEEN", json!([50, 100])) && !test("/size", "<", json!([100])));
        assert!(test("/name", "LIKE", json!(["P%-1"])) && test("/name", "ILIKE", json!(["port"])));
        assert!(!test("/name", "LIKE", json!(["port"])) && test("/side/vlans/tag", "IN", json!([9])));
        assert!(test("/old", "IS NULL", json!([])) && test("/name", "IS NOT NULL", json!([])));
        assert!(!test("/name", "SOUNDS LIKE", json!(["Port-1"])));
    }

    #[test]
    fn and_and_or_nest() {
        let filter = json!({"and": [
            {"property": "/size", "operator": "=", "values": [100]},
            {"or": [{"property": "/name", "operator": "=", "values": ["no"]},
                    {"property": "/name", "operator": "=", "values": ["Port-1"]}]}
        ]});
        assert!(matches(&thing(), &filter));
        assert!(matches(&thing(), &json!({})));
    }

    #[test]
    fn sorting_goes_both_ways() {
        let mut things = vec![json!({"n": 2}), json!({"n": 10}), json!({"n": 1})];
        sort(&mut things, &json!([{"property": "/n", "direction": "DESC"}]));
        assert_eq!(json!(things), json!([{"n": 10}, {"n": 2}, {"n": 1}]));
    }
}
