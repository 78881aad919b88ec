//! `bartizan serve`.
//!
//! Owns the start and the end of a server. The idea: standard output is the wire from the first moment on, so all
//! that is said to a person goes to standard error.
//!
//! Must not: print.

use std::path::PathBuf;
use std::time::Duration;

use super::args::Serve;
use super::screen::{Screen, Tone};
use super::settings;
use super::stop::Stop;
use crate::app::{Loader, Reachable, Source};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::transport::wire;

/// Longest time that calls under way have after the signal, unless the configuration says more.
const DRAIN: Duration = Duration::from_millis(3500);
/// Longest time between the signal and the end, less what the process needs to go.
const END: Duration = Duration::from_millis(4700);

/// A configuration that is there already.
pub(super) struct Base {
    /// What it says.
    pub(super) config: Config,
    /// Where it can be read again.
    pub(super) path: Option<PathBuf>,
}

pub(super) async fn run(typed: &Serve, loader: Option<&dyn Loader>, screen: Screen) -> Result<()> {
    Box::pin(run_over(typed, None, loader, screen)).await
}

/// The same over a configuration that is there already, unless a file is named.
pub(super) async fn run_over(
    typed: &Serve,
    base: Option<Base>,
    loader: Option<&dyn Loader>,
    screen: Screen,
) -> Result<()> {
    let (base, path) = base.map_or((None, None), |base| (Some(base.config), base.path));
    let file = typed.source.config.clone().or_else(|| match &base {
        Some(_) => path.clone(),
        None => settings::named(),
    });
    let read = {
        let typed = typed.clone();
        move || {
            let again = path.as_deref().filter(|_| typed.source.config.is_none()).map(Config::load);
            configuration(&typed, again.transpose()?.or_else(|| base.clone()))
        }
    };
    let (source, config) = Source::open(file, Box::new(read), true)?;
    let http = config.http.listen.is_some();
    let drain = DRAIN.max(config.http.drain_delay + config.http.drain + DRAIN / 10);
    if typed.no_auth && !http {
        return Err(Error::new(
            Kind::BadConfig,
            "--no-auth is about HTTP; add --http 127.0.0.1:PORT, or leave it out on standard input and output.",
        ));
    }
    // From here on nothing that is loaded can write into the protocol, or read from it.
    let mut wire = if http { None } else { Some(wire::take()?) };
    let stop = Stop::while_loading();
    let app = settings::app(config, loader).await?;
    stop.ready();
    let shutdown = stop.token().clone();
    crate::telemetry::logs::start(&app.config().log, app.redactor().clone(), screen.colour())?;
    let screen = if app.config().log.json { Screen::beside_json() } else { screen };
    for stand in app.stands().iter() {
        screen.note(&format!("practice: {} answers from a stand-in at {}", stand.name(), stand.url()));
    }
    if app.config().stateless {
        let audited = if app.audit().is_off() { "no audit is kept" } else { "but for the audit" };
        let said = format!("stateless: nothing is written to the disk, {audited}; for development only");
        screen.note(&screen.paint(Tone::Strong, &said));
    }
    if let Some(address) = app.open_metrics().await? {
        screen.note(&format!("metrics: http://{address}/metrics"));
    }
    let _following = {
        let stop = shutdown.child_token();
        tokio::spawn(app.follow(source, stop.clone()));
        stop.drop_guard()
    };
    let served = async {
        if http {
            app.serve_http(typed.no_auth, shutdown.clone(), |reachable| announce(screen, reachable)).await
        } else {
            if app.catalog().now().list(crate::catalog::List::Tools).is_empty() {
                screen.note("There are no tools yet: add --connector NAME, --openapi FILE or --tools FILE.");
            }
            match wire.take() {
                Some(wire) => app.serve_stdio(wire, shutdown.clone()).await,
                None => Ok(()),
            }
        }
    };
    let mut served = std::pin::pin!(served);
    let outcome = tokio::select! {
        outcome = &mut served => outcome,
        () = shutdown.cancelled() => {
            // Transports drain within their own time; this is the last line of defence.
            tokio::time::timeout(drain, served).await.unwrap_or(Ok(()))
        }
    };
    let closed = app.close().await;
    if let Some(loader) = loader {
        let left = stop.since().map_or(END, |since| END.saturating_sub(since));
        tokio::task::block_in_place(|| loader.ended(left));
    }
    outcome.and(closed)
}

/// The file, or what is there already, with the flags laid over it.
fn configuration(typed: &Serve, base: Option<Config>) -> Result<Config> {
    let mut config = settings::configuration_over(&typed.source, base)?;
    if let Some(address) = &typed.http {
        config.http.listen = Some(address.clone());
    }
    Ok(config)
}

fn announce(screen: Screen, reachable: &Reachable) {
    screen.note(&format!("serving {}", reachable.url()));
    if let Some(path) = &reachable.key_file {
        screen.note(&format!(
            "a key was made for it, in {} (0600); send it as `Authorization: Bearer KEY`",
            path.display()
        ));
    }
    if reachable.open {
        screen.note(
            &screen.paint(
                Tone::Plain,
                "no key is asked for (--no-auth): every program on this machine may call",
            ),
        );
    }
}
