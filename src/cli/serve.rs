//! `bartizan serve`.
//!
//! Owns the start and the end of a server. The idea: standard output is the wire from the first moment on, so all
//! that is said to a person goes to standard error.
//!
//! Must not: print.

use std::time::Duration;

use super::args::Serve;
use super::screen::{Screen, Tone};
use super::settings;
use super::stop::Stop;
use crate::app::{Loader, Reachable};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::transport::wire;

/// Longest time that calls under way have after the signal.
const DRAIN: Duration = Duration::from_millis(3800);
/// Longest time between the signal and the end, less what the process needs to go.
const END: Duration = Duration::from_millis(4700);

pub(super) async fn run(typed: &Serve, loader: Option<&dyn Loader>, screen: Screen) -> Result<()> {
    run_over(typed, None, loader, screen).await
}

/// The same over a configuration that is there already, unless a file is named.
pub(super) async fn run_over(
    typed: &Serve,
    base: Option<Config>,
    loader: Option<&dyn Loader>,
    screen: Screen,
) -> Result<()> {
    let mut config = settings::configuration_over(&typed.source, base)?;
    if let Some(address) = &typed.http {
        config.http.listen = Some(address.clone());
    }
    let http = config.http.listen.is_some();
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
    for stand in app.stands() {
        screen.note(&format!("practice: {} answers from a stand-in at {}", stand.name(), stand.url()));
    }
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
            tokio::time::timeout(DRAIN, served).await.unwrap_or(Ok(()))
        }
    };
    let closed = app.close().await;
    if let Some(loader) = loader {
        let left = stop.since().map_or(END, |since| END.saturating_sub(since));
        tokio::task::block_in_place(|| loader.ended(left));
    }
    outcome.and(closed)
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
