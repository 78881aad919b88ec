//! A syslog daemon.
//!
//! Owns RFC 5424 lines and the ways to a daemon: a local socket, UDP, TCP with counted octets (RFC 6587), TLS (RFC 5425).
//! The idea: a connection is kept as long as it works; one that broke is opened again for the next try.
//!
//! Must not: take an unwritten message for a written one; what a daemon without acknowledgements did with it, nobody
//! knows.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use super::{Message, Severity};
use crate::clock::rfc3339;
use crate::error::{Error, Kind, Result};

/// Security messages that not everybody reads.
const AUTHPRIV: u8 = 10;
/// How long a daemon may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Syslog {
    place: Place,
    open: Mutex<Option<Open>>,
}

enum Place {
    #[cfg(unix)]
    Unix(PathBuf),
    Udp(String),
    Tcp(String),
    Tls(String, ServerName<'static>, TlsConnector),
}

enum Open {
    #[cfg(unix)]
    Unix(tokio::net::UnixDatagram),
    Udp(UdpSocket),
    Stream(Box<dyn AsyncWrite + Send + Unpin>),
}

impl Syslog {
    pub(super) fn open(address: &str, ca_file: Option<&Path>) -> Result<Self> {
        let wrong = || {
            Error::new(
                Kind::BadConfig,
                "The address of a syslog daemon is unix:PATH, udp:HOST:PORT, tcp:HOST:PORT or tls:HOST:PORT.",
            )
        };
        let (kind, rest) = address.split_once(':').ok_or_else(wrong)?;
        let port = |rest: &str| rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let place = match kind {
            #[cfg(unix)]
            "unix" if !rest.is_empty() => Place::Unix(PathBuf::from(rest)),
            "udp" if port(rest) => Place::Udp(rest.to_owned()),
            "tcp" if port(rest) => Place::Tcp(rest.to_owned()),
            "tls" if port(rest) => {
                let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(host).map_err(|_| wrong())?;
                Place::Tls(rest.to_owned(), name, connector(ca_file)?)
            }
            _ => return Err(wrong()),
        };
        Ok(Self { place, open: Mutex::new(None) })
    }

    pub(super) async fn send(&self, messages: &[Message]) -> Result<()> {
        let mut open = self.open.lock().await;
        let sent = tokio::time::timeout(PATIENCE, async {
            if open.is_none() {
                *open = Some(self.place.connect().await?);
            }
            let Some(way) = open.as_mut() else { return Err(io::ErrorKind::NotConnected.into()) };
            for message in messages {
                way.write(line(message).as_bytes()).await?;
            }
            way.flush().await
        })
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        sent.map_err(|cause| {
            *open = None;
            Error::new(Kind::UpstreamFailed, "The syslog daemon could not be reached.").with_source(cause)
        })
    }
}

impl Place {
    async fn connect(&self) -> io::Result<Open> {
        Ok(match self {
            #[cfg(unix)]
            Self::Unix(path) => {
                let socket = tokio::net::UnixDatagram::unbound()?;
                match socket.connect(path) {
                    Ok(()) => Open::Unix(socket),
                    // a daemon that wants a stream
                    Err(_) => Open::Stream(Box::new(tokio::net::UnixStream::connect(path).await?)),
                }
            }
            Self::Udp(address) => {
                let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(address).await?;
                Open::Udp(socket)
            }
            Self::Tcp(address) => Open::Stream(Box::new(TcpStream::connect(address).await?)),
            Self::Tls(address, name, connector) => {
                let stream = TcpStream::connect(address).await?;
                Open::Stream(Box::new(connector.connect(name.clone(), stream).await?))
            }
        })
    }
}

impl Open {
    async fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Self::Unix(socket) => socket.send(line).await.map(drop),
            Self::Udp(socket) => socket.send(line).await.map(drop),
            Self::Stream(stream) => {
                stream.write_all(format!("{} ", line.len()).as_bytes()).await?;
                stream.write_all(line).await
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Self::Unix(_) => Ok(()),
            Self::Udp(_) => Ok(()),
            Self::Stream(stream) => stream.flush().await,
        }
    }
}

/// One message; JSON has no line ends in it, so it is one line.
fn line(message: &Message) -> String {
    let severity = match message.severity {
        Severity::Warning => 4,
        Severity::Notice => 5,
    };
    format!(
        "<{}>1 {} - bartizan {} {} - {}",
        AUTHPRIV * 8 + severity,
        rfc3339(message.wall),
        std::process::id(),
        message.kind,
        message.json()
    )
}

fn connector(ca_file: Option<&Path>) -> Result<TlsConnector> {
    let wrong = |said: &'static str| Error::new(Kind::BadConfig, said);
    let path = ca_file.ok_or_else(|| {
        wrong("A syslog daemon over TLS needs `ca_file`: the certificates of the authorities that vouch for it.")
    })?;
    let unreadable = "The `ca_file` of a syslog daemon cannot be read as PEM certificates.";
    let pem = std::fs::read(path).map_err(|cause| wrong(unreadable).with_source(cause))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added = certificate.map_err(|_| ()).and_then(|one| roots.add(one).map_err(|_| ()));
        added.map_err(|()| wrong(unreadable))?;
    }
    if roots.is_empty() {
        return Err(wrong(unreadable));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| wrong("TLS cannot be set up here.").with_source(cause))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
