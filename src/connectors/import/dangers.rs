//! What of an API looks dangerous.
//!
//! Owns [`judge`]. The idea: the method and the words are asked separately. Where the words say that more is done than the
//! method shows, the stricter of the two is written down; where they say that less is done, a person is told and decides.
//!
//! Must not: make an effect weaker.

use serde::Serialize;

use crate::connectors::document::Operation;
use crate::connectors::openapi::{LOOKING, words_of};
use crate::policy::Effect;

/// First words that say something is lost, beyond those that the importer knows.
const LOSING: [&str; 11] = [
    "remove",
    "destroy",
    "erase",
    "drop",
    "uninstall",
    "decommission",
    "truncate",
    "flush",
    "kill",
    "expunge",
    "obliterate",
];
/// Words that say something is changed, in front of an id and at the end of a path.
const CHANGING: [&str; 18] = [
    "create",
    "add",
    "send",
    "start",
    "stop",
    "restart",
    "enable",
    "disable",
    "execute",
    "trigger",
    "submit",
    "approve",
    "reject",
    "cancel",
    "remove",
    "activate",
    "deactivate",
    "upload",
];
/// Those that say so in front of an id alone.
const CHANGING_IDS: [&str; 18] = [
    "update",
    "set",
    "apply",
    "move",
    "invite",
    "assign",
    "unassign",
    "register",
    "unregister",
    "insert",
    "upsert",
    "publish",
    "put",
    "attach",
    "detach",
    "run",
    "reboot",
    "grant",
];
/// The one that says so at the end of a path alone.
const CHANGING_PATH: &str = "logout";
/// Last words of paths that hand out rights, keys or access.
const RIGHTS: [&str; 39] = [
    "admin",
    "admins",
    "credential",
    "credentials",
    "grant",
    "grants",
    "group",
    "groups",
    "iam",
    "impersonate",
    "impersonation",
    "invitation",
    "invitations",
    "invite",
    "key",
    "keys",
    "member",
    "members",
    "membership",
    "memberships",
    "owner",
    "owners",
    "password",
    "passwords",
    "permission",
    "permissions",
    "policies",
    "policy",
    "privileges",
    "role",
    "roles",
    "secret",
    "secrets",
    "token",
    "tokens",
    "user",
    "users",
    "webhook",
    "webhooks",
];
/// Those that say so anywhere in an id.
const RIGHTS_ANYWHERE: [&str; 8] =
    ["impersonate", "grant", "password", "credential", "credentials", "admin", "permission", "permissions"];
const MONEY: [&str; 14] = [
    "payment",
    "payments",
    "pay",
    "purchase",
    "purchases",
    "payout",
    "payouts",
    "refund",
    "refunds",
    "charge",
    "charges",
    "checkout",
    "invoice",
    "invoices",
];

/// Why something should be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It destroys.
    Destroys,
    /// It hands out rights, keys or access.
    Administers,
    /// It moves money.
    MovesMoney,
    /// The method says less than the words.
    WordsSayMore,
    /// The words say less than the method.
    WordsSayLess,
}

impl Why {
    /// In words, for a list of operations.
    pub fn says(self) -> &'static str {
        match self {
            Self::Destroys => "destroys",
            Self::Administers => "hands out rights, keys or access",
            Self::MovesMoney => "moves money",
            Self::WordsSayMore => "words say more than the method: the stricter is written down",
            Self::WordsSayLess => "words say that it only looks: if so, say effect = \"read\"",
        }
    }
}

/// What is thought of one operation.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// The effect, where it is stricter than the method's.
    pub(super) effect: Option<Effect>,
    pub(super) why: Vec<Why>,
}

/// Looks at one operation.
pub(super) fn judge(operation: &Operation) -> Judgement {
    let id = words_of(&operation.id);
    // `users.DeleteThing`: the verb comes after the name of the thing.
    let after = operation.id.rsplit(['.', '_', '/', '-']).next().map(words_of).unwrap_or_default();
    let verbs: Vec<&str> = [id.first(), after.first()].into_iter().flatten().map(String::as_str).collect();
    let (last, is_end) = last_segment(&operation.path);
    let last = words_of(last);
    let ends = last.first().map(String::as_str).filter(|_| is_end);
    let reads = matches!(operation.method.as_str(), "GET" | "HEAD");
    let says = |words: &[&str]| {
        verbs.iter().any(|verb| words.contains(verb)) || ends.is_some_and(|it| words.contains(&it))
    };
    let mut found = Judgement::default();
    match operation.effect {
        Effect::Destroy if reads => found.why.push(Why::WordsSayMore),
        Effect::Read
            if says(&CHANGING)
                || verbs.iter().any(|it| CHANGING_IDS.contains(it))
                || ends == Some(CHANGING_PATH) =>
        {
            found.effect = Some(Effect::Write);
            found.why.push(Why::WordsSayMore);
        }
        Effect::Write if says(&LOSING) => {
            found.effect = Some(Effect::Destroy);
            found.why.push(Why::WordsSayMore);
        }
        Effect::Write if operation.method == "POST" && says(&LOOKING) => found.why.push(Why::WordsSayLess),
        _ => {}
    }
    let effect = found.effect.unwrap_or(operation.effect);
    if effect == Effect::Destroy {
        found.why.push(Why::Destroys);
    }
    let only_looks = found.why.contains(&Why::WordsSayLess);
    if effect != Effect::Read && !only_looks {
        let any = |words: &[&str]| last.iter().any(|it| words.contains(&it.as_str()));
        if any(&RIGHTS) || id.iter().any(|it| RIGHTS_ANYWHERE.contains(&it.as_str())) {
            found.why.push(Why::Administers);
        }
        if any(&MONEY) || verbs.iter().any(|it| MONEY.contains(it)) {
            found.why.push(Why::MovesMoney);
        }
    }
    found
}

/// The last segment that is no variable, and whether the path ends with it.
fn last_segment(path: &str) -> (&str, bool) {
    let mut segments = path.trim_end_matches('/').rsplit('/');
    let end = segments.next().unwrap_or_default();
    if end.contains('{') {
        (segments.find(|it| !it.contains('{')).unwrap_or_default(), false)
    } else {
        (end, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::openapi;
    use crate::json::json;

    fn judged(method: &str, path: &str, id: &str) -> (Option<Effect>, Vec<Why>) {
        let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"},
            "paths": {path: {method: {"operationId": id, "responses": {}}}}});
        let document = openapi::load(document.to_string().as_bytes(), None).unwrap();
        let found = judge(&document.operations[0]);
        (found.effect, found.why)
    }

    #[test]
    fn method_and_words_are_compared_and_no_effect_becomes_weaker() {
        use Why::{Administers, Destroys, MovesMoney, WordsSayLess, WordsSayMore};
        for (method, path, id, effect, why) in [
            ("get", "/widgets", "listWidgets", None, vec![]),
            ("get", "/widgets/{id}/delete", "x", None, vec![WordsSayMore, Destroys]),
            ("get", "/jobs/{id}/restart", "x", Some(Effect::Write), vec![WordsSayMore]),
            ("get", "/jobs", "jobs_createReport", Some(Effect::Write), vec![WordsSayMore]),
            ("get", "/jobs/created", "listCreated", None, vec![]),
            ("post", "/disks/{id}/erase", "x", Some(Effect::Destroy), vec![WordsSayMore, Destroys]),
            ("post", "/widgets/search", "x", None, vec![WordsSayLess]),
            ("post", "/users/search", "searchUsers", None, vec![WordsSayLess]),
            ("delete", "/widgets/{id}", "x", None, vec![Destroys]),
            ("post", "/users", "createUser", None, vec![Administers]),
            ("put", "/users/{id}", "x", None, vec![Administers]),
            ("post", "/users/{id}/messages", "users.CreateMessages", None, vec![]),
            ("delete", "/orgs/{id}/api-keys/{key}", "x", None, vec![Destroys, Administers]),
            ("post", "/orders/{id}/refunds", "x", None, vec![MovesMoney]),
            ("put", "/asset/{delete}", "x", None, vec![]),
        ] {
            assert_eq!(judged(method, path, id), (effect, why), "{method} {path} {id}");
        }
    }
}
