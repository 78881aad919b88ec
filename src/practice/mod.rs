//! A document served as a local, stateful stand-in upstream.
//!
//! Owns [`serve`], [`Options`] and [`Practice`]. The idea: whoever wants to try something without an account, a
//! bill or a risk gets an upstream that knows the vendor's document by heart: it issues and checks tokens, refuses
//! what the document does not allow, remembers what it was given, and fails on request.
//!
//! Must not: listen anywhere but on the loopback, resolve a real credential, or be taken for the real thing: every
//! answer says `x-practice`.

mod act;
mod answer;
mod auth;
mod book;
mod faker;
mod faults;
mod fit;
mod form;
mod page;
mod patch;
mod pattern;
mod plan;
mod recipe;
mod record;
mod reply;
mod request;
mod respond;
mod route;
mod sample;
mod search;
mod service;
mod store;
mod words;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use auth::Auth;
pub use faults::{Fault, Rule};
pub use record::Recorded;

use crate::clock::{SharedClock, SystemClock};
use crate::connectors::document::Document;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use service::Service;

/// How a stand-in behaves.
#[derive(Clone)]
pub struct Options {
    /// Where it listens; the loopback only. Port 0 means any.
    pub listen: SocketAddr,
    /// What a request must carry.
    pub auth: Auth,
    /// Everything that is made depends on it.
    pub seed: u64,
    /// How many things a collection holds at first.
    pub seeds: usize,
    /// Things on a page when nobody says.
    pub page_size: usize,
    /// Things on a page at most.
    pub page_most: usize,
    /// Things held at most.
    pub capacity: usize,
    /// Requests remembered at most.
    pub recorded: usize,
    /// Whether undeclared query parameters are refused.
    pub strict_query: bool,
    /// Faults to begin with.
    pub faults: Vec<Rule>,
    /// Whether a request may ask for a fault in the header `x-practice-fault`.
    pub fault_header: bool,
    /// A text (something like a key) that stands in the description of one thing from the start, so that redaction
    /// has something to show.
    pub leak: Option<String>,
    /// The collection that leaks (`ports`); without it the first that has descriptions.
    pub leak_in: Option<String>,
    /// Time.
    pub clock: SharedClock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            auth: Auth::client_credentials(),
            seed: 0,
            seeds: 3,
            page_size: 20,
            page_most: 100,
            capacity: 10_000,
            recorded: 1000,
            strict_query: true,
            faults: Vec::new(),
            fault_header: false,
            leak: None,
            leak_in: None,
            clock: SystemClock::shared(),
        }
    }
}

/// A stand-in that is running; it stops when this is dropped.
pub struct Practice {
    service: Arc<Service>,
    address: SocketAddr,
    auth: Auth,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Serves a document until the returned value is shut down or dropped.
///
/// Fails when the address is not a loopback address or cannot be bound.
pub async fn serve(document: Document, options: Options) -> Result<Practice> {
    if !options.listen.ip().is_loopback() {
        return Err(Error::new(
            Kind::BadConfig,
            "The practice upstream listens on the loopback only; choose 127.0.0.1 and a port.",
        ));
    }
    let cannot = |error: std::io::Error| {
        Error::new(
            Kind::BadConfig,
            "The practice upstream cannot listen at this address; choose another port.",
        )
        .with_source(error)
    };
    let listener = TcpListener::bind(options.listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let auth = options.auth.clone();
    let service = Arc::new(Service::new(document, options, address));
    let stop = CancellationToken::new();
    let (router, stopped) = (service.clone().router(), stop.clone());
    let task = tokio::spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(stopped.clone().cancelled_owned());
        let late = async {
            stopped.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        tokio::select! {
            _ = serving.into_future() => {}
            () = late => {}
        }
    });
    Ok(Practice { service, address, auth, stop, task: Mutex::new(Some(task)) })
}

impl Practice {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base address, with the document's path prefix, without a slash at its end.
    pub fn url(&self) -> String {
        format!("{}{}", self.root(), self.service.base())
    }

    /// Its address without a path: `http://127.0.0.1:PORT`.
    pub fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where tokens are issued, if they are.
    pub fn token_url(&self) -> Option<String> {
        match &self.auth {
            Auth::ClientCredentials { paths, .. } => {
                Some(format!("{}{}", self.root(), paths.first()?.replace("{}", "practice")))
            }
            _ => None,
        }
    }

    /// What it accepts.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// The requests that came in, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.service.requests()
    }

    /// Asks for a fault.
    pub fn fault(&self, rule: Rule) {
        self.service.faults().add(rule);
    }

    /// Takes back every fault that was asked for.
    pub fn clear_faults(&self) {
        self.service.faults().clear();
    }

    /// Forgets every token that was issued: the next request with one is answered 401.
    pub fn revoke_tokens(&self) {
        self.service.gate().revoke();
    }

    /// How many tokens were issued.
    pub fn tokens_issued(&self) -> u64 {
        self.service.gate().issued()
    }

    /// Opens an account that was locked after too many failures.
    pub fn unlock(&self) {
        self.service.gate().unlock();
    }

    /// Operations that were answered with something that does not fit their own schema.
    pub fn misfits(&self) -> Vec<String> {
        self.service.world().misfits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Arguments that an operation accepts, by their names among the tool's arguments; things they name are there
    /// from the start.
    pub fn sample_arguments(&self, operation: &str) -> Option<Map<String, Value>> {
        let world = self.service.world();
        let index = world.book.document.operations.iter().position(|known| known.id == operation)?;
        Some(world.sample(index))
    }

    /// Stops, and waits until it has stopped.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Drop for Practice {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
