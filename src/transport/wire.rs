//! The real standard input and output.
//!
//! Owns [`take`]. The idea: the wire moves to private descriptors that no child inherits; what is left at descriptor 1
//! is standard error, and at 0 nothing, so a tool that prints, a library that logs or a child that reads cannot touch
//! the protocol.
//!
//! Must not: be called twice.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::{Error, Kind, Result};

/// The wire: requests come out of `input`, answers go into `output`.
pub struct Wire {
    /// Where requests come from.
    pub input: Box<dyn AsyncRead + Send + Unpin>,
    /// Where answers go.
    pub output: Box<dyn AsyncWrite + Send + Unpin>,
}

/// Takes standard input and output away from the rest of the process and gives them to the caller. To be called inside
/// a tokio runtime, once.
///
/// Where the operating system has no descriptors to move (other than Unix), this is refused: what a tool prints could not
/// be kept off the wire.
pub fn take() -> Result<Wire> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(Error::new(
            Kind::BadConfig,
            "This process serves standard input already; it can serve it once.",
        ));
    }
    platform::take().map_err(|error| {
        let message = if error.kind() == std::io::ErrorKind::Unsupported {
            "What a tool prints cannot be kept off standard output on this system; serve HTTP with --http HOST:PORT."
        } else {
            "Standard input or output is closed; start the server with both."
        };
        Error::new(Kind::BadConfig, message).with_source(error)
    })
}

#[cfg(unix)]
mod platform {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream as BlockingStream;

    use rustix::fs::{FileType, Mode, OFlags};
    use rustix::io::fcntl_dupfd_cloexec;
    use rustix::stdio::{dup2_stdin, dup2_stdout, stderr, stdin, stdout};
    use tokio::fs::File;
    use tokio::net::UnixStream;
    use tokio::net::unix::pipe;

    use super::Wire;

    pub(super) fn take() -> io::Result<Wire> {
        let input = fcntl_dupfd_cloexec(stdin(), 3)?;
        let output = fcntl_dupfd_cloexec(stdout(), 3)?;
        let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        dup2_stdin(&nothing)?;
        if dup2_stdout(stderr()).is_err() {
            dup2_stdout(&nothing)?;
        }
        Ok(Wire { input: reading(input)?, output: writing(output)? })
    }

    fn kind(descriptor: &OwnedFd) -> io::Result<FileType> {
        Ok(FileType::from_raw_mode(rustix::fs::fstat(descriptor)?.st_mode))
    }

    /// Pipes and sockets are driven by the event loop; files and terminals by a thread of their own.
    fn reading(descriptor: OwnedFd) -> io::Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>> {
        Ok(match kind(&descriptor)? {
            FileType::Fifo => Box::new(pipe::Receiver::from_owned_fd(descriptor)?),
            FileType::Socket => Box::new(socket(descriptor)?),
            _ => Box::new(File::from_std(descriptor.into())),
        })
    }

    fn writing(descriptor: OwnedFd) -> io::Result<Box<dyn tokio::io::AsyncWrite + Send + Unpin>> {
        Ok(match kind(&descriptor)? {
            FileType::Fifo => Box::new(pipe::Sender::from_owned_fd(descriptor)?),
            FileType::Socket => Box::new(socket(descriptor)?),
            _ => Box::new(File::from_std(descriptor.into())),
        })
    }

    fn socket(descriptor: OwnedFd) -> io::Result<UnixStream> {
        let stream = BlockingStream::from(descriptor);
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;

    use super::Wire;

    pub(super) fn take() -> io::Result<Wire> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
