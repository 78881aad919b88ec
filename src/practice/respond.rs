//! An answer that fits what the document promises.
//!
//! Owns [`Payload`] and the last step of every answer. The idea: what is to be said is put into the shape of the
//! operation's answer, mended, and checked; when it cannot be made to fit, a made value takes its place and the
//! operation is noted.
//!
//! Must not: decide what is to be said.

use axum::http::{Method, StatusCode};

use super::faker::Fill;
use super::fit::fit;
use super::form;
use super::page::Cut;
use super::plan::{good_answer, list_at};
use super::recipe::View;
use super::reply::Reply;
use super::world::{ALWAYS, World};
use crate::json::{Map, Value, json};

/// What is to be said.
pub(super) enum Payload {
    /// One thing.
    Thing(Value),
    /// A page of things.
    List(Cut),
    /// Whatever the document shows, with these words in it.
    Made(Map<String, Value>),
}

impl World {
    /// The answer of an operation, in the first of the `prefer`red statuses that it has.
    pub(super) fn respond(&self, operation: usize, prefer: &[&str], payload: Payload) -> Reply {
        let declared = self.book.operation(operation);
        let Some(position) = good_answer(declared, prefer) else {
            return Reply::json(StatusCode::OK, &unshaped(payload));
        };
        let Some((status, spec)) = declared.responses.get_index(position) else {
            return Reply::empty(StatusCode::OK);
        };
        let status = status.parse::<u16>().ok().and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.unwrap_or(StatusCode::OK);
        if status == StatusCode::NO_CONTENT || status == StatusCode::RESET_CONTENT {
            return Reply::empty(status);
        }
        let Some(media_type) = spec.media_type.as_deref() else {
            if declared.method == Method::GET.as_str() && declared.responses.len() < 2 {
                return Reply::json(status, &unshaped(payload));
            }
            return Reply::empty(status);
        };
        let essence = form::essence(media_type);
        if !form::is_json(&essence) && essence != "*/*" {
            return raw(status, media_type, &essence);
        }
        let media_type = if essence == "*/*" { "application/json" } else { media_type };
        let value = match self.book.answer(operation, position) {
            Some(view) => self.shaped(operation, position, view, payload),
            None => match (payload, &spec.example) {
                (Payload::Made(_), Some(example)) => example.clone(),
                (payload, _) => unshaped(payload),
            },
        };
        Reply::bytes(status, media_type, value.to_string().into_bytes())
    }

    fn shaped(&self, operation: usize, position: usize, view: View<'_>, payload: Payload) -> Value {
        let noun = super::words::singular(&self.book.operation(operation).path.replace(['/', '{', '}'], " "));
        let noun = noun.rsplit('-').next().unwrap_or("thing").to_owned();
        let mut faker = self.faker(ALWAYS, Fill::All, &noun, 0);
        let fits = |value: &Value| self.book.check_answer(operation, position, value).is_ok();
        let mut words = Map::new();
        let built = match payload {
            Payload::Thing(thing) => match list_at(view) {
                Some(place) => nest(&place, json!([thing])),
                None => thing,
            },
            Payload::List(cut) => match list_at(view) {
                Some(place) => {
                    let told = cut.describe(view, &self.root);
                    let mut built = nest(&place, Value::Array(cut.items));
                    if let Value::Object(object) = &mut built {
                        object.extend(told);
                    }
                    built
                }
                None => json!({"pagination": cut.pagination(), "data": cut.items}),
            },
            Payload::Made(given) => {
                words = given;
                faker.formats = true;
                let example = self
                    .book
                    .operation(operation)
                    .responses
                    .get_index(position)
                    .and_then(|(_, spec)| spec.example.clone());
                let mut made = example.unwrap_or_else(|| faker.make(view, fits));
                put_words(view, &words, &mut made);
                made
            }
        };
        let fitted = fit(&faker, view, built);
        if fits(&fitted) {
            return fitted;
        }
        for fill in [Fill::All, Fill::Required] {
            faker.fill = fill;
            let mut made = faker.make(view, fits);
            put_words(view, &words, &mut made);
            if fits(&made) {
                return made;
            }
        }
        self.misfit(&self.book.operation(operation).id);
        fitted
    }
}

/// What is to be said, where the document promises no shape.
fn unshaped(payload: Payload) -> Value {
    match payload {
        Payload::Thing(thing) => thing,
        Payload::List(cut) => json!({"pagination": cut.pagination(), "data": cut.items}),
        Payload::Made(words) => {
            let mut made = Map::from_iter([("status".to_owned(), Value::from("accepted"))]);
            made.extend(words);
            Value::Object(made)
        }
    }
}

/// A client's words, where the answer has a property of that name that allows them.
fn put_words(view: View<'_>, words: &Map<String, Value>, made: &mut Value) {
    let Value::Object(object) = made else { return };
    for (name, value) in words {
        if let Some(place) = view.property(name) {
            let flat = place.plain();
            if flat.allows(value) && flat.choices.is_none_or(|choices| choices.contains(value)) {
                object.insert(name.clone(), value.clone());
            }
        }
    }
}

fn nest(place: &[String], list: Value) -> Value {
    place.iter().rev().fold(list, |inner, name| Value::Object(Map::from_iter([(name.clone(), inner)])))
}

/// A body that is no JSON: a few plausible bytes of the media type.
fn raw(status: StatusCode, media_type: &str, essence: &str) -> Reply {
    if essence.starts_with("multipart/") {
        let body = "--practice\r\nContent-Type: text/plain\r\n\r\npractice\r\n--practice--\r\n";
        return Reply::bytes(status, &format!("{essence}; boundary=practice"), body.into());
    }
    let body: &[u8] = match essence {
        "image/png" => b"\x89PNG\r\n\x1a\n",
        "application/pdf" => b"%PDF-1.4\n%%EOF\n",
        "application/xml" | "text/xml" => b"<practice/>",
        "text/html" => b"<p>practice</p>",
        "text/csv" => b"name,value\npractice,1\n",
        _ => b"practice",
    };
    Reply::bytes(status, media_type, body.to_vec())
}
