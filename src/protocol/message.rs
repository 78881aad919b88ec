//! JSON-RPC: a value becomes a request, a notification or a response; answers become text.
//!
//! Owns [`Message`], [`Id`] and the writers. The idea: a message is taken apart by moving, so nothing a client sent is
//! copied on its way to the tool, and an answer is written straight from typed parts to text.
//!
//! Must not: know methods, or put words of the sender into an error.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};
use crate::json::{Map, Number, Value};

/// What identifies a request: a text or an integer, never null.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// An integer.
    Number(Number),
    /// A text.
    Text(String),
}

impl Id {
    /// The id in a value, if it is one.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(Self::Number(number.clone())),
            // 7.0 is the integer 7 for everybody who writes JavaScript
            #[allow(clippy::cast_possible_truncation, reason = "checked: integral and within 2^53")]
            Value::Number(number) => number
                .as_f64()
                .filter(|float| float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0)
                .map(|float| Self::Number(Number::from(float as i64))),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The id as JSON text.
    pub fn json(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => serde_json::to_string(text).unwrap_or_default(),
        }
    }
}

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

/// One message from the other side.
#[derive(Debug)]
pub enum Message {
    /// Wants an answer.
    Request {
        /// Its id.
        id: Id,
        /// The method.
        method: String,
        /// The parameters; empty when there were none.
        params: Map<String, Value>,
    },
    /// Wants none.
    Notification {
        /// The method.
        method: String,
        /// The parameters; empty when there were none.
        params: Map<String, Value>,
    },
    /// Answers a request of ours.
    Response {
        /// The id of the request.
        id: Id,
        /// The result, or the code of the error; its words stay outside.
        outcome: Result<Value, i64>,
    },
}

/// A value that is not a message, with the id to answer under if it had one.
#[derive(Debug)]
pub struct Refused {
    /// The id, where it could be read.
    pub id: Option<Id>,
    /// What was wrong.
    pub error: Error,
}

fn refused(id: Option<Id>, message: &'static str) -> Refused {
    Refused { id, error: Error::new(Kind::BadRequest, message) }
}

impl Message {
    /// Takes a value apart.
    pub fn read(value: Value) -> Result<Self, Refused> {
        let mut object = match value {
            Value::Object(object) => object,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(refused(None, "A message has to be a JSON object."));
            }
        };
        let given = object.remove("id");
        let id = given.as_ref().and_then(Id::of);
        if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(refused(id, "`jsonrpc` has to be \"2.0\"."));
        }
        match object.remove("method") {
            Some(Value::String(method)) => {
                let params = match object.remove("params") {
                    None => Map::new(),
                    Some(Value::Object(params)) => params,
                    Some(_) => return Err(refused(id, "`params` has to be an object.")),
                };
                match (given, id) {
                    (None, _) => Ok(Self::Notification { method, params }),
                    (Some(_), Some(id)) => Ok(Self::Request { id, method, params }),
                    (Some(_), None) => Err(refused(None, "`id` has to be a string or an integer.")),
                }
            }
            Some(_) => Err(refused(id, "`method` has to be a string.")),
            None => match (id, object.remove("result"), object.remove("error")) {
                (Some(id), Some(result), None) => Ok(Self::Response { id, outcome: Ok(result) }),
                (Some(id), None, Some(error)) => {
                    let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
                    Ok(Self::Response { id, outcome: Err(code) })
                }
                (id, None, None) => Err(refused(id, "A message needs `method`, or `id` and a result.")),
                (id, _, _) => Err(refused(id, "A response has an `id` and either `result` or `error`.")),
            },
        }
    }
}

#[derive(Serialize)]
struct Answer<'a, T> {
    jsonrpc: &'static str,
    id: &'a Id,
    result: T,
}

#[derive(Serialize)]
struct Failure<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Id>,
    error: Fault<'a>,
}

#[derive(Serialize)]
struct Fault<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<T>,
}

const UNWRITABLE: &str =
    r#"{"jsonrpc":"2.0","error":{"code":-32603,"message":"The answer could not be written as JSON."}}"#;

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| String::from(UNWRITABLE))
}

/// The text of a result.
pub fn result<T: Serialize>(id: &Id, result: T) -> String {
    text(&Answer { jsonrpc: "2.0", id, result })
}

/// The text of a result whose JSON is already there.
pub fn prepared(id: &Id, result: &str) -> String {
    let id = id.json();
    let mut out = String::with_capacity(result.len() + id.len() + 40);
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    out.push_str(&id);
    out.push_str(r#","result":"#);
    out.push_str(result);
    out.push('}');
    out
}

/// The text of an error.
pub fn error(id: Option<&Id>, code: i32, message: &str, data: Option<&Value>) -> String {
    text(&Failure { jsonrpc: "2.0", id, error: Fault { code, message, data } })
}

/// The text of a request of ours.
pub fn request<T: Serialize>(id: u64, method: &str, params: T) -> String {
    text(&Outgoing { jsonrpc: "2.0", id: Some(id), method, params: Some(params) })
}

/// The text of a notification.
pub fn notification<T: Serialize>(method: &str, params: Option<T>) -> String {
    text(&Outgoing { jsonrpc: "2.0", id: None, method, params })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    fn refusal(value: Value) -> (Option<Id>, String) {
        let refused = Message::read(value).unwrap_err();
        assert_eq!(refused.error.kind(), Kind::BadRequest);
        (refused.id, refused.error.message().to_owned())
    }

    #[test]
    fn the_three_messages_are_told_apart() {
        let request = json!({"jsonrpc": "2.0", "id": "a", "method": "m", "params": {"x": 1}});
        let Message::Request { id, method, params } = Message::read(request).unwrap() else { panic!() };
        assert_eq!((id, method.as_str(), params["x"].as_i64()), (Id::Text("a".into()), "m", Some(1)));
        let notification = json!({"jsonrpc": "2.0", "method": "m"});
        assert!(matches!(Message::read(notification).unwrap(), Message::Notification { .. }));
        let response = json!({"jsonrpc": "2.0", "id": 7, "error": {"code": -1, "message": "hunter2"}});
        assert!(matches!(Message::read(response).unwrap(), Message::Response { outcome: Err(-1), .. }));
    }

    #[test]
    fn ids_are_texts_or_integers() {
        let id = |value: Value| Id::of(&value).map(|id| id.json());
        assert_eq!(id(json!("x\"y")), Some(String::from(r#""x\"y""#)));
        assert_eq!(id(json!(9_007_199_254_740_993_i64)), Some(String::from("9007199254740993")));
        assert_eq!(id(json!(7.0)), Some(String::from("7")));
        for other in [json!(null), json!(1.5), json!(1e300), json!([1]), json!({}), json!(true)] {
            assert_eq!(id(other), None);
        }
    }

    // proves: message-shape
    #[test]
    fn what_is_no_message_is_refused_under_its_id_and_never_repeated() {
        let mut cases = vec![
            (json!([{"jsonrpc": "2.0", "id": 1, "method": "hunter2"}]), None),
            (json!("hunter2"), None),
            (json!({"jsonrpc": "1.0", "id": 1, "method": "hunter2"}), Some(Id::from(1))),
            (json!({"jsonrpc": "2.0", "id": 1, "method": {"hunter2": 1}}), Some(Id::from(1))),
            (json!({"jsonrpc": "2.0", "id": null, "method": "hunter2"}), None),
            (json!({"jsonrpc": "2.0", "id": 1.5, "method": "hunter2"}), None),
            (json!({"jsonrpc": "2.0", "id": 1, "method": "m", "params": ["hunter2"]}), Some(Id::from(1))),
            (json!({"jsonrpc": "2.0", "id": 1, "result": 1, "error": {}}), Some(Id::from(1))),
            (json!({"jsonrpc": "2.0", "id": 1}), Some(Id::from(1))),
            (json!({"jsonrpc": "2.0", "result": {}}), None),
            (json!({}), None),
        ];
        for (value, expected) in cases.drain(..) {
            let (id, message) = refusal(value);
            assert_eq!(id, expected, "{message}");
            assert!(!message.contains("hunter2"));
        }
    }

    #[test]
    fn answers_are_texts() {
        assert_eq!(result(&Id::from(1), json!({})), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        assert_eq!(prepared(&Id::Text("q\"".into()), "{}"), r#"{"jsonrpc":"2.0","id":"q\"","result":{}}"#);
        assert_eq!(error(None, -1, "x", None), r#"{"jsonrpc":"2.0","error":{"code":-1,"message":"x"}}"#);
        assert_eq!(notification::<()>("n", None), r#"{"jsonrpc":"2.0","method":"n"}"#);
    }
}
