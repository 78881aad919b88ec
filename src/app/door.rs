//! The door: who may come in over HTTP.
//!
//! Owns [`App::serve_http`] and what it is made of: the ways in, and the counts of what each key was used for. The idea:
//! HTTP always authenticates; where there is neither a key nor another way in, a key is made for whoever started the server.
//!
//! Must not: know a request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::trust::{Refusals, Trusting};
use super::{App, user};
use crate::audit::Event;
use crate::config::Config;
use crate::error::Result;
use crate::identity::keys::{Ages, Grant, KeyStore, State};
use crate::identity::{Callers, Certificates, NoAuth};
use crate::json::json;
use crate::transport::auth::Authenticator;
use crate::transport::pages::Pages;

/// How often what was counted is written down.
const COUNTED: Duration = Duration::from_secs(10);

/// Where an HTTP server can be reached.
#[derive(Debug, Clone)]
pub struct Reachable {
    /// The address that was bound.
    pub address: SocketAddr,
    /// The socket in the file system, if it is one and no port.
    pub socket: Option<PathBuf>,
    /// Whether connections are encrypted.
    pub secure: bool,
    /// The file with the key that was minted for it, if one was.
    pub key_file: Option<PathBuf>,
    /// Whether everybody is let in.
    pub open: bool,
}

impl Reachable {
    /// The address of the endpoint.
    pub fn url(&self) -> String {
        match (&self.socket, self.secure) {
            (Some(path), _) => format!("unix:{} (path /mcp)", path.display()),
            (None, true) => format!("https://{}/mcp", self.address),
            (None, false) => format!("http://{}/mcp", self.address),
        }
    }
}

/// Who may come in, and what goes with it.
struct Door {
    authenticator: Arc<dyn Authenticator>,
    keys: Option<Arc<KeyStore>>,
    key_file: Option<PathBuf>,
    /// Keeps the redactor from forgetting the key that was made.
    _held: Option<crate::redaction::Held>,
}

impl App {
    /// Serves HTTP until `shutdown` fires. `ready` is called once the address is bound.
    pub async fn serve_http(
        &self,
        no_auth: bool,
        shutdown: CancellationToken,
        ready: impl FnOnce(&Reachable),
    ) -> Result<()> {
        self.open_metrics().await?;
        self.note_configuration().await?;
        let config = self.config();
        let listener = crate::transport::http::bind(&config.http, no_auth).await?;
        let address = listener.local_addr()?;
        let (socket, secure) = (listener.socket().map(Path::to_path_buf), config.http.tls.is_some());
        let door = self.door(no_auth, &config).await?;
        let (catalog, first) = (self.catalog.clone(), self.line());
        let limiter = move || catalog.now().line().unwrap_or(&first).limiter().clone();
        let watch = Arc::new(Refusals::new(self.audit.clone(), limiter, self.clock.clone()));
        let pages = self.pages(&config);
        let mut http = config.http.clone();
        http.allowed_hosts.extend(config.oauth.host());
        http.allowed_hosts
            .extend(pages.as_ref().and_then(|(_, origin)| Some(origin.split_once("://")?.1.to_owned())));
        let endpoint = crate::transport::http::Endpoint::new(self.handler(), door.authenticator, http)
            .watched_by(watch)
            .with_pages(pages)
            .timed_by(self.clock.clone());
        ready(&Reachable { address, socket, secure, key_file: door.key_file, open: no_auth });
        // subscriptions end in order when connections do, not when the last of them is cut
        let stop = async {
            shutdown.cancelled().await;
            tokio::time::sleep(self.config().http.drain_delay).await;
            self.server.stop();
            std::future::pending().await
        };
        let counting = counting(door.keys.clone());
        let _hearing = door.keys.clone().zip(self.shared().cloned()).map(|(keys, shared)| {
            let (stop, hearing) = (CancellationToken::new(), super::chorus::keys(keys, shared));
            let stopped = stop.clone();
            tokio::spawn(async move { stopped.run_until_cancelled(hearing).await });
            stop.drop_guard()
        });
        let served = tokio::select! {
            served = endpoint.serve(listener, shutdown.clone()) => served,
            never = stop => never,
            never = counting => never,
        };
        if let Some(keys) = door.keys {
            note(&keys);
        }
        served
    }

    /// The approval page, where it is configured.
    fn pages(&self, config: &Config) -> Option<(Arc<dyn Pages>, String)> {
        let webhook = config.approvals.webhook.as_ref().filter(|_| config.approvals.has_page())?;
        let desk = Desk { approvals: self.approvals.clone(), audit: self.audit.clone() };
        Some((Arc::new(desk), webhook.origin()?.to_owned()))
    }

    /// Who may come in. Without a key there is one afterwards.
    async fn door(&self, no_auth: bool, config: &Config) -> Result<Door> {
        if no_auth {
            let authenticator = Arc::new(NoAuth::new());
            return Ok(Door { authenticator, keys: None, key_file: None, _held: None });
        }
        let keys = KeyStore::open(self.state.path(), self.clock.clone())?;
        let (path, mut key_file, mut held) = (self.state.file("http.key"), None, None);
        // where tokens are accepted nobody needs a key to begin with
        if keys.is_empty()
            && !config.oauth.is_on()
            && let Some(minted) = keys.mint_first(&path, &Grant { owner: user(), ..Grant::named("local") })?
        {
            held = Some(self.redactor.hold(&minted.key, "bartizan"));
            let detail = json!({"id": minted.id, "name": "local", "owner": user()});
            self.audit.event(Event::KeyIssued, &detail).await?;
            key_file = Some(path);
        }
        self.tell_of_old(&keys, &config.keys);
        let certificates = Certificates::new(&config.http.certificate, self.clock.clone())?;
        let callers =
            Callers::with_keys(keys.clone()).and_certificates(certificates).and_tokens(self.tokens(config)?);
        let authenticator = Arc::new(Trusting::new(Arc::new(callers), &config.approvals.trust_clients));
        Ok(Door { authenticator, keys: Some(keys), key_file, _held: held })
    }

    /// Says how many keys are older than they should be.
    fn tell_of_old(&self, keys: &KeyStore, ages: &Ages) {
        let now = self.clock.wall();
        let all = keys.list();
        let count = |state| all.iter().filter(|about| ages.state(about, now) == state).count();
        let (old, too_old, nobodys) = (count(State::Old), count(State::TooOld), count(State::Ownerless));
        if old + too_old + nobodys > 0 {
            tracing::warn!(
                old,
                too_old,
                nobodys,
                "there are API keys to rotate or revoke: bartizan key list"
            );
        }
    }
}

/// Writes down now and then what keys are used for, for ever.
async fn counting(keys: Option<Arc<KeyStore>>) -> Result<()> {
    let Some(keys) = keys else { return std::future::pending().await };
    loop {
        tokio::time::sleep(COUNTED).await;
        let keys = Arc::clone(&keys);
        let _ = tokio::task::spawn_blocking(move || note(&keys)).await;
    }
}

/// Counts that cannot be written are no reason not to serve; the log says so.
fn note(keys: &KeyStore) {
    if let Err(error) = keys.flush() {
        tracing::warn!(reason = error.message(), "what keys were used for could not be written down");
    }
}
