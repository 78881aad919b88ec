//! What can go wrong, in one table.
//!
//! Owns [`Error`] and [`Kind`]. The idea: a message is a sentence we wrote, safe to show to anybody; words from
//! outside (arguments, upstream bodies, paths, tokens) never enter it. `detail` is structured and just as safe;
//! `source` is for the log, through the redactor, and never leaves the process.
//!
//! Must not: hold the `Debug` of anything, or decide how a revision numbers a kind (that is `protocol/`).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! kinds {
    ($( $(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $exception:literal; )*) => {
        /// Every way a call, a request or a start can fail. Closed on purpose: a new kind does not compile until
        /// each column of the table is decided.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $( $(#[$doc])* $name, )* }

        impl Kind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Kind] = &[ $( Kind::$name, )* ];
            /// The name, as audit lines, `--json` output and Python see it.
            pub const fn name(self) -> &'static str { match self { $( Kind::$name => stringify!($name), )* } }
            /// The JSON-RPC code in the newest revision; 0 where the kind is never a protocol error.
            pub const fn code(self) -> i32 { match self { $( Kind::$name => $code, )* } }
            /// The HTTP status of the stateless door.
            pub const fn status(self) -> u16 { match self { $( Kind::$name => $status, )* } }
            /// The Python exception class in `bartizan.exceptions`.
            pub const fn exception(self) -> &'static str { match self { $( Kind::$name => $exception, )* } }
        }
    };
}

kinds! {
    /// The bytes are not JSON, or hold a duplicate key, or are nested too deeply.
    BadJson = -32700, 400, "ProtocolError";
    /// JSON, but not a JSON-RPC request.
    BadRequest = -32600, 400, "ProtocolError";
    /// The revision in use has no such method.
    NoSuchMethod = -32601, 404, "ProtocolError";
    /// The parameters of a method are missing or of the wrong shape.
    BadParams = -32602, 400, "ProtocolError";
    /// No tool or prompt of that name is offered to this principal.
    NoSuchTool = -32602, 400, "ProtocolError";
    /// No resource at that address is offered to this principal.
    NoSuchResource = -32602, 400, "ProtocolError";
    /// A header says something else than the body.
    HeaderMismatch = -32020, 400, "ProtocolError";
    /// The request needs a capability that the client did not declare.
    MissingCapability = -32021, 400, "ProtocolError";
    /// A revision that this server does not speak.
    UnsupportedRevision = -32022, 400, "ProtocolError";
    /// No credential, or one that is not accepted.
    Unauthenticated = 0, 401, "Unauthenticated";
    /// Arguments that do not fit the tool's schema.
    BadArguments = 0, 200, "InvalidArguments";
    /// Over quota; `retry_after` says when to come back.
    RateLimited = 0, 200, "RateLimited";
    /// Policy forbids this call.
    Forbidden = 0, 200, "Forbidden";
    /// A person has to agree first.
    NeedsApproval = 0, 200, "ApprovalRequired";
    /// A person said no.
    Declined = 0, 200, "Declined";
    /// An operator has frozen writes, or everything.
    Frozen = 0, 200, "Frozen";
    /// The upstream refused the request (a 4xx).
    UpstreamRefused = 0, 200, "UpstreamError";
    /// The upstream could not be reached, broke off, or failed (a 5xx).
    UpstreamFailed = 0, 200, "UpstreamError";
    /// The deadline passed.
    TimedOut = 0, 200, "TimedOut";
    /// The caller went away or cancelled.
    Cancelled = 0, 200, "Cancelled";
    /// The tool itself failed; an id leads to the log.
    ToolFailed = 0, 200, "ToolFailed";
    /// The configuration, a document or a command line is wrong.
    BadConfig = 0, 500, "ConfigError";
    /// Our own fault; an id leads to the log.
    Internal = -32603, 200, "InternalError";
}

impl Kind {
    /// Whether a failing `tools/call` of this kind is answered as a tool result with `isError`, which the model can
    /// read and mend, rather than as a JSON-RPC error.
    pub const fn is_tool_result(self) -> bool {
        self.code() == 0 && !matches!(self, Kind::Unauthenticated | Kind::BadConfig)
    }

    /// The process exit code of the command line: 2 for bad configuration or usage, 3 for a refusal
    /// (policy, approval, quota, credentials), 4 for an upstream, 5 for time, 1 for the rest.
    pub const fn exit_code(self) -> u8 {
        match self {
            Kind::BadConfig
            | Kind::BadArguments
            | Kind::BadParams
            | Kind::NoSuchTool
            | Kind::NoSuchResource => 2,
            Kind::Forbidden
            | Kind::NeedsApproval
            | Kind::Declined
            | Kind::Frozen
            | Kind::RateLimited
            | Kind::Unauthenticated => 3,
            Kind::UpstreamRefused | Kind::UpstreamFailed => 4,
            Kind::TimedOut | Kind::Cancelled => 5,
            Kind::BadJson
            | Kind::BadRequest
            | Kind::NoSuchMethod
            | Kind::HeaderMismatch
            | Kind::MissingCapability
            | Kind::UnsupportedRevision
            | Kind::ToolFailed
            | Kind::Internal => 1,
        }
    }
}

/// What went wrong: a kind, a sentence for people, and (for programs) structured detail.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: Cow<'static, str>,
    detail: Option<Value>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. `message` says what was wrong, where, and what to do; it repeats nothing from outside.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), detail: None, retry_after: None, source: None }))
    }

    /// Adds structured, safe detail.
    #[must_use]
    pub fn with_detail(mut self, detail: Value) -> Self {
        self.0.detail = Some(detail);
        self
    }

    /// Says when the caller may come back.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Keeps the cause for the log. It is never shown.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The structured detail, if any.
    pub fn detail(&self) -> Option<&Value> {
        self.0.detail.as_ref()
    }

    /// When to come back, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.0.kind.name(), self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}
