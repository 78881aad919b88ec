//! Whose files these are, who can read them, and how old the credentials are.
//!
//! Owns the look at the state directory, the configuration and the files behind references. The idea: the same checks that
//! refuse a file when it is used, asked of all of them at once, with the one change of a mode that mends most.
//!
//! Must not: open what is in a file.

use std::path::{Path, PathBuf};

use super::{Finding, Patient, Severity};
use crate::app::accesses;
use crate::error::Result;
use crate::ownership::{self, Care, Exposure, Flaw};
use crate::vault::{Ages, Reference, Stand, Use};

pub(super) fn look(patient: &Patient<'_>) -> Result<Vec<Finding>> {
    let mut found = state(patient.state.path());
    if let Some(file) = patient.file {
        found.extend(one("configuration", file, Care::Trusted));
        if others_read(file) {
            let what = format!("{} can be read by others; it holds no secret", file.display());
            let finding = Finding::new("files", Severity::Note, what);
            // what root has written may be for servers of other users, who have to read it
            let mine = ours(file) && !ownership::is_root();
            let finding = finding.mend(format!("chmod 600 {}", file.display()));
            found.push(if mine { finding.fixed_by(file, 0o600) } else { finding });
        }
    }
    for (source, path) in secrets(patient)? {
        if path.symlink_metadata().is_ok() {
            found.extend(one(&source, &path, Care::Secret));
        }
    }
    if !found.iter().any(|one| one.severity > Severity::Note) {
        found.push(Finding::new("files", Severity::Good, "files are their owner's alone"));
    }
    found.extend(ages(patient)?);
    Ok(found)
}

/// The files behind the references of a configuration, and who needs them.
fn secrets(patient: &Patient<'_>) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut add = |source: &str, reference: &Reference| {
        found.extend(reference.file().map(|path| (format!("{source}: {reference}"), path)));
    };
    for (source, access) in accesses(patient.config)? {
        for way in access.ways() {
            let private = way.references().into_iter().filter(|(_, what)| *what != Use::Public);
            private.for_each(|(reference, _)| add(&source, reference));
        }
    }
    for named in &patient.config.server.sealing_keys {
        if let Ok(reference) = Reference::parse(named) {
            add("sealing_keys", &reference);
        }
    }
    patient.config.tokens.keys.iter().for_each(|key| add("[tokens] keys", key));
    Ok(found)
}

/// One file, and what is wrong with it.
fn one(what: &str, path: &Path, care: Care) -> Option<Finding> {
    let said = match ownership::open(path, care) {
        Ok(_) => return None,
        Err(Flaw::Said(said)) => said,
        Err(Flaw::Io(_)) => {
            let what = format!("{what}: {} cannot be read", path.display());
            return Some(Finding::new("files", Severity::Error, what).mend("check the path and its owner"));
        }
    };
    let finding = Finding::new("files", Severity::Error, format!("{what}: {} {said}", path.display()));
    let mode = if care == Care::Secret { 0o600 } else { 0o644 };
    Some(if said.contains("by others") && ours(path) { finding.fixed_by(path, mode) } else { finding })
}

/// Everything in the state directory is ours alone.
fn state(folder: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), None)];
    while let Some((next, known)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for entry in entries.flatten() {
            let (path, Ok(facts)) = (entry.path(), entry.metadata()) else { continue };
            let known = known.unwrap_or_else(|| entry.file_name().to_str().is_some_and(is_made_here));
            if facts.is_dir() {
                folders.push((path.clone(), Some(known)));
            }
            // public halves are public
            let public = path.extension().is_some_and(|ending| ending == "pub");
            if facts.is_symlink() || public || ownership::exposure(&facts).is_none() {
                continue;
            }
            let mode = if facts.is_dir() { 0o700 } else { 0o600 };
            let finding = Finding::new(
                "files",
                Severity::Error,
                format!("{} in the state directory is not its owner's alone", path.display()),
            )
            .mend(format!("chmod {mode:o} {}", path.display()));
            found.push(if known && ours(&path) { finding.fixed_by(&path, mode) } else { finding });
        }
    }
    found
}

/// Whether that is the name of something that bartizan makes in its state directory.
fn is_made_here(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "ages.json",
        "approvals",
        "audit.key",
        "dpop.key",
        "duties.json",
        "factors",
        "fingerprint.key",
        "freeze.json",
        "freeze.kept.json",
        "handles.key",
        "http.key",
        "instance.key",
        "keys.json",
        "keys.lock",
        "keys.pepper",
        "keys.revoked.json",
        "keys.used.json",
        "limits.json",
        "logins",
        "moved",
        "operators",
        "proofs.mark",
        "sealing.key",
        "spent",
        "standby.json",
        "standby.kept.json",
        "standby.key",
        "tasks",
        "tokens",
    ];
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    let passing = name.starts_with('.') && matches!(ending, Some("lock" | "new"));
    let mark = name.starts_with("store-") && ending == Some("mark");
    NAMES.contains(&name) || name.starts_with("audit.jsonl") || passing || mark
}

/// The state directory itself: where a mode is all that keeps it from being opened.
pub(super) fn folder(path: &Path) -> Option<Finding> {
    let facts = path.symlink_metadata().ok()?;
    let open = facts.is_dir() && ownership::exposure(&facts) == Some(Exposure::Open);
    (open && ownership::settled(path).is_ok()).then(|| {
        let shown = path.display();
        Finding::new(
            "files",
            Severity::Error,
            format!("the state directory {shown} is not its owner's alone"),
        )
        .mend(format!("chmod 700 {shown}"))
        .fixed_by(path, 0o700)
    })
}

fn ages(patient: &Patient<'_>) -> Result<Vec<Finding>> {
    let config = patient.config;
    let days = (config.secrets.warn_days, config.secrets.error_days);
    let ages = Ages::new(patient.state.clone(), patient.clock.clone(), config.profile.name(), days, None);
    let listed = ages.list()?.into_iter().map(|(seen, days, stand)| {
        let what = format!("{} has been in use for {days} days", seen.reference);
        match stand {
            Stand::Fine => Finding::new("ages", Severity::Good, what),
            Stand::Due => Finding::new("ages", Severity::Warning, what).mend("replace it soon"),
            Stand::Overdue => Finding::new("ages", Severity::Error, what).mend("replace it now"),
        }
    });
    Ok(listed.collect())
}

#[cfg(unix)]
fn ours(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let facts = std::fs::symlink_metadata(path);
    facts.is_ok_and(|facts| !facts.is_symlink() && facts.uid() == rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
fn ours(_path: &Path) -> bool {
    false
}

#[cfg(unix)]
fn others_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|facts| facts.permissions().mode() & 0o044 != 0)
}

#[cfg(not(unix))]
fn others_read(_path: &Path) -> bool {
    false
}
