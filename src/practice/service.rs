//! The HTTP side of the stand-in.
//!
//! Owns [`Service`]: from a request to an answer, in the order in which a real upstream would look at it: faults,
//! tokens, who calls, which operation, is it well formed, what does it do.
//!
//! Must not: hold state of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderName, Method, Response, StatusCode};
use bytes::Bytes;

use super::Options;
use super::auth::Gate;
use super::book::Book;
use super::faults::{self, Fault, Faults};
use super::plan::Plan;
use super::record::{Recorded, Recorder};
use super::reply::{Refused, Reply, Voice};
use super::request::{self, Raw};
use super::route::{Found, Routes, segments};
use super::world::World;
use crate::connectors::document::Document;

/// Longest body that is read.
const LONGEST: usize = 8 << 20;

/// Everything a request needs.
pub(super) struct Service {
    world: World,
    routes: Routes,
    gate: Gate,
    faults: Faults,
    recorder: Recorder,
    strict: bool,
    fault_header: bool,
    count: AtomicU64,
}

impl Service {
    pub(super) fn new(document: Document, options: Options, address: SocketAddr) -> Self {
        let routes = Routes::new(&document);
        let base = document.base_path.trim_end_matches('/').to_owned();
        let book = Book::new(document);
        let plan = Plan::new(&book);
        let leaky = World::choose_leak(&plan, &book, options.leak_in.as_deref());
        let world = World {
            voice: Voice::of(&book),
            leak: options.leak.zip(leaky),
            book,
            plan,
            clock: options.clock.clone(),
            seed: options.seed,
            seeds: options.seeds,
            page_size: options.page_size,
            page_most: options.page_most,
            capacity: options.capacity,
            root: format!("http://{address}"),
            base,
            store: std::sync::Mutex::default(),
            misfits: std::sync::Mutex::default(),
        };
        Self {
            world,
            routes,
            gate: Gate::new(options.auth, options.clock),
            faults: Faults::new(options.faults),
            recorder: Recorder::new(options.recorded),
            strict: options.strict_query,
            fault_header: options.fault_header,
            count: AtomicU64::new(0),
        }
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(super) fn base(&self) -> &str {
        &self.world.base
    }

    pub(super) fn requests(&self) -> Vec<Recorded> {
        self.recorder.all()
    }

    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new().fallback(handle).with_state(self)
    }

    /// What is answered, and the operation that the request meant.
    fn answer(&self, parts: &Parts, body: &Bytes) -> (Reply, Option<String>) {
        let path = parts.uri.path();
        if self.gate.issues(path) && parts.method == Method::POST {
            return (self.gate.token(&parts.headers, body), Some("token".into()));
        }
        let count = self.count.load(Ordering::Relaxed);
        if !self.gate.admits(&parts.headers) {
            let refused = Refused::new(StatusCode::UNAUTHORIZED, "The token is missing, expired or unknown.");
            let reply = self.world.voice.say(&refused, count);
            return (reply.with_header("www-authenticate", self.gate.challenge()), None);
        }
        let mut meant = None;
        let answered = self.operate(parts, body, &mut meant);
        (answered.unwrap_or_else(|reply| reply), meant)
    }

    fn operate(&self, parts: &Parts, body: &Bytes, meant: &mut Option<String>) -> Result<Reply, Reply> {
        let count = self.count.load(Ordering::Relaxed);
        let say = |refused: &Refused| self.world.voice.say(refused, count);
        let path = parts.uri.path();
        let inside = path.strip_prefix(self.base()).filter(|rest| rest.starts_with('/')).unwrap_or(path);
        let segments = segments(inside).ok_or_else(|| {
            say(&Refused::new(StatusCode::BAD_REQUEST, "The path has a segment that is not allowed."))
        })?;
        let find = |method: &str| self.routes.find(&self.world.book.document, method, &segments);
        let found = match find(parts.method.as_str()) {
            // a document rarely mentions HEAD
            Found::OtherMethods(_) if parts.method == Method::HEAD => find("GET"),
            found => found,
        };
        let (operations, values) = match found {
            Found::Operations(operations, values) => (operations, values),
            Found::OtherMethods(others) => {
                let refused = Refused::new(StatusCode::METHOD_NOT_ALLOWED, "This path has other methods.");
                return Err(say(&refused).with_header("allow", &others.join(", ")));
            }
            Found::Nothing => {
                return Err(say(&Refused::new(StatusCode::NOT_FOUND, "The document has no such path.")));
            }
        };
        let mut first = None;
        for operation in operations {
            let raw = Raw {
                segments: segments.clone(),
                path: values.clone(),
                query: parts.uri.query().unwrap_or_default(),
                headers: &parts.headers,
                body,
                strict: self.strict,
            };
            match request::read(&self.world.book, operation, raw) {
                Ok(call) => {
                    *meant = Some(self.world.book.operation(operation).id.clone());
                    return self.world.answer(&call).map_err(|refused| say(&refused));
                }
                Err(refused) => {
                    meant.get_or_insert_with(|| self.world.book.operation(operation).id.clone());
                    first = first.or(Some(refused));
                }
            }
        }
        let refused =
            first.unwrap_or_else(|| Refused::new(StatusCode::NOT_FOUND, "The document has no such path."));
        Err(say(&refused))
    }

    fn due(&self, parts: &Parts) -> Option<Fault> {
        let asked = parts.headers.get("x-practice-fault").filter(|_| self.fault_header);
        let path = parts.uri.path();
        asked
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .or_else(|| self.faults.due(parts.method.as_str(), path, self.gate.issues(path)))
    }
}

async fn handle(State(service): State<Arc<Service>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let count = service.count.fetch_add(1, Ordering::Relaxed);
    let Ok(body) = to_bytes(body, LONGEST).await else {
        return finish(Reply::empty(StatusCode::PAYLOAD_TOO_LARGE).into_response());
    };
    let mut recorded = Recorded::new(&parts, &body);
    let fault = service.due(&parts);
    let instead = fault.as_ref().and_then(|fault| {
        fault.instead(service.world.voice, count, || {
            faults::fields(parts.uri.query().unwrap_or_default(), &body)
        })
    });
    let (mut reply, operation) = match instead {
        Some(reply) => (reply, None),
        None => service.answer(&parts, &body),
    };
    if fault == Some(Fault::Echo) {
        let given = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("");
        let echo =
            crate::json::json!({"debug": {"authorization": given}, "message": format!("you sent {given}")});
        reply.body = echo.to_string().into_bytes().into();
        reply = reply.with_header("content-type", "application/json");
    }
    recorded.operation = operation;
    recorded.status = reply.status.as_u16();
    service.recorder.add(recorded);
    // what came in is remembered even if nobody waits for the answer
    if let Some(delay) = fault.as_ref().and_then(Fault::delay) {
        tokio::time::sleep(delay).await;
    }
    match fault {
        Some(Fault::Reset) => return finish(faults::broken_off(reply)),
        Some(Fault::Endless) => return finish(faults::endless(reply)),
        _ => {}
    }
    debug_assert!(
        reply.body.is_empty()
            || reply.is_json()
            || reply.headers.iter().any(|(name, _)| name == CONTENT_TYPE)
    );
    finish(reply.into_response())
}

fn finish(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(HeaderName::from_static("x-practice"), HeaderValue::from_static("true"));
    response
}
