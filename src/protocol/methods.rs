//! Which revision has which method.
//!
//! Owns [`Method`], [`Notice`] and their tables. The idea: no row for this revision means method not found; nothing
//! else in the crate asks whether a method exists.
//!
//! Must not: handle anything.

use super::Revision;

/// A request a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table below says what each is called")]
pub enum Method {
    Initialize,
    Discover,
    Ping,
    SetLevel,
    ToolsList,
    ToolsCall,
    ResourcesList,
    TemplatesList,
    ResourcesRead,
    Subscribe,
    Unsubscribe,
    PromptsList,
    PromptsGet,
    Complete,
    Listen,
    TaskGet,
    TaskUpdate,
    TaskCancel,
}

/// A notification a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table below says what each is called")]
pub enum Notice {
    Initialized,
    Cancelled,
    Progress,
    RootsChanged,
}

struct Row<T: 'static> {
    name: &'static str,
    what: T,
    first: Revision,
    last: Option<Revision>,
}

const fn row<T>(name: &'static str, what: T, first: Revision, last: Option<Revision>) -> Row<T> {
    Row { name, what, first, last }
}

const OLDEST: Revision = Revision::ALL[0];
const STATELESS: Revision = Revision::V2026_07_28;
const STATEFUL_END: Option<Revision> = Some(Revision::V2025_11_25);

const REQUESTS: &[Row<Method>] = &[
    row("tools/call", Method::ToolsCall, OLDEST, None),
    row("tools/list", Method::ToolsList, OLDEST, None),
    row("resources/list", Method::ResourcesList, OLDEST, None),
    row("resources/templates/list", Method::TemplatesList, OLDEST, None),
    row("resources/read", Method::ResourcesRead, OLDEST, None),
    row("resources/subscribe", Method::Subscribe, OLDEST, STATEFUL_END),
    row("resources/unsubscribe", Method::Unsubscribe, OLDEST, STATEFUL_END),
    row("prompts/list", Method::PromptsList, OLDEST, None),
    row("prompts/get", Method::PromptsGet, OLDEST, None),
    row("completion/complete", Method::Complete, OLDEST, None),
    row("initialize", Method::Initialize, OLDEST, STATEFUL_END),
    row("ping", Method::Ping, OLDEST, STATEFUL_END),
    row("logging/setLevel", Method::SetLevel, OLDEST, STATEFUL_END),
    row("server/discover", Method::Discover, STATELESS, None),
    row("subscriptions/listen", Method::Listen, STATELESS, None),
    row("tasks/get", Method::TaskGet, STATELESS, None),
    row("tasks/update", Method::TaskUpdate, STATELESS, None),
    row("tasks/cancel", Method::TaskCancel, STATELESS, None),
];

const NOTICES: &[Row<Notice>] = &[
    row("notifications/initialized", Notice::Initialized, OLDEST, STATEFUL_END),
    row("notifications/cancelled", Notice::Cancelled, OLDEST, None),
    row("notifications/progress", Notice::Progress, OLDEST, STATEFUL_END),
    row("notifications/roots/list_changed", Notice::RootsChanged, OLDEST, STATEFUL_END),
];

fn find<T: Copy>(rows: &[Row<T>], name: &str, revision: Revision) -> Option<T> {
    rows.iter()
        .find(|row| row.name == name)
        .filter(|row| row.first <= revision && row.last.is_none_or(|last| revision <= last))
        .map(|row| row.what)
}

impl Method {
    /// The request of that name, if the revision has it.
    pub fn find(name: &str, revision: Revision) -> Option<Self> {
        find(REQUESTS, name, revision)
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        REQUESTS.iter().find(|row| row.what == self).map_or("", |row| row.name)
    }

    /// Whether `Mcp-Name` has to be there. Tasks are to have it too, for balancers that route by it; clients are in use
    /// that leave it out, and where nothing is said nothing can differ.
    pub const fn needs_name(self) -> bool {
        self.name_parameter().is_some()
            && !matches!(self, Self::TaskGet | Self::TaskUpdate | Self::TaskCancel)
    }

    /// The parameter that `Mcp-Name` repeats.
    pub const fn name_parameter(self) -> Option<&'static str> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some("name"),
            Self::ResourcesRead => Some("uri"),
            Self::TaskGet | Self::TaskUpdate | Self::TaskCancel => Some("taskId"),
            Self::Initialize
            | Self::Discover
            | Self::Ping
            | Self::SetLevel
            | Self::ToolsList
            | Self::ResourcesList
            | Self::TemplatesList
            | Self::Subscribe
            | Self::Unsubscribe
            | Self::PromptsList
            | Self::Complete
            | Self::Listen => None,
        }
    }
}

impl Notice {
    /// The notification of that name, if the revision has it.
    pub fn find(name: &str, revision: Revision) -> Option<Self> {
        find(NOTICES, name, revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_row() {
        let mut names: Vec<_> = REQUESTS.iter().map(|row| row.name).collect();
        names.extend(NOTICES.iter().map(|row| row.name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn what_a_revision_lacks_is_not_found() {
        for (name, older, newer) in [
            ("initialize", true, false),
            ("ping", true, false),
            ("logging/setLevel", true, false),
            ("resources/subscribe", true, false),
            ("server/discover", false, true),
            ("subscriptions/listen", false, true),
            ("tools/call", true, true),
            ("tools/Call", false, false),
        ] {
            for revision in &Revision::ALL[..4] {
                assert_eq!(Method::find(name, *revision).is_some(), older, "{revision} {name}");
            }
            assert_eq!(Method::find(name, Revision::V2026_07_28).is_some(), newer, "{name}");
        }
        assert_eq!(Method::ToolsCall.name(), "tools/call");
    }
}
