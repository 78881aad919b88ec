//! Whether policies and tools fit together.
//!
//! Owns [`check`] and [`Finding`]. The idea: a policy that reads an argument which none of its tools takes says nothing,
//! and nobody notices until it should have said something; so it is refused at the start, with the name that was meant.
//! What may become right later (a tool that is not loaded) is a remark.
//!
//! Must not: decide a call.

use std::cell::OnceCell;
use std::fmt;

use cedar_policy::ResourceConstraint;

use super::Resource;
use super::load::{Loaded, Rule};
use super::reads::Kind;
use super::shape::{At, Members};

/// Something about a policy that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The policies cannot be used as they are.
    pub fatal: bool,
    /// The policy's id.
    pub policy: String,
    /// The file it is in.
    pub file: String,
    /// The line it begins at, where that is known.
    pub line: Option<usize>,
    /// A sentence that begins after "The policy …".
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map(|line| format!(", line {line}")).unwrap_or_default();
        let end = if self.what.ends_with('?') { "" } else { "." };
        write!(out, "The policy {} ({}{line}) {}{end}", self.policy, self.file, self.what)
    }
}

/// A tool's names and the arguments it takes.
struct Taker<'a> {
    resource: Resource<'a>,
    members: OnceCell<Members>,
}

impl Taker<'_> {
    /// What it takes, found when a policy reads any of it.
    fn members(&self) -> &Members {
        self.members.get_or_init(|| Members::of(&self.resource.input.once()))
    }
}

/// What of the policies does not fit these tools.
pub(super) fn check<'a>(loaded: &Loaded, tools: impl Iterator<Item = Resource<'a>>) -> Vec<Finding> {
    let constrained = |rule: &&Rule| {
        !rule.reads.paths.is_empty() || !matches!(rule.policy.resource_constraint(), ResourceConstraint::Any)
    };
    if !loaded.rules.iter().any(|rule| constrained(&rule)) {
        return Vec::new();
    }
    let takers: Vec<Taker<'a>> = tools.map(|resource| Taker { resource, members: OnceCell::new() }).collect();
    let mut found = Vec::new();
    for rule in loaded.rules.iter().filter(constrained) {
        let mut say = |fatal: bool, what: String| {
            let (file, line) = loaded.place(rule);
            found.push(Finding {
                fatal,
                policy: rule.policy.id().to_string(),
                file: file.to_owned(),
                line,
                what,
            });
        };
        let own: Vec<&Taker<'a>> = takers.iter().filter(|taker| names(rule, &taker.resource)).collect();
        if own.is_empty() {
            say(false, nowhere(rule, &takers));
            continue;
        }
        for (path, kind) in &rule.reads.paths {
            if let Some((fatal, what)) = argument(path, kind, &own) {
                say(fatal, what);
            }
        }
    }
    found
}

/// Whether the head of a policy leaves room for that tool.
fn names(rule: &Rule, tool: &Resource<'_>) -> bool {
    let is = |uid: &cedar_policy::EntityUid| {
        let id: &str = uid.id().unescaped();
        match uid.type_name().basename() {
            "Tool" => id == tool.name,
            "Toolset" => super::is_in(tool.toolset, id),
            "Connector" => id == tool.source,
            _ => true,
        }
    };
    match rule.policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
            is(&uid)
        }
    }
}

fn nowhere(rule: &Rule, takers: &[Taker<'_>]) -> String {
    let uid = match rule.policy.resource_constraint() {
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
            Some(uid)
        }
        _ => None,
    };
    let Some(uid) = uid else { return String::from("applies to no tool: none is loaded") };
    let (kind, wanted) = (uid.type_name().basename().to_owned(), uid.id().unescaped().to_owned());
    let there = takers.iter().map(|taker| match kind.as_str() {
        "Toolset" => taker.resource.toolset,
        "Connector" => taker.resource.source,
        _ => taker.resource.name,
    });
    let hint = nearest(&wanted, there).map(|name| format!("; did you mean {kind}::\"{name}\"?"));
    format!("names {kind}::\"{wanted}\", and nothing of that name is loaded{}", hint.unwrap_or_default())
}

/// What is wrong with reading this argument of these tools.
fn argument(path: &[String], kind: &Kind, own: &[&Taker<'_>]) -> Option<(bool, String)> {
    let dotted = path.join(".");
    let mut names: Vec<&str> = Vec::new();
    let mut unfit: Option<(&str, &'static str)> = None;
    let mut fits = false;
    for taker in own {
        match taker.members().at(path) {
            At::Unknown => return None,
            At::Is(shape) if shape.fits(kind) => fits = true,
            At::Is(shape) => unfit = Some((taker.resource.name, shape.name())),
            At::Nothing(others) => names.extend(others),
        }
    }
    let wanted = kind.name();
    match (fits, unfit) {
        (true, None) => None,
        (true, Some((tool, shape))) => Some((
            false,
            format!(
                "reads the argument {dotted} as {wanted}; in {tool} it is {shape}, so calls of that tool that give it are denied"
            ),
        )),
        (false, Some((tool, shape))) => {
            Some((true, format!("reads the argument {dotted} as {wanted}, but in {tool} it is {shape}")))
        }
        (false, None) => {
            let last = path.last().map(String::as_str).unwrap_or_default();
            let inside = if path.len() > 1 {
                format!(" inside {}", path[..path.len() - 1].join("."))
            } else {
                String::new()
            };
            let hint = nearest(last, names.into_iter()).map_or_else(
                || String::from("none of its tools takes one of that name"),
                |name| format!("did you mean {name}?"),
            );
            Some((true, format!("reads the argument {last}{inside}, which does not exist: {hint}")))
        }
    }
}

/// The name that was probably meant.
pub(super) fn nearest<'a>(wanted: &str, there: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    there
        .map(|name| (strsim::normalized_damerau_levenshtein(name, wanted), name))
        .filter(|(likeness, _)| *likeness > 0.5)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}
