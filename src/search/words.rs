//! Words of names and questions.
//!
//! Owns [`words`], [`stem`] and the table of what people say for the same act. The idea: an identifier and a sentence
//! become the same small words, so that `list_virtualDevices` and "which virtual devices are there" meet.
//!
//! Must not: know a tool.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// What people say -> what the names of tools say. The first word of a row stands for the row.
const ACTS: &[&[&str]] = &[
    &[
        "list",
        "get",
        "show",
        "read",
        "view",
        "see",
        "find",
        "search",
        "look",
        "fetch",
        "retrieve",
        "display",
        "check",
        "query",
        "inspect",
        "lookup",
        "enumerate",
        "describe",
        "status",
        "detail",
    ],
    &[
        "create",
        "add",
        "new",
        "make",
        "provision",
        "order",
        "register",
        "open",
        "insert",
        "post",
        "set",
        "setup",
        "build",
        "attach",
        "upload",
        "submit",
        "issue",
        "invite",
        "configure",
    ],
    &[
        "update",
        "change",
        "edit",
        "modify",
        "patch",
        "put",
        "rename",
        "adjust",
        "replace",
        "set",
        "move",
        "reset",
        "increase",
        "raise",
        "lower",
        "turn",
        "switch",
        "configure",
    ],
    &[
        "delete",
        "remove",
        "destroy",
        "cancel",
        "drop",
        "terminate",
        "erase",
        "unregister",
        "revoke",
        "detach",
        "decommission",
        "clear",
        "tear",
        "dispose",
    ],
    &["activate", "enable", "publish", "deploy", "start", "launch", "run", "push", "rollout", "live"],
    &["deactivate", "disable", "stop", "suspend", "pause", "unpublish", "rollback"],
    &["purge", "invalidate", "flush", "refresh", "expire"],
    &["validate", "verify", "test", "check", "preview"],
];

/// Things that go by two names.
const THINGS: &[&[&str]] = &[
    &["price", "cost", "pricing", "expensive", "quote", "charge"],
    &["statistic", "stats", "metric", "traffic", "usage", "utilization"],
    &["bandwidth", "speed", "throughput", "capacity"],
    &["event", "appointment", "meeting"],
    &["restart", "reboot", "cycle"],
    &["domain", "zone", "dns"],
    &["certificate", "cert", "tls", "ssl", "enrollment"],
    &["permission", "role", "access", "grant", "right", "privilege"],
    &["user", "person", "people", "member", "account"],
    &["location", "metro", "city", "region", "site", "datacenter", "place"],
    &["log", "audit", "event", "history"],
    &["connection", "link", "circuit"],
    &["firewall", "waf", "security"],
    &["secret", "credential", "key", "token"],
    &["ip", "address"],
    &["mail", "email", "message"],
    &["phone", "mobile", "device"],
    &["app", "application"],
    &["rule", "policy"],
    &["version", "revision"],
    &["license", "licence", "subscription"],
];

/// Words that say nothing about which tool.
const SILENT: &[&str] = &[
    "a",
    "an",
    "the",
    "of",
    "for",
    "to",
    "in",
    "on",
    "my",
    "me",
    "all",
    "with",
    "and",
    "is",
    "are",
    "what",
    "which",
    "that",
    "please",
    "i",
    "want",
    "need",
    "our",
    "us",
    "we",
    "this",
    "from",
    "by",
    "it",
    "be",
    "do",
    "does",
    "how",
    "many",
    "can",
    "could",
    "you",
    "your",
    "their",
    "its",
    "these",
    "those",
    "each",
    "every",
    "into",
    "at",
    "as",
    "or",
    "any",
    "some",
    "give",
    "tell",
    "there",
    "have",
    "has",
    "was",
    "were",
    "will",
    "would",
    "should",
    "so",
    "then",
    "than",
    "them",
    "they",
    "much",
    "more",
    "most",
    "one",
    "certain",
    "given",
    "specific",
    "via",
    "using",
    "use",
    "so",
    "about",
    "if",
    "no",
    "not",
    "am",
    "let",
    "id",
    "v1",
    "v2",
    "v3",
    "v4",
    "api",
    "over",
    "who",
    "where",
    "when",
    "out",
    "up",
    "currently",
    "now",
    "just",
    "only",
    "within",
    "between",
];

/// The words of a name or a sentence, small and without endings.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut before = ' ';
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let ends = if letter.is_alphanumeric() {
            let hump = letter.is_uppercase()
                && (before.is_lowercase()
                    || before.is_numeric()
                    || (before.is_uppercase() && letters.peek().is_some_and(|next| next.is_lowercase())));
            hump && !word.is_empty()
        } else {
            true
        };
        if ends && !word.is_empty() {
            found.push(std::mem::take(&mut word));
        }
        if letter.is_alphanumeric() {
            word.extend(letter.to_lowercase());
        }
        before = letter;
    }
    if !word.is_empty() {
        found.push(word);
    }
    found.retain(|word| !KNOWN.silent.contains(word.as_str()));
    found.into_iter().map(|word| stem(&word)).collect()
}

/// A word without the endings that say nothing here.
pub(super) fn stem(word: &str) -> String {
    let mut word = word.to_owned();
    if !word.is_ascii() || word.len() <= 3 || word.bytes().all(|byte| byte.is_ascii_digit()) {
        return word;
    }
    let strip = |word: &mut String, ending: &str, least: usize, instead: &str| {
        if word.len() >= ending.len() + least && word.ends_with(ending) {
            word.truncate(word.len() - ending.len());
            word.push_str(instead);
            return true;
        }
        false
    };
    let _ = strip(&mut word, "ies", 2, "y")
        || strip(&mut word, "sses", 2, "ss")
        || strip(&mut word, "xes", 2, "x")
        || strip(&mut word, "ches", 2, "ch")
        || (!word.ends_with("ss")
            && !word.ends_with("us")
            && !word.ends_with("is")
            && strip(&mut word, "s", 3, ""));
    let _ = strip(&mut word, "ations", 3, "at")
        || strip(&mut word, "ation", 3, "at")
        || strip(&mut word, "ing", 3, "")
        || strip(&mut word, "ion", 4, "")
        || strip(&mut word, "ed", 4, "");
    if word.len() > 4 && word.ends_with('e') {
        word.pop();
    }
    // `running` and `run`, `cancelled` and `cancel`
    let bytes = word.as_bytes();
    if bytes.len() > 3 && bytes[bytes.len() - 1] == bytes[bytes.len() - 2] && !word.ends_with("ss") {
        word.pop();
    }
    word
}

/// The tables by the stems of their words: thousands of words are looked up for every document.
static KNOWN: LazyLock<Known> = LazyLock::new(Known::new);

struct Known {
    silent: HashSet<&'static str>,
    acts: HashMap<String, usize>,
    others: HashMap<String, Vec<(String, f32)>>,
}

impl Known {
    fn new() -> Self {
        let (mut acts, mut others) = (HashMap::new(), HashMap::<String, Vec<(String, f32)>>::new());
        for (number, row) in ACTS.iter().take(4).enumerate() {
            for word in *row {
                acts.entry(stem(word)).or_insert(number);
            }
        }
        for (table, weight) in [(ACTS, 0.3), (THINGS, 0.4)] {
            for row in table {
                let mut stems: Vec<String> = Vec::new();
                for word in row.iter().map(|word| stem(word)) {
                    if !stems.contains(&word) {
                        stems.push(word);
                    }
                }
                for word in &stems {
                    let known = others.entry(word.clone()).or_default();
                    for other in stems.iter().filter(|other| *other != word) {
                        if !known.iter().any(|(known, _)| known == other) {
                            known.push((other.clone(), weight));
                        }
                    }
                }
            }
        }
        Self { silent: SILENT.iter().copied().collect(), acts, others }
    }
}

/// What else people say for a word: each with how much it counts.
pub(super) fn others(word: &str) -> &'static [(String, f32)] {
    KNOWN.others.get(word).map_or(&[], Vec::as_slice)
}

/// What an act does, as far as its word says.
pub(super) fn act(word: &str) -> Option<usize> {
    KNOWN.acts.get(word).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sentences_become_the_same_words() {
        assert_eq!(words("list_virtualDevices"), words("List the virtual devices"));
        assert_eq!(words("getHTTPServers2"), ["get", "http", "servers2"]);
        assert_eq!(words("PATCH /v1/policies/{policyId}"), ["patch", "policy", "policy"]);
        assert!(words("what is the").is_empty());
    }

    #[test]
    fn endings_do_not_matter() {
        for (one, other) in [
            ("policies", "policy"),
            ("activations", "activation"),
            ("activate", "activation"),
            ("creating", "create"),
            ("cancelled", "cancel"),
            ("addresses", "address"),
            ("prices", "price"),
        ] {
            assert_eq!(stem(one), stem(other), "{one} {other}");
        }
        assert_ne!(stem("status"), stem("state"));
    }

    #[test]
    fn what_people_say_for_the_same_is_known() {
        assert!(others(&stem("remove")).iter().any(|(word, _)| *word == stem("delete")));
        assert!(others(&stem("cost")).iter().any(|(word, _)| *word == stem("price")));
        assert_eq!(act(&stem("drop")), act(&stem("delete")));
    }
}
