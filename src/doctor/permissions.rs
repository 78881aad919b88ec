//! What upstream credentials may do beyond what is needed, and which of them are in use.
//!
//! Owns the look at upstream permissions. The idea: what a credential may do and no tool needs is what a thief has for
//! nothing, so it is named; where an API does not tell, that is said in so many words.
//!
//! Must not: log in; what is known was found out before.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Patient, Severity};
use crate::app::Reach;
use crate::approvals::visible;
use crate::error::Result;
use crate::vault::Switch;

const AREA: &str = "upstream permissions";
/// How many names are told of one kind.
const SAID: usize = 20;

pub(super) fn look(patient: &Patient<'_>) -> Result<Vec<Finding>> {
    let mut found: Vec<Finding> =
        patient.reaches.iter().flat_map(|(source, reach)| of(&visible(source), reach)).collect();
    let names = &patient.config.secrets.standby;
    let on = Switch::new(patient.state).on()?;
    for (name, turned) in on.iter().filter(|(name, _)| names.contains_key(*name)) {
        let what =
            format!("the second credential of {name} is in use, since {} switched", visible(&turned.by));
        found.push(
            Finding::new("credentials", Severity::Note, what)
                .mend(format!("once the first is replaced: bartizan credential switch {name} --back")),
        );
    }
    Ok(found)
}

fn of(source: &str, reach: &Reach) -> Vec<Finding> {
    let note = |what: String| Finding::new(AREA, Severity::Note, what);
    match reach {
        Reach::Known { excess, lacking, undeclared } => known(source, excess, lacking, *undeclared),
        Reach::AfterLogin => {
            vec![
                note(format!("{source}: what its credential may do is not known without a login"))
                    .mend("bartizan doctor --login"),
            ]
        }
        Reach::Silent => vec![
            note(format!(
                "{source}: what its credential may do beyond the tools offered here is not known; neither the \
                 credential nor the API tells"
            ))
            .mend("give it the narrowest role that the vendor has"),
        ],
        Reach::Unread(why) => {
            let what = format!("{source}: what its credential may do is not known: {}", why.trim_end_matches('.'));
            vec![note(what)]
        }
    }
}

fn known(
    source: &str,
    excess: &BTreeSet<String>,
    lacking: &BTreeMap<String, BTreeSet<String>>,
    undeclared: usize,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for (tool, missing) in lacking.iter().take(SAID) {
        let what = format!("{source}: its credential lacks what {tool} needs: {}", names(missing));
        let mend = "grant it at the vendor, or do not offer the tool ([offer] without)";
        found.push(Finding::new(AREA, Severity::Warning, what).mend(mend));
    }
    if lacking.len() > SAID {
        let what = format!("{source}: its credential lacks what {} more tools need", lacking.len() - SAID);
        found.push(Finding::new(AREA, Severity::Warning, what));
    }
    if !excess.is_empty() && undeclared == 0 {
        let what =
            format!("{source}: its credential may do what no tool offered here needs: {}", names(excess));
        let mend = "take it away at the vendor, or use a credential that lacks it";
        found.push(Finding::new(AREA, Severity::Warning, what).mend(mend));
    } else if !excess.is_empty() {
        let what = format!(
            "{source}: its credential may do what no tool offered here says it needs: {}; {undeclared} tools do not \
             say what they need, so whether that is too much is not known",
            names(excess)
        );
        let mend = "say it as `permissions` in connector.toml";
        found.push(Finding::new(AREA, Severity::Note, what).mend(mend));
    }
    if found.is_empty() {
        let what = format!("{source}: its credential may do what the tools offered here need, and no more");
        found.push(Finding::new(AREA, Severity::Good, what));
    }
    found
}

fn names(all: &BTreeSet<String>) -> String {
    let mut said: Vec<String> = all.iter().take(SAID).map(|name| visible(name)).collect();
    if all.len() > SAID {
        said.push(format!("and {} more", all.len() - SAID));
    }
    said.join(", ")
}
