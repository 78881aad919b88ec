//! Revisions of the protocol, and every fact that differs between them.
//!
//! Owns [`Revision`]. The idea: an unknown string is not ordered, it is unsupported; each difference is one method
//! here and nowhere else, so that another revision is one variant and the compiler lists the facts to decide.
//!
//! Must not: be compared by anybody outside this folder.

use std::fmt;

use crate::error::Kind;

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

    /// Its place in [`Revision::ALL`]: tables that hold one thing for each revision are indexed with it.
    pub const fn index(self) -> usize {
        match self {
            Self::V2025_11_25 => 0,
            Self::V2026_07_28 => 1,
        }
    }

    /// Whether several messages may travel in one array.
    pub const fn batches(self) -> bool {
        match self {
            Self::V2025_11_25 | Self::V2026_07_28 => false,
        }
    }

    /// Whether every result says its `resultType`, and names the server in its `_meta`.
    pub const fn result_type(self) -> bool {
        match self {
            Self::V2025_11_25 => false,
            Self::V2026_07_28 => true,
        }
    }

    /// Whether lists and resources say how long they stay fresh.
    pub const fn cache_hints(self) -> bool {
        match self {
            Self::V2025_11_25 => false,
            Self::V2026_07_28 => true,
        }
    }

    /// Whether HTTP headers repeat parts of the body and have to agree with it.
    pub const fn standard_headers(self) -> bool {
        match self {
            Self::V2025_11_25 => false,
            Self::V2026_07_28 => true,
        }
    }

    /// Whether structured content, and the schema that describes it, may be other than an object.
    pub const fn any_structured_content(self) -> bool {
        match self {
            Self::V2025_11_25 => false,
            Self::V2026_07_28 => true,
        }
    }

    /// Whether a URL elicitation carries an id of its own.
    pub const fn elicitation_ids(self) -> bool {
        match self {
            Self::V2025_11_25 => true,
            Self::V2026_07_28 => false,
        }
    }

    /// The JSON-RPC code of a kind. Kinds that are not faults of the protocol have numbers outside of the range that
    /// JSON-RPC and MCP reserve.
    pub const fn code(self, kind: Kind) -> i32 {
        match kind {
            Kind::NoSuchResource => match self {
                Self::V2025_11_25 => -32002,
                Self::V2026_07_28 => -32602,
            },
            Kind::HeaderMismatch | Kind::MissingCapability => match self {
                Self::V2025_11_25 => -32600,
                Self::V2026_07_28 => kind.code(),
            },
            Kind::BadArguments => -32602,
            Kind::BadConfig => -32603,
            Kind::RateLimited => -31001,
            Kind::Forbidden => -31002,
            Kind::NeedsApproval => -31003,
            Kind::Declined => -31004,
            Kind::UpstreamRefused => -31005,
            Kind::UpstreamFailed => -31006,
            Kind::TimedOut => -31007,
            Kind::Cancelled => -31008,
            Kind::ToolFailed => -31009,
            Kind::Unauthenticated => -31010,
            Kind::BadJson
            | Kind::BadRequest
            | Kind::NoSuchMethod
            | Kind::BadParams
            | Kind::NoSuchTool
            | Kind::UnsupportedRevision
            | Kind::Internal => kind.code(),
        }
    }

    /// The HTTP status under which an error of that kind is answered.
    pub const fn status(self, kind: Kind) -> u16 {
        match self.door() {
            Door::Envelope => kind.status(),
            Door::Handshake => match kind {
                Kind::BadJson | Kind::BadRequest | Kind::UnsupportedRevision | Kind::HeaderMismatch => 400,
                Kind::Unauthenticated => 401,
                Kind::NoSuchMethod
                | Kind::BadParams
                | Kind::NoSuchTool
                | Kind::NoSuchResource
                | Kind::MissingCapability
                | Kind::BadArguments
                | Kind::RateLimited
                | Kind::Forbidden
                | Kind::NeedsApproval
                | Kind::Declined
                | Kind::UpstreamRefused
                | Kind::UpstreamFailed
                | Kind::TimedOut
                | Kind::Cancelled
                | Kind::ToolFailed
                | Kind::BadConfig
                | Kind::Internal => 200,
            },
        }
    }

    /// Whether a failing `tools/call` of that kind is answered as a result with `isError`, which a model can read.
    pub const fn tool_result(self, kind: Kind) -> bool {
        match self.door() {
            Door::Envelope => kind.is_tool_result(),
            // the older revisions have no error for what a client cannot be asked
            Door::Handshake => kind.is_tool_result() || matches!(kind, Kind::MissingCapability),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_list_is_the_order_of_the_dates() {
        for (index, revision) in Revision::ALL.iter().enumerate() {
            assert_eq!(revision.index(), index);
            assert_eq!(Revision::parse(revision.name()), Some(*revision));
        }
        assert!(Revision::ALL.is_sorted_by_key(|revision| revision.name()));
        assert_eq!(Revision::parse("2026-07-28 "), None);
        assert_eq!(Revision::parse("1900-01-01"), None);
    }

    #[test]
    fn no_kind_has_a_code_that_the_newest_revision_forbids() {
        for kind in Kind::ALL {
            let code = Revision::NEWEST.code(*kind);
            assert!(!(-32019..=-32000).contains(&code), "{} has a legacy code", kind.name());
            let defined = [-32020, -32021, -32022].contains(&code);
            assert!(defined || !(-32099..=-32020).contains(&code), "{} has an undefined code", kind.name());
            assert_ne!(code, 0, "{} has no code", kind.name());
        }
    }

    #[test]
    fn a_missing_resource_has_the_code_of_its_time() {
        assert_eq!(Revision::V2025_11_25.code(Kind::NoSuchResource), -32002);
        assert_eq!(Revision::V2026_07_28.code(Kind::NoSuchResource), -32602);
    }
}
