//! Headers that repeat the body have to agree with it.
//!
//! Owns the comparison. The idea: something in front of us may have routed or limited by a header, so a header that is
//! missing, doubled, malformed or lying refuses the request; the body stays the source of truth.
//!
//! Must not: repeat a header value or an argument.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::catalog::Mirror;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::transport::HeaderFacts;

fn mismatch(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Kind::HeaderMismatch, message)
}

/// White space around a header value is no part of it.
fn trimmed(value: &str) -> &str {
    value.trim_matches([' ', '\t'])
}

fn single<'a>(values: &'a [String], name: &str) -> Result<&'a str> {
    match values {
        [value] if visible(value) => Ok(trimmed(value)),
        [] => Err(mismatch(format!("The header {name} is missing."))),
        [_] => Err(mismatch(format!("The header {name} has characters that a header may not have."))),
        _ => Err(mismatch(format!("The header {name} is there more than once."))),
    }
}

fn visible(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || (0x20..0x7f).contains(&byte))
}

/// `MCP-Protocol-Version` against the body's revision.
pub(super) fn revision(headers: &HeaderFacts, body: &str) -> Result<()> {
    if headers.malformed {
        return Err(mismatch("A header has characters that a header may not have."));
    }
    if single(&headers.revision, "MCP-Protocol-Version")? == body {
        Ok(())
    } else {
        Err(mismatch("The header MCP-Protocol-Version says another revision than the body's `_meta`."))
    }
}

/// `Mcp-Method` against the body's method.
pub(super) fn method(headers: &HeaderFacts, body: &str) -> Result<()> {
    if single(&headers.method, "Mcp-Method")? == body {
        Ok(())
    } else {
        Err(mismatch("The header Mcp-Method says another method than the body."))
    }
}

/// `Mcp-Name` against the body's name or address. Where it is not `needed` it may be missing, but not differ.
pub(super) fn name(headers: &HeaderFacts, body: Option<&str>, needed: bool) -> Result<()> {
    if !needed && headers.name.is_empty() {
        return Ok(());
    }
    let value = decoded(single(&headers.name, "Mcp-Name")?)
        .ok_or_else(|| mismatch("The header Mcp-Name is not the Base64 it says it is."))?;
    if body == Some(value.as_ref()) {
        Ok(())
    } else {
        Err(mismatch("The header Mcp-Name says another name than the body."))
    }
}

/// Every `Mcp-Param-*` a tool asks for, against its arguments.
pub(super) fn params(
    headers: &HeaderFacts,
    mirrors: &[Mirror],
    arguments: &Map<String, Value>,
) -> Result<()> {
    for mirror in mirrors {
        let name = &mirror.header;
        let mut given = headers.params.iter().filter(|(header, _)| header == name).map(|(_, value)| value);
        let value = given.next();
        if given.next().is_some() {
            return Err(mismatch(format!("The header Mcp-Param-{name} is there more than once.")));
        }
        match (value, argument(arguments, &mirror.path)) {
            (None, None) => {}
            (None, Some(_)) => {
                return Err(mismatch(format!(
                    "The header Mcp-Param-{name} is missing, but its argument is given."
                )));
            }
            (Some(_), None) => {
                return Err(mismatch(format!(
                    "The header Mcp-Param-{name} is given, but its argument is not."
                )));
            }
            (Some(value), Some(argument)) => {
                let text = Some(trimmed(value)).filter(|_| visible(value)).and_then(decoded);
                let text = text.ok_or_else(|| {
                    mismatch(format!("The header Mcp-Param-{name} is not properly encoded."))
                })?;
                if !agrees(&text, argument) {
                    return Err(mismatch(format!("The header Mcp-Param-{name} differs from its argument.")));
                }
            }
        }
    }
    Ok(())
}

/// The argument at a chain of property names; null counts as absent.
fn argument<'a>(arguments: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(arguments.get(first)?, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// Takes the Base64 sentinel off; a text that only has half of it is meant literally.
fn decoded(value: &str) -> Option<std::borrow::Cow<'_, str>> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        None => Some(value.into()),
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Into::into),
    }
}

fn agrees(header: &str, argument: &Value) -> bool {
    match argument {
        Value::String(text) => header == text,
        Value::Bool(true) => header == "true",
        Value::Bool(false) => header == "false",
        Value::Number(number) => {
            integer(header).is_some_and(|value| Some(value) == integer(&number.to_string()))
        }
        // the schema will refuse it; a header cannot stand for it either way
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// An integer within what every reader can hold exactly: digits, perhaps with a fraction of zeros.
fn integer(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(digits) || !plain(fraction) || fraction.bytes().any(|byte| byte != b'0') {
        return None;
    }
    whole.parse().ok().filter(|value: &i64| value.unsigned_abs() < 1 << 53)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    fn facts(params: &[(&str, &str)]) -> HeaderFacts {
        let own = |text: &&str| (*text).to_owned();
        HeaderFacts {
            revision: vec!["2026-07-28".into()],
            method: vec!["tools/call".into()],
            name: vec!["  echo\t".into()],
            params: params.iter().map(|(name, value)| (own(name), own(value))).collect(),
            ..HeaderFacts::default()
        }
    }

    fn refused<T: std::fmt::Debug>(result: Result<T>) {
        assert_eq!(result.unwrap_err().kind(), Kind::HeaderMismatch);
    }

    #[test]
    fn standard_headers_are_there_once_and_equal() {
        let facts = facts(&[]);
        revision(&facts, "2026-07-28").unwrap();
        method(&facts, "tools/call").unwrap();
        name(&facts, Some("echo"), true).unwrap();
        refused(revision(&facts, "2025-11-25"));
        refused(method(&facts, "TOOLS/CALL"));
        refused(name(&facts, Some("other"), true));
        refused(name(&facts, None, true));
        refused(method(&HeaderFacts::default(), "tools/call"));
        let twice =
            HeaderFacts { method: vec!["tools/call".into(), "tools/call".into()], ..HeaderFacts::default() };
        refused(method(&twice, "tools/call"));
        refused(revision(&HeaderFacts { malformed: true, ..facts }, "2026-07-28"));
    }

    #[test]
    fn a_name_that_need_not_be_there_may_be_missing_but_not_differ() {
        name(&HeaderFacts::default(), Some("echo"), false).unwrap();
        refused(name(&HeaderFacts::default(), Some("echo"), true));
        name(&facts(&[]), Some("echo"), false).unwrap();
        refused(name(&facts(&[]), Some("other"), false));
    }

    #[test]
    fn an_encoded_name_is_decoded_first() {
        let named = |text: &str| HeaderFacts { name: vec![text.into()], ..HeaderFacts::default() };
        name(&named("=?base64?SGVsbG8sIOS4lueVjA==?="), Some("Hello, 世界"), true).unwrap();
        name(&named("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="), Some("=?base64?literal?="), true).unwrap();
        refused(name(&named("=?base64?SGVsbG8?="), Some("Hello"), true));
        refused(name(&named("=?base64?SGVs!!!bG8=?="), Some("Hello"), true));
        refused(name(&named("h\u{e9}"), Some("h\u{e9}"), true));
    }

    // proves: header-parameters
    #[test]
    fn parameters_agree_or_the_request_is_refused() {
        let mirror = |header: &str, path: &[&str]| Mirror {
            header: header.into(),
            path: path.iter().map(ToString::to_string).collect(),
        };
        let mirrors = [mirror("region", &["region"]), mirror("n", &["deep", "n"]), mirror("on", &["on"])];
        let check = |headers: &[(&str, &str)], arguments: Value| {
            params(&facts(headers), &mirrors, arguments.as_object().unwrap())
        };
        check(&[], json!({})).unwrap();
        check(&[], json!({"region": null, "deep": {}})).unwrap();
        check(
            &[("region", "eu"), ("n", "42.0"), ("on", "true"), ("other", "x")],
            json!({
                "region": "eu", "deep": {"n": 42}, "on": true
            }),
        )
        .unwrap();
        check(&[("region", "=?base64?SGVsbG8=?=")], json!({"region": "Hello"})).unwrap();
        check(&[("region", "=?base64?SGVsbG8=")], json!({"region": "=?base64?SGVsbG8="})).unwrap();
        for (headers, arguments) in [
            (&[][..], json!({"region": "eu"})),
            (&[("region", "eu")][..], json!({})),
            (&[("region", "eu")][..], json!({"region": "us"})),
            (&[("region", "eu"), ("region", "eu")][..], json!({"region": "eu"})),
            (&[("region", "=?base64?SGVsbG8?=")][..], json!({"region": "Hello"})),
            (&[("n", "42.5")][..], json!({"deep": {"n": 42.5}})),
            (&[("n", "9007199254740993")][..], json!({"deep": {"n": 9_007_199_254_740_993_i64}})),
            (&[("on", "True")][..], json!({"on": true})),
            (&[("region", "[]")][..], json!({"region": []})),
        ] {
            refused(check(headers, arguments));
        }
    }

    #[test]
    fn a_refusal_repeats_nothing() {
        let named = HeaderFacts { name: vec!["hunter2".into()], ..HeaderFacts::default() };
        let error = name(&named, Some("swordfish"), true).unwrap_err();
        assert!(!error.message().contains("hunter2") && !error.message().contains("swordfish"));
    }
}
