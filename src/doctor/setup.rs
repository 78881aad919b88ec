//! What the configuration leaves open, and what no configuration can close.
//!
//! Owns the look at settings, the user and the surroundings. The idea: every relaxation is a choice; here all choices are
//! on one page.
//!
//! Must not: call anything safe that it cannot know.

use super::{Finding, Patient, Severity};
use crate::app::{is_beyond, relaxations};
use crate::approvals::Approvals;
use crate::config::Profile;
use crate::error::Result;
use crate::freeze::{Extent, Freeze};
use crate::ownership;

pub(super) fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let (config, mut found) = (patient.config, Vec::new());
    let relaxed = relaxations(config);
    for one in &relaxed {
        let (setting, value) = (one["setting"].as_str().unwrap_or_default(), &one["value"]);
        // a policy that lets people work is no fault
        let severity = if setting == "policy" { Severity::Note } else { Severity::Warning };
        found.push(Finding::new("settings", severity, format!("relaxed: {setting} = {value}")));
    }
    if relaxed.is_empty() {
        found.push(Finding::new("settings", Severity::Good, "no setting is relaxed; read-only"));
    }
    found.extend(exposure(patient));
    // these keep records in the state directory, which may not take any
    found.extend(people(patient).unwrap_or_else(|error| vec![super::failed("approvals", &error)]));
    found
}

fn people(patient: &Patient<'_>) -> Result<Vec<Finding>> {
    let (config, mut found) = (patient.config, Vec::new());
    let operators = Approvals::open(&config.approvals, patient.state.path(), patient.clock.clone())?;
    if operators.operators()?.is_empty() {
        found.push(
            Finding::new(
                "approvals",
                Severity::Note,
                "no operator is enrolled: nothing can be approved, or unfrozen",
            )
            .mend("bartizan approvals enrol NAME"),
        );
    }
    if operators.stands_apart() {
        let what =
            "another user owns the operators' public keys: a process of this user cannot forge an approval";
        found.push(Finding::new("approvals", Severity::Good, what));
    } else {
        found.push(
            Finding::new(
                "approvals",
                Severity::Warning,
                "another process of the same user could forge approvals: it can put its own key among the operators' \
                 and read every credential of this user",
            )
            .mend("run bartizan as a user of its own, with [approvals] operators in a folder of another user"),
        );
    }
    let freeze = Freeze::look(patient.state.path(), operators, patient.clock.clone());
    if freeze.extent() != Extent::Nothing {
        let what = format!("frozen: {}", freeze.extent().name());
        found.push(Finding::new("freeze", Severity::Note, what).mend("bartizan freeze status"));
    }
    Ok(found)
}

fn exposure(patient: &Patient<'_>) -> Vec<Finding> {
    let (config, mut found) = (patient.config, Vec::new());
    let beyond = is_beyond(config);
    match &config.http.listen {
        None => {
            found.push(Finding::new(
                "exposure",
                Severity::Good,
                "nothing listens: standard input and output",
            ));
        }
        Some(listen) if !beyond => {
            found.push(Finding::new(
                "exposure",
                Severity::Good,
                format!("listens on this machine only: {listen}"),
            ));
        }
        Some(listen) => {
            let what = format!("listens beyond this machine: {listen}");
            found.push(Finding::new("exposure", Severity::Note, what));
            if config.http.tls.is_none() {
                found.push(
                    Finding::new(
                        "exposure",
                        Severity::Error,
                        "keys and results cross the network unencrypted",
                    )
                    .mend("set [http] tls, or put a proxy with TLS on this machine and listen on loopback"),
                );
            }
            if config.http.allow_from.is_none() {
                let what = "every address may try keys";
                found.push(Finding::new("exposure", Severity::Warning, what).mend("set [http] allow_from"));
            }
            if config.contact.security.is_empty() {
                let what = "nobody can tell you of a vulnerability: there is no contact";
                found.push(Finding::new("exposure", Severity::Warning, what).mend("set [contact] security"));
            }
        }
    }
    if ownership::is_root() {
        let severity = if beyond { Severity::Error } else { Severity::Warning };
        found.push(
            Finding::new("user", severity, "runs as root: whatever goes wrong can go everywhere")
                .mend("run it as a user of its own; docs/operations.md has a systemd unit"),
        );
    }
    if !patient.proxies.is_empty() {
        let what = format!(
            "{} is set and not used: proxies of the environment are ignored",
            patient.proxies.join(", ")
        );
        found
            .push(Finding::new("network", Severity::Note, what).mend("if a proxy is needed: [egress] proxy"));
    }
    if config.profile != Profile::Production {
        let what = format!("the profile is {}: not for production credentials", config.profile.name());
        found.push(Finding::new("settings", Severity::Note, what));
    }
    if config.practice {
        found.push(Finding::new(
            "settings",
            Severity::Note,
            "practice: stand-ins answer, no real credential is read",
        ));
    }
    found
}
