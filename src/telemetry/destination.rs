//! Where messages for people and machines outside go.
//!
//! Owns [`Destination`], as the configuration says it. The idea: alerts and the audit's anchor name the same kinds of
//! places in the same words; `relay/` knows how to get there.
//!
//! Must not: hold a secret; references to secrets are text here and are read where they are used.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Destination {
    /// An HTTPS address that gets JSON by POST, signed as Standard Webhooks are.
    Webhook {
        /// The address.
        url: String,
        /// A reference to the key of the signature (HMAC-SHA256).
        secret: String,
    },
    /// A syslog daemon (RFC 5424).
    Syslog {
        /// `unix:PATH`, `udp:HOST:PORT`, `tcp:HOST:PORT` or `tls:HOST:PORT`.
        address: String,
        /// For `tls`: PEM certificates of the authorities that vouch for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_file: Option<PathBuf>,
    },
    /// An OpenTelemetry receiver; gets logs over OTLP/HTTP as JSON.
    Otlp {
        /// The address before `/v1/logs`.
        url: String,
        /// Headers whose values are references to secrets.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
}

impl Destination {
    /// What it is called in logs: the kind, never the address, which may hold a token.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Syslog { .. } => "syslog",
            Self::Otlp { .. } => "otlp",
        }
    }

    /// Host and port of a syslog daemon elsewhere, and over what it is reached: `tcp` or `udp`. Others have a
    /// [web address](Self::url).
    pub fn daemon(&self) -> Option<(&str, u16, &'static str)> {
        let Self::Syslog { address, .. } = self else { return None };
        let (kind, rest) = address.split_once(':')?;
        let (host, port) = rest.rsplit_once(':')?;
        let over = match kind {
            "udp" => "udp",
            "tcp" | "tls" => "tcp",
            _ => return None,
        };
        Some((host.trim_matches(['[', ']']), port.parse().ok()?, over))
    }

    /// The web address it has, which may hold a token.
    pub fn url(&mut self) -> Option<&mut String> {
        match self {
            Self::Webhook { url, .. } | Self::Otlp { url, .. } => Some(url),
            Self::Syslog { .. } => None,
        }
    }

    /// The file it names, so that it can be taken relative to the configuration's folder.
    pub fn file(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Syslog { ca_file, .. } => ca_file.as_mut(),
            Self::Webhook { .. } | Self::Otlp { .. } => None,
        }
    }
}
