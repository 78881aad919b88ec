//! Who measures.
//!
//! Owns [`Observer`] and [`Call`]. The idea: the line says when a call begins, which stage it enters and how it ended; what
//! becomes of that (Prometheus, OpenTelemetry, both) is settled here. Without an observer nothing is measured, and
//! nothing costs anything.
//!
//! Must not: be told arguments, results or principals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "otlp")]
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

#[cfg(feature = "otlp")]
use opentelemetry::KeyValue;
#[cfg(feature = "otlp")]
use opentelemetry::trace::{Span as _, SpanKind};

#[cfg(feature = "otlp")]
use super::otel::{self, Otel};
use super::{Metrics, Table, TraceContext};

/// A call that begins.
#[derive(Debug, Clone, Copy)]
pub struct Began<'a> {
    /// The protocol method.
    pub method: &'static str,
    /// The tool, resource or prompt.
    pub name: &'a str,
    /// Which of these.
    pub family: &'static str,
    /// What it does to the world.
    pub effect: &'static str,
    /// `stdio` or `http`.
    pub transport: &'static str,
    /// The revision's name.
    pub revision: &'static str,
    /// The trace that the caller named.
    pub parent: Option<TraceContext>,
}

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// As the audit says it.
    pub result: &'a str,
    /// The security event that the end is.
    pub event: Option<&'static str>,
    /// Whether the call was refused here.
    pub refused: bool,
}

/// Measures.
#[derive(Default)]
pub struct Observer {
    /// For Prometheus.
    pub metrics: Option<Arc<Metrics>>,
    /// For OpenTelemetry.
    #[cfg(feature = "otlp")]
    pub otel: Option<Otel>,
    /// Whether upstreams are told the trace.
    pub propagate: bool,
}

impl Observer {
    /// Tells these numbers to whoever is told anything.
    pub fn tell(&self, tables: &[Table]) {
        for table in tables {
            if let Some(metrics) = &self.metrics {
                metrics.table(table);
            }
            #[cfg(feature = "otlp")]
            if let Some(otel) = &self.otel {
                otel.table(table);
            }
        }
    }

    /// A call begins.
    pub fn begin(self: &Arc<Self>, began: &Began<'_>) -> Call {
        #[cfg(feature = "otlp")]
        let span = self.otel.as_ref().and_then(|otel| otel.begin(began));
        Call {
            observer: Arc::clone(self),
            start: Instant::now(),
            ended: AtomicBool::new(false),
            method: began.method,
            family: began.family,
            name: began.name.into(),
            effect: began.effect,
            #[cfg(feature = "otlp")]
            place: span.as_ref().map(otel::place),
            #[cfg(feature = "otlp")]
            spans: Mutex::new(Spans { call: span, stage: None }),
        }
    }
}

#[cfg(feature = "otlp")]
struct Spans {
    call: Option<opentelemetry_sdk::trace::Span>,
    stage: Option<opentelemetry_sdk::trace::Span>,
}

/// A call that is measured.
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "nobody traces"))]
pub struct Call {
    observer: Arc<Observer>,
    start: Instant,
    ended: AtomicBool,
    method: &'static str,
    family: &'static str,
    name: Box<str>,
    effect: &'static str,
    #[cfg(feature = "otlp")]
    place: Option<TraceContext>,
    #[cfg(feature = "otlp")]
    spans: Mutex<Spans>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Call(..)")
    }
}

impl Call {
    /// Where it is in its trace, if it is traced.
    pub fn place(&self) -> Option<TraceContext> {
        #[cfg(feature = "otlp")]
        return self.place;
        #[cfg(not(feature = "otlp"))]
        return None;
    }

    /// It enters a stage.
    #[cfg_attr(not(feature = "otlp"), allow(unused_variables, clippy::unused_self, reason = "nobody traces"))]
    pub(super) fn stage(&self, name: &'static str) {
        #[cfg(feature = "otlp")]
        if let Some(otel) = &self.observer.otel {
            let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(call) = &spans.call else { return };
            let next = otel.within(call.span_context(), name, SpanKind::Internal);
            if let Some(stage) = std::mem::replace(&mut spans.stage, next) {
                otel::finish(stage, None, []);
            }
        }
    }

    /// It ended.
    pub fn end(&self, ended: &Ended<'_>) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let took = self.start.elapsed();
        if let Some(metrics) = &self.observer.metrics {
            metrics.called(&self.name, self.effect, ended.result, ended.refused, took);
            if let Some(event) = ended.event {
                metrics.event(event);
            }
        }
        #[cfg(feature = "otlp")]
        if let Some(otel) = &self.observer.otel {
            otel.called((self.method, self.family, &self.name), ended.result, took);
            let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(stage) = spans.stage.take() {
                otel::finish(stage, None, []);
            }
            if let Some(call) = spans.call.take() {
                let failed = ended.result != "ok" && ended.result != "paused";
                otel::finish(call, failed.then_some(ended.result), []);
            }
        }
    }

    /// An upstream's answer was not what its document describes.
    pub fn departed(&self, upstream: &str) {
        if let Some(metrics) = &self.observer.metrics {
            metrics.departed(upstream);
        }
    }

    /// A request leaves for an upstream.
    pub(super) fn leaving(self: &Arc<Self>, host: &str, method: &str) -> Leaving {
        #[cfg(feature = "otlp")]
        let span = self.observer.otel.as_ref().and_then(|otel| {
            let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
            otel.within(spans.call.as_ref()?.span_context(), known(method), SpanKind::Client)
        });
        Leaving {
            call: Arc::clone(self),
            start: Instant::now(),
            host: host.into(),
            method: method.into(),
            #[cfg(feature = "otlp")]
            span,
        }
    }

    /// A request is tried again.
    pub(super) fn retried(&self, upstream: &str) {
        if let Some(metrics) = &self.observer.metrics {
            metrics.retried(upstream);
        }
    }
}

/// A caller that went away leaves a call that was cancelled.
impl Drop for Call {
    fn drop(&mut self) {
        self.end(&Ended { result: "cancelled", event: None, refused: false });
    }
}

/// A request that is on its way to an upstream.
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "nobody traces"))]
pub struct Leaving {
    call: Arc<Call>,
    start: Instant,
    host: Box<str>,
    method: Box<str>,
    #[cfg(feature = "otlp")]
    span: Option<opentelemetry_sdk::trace::Span>,
}

impl Leaving {
    /// What the upstream is told of the trace.
    pub fn traceparent(&self) -> Option<String> {
        #[cfg(feature = "otlp")]
        return self
            .span
            .as_ref()
            .filter(|_| self.call.observer.propagate)
            .map(|span| otel::place(span).to_string());
        #[cfg(not(feature = "otlp"))]
        return None;
    }

    /// It was answered, with 0 if it was not.
    pub fn answered(self, upstream: &str, status: u16) {
        let took = self.start.elapsed();
        if let Some(metrics) = &self.call.observer.metrics {
            metrics.answered(upstream, status, took);
        }
        #[cfg(feature = "otlp")]
        if let Some(otel) = &self.call.observer.otel {
            otel.answered(&self.host, &self.method, status, took);
            if let Some(span) = self.span {
                let error = match status {
                    0 => Some(String::from("no_answer")),
                    400.. => Some(status.to_string()),
                    _ => None,
                };
                let facts = [
                    KeyValue::new("http.request.method", self.method.to_string()),
                    KeyValue::new("server.address", self.host.to_string()),
                    KeyValue::new("http.response.status_code", i64::from(status)),
                ];
                otel::finish(span, error.as_deref(), facts);
            }
        }
    }
}

/// A method's name, of those that there are.
#[cfg(feature = "otlp")]
fn known(method: &str) -> &'static str {
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("HTTP")
}
