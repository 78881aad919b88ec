//! The settings of the HTTP endpoint.
//!
//! Owns [`Config`], the `[http]` table. The idea: every bound has a default that is safe to leave alone.
//!
//! Must not: read a file or an environment variable.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::addresses::{self, ProxyHeader};
use super::tls::Tls;
use crate::error::{Error, Kind, Result};
use crate::json::Bounds;

/// The `[http]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen, as `HOST:PORT` or `unix:PATH`; nothing means no HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Origins that browsers may call from, as `https://host` or `https://host:port`; the endpoint's own loopback
    /// origin is always among them.
    pub allowed_origins: Vec<String>,
    /// Host names this server answers to, with or without a port; loopback names are always among them.
    pub allowed_hosts: Vec<String>,
    /// Accept that keys and results cross the network unencrypted: needed to listen beyond loopback without TLS.
    pub insecure_plaintext: bool,
    /// Certificate and key; nothing means plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whom client certificates stand for.
    pub certificate: Vec<Holder>,
    /// Addresses that may connect; an empty list lets nobody in, no list everybody.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "addresses::read_some")]
    pub allow_from: Option<Vec<IpNet>>,
    /// Proxies whose word on the address of a caller is taken.
    #[serde(deserialize_with = "addresses::read")]
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they say it.
    pub proxy_header: ProxyHeader,
    /// Whether browsers reach this server by `https` only, through a proxy; where TLS is set, they do.
    pub tls_proxy: bool,
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
    /// What is answered at `/.well-known/security.txt`; no setting, the program writes it.
    #[serde(skip)]
    pub security_text: Option<String>,
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
            tls: None,
            certificate: Vec::new(),
            allow_from: None,
            trusted_proxies: Vec::new(),
            proxy_header: ProxyHeader::default(),
            tls_proxy: false,
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
            security_text: None,
            failures_per_minute: 20,
        }
    }
}

impl Config {
    /// The bounds of a body.
    pub fn bounds(&self) -> Bounds {
        Bounds { size: self.body_limit, depth: self.depth_limit }
    }

    /// Whether a start would take the certificate, as the files are now.
    pub fn probe(&self) -> Result<()> {
        self.check()?;
        self.tls.as_ref().map_or(Ok(()), |tls| tls.load().map(drop))
    }

    /// Whether the settings mean something together.
    pub fn check(&self) -> Result<()> {
        let bad = |said| Err(Error::new(Kind::BadConfig, said));
        if !self.allowed_origins.iter().all(|origin| is_origin(origin)) {
            return bad("An entry of `allowed_origins` under `[http]` is no origin; write each in full, as \
                 https://app.example.com or with a port. There is no `*` and no `null`.");
        }
        if self.allowed_hosts.iter().any(|host| host.is_empty() || host.contains(['*', '/', '@', ' '])) {
            return bad(
                "An entry of `allowed_hosts` under `[http]` is no host name; write each in full, with or without a \
                 port. There is no `*`.",
            );
        }
        let asks = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if !self.certificate.is_empty() && !asks {
            return bad(
                "`[[http.certificate]]` needs `client_ca` and `client_certificates` under `[http.tls]`: without them \
                 nobody shows a certificate.",
            );
        }
        self.tls.as_ref().map_or(Ok(()), Tls::check)
    }
}

/// Whether a text is an origin as browsers write it.
fn is_origin(text: &str) -> bool {
    let text = text.trim_end_matches('/');
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|host| {
        !host.is_empty()
            && host.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-:[]".contains(letter))
    })
}

/// Whom a client certificate stands for: an `[[http.certificate]]` table. One of `subject`, `san` and `fingerprint` says
/// which certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Holder {
    /// The name; the principal is `cert:NAME`.
    pub name: String,
    /// The one person or program that has it.
    pub owner: String,
    /// The whole subject, such as `CN=nightly, O=Acme`. A comma or another special character within a value has a
    /// backslash before it: `O=Acme\, Inc`.
    pub subject: Option<String>,
    /// An alternative name: `dns:`, `uri:`, `email:` or `ip:` and the name.
    pub san: Option<String>,
    /// The SHA-256 of the certificate, in hex or base64url.
    pub fingerprint: Option<String>,
    /// The whole subject of the authority that issued it, spelled as `subject` is; any authority of `client_ca` unless given.
    pub issuer: Option<String>,
    /// Scopes: `read`, `write`, `admin`, and those that tools of your own ask for.
    pub scopes: BTreeSet<String>,
    /// Roles that policies name.
    pub roles: BTreeSet<String>,
    /// The tenant.
    pub tenant: Option<String>,
}

pub(super) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(value: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_f64(value.as_secs_f64())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
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
        let text = "allow_from = ['10.0.0.0/8']\n[tls]\ncertificate = 'a.pem'\nkey = 'a.key'\n[[certificate]]\nname = 'x'\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let check = |text: &str| toml::from_str::<Config>(text).unwrap().check();
        for good in [
            "",
            "allowed_origins = ['https://app.example.com', 'http://localhost:3000/']\nallowed_hosts = ['mcp.example:8443']",
            "[tls]\ncertificate = 'a'\nkey = 'b'\nclient_ca = 'c'\nclient_certificates = 'required'",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for wrong in [
            "allowed_origins = ['*']",
            "allowed_origins = ['null']",
            "allowed_origins = ['https://*.example.com']",
            "allowed_origins = ['https://app.example.com/path']",
            "allowed_origins = ['app.example.com']",
            "allowed_hosts = ['*']",
            "allowed_hosts = ['']",
            "[tls]\ncertificate = 'a'\nkey = 'b'\nclient_certificates = 'required'",
            "[tls]\ncertificate = 'a'\nkey = 'b'\nclient_ca = 'c'",
            "[[certificate]]\nname = 'x'",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
