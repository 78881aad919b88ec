//! Is that an answer to the question?
//!
//! Owns the checking of what clients answer. The idea: an answer is input from outside like any argument; it is
//! looked at against its question before a tool or the line believes it.
//!
//! Must not: repeat an answer in an error.

use super::Answers;
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};
use crate::protocol::types::Ask;
use crate::schema::Schema;

impl Answers {
    /// The answer to one's own question, if it is there: checked against the question, whichever way it came. Tools
    /// read their answers with this and nothing else.
    pub fn to(&self, key: &str, ask: &Ask) -> Result<Option<&Value>> {
        let Some(answer) = self.responses.get(key) else { return Ok(None) };
        check(ask, answer)?;
        Ok(Some(answer))
    }
}

fn bad(what: &'static str) -> Error {
    Error::new(Kind::BadParams, what)
}

/// Checks the client's result object for a question.
pub fn check(ask: &Ask, answer: &Value) -> Result<()> {
    match ask {
        Ask::Form { schema, .. } => {
            if action(answer)? == "accept" {
                let nothing = json!({});
                let content = answer.get("content").unwrap_or(&nothing);
                if !content.is_object() {
                    return Err(bad("The `content` of an accepted form has to be an object."));
                }
                Schema::compile(schema)?.check(content).map_err(|error| {
                    let text = format!("An accepted form does not fit what was asked. {}", error.message());
                    Error::new(Kind::BadParams, text)
                })?;
            }
            Ok(())
        }
        Ask::Url { .. } => action(answer).map(|_| ()),
        Ask::Sample(_) if is_message(answer) => Ok(()),
        Ask::Sample(_) => Err(bad("A sampling answer needs `role`, `content` and `model`.")),
        Ask::Roots if is_roots(answer) => Ok(()),
        Ask::Roots => Err(bad("A roots answer needs `roots`: objects with a `uri`.")),
    }
}

/// Checks an answer whose question is not at hand: it has to look like one of the three kinds.
pub fn check_form(answer: &Value) -> Result<()> {
    if !answer.is_object() {
        return Err(bad("An answer has to be an object."));
    }
    if answer.get("action").is_some() {
        return action(answer).map(|_| ());
    }
    if is_message(answer) || is_roots(answer) {
        return Ok(());
    }
    Err(bad("An answer needs `action`, or `role`, `content` and `model`, or `roots`."))
}

fn action(answer: &Value) -> Result<&str> {
    match answer.get("action").and_then(Value::as_str) {
        Some(action @ ("accept" | "decline" | "cancel")) => Ok(action),
        _ => Err(bad("The `action` of an answer has to be `accept`, `decline` or `cancel`.")),
    }
}

fn is_message(answer: &Value) -> bool {
    let content = answer.get("content");
    matches!(answer.get("role").and_then(Value::as_str), Some("assistant" | "user"))
        && content.is_some_and(|content| content.is_object() || content.is_array())
        && answer.get("model").is_some_and(Value::is_string)
}

fn is_roots(answer: &Value) -> bool {
    let root = |root: &Value| root.get("uri").is_some_and(Value::is_string);
    answer.get("roots").and_then(Value::as_array).is_some_and(|roots| roots.iter().all(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_to_look_like_answers() {
        for fine in [
            json!({"action": "decline"}),
            json!({"role": "assistant", "content": {"type": "text", "text": "x"}, "model": "m"}),
            json!({"roots": []}),
        ] {
            assert!(check_form(&fine).is_ok(), "{fine}");
        }
        for wrong in [
            json!(12345),
            json!(null),
            json!({}),
            json!({"action": "hunter2"}),
            json!({"roots": [{"path": "hunter2"}]}),
            json!({"role": "system", "content": {}, "model": "m"}),
        ] {
            let error = check_form(&wrong).unwrap_err();
            assert_eq!(error.kind(), Kind::BadParams);
            assert!(!error.message().contains("hunter2"));
        }
    }

    #[test]
    fn an_answer_is_checked_against_its_own_question() {
        let form = Ask::Form { message: "?".into(), schema: json!({"type": "object"}) };
        assert!(check(&form, &json!({"action": "accept", "content": {}})).is_ok());
        assert!(check(&form, &json!({"action": "accept", "content": 1})).is_err());
        assert!(check(&form, &json!({"roots": []})).is_err());
        assert!(check(&Ask::Roots, &json!({"action": "accept"})).is_err());
        assert!(check(&Ask::Roots, &json!({"roots": [{"uri": "file:///x"}]})).is_ok());
        let answers = Answers { responses: [("k".into(), json!({"roots": []}))].into(), state: None };
        assert!(answers.to("k", &Ask::Roots).unwrap().is_some());
        assert!(answers.to("other", &Ask::Roots).unwrap().is_none());
        assert!(answers.to("k", &form).is_err());
    }
}
