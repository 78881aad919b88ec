//! `bartizan config migrate`.
//!
//! Owns the renaming of settings in a file. The idea: the table of old and new names is the configuration's own; the file
//! is edited as text, so that comments, order and spaces stay, and every line that changes is shown first. What is
//! written replaces the file whole, and the former one is kept beside it.
//!
//! Must not: write without being told to, or write what the program would then not read.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use toml_edit::{DocumentMut, Item, Key, Table, TableLike};

use super::screen::{Screen, Tone};
use super::settings;
use crate::config::{Config, RENAMED};
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

type Pair = (&'static str, &'static str);

/// The text with new names, and which were renamed.
fn migrated(text: &str, place: &str) -> Result<(String, Vec<Pair>)> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let line = error
            .span()
            .map_or(1, |span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
        Error::new(
            Kind::BadConfig,
            format!(
                "{place}, line {line}: this is not valid TOML; check quotes, brackets and the equals sign."
            ),
        )
    })?;
    let mut done = Vec::new();
    whole_tables(&mut document, &mut done);
    for (old, new) in RENAMED {
        if done.contains(&(*old, *new)) {
            continue;
        }
        let twice = || {
            Error::new(
                Kind::BadConfig,
                format!("{place}: `{old}` is called `{new}` now, and both are there; remove one of them."),
            )
        };
        let moved = match (old.split_once('.'), new.split_once('.')) {
            (Some((from, old_key)), Some((to, new_key))) => {
                entry(&mut document, (from, old_key), (to, new_key)).ok_or_else(twice)?
            }
            _ => section(document.as_table_mut(), old, new).ok_or_else(twice)?,
        };
        if moved {
            done.push((*old, *new));
        }
    }
    Ok((document.to_string(), done))
}

/// Tables of which every setting moves to one other table that is not there yet: the table is renamed where it stands.
fn whole_tables(document: &mut DocumentMut, done: &mut Vec<Pair>) {
    let mut tables: Vec<(&str, &str)> = RENAMED
        .iter()
        .filter_map(|(old, new)| Some((old.split_once('.')?.0, new.split_once('.')?.0)))
        .filter(|(from, to)| from != to)
        .collect();
    tables.dedup();
    for (from, to) in tables {
        let moves = |key: &str| {
            let (old, new) = (format!("{from}.{key}"), format!("{to}.{key}"));
            RENAMED.iter().find(|(known, other)| *known == old && *other == new)
        };
        let Some(table) = document.get(from).and_then(Item::as_table_like) else { continue };
        let pairs: Option<Vec<Pair>> = table.iter().map(|(key, _)| moves(key).copied()).collect();
        let Some(pairs) = pairs.filter(|pairs| !pairs.is_empty() && !document.contains_key(to)) else {
            continue;
        };
        if section(document.as_table_mut(), from, to) == Some(true) {
            done.extend(pairs);
        }
    }
}

/// Renames a table in its place, or puts what is in it to what is there under the new name. None if a setting is in both.
fn section(root: &mut Table, old: &str, new: &str) -> Option<bool> {
    let Some((key, mut item)) = root.remove_entry(old) else { return Some(false) };
    if !root.contains_key(new) {
        root.insert_formatted(&named(new, &key), item);
        return Some(true);
    }
    let (from, to) = (item.as_table_like_mut()?, root.get_mut(new)?.as_table_like_mut()?);
    let keys: Vec<String> = from.iter().map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        if to.contains_key(&key) {
            return None;
        }
        to.insert(&key, from.remove(&key)?);
    }
    Some(true)
}

/// Moves one setting. None if it is in both places.
fn entry(document: &mut DocumentMut, (from, old): (&str, &str), (to, new): (&str, &str)) -> Option<bool> {
    let Some(table) = document.get_mut(from).and_then(Item::as_table_like_mut) else { return Some(false) };
    if !table.contains_key(old) {
        return Some(false);
    }
    let formatted = table.get_key_value(old).map(|(key, _)| key.clone());
    let item = table.remove(old)?;
    let emptied = table.is_empty();
    let key = formatted.map_or_else(|| Key::new(new), |key| named(new, &key));
    let target = document.entry(to).or_insert_with(|| Item::Table(Table::new())).as_table_like_mut()?;
    if target.contains_key(new) {
        return None;
    }
    put(target, &key, item);
    if emptied && from != to {
        document.remove(from);
    }
    Some(true)
}

fn put(target: &mut dyn TableLike, key: &Key, item: Item) {
    target.entry_format(key).or_insert(item);
}

/// A key of another name with the spaces and comments of the old one.
fn named(name: &str, like: &Key) -> Key {
    Key::new(name).with_leaf_decor(like.leaf_decor().clone()).with_dotted_decor(like.dotted_decor().clone())
}

/// Replaces a file whole, with the mode it has, and keeps the former one beside it.
fn replace(path: &Path, former: &str, fresh: &str) -> Result<PathBuf> {
    let failed = |cause: std::io::Error| {
        let message = format!("{} could not be replaced; it is as it was.", path.display());
        Error::new(Kind::BadConfig, message).with_source(cause)
    };
    // a link stays one
    let place = path.canonicalize().map_err(failed)?;
    let permissions = fs::metadata(&place).map_err(failed)?.permissions();
    let beside = |ending: &str| {
        let mut name = place.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let write = |at: &Path, text: &str| -> std::io::Result<()> {
        let mut file = private(OpenOptions::new().write(true).create_new(true)).open(at)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(permissions.clone())?;
        file.sync_all()
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

    fn fresh(text: &str) -> String {
        let (fresh, renamed) = migrated(text, "x.toml").unwrap();
        assert!(!renamed.is_empty());
        Config::parse(&fresh, "x.toml").unwrap_or_else(|error| panic!("{error}\n{fresh}"));
        assert!(migrated(&fresh, "x.toml").unwrap().1.is_empty(), "once is enough");
        fresh
    }

    #[test]
    fn comments_order_and_spaces_stay() {
        let text = "# ours\nprofile = \"staging\"   # for now\n\n# how we introduce ourselves\n[server]   # one\nname = \"ours\"  # two\n\
                    \n# deadlines\n[line]\ntimeout_seconds  =  7\n\n[audit]\nkeep = 3\n";
        let expected = text.replace("[server]", "[introduction]").replace("[line]", "[calls]");
        assert_eq!(fresh(text), expected);
    }

    #[test]
    fn settings_move_one_by_one_where_others_stay() {
        let text = "[server]\n# who we are\nname = \"ours\"\npage_size = 7\n\n[approvals]\nexpires_after = 600  # ten minutes\n";
        let done = fresh(text);
        for kept in
            ["# who we are", "page_size = 7", "expires_seconds = 600  # ten minutes", "name = \"ours\""]
        {
            assert!(done.contains(kept), "{kept}:\n{done}");
        }
        let config = Config::parse(&done, "x.toml").unwrap();
        assert_eq!((config.introduction.name.as_str(), config.server.page_size), ("ours", 7));
        assert_eq!(config.approvals.expires_seconds, 600);
    }

    #[test]
    fn every_form_of_a_table_is_read() {
        for text in [
            "line = { timeout_seconds = 7 }",
            "line.timeout_seconds = 7",
            "[line]\ntimeout_seconds = 7\n[calls]\ncoerce = false",
            "server = { name = 'ours' }",
            "server.name = 'ours'\nserver.page_size = 7",
            "[introduction]\ntitle = 'Ours'\n[server]\nname = 'ours'",
        ] {
            let config = Config::parse(&fresh(text), "x.toml").unwrap();
            let moved = config.calls.timeout_seconds == 7 || config.introduction.name == "ours";
            assert!(moved, "{text}");
        }
    }

    #[test]
    fn what_is_said_twice_is_refused_and_what_is_up_to_date_is_left_alone() {
        let error = migrated("[line]\ncoerce = true\n[calls]\ncoerce = false", "x.toml").unwrap_err();
        assert!(error.message().contains("`line`") && error.message().contains("`calls`"), "{error}");
        let error = migrated("[approvals]\nexpires_after = 1\nexpires_seconds = 2", "x.toml").unwrap_err();
        assert!(error.message().contains("both"), "{error}");
        let text = "[calls]\ntimeout_seconds = 7\n[server]\npage_size = 7\n";
        assert_eq!(migrated(text, "x.toml").unwrap(), (String::from(text), Vec::new()));
        assert!(migrated("x = = hunter2", "x.toml").unwrap_err().message().contains("line 1"));
    }

    #[test]
    fn the_difference_shows_what_changes_and_a_little_around_it() {
        let (old, new) = ("a\nb\nc\nd\ne\nf\ng", "a\nb\nc\nD\ne\nf\ng");
        let shown: Vec<String> =
            difference(old, new).into_iter().map(|(mark, line)| format!("{mark}{line}")).collect();
        assert_eq!(shown, ["…", " b", " c", "-d", "+D", " e", " f", "…"]);
    }
}
