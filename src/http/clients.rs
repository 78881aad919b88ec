//! The HTTP library's clients of one origin.
//!
//! Owns [`Clients`] and what `[egress]` says of connections. The idea: a connection belongs to the runtime that opened it,
//! and a call that uses it from another thread wakes that thread, and is woken by it, for each of its steps; so every
//! runtime of one thread has a client of its own, with connections of its own, and the runtimes of many threads share one.
//! A client is made when it is first used; its resolver knows one origin and nothing else.
//!
//! Must not: follow redirects, read proxies from the environment, or show a certificate on a connection that showed
//! another.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use url::Url;

use super::certificate::Shown;
use super::egress::{Origin, resolver};
use super::settings::Config;
use crate::error::{Error, Kind, Result};
use crate::json::Digest;
use crate::threads;

/// How many clients there are; more threads than that share.
const MOST: usize = 64;

/// Clients that know one origin and nothing else.
pub(super) struct Clients {
    name: String,
    origin: Origin,
    config: Config,
    authorities: Vec<reqwest::Certificate>,
    places: Box<[Place]>,
}

/// What one runtime uses.
#[derive(Default)]
struct Place {
    plain: OnceLock<Result<reqwest::Client, Arc<reqwest::Error>>>,
    /// What shows a client certificate, and which one; another certificate makes connections of its own.
    showing: Mutex<Option<(Digest, reqwest::Client)>>,
}

impl Place {
    fn showing(&self) -> MutexGuard<'_, Option<(Digest, reqwest::Client)>> {
        self.showing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clients {
    pub(super) fn new(name: &str, origin: Origin, config: &Config) -> Result<Self> {
        let authorities = match &config.ca_file {
            None => Vec::new(),
            Some(path) => read_authorities(path)?,
        };
        if let Some(proxy) = &config.proxy {
            proxy_host(proxy)?;
            if origin.is_named() && !config.proxy_resolves {
                return Err(Error::new(
                    Kind::BadConfig,
                    format!(
                        "[egress] proxy would resolve the name of {name}, so nothing here could judge which address it \
                         leads to; say [egress] proxy_resolves = true if the proxy is trusted with that"
                    ),
                ));
            }
        }
        let places = (0..MOST).map(|_| Place::default()).collect();
        Ok(Self { name: name.to_owned(), origin, config: config.clone(), authorities, places })
    }

    /// The client of this runtime. Connections that showed another certificate, or none, are not used for this one.
    pub(super) fn here(&self, shown: Option<&Shown>) -> Result<reqwest::Client> {
        let place = &self.places[here()];
        let Some(shown) = shown else {
            let built = place.plain.get_or_init(|| self.build(None).map_err(Arc::new));
            return built.clone().map_err(|cause| self.not_set_up(cause));
        };
        if let Some((_, client)) = place.showing().as_ref().filter(|(mark, _)| *mark == shown.mark) {
            return Ok(client.clone());
        }
        if self.config.proxy.as_deref().is_some_and(|proxy| proxy.starts_with("https")) {
            let message = "a client certificate is shown to nobody but the upstream; with one, [egress] proxy has to \
                           begin with http://";
            return Err(Error::new(Kind::ToolFailed, message));
        }
        let client = self.build(Some(shown)).map_err(|cause| self.not_set_up(Arc::new(cause)))?;
        // where nobody calls any more, a key that was replaced would stay
        for other in &self.places {
            other.showing().take_if(|(mark, _)| *mark != shown.mark);
        }
        *place.showing() = Some((shown.mark, client.clone()));
        Ok(client)
    }

    fn not_set_up(&self, cause: Arc<reqwest::Error>) -> Error {
        let message = format!("the connection to {} cannot be set up; check [egress]", self.name);
        Error::new(Kind::ToolFailed, message).with_source(cause)
    }

    fn build(&self, shown: Option<&Shown>) -> Result<reqwest::Client, reqwest::Error> {
        let seconds = |value: f64| Duration::try_from_secs_f64(value).unwrap_or(Duration::from_secs(30));
        let proxy = self.config.proxy.as_deref();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("bartizan/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .tls_version_min(reqwest::tls::Version::TLS_1_2)
            .connect_timeout(seconds(self.config.connect_timeout))
            .read_timeout(seconds(self.config.read_timeout))
            .pool_idle_timeout(Duration::from_mins(1))
            .dns_resolver(resolver(self.origin.clone(), proxy.and_then(|proxy| proxy_host(proxy).ok())))
            .tls_certs_merge(self.authorities.iter().cloned());
        if let Some(proxy) = proxy {
            let except = reqwest::NoProxy::from_string(&self.config.no_proxy.join(","));
            builder = builder.proxy(reqwest::Proxy::all(proxy)?.no_proxy(except));
        }
        if let Some(shown) = shown {
            builder = builder.identity(reqwest::Identity::from_pem(&shown.pem)?);
        }
        builder.build()
    }
}

/// Which place is this runtime's: 0 is for those of many threads.
fn here() -> usize {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::CurrentThread) => 1 + threads::number() % (MOST - 1),
        _ => 0,
    }
}

fn proxy_host(proxy: &str) -> Result<String> {
    let parsed = Url::parse(proxy).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if parsed.as_ref().is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
        return Err(Error::new(
            Kind::BadConfig,
            "[egress] proxy holds a user name or a password; a secret is never written into the configuration",
        ));
    }
    let host = parsed.and_then(|url| url.host_str().map(str::to_owned));
    host.ok_or_else(|| {
        Error::new(Kind::BadConfig, "[egress] proxy is not an address such as http://HOST:PORT")
    })
}

fn read_authorities(path: &std::path::Path) -> Result<Vec<reqwest::Certificate>> {
    let wrong = "[egress] ca_file cannot be read as PEM certificates";
    let pem = std::fs::read(path).map_err(|cause| Error::new(Kind::BadConfig, wrong).with_source(cause))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|cause| Error::new(Kind::BadConfig, wrong).with_source(cause))?;
    if found.is_empty() {
        return Err(Error::new(Kind::BadConfig, wrong));
    }
    Ok(found)
}
