//! Every metric, in one list.
//!
//! Owns [`Metrics`], as Prometheus reads them. The idea: a metric counts kinds of things (tools, outcomes, upstreams,
//! reasons), never what was in them; how many kinds there can be is bounded.
//!
//! Must not: have a label that a caller can make up.

use std::collections::HashSet;
use std::sync::atomic::AtomicI64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Table;

/// Most values of one label; what comes after is counted as `other`.
const MOST: usize = 1000;
/// Seconds; those that the semantic conventions advise for MCP.
const BUCKETS: [f64; 14] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

type Label = (&'static str, String);
type Counts<const LABELS: usize> = Family<[Label; LABELS], Counter>;
type Times = Family<[Label; 1], Histogram, fn() -> Histogram>;
type Reading = Box<dyn Fn() -> i64 + Send + Sync>;

/// What is counted.
pub struct Metrics {
    registry: Mutex<Registry>,
    calls: Counts<3>,
    durations: Times,
    refusals: Counts<1>,
    events: Counts<1>,
    upstream: Counts<2>,
    upstream_durations: Times,
    retries: Counts<1>,
    departures: Counts<1>,
    readings: Mutex<Vec<(Gauge<i64, AtomicI64>, Reading)>>,
    known: Mutex<HashSet<String>>,
}

fn times() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("bartizan");
        let metrics = Self {
            calls: Family::default(),
            durations: Family::new_with_constructor(times),
            refusals: Family::default(),
            events: Family::default(),
            upstream: Family::default(),
            upstream_durations: Family::new_with_constructor(times),
            retries: Family::default(),
            departures: Family::default(),
            readings: Mutex::default(),
            known: Mutex::default(),
            registry: Mutex::default(),
        };
        registry.register("calls", "Calls that ended, by tool, effect and outcome", metrics.calls.clone());
        registry.register(
            "call_duration_seconds",
            "How long calls took, by effect",
            metrics.durations.clone(),
        );
        registry.register("refusals", "Calls that were refused, by reason", metrics.refusals.clone());
        registry.register("security_events", "Security events, by name", metrics.events.clone());
        registry.register("upstream_requests", "Answers of upstreams, by status", metrics.upstream.clone());
        registry.register(
            "upstream_duration_seconds",
            "How long upstreams took, by upstream",
            metrics.upstream_durations.clone(),
        );
        registry.register(
            "upstream_retries",
            "Requests that were tried again, by upstream",
            metrics.retries.clone(),
        );
        registry.register(
            "upstream_departures",
            "Answers that were not what the upstream's document describes, by upstream",
            metrics.departures.clone(),
        );
        *lock(&metrics.registry) = registry;
        metrics
    }
}

impl Metrics {
    /// A number that is read when somebody asks.
    pub fn read(&self, name: &str, help: &str, reading: impl Fn() -> i64 + Send + Sync + 'static) {
        let gauge = Gauge::<i64, AtomicI64>::default();
        lock(&self.registry).register(name, help, gauge.clone());
        lock(&self.readings).push((gauge, Box::new(reading)));
    }

    /// Numbers that are read when somebody asks, with labels.
    pub fn table(&self, table: &Table) {
        lock(&self.registry).register_collector(Box::new(table.clone()));
    }

    /// A call ended.
    pub fn called(&self, tool: &str, effect: &str, outcome: &str, refused: bool, took: Duration) {
        let (tool, outcome) = (self.bounded(tool), outcome.to_owned());
        let labels = [("tool", tool), ("effect", effect.to_owned()), ("outcome", outcome.clone())];
        self.calls.get_or_create(&labels).inc();
        self.durations.get_or_create(&[("effect", effect.to_owned())]).observe(took.as_secs_f64());
        if refused {
            self.refusals.get_or_create(&[("reason", outcome)]).inc();
        }
    }

    /// There was a security event.
    pub fn event(&self, name: &str) {
        self.events.get_or_create(&[("event", self.bounded(name))]).inc();
    }

    /// An upstream answered; 0 where it did not.
    pub fn answered(&self, upstream: &str, status: u16, took: Duration) {
        let upstream = self.bounded(upstream);
        let status = if status == 0 { String::from("none") } else { status.to_string() };
        self.upstream.get_or_create(&[("upstream", upstream.clone()), ("status", status)]).inc();
        self.upstream_durations.get_or_create(&[("upstream", upstream)]).observe(took.as_secs_f64());
    }

    /// A request is tried again.
    pub fn retried(&self, upstream: &str) {
        self.retries.get_or_create(&[("upstream", self.bounded(upstream))]).inc();
    }

    /// An upstream's answer was not what its document describes.
    pub fn departed(&self, upstream: &str) {
        self.departures.get_or_create(&[("upstream", self.bounded(upstream))]).inc();
    }

    /// All of it, as Prometheus reads it (`OpenMetrics` text).
    pub fn text(&self) -> String {
        for (gauge, reading) in lock(&self.readings).iter() {
            gauge.set(reading());
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &lock(&self.registry));
        text
    }

    fn bounded(&self, value: &str) -> String {
        let mut known = lock(&self.known);
        if known.contains(value) {
            return value.to_owned();
        }
        if known.len() >= MOST {
            return String::from("other");
        }
        known.insert(value.to_owned());
        value.to_owned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_read_and_kinds_are_bounded() {
        let metrics = Metrics::default();
        metrics.read("sessions", "Sessions", || 7);
        metrics.called("look", "read", "ok", false, Duration::from_millis(15));
        metrics.called("look", "read", "Forbidden", true, Duration::from_millis(1));
        metrics.answered("equinix", 429, Duration::from_secs(1));
        for number in 0..3 * MOST {
            metrics.called(&format!("tool{number}"), "read", "ok", false, Duration::ZERO);
        }
        let text = metrics.text();
        for line in [
            "bartizan_calls_total{tool=\"look\",effect=\"read\",outcome=\"ok\"} 1",
            "bartizan_refusals_total{reason=\"Forbidden\"} 1",
            "bartizan_upstream_requests_total{upstream=\"equinix\",status=\"429\"} 1",
            "bartizan_call_duration_seconds_bucket{le=\"0.02\",effect=\"read\"}",
            "bartizan_sessions 7",
        ] {
            assert!(text.contains(line), "{line}\n{}", &text[..2000.min(text.len())]);
        }
        assert!(text.matches("bartizan_calls_total{").count() <= MOST + 3);
        assert!(text.contains("tool=\"other\""));
    }
}
