//! The stateless door: a request that carries everything about itself in `_meta`.
//!
//! Owns the reading of that envelope and `server/discover`. The idea: headers are compared before anything is
//! believed, then the revision, then the rest, so that each fault has its one code.
//!
//! Must not: remember anything between requests.

use std::sync::Arc;

use serde_json::json;

use super::{Server, headers};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::pipeline::Client;
use crate::protocol::message::Id;
use crate::protocol::meta::{
    CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, PROGRESS_TOKEN, PROTOCOL_VERSION, TASKS,
};
use crate::protocol::shape::{self, Frame, Freshness};
use crate::protocol::types::{ClientCapabilities, LogLevel};
use crate::protocol::{Door, Method, Revision, message};
use crate::transport::{Channel, HeaderFacts, Peer};

/// What an envelope says.
pub(super) struct Envelope {
    pub(super) revision: Revision,
    pub(super) client: Arc<Client>,
    pub(super) level: Option<LogLevel>,
    pub(super) progress: Option<Id>,
    pub(super) meta: Arc<Map<String, Value>>,
}

/// Whether headers declare a revision of this door.
pub(super) fn declared(headers: &HeaderFacts) -> bool {
    headers
        .revision
        .iter()
        .any(|name| Revision::parse(name.trim()).is_some_and(|revision| revision.door() == Door::Envelope))
}

/// The error for a revision that is not spoken here, or not through this door.
pub(super) fn unsupported(requested: &str) -> Error {
    let known = Revision::parse(requested);
    let supported: Vec<_> = Revision::ALL
        .iter()
        .rev()
        .filter(|revision| known.is_none() || revision.door() == Door::Envelope)
        .map(|revision| revision.name())
        .collect();
    let message = match known {
        Some(known) => {
            format!("Revision {known} begins with `initialize`; it cannot be declared in `_meta`.")
        }
        None => format!("This protocol revision is not supported; use one of {}.", supported.join(", ")),
    };
    // the specification wants it repeated; only what looks like a revision is
    let tame = requested.len() <= 64 && requested.bytes().all(|byte| byte.is_ascii_graphic());
    let requested = if tame { requested } else { "" };
    Error::new(Kind::UnsupportedRevision, message)
        .with_detail(json!({"supported": supported, "requested": requested}))
}

/// The progress token of a request.
pub(super) fn progress_token(meta: Option<&Map<String, Value>>) -> Result<Option<Id>> {
    let Some(token) = meta.and_then(|meta| meta.get(PROGRESS_TOKEN)) else { return Ok(None) };
    Id::of(token)
        .map(Some)
        .ok_or_else(|| Error::new(Kind::BadParams, "`progressToken` has to be a string or an integer."))
}

/// A log level in a value.
pub(super) fn log_level(value: &Value) -> Result<LogLevel> {
    serde::Deserialize::deserialize(value).map_err(|_| {
        Error::new(
            Kind::BadParams,
            "The log level has to be debug, info, notice, warning, error, critical, alert or emergency.",
        )
    })
}

/// Reads the envelope and compares it with the headers. The parameters lose their `_meta`.
pub(super) fn open(
    method: &str,
    params: &mut Map<String, Value>,
    peer: &Peer,
) -> Result<(Envelope, Option<Method>)> {
    let missing = |what: &'static str| Error::new(Kind::BadParams, what);
    let Some(Value::Object(meta)) = params.remove("_meta") else {
        return Err(missing(
            "The parameters need `_meta` with the protocol version and the client's capabilities.",
        ));
    };
    let Some(Value::String(version)) = meta.get(PROTOCOL_VERSION) else {
        return Err(missing("`_meta` needs `io.modelcontextprotocol/protocolVersion`, a string."));
    };
    let http = peer.channel == Channel::Http;
    if http {
        headers::revision(&peer.headers, version)?;
    }
    let revision = Revision::parse(version)
        .filter(|revision| revision.door() == Door::Envelope)
        .ok_or_else(|| unsupported(version))?;
    let mirrored = http && revision.standard_headers();
    if mirrored {
        headers::method(&peer.headers, method)?;
    }
    let Some(Value::Object(declared)) = meta.get(CLIENT_CAPABILITIES) else {
        return Err(missing("`_meta` needs `io.modelcontextprotocol/clientCapabilities`, an object."));
    };
    let client = client(meta.get(CLIENT_INFO), shape::client_capabilities(revision, declared))?;
    let found = Method::find(method, revision);
    if let Some(parameter) = found.and_then(Method::name_parameter)
        && mirrored
    {
        let named = params.get(parameter).and_then(Value::as_str);
        headers::name(&peer.headers, named, found.is_some_and(Method::needs_name))?;
    }
    let level = meta.get(LOG_LEVEL).map(log_level).transpose()?;
    let progress = progress_token(Some(&meta))?;
    Ok((Envelope { revision, client: Arc::new(client), level, progress, meta: Arc::new(meta) }, found))
}

/// The client's account of itself; it may keep silent, but not talk nonsense.
pub(super) fn client(info: Option<&Value>, capabilities: ClientCapabilities) -> Result<Client> {
    let Some(info) = info else { return Ok(Client { capabilities, ..Client::default() }) };
    match (info.get("name").and_then(Value::as_str), info.get("version").and_then(Value::as_str)) {
        (Some(name), Some(version)) => {
            Ok(Client { name: brief(name), version: brief(version), capabilities })
        }
        _ => Err(Error::new(Kind::BadParams, "The client's info needs `name` and `version`, both strings.")),
    }
}

/// What somebody calls himself ends in logs: it stays short and printable.
fn brief(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(128).collect()
}

impl Server {
    /// `server/discover`.
    pub(super) fn discover(&self, id: &Id, frame: Frame<'_>) -> String {
        let supported: Vec<_> = Revision::ALL.iter().rev().map(|revision| revision.name()).collect();
        let mut body =
            json!({"supportedVersions": supported, "capabilities": self.capabilities(frame.revision)});
        if self.tasks.is_some() {
            body["capabilities"]["extensions"] = json!({TASKS: {}});
        }
        if let Some(instructions) = &self.instructions {
            body["instructions"] = instructions.as_str().into();
        }
        let freshness = Freshness { ttl_ms: self.config.list_ttl_ms, cache_scope: "public" };
        message::result(id, shape::complete(frame, body, Some(freshness), None))
    }
}
