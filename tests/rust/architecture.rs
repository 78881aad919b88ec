//! Imports point down; one place for each word; every file says what it is.
//!
//! The table below is the house's: it is compared with every `crate::` path in `src/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom: the module, then what it may use.
const TABLE: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("secret", &[]),
    ("clock", &[]),
    ("principal", &[]),
    ("ownership", &[]),
    ("threads", &[]),
    ("json", &["error"]),
    ("protocol", &["error", "json"]),
    ("schema", &["error", "json"]),
    ("policy", &["error", "json", "principal"]),
    ("limits", &["error", "clock", "state"]),
    ("redaction", &["error", "json", "secret"]),
    ("audit", &["error", "json", "clock", "redaction", "ownership", "threads", "telemetry"]),
    ("telemetry", &["error", "redaction"]),
    ("state", &["error", "json", "secret", "clock", "ownership"]),
    ("approvals", &["error", "json", "secret", "clock", "state", "principal", "ownership"]),
    ("tasks", &["error", "json", "clock", "state"]),
    ("freeze", &["error", "json", "clock", "state", "approvals"]),
    (
        "http",
        &[
            "error",
            "json",
            "secret",
            "clock",
            "threads",
            "limits",
            "redaction",
            "state",
            "audit",
            "telemetry",
        ],
    ),
    ("vault", &["error", "json", "secret", "clock", "state", "http", "ownership", "audit", "redaction"]),
    ("relay", &["error", "json", "secret", "clock", "redaction", "audit", "telemetry", "http", "vault"]),
    ("alerts", &["error", "json", "clock", "audit", "telemetry", "relay"]),
    (
        "pipeline",
        &[
            "error",
            "json",
            "clock",
            "principal",
            "protocol",
            "schema",
            "policy",
            "limits",
            "redaction",
            "audit",
            "telemetry",
            "approvals",
            "freeze",
            "state",
        ],
    ),
    ("diagnostics", &["error", "json", "pipeline", "policy", "protocol", "schema", "limits", "principal"]),
    ("catalog", &["error", "policy", "json", "protocol", "pipeline", "schema"]),
    ("search", &["error", "json", "protocol", "schema", "policy", "pipeline", "catalog"]),
    (
        "connectors",
        &[
            "error",
            "json",
            "secret",
            "clock",
            "principal",
            "protocol",
            "schema",
            "policy",
            "http",
            "vault",
            "pipeline",
            "redaction",
            "limits",
            "state",
        ],
    ),
    (
        "transport",
        &[
            "error",
            "json",
            "secret",
            "clock",
            "principal",
            "protocol",
            "limits",
            "telemetry",
            "ownership",
            "state",
        ],
    ),
    ("practice", &["error", "json", "clock", "schema", "connectors", "transport", "policy"]),
    (
        "identity",
        &[
            "error",
            "json",
            "secret",
            "clock",
            "principal",
            "ownership",
            "redaction",
            "audit",
            "state",
            "http",
            "vault",
            "transport",
        ],
    ),
    ("client", &["error", "json", "secret", "protocol", "http"]),
    (
        "server",
        &[
            "error",
            "json",
            "clock",
            "secret",
            "principal",
            "protocol",
            "pipeline",
            "catalog",
            "search",
            "transport",
            "audit",
            "telemetry",
            "policy",
            "schema",
            "redaction",
            "state",
            "tasks",
            "freeze",
        ],
    ),
    (
        "config",
        &[
            "error",
            "ownership",
            "json",
            "limits",
            "redaction",
            "audit",
            "policy",
            "state",
            "transport",
            "http",
            "approvals",
            "tasks",
            "pipeline",
            "vault",
            "connectors",
            "telemetry",
            "alerts",
            "server",
            "protocol",
            "identity",
        ],
    ),
    ("app", ANY_BELOW),
    ("doctor", ANY_BELOW),
    ("evidence", ANY_BELOW),
    ("cli", ANY_BELOW),
    ("binding", ANY_BELOW),
];

/// The edges and the composition root see everything below them.
const ANY_BELOW: &[&str] = &["*"];

/// Words that are said in one folder only.
const HOMES: &[(&str, &str)] =
    &[("pyo3", "binding"), ("reqwest", "http"), ("redis::", "state"), ("Revision::V", "protocol")];

/// Files that may be longer than 500 lines, each with the reason.
const LONG: &[(&str, &str)] = &[];

const MAX_LINES: usize = 520;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root()).unwrap();
    inside.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The text of a file without comments, strings' contents left in.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The code outside of `#[cfg(test)]`, which stands at the foot of a file.
fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or(text)
}

#[test]
fn the_table_has_no_cycle() {
    let table: BTreeMap<&str, &[&str]> = TABLE.iter().copied().collect();
    assert_eq!(table.len(), TABLE.len(), "a module is listed twice");
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < table.len() {
        let ready: Vec<&str> = table
            .iter()
            .filter(|(name, uses)| {
                !done.contains(*name) && (uses.contains(&"*") || uses.iter().all(|used| done.contains(used)))
            })
            .map(|(name, _)| *name)
            .collect();
        assert!(!ready.is_empty(), "a cycle among {:?}", table.keys().filter(|name| !done.contains(**name)));
        done.extend(ready);
    }
}

#[test]
fn imports_point_down() {
    let table: BTreeMap<&str, &[&str]> = TABLE.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in sources(&root()) {
        let module = module_of(&path);
        if module == "lib" {
            continue;
        }
        let Some(uses) = table.get(module.as_str()) else {
            wrong.push(format!("{module} is not in the table"));
            continue;
        };
        let text = code(&path);
        let text = shipped(&text);
        for (start, _) in text.match_indices("crate::") {
            if text[..start].ends_with('$') {
                continue;
            }
            let rest = &text[start + "crate::".len()..];
            let names: Vec<String> = if let Some(group) = rest.strip_prefix('{') {
                let group = &group[..group.find('}').unwrap_or(group.len())];
                group
                    .split(',')
                    .map(|name| name.trim().split("::").next().unwrap_or_default().to_owned())
                    .collect()
            } else {
                vec![rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()]
            };
            for name in names {
                let allowed = name == module || uses.contains(&"*") || uses.contains(&name.as_str());
                if !allowed && table.contains_key(name.as_str()) {
                    wrong
                        .push(format!("{} uses crate::{name}", path.strip_prefix(root()).unwrap().display()));
                }
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "imports that do not point down:\n{}", wrong.join("\n"));
}

#[test]
fn each_word_has_one_home() {
    let mut wrong = Vec::new();
    for path in sources(&root()) {
        let module = module_of(&path);
        let text = code(&path);
        for (word, home) in HOMES {
            if module != *home && shipped(&text).contains(word) {
                wrong.push(format!("{} says {word}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "words outside their home:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_and_fits_in_a_head() {
    let mut wrong = Vec::new();
    for path in sources(&root()) {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with("//!") {
            wrong.push(format!("{name} has no header"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES && !LONG.iter().any(|(long, _)| *long == name) {
            wrong.push(format!("{name} has {lines} lines"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_is_on_the_map() {
    let map = fs::read_to_string(root().join("lib.rs")).unwrap();
    for path in sources(&root()) {
        let module = module_of(&path);
        if module != "lib" {
            assert!(map.contains(&format!("mod {module};")), "{module} is not in lib.rs");
            assert!(TABLE.iter().any(|(name, _)| *name == module), "{module} is not in the table");
        }
    }
}
