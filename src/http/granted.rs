//! What an upstream lets a credential do, as far as the credential says.
//!
//! Owns [`Granted`]. The idea: an access token often says it itself (`scope`, `scp`, `roles`, `permissions`), and a token
//! endpoint may say it beside the token; nobody here checks a signature, so it is good for telling an operator that a
//! credential may do too much, and for nothing else.
//!
//! Must not: decide whether a request is sent.

use std::collections::BTreeSet;

use super::token::claims;
use crate::json::Value;
use crate::secret::Secret;

/// Longest name of a scope or role that is told, and how many.
const LONGEST: usize = 120;
const MOST: usize = 500;

/// What is known of what a credential may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// These scopes and roles.
    These(BTreeSet<String>),
    /// It would be known after a login, which was not asked for.
    AfterLogin,
    /// Neither the credential nor its token endpoint says.
    Silent,
}

impl Granted {
    /// What a token says of itself, else what stood beside it.
    pub(super) fn of(token: &Secret, beside: Option<BTreeSet<String>>) -> Self {
        stated(token).or(beside).map_or(Self::Silent, Self::These)
    }
}

/// The scopes and roles in a token; none where it is opaque or does not speak of them.
fn stated(token: &Secret) -> Option<BTreeSet<String>> {
    let claims = claims(token)?;
    let said = ["scope", "scp", "roles", "permissions"].iter().filter_map(|name| claims.get(*name));
    let said: Vec<BTreeSet<String>> = said.filter_map(names).collect();
    (!said.is_empty()).then(|| said.into_iter().flatten().collect())
}

/// The scopes that a token endpoint says beside the token.
pub(super) fn answered(body: &[u8]) -> Option<BTreeSet<String>> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    names(answer.get("scope")?)
}

/// A list, or words with spaces between them.
fn names(said: &Value) -> Option<BTreeSet<String>> {
    let plain = |name: &&str| !name.is_empty() && name.len() <= LONGEST && !name.contains(char::is_control);
    match said {
        Value::String(words) => {
            Some(words.split([' ', ',']).filter(plain).take(MOST).map(str::to_owned).collect())
        }
        Value::Array(all) => {
            Some(all.iter().filter_map(Value::as_str).filter(plain).take(MOST).map(str::to_owned).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn what_a_token_says_of_itself_is_read_in_every_usual_form() {
        let jwt = |claims: &str| Secret::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims)));
        let told = |claims: &str| Granted::of(&jwt(claims), None);
        let these = |names: &[&str]| Granted::These(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(told(r#"{"scope": "a:read b:write"}"#), these(&["a:read", "b:write"]));
        assert_eq!(told(r#"{"scp": ["a", "b"], "roles": ["c"]}"#), these(&["a", "b", "c"]));
        assert_eq!(told(r#"{"scp": ""}"#), these(&[]), "it says: nothing");
        for silent in ["{}", r#"{"scope": 7}"#] {
            assert_eq!(told(silent), Granted::Silent, "{silent}");
        }
        let beside = answered(br#"{"access_token": "x", "scope": "d e"}"#);
        assert_eq!(Granted::of(&Secret::new("opaque"), beside.clone()), these(&["d", "e"]));
        assert_eq!(
            Granted::of(&jwt(r#"{"scp": "a"}"#), beside),
            these(&["a"]),
            "the token has the last word"
        );
        assert_eq!(answered(b"<html>"), None);
        let odd = told(&format!(r#"{{"scope": "ok {} c\u001bd"}}"#, "x".repeat(121)));
        assert_eq!(odd, these(&["ok"]), "what would not be shown is not told");
    }
}
