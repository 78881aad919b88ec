//! One HTTP endpoint.
//!
//! Owns [`Endpoint`] and the path of a request: address, guard, credentials, body, handler, answer. The idea:
//! one function per request and no layers, so the order of the checks is the order of the lines; an answer is one JSON
//! body unless the handler sent something first, which makes it an event stream.
//!
//! Must not: know what a message means.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONNECTION, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue, ORIGIN, TRANSFER_ENCODING, VARY, WWW_AUTHENTICATE,
};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addresses::Addresses;
use super::answers::{
    SESSION, answer, document, dress, empty, plain, preflight, public, refused_answer, shrink, turned_away,
    wait_for,
};
use super::auth::{Attempts, Authenticator, Presented, Refusal, Right, Verdict};
use super::body::{Bodies, Whole};
use super::connection::{Caller, converse};
use super::crowd::Crowd;
use super::exchange::{Afterlife, Exchange, First, Guarded};
use super::guard::{self, Guard, Refused, Route};
use super::lanes::Lanes;
use super::leases::Leases;
pub use super::listen::{Listener, bind};
use super::pages::{self, Pages};
use super::queue::Queue;
use super::sse::{EventStream, Reply};
use super::tls::Tower;
use super::{Answer, Channel, Config, Delivery, Handler, HeaderFacts, Outlet, Peer, Watch, stdio};
use crate::clock::{SharedClock, SystemClock};
use crate::error::Result;
use crate::principal::Principal;

const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// What an HTTP endpoint is made of.
pub struct Endpoint {
    handler: Arc<dyn Handler>,
    authenticator: Arc<dyn Authenticator>,
    config: Config,
    watch: Option<Arc<dyn Watch>>,
    pages: Option<(Arc<dyn Pages>, String)>,
    clock: SharedClock,
}

impl Endpoint {
    /// An endpoint; nothing happens until [`Endpoint::serve`].
    pub fn new(handler: Arc<dyn Handler>, authenticator: Arc<dyn Authenticator>, config: Config) -> Self {
        Self { handler, authenticator, config, watch: None, pages: None, clock: SystemClock::shared() }
    }

    /// Tells `watch` of every refusal.
    #[must_use]
    pub fn watched_by(mut self, watch: Arc<dyn Watch>) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Serves pages beside it, whose forms come from that origin.
    #[must_use]
    pub fn with_pages(mut self, pages: Option<(Arc<dyn Pages>, String)>) -> Self {
        self.pages = pages;
        self
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn timed_by(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Serves until `shutdown` fires. Then it says for `config.drain_delay` that it is not ready, so that a balancer
    /// sends nothing more, and gives what runs `config.drain` to finish.
    pub async fn serve(self, listener: impl Into<Listener>, shutdown: CancellationToken) -> Result<()> {
        let listener: Listener = listener.into();
        let local = listener.local_addr()?;
        self.config.check()?;
        guard::may_listen(local, self.authenticator.is_open(), &self.config)?;
        let tls = self.config.tls.as_ref();
        let tower = tls.map(|tls| Tower::open(tls, self.clock.clone())).transpose()?;
        let crowd = Crowd::new(self.config.connections);
        let connections = TaskTracker::new();
        let (leaving, over) = (CancellationToken::new(), CancellationToken::new());
        let shared = Arc::new(Shared {
            afterlife: Afterlife {
                tasks: connections.clone(),
                shutdown: leaving.clone(),
                drain: self.config.drain,
            },
            addresses: Addresses::new(&self.config),
            tower,
            guard: Guard::new(&self.config, local)
                .with_pages(self.pages.as_ref().map(|(_, origin)| origin.as_str())),
            pages: self.pages.map(|(pages, _)| pages),
            attempts: Attempts::new(self.config.failures_per_minute, self.clock),
            leases: Arc::default(),
            bodies: Bodies::new(&self.config),
            handler: self.handler,
            authenticator: self.authenticator,
            watch: self.watch,
            draining: AtomicBool::new(false),
            leaving: leaving.clone(),
            config: self.config,
        });
        // Should nobody wait for the connections any more, they end at once; the lanes would keep them.
        let _over = over.clone().drop_guard();
        let lanes = Lanes::shared()?;
        let accept = async {
            loop {
                match listener.accept().await {
                    Ok(None) => {}
                    Ok(Some((_, remote))) if !shared.addresses.may_connect(remote.ip()) => {
                        shared.tell("address not allowed", remote);
                    }
                    Ok(Some((stream, remote))) => {
                        let Some(place) = crowd.enter(&over).await else { return };
                        let caller = Caller { remote, place, shared: shared.clone(), certificate: None };
                        lanes.spawn(&connections, move || async move {
                            // A stream that cannot change its lane is closed: the descriptor has gone.
                            if let Ok(socket) = stream.here() {
                                converse(socket, caller).await;
                            }
                        });
                    }
                    // Out of descriptors, most likely: let some connections end first.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let told = async {
            shutdown.cancelled().await;
            shared.draining.store(true, Ordering::Relaxed);
            tokio::time::sleep(shared.config.drain_delay).await;
        };
        let renewal = async {
            match &shared.tower {
                Some(tower) => tower.watch(shared.watch.as_deref()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = accept => {}
            () = told => {}
            () = shared.leases.watch(&*shared.authenticator) => {}
            () = renewal => {}
        }
        drop(listener);
        leaving.cancel();
        connections.close();
        connections.wait().await;
        Ok(())
    }
}

/// Serves `handler` on `listener` until `shutdown` fires.
pub async fn serve(
    listener: impl Into<Listener>,
    handler: Arc<dyn Handler>,
    authenticator: Arc<dyn Authenticator>,
    config: Config,
    shutdown: CancellationToken,
) -> Result<()> {
    Endpoint::new(handler, authenticator, config).serve(listener, shutdown).await
}

/// What all connections of an endpoint share.
pub(super) struct Shared {
    guard: Guard,
    addresses: Addresses,
    pub(super) tower: Option<Tower>,
    pages: Option<Arc<dyn Pages>>,
    attempts: Attempts,
    handler: Arc<dyn Handler>,
    authenticator: Arc<dyn Authenticator>,
    watch: Option<Arc<dyn Watch>>,
    /// Set once a balancer should send nothing more.
    draining: AtomicBool,
    /// Fires when connections end.
    pub(super) leaving: CancellationToken,
    afterlife: Afterlife,
    leases: Arc<Leases>,
    bodies: Arc<Bodies>,
    pub(super) config: Config,
}

/// Where a request comes from.
#[derive(Clone, Copy)]
struct From {
    /// The other end of the connection.
    socket: SocketAddr,
    /// The caller's: another one behind a proxy.
    address: IpAddr,
}

impl std::fmt::Display for From {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.address == self.socket.ip().to_canonical() {
            self.socket.fmt(out)
        } else {
            write!(out, "{} by {}", self.address, self.socket)
        }
    }
}

impl Shared {
    /// Tells whoever watches that a connection was refused.
    pub(super) fn tell(&self, what: &'static str, remote: SocketAddr) {
        if let Some(watch) = &self.watch {
            watch.refused(what, &remote.to_string());
        }
    }

    /// The whole way of a request.
    pub(super) async fn respond(&self, request: Request<Incoming>, caller: &Caller) -> Response<Reply> {
        let socket = caller.remote;
        let mut from = From { socket, address: socket.ip().to_canonical() };
        let (head, body) = request.into_parts();
        let address = self.addresses.of(socket.ip(), &head.headers);
        from.address = *address.as_ref().unwrap_or(&from.address);
        let draining = self.draining.load(Ordering::Relaxed);
        let may = address.and_then(|address| self.addresses.check(address));
        let mut response = match may.and_then(|()| self.guard.check(&head)) {
            Ok(Route::Health) => plain(StatusCode::OK, "ok\n"),
            Ok(Route::Ready) if draining => plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            Ok(Route::Ready) => match self.watch.as_ref().and_then(|watch| watch.unready()) {
                Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, why),
                None => plain(StatusCode::OK, "ready\n"),
            },
            Ok(Route::Preflight) => preflight(&head.headers),
            Ok(Route::Document) if head.uri.path() == guard::SECURITY => match &self.config.security_text {
                Some(text) => public(text),
                None => plain(StatusCode::NOT_FOUND, "no such path"),
            },
            Ok(Route::Document) => match self.authenticator.document(head.uri.path()) {
                Some(text) => document(&text),
                None => plain(StatusCode::NOT_FOUND, "no such path"),
            },
            Ok(route) => {
                let presented = Presented {
                    headers: &pages::readable(head.uri.path(), &head.headers),
                    method: &head.method,
                    path: head.uri.path(),
                    address: from.address,
                    certificate: caller.certificate.as_ref(),
                };
                match self.admit(&presented, from).await {
                    Ok(principal) => {
                        caller.place.is_known();
                        let mut response = self.serve_route(route, &presented, body, principal, from).await;
                        let nonce = self.authenticator.next_nonce(&presented);
                        say(&mut response, &NONCE, nonce.as_deref());
                        response
                    }
                    Err(response) => pages::prompted(head.uri.path(), response),
                }
            }
            Err(refusal) => self.refuse(refusal, from),
        };
        if let Some(origin) = head.headers.get(ORIGIN)
            && response.status() != StatusCode::FORBIDDEN
            && !pages::is_page(head.uri.path())
        {
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("mcp-session-id, www-authenticate, dpop-nonce"),
            );
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        dress(response.headers_mut(), self.tower.is_some() || self.config.tls_proxy);
        // what follows a body whose end two could see differently is not taken for a request
        let unsure = head.headers.contains_key(TRANSFER_ENCODING);
        if (draining || unsure) && head.version != Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Who is it? An address that keeps guessing is told to wait. What can be checked at once is checked all the same,
    /// or one guesser would shut out everybody who shares its address: behind a proxy that is everybody.
    async fn admit(&self, presented: &Presented<'_>, from: From) -> Result<Arc<Principal>, Response<Reply>> {
        let verdict = match self.authenticator.authenticate(presented) {
            Verdict::Now(Ok(principal)) => return Ok(principal),
            // good before, from whatever address: its proof or its issuer's next word is all that is due
            Verdict::Known(known) => return known.await.map_err(|refusal| self.challenge(&refusal, from)),
            verdict => verdict,
        };
        if let Err(wait) = self.attempts.reserve(from.address) {
            let refusal =
                Refused { status: StatusCode::TOO_MANY_REQUESTS, what: "too many refused credentials" };
            return Err(wait_for(self.refuse(refusal, from), wait));
        }
        let verdict = match verdict {
            Verdict::Now(verdict) => verdict,
            Verdict::Known(verdict) | Verdict::Later(verdict) => verdict.await,
        };
        // a refusal is counted where it is told
        self.attempts.give_back(from.address);
        verdict.map_err(|refusal| self.challenge(&refusal, from))
    }

    fn challenge(&self, refusal: &Refusal, from: From) -> Response<Reply> {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::UNAUTHORIZED);
        let refused = Refused { status, what: refusal.what };
        let mut response = if refusal.presented {
            self.attempts.count(from.address);
            if let Some(watch) = &self.watch {
                watch.unauthenticated(refusal.what, &from.to_string());
            }
            refused_answer(&refused)
        } else {
            self.refuse(refused, from)
        };
        for challenge in &refusal.challenges {
            say(&mut response, &WWW_AUTHENTICATE, Some(challenge));
        }
        say(&mut response, &NONCE, refusal.nonce.as_deref());
        match refusal.retry_after {
            Some(wait) => wait_for(response, wait),
            None => response,
        }
    }

    fn refuse(&self, refusal: Refused, from: From) -> Response<Reply> {
        if let Some(watch) = &self.watch {
            watch.refused(refusal.what, &from.to_string());
        }
        refused_answer(&refusal)
    }

    async fn serve_route(
        &self,
        route: Route,
        presented: &Presented<'_>,
        body: Incoming,
        principal: Arc<Principal>,
        from: From,
    ) -> Response<Reply> {
        if let (Route::Page, Some(pages)) = (route, &self.pages) {
            // a page costs what a read costs
            if let Some(away) = self.watch.as_ref().and_then(|watch| watch.turns_away(&principal.id)) {
                return turned_away(away);
            }
            if let Some(wait) = self.watch.as_ref().and_then(|watch| watch.weighs(&principal.id, 1)) {
                return wait_for(plain(StatusCode::TOO_MANY_REQUESTS, "too many pages"), wait);
            }
            let served = pages::serve(&**pages, presented, principal, &self.bodies, body).await;
            return served.unwrap_or_else(|refusal| self.refuse(refusal, from));
        }
        let gone = CancellationToken::new();
        let headers = presented.headers;
        let peer = Peer {
            principal,
            channel: Channel::Http,
            address: Some(from.address),
            connection: stdio::next_connection(),
            headers: facts(headers),
            gone: gone.clone(),
            right: Some(Right::new(Arc::clone(&self.authenticator), presented)),
        };
        let queue = Arc::new(Queue::new(self.config.queue_bytes));
        let outlet: Arc<dyn Outlet> = queue.clone();
        let handler = self.handler.clone();
        let gone = gone.drop_guard();
        match route {
            Route::Message => {
                let watch = self.watch.as_ref();
                if let Some(away) = watch.and_then(|watch| watch.turns_away(&peer.principal.id)) {
                    return turned_away(away);
                }
                let whole = match self.bodies.read(body, &peer.principal.id).await {
                    Ok(whole) => whole,
                    Err(refusal) => return self.refuse(refusal, from),
                };
                let weight = whole.weight();
                if weight > 0
                    && let Some(wait) = watch.and_then(|watch| watch.weighs(&peer.principal.id, weight))
                {
                    return wait_for(plain(StatusCode::TOO_MANY_REQUESTS, "too many large bodies"), wait);
                }
                let Whole { bytes, held } = whole;
                let body = self.bodies.parse(bytes).await;
                let id = body.as_ref().ok().and_then(|value| value.get("id")).cloned();
                let work = async move {
                    let answer = handler.handle(Delivery { body }, peer, outlet).await;
                    drop(held);
                    answer
                };
                self.run(Exchange::new(Guarded::owned(work, id), queue, gone), presented).await
            }
            Route::Listen => {
                let leaving = self.leaving.clone();
                let work = async move {
                    let ended = Answer { status: 200, ..Answer::default() };
                    tokio::select! {
                        biased;
                        answer = handler.listen(peer, outlet) => answer.err().unwrap_or(ended),
                        () = leaving.cancelled_owned() => ended,
                    }
                };
                self.listen(Exchange::new(Guarded::owned(work, None), queue, gone), presented).await
            }
            Route::Close => answer(handler.close(peer).await),
            Route::Preflight | Route::Health | Route::Ready | Route::Document | Route::Page => {
                empty(StatusCode::NO_CONTENT)
            }
        }
    }

    async fn run(&self, mut exchange: Exchange, presented: &Presented<'_>) -> Response<Reply> {
        match poll_fn(|context| exchange.poll_first(context)).await {
            First::Answer(done) => {
                let more = match done.needs.as_slice() {
                    [] => None,
                    needs => self.authenticator.step_up(presented, needs),
                };
                let mut response = shrink(answer(done), self.config.compress_from, presented.headers);
                say(&mut response, &WWW_AUTHENTICATE, more.as_deref());
                response
            }
            First::Stream(done) => self.stream(exchange, done, false, presented),
        }
    }

    /// A stream that was not refused when it was first polled is open.
    async fn listen(&self, mut exchange: Exchange, presented: &Presented<'_>) -> Response<Reply> {
        let first = poll_fn(|context| Poll::Ready(exchange.poll(context))).await;
        match first {
            Poll::Ready(done) if done.status != 200 => answer(done),
            Poll::Ready(done) => self.stream(exchange, Some(done), true, presented),
            Poll::Pending => self.stream(exchange, None, true, presented),
        }
    }

    fn stream(
        &self,
        exchange: Exchange,
        done: Option<Answer>,
        greeting: bool,
        presented: &Presented<'_>,
    ) -> Response<Reply> {
        let session = done.as_ref().and_then(|done| done.session.as_deref()).map(HeaderValue::from_str);
        let lease = self.authenticator.lease(presented).map(|lease| self.leases.take(lease));
        let mut events = EventStream::new(exchange, done, self.config.keep_alive, greeting).leased(lease);
        if !greeting {
            events = events.outlived_by(self.afterlife.clone());
        }
        let mut response = Response::new(Reply::Events(Box::new(events)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, EVENTS);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        if let Some(Ok(session)) = session {
            headers.insert(SESSION, session);
        }
        response
    }
}

/// One more header, where there is something to say that a header can carry.
fn say(response: &mut Response<Reply>, name: &HeaderName, text: Option<&str>) {
    if let Some(Ok(value)) = text.map(HeaderValue::from_str) {
        response.headers_mut().append(name, value);
    }
}

fn facts(headers: &HeaderMap) -> Arc<HeaderFacts> {
    Arc::new(guard::facts(headers))
}
