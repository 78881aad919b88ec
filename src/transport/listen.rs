//! Where connections come from.
//!
//! Owns [`Listener`] and [`Socket`]: a port, or a socket in the file system that only this user can open. The idea: what
//! must not be opened is refused before it is.
//!
//! Must not: read a byte.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream};

use super::{Config, guard};
use crate::error::{Error, Kind, Result};

/// What `listen` begins with where it names a socket.
const SOCKET: &str = "unix:";

/// An open address.
#[derive(Debug)]
pub enum Listener {
    /// A port.
    Port(TcpListener),
    /// A socket in the file system, and where it is.
    #[cfg(unix)]
    Socket(tokio::net::UnixListener, PathBuf),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Port(listener)
    }
}

/// A connection that nobody has looked at yet; it can change its runtime.
pub(super) enum Raw {
    Port(std::net::TcpStream),
    #[cfg(unix)]
    Socket(std::os::unix::net::UnixStream),
}

/// A connection.
pub(super) enum Socket {
    Port(TcpStream),
    #[cfg(unix)]
    Socket(tokio::net::UnixStream),
}

impl Raw {
    /// For the runtime that this is called on.
    pub(super) fn here(self) -> io::Result<Socket> {
        match self {
            Self::Port(stream) => TcpStream::from_std(stream).map(Socket::Port),
            #[cfg(unix)]
            Self::Socket(stream) => tokio::net::UnixStream::from_std(stream).map(Socket::Socket),
        }
    }
}

impl Listener {
    /// The address; whoever uses a socket of this machine is at loopback.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        match self {
            Self::Port(listener) => listener.local_addr().map_err(|error| cannot_listen(&error, None)),
            #[cfg(unix)]
            Self::Socket(..) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        }
    }

    /// The socket's path, if it is one.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Port(_) => None,
            #[cfg(unix)]
            Self::Socket(_, path) => Some(path),
        }
    }

    /// The next connection and who is at its other end. Nothing for one that is gone already.
    pub(super) async fn accept(&self) -> io::Result<Option<(Raw, SocketAddr)>> {
        match self {
            Self::Port(listener) => {
                let (stream, remote) = listener.accept().await?;
                Ok(stream.into_std().ok().map(|stream| (Raw::Port(stream), remote)))
            }
            #[cfg(unix)]
            Self::Socket(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                Ok(stream.into_std().ok().map(|stream| (Raw::Socket(stream), local)))
            }
        }
    }
}

#[cfg(unix)]
impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Socket(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Opens the address that `config.listen` names. `open` says that everybody will be let in (no authentication).
pub async fn bind(config: &Config, open: bool) -> Result<Listener> {
    config.check()?;
    let named = config.listen.as_deref().unwrap_or("127.0.0.1:8000");
    if let Some(path) = named.strip_prefix(SOCKET) {
        return socket(Path::new(path));
    }
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(named)
        .await
        .map_err(|error| {
            let said = format!(
                "Cannot listen on {named:?}: it is neither HOST:PORT nor unix:PATH, or the host is not known."
            );
            Error::new(Kind::BadConfig, said).with_source(error)
        })?
        .collect();
    for address in &addresses {
        guard::may_listen(*address, open, config)?;
    }
    let listener = TcpListener::bind(addresses.as_slice()).await;
    listener.map(Listener::Port).map_err(|error| cannot_listen(&error, Some(named)))
}

/// A socket that is its owner's alone from the moment it has its name.
#[cfg(unix)]
fn socket(path: &Path) -> Result<Listener> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    let cannot = |error: io::Error| cannot_listen(&error, path.to_str());
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(cannot(error)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(cannot(io::ErrorKind::AlreadyExists.into()));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            let said =
                format!("Cannot listen on {}: another program answers there; stop it.", path.display());
            return Err(Error::new(Kind::BadConfig, said));
        }
        // nobody answers: a server that was killed left it
        Ok(_) => {}
    }
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let open = || {
        let listener = tokio::net::UnixListener::bind(&beside)?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&beside, path)?;
        Ok(listener)
    };
    let listener = open().inspect_err(|_| drop(std::fs::remove_file(&beside))).map_err(cannot)?;
    Ok(Listener::Socket(listener, path.to_owned()))
}

#[cfg(not(unix))]
fn socket(_path: &Path) -> Result<Listener> {
    Err(Error::new(Kind::BadConfig, "There are no sockets in the file system here; listen on HOST:PORT."))
}

pub(super) fn cannot_listen(error: &io::Error, named: Option<&str>) -> Error {
    let place = named.unwrap_or("the address");
    let said = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "Cannot listen on {place}: another program uses that port. Stop it, or choose another port (`[http] listen`)."
        ),
        io::ErrorKind::PermissionDenied => format!(
            "Cannot listen on {place}: this user may not. Choose a port above 1023, or a folder of its own."
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("Cannot listen on {place}: this machine has no such address.")
        }
        io::ErrorKind::AlreadyExists => {
            format!(
                "Cannot listen on {place}: there is a file of that name. Remove it, or choose another path."
            )
        }
        io::ErrorKind::NotFound => format!("Cannot listen on {place}: there is no such folder."),
        _ => format!("Cannot listen on {place}: the operating system refused."),
    };
    Error::new(Kind::BadConfig, said)
}
