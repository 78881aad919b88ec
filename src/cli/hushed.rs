//! A terminal that does not show what is typed.
//!
//! Owns [`Hushed`]. The idea: it is quiet before the first prompt and until after the last, so that whoever types ahead
//! shows nothing either.
//!
//! Must not: leave the terminal otherwise than it was.

/// Until it is dropped, the terminal of this process shows nothing that is typed. Without a terminal it does nothing.
pub(super) struct Hushed {
    #[cfg(unix)]
    before: Option<(std::fs::File, rustix::termios::Termios)>,
}

#[cfg(unix)]
impl Hushed {
    pub(super) fn new() -> Self {
        Self { before: Self::hush() }
    }

    fn hush() -> Option<(std::fs::File, rustix::termios::Termios)> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

        let terminal = std::fs::File::open("/dev/tty").ok()?;
        let before = tcgetattr(&terminal).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(&terminal, OptionalActions::Now, &quiet).ok()?;
        Some((terminal, before))
    }
}

#[cfg(unix)]
impl Drop for Hushed {
    fn drop(&mut self) {
        if let Some((terminal, before)) = &self.before {
            // A terminal that has gone shows nothing anyway.
            let _ = rustix::termios::tcsetattr(terminal, rustix::termios::OptionalActions::Now, before);
        }
    }
}

#[cfg(not(unix))]
impl Hushed {
    pub(super) fn new() -> Self {
        Self {}
    }
}
