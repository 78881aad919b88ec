//! Revisions of the protocol, and every fact that differs between them.
//!
//! Owns [`Revision`]. The idea: an unknown string is not ordered, it is unsupported; each difference is one method
//! here and nowhere else.
//!
//! Must not: be compared by anybody outside this folder.

use std::fmt;

/// A revision this server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// 2025-11-25: handshake, sessions.
    V2025_11_25,
    /// 2026-07-28: stateless.
    V2026_07_28,
}

/// How a conversation is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `initialize`, then a session or a connection.
    Handshake,
    /// Each request carries its own `_meta`.
    Envelope,
}

impl Revision {
    /// Every revision, oldest first.
    pub const ALL: &'static [Self] = &[Self::V2025_11_25, Self::V2026_07_28];
    /// The newest of the stateful revisions: what `initialize` answers when it is asked for something unknown.
    pub const NEWEST_HANDSHAKE: Self = Self::V2025_11_25;
    /// The newest of all.
    pub const NEWEST: Self = Self::V2026_07_28;

    /// The revision of that name, if it is spoken here.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|revision| revision.name() == text)
    }

    /// The date that names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// How a conversation is opened.
    pub const fn door(self) -> Door {
        match self {
            Self::V2025_11_25 => Door::Handshake,
            Self::V2026_07_28 => Door::Envelope,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
