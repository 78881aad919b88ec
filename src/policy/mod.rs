//! Who may do what.
//!
//! Owns [`Effect`], [`Verdict`], [`Policy`] and the preset policy sets. The idea: Cedar decides two actions, `call`
//! and `callUnattended`; permitted to call but not unattended means that a person is asked. Whatever cannot be
//! decided (a policy that errs, an argument that cannot be mapped, one that a policy reads and the call leaves out) is
//! denied, so that dropping or retyping an argument never turns a denial into something milder.
//!
//! What a policy sees:
//!
//! ```text
//! principal  Principal::"key:ci"   id, kind, scopes, roles; owner, tenant, issuer, bearer (optional); in
//!                                  Role::"..." and Tenant::"..."
//! action     Action::"call", Action::"callUnattended"
//! resource   Tool::"ports_list"    name, family, effect, toolset, source, target (optional); in Toolset::"..." and
//!                                  Connector::"..."
//! context    context.profile       development, staging or production
//!            context.arguments.NAME, each optional: `context.arguments has size && context.arguments.size < 10`
//! ```
//!
//! `published.rs` writes this down as a Cedar schema, with the types of each tool's arguments (`shape.rs`); `fits.rs`
//! refuses a policy that reads an argument which none of its tools takes.
//!
//! Above the policies stand the scopes: `read` covers reading, `write` covers reading, writing and destroying, `admin`
//! covers all; a tool's own scopes come on top. The preset `admin` wants the scope `admin` for destroying.
//!
//! A tool that is denied whatever its arguments is not listed, and calling it is answered as if it did not exist,
//! unless the policy that forbids it carries the annotation `@said("yes")`.
//!
//! Must not: know the line, or what a tool is beyond its [`Resource`].

mod arguments;
mod cache;
mod entities;
mod explain;
mod filter;
mod fits;
mod judge;
mod load;
mod published;
mod reads;
mod shape;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::json::Value;

pub use explain::{Considered, Explanation, Holds, Place, Trouble};
pub use filter::{ALL, FINDERS, Filter, Search, is_in, is_own_source, is_own_toolset, switched_on};
pub use fits::Finding;
pub use judge::{Judgement, Policy};

/// What a call does to the world. Undeclared means write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Changes something.
    #[default]
    Write,
    /// Removes something, or cannot be undone.
    Destroy,
}

impl Effect {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destroy => "destroy",
        }
    }

    /// The scopes of which a principal needs one.
    pub const fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Read => &["read", "write", "admin"],
            Self::Write | Self::Destroy => &["write", "admin"],
        }
    }
}

/// What policy says about a call, mildest first: the strictest of several wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may run.
    Allow,
    /// A person has to agree first.
    Ask,
    /// It may not run.
    Deny,
}

impl Verdict {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// Which policies hold. In a configuration file either `policy = "standard"` or a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// `read-only`, `standard`, `admin`, or the path of a `.cedar` file.
    pub set: String,
    /// More policy files, added to the set.
    pub files: Vec<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self { set: String::from("read-only"), files: Vec::new() }
    }
}

impl Config {
    /// The set of that name or path, and nothing else.
    pub fn of(set: impl Into<String>) -> Self {
        Self { set: set.into(), files: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    set: String,
    files: Vec<PathBuf>,
}

impl Default for Table {
    fn default() -> Self {
        let Config { set, files } = Config::default();
        Self { set, files }
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Config;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(
                    "the name of a policy set, the path of a .cedar file, or a table with `set` and `files`",
                )
            }
            fn visit_str<E>(self, set: &str) -> Result<Config, E> {
                Ok(Config::of(set))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Config, A::Error> {
                let Table { set, files } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Config { set, files })
            }
        }
        reader.deserialize_any(Either)
    }
}

/// The schema of a tool's arguments, for those policies that read any: it may have to be made first.
pub trait Input: std::fmt::Debug + Sync {
    /// The schema, kept from now on.
    fn kept(&self) -> &Value;

    /// The schema, for those who look at it once.
    fn once(&self) -> Arc<Value>;
}

impl Input for Value {
    fn kept(&self) -> &Value {
        self
    }

    fn once(&self) -> Arc<Value> {
        Arc::new(self.clone())
    }
}

/// What is called, as policies see it.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    /// The tool's name.
    pub name: &'a str,
    /// `tool`, `resource`, `template` or `prompt`.
    pub family: &'static str,
    /// What it does to the world.
    pub effect: Effect,
    /// The toolset it belongs to.
    pub toolset: &'a str,
    /// Where it comes from.
    pub source: &'a str,
    /// Method and address template of an upstream operation.
    pub target: Option<&'a str>,
    /// Scopes beyond those of the effect.
    pub scopes: &'a BTreeSet<String>,
    /// The schema of the arguments.
    pub input: &'a dyn Input,
}

/// The ids of the policies that decided, in order.
pub type Deciding = Arc<[Box<str>]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_a_name_or_a_table() {
        #[derive(Deserialize)]
        struct Whole {
            policy: Config,
        }
        let read = |text: &str| toml::from_str::<Whole>(text).map(|whole| whole.policy);
        assert_eq!(read("policy = \"admin\"").unwrap(), Config::of("admin"));
        let table = read("[policy]\nset = \"standard\"\nfiles = [\"more.cedar\"]").unwrap();
        assert_eq!(table, Config { set: "standard".into(), files: vec!["more.cedar".into()] });
        assert_eq!(read("[policy]").unwrap(), Config::default());
        assert!(read("[policy]\nsett = \"standard\"").is_err());
        assert!(read("policy = 3").is_err());
    }
}
