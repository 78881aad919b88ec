//! Where a page begins.
//!
//! Owns [`At`]. The idea: where a list goes on is all that a handle holds, so a list that runs in circles has to be seen
//! from there: each place carries the count of pages and one earlier mark, which is set anew at each power of two (Brent).
//!
//! Must not: hold what the caller asked for; the handle does.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::json::{Digest, Value, json};

/// Where a page begins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::connectors) struct At {
    /// What is sent in the argument that says where to go on.
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    pub(super) send: Option<Value>,
    /// The query of the next address.
    #[serde(rename = "q", skip_serializing_if = "Option::is_none")]
    pub(super) query: Option<String>,
    /// Items of the page that were shown already.
    #[serde(rename = "k", skip_serializing_if = "is_zero")]
    pub(super) skip: usize,
    /// Pages before it.
    #[serde(rename = "n", skip_serializing_if = "is_zero")]
    pub(super) pages: usize,
    /// Items before it.
    #[serde(rename = "c", skip_serializing_if = "is_zero")]
    pub(super) items: usize,
    /// What stands for an earlier page.
    #[serde(rename = "m", skip_serializing_if = "Option::is_none")]
    pub(super) mark: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl At {
    /// From what a handle holds; nothing for the beginning.
    pub(in crate::connectors) fn read(value: Option<&Value>) -> Result<Self> {
        let Some(value) = value else { return Ok(Self::default()) };
        serde_json::from_value(value.clone()).map_err(|cause| {
            let message =
                "The handle is of an earlier version of this server; make the call again without it.";
            Error::new(Kind::BadArguments, message).with_source(cause)
        })
    }

    /// What an upstream wants to be sent, as it is written and as it is meant.
    pub(super) fn told(&self) -> Value {
        let query = self.query.as_deref().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let pairs: Vec<Value> = pairs.map(|(name, value)| json!([name, value])).collect();
        json!([self.send, query, pairs])
    }

    /// What tells it from other places.
    pub(super) fn key(&self) -> String {
        print(&json!([self.send, self.query]))
    }

    /// The same place, so many of its items later.
    pub(super) fn past(&self, items: usize) -> Self {
        Self { skip: self.skip.saturating_add(items), ..self.clone() }
    }

    /// For a handle; null for the beginning.
    pub(super) fn into_value(self) -> Value {
        if self == Self::default() { Value::Null } else { serde_json::to_value(self).unwrap_or_default() }
    }
}

/// Stands for a value.
pub(super) fn print(value: &Value) -> String {
    Digest::of(value.to_string().as_bytes()).hex()[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_short_in_a_handle_and_comes_back_whole() {
        let at = At { send: Some(json!("abc")), pages: 3, mark: Some(String::from("x")), ..At::default() };
        let value = at.clone().into_value();
        assert_eq!(value.to_string(), r#"{"s":"abc","n":3,"m":"x"}"#);
        assert_eq!(At::read(Some(&value)).unwrap(), at);
        assert_eq!(At::default().into_value(), Value::Null);
        assert!(At::read(Some(&json!({"s": 1, "k": "x"}))).is_err());
    }
}
