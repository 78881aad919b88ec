//! Service tokens: their ids open a door, so nobody gets to see them.
//!
//! Owns the exchange of ids for handles in results, and back in arguments. The idea: wherever a token's id stands in a
//! result (as an id, inside an address, in a message), its handle stands there instead.
//!
//! Must not: send.

use crate::connectors::flow::{Arguments, Outcome, Run, Stop};
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};
use crate::protocol::types::Content;

const FAMILY: &str = "st";

/// The schema of an argument that names a service token by its handle.
pub(super) fn handle(what: &str) -> Value {
    json!({
        "type": "string", "pattern": "^handle:st_[A-Za-z0-9_-]{8,160}$",
        "description": format!("{what}: its handle from a result (handle:st_…)")
    })
}

/// The schema of the argument `service_token`: a token that somebody else issued. Its name is what keeps its value out
/// of the audit.
pub(super) fn received() -> Value {
    super::parts::uuid("Instead of a handle: a token that its issuer gave to you")
}

/// The id of the token that is named by its handle (the argument `handle`) or itself (the argument `service_token`).
pub(super) fn named(run: Run<'_>, arguments: Arguments<'_>, handle: &'static str) -> Result<String> {
    match (arguments.text(handle), arguments.text("service_token")) {
        (Some(sealed), None) => run.upstream.handles().open(FAMILY, run.principal, sealed),
        (None, Some(id)) => Ok(id.to_owned()),
        _ => {
            let message =
                format!("name the service token by {handle}, or by service_token if somebody gave it to you");
            Err(Error::new(Kind::BadArguments, message))
        }
    }
}

/// Where tokens stand in a result.
#[derive(Clone, Copy)]
pub(super) enum Within {
    /// The result is a token, or a list of tokens.
    Tokens,
    /// Tokens hang on the sides of connections.
    Connections,
}

/// Puts handles in place of the ids in `value`, and of those in `known` (what the caller named).
pub(super) fn conceal(run: Run<'_>, mut value: Value, within: Within, known: &[String]) -> Result<Value> {
    let mut ids = known.to_vec();
    collect(&value, matches!(within, Within::Tokens), &mut ids);
    let pairs = pairs(run, ids)?;
    replace(&mut value, &pairs);
    Ok(value)
}

/// The same for an outcome, refusals included.
pub(super) fn conceal_outcome(run: Run<'_>, outcome: Outcome, within: Within, known: &[String]) -> Outcome {
    match outcome {
        Ok(value) => Ok(conceal(run, value, within, known)?),
        Err(Stop::Refused(mut refused)) => {
            // A refusal may name other tokens than the caller did.
            let mut ids = known.to_vec();
            if let Some(value) = &refused.structured_content {
                collect(value, matches!(within, Within::Tokens), &mut ids);
            }
            let pairs = pairs(run, ids)?;
            if let Some(value) = &mut refused.structured_content {
                replace(value, &pairs);
            }
            for content in &mut refused.content {
                if let Content::Text { text, .. } = content {
                    swap(text, &pairs);
                }
            }
            Err(Stop::Refused(refused))
        }
        Err(Stop::Error(error)) => Err(Stop::Error(error)),
    }
}

fn pairs(run: Run<'_>, mut ids: Vec<String>) -> Result<Vec<(String, String)>> {
    ids.sort_unstable();
    ids.dedup();
    let handles = run.upstream.handles();
    ids.into_iter()
        .map(|id| Ok((handles.seal(FAMILY, run.principal, &id)?, id)))
        .map(|pair| pair.map(|(a, b)| (b, a)))
        .collect()
}

/// Every token id in a value: of the value itself (and of a list's items), and under `serviceToken` anywhere.
fn collect(value: &Value, is_token: bool, ids: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if is_token
                && let Some(id) = members.get("uuid").and_then(Value::as_str).filter(|id| !id.is_empty())
            {
                ids.push(id.to_owned());
            }
            for (name, member) in members {
                let inner =
                    name == "serviceToken" || (is_token && name == "data" && !members.contains_key("uuid"));
                collect(member, inner, ids);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, is_token, ids)),
        _ => {}
    }
}

fn replace(value: &mut Value, pairs: &[(String, String)]) {
    match value {
        Value::String(text) => swap(text, pairs),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, pairs)),
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, pairs)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn swap(text: &mut String, pairs: &[(String, String)]) {
    for (id, handle) in pairs {
        if text.contains(id.as_str()) {
            *text = text.replace(id.as_str(), handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{collect, replace};
    use crate::json::json;

    #[test]
    fn every_token_id_is_found_and_replaced_wherever_it_stands() {
        let mut listed = json!({
            "pagination": {"next": "https://x/serviceTokens?after=t-1"},
            "data": [
                {"uuid": "t-1", "href": "https://x/serviceTokens/t-1", "connection": {"uuid": "c-1"}},
                {"uuid": "t-2", "connection": {"aSide": {"accessPointSelectors": [{"port": {"uuid": "p-1"}}]}}}
            ]
        });
        let mut ids = Vec::new();
        collect(&listed, true, &mut ids);
        assert_eq!(ids, ["t-1", "t-2"]);
        replace(&mut listed, &[(String::from("t-1"), String::from("handle:a"))]);
        assert_eq!(listed["data"][0]["href"], "https://x/serviceTokens/handle:a");
        assert_eq!(listed["pagination"]["next"], "https://x/serviceTokens?after=handle:a");
        assert_eq!(listed["data"][0]["connection"]["uuid"], "c-1");

        let connection =
            json!({"uuid": "c-1", "aSide": {"serviceToken": {"uuid": "t-3"}}, "zSide": {"accessPoint": {}}});
        let mut ids = Vec::new();
        collect(&connection, false, &mut ids);
        assert_eq!(ids, ["t-3"]);
    }
}
