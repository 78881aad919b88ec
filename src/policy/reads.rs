//! Which arguments a policy reads, and as what.
//!
//! Owns [`Reads`] and [`Kind`]. The idea: the type of `context.arguments.size` follows from what the policy does with
//! it (`size < 10` wants a Long), so the Cedar schema of the context is made from the policies themselves, and a value
//! of another type is refused instead of being compared as if it were equal to nothing.
//!
//! Must not: evaluate anything.

use std::collections::BTreeMap;

use serde_json::json;

use crate::json::{Map, Value};

/// The Cedar type of an argument.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Text,
    Long,
    Bool,
    Decimal,
    Address,
    Time,
    Set(Box<Kind>),
    /// Only its presence is asked for.
    Present,
    /// An object of which parts are read.
    Record,
}

impl Kind {
    /// What it is, for people.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Long => "a whole number",
            Self::Bool => "true or false",
            Self::Decimal => "a decimal",
            Self::Address => "an IP address",
            Self::Time => "a time",
            Self::Set(_) => "a list",
            Self::Present => "something that is there or not",
            Self::Record => "an object",
        }
    }

    pub(super) fn schema(&self) -> Value {
        match self {
            Self::Text => json!({"type": "String"}),
            Self::Long => json!({"type": "Long"}),
            Self::Bool | Self::Present => json!({"type": "Boolean"}),
            Self::Decimal => json!({"type": "Extension", "name": "decimal"}),
            Self::Address => json!({"type": "Extension", "name": "ipaddr"}),
            Self::Time => json!({"type": "Extension", "name": "datetime"}),
            Self::Set(element) => json!({"type": "Set", "element": element.schema()}),
            Self::Record => json!({"type": "Record", "attributes": {}}),
        }
    }
}

/// A way into the arguments: property names from the outside in.
pub(super) type Path = Vec<String>;

/// The arguments that policies read.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads {
    /// Each path with its type.
    pub(super) paths: BTreeMap<Path, Kind>,
}

/// Why the reads of a policy cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// It uses `context` other than by naming arguments.
    Context,
    /// It reads this argument as two different types.
    Mixed(String),
}

impl Reads {
    /// Adds what one clause (a `when` or `unless` body, in Cedar's JSON form) reads. True if it reads anything.
    pub(super) fn add(&mut self, body: &Value) -> Result<bool, Odd> {
        let mut found = Vec::new();
        walk(body, Some(Kind::Bool), &mut found)?;
        let any = !found.is_empty();
        for (path, kind) in found {
            for end in 1..path.len() {
                self.settle(path[..end].to_vec(), Kind::Record)?;
            }
            self.settle(path, kind)?;
        }
        Ok(any)
    }

    /// Adds the reads of another.
    pub(super) fn join(&mut self, other: &Reads) -> Result<(), Odd> {
        for (path, kind) in &other.paths {
            self.settle(path.clone(), kind.clone())?;
        }
        Ok(())
    }

    fn settle(&mut self, path: Path, kind: Kind) -> Result<(), Odd> {
        match self.paths.get_mut(&path) {
            None => {
                self.paths.insert(path, kind);
            }
            Some(known) if *known == kind || kind == Kind::Present => {}
            Some(known) if *known == Kind::Present => *known = kind,
            Some(_) => return Err(Odd::Mixed(path.join("."))),
        }
        Ok(())
    }

    /// The Cedar type of `context.arguments`.
    pub(super) fn schema(&self) -> Value {
        let mut root = json!({"type": "Record", "attributes": {}});
        for (path, kind) in &self.paths {
            // Shorter paths come first in the map, so each parent is there already.
            let mut at = &mut root;
            for name in &path[..path.len().saturating_sub(1)] {
                at = &mut at["attributes"][name.as_str()];
            }
            let Some(name) = path.last() else { continue };
            let mut schema = kind.schema();
            schema["required"] = Value::Bool(false);
            at["attributes"][name.as_str()] = schema;
        }
        root
    }
}

type Found = Vec<(Path, Kind)>;

fn walk(expr: &Value, wanted: Option<Kind>, found: &mut Found) -> Result<(), Odd> {
    if let Some(path) = argument(expr)? {
        found.push((path, wanted.unwrap_or(Kind::Text)));
        return Ok(());
    }
    let Value::Object(object) = expr else {
        if let Value::Array(items) = expr {
            for item in items {
                walk(item, None, found)?;
            }
        }
        return Ok(());
    };
    let Some((operator, operand)) = object.iter().next() else { return Ok(()) };
    if context_path(expr).is_some_and(|path| path == ["profile"]) {
        return Ok(());
    }
    let (left, right) = (&operand["left"], &operand["right"]);
    match operator.as_str() {
        "Var" if operand == "context" => Err(Odd::Context),
        "Value" | "Slot" | "Var" => Ok(()),
        "has" => match context_path(left) {
            Some(mut path) => {
                path.push(operand["attr"].as_str().unwrap_or_default().to_owned());
                if path == ["profile"] {
                    return Ok(());
                }
                if path.remove(0) != "arguments" {
                    return Err(Odd::Context);
                }
                if !path.is_empty() {
                    found.push((path, Kind::Present));
                }
                Ok(())
            }
            None => walk(left, None, found),
        },
        "==" | "!=" => {
            let kind = literal(left).or_else(|| literal(right));
            walk(left, kind.clone(), found)?;
            walk(right, kind, found)
        }
        "<" | "<=" | ">" | ">=" => {
            let kind = literal(left).or_else(|| literal(right)).or(Some(Kind::Long));
            walk(left, kind.clone(), found)?;
            walk(right, kind, found)
        }
        "+" | "-" | "*" => {
            walk(left, Some(Kind::Long), found)?;
            walk(right, Some(Kind::Long), found)
        }
        "neg" => walk(&operand["arg"], Some(Kind::Long), found),
        "!" => walk(&operand["arg"], Some(Kind::Bool), found),
        "&&" | "||" => {
            walk(left, Some(Kind::Bool), found)?;
            walk(right, Some(Kind::Bool), found)
        }
        "if-then-else" => {
            walk(&operand["if"], Some(Kind::Bool), found)?;
            walk(&operand["then"], wanted.clone(), found)?;
            walk(&operand["else"], wanted, found)
        }
        "like" => walk(left, Some(Kind::Text), found),
        "contains" => {
            let element = match literal(left) {
                Some(Kind::Set(element)) => Some(*element),
                _ => literal(right),
            };
            walk(left, Some(Kind::Set(Box::new(element.clone().unwrap_or(Kind::Text)))), found)?;
            walk(right, element, found)
        }
        "containsAll" | "containsAny" => {
            let kind = literal(left).or_else(|| literal(right)).unwrap_or(Kind::Set(Box::new(Kind::Text)));
            walk(left, Some(kind.clone()), found)?;
            walk(right, Some(kind), found)
        }
        "isEmpty" => walk(&operand["arg"], Some(Kind::Set(Box::new(Kind::Text))), found),
        "isIpv4" | "isIpv6" | "isLoopback" | "isMulticast" | "isInRange" => {
            each(operand, Some(&Kind::Address), found)
        }
        "lessThan" | "lessThanOrEqual" | "greaterThan" | "greaterThanOrEqual" => {
            each(operand, Some(&Kind::Decimal), found)
        }
        "offset" | "toDate" | "toTime" | "durationSince" => each(operand, Some(&Kind::Time), found),
        "Record" => each(&operand.as_object().map_or(Value::Null, values), None, found),
        _ => each(operand, None, found),
    }
}

fn values(object: &Map<String, Value>) -> Value {
    Value::Array(object.values().cloned().collect())
}

fn each(operand: &Value, kind: Option<&Kind>, found: &mut Found) -> Result<(), Odd> {
    match operand {
        Value::Array(items) => items.iter().try_for_each(|item| walk(item, kind.cloned(), found)),
        // The operands of a method (`left`, `right`, `arg`).
        Value::Object(parts) => parts
            .values()
            .filter(|part| part.is_object())
            .try_for_each(|part| walk(part, kind.cloned(), found)),
        _ => Ok(()),
    }
}

/// `context.a.b` as `[a, b]`.
fn context_path(expr: &Value) -> Option<Path> {
    if expr["Var"] == "context" {
        return Some(Vec::new());
    }
    let access = expr.get(".")?;
    let mut path = context_path(&access["left"])?;
    path.push(access["attr"].as_str()?.to_owned());
    Some(path)
}

/// `context.arguments.a.b` as `[a, b]`.
fn argument(expr: &Value) -> Result<Option<Path>, Odd> {
    match context_path(expr) {
        None => Ok(None),
        Some(path) if path.is_empty() => Err(Odd::Context),
        // the same for every call, whatever its arguments
        Some(path) if path == ["profile"] => Ok(None),
        Some(mut path) => {
            if path.remove(0) == "arguments" && !path.is_empty() {
                Ok(Some(path))
            } else {
                Err(Odd::Context)
            }
        }
    }
}

/// The type of something that is no argument.
fn literal(expr: &Value) -> Option<Kind> {
    let (operator, operand) = expr.as_object()?.iter().next()?;
    match operator.as_str() {
        "Value" => match operand {
            Value::String(_) => Some(Kind::Text),
            Value::Number(_) => Some(Kind::Long),
            Value::Bool(_) => Some(Kind::Bool),
            Value::Object(extension) => match extension.get("__extn")?.get("fn")?.as_str()? {
                "decimal" => Some(Kind::Decimal),
                "ip" => Some(Kind::Address),
                "datetime" => Some(Kind::Time),
                _ => None,
            },
            Value::Array(items) => {
                let first = literal(&json!({"Value": items.first()?}))?;
                Some(Kind::Set(Box::new(first)))
            }
            Value::Null => None,
        },
        "decimal" => Some(Kind::Decimal),
        "ip" => Some(Kind::Address),
        "datetime" | "offset" | "toDate" => Some(Kind::Time),
        "+" | "-" | "*" | "neg" => Some(Kind::Long),
        "Set" => Some(Kind::Set(Box::new(literal(operand.as_array()?.first()?)?))),
        "." => match (operand["left"]["Var"].as_str()?, operand["attr"].as_str()?) {
            ("principal", "scopes" | "roles") => Some(Kind::Set(Box::new(Kind::Text))),
            ("principal" | "resource", _) | ("context", "profile") => Some(Kind::Text),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn reads(condition: &str) -> Result<Reads, Odd> {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let policy = cedar_policy::Policy::from_str(&text).unwrap().to_json().unwrap();
        let mut reads = Reads::default();
        reads.add(&policy["conditions"][0]["body"]).map(|_| reads)
    }

    fn kind(condition: &str, path: &str) -> Kind {
        let path: Path = path.split('.').map(String::from).collect();
        reads(condition).unwrap().paths.remove(&path).unwrap()
    }

    #[test]
    fn the_type_follows_from_the_use() {
        let set = |kind| Kind::Set(Box::new(kind));
        assert_eq!(kind("context.arguments.size < 10", "size"), Kind::Long);
        assert_eq!(kind("10 == context.arguments.size", "size"), Kind::Long);
        assert_eq!(kind("context.arguments.metro like \"F*\"", "metro"), Kind::Text);
        assert_eq!(kind("context.arguments.metro == resource.toolset", "metro"), Kind::Text);
        assert_eq!(kind("!context.arguments.force", "force"), Kind::Bool);
        assert_eq!(kind("context.arguments.force && true", "force"), Kind::Bool);
        assert_eq!(kind("[\"a\",\"b\"].contains(context.arguments.x)", "x"), Kind::Text);
        assert_eq!(kind("[1,2].contains(context.arguments.x)", "x"), Kind::Long);
        assert_eq!(kind("context.arguments.tags.contains(\"prod\")", "tags"), set(Kind::Text));
        assert_eq!(kind("context.arguments.ids.containsAny([1])", "ids"), set(Kind::Long));
        assert_eq!(kind("context.arguments.ip.isInRange(ip(\"10.0.0.0/8\"))", "ip"), Kind::Address);
        assert_eq!(kind("context.arguments.cost.lessThan(decimal(\"1.5\"))", "cost"), Kind::Decimal);
        assert_eq!(kind("context.arguments.at < datetime(\"2026-01-01\")", "at"), Kind::Time);
        assert_eq!(kind("context.arguments has dry", "dry"), Kind::Present);
        assert_eq!(kind("context.arguments.order.term == 12", "order"), Kind::Record);
        assert_eq!(kind("context.arguments.order.term == 12", "order.term"), Kind::Long);
        assert_eq!(kind("context.arguments has size && context.arguments.size > 1", "size"), Kind::Long);
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        assert_eq!(reads("context == {}").unwrap_err(), Odd::Context);
        assert_eq!(reads("context.method == \"x\"").unwrap_err(), Odd::Context);
        assert_eq!(reads("context.arguments == {}").unwrap_err(), Odd::Context);
        let mixed = reads("context.arguments.a == 1 || context.arguments.a == \"1\"").unwrap_err();
        assert_eq!(mixed, Odd::Mixed("a".into()));
        assert!(reads("resource.effect == \"read\"").unwrap().paths.is_empty());
    }
}
