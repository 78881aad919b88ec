//! Revisions of the protocol, and every fact that differs between them.
//!
//! Owns [`Revision`]. The idea: an unknown string is not ordered, it is unsupported; each difference is one method
//! here and nowhere else, and says from which revision on, or through which, something holds.
//!
//! Must not: be compared by anybody outside this folder.
//!
//! Source: the specification's schemas and changelogs, 2024-11-05 to 2026-07-28.

use std::fmt;

use crate::error::Kind;

/// A revision this server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// 2024-11-05: the first; its transport of two HTTP endpoints is not spoken, all else is.
    V2024_11_05,
    /// 2025-03-26: streamable HTTP, sounds, tool annotations, and, in this revision alone, batches.
    V2025_03_26,
    /// 2025-06-18: structured content, resource links, elicitation, titles.
    V2025_06_18,
    /// 2025-11-25: icons, elicitation by address, sampling with tools.
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
    pub const ALL: &'static [Self] =
        &[Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];
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
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// How a conversation is opened.
    pub const fn door(self) -> Door {
        match self {
            Self::V2024_11_05 | Self::V2025_03_26 | Self::V2025_06_18 | Self::V2025_11_25 => Door::Handshake,
            Self::V2026_07_28 => Door::Envelope,
        }
    }

    /// Its place in [`Revision::ALL`]: tables that hold one thing for each revision are indexed with it.
    pub const fn index(self) -> usize {
        match self {
            Self::V2024_11_05 => 0,
            Self::V2025_03_26 => 1,
            Self::V2025_06_18 => 2,
            Self::V2025_11_25 => 3,
            Self::V2026_07_28 => 4,
        }
    }

    const fn since(self, first: Self) -> bool {
        self.index() >= first.index()
    }

    const fn through(self, last: Self) -> bool {
        self.index() <= last.index()
    }

    /// Whether several messages may travel in one array.
    pub const fn batches(self) -> bool {
        self.since(Self::V2025_03_26) && self.through(Self::V2025_03_26)
    }

    /// Whether tools carry hints about what they do.
    pub const fn tool_annotations(self) -> bool {
        self.since(Self::V2025_03_26)
    }

    /// Whether content may be a sound.
    pub const fn audio(self) -> bool {
        self.since(Self::V2025_03_26)
    }

    /// Whether progress may come with words.
    pub const fn progress_words(self) -> bool {
        self.since(Self::V2025_03_26)
    }

    /// Whether a server that can complete arguments says so among its capabilities.
    pub const fn completions_capability(self) -> bool {
        self.since(Self::V2025_03_26)
    }

    /// Whether a completion is asked for together with the arguments that are known already.
    pub const fn completion_context(self) -> bool {
        self.since(Self::V2025_06_18)
    }

    /// Whether tools describe their results, and give them as data beside the content.
    pub const fn structured_content(self) -> bool {
        self.since(Self::V2025_06_18)
    }

    /// Whether structured content, and the schema that describes it, may be other than an object.
    pub const fn any_structured_content(self) -> bool {
        self.since(Self::V2026_07_28)
    }

    /// Whether content may be a link to a resource.
    pub const fn resource_links(self) -> bool {
        self.since(Self::V2025_06_18)
    }

    /// Whether things have a title beside their name.
    pub const fn titles(self) -> bool {
        self.since(Self::V2025_06_18)
    }

    /// Whether blocks of content, contents of resources and entries of lists carry a `_meta` of their own; results
    /// always did.
    pub const fn inner_meta(self) -> bool {
        self.since(Self::V2025_06_18)
    }

    /// Whether annotations say when something was last modified.
    pub const fn last_modified(self) -> bool {
        self.since(Self::V2025_06_18)
    }

    /// Whether a client can be asked to fill in a form.
    pub const fn elicitation(self) -> bool {
        self.since(Self::V2025_06_18)
    }

    /// Whether an elicitation says its mode, and can send a person to an address; and whether forms have defaults for
    /// everything, choices with titles and choices of several.
    pub const fn elicitation_modes(self) -> bool {
        self.since(Self::V2025_11_25)
    }

    /// Whether a stream may open with an event that has an id and no message, so that a client can be sent away to come
    /// back for the rest. Older clients take the empty text for a message.
    pub const fn priming_events(self) -> bool {
        self.since(Self::V2025_11_25) && self.through(Self::V2025_11_25)
    }

    /// Whether a URL elicitation carries an id of its own.
    pub const fn elicitation_ids(self) -> bool {
        self.since(Self::V2025_11_25) && self.through(Self::V2025_11_25)
    }

    /// Whether a model can be asked with tools at hand, and a message to it may have several blocks and a `_meta`.
    pub const fn sampling_tools(self) -> bool {
        self.since(Self::V2025_11_25)
    }

    /// Whether things have icons, and a server a description and a web site.
    pub const fn icons(self) -> bool {
        self.since(Self::V2025_11_25)
    }

    /// Whether the schemas of a tool may name their dialect, and are of 2020-12 where they do not.
    pub const fn schema_dialect(self) -> bool {
        self.since(Self::V2025_11_25)
    }

    /// Whether a property of a tool's schema may be `true` or `false` instead of an object.
    pub const fn boolean_schemas(self) -> bool {
        self.since(Self::V2026_07_28)
    }

    /// Whether a client repeats the agreed revision in a header of every request over HTTP. Where it need not, and where
    /// it forgets, its session knows.
    pub const fn revision_header(self) -> bool {
        self.since(Self::V2025_06_18)
    }

    /// Whether every result says its `resultType`, and names the server in its `_meta`.
    pub const fn result_type(self) -> bool {
        self.since(Self::V2026_07_28)
    }

    /// Whether lists and resources say how long they stay fresh.
    pub const fn cache_hints(self) -> bool {
        self.since(Self::V2026_07_28)
    }

    /// Whether HTTP headers repeat parts of the body and have to agree with it.
    pub const fn standard_headers(self) -> bool {
        self.since(Self::V2026_07_28)
    }

    /// The JSON-RPC code of a kind. Kinds that are not faults of the protocol have numbers outside of the range that
    /// JSON-RPC and MCP reserve.
    pub const fn code(self, kind: Kind) -> i32 {
        match kind {
            Kind::NoSuchResource => match self.door() {
                Door::Handshake => -32002,
                Door::Envelope => -32602,
            },
            Kind::HeaderMismatch | Kind::MissingCapability => match self.door() {
                Door::Handshake => -32600,
                Door::Envelope => kind.code(),
            },
            Kind::UnsupportedRevision => match self.door() {
                Door::Handshake => -32602,
                Door::Envelope => kind.code(),
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
            Kind::Frozen => -31011,
            Kind::BadJson
            | Kind::BadRequest
            | Kind::NoSuchMethod
            | Kind::BadParams
            | Kind::NoSuchTool
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
                | Kind::Frozen
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

    // proves: error-codes-of-their-time
    #[test]
    fn no_kind_has_a_code_that_its_revision_forbids() {
        for (kind, revision) in
            Kind::ALL.iter().flat_map(|kind| Revision::ALL.iter().map(move |one| (kind, one)))
        {
            let (code, name) = (revision.code(*kind), kind.name());
            assert_ne!(code, 0, "{name} has no code");
            let reserved = (-32768..=-32000).contains(&code);
            let defined: &[i32] = match revision.door() {
                Door::Handshake => &[-32700, -32600, -32601, -32602, -32603, -32002],
                Door::Envelope => &[-32700, -32600, -32601, -32602, -32603, -32020, -32021, -32022],
            };
            assert!(
                !reserved || defined.contains(&code),
                "{name} has {code}, which {revision} does not know"
            );
        }
    }

    #[test]
    fn a_missing_resource_has_the_code_of_its_time() {
        for older in &Revision::ALL[..4] {
            assert_eq!(older.code(Kind::NoSuchResource), -32002);
        }
        assert_eq!(Revision::V2026_07_28.code(Kind::NoSuchResource), -32602);
    }
}
