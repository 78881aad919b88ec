//! Who measures, and who may look.
//!
//! Owns [`Observing`]: the observer that the line gets, the page for Prometheus, and the way to an OpenTelemetry receiver.
//! The idea: without a word in the configuration there is none of it.
//!
//! Must not: listen beyond loopback: the page asks nobody who they are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use super::App;
use crate::approvals::Status;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::http::State;
use crate::relay::Means;
use crate::telemetry::{Metrics, Observer, Rows, Shape, Table};

/// What measures in this process.
#[derive(Default)]
pub(super) struct Observing {
    pub(super) observer: Option<Arc<Observer>>,
    /// Where the page is to be.
    listen: Option<SocketAddr>,
    page: OnceCell<(SocketAddr, AbortOnDropHandle<()>)>,
}

impl Observing {
    /// Opens what the configuration asks for.
    pub(super) fn open(config: &Config, means: &Means) -> Result<Self> {
        let settings = &config.telemetry;
        let endpoint = settings.otlp_endpoint.as_deref();
        if endpoint.is_none() && settings.metrics_listen.is_none() {
            return Ok(Self::default());
        }
        if !(0.0..=1.0).contains(&settings.sample) {
            return Err(Error::new(Kind::BadConfig, "[telemetry] sample is a number from 0 to 1."));
        }
        let metrics = settings.metrics_listen.as_ref().map(|_| Arc::new(Metrics::default()));
        #[cfg(not(feature = "otlp"))]
        if endpoint.is_some() {
            let _ = means;
            return Err(Error::new(
                Kind::BadConfig,
                "[telemetry] otlp_endpoint needs a bartizan that was built with the feature `otlp`.",
            ));
        }
        #[cfg(feature = "otlp")]
        let otel = match endpoint {
            Some(endpoint) => {
                let exporter = crate::relay::Exporter::open(settings, endpoint, means)?;
                Some(crate::telemetry::Otel::start(settings, endpoint, &exporter)?)
            }
            None => None,
        };
        let listen = settings.metrics_listen.as_deref().map(place).transpose()?;
        let observer = Observer {
            metrics,
            #[cfg(feature = "otlp")]
            otel,
            propagate: settings.propagate,
        };
        Ok(Self { observer: Some(Arc::new(observer)), listen, page: OnceCell::new() })
    }

    /// Numbers that are read when somebody asks.
    pub(super) fn look_at(&self, app: &Arc<App>) {
        if let Some(observer) = &self.observer {
            observer.tell(&tables(app));
        }
        let Some(metrics) = self.observer.as_ref().and_then(|observer| observer.metrics.as_ref()) else {
            return;
        };
        let weak = Arc::downgrade(app);
        let read = |name, help, of: fn(&App) -> usize| {
            let weak = weak.clone();
            let reading = move || weak.upgrade().map_or(0, |app| i64::try_from(of(&app)).unwrap_or(i64::MAX));
            metrics.read(name, help, reading);
        };
        read("audit_calls_running", "Calls that have begun and not ended", |app| app.audit.stats().running);
        read("audit_lines_waiting", "Audit lines that wait to be written", |app| app.audit.stats().waiting);
        read("audit_write_failures", "Writes of the audit that failed since the start", |app| {
            app.audit.stats().failures
        });
        read("approvals_pending", "Calls that wait for a person", |app| {
            let all = app.approvals.list().unwrap_or_default();
            all.iter().filter(|one| one.status == Status::Pending).count()
        });
        read("sessions", "Sessions of the older door over HTTP", |app| app.server.held().sessions);
        let counting = Arc::clone(metrics);
        app.audit.on_event(move |event| counting.event(event));
    }

    /// Sends what waits.
    #[cfg_attr(
        not(feature = "otlp"),
        allow(unused_variables, clippy::unused_async, reason = "nothing waits")
    )]
    pub(super) async fn end(&self, within: Duration) {
        #[cfg(feature = "otlp")]
        if let Some(observer) = self.observer.clone().filter(|observer| observer.otel.is_some()) {
            // their threads wait for our client, so this one must not
            let work = tokio::task::spawn_blocking(move || {
                if let Some(otel) = &observer.otel {
                    otel.end(within);
                }
            });
            let _ = tokio::time::timeout(within * 2, work).await;
        }
    }
}

impl App {
    /// Opens `/metrics` where the configuration says so, and tells where it is. Whoever serves does; a command that only
    /// looks leaves the address to the server that runs.
    pub async fn open_metrics(&self) -> Result<Option<SocketAddr>> {
        let metrics = self.observing.observer.as_ref().and_then(|observer| observer.metrics.clone());
        let (Some(listen), Some(metrics)) = (self.observing.listen, metrics) else { return Ok(None) };
        let opened = self.observing.page.get_or_try_init(async || {
            let taken = "[telemetry] metrics_listen cannot be listened on; another program may use it.";
            let failed = |cause| Error::new(Kind::BadConfig, taken).with_source(cause);
            let listener = TcpListener::bind(listen).await.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            Ok((address, AbortOnDropHandle::new(tokio::spawn(serve(listener, metrics)))))
        });
        opened.await.map(|(address, _)| Some(*address))
    }
}

/// What others count. Each holds what it reads and not the app, which ends before those who read.
fn tables(app: &App) -> Vec<Table> {
    let (redactor, tally, traffic) =
        (app.redactor.clone(), app.line().limiter().tally().clone(), app.traffic());
    let upstreams = |name, help, shape, of: fn(&State) -> u64, together: fn(u64, u64) -> u64| {
        let traffic = traffic.clone();
        Table { name, help, shape, read: Arc::new(move || by_upstream(&traffic.states(), of, together)) }
    };
    let sum = u64::saturating_add;
    vec![
        Table {
            name: "redactions",
            help: "Secrets that were taken out of what goes to callers, by kind",
            shape: Shape::Count,
            read: Arc::new(move || {
                redactor.taken().into_iter().map(|(kind, count)| (vec![("kind", kind)], count)).collect()
            }),
        },
        Table {
            name: "limit_refusals",
            help: "What was refused because of a limit, by limit",
            shape: Shape::Count,
            read: Arc::new(move || {
                let all = tally.all().into_iter();
                all.map(|(limit, count)| (vec![("limit", limit.to_owned())], count)).collect()
            }),
        },
        upstreams(
            "upstream_circuit",
            "Whether an upstream is used (0), tried again (1) or left alone (2)",
            Shape::Level,
            |state| match state.circuit {
                "closed" => 0,
                "half-open" => 1,
                _ => 2,
            },
            u64::max,
        ),
        upstreams(
            "upstream_in_flight",
            "Requests on their way to an upstream",
            Shape::Level,
            |state| state.flying.into(),
            sum,
        ),
        upstreams(
            "upstream_waiting",
            "Requests that wait for their turn at an upstream",
            Shape::Level,
            |state| state.waiting.into(),
            sum,
        ),
        upstreams(
            "upstream_spared",
            "Requests that were refused here to spare an upstream",
            Shape::Count,
            |state| state.refused,
            sum,
        ),
        upstreams("upstream_limited", "Answers of 429", Shape::Count, |state| state.limited, sum),
        upstreams(
            "upstream_failures",
            "Answers of 5xx, and requests without an answer",
            Shape::Count,
            |state| state.failed,
            sum,
        ),
    ]
}

/// One row for each upstream and host: what several credentials there do is taken together.
fn by_upstream(states: &[State], of: fn(&State) -> u64, together: fn(u64, u64) -> u64) -> Rows {
    let mut rows: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for state in states {
        let row = rows.entry((&state.upstream, &state.host)).or_default();
        *row = together(*row, of(state));
    }
    let labelled = |((upstream, host), number): ((&str, &str), u64)| {
        (vec![("upstream", upstream.to_owned()), ("host", host.to_owned())], number)
    };
    rows.into_iter().map(labelled).collect()
}

fn place(listen: &str) -> Result<SocketAddr> {
    let address = listen.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback());
    address.ok_or_else(|| {
        Error::new(
            Kind::BadConfig,
            "[telemetry] metrics_listen is a loopback address and a port, such as 127.0.0.1:9464: the page asks nobody \
             who they are.",
        )
    })
}

async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    let page = move || {
        let text = metrics.text();
        async move { ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text) }
    };
    let router = axum::Router::new().route("/metrics", get(page));
    if axum::serve(listener, router).await.is_err() {
        tracing::error!("the page of metrics ended");
    }
}
