//! Spans and metrics as OpenTelemetry has them.
//!
//! Owns the providers and the names of the semantic conventions for MCP, `GenAI` and HTTP. The idea: batches leave on a
//! thread of their own; a full queue drops, and no call waits. Names, kinds and numbers are all that a span says.
//!
//! Must not: put arguments, results, principals or addresses of requests into a span.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::{Histogram, Meter, MeterProvider as _};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span,
};

use super::observer::Began;
use super::{Config, Shape, Table, TraceContext};
use crate::error::{Error, Kind, Result};

/// The way to an OpenTelemetry receiver.
pub struct Otel {
    traces: Option<(SdkTracerProvider, SdkTracer)>,
    metrics: Option<(SdkMeterProvider, Meter, Histogram<f64>, Histogram<f64>)>,
}

impl fmt::Debug for Otel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Otel(..)")
    }
}

impl Otel {
    /// Begins to send what is asked for to `endpoint`, by these clients.
    pub fn start<C: HttpClient + Clone + 'static>(
        config: &Config,
        endpoint: &str,
        client: &C,
    ) -> Result<Self> {
        let wrong = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(
                Kind::BadConfig,
                "[telemetry] otlp_endpoint cannot be used; it is an address such as \
                https://otel.example.com:4318.",
            )
            .with_source(cause)
        };
        let base = endpoint.trim_end_matches('/');
        let every = Duration::from_secs(u64::from(config.seconds.max(1)));
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "bartizan"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        let traces = if config.traces {
            let exporter = SpanExporter::builder()
                .with_http()
                .with_http_client(client.clone())
                .with_endpoint(format!("{base}/v1/traces"))
                .build()
                .map_err(|cause| wrong(Box::new(cause)))?;
            let batches = BatchConfigBuilder::default().with_scheduled_delay(every).build();
            let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
            let ratio = Sampler::TraceIdRatioBased(config.sample.clamp(0.0, 1.0));
            let provider = SdkTracerProvider::builder()
                .with_span_processor(processor)
                .with_sampler(Sampler::ParentBased(Box::new(ratio)))
                .with_resource(resource.clone())
                .build();
            let tracer = provider.tracer("bartizan");
            Some((provider, tracer))
        } else {
            None
        };
        let metrics = if config.metrics {
            let exporter = MetricExporter::builder()
                .with_http()
                .with_http_client(client.clone())
                .with_endpoint(format!("{base}/v1/metrics"))
                .build()
                .map_err(|cause| wrong(Box::new(cause)))?;
            let reader = PeriodicReader::builder(exporter).with_interval(every).build();
            let provider = SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build();
            let meter = provider.meter("bartizan");
            let times = |name: &'static str, about: &'static str| {
                meter.f64_histogram(name).with_unit("s").with_description(about).build()
            };
            let calls = times("mcp.server.operation.duration", "How long MCP requests took");
            let upstream = times("http.client.request.duration", "How long upstreams took");
            Some((provider, meter, calls, upstream))
        } else {
            None
        };
        Ok(Self { traces, metrics })
    }

    /// The span of a request.
    pub(super) fn begin(&self, began: &Began<'_>) -> Option<Span> {
        let (_, tracer) = self.traces.as_ref()?;
        let target = if matches!(began.family, "tool" | "prompt") { began.name } else { "" };
        let name = format!("{} {target}", began.method);
        let mut attributes = vec![
            KeyValue::new("mcp.method.name", began.method),
            KeyValue::new("mcp.protocol.version", began.revision),
            KeyValue::new("network.transport", if began.transport == "http" { "tcp" } else { "pipe" }),
        ];
        attributes.extend(named(began.family, began.name));
        let builder = tracer
            .span_builder(name.trim_end().to_owned())
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        let parent = began.parent.map_or_else(Context::new, |parent| remote(&parent));
        Some(tracer.build_with_context(builder, &parent))
    }

    /// A span within another.
    pub(super) fn within(&self, parent: &SpanContext, name: &'static str, kind: SpanKind) -> Option<Span> {
        let (_, tracer) = self.traces.as_ref()?;
        let context = Context::new().with_remote_span_context(parent.clone());
        Some(tracer.build_with_context(tracer.span_builder(name).with_kind(kind), &context))
    }

    /// A call ended.
    pub(super) fn called(&self, began: (&'static str, &str, &str), result: &str, took: Duration) {
        let Some((_, _, calls, _)) = &self.metrics else { return };
        let (method, family, name) = began;
        let mut attributes = vec![KeyValue::new("mcp.method.name", method)];
        attributes.extend(named(family, name));
        if result != "ok" && result != "paused" {
            attributes.push(KeyValue::new("error.type", result.to_owned()));
        }
        calls.record(took.as_secs_f64(), &attributes);
    }

    /// Numbers that are read whenever metrics are sent.
    pub(super) fn table(&self, table: &Table) {
        let Some((_, meter, ..)) = &self.metrics else { return };
        let name = format!("bartizan.{}", table.name.replace('_', "."));
        let read = {
            let read = Arc::clone(&table.read);
            move |tell: &dyn Fn(u64, &[KeyValue])| {
                for (labels, number) in read() {
                    let labels: Vec<KeyValue> =
                        labels.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect();
                    tell(number, &labels);
                }
            }
        };
        match table.shape {
            Shape::Count => {
                let counter = meter.u64_observable_counter(name).with_description(table.help);
                counter.with_callback(move |out| read(&|number, labels| out.observe(number, labels))).build();
            }
            Shape::Level => {
                let gauge = meter.u64_observable_gauge(name).with_description(table.help);
                gauge.with_callback(move |out| read(&|number, labels| out.observe(number, labels))).build();
            }
        }
    }

    /// An upstream answered.
    pub(super) fn answered(&self, host: &str, method: &str, status: u16, took: Duration) {
        let Some((_, _, _, upstream)) = &self.metrics else { return };
        let attributes = [
            KeyValue::new("server.address", host.to_owned()),
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("http.response.status_code", i64::from(status)),
        ];
        upstream.record(took.as_secs_f64(), &attributes);
    }

    /// Sends what waits. Blocks.
    pub fn end(&self, within: Duration) {
        if let Some((provider, _)) = &self.traces {
            let _ = provider.shutdown_with_timeout(within);
        }
        if let Some((provider, ..)) = &self.metrics {
            let _ = provider.shutdown_with_timeout(within);
        }
    }
}

/// What of a call the conventions name by what it is.
fn named(family: &str, name: &str) -> Vec<KeyValue> {
    match family {
        "tool" => vec![
            KeyValue::new("gen_ai.operation.name", "execute_tool"),
            KeyValue::new("gen_ai.tool.name", name.to_owned()),
        ],
        "prompt" => vec![KeyValue::new("gen_ai.prompt.name", name.to_owned())],
        _ => Vec::new(),
    }
}

fn remote(parent: &TraceContext) -> Context {
    let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from_bytes(parent.trace), SpanId::from_bytes(parent.span));
    Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, TraceState::default()))
}

/// What a span's own place is, for what follows.
pub(super) fn place(span: &Span) -> TraceContext {
    let context = span.span_context();
    TraceContext {
        trace: context.trace_id().to_bytes(),
        span: context.span_id().to_bytes(),
        sampled: context.is_sampled(),
    }
}

/// Ends a span; an error is its kind, and nothing else.
pub(super) fn finish(mut span: Span, error: Option<&str>, facts: impl IntoIterator<Item = KeyValue>) {
    span.set_attributes(facts);
    if let Some(kind) = error {
        span.set_attribute(KeyValue::new("error.type", kind.to_owned()));
        span.set_status(Status::error(""));
    }
    span.end();
}
