//! What the way out is told.
//!
//! Owns [`Config`] (`[egress]`) and [`Settings`] (one upstream). The idea: what holds for every upstream is
//! configuration; what holds for one comes from its connector.
//!
//! Must not: open anything.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::traffic::Traffic;

/// `[egress]`: what holds for every upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Proxy for every upstream, `http://HOST:PORT`. Proxies named by the environment are not used. Names are then
    /// resolved by the proxy, which has to be said as well: `proxy_resolves`.
    pub proxy: Option<String>,
    /// That the proxy resolves names, so that it alone judges which addresses they lead to. Without this word a proxy is
    /// used for addresses only.
    pub proxy_resolves: bool,
    /// Hosts that are reached without the proxy: `example.com` (with its subdomains), addresses, ranges.
    pub no_proxy: Vec<String>,
    /// PEM file of certificate authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Private destinations that may be reached all the same: `HOST:PORT` (that host on that port; plain `http` is then
    /// allowed too), or an address range such as `10.1.0.0/16`.
    pub allow_private: Vec<String>,
    /// Seconds to open a connection.
    pub connect_timeout: f64,
    /// Seconds to wait for the next bytes of an answer.
    pub read_timeout: f64,
    /// Seconds for a request with all its tries.
    pub timeout: f64,
    /// Longest answer, in bytes.
    pub body_limit: u64,
    /// How often a request is tried again where that is safe.
    pub retries: u32,
    /// Requests a minute to each upstream with each credential, where neither the connector nor the upstream says less.
    pub per_minute: Option<u32>,
    /// Requests at once to each upstream with each credential; others wait for their turn.
    pub at_once: u32,
    /// Failures in a row (or half of many) after which an upstream is left alone; 0 means never.
    pub circuit_failures: u32,
    /// Seconds for which it is left alone, longer each time it fails again; then one request tries.
    pub circuit_seconds: f64,
    /// Answers of 429 from one upstream within a minute that are worth an event in the audit; 0 means never.
    pub too_many_alert: u32,
    /// What is on its way now; clones share it.
    #[serde(skip)]
    pub traffic: Traffic,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            proxy: None,
            proxy_resolves: false,
            no_proxy: Vec::new(),
            ca_file: None,
            allow_private: Vec::new(),
            connect_timeout: 10.0,
            read_timeout: 30.0,
            timeout: 60.0,
            body_limit: 10 * 1024 * 1024,
            retries: 2,
            per_minute: None,
            at_once: 64,
            circuit_failures: 10,
            circuit_seconds: 30.0,
            too_many_alert: 10,
            traffic: Traffic::default(),
        }
    }
}

impl Config {
    /// The same configuration with one more exemption, `HOST:PORT` or a range.
    #[must_use]
    pub fn allowing(mut self, destination: impl Into<String>) -> Self {
        self.allow_private.push(destination.into());
        self
    }
}

/// How fast one upstream may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Requests a minute.
    pub per_minute: u32,
    /// Requests at once.
    #[serde(default = "Pace::one")]
    pub burst: u32,
}

impl Pace {
    const fn one() -> u32 {
        1
    }
}

/// One upstream.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the operator calls it; used in messages.
    pub name: String,
    /// Its base address: the only scheme, host and port that requests go to.
    pub base: Url,
    /// Hosts the connector may reach at all; empty means the base's and the token endpoint's.
    pub hosts: Vec<String>,
    /// What holds for every upstream.
    pub egress: Config,
    /// How fast it may be asked.
    pub pace: Option<Pace>,
    /// Longest time for a request with all its tries, if shorter than `[egress]` says.
    pub timeout: Option<Duration>,
    /// Longest answer, if shorter than `[egress]` says.
    pub body_limit: Option<u64>,
}

impl Settings {
    /// An upstream at `base` under the rules of `egress`.
    pub fn new(name: impl Into<String>, base: Url, egress: &Config) -> Self {
        let egress = egress.clone();
        Self {
            name: name.into(),
            base,
            hosts: Vec::new(),
            egress,
            pace: None,
            timeout: None,
            body_limit: None,
        }
    }
}
