//! The settings of the HTTP endpoint.
//!
//! Owns [`Config`], the `[http]` table. The idea: every bound has a default that is safe to leave alone.
//!
//! Must not: read a file or an environment variable.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::json::Bounds;

/// The `[http]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen, as `HOST:PORT`; nothing means no HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Origins that browsers may call from, as `https://host` or `https://host:port`; the endpoint's own loopback
    /// origin is always among them.
    pub allowed_origins: Vec<String>,
    /// Host names this server answers to, with or without a port; loopback names are always among them.
    pub allowed_hosts: Vec<String>,
    /// Accept that keys and results cross the network unencrypted: needed to listen beyond loopback.
    pub insecure_plaintext: bool,
    /// Bytes of a body.
    pub body_limit: usize,
    /// Nested arrays and objects in a body.
    pub depth_limit: usize,
    /// Bytes of all headers together.
    pub header_bytes: usize,
    /// Number of headers.
    pub header_count: usize,
    /// Seconds within which the headers have to arrive; also how long an idle connection is kept.
    #[serde(with = "seconds")]
    pub header_timeout: Duration,
    /// Seconds within which the body has to arrive.
    #[serde(with = "seconds")]
    pub body_timeout: Duration,
    /// Seconds after which a client that takes no byte of what it is sent is cut off; on HTTP/2, the exchange too whose
    /// answer it does not take.
    #[serde(with = "seconds")]
    pub write_timeout: Duration,
    /// Seconds between the comments that keep an event stream open.
    #[serde(with = "seconds")]
    pub keep_alive: Duration,
    /// Seconds that running calls are given when the server stops.
    #[serde(with = "seconds")]
    pub drain: Duration,
    /// Seconds between the signal to stop, from which on `/readyz` answers 503, and the end of the first connection.
    #[serde(with = "seconds")]
    pub drain_delay: Duration,
    /// Bytes from which on an answer is compressed for clients that can read it; 0: never.
    pub compress_from: usize,
    /// Exchanges at one time on one HTTP/2 connection.
    pub http2_streams: u32,
    /// Connections at one time; further ones wait.
    pub connections: usize,
    /// Bytes of all bodies together that are not small and are on their way in or not answered yet. A caller has at most
    /// half; what finds no room is refused with 503.
    pub held_bytes: usize,
    /// Bytes of messages that wait for a client that reads too slowly; further notifications are dropped.
    pub queue_bytes: usize,
    /// Refused credentials an address may present in a minute before it has to wait.
    pub failures_per_minute: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: None,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            insecure_plaintext: false,
            body_limit: 4 << 20,
            depth_limit: 64,
            header_bytes: 32 << 10,
            header_count: 64,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            drain: Duration::from_secs(3),
            drain_delay: Duration::from_millis(100),
            compress_from: 0,
            http2_streams: 64,
            connections: 1024,
            held_bytes: 128 << 20,
            queue_bytes: 1 << 20,
            failures_per_minute: 20,
        }
    }
}

impl Config {
    /// The bounds of a body.
    pub fn bounds(&self) -> Bounds {
        Bounds { size: self.body_limit, depth: self.depth_limit }
    }
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_f64(value.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(input)?)
            .map_err(|_| D::Error::custom("expected a number of seconds that is not negative"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_back_as_it_was_written() {
        let text = "listen = \"127.0.0.1:8000\"\nheader_timeout = 2\nbody_timeout = 0.5\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.body_timeout, Duration::from_millis(500));
        assert_eq!(config.header_timeout, Duration::from_secs(2));
        assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
        assert!(toml::from_str::<Config>("body_limt = 3").is_err());
        assert!(toml::from_str::<Config>("drain = -1").is_err());
    }
}
