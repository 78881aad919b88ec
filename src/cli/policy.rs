//! `bartizan policy`.
//!
//! Owns what a person is told of policies: `check`, `explain`, `test`, `schema`. The idea: the tools are the ones that
//! would be served, the engine is the one that decides, and nothing is called; so what is said here is what happens.
//!
//! Must not: have an opinion of its own on what a policy means.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::args::Source;
use super::policy_args::{CallerFlags, Look};
use super::screen::{Screen, Tone};
use super::settings;
use crate::app::{App, Loader};
use crate::catalog::List;
use crate::config::{Config, Profile};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, json};
use crate::pipeline::ToolSpec;
use crate::policy::{self, Considered, Explanation, Holds, Place, Policy, Verdict};
use crate::principal::{ADMIN, Principal, PrincipalKind, READ, WRITE};

pub(super) async fn run(typed: &Look, loader: Option<&dyn Loader>, screen: Screen) -> Result<()> {
    match typed {
        Look::Check { files, source, json } => check(files, source, *json, loader, screen).await,
        Look::Explain { principal, tool, arguments, caller, source, json } => {
            let bounds = crate::json::Bounds::default();
            let Ok(Value::Object(arguments)) = crate::json::parse(arguments.as_bytes(), &bounds) else {
                return Err(Error::new(
                    Kind::BadArguments,
                    "The arguments are one JSON object, such as {\"size\": 3}.",
                ));
            };
            let house = House::open(source, loader).await?;
            let said =
                house.explain(principal, tool, &arguments, caller).map(|(explanation, offered, lines)| {
                    if *json { screen.json(&whole(&explanation, offered)) } else { lines.show(screen) }
                });
            house.app.close().await?;
            said
        }
        Look::Test { file, source, json } => {
            let cases = cases(file)?;
            let house = House::open(source, loader).await?;
            let outcome = house.test(&cases, *json, screen);
            house.app.close().await?;
            outcome
        }
        Look::Schema { source, json } => {
            let house = House::open(source, loader).await?;
            let policy = Policy::load(&house.config.policy)?;
            let now = house.app.catalog().now();
            let mut tools =
                List::ALL.iter().flat_map(|list| now.list(*list)).map(|entry| entry.spec().resource());
            if *json {
                screen.json(&policy.schema(&mut tools));
            } else {
                screen.line(policy.schema_text(&mut tools)?.trim_end());
            }
            house.app.close().await
        }
    }
}

/// The tools that would be served, and the policies that would hold; these need not be right for that.
struct House {
    app: Arc<App>,
    config: Config,
}

impl House {
    async fn open(source: &Source, loader: Option<&dyn Loader>) -> Result<Self> {
        let config = settings::configuration(source)?;
        let plain = Config { policy: policy::Config::default(), looks: true, ..config.clone() };
        Ok(Self { app: settings::app(plain, loader).await?, config })
    }

    fn policy(&self, profile: Option<&str>) -> Result<Policy> {
        let known = [Profile::Development, Profile::Staging, Profile::Production];
        let profile = match profile {
            None => self.config.profile,
            Some(name) => known.into_iter().find(|profile| profile.name() == name).ok_or_else(|| {
                Error::new(
                    Kind::BadConfig,
                    "There is no such profile; there are development, staging and production.",
                )
            })?,
        };
        Ok(Policy::load(&self.config.policy)?.in_profile(profile.name()))
    }

    fn explain(
        &self,
        principal: &str,
        tool: &str,
        arguments: &Map<String, Value>,
        caller: &CallerFlags,
    ) -> Result<(Explanation, bool, Lines)> {
        let policy = self.policy(caller.profile.as_deref())?;
        let now = self.app.catalog().now();
        let entry = now.tool(tool).ok_or_else(|| self.no_tool(tool))?;
        let principal = named(principal, caller, &self.config);
        let mut lines = Lines::default();
        let offered = self.config.offer.passes(&entry.spec().resource());
        let explanation = policy.why(&principal, &entry.spec().resource(), arguments);
        tell(&mut lines, &explanation, (&principal, entry.spec(), policy.profile()), offered);
        if caller.scopes.is_none() {
            lines.add(
                Tone::Note,
                "assumed",
                "the scopes read, write and admin; name others with --scopes".into(),
            );
        }
        Ok((explanation, offered, lines))
    }

    fn no_tool(&self, name: &str) -> Error {
        let now = self.app.catalog().now();
        let names = now.list(List::Tools).iter().map(|entry| entry.spec().name.clone());
        let nearest = names
            .map(|known| (strsim::normalized_damerau_levenshtein(&known, name), known))
            .filter(|(likeness, _)| *likeness > 0.5)
            .max_by(|(one, _), (other, _)| one.total_cmp(other));
        let hint = nearest.map_or_else(
            || String::from("`bartizan tools --full` lists them"),
            |(_, known)| format!("did you mean {known}?"),
        );
        Error::new(Kind::NoSuchTool, format!("There is no tool of that name here: {hint}"))
    }

    fn test(&self, cases: &[Case], as_json: bool, screen: Screen) -> Result<()> {
        let mut policies: BTreeMap<Option<&str>, Policy> = BTreeMap::new();
        let now = self.app.catalog().now();
        let mut rows = Vec::new();
        let mut wrong = 0;
        for (index, case) in cases.iter().enumerate() {
            let profile = case.profile.as_deref();
            let policy = match policies.entry(profile) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(self.policy(profile)?),
            };
            let label = case.name.clone().unwrap_or_else(|| format!("case {}", index + 1));
            let entry = now.tool(&case.tool).ok_or_else(|| {
                Error::new(Kind::NoSuchTool, format!("{label}: {}", self.no_tool(&case.tool).message()))
            })?;
            let caller = CallerFlags {
                roles: case.roles.clone(),
                scopes: case.scopes.clone(),
                tenant: case.tenant.clone(),
                profile: None,
            };
            let principal = named(&case.principal, &caller, &self.config);
            let explanation = policy.why(&principal, &entry.spec().resource(), &case.arguments);
            let offered = self.config.offer.passes(&entry.spec().resource());
            let got = if offered { explanation.judgement.verdict } else { Verdict::Deny };
            let by: Vec<&str> = explanation.judgement.policies.iter().map(|id| &**id).collect();
            let other_policies = case.policies.as_ref().is_some_and(|wanted| {
                let mut wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
                wanted.sort_unstable();
                wanted != by
            });
            let good = got == case.expect && !other_policies;
            wrong += usize::from(!good);
            if !as_json {
                let mark =
                    if good { screen.paint(Tone::Good, "ok   ") } else { screen.paint(Tone::Bad, "wrong") };
                screen.line(&format!("{mark} {label}"));
                if !good {
                    let mut lines = Lines::default();
                    if other_policies {
                        let wanted = case.policies.as_deref().unwrap_or_default().join(", ");
                        lines.add(Tone::Plain, "expected", format!("{} by {wanted}", case.expect.name()));
                    } else {
                        lines.add(Tone::Plain, "expected", case.expect.name().into());
                    }
                    tell(&mut lines, &explanation, (&principal, entry.spec(), policy.profile()), offered);
                    lines.show(screen);
                }
            }
            rows.push(json!({
                "name": label, "ok": good, "expected": case.expect, "got": got, "policies": by,
            }));
        }
        if as_json {
            screen.json(&json!({"ok": wrong == 0, "cases": rows}));
        } else if wrong == 0 {
            screen
                .line(&screen.paint(Tone::Good, &format!("All {} cases came out as expected.", cases.len())));
        }
        if wrong == 0 {
            return Ok(());
        }
        Err(Error::new(
            Kind::Internal,
            format!("{wrong} of {} cases came out otherwise than expected.", cases.len()),
        ))
    }
}

/// A caller of that name; what it may do is what was said of it.
fn named(name: &str, caller: &CallerFlags, config: &Config) -> Principal {
    let kind = match name.split(':').next() {
        Some("local") => PrincipalKind::Local,
        Some("key") => PrincipalKind::ApiKey,
        Some("cert") => PrincipalKind::Certificate,
        Some("anonymous") => PrincipalKind::Anonymous,
        Some("process") => PrincipalKind::Process,
        _ => PrincipalKind::Token,
    };
    let scopes = match &caller.scopes {
        Some(scopes) => scopes.iter().filter(|scope| !scope.is_empty()).cloned().collect(),
        None => [READ, WRITE, ADMIN].map(String::from).into(),
    };
    Principal {
        scopes,
        roles: caller.roles.iter().cloned().collect(),
        tenant: caller.tenant.clone(),
        may_approve: config.approvals.trust_clients.iter().any(|trusted| trusted == name),
        ..Principal::new(name, kind)
    }
}

async fn check(
    files: &[PathBuf],
    source: &Source,
    as_json: bool,
    loader: Option<&dyn Loader>,
    screen: Screen,
) -> Result<()> {
    let mut house = House::open(source, loader).await?;
    if let Some((first, others)) = files.split_first() {
        if let Some(other) = files.iter().find(|file| file.extension().is_none_or(|end| end != "cedar")) {
            let message = format!("{} does not end in .cedar; name policy files.", other.display());
            return Err(Error::new(Kind::BadConfig, message));
        }
        house.config.policy =
            policy::Config { set: first.to_string_lossy().into_owned(), files: others.to_vec() };
    }
    let now = house.app.catalog().now();
    let specs = || List::ALL.iter().flat_map(|list| now.list(*list)).map(|entry| entry.spec().resource());
    let loaded = Policy::load(&house.config.policy);
    let mut rows: Vec<(bool, String, Value)> = Vec::new();
    let mut count = 0;
    match &loaded {
        Err(error) => rows.push((true, error.message().to_owned(), json!({}))),
        Ok(policy) => {
            count = policy.count();
            for finding in policy.findings(&mut specs()) {
                let place = json!({"policy": finding.policy, "file": finding.file, "line": finding.line});
                rows.push((finding.fatal, finding.to_string(), place));
            }
        }
    }
    let tools = specs().count();
    house.app.close().await?;
    let wrong = rows.iter().filter(|(fatal, ..)| *fatal).count();
    if as_json {
        let findings: Vec<Value> = rows
            .into_iter()
            .map(|(fatal, text, mut row)| {
                row["severity"] = json!(if fatal { "error" } else { "note" });
                row["message"] = json!(text);
                row
            })
            .collect();
        screen.json(&json!({"ok": wrong == 0, "policies": count, "tools": tools, "findings": findings}));
    } else {
        for (fatal, text, _) in &rows {
            let label =
                if *fatal { screen.paint(Tone::Bad, "error") } else { screen.paint(Tone::Note, "note ") };
            screen.line(&format!("{label} {text}"));
        }
        if wrong == 0 {
            let (policies, s) =
                (if count == 1 { "policy" } else { "policies" }, if tools == 1 { "" } else { "s" });
            let text = format!("All is well: {count} {policies}, checked against {tools} tool{s}.");
            screen.line(&screen.paint(Tone::Good, &text));
        }
    }
    if wrong == 0 {
        return Ok(());
    }
    Err(Error::new(Kind::BadConfig, "These policies cannot be used; mend what is marked `error` above."))
}

/// Labelled lines for people.
#[derive(Default)]
struct Lines(Vec<(Tone, &'static str, String)>);

impl Lines {
    fn add(&mut self, tone: Tone, label: &'static str, text: String) {
        self.0.push((tone, label, text));
    }

    fn show(&self, screen: Screen) {
        for (tone, label, text) in &self.0 {
            screen.line(&format!("      {label:<12} {}", screen.paint(*tone, text)));
        }
    }
}

fn at(place: &Place) -> String {
    let line = place.line.map(|line| format!(", line {line}")).unwrap_or_default();
    format!("{} ({}{line})", place.id, place.file)
}

fn tell(
    lines: &mut Lines,
    explanation: &Explanation,
    (principal, spec, profile): (&Principal, &ToolSpec, &str),
    offered: bool,
) {
    let verdict = if offered { explanation.judgement.verdict } else { Verdict::Deny };
    let tone = match verdict {
        Verdict::Allow => Tone::Good,
        Verdict::Ask => Tone::Strong,
        Verdict::Deny => Tone::Bad,
    };
    let may = if verdict == Verdict::Deny { "may not" } else { "may" };
    let after = if verdict == Verdict::Ask { " once a person has agreed" } else { "" };
    let what = format!(
        "{}: {} {may} call {} ({}) in the profile {profile}{after}",
        verdict.name(),
        principal.id,
        spec.name,
        spec.effect.name()
    );
    lines.add(tone, "verdict", what);
    if !offered {
        lines.add(
            Tone::Plain,
            "because",
            "[offer] of the configuration switches the tool off, whatever policies say".into(),
        );
        return;
    }
    for place in &explanation.deciding {
        let verb = if place.permits { "permitted by" } else { "forbidden by" };
        lines.add(Tone::Plain, verb, at(place));
    }
    if !explanation.one_of.is_empty() {
        lines.add(
            Tone::Plain,
            "scopes",
            format!("the caller needs one of {}", explanation.one_of.join(", ")),
        );
    }
    if !explanation.all_of.is_empty() {
        lines.add(
            Tone::Plain,
            "scopes",
            format!("this tool needs {} as well", explanation.all_of.join(", ")),
        );
    }
    if verdict == Verdict::Deny {
        for trouble in &explanation.troubles {
            let how = if trouble.absent { "is not given" } else { "is given as something else" };
            let text =
                format!("{} {how}; {} reads it as {}", trouble.argument, trouble.policy, trouble.wanted);
            lines.add(Tone::Plain, "argument", text);
        }
    }
    if verdict == Verdict::Ask {
        let whom = if principal.may_approve {
            "the caller's own client, which the configuration trusts, or an operator (`bartizan approvals`)"
        } else {
            "an operator (`bartizan approvals`)"
        };
        lines.add(Tone::Plain, "asks", whom.into());
    }
    if verdict != Verdict::Allow {
        for considered in &explanation.considered {
            if let Some(text) = hindered(considered, verdict) {
                lines.add(Tone::Note, "milder if", text);
            }
        }
    }
    if verdict == Verdict::Deny {
        let seen = match (explanation.judgement.hidden, explanation.listed) {
            (true, _) => "the caller is told that there is no such tool",
            (false, true) => "the tool is listed: it is not denied for every argument",
            (false, false) => "the tool is not listed; a call is told that policy forbids it",
        };
        lines.add(Tone::Note, "seen as", seen.into());
    }
}

/// What keeps a permit from making the answer milder, where a person could change that.
fn hindered(considered: &Considered, verdict: Verdict) -> Option<String> {
    if !considered.place.permits {
        return (considered.holds == Holds::Yes && verdict == Verdict::Ask)
            .then(|| format!("{} did not forbid it unattended", at(&considered.place)));
    }
    let what = match considered.holds {
        Holds::Yes | Holds::OtherAction => return None,
        Holds::OtherCaller => "were about this caller",
        Holds::OtherTool => "were about this tool",
        Holds::Arguments => "could be given the arguments that it reads",
        Holds::Condition => "had its conditions met",
        Holds::Fails => "did not fail to evaluate",
    };
    Some(format!("{} {what}", at(&considered.place)))
}

fn whole(explanation: &Explanation, offered: bool) -> Value {
    let place = |place: &Place| json!({"id": place.id, "file": place.file, "line": place.line, "permits": place.permits});
    let judgement = &explanation.judgement;
    json!({
        "verdict": if offered { judgement.verdict } else { Verdict::Deny },
        "offered": offered,
        "by": judgement.policies.iter().collect::<Vec<_>>(),
        "hidden": judgement.hidden,
        "listed": explanation.listed,
        "deciding": explanation.deciding.iter().map(place).collect::<Vec<_>>(),
        "missing": {
            "one_of_scopes": explanation.one_of,
            "scopes": explanation.all_of,
            "arguments": explanation.troubles.iter().map(|trouble| json!({
                "argument": trouble.argument, "wanted": trouble.wanted, "absent": trouble.absent,
                "policy": trouble.policy
            })).collect::<Vec<_>>(),
        },
        "action": explanation.action,
        "considered": explanation.considered.iter().map(|considered| {
            let mut row = place(&considered.place);
            row["holds"] = json!(match considered.holds {
                Holds::Yes => "yes",
                Holds::OtherCaller => "other caller",
                Holds::OtherTool => "other tool",
                Holds::OtherAction => "other action",
                Holds::Arguments => "arguments",
                Holds::Condition => "condition",
                Holds::Fails => "fails",
            });
            row
        }).collect::<Vec<_>>(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: Option<String>,
    principal: String,
    tool: String,
    #[serde(default)]
    arguments: Map<String, Value>,
    #[serde(default)]
    roles: Vec<String>,
    scopes: Option<Vec<String>>,
    tenant: Option<String>,
    profile: Option<String>,
    expect: Verdict,
    policies: Option<Vec<String>>,
}

fn cases(file: &Path) -> Result<Vec<Case>> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|cause| {
        Error::new(Kind::BadConfig, format!("The table {shown} cannot be read; check the path."))
            .with_source(cause)
    })?;
    let bad = |line: Option<usize>, cause: Box<dyn std::error::Error + Send + Sync>| {
        let at = line.map(|line| format!(" (line {line})")).unwrap_or_default();
        let message =
            format!("The table {shown}{at} is not one of cases; see `bartizan policy test --help`.");
        Error::new(Kind::BadConfig, message).with_source(cause)
    };
    let table: Table = if file.extension().is_some_and(|end| end == "json") {
        serde_json::from_str(&text).map_err(|cause| bad(Some(cause.line()), Box::new(cause)))?
    } else {
        toml::from_str(&text).map_err(|cause| {
            let at = cause.span().and_then(|span| text.get(..span.start));
            bad(at.map(|before| before.matches('\n').count() + 1), Box::new(cause))
        })?
    };
    if table.case.is_empty() {
        return Err(Error::new(Kind::BadConfig, format!("The table {shown} holds no case.")));
    }
    Ok(table.case)
}
