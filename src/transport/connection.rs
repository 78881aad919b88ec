//! One connection, from its first byte to its last.
//!
//! Owns [`Caller`] and [`converse`]. The idea: a connection is encrypted where that was asked for, shows which HTTP it
//! speaks, and is then served until it ends, its place is needed, or the server leaves.
//!
//! Must not: know what is asked.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::auth::Certificate;
use super::crowd::Place;
use super::http::Shared;
use super::listen::Socket;
use super::multiplex;
use super::stall::Stall;

/// Whose connection it is.
pub(super) struct Caller {
    pub(super) remote: SocketAddr,
    pub(super) place: Arc<Place>,
    pub(super) shared: Arc<Shared>,
    /// What its client showed when it was opened.
    pub(super) certificate: Option<Arc<Certificate>>,
}

pub(super) async fn converse(socket: Socket, caller: Caller) {
    match socket {
        Socket::Port(stream) => {
            let _ = stream.set_nodelay(true);
            Box::pin(over_port(stream, caller)).await;
        }
        #[cfg(unix)]
        Socket::Socket(stream) => talk(stream, false, caller).await,
    }
}

async fn over_port(stream: TcpStream, mut caller: Caller) {
    let (shared, place) = (Arc::clone(&caller.shared), Arc::clone(&caller.place));
    let Some(tower) = &shared.tower else {
        let begins = tokio::select! {
            begins = multiplex::begins(&stream, shared.config.header_timeout) => begins,
            () = shared.leaving.cancelled() => return,
            () = place.over.cancelled() => return,
        };
        if let Some(is_http2) = begins {
            talk(stream, is_http2, caller).await;
        }
        return;
    };
    let shaken = tokio::select! {
        shaken = tower.shake(stream) => shaken,
        () = shared.leaving.cancelled() => return,
        () = place.over.cancelled() => return,
    };
    match shaken {
        Ok((stream, certificate, is_http2)) => {
            caller.certificate = certificate;
            talk(stream, is_http2, caller).await;
        }
        Err(what) => shared.tell(what, caller.remote),
    }
}

async fn talk<S>(stream: S, is_http2: bool, caller: Caller)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let caller = Arc::new(caller);
    let Caller { remote, place, shared, .. } = &*caller;
    let config = &shared.config;
    if is_http2 {
        let respond = |request| {
            let caller = caller.clone();
            async move { caller.shared.respond(request, &caller).await }
        };
        let served = multiplex::serve(stream, config, &shared.leaving, respond);
        tokio::select! {
            () = served => {}
            () = place.over.cancelled() => {}
        }
        return;
    }
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_headers(config.header_count)
        .max_header_size(config.header_bytes);
    let service = service_fn(|request| {
        let caller = caller.clone();
        async move { Ok::<_, std::convert::Infallible>(caller.shared.respond(request, &caller).await) }
    });
    let mut connection = std::pin::pin!(
        builder.serve_connection(TokioIo::new(Stall::new(stream, config.write_timeout)), service)
    );
    tokio::select! {
        ended = connection.as_mut() => {
            // hyper has answered already (400 or 431), so this is only told.
            if ended.is_err_and(|error| error.is_parse()) {
                shared.tell("unreadable or oversized head", *remote);
            }
        }
        () = place.over.cancelled() => {}
        () = shared.leaving.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ = tokio::time::timeout(config.drain, connection) => {}
                () = place.over.cancelled() => {}
            }
        }
    }
}
