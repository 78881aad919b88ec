//! What the configuration says of telemetry.
//!
//! Owns [`Config`]. The idea: nothing is measured and nothing leaves unless it is asked for.
//!
//! Must not: hold a secret; headers are references.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The `[telemetry]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address before `/v1/traces` and `/v1/metrics` of an OpenTelemetry receiver.
    pub otlp_endpoint: Option<String>,
    /// Headers for it; values are references to secrets.
    pub otlp_headers: BTreeMap<String, String>,
    /// Send traces there.
    pub traces: bool,
    /// Send metrics there.
    pub metrics: bool,
    /// Which part of the calls that nobody traces yet is traced, 0 to 1.
    pub sample: f64,
    /// Seconds between two messages.
    pub seconds: u32,
    /// Tell upstreams which trace a request belongs to (`traceparent`, never baggage).
    pub propagate: bool,
    /// A loopback address where Prometheus finds `/metrics`.
    pub metrics_listen: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_headers: BTreeMap::new(),
            traces: true,
            metrics: true,
            sample: 1.0,
            seconds: 10,
            propagate: true,
            metrics_listen: None,
        }
    }
}
