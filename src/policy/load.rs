//! From policy texts to policies that were checked.
//!
//! Owns parsing, ids, the Cedar schema and its validation. The idea: everything that can be wrong with a policy is
//! found when it is loaded, and the message names the policy and the line.
//!
//! Must not: decide a call.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use cedar_policy::{
    Effect as CedarEffect, Policy as CedarPolicy, PolicyId, PolicySet, Schema, ValidationError,
    ValidationMode, ValidationWarning, Validator,
};
use miette::Diagnostic;

use super::Config;
use super::published;
use super::reads::{Odd, Reads};
use crate::error::{Error, Kind, Result};
use crate::json::{Digest, Value};

const PRESETS: &[(&str, &str)] = &[
    ("read-only", include_str!("presets/read-only.cedar")),
    ("standard", include_str!("presets/standard.cedar")),
    ("admin", include_str!("presets/admin.cedar")),
];

/// One policy and what is known about it.
pub(super) struct Rule {
    pub(super) policy: CedarPolicy,
    /// What it reads of the arguments.
    pub(super) reads: Reads,
    /// A refusal by it is said, not hidden.
    pub(super) said: bool,
    /// The index of the file it came from.
    file: usize,
    /// The line it begins at.
    line: Option<usize>,
}

/// All policies, checked.
pub(super) struct Loaded {
    /// What decides a call.
    pub(super) set: PolicySet,
    /// What decides whether a tool is listed: the same without what depends on arguments.
    pub(super) listing: PolicySet,
    pub(super) rules: Vec<Rule>,
    pub(super) reads: Reads,
    /// Whether any policy may tell tools apart by their name or address.
    pub(super) by_name: bool,
    pub(super) version: String,
    /// The names of the files, and the digests of their texts.
    pub(super) files: Vec<(String, String)>,
}

impl Loaded {
    /// Where a policy is written.
    pub(super) fn place(&self, rule: &Rule) -> (&str, Option<usize>) {
        (self.files.get(rule.file).map_or("", |(name, _)| name), rule.line)
    }
}

/// Reads and checks what the configuration names.
pub(super) fn load(config: &Config) -> Result<Loaded> {
    let preset = PRESETS.iter().find(|(name, _)| *name == config.set);
    let mut sources = vec![match preset {
        Some((name, text)) => Source { name: (*name).to_owned(), text: (*text).to_owned() },
        None if Path::new(&config.set).extension().is_some_and(|end| end == "cedar") => {
            file(config.set.as_ref())?
        }
        None => {
            return Err(bad(
                "The policy set is not known; use read-only, standard, admin, or the path of a .cedar file.",
            ));
        }
    }];
    for path in &config.files {
        sources.push(file(path)?);
    }
    // The presets alone are validated by a test, not at every start.
    let loaded = gather(&sources)?;
    if preset.is_none() || sources.len() > 1 {
        validate(&loaded, &sources)?;
    }
    Ok(loaded)
}

/// Checks these policies and nothing else.
pub(super) fn check(sources: &[Source]) -> Result<Loaded> {
    let loaded = gather(sources)?;
    validate(&loaded, sources)?;
    Ok(loaded)
}

pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

fn file(path: &Path) -> Result<Source> {
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => Ok(Source { name, text }),
        Err(cause) => {
            Err(bad(format!("The policy file {name} cannot be read; check the path.")).with_source(cause))
        }
    }
}

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Kind::BadConfig, message)
}

fn gather(sources: &[Source]) -> Result<Loaded> {
    let mut by_name = false;
    let mut rules = Vec::new();
    let mut reads = Reads::default();
    let mut set = PolicySet::new();
    let mut listing = PolicySet::new();
    for (index, source) in sources.iter().enumerate() {
        for rule in parse(source, index)? {
            let id = rule.policy.id().to_string();
            if set.policy(rule.policy.id()).is_some() {
                return Err(bad(format!(
                    "Two policies have the id {id} ({}); give each its own @id.",
                    source.name
                )));
            }
            by_name |= names_tools(&rule.policy)?;
            reads.join(&rule.reads).map_err(|odd| strange(&odd, &id, source, &rule.policy))?;
            set.add(rule.policy.clone()).map_err(|cause| twice(&id, source).with_source(cause))?;
            if let Some(policy) = without_arguments(&rule.policy)? {
                listing.add(policy).map_err(|cause| twice(&id, source).with_source(cause))?;
            }
            rules.push(rule);
        }
    }
    // The order of the files is part of the name; the bytes of each are.
    let texts: Vec<String> = sources.iter().map(|source| Digest::of(source.text.as_bytes()).hex()).collect();
    let version = Digest::of(texts.join(" ").as_bytes()).hex()[..16].to_owned();
    let files = sources.iter().map(|source| source.name.clone()).zip(texts).collect();
    Ok(Loaded { set, listing, rules, reads, by_name, version, files })
}

fn twice(id: &str, source: &Source) -> Error {
    bad(format!("The policy {id} ({}) cannot be added; give each policy its own @id.", source.name))
}

fn parse(source: &Source, file: usize) -> Result<Vec<Rule>> {
    let set = PolicySet::from_str(&source.text).map_err(|errors| {
        let at = errors.iter().next().and_then(|error| line(error, &source.text));
        bad(format!(
            "The policy file {} is not valid Cedar{}; see the Cedar policy syntax.",
            source.name,
            at.map(|line| format!(" near line {line}")).unwrap_or_default()
        ))
        .with_source(errors)
    })?;
    if set.templates().next().is_some() {
        return Err(bad(format!(
            "The policy file {} holds a template; write it out as a policy.",
            source.name
        )));
    }
    let mut policies: Vec<&CedarPolicy> = set.policies().collect();
    policies.sort_by_key(|policy| start(policy, &source.text));
    let mut rules = Vec::with_capacity(policies.len());
    for (index, policy) in policies.into_iter().enumerate() {
        let id = policy.annotation("id").map_or_else(
            || {
                let stem = Path::new(&source.name)
                    .file_stem()
                    .map_or("policy".into(), |stem| stem.to_string_lossy());
                format!("{stem}.{}", index + 1)
            },
            String::from,
        );
        let policy = policy.new_id(PolicyId::new(&id));
        let mut reads = Reads::default();
        for condition in conditions(&policy)? {
            reads.add(&condition["body"]).map_err(|odd| strange(&odd, &id, source, &policy))?;
        }
        let said = policy.annotation("said").is_some();
        let line = start(&policy, &source.text).map(|at| line_at(&source.text, at));
        rules.push(Rule { policy, reads, said, file, line });
    }
    Ok(rules)
}

fn conditions(policy: &CedarPolicy) -> Result<Vec<Value>> {
    let json = policy.to_json().map_err(|cause| bad("A policy cannot be analysed.").with_source(cause))?;
    Ok(json["conditions"].as_array().cloned().unwrap_or_default())
}

/// The policy, as far as it does not depend on arguments: a forbid that reads them is left out, a permit keeps its
/// other conditions. What this set denies is denied for every argument.
fn without_arguments(policy: &CedarPolicy) -> Result<Option<CedarPolicy>> {
    let fail = |cause| bad("A policy cannot be analysed.").with_source(cause);
    let mut json = policy.to_json().map_err(fail)?;
    let mut kept = Vec::new();
    let mut dropped = false;
    for condition in conditions(policy)? {
        if Reads::default().add(&condition["body"]).is_ok_and(|any| !any) {
            kept.push(condition);
        } else {
            dropped = true;
        }
    }
    if dropped && policy.effect() == CedarEffect::Forbid {
        return Ok(None);
    }
    json["conditions"] = Value::Array(kept);
    CedarPolicy::from_json(Some(policy.id().clone()), json)
        .map(Some)
        .map_err(|cause| bad("A policy cannot be analysed.").with_source(cause))
}

/// Whether the policy may depend on the name or the address of a tool. In doubt it does.
fn names_tools(policy: &CedarPolicy) -> Result<bool> {
    let json = policy.to_json().map_err(|cause| bad("A policy cannot be analysed.").with_source(cause))?;
    let text = json.to_string();
    Ok(["\"name\"", "\"target\"", "\"Tool\""].iter().any(|word| text.contains(word)))
}

fn validate(loaded: &Loaded, sources: &[Source]) -> Result<()> {
    let set = &loaded.set;
    let schema = Schema::from_json_value(published::base(&loaded.reads.schema())).map_err(|cause| {
        Error::new(Kind::Internal, "The schema of policies is broken.").with_source(cause)
    })?;
    let result = Validator::new(schema).validate(set, ValidationMode::Strict);
    let place = |id: &PolicyId, at: Option<usize>| {
        let Some(rule) = loaded.rules.iter().find(|rule| rule.policy.id() == id) else {
            return id.to_string();
        };
        let (file, line) = loaded.place(rule);
        match at.or(line) {
            Some(line) => format!("{id} ({file}, line {line})"),
            None => format!("{id} ({file})"),
        }
    };
    let exact = |id: &PolicyId, error: &dyn Diagnostic| {
        let rule = loaded.rules.iter().find(|rule| rule.policy.id() == id)?;
        line(error, &sources.get(rule.file)?.text)
    };
    if let Some(error) = result.validation_errors().next() {
        let id = error.policy_id();
        let (place, hint) = (place(id, exact(id, error)), meant(error));
        return Err(bad(format!("The policy {place} {}.{hint}", reason(error))).with_source(error.clone()));
    }
    for warning in result.validation_warnings() {
        if let ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_) =
            warning
        {
            let place = place(warning.policy_id(), None);
            return Err(bad(format!("The policy {place} can never apply; correct or remove it."))
                .with_source(warning.clone()));
        }
    }
    Ok(())
}

/// The name that was probably meant: Cedar suggests names of the schema only.
fn meant(error: &ValidationError) -> String {
    let help = error.help().map(|help| help.to_string()).unwrap_or_default();
    let name = help.strip_prefix("did you mean `").and_then(|rest| rest.split('`').next());
    name.map(|name| format!(" Did you mean {name}?")).unwrap_or_default()
}

/// What a Cedar validation error means, in our words.
fn reason(error: &ValidationError) -> &'static str {
    match error {
        ValidationError::UnrecognizedEntityType(_) => {
            "names an entity type that does not exist; there are Principal, Role, Tenant, Tool, Toolset, Connector and Action"
        }
        ValidationError::UnrecognizedActionId(_) => {
            "names an action that does not exist; there are Action::\"call\" and Action::\"callUnattended\""
        }
        ValidationError::UnsafeAttributeAccess(_) => {
            "reads an attribute that does not exist; a principal has id, kind, scopes, roles, owner, tenant, issuer and bearer, a \
             tool has name, family, effect, toolset, source and target"
        }
        ValidationError::UnsafeOptionalAttributeAccess(_) => {
            "reads an attribute or argument that may be absent; write `has` before it, as in \
             `context.arguments has size && context.arguments.size < 10`"
        }
        ValidationError::UnexpectedType(_) | ValidationError::IncompatibleTypes(_) => {
            "compares or combines values of different types"
        }
        _ => "does not pass Cedar's strict validation",
    }
}

fn strange(odd: &Odd, id: &str, source: &Source, policy: &CedarPolicy) -> Error {
    let at = start(policy, &source.text)
        .map(|at| format!(", line {}", line_at(&source.text, at)))
        .unwrap_or_default();
    bad(match odd {
        Odd::Context => format!(
            "The policy {id} ({}{at}) uses context other than by naming arguments (context.arguments.NAME) or context.profile.",
            source.name
        ),
        Odd::Mixed(path) => format!(
            "The policy {id} ({}{at}) reads the argument {path} as another type than it is read elsewhere.",
            source.name
        ),
    })
}

/// Where the policy starts in its file.
fn start(policy: &CedarPolicy, text: &str) -> Option<usize> {
    text.find(&policy.to_cedar()?)
}

fn line_at(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or(text).matches('\n').count() + 1
}

fn line(error: &dyn Diagnostic, text: &str) -> Option<usize> {
    let at = error.labels()?.next()?.offset();
    Some(line_at(text, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let source = Source { name: "own.cedar".into(), text: text.into() };
        match check(&[source]) {
            Ok(_) => panic!("it was accepted: {text}"),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn presets_are_valid() {
        for (name, text) in PRESETS {
            check(&[Source { name: (*name).to_owned(), text: (*text).to_owned() }]).unwrap();
            assert!(!load(&Config::of(*name)).unwrap().by_name);
        }
        assert!(load(&Config::of("nonsense")).is_err());
        assert!(load(&Config::of("/does/not/exist.cedar")).is_err());
    }

    #[test]
    fn refusals_name_the_policy_and_the_line() {
        let start = "permit (principal, action, resource);\n\n@id(\"second\")\n";
        let with = |text: &str| refusal(&format!("{start}{text}"));
        let bad = with("permit (principal, action, resource) when { resource.colour == \"x\" };");
        assert!(bad.contains("second (own.cedar, line 4)") && bad.contains("attribute"), "{bad}");
        let bad = with("permit (principal, action, resource) when { resource.efect == \"x\" };");
        assert!(bad.contains("Did you mean effect?"), "{bad}");
        let bad = with("permit (principal in Rolle::\"x\", action, resource);");
        assert!(bad.contains("Did you mean Role?"), "{bad}");
        let bad = with("permit (principal, action, resource) when { context.arguments.size < 3 };");
        assert!(bad.contains("second") && bad.contains("`has`"), "{bad}");
        let bad = with("forbid (principal, action == Action::\"destroy\", resource);");
        assert!(bad.contains("action that does not exist"), "{bad}");
        let bad = with("forbid (principal is User, action, resource);");
        assert!(bad.contains("entity type"), "{bad}");
        let bad = with("forbid (principal, action, resource) when { context == {} };");
        assert!(bad.contains("second (own.cedar, line 3)") && bad.contains("context"), "{bad}");
        let bad = with("forbid (principal, action, resource) when { resource.name == 3 };");
        assert!(bad.contains("different types"), "{bad}");
        let bad = with("forbid (principal, action resource);");
        assert!(bad.contains("near line 4"), "{bad}");
        assert!(with("forbid (principal == ?principal, action, resource);").contains("template"));
        assert!(with("@id(\"second\") permit (principal, action, resource);").contains("own.cedar"));
    }

    #[test]
    fn what_depends_on_arguments_does_not_hide() {
        let text = "permit (principal, action, resource) when { resource.effect == \"read\" } \
                    when { context.arguments has a && context.arguments.a == 1 };\
                    forbid (principal, action, resource) when { context.arguments has b };";
        let loaded = check(&[Source { name: "x".into(), text: text.into() }]).unwrap();
        assert_eq!(loaded.listing.policies().count(), 1);
        assert_eq!(loaded.set.policies().count(), 2);
        assert_eq!(loaded.reads.paths.len(), 2);
    }
}
