//! Security events, by name.
//!
//! Owns [`Event`], the one table of what a line of kind `event`, or the outcome of a refused call, can be named. The idea:
//! whoever notices something calls [`Audit::event`](super::Audit::event) (waits until it is written) or
//! [`Audit::note`](super::Audit::note) (does not) with a name from here and a few facts: who, what, where, never a
//! secret. One trigger leaves one event.
//!
//! Must not: hold a name that nothing leaves.

macro_rules! events {
    ($( $(#[$doc:meta])* $name:ident = $text:literal; )*) => {
        /// What happened. The name is what audit lines, detectors and `bartizan audit query --event` call it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Event { $( $(#[$doc])* $name, )* }

        impl Event {
            /// Every event, in the order of the table.
            pub const ALL: &'static [Event] = &[ $( Event::$name, )* ];
            /// The name in audit lines.
            pub const fn name(self) -> &'static str { match self { $( Event::$name => $text, )* } }
        }
    };
}

events! {
    /// A credential was shown and not accepted. Facts: `what`, `peer`.
    AuthenticationFailed = "authentication failed";
    /// Policy, a guard or a scope forbids a call; stands in the call's outcome.
    Denied = "denied";
    /// Over quota; stands in the call's outcome.
    Limited = "limited";
    /// A request would have left for a place it may not go to; in the call's outcome where there is a call.
    EgressRefused = "egress refused";
    /// A message was refused before it could be a call. Facts: `what` or `reason`, `peer` or `principal`.
    Refused = "refused";
    /// A caller that hammers was answered unread. Facts: `principal`, `requests`, `window_seconds`.
    TurnedAway = "turned away";
    /// A secret was read. Facts: `kind` (`env`, `file`, `keyring` ...), `reference`; never the value.
    SecretLoaded = "secret loaded";
    /// A secret changed where it comes from. Facts: `reference`, `fingerprint`.
    SecretReplaced = "secret replaced";
    /// A secret could not be read. Facts: `reference`.
    SecretUnreadable = "secret unreadable";
    /// A secret was read and may not be used here: too old, or another profile's. Facts: `reference`.
    SecretRefused = "secret refused";
    /// A secret is older than it should be. Facts: `reference`, `days`.
    SecretOverdue = "secret overdue";
    /// A file with a secret is open to others, or somebody else's, or a link, and was not read. Facts: `reference`,
    /// `reason`.
    FileExposed = "file mode wrong";
    /// What is stored sealed does not open: it was changed, or belongs elsewhere, and is taken for empty. Facts: `what`, and
    /// where there are any `file`, `reason`.
    StoreRejected = "stored secret rejected";
    /// An operator put the second credential into use, or the first again. Facts: `name`, `to`, `credentials`, `by`.
    CredentialSwitched = "credential switched";
    /// A rotation was rehearsed. Facts: `passed`, `sources`.
    RotationRehearsed = "rotation rehearsed";
    /// Everything that tells what happened was put into one file. Facts: `since`, `file`.
    EvidenceTaken = "evidence taken";
    /// A server begins with this configuration. Facts: `policy`, `tools`.
    ConfigurationLoaded = "configuration loaded";
    /// A new configuration holds. Facts: `changed`, `policy`, `tools`.
    ConfigurationReloaded = "configuration reloaded";
    /// A new configuration is wrong; the former one stays. Facts: `kind`, `reason`.
    ConfigurationRefused = "configuration refused";
    /// An operator accepted a policy. Facts: `operator`, `factor`, `profile`, `set`, `policy`, `changed`.
    PolicyAccepted = "policy accepted";
    /// Settings that are less strict than the defaults. Facts: `settings`.
    Relaxed = "relaxed";
    /// A certificate changed on the disk and is in use. Facts: `path`, `expires`.
    CertificateReloaded = "certificate reloaded";
    /// A changed certificate cannot be used; the former one stays. Facts: `path`, `reason`.
    CertificateFailed = "certificate failed";
    /// An API key was made. Facts: `id`, `owner`.
    KeyIssued = "key issued";
    /// An API key was replaced. Facts: `id`, `owner`, `overlap_seconds`.
    KeyRotated = "key rotated";
    /// An API key was taken back. Facts: `id`, `owner`.
    KeyRevoked = "key revoked";
    /// Writes, or everything, are stopped. Facts: `what`, `by`, `reason`.
    Frozen = "frozen";
    /// They may go on. Facts: `by`.
    Unfrozen = "unfrozen";
    /// A second factor was wrong. Facts: `who`, `left`.
    FactorFailed = "second factor failed";
    /// A second factor was wrong too often. Facts: `who`.
    FactorLocked = "second factor locked";
    /// An upstream failed too often and is left alone for a while. Facts: `upstream`, `host`, `seconds`.
    CircuitOpened = "circuit opened";
    /// It answers again. Facts: `upstream`, `host`.
    CircuitClosed = "circuit closed";
    /// An upstream said again and again that it is asked too often. Facts: `upstream`, `host`, `count`, `window_seconds`.
    UpstreamLimited = "upstream limited";
    /// The store that instances share cannot be used. Facts: `mode` (what `on_outage` under `[limits]` says), `reason`.
    SharedStoreLost = "shared store lost";
    /// It can be used again.
    SharedStoreBack = "shared store back";
    /// A call that runs as a task was asked about, answered or cancelled. Facts: `principal`, `method`, `task`.
    Task = "task";
    /// The key that signs the audit was gone, or is another one: from here on another key signs. Facts: `former`, the public
    /// half of the former one where it was still there.
    AuditKeyMade = "audit key made";
    /// A copy of the audit is not whole. Facts: `sink`, `dropped`.
    SinkLagged = "audit sink lagged";
    /// A detector found something. Facts: `detector`, `subject`, `count`, `window_seconds`.
    Alert = "alert";
}

impl From<Event> for &'static str {
    fn from(event: Event) -> Self {
        event.name()
    }
}

#[cfg(test)]
mod tests {
    use super::Event;

    #[test]
    fn names_are_told_apart() {
        let names: std::collections::BTreeSet<&str> = Event::ALL.iter().map(|event| event.name()).collect();
        assert_eq!(names.len(), Event::ALL.len());
    }
}
