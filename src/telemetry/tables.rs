//! Numbers that somebody else keeps, read when they are asked for.
//!
//! Owns [`Table`]. The idea: whoever counts (the limiter, the redactor, the lanes to upstreams) knows nothing of telemetry; a
//! table here names what it has, and both ways out (Prometheus, OpenTelemetry) read the same rows.
//!
//! Must not: have a label that a caller can make up, or hold what it reads from alive.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// What is read: labels and a number, each set of labels once.
pub type Rows = Vec<(Vec<(&'static str, String)>, u64)>;

/// What its numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// They grow.
    Count,
    /// They go up and down.
    Level,
}

/// Numbers of one name.
#[derive(Clone)]
pub struct Table {
    /// Its name, in words with `_` between them.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// What the numbers do.
    pub shape: Shape,
    /// Reads them.
    pub read: Arc<dyn Fn() -> Rows + Send + Sync>,
}

impl fmt::Debug for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Table({})", self.name)
    }
}

impl Collector for Table {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let kind = match self.shape {
            Shape::Count => MetricType::Counter,
            Shape::Level => MetricType::Gauge,
        };
        let mut family = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for (labels, number) in (self.read)() {
            let row = family.encode_family(&labels)?;
            match self.shape {
                Shape::Count => ConstCounter::new(number).encode(row)?,
                Shape::Level => ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX)).encode(row)?,
            }
        }
        Ok(())
    }
}
