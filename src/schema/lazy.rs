//! A schema that is made and compiled when it is first needed.
//!
//! Owns [`LazySchema`] and [`Maker`]. The idea: of thousands of tools a server offers, few are ever looked at; what a
//! schema is made of is shared between all of them, and only those that are called keep a schema of their own.
//!
//! Must not: make a schema for the sake of its arguments' names.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::Schema;
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};

/// What makes a schema when somebody asks for it.
pub trait Maker: Send + Sync {
    /// The schema: always the same one, an object's, and one that [`Schema::vet`] lets through.
    fn make(&self) -> Value;

    /// The names of the arguments, as [`Maker::make`] has them, and whether each must be given.
    fn arguments(&self) -> Vec<(String, bool)>;
}

/// A schema that is compiled when it is first needed, once.
#[derive(Clone)]
pub struct LazySchema(Arc<Lazy>);

struct Lazy {
    maker: Option<Box<dyn Maker>>,
    source: OnceLock<Arc<Value>>,
    compiled: OnceLock<Result<Schema, String>>,
}

impl fmt::Debug for LazySchema {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("LazySchema").field(&self.once()).finish()
    }
}

impl LazySchema {
    /// Keeps the source; nothing is compiled yet.
    pub fn new(source: impl Into<Arc<Value>>) -> Self {
        Self(Arc::new(Lazy { maker: None, source: OnceLock::from(source.into()), compiled: OnceLock::new() }))
    }

    /// Keeps what makes the source.
    pub fn made(maker: impl Maker + 'static) -> Self {
        Self(Arc::new(Lazy {
            maker: Some(Box::new(maker)),
            source: OnceLock::new(),
            compiled: OnceLock::new(),
        }))
    }

    /// An object without properties that refuses any.
    pub fn empty_object() -> Self {
        Self::new(json!({"type": "object", "properties": {}, "additionalProperties": false}))
    }

    /// The schema as JSON. It is kept from now on: for tools that are called.
    pub fn source(&self) -> &Arc<Value> {
        self.0.source.get_or_init(|| self.make())
    }

    /// The schema as JSON, for those who look at it once: nothing is kept.
    pub fn once(&self) -> Arc<Value> {
        self.0.source.get().cloned().unwrap_or_else(|| self.make())
    }

    /// The schema, where somebody gave it as it is. What a [`Maker`] makes, the maker answers for.
    pub fn given(&self) -> Option<&Arc<Value>> {
        if self.0.maker.is_none() { self.0.source.get() } else { None }
    }

    /// The names of the arguments in their order, and whether each must be given.
    pub fn arguments(&self) -> Vec<(String, bool)> {
        if let Some(maker) = &self.0.maker {
            return maker.arguments();
        }
        let source = self.once();
        let required = source.get("required").and_then(Value::as_array);
        let needed = |name: &str| required.is_some_and(|list| list.iter().any(|one| one == name));
        let properties = source.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().map(|(name, _)| (name.clone(), needed(name))).collect()
    }

    /// The compiled schema, or (each time) the `BadConfig` error that compiling it gave.
    pub fn compiled(&self) -> Result<&Schema> {
        let build =
            || Schema::build(Arc::clone(self.source()), None).map_err(|error| error.message().to_owned());
        self.0
            .compiled
            .get_or_init(build)
            .as_ref()
            .map_err(|message| Error::new(Kind::BadConfig, message.clone()))
    }

    fn make(&self) -> Arc<Value> {
        Arc::new(self.0.maker.as_ref().map_or(Value::Bool(false), |maker| maker.make()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two;

    impl Maker for Two {
        fn make(&self) -> Value {
            json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["b"]})
        }

        fn arguments(&self) -> Vec<(String, bool)> {
            vec![(String::from("a"), false), (String::from("b"), true)]
        }
    }

    #[test]
    fn what_is_made_is_what_was_given() {
        let (made, given) = (LazySchema::made(Two), LazySchema::new(Two.make()));
        assert_eq!(made.arguments(), given.arguments());
        assert_eq!(made.once(), *given.source());
        assert!(made.given().is_none() && given.given().is_some());
        assert!(!Arc::ptr_eq(&made.once(), &made.once()), "nothing is kept for those who look once");
        assert!(Arc::ptr_eq(made.source(), &made.clone().once()), "what is kept is shared");
        assert!(made.compiled().unwrap().check(&json!({"b": 1})).is_ok());
        assert!(made.compiled().unwrap().check(&json!({"a": 1})).is_err());
    }
}
