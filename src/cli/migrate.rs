//! `bartizan config migrate`.
//!
//! Owns what is asked and shown when settings in a file are renamed, and how it is replaced. The idea: the table of old and
//! new names is the configuration's own; comments, order and spaces stay (`renaming.rs`), and every line that changes is
//! shown first. What is written replaces the file whole, for the same owner, and the former one is kept beside it.
//!
//! Must not: write without being told to, or write what the program would then not read.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::renaming::migrated;
use super::screen::{Screen, Tone};
use super::settings;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::json::json;
use crate::ownership::private;

const EXAMPLES: &str = "\
Examples:
  bartizan config migrate bartizan.toml            show what would change
  bartizan config migrate bartizan.toml --write    change it; the former file is kept as bartizan.toml.bak";

/// What can be typed.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Rename the settings that have another name now, and keep everything else as it is.
    #[command(after_help = EXAMPLES)]
    Migrate {
        /// The file; the one that --config or `BARTIZAN_CONFIG` names unless given.
        file: Option<PathBuf>,
        /// The file, as other commands take it.
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
        /// Write the file. Without it nothing is changed.
        #[arg(long)]
        write: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Migrate {
    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        let Action::Migrate { json, .. } = &self.action;
        *json
    }
}

pub(super) fn run(typed: &Migrate, screen: Screen) -> Result<()> {
    let Action::Migrate { file, config, write, json: as_json } = &typed.action;
    let bad = |what: String| Error::new(Kind::BadConfig, what);
    let path = file.clone().or_else(|| config.clone()).or_else(settings::named).ok_or_else(|| {
        bad(String::from("Say which file: bartizan config migrate FILE (or set BARTIZAN_CONFIG)."))
    })?;
    let shown = path.display().to_string();
    let text = fs::read_to_string(&path).map_err(|cause| {
        bad(format!("{shown} cannot be read as text; check the path.")).with_source(cause)
    })?;
    let (fresh, renamed) = migrated(&text, &shown)?;
    if renamed.is_empty() {
        // whatever else is wrong with it is said as a start would say it
        Config::parse(&text, &shown)?;
    }
    let mut kept = None;
    if *write && !renamed.is_empty() {
        Config::parse(&fresh, &shown)?;
        kept = Some(replace(&path, &text, &fresh)?);
    }
    if *as_json {
        let pairs: Vec<_> = renamed.iter().map(|(old, new)| json!({"from": old, "to": new})).collect();
        let kept = kept.as_ref().map(|kept| kept.display().to_string());
        screen.json(&json!({"file": shown, "renamed": pairs, "written": kept.is_some(), "kept": kept}));
        return Ok(());
    }
    if renamed.is_empty() {
        screen.line(&screen.paint(Tone::Good, &format!("{shown} is up to date.")));
        return Ok(());
    }
    for (mark, line) in difference(&text, &fresh) {
        let tone = match mark {
            '-' => Tone::Bad,
            '+' => Tone::Good,
            _ => Tone::Note,
        };
        screen.line(&screen.paint(tone, &format!("{mark} {line}")));
    }
    if let Some(kept) = kept {
        screen.note(&format!("{shown} is written; the former one is kept as {}.", kept.display()));
    } else {
        screen.note(&format!("Nothing was written; do it with: bartizan config migrate {shown} --write"));
        // better known now than after it is written
        if let Err(error) = Config::parse(&fresh, &shown) {
            screen.note(&format!("Afterwards this is still wrong: {}", error.message()));
        }
    }
    Ok(())
}

/// Replaces a file whole, with the owner and mode it has, and keeps the former one beside it.
fn replace(path: &Path, former: &str, fresh: &str) -> Result<PathBuf> {
    let failed = |cause: std::io::Error| {
        let message = if cause.kind() == std::io::ErrorKind::PermissionDenied {
            format!(
                "{} could not be replaced and stay its owner's; it is as it was. Do it as that user.",
                path.display()
            )
        } else {
            format!("{} could not be replaced; it is as it was.", path.display())
        };
        Error::new(Kind::BadConfig, message).with_source(cause)
    };
    // a link stays one
    let place = path.canonicalize().map_err(failed)?;
    let facts = fs::metadata(&place).map_err(failed)?;
    let beside = |ending: &str| {
        let mut name = place.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let write = |at: &Path, text: &str| -> std::io::Result<()> {
        let mut file = private(OpenOptions::new().write(true).create_new(true)).open(at)?;
        let done = file
            .write_all(text.as_bytes())
            .and_then(|()| hand_back(&file, &facts))
            .and_then(|()| file.set_permissions(facts.permissions()))
            .and_then(|()| file.sync_all());
        if done.is_err() {
            let _ = fs::remove_file(at);
        }
        done
    };
    let backups =
        std::iter::once(String::from(".bak")).chain((1..1000).map(|number| format!(".bak.{number}")));
    let mut kept = None;
    for ending in backups {
        match write(&beside(&ending), former) {
            Ok(()) => {
                kept = Some(beside(&ending));
                break;
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(failed(cause)),
        }
    }
    let kept = kept.ok_or_else(|| failed(std::io::ErrorKind::AlreadyExists.into()))?;
    let next = beside(&format!(".{:08x}.new", rand::random::<u32>()));
    let done = write(&next, fresh).and_then(|()| fs::rename(&next, &place));
    done.map_err(|cause| {
        let _ = fs::remove_file(&next);
        failed(cause)
    })?;
    Ok(kept)
}

/// Gives a file to whom the one that it replaces belongs.
#[cfg(unix)]
fn hand_back(file: &fs::File, former: &fs::Metadata) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let own = file.metadata()?;
    if (own.uid(), own.gid()) == (former.uid(), former.gid()) {
        return Ok(());
    }
    fchown(file, Some(former.uid()), Some(former.gid()))
}

#[cfg(not(unix))]
fn hand_back(_file: &fs::File, _former: &fs::Metadata) -> std::io::Result<()> {
    Ok(())
}

/// Lines that differ, and two around each: ` ` stays, `-` goes, `+` comes, `…` is left out.
fn difference<'a>(old: &'a str, new: &'a str) -> Vec<(char, &'a str)> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // how long the longest common rest is
    let mut rest = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for at in (0..old.len()).rev() {
        for to in (0..new.len()).rev() {
            rest[at][to] = if old[at] == new[to] {
                rest[at + 1][to + 1] + 1
            } else {
                rest[at + 1][to].max(rest[at][to + 1])
            };
        }
    }
    let (mut at, mut to, mut all) = (0, 0, Vec::new());
    while at < old.len() || to < new.len() {
        if at < old.len() && to < new.len() && old[at] == new[to] {
            all.push((' ', old[at]));
            (at, to) = (at + 1, to + 1);
        } else if at < old.len() && (to == new.len() || rest[at + 1][to] >= rest[at][to + 1]) {
            all.push(('-', old[at]));
            at += 1;
        } else {
            all.push(('+', new[to]));
            to += 1;
        }
    }
    let near = |index: usize| {
        let around = index.saturating_sub(2)..(index + 3).min(all.len());
        all.get(around).is_some_and(|lines| lines.iter().any(|(mark, _)| *mark != ' '))
    };
    let mut shown: Vec<(char, &str)> = Vec::new();
    for (index, line) in all.iter().enumerate() {
        if near(index) {
            shown.push(*line);
        } else if shown.last().is_none_or(|(mark, _)| *mark != '…') {
            shown.push(('…', ""));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_file_stays_its_owners() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // only root can give a file away; whoever else runs this sees that its own stays its own
        let _ = chown(&path, Some(12_345), Some(54_321));
        let facts = |path: &Path| {
            let facts = fs::metadata(path).unwrap();
            (facts.uid(), facts.gid(), facts.mode() & 0o777)
        };
        let before = facts(&path);
        let kept = replace(&path, "old", "new").unwrap();
        assert_eq!((facts(&path), facts(&kept)), (before, before));
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "old");
    }

    #[test]
    fn the_difference_shows_what_changes_and_a_little_around_it() {
        let (old, new) = ("a\nb\nc\nd\ne\nf\ng", "a\nb\nc\nD\ne\nf\ng");
        let shown: Vec<String> =
            difference(old, new).into_iter().map(|(mark, line)| format!("{mark}{line}")).collect();
        assert_eq!(shown, ["…", " b", " c", "-d", "+D", " e", " f", "…"]);
    }
}
