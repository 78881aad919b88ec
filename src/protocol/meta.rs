//! Reserved `_meta` keys, and the `_meta` of results.
//!
//! Must not: decide anything.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::json::{Map, Value};

/// The revision of a request.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Name and version of the client.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// What the client can do.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The least severe log message the client wants for a request.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// The subscription a notification belongs to.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// Name and version of the server.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// The token that progress is reported under.
pub const PROGRESS_TOKEN: &str = "progressToken";
/// The extension for calls that outlive their request.
pub const TASKS: &str = "io.modelcontextprotocol/tasks";
/// Says of a result that it was cut, and how.
pub const CUT: &str = "bartizan/cut";
/// Seconds after which a refused call may be tried again.
pub const RETRY_AFTER: &str = "bartizan/retryAfter";

/// The `_meta` of a result: what the tool said, and who we are.
#[derive(Clone, Copy, Default)]
pub struct ResultMeta<'a> {
    /// What the tool, resource or prompt said.
    pub own: Option<&'a Map<String, Value>>,
    /// `serverInfo` as JSON, where the revision wants it.
    pub server: Option<&'a RawValue>,
}

impl ResultMeta<'_> {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.own.is_none_or(Map::is_empty) && self.server.is_none()
    }
}

impl Serialize for ResultMeta<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        for (key, value) in self.own.into_iter().flatten() {
            if key != SERVER_INFO {
                map.serialize_entry(key, value)?;
            }
        }
        if let Some(server) = self.server {
            map.serialize_entry(SERVER_INFO, server)?;
        }
        map.end()
    }
}
