//! `bartizan import`.
//!
//! Owns the folder that is written and what is said of it. The idea: everything is read, judged and proven first; then a
//! folder appears at once or not at all, and nothing that is there already is touched without `--force`.
//!
//! Must not: fetch a document, or set an address or a credential that nobody typed.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use url::Url;

use super::args::Import as Typed;
use super::screen::{Screen, Tone};
use crate::connectors::import::{Answers, Group, Import, Noise, Options, Report, Unmapped, Why};
use crate::error::{Error, Kind, Result};
use crate::json::json;

/// Lines of one part of the report; the rest is in `--json`.
const LINES: usize = 25;
/// Media types that are named.
const MEDIA: usize = 8;

pub(super) fn run(typed: &Typed, screen: Screen) -> Result<()> {
    let bad = |what: &str| Error::new(Kind::BadConfig, what.to_owned());
    if typed.document.to_string_lossy().contains("://") {
        return Err(bad("Nothing is fetched; save the document as a file and give that."));
    }
    let base = typed.base_url.as_deref().map(Url::parse).transpose().map_err(|error| {
        bad("--base-url is no address; write it in full, such as https://api.example.com/v1.")
            .with_source(error)
    })?;
    let options = Options {
        name: typed.name.clone(),
        base,
        plain_http: typed.plain_http,
        overlays: typed.overlays.clone(),
    };
    let import = Import::of(&typed.document, &options)?;
    let folder = typed.into.clone().unwrap_or_else(|| PathBuf::from(&import.report.name));
    write(&folder, &import, typed.force)?;
    let next = next(&folder, &import.report);
    if typed.json {
        let mut shown = json!(import.report);
        shown["folder"] = json!(folder.display().to_string());
        let files = import.files.iter().map(|(_, to)| to.display().to_string());
        shown["files"] =
            std::iter::once(String::from("connector.toml")).chain(files).map(|name| json!(name)).collect();
        shown["next"] = json!(next);
        screen.json(&shown);
    } else {
        tell(&import, &folder, screen);
        screen.line("");
        screen.line(&screen.paint(Tone::Strong, "next"));
        for line in &next {
            screen.line(&format!("  {line}"));
        }
    }
    Ok(())
}

/// What is left to do, as commands.
fn next(folder: &Path, report: &Report) -> Vec<String> {
    let shown = folder.display().to_string();
    // A bare name would be taken for a built-in connector.
    let named = if folder.components().count() > 1 { shown.clone() } else { format!("./{shown}") };
    let mut next = vec![format!("read {}", folder.join("connector.toml").display())];
    if report.base.is_none() {
        next.push(String::from("say `base` there: where requests go"));
    }
    if !report.credentials.is_empty() {
        next.push(String::from("say [credentials] there: how requests are signed"));
    }
    next.push(format!("bartizan check --connector {named}"));
    next.push(match &report.health {
        Some(_) => format!("bartizan check --connector {named} --practice --health"),
        None => format!("bartizan tools --connector {named} --practice"),
    });
    next.push(format!("bartizan serve --connector {named}"));
    next
}

fn tell(import: &Import, folder: &Path, screen: Screen) {
    let report = &import.report;
    let title = if report.title.is_empty() { "the document" } else { &report.title };
    let effects = report.effects;
    let word = if report.operations == 1 { "operation" } else { "operations" };
    screen.line(&format!(
        "{}: {} {word} of {title} {} in {}: {} read, {} write, {} destroy",
        screen.paint(Tone::Strong, &report.name),
        report.operations,
        report.version,
        folder.display(),
        effects.read,
        effects.write,
        effects.destroy,
    ));
    part(screen, "toolsets", report.toolsets.iter().map(group).collect());
    for why in [Why::WordsSayMore, Why::Administers, Why::MovesMoney, Why::Destroys, Why::WordsSayLess] {
        let lines = report.dangers.iter().filter(|one| one.why.contains(&why));
        let lines =
            lines.map(|one| format!("{:<7} {} {} ({})", one.effect.name(), one.method, one.path, one.tool));
        part(screen, why.says(), lines.collect());
    }
    let mut styles = std::collections::BTreeMap::new();
    report.pages.iter().for_each(|one| *styles.entry(one.style.as_str()).or_insert(0_usize) += 1);
    part(
        screen,
        "lists whose pages are followed",
        styles.iter().map(|(style, count)| format!("{count} by {style}")).collect(),
    );
    let blanked = report.redacted.iter().map(|one| format!("{}: {}", one.operation, one.pointers.join(" ")));
    part(screen, "always blanked in results", blanked.collect());
    let named = report.named.iter().map(|host| format!("the document names {host}; only `base` counts"));
    let base = report.base.as_deref().unwrap_or("not said yet");
    part(screen, "where requests go", std::iter::once(format!("base: {base}")).chain(named).collect());
    let none = report.credentials.is_empty().then(|| String::from("the document asks for none"));
    part(
        screen,
        "how requests are signed (remarks in connector.toml)",
        report.credentials.iter().cloned().chain(none).collect(),
    );
    let quota = &report.quota;
    part(
        screen,
        "how fast",
        vec![format!("{} a minute, {} at once: {}", quota.per_minute, quota.burst, quota.why)],
    );
    let answers = &report.answers;
    let noise = report.noise.iter().map(|one| noise(one, answers.json));
    part(screen, "noise in answers (`[response]` in connector.toml)", noise.collect());
    let mut odd = Vec::new();
    if answers.other > 0 {
        let answer = if answers.other == 1 { "operation answers" } else { "operations answer" };
        let media = media(answers);
        odd.push(format!(
            "{} {answer} with something else than JSON, passed on as it is{media}",
            answers.other
        ));
    }
    if answers.unsaid > 0 {
        odd.push(format!("of {} the document does not say what they answer", answers.unsaid));
    }
    part(screen, "answers", odd);
    part(screen, "copied", import.files.iter().map(|(_, to)| to.display().to_string()).collect());
    part(screen, "left out", report.unmapped.iter().map(unmapped).collect());
}

fn group(group: &Group) -> String {
    let Group { name, tools, effects, default } = group;
    let only = if *default { "" } else { "  only where named" };
    format!("{name:<40} {tools:>5} ({} write, {} destroy){only}", effects.write, effects.destroy)
}

/// The media types that are answered most, and how many others there are.
fn media(answers: &Answers) -> String {
    let mut media: Vec<(&String, &usize)> = answers.media.iter().collect();
    media.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let more = media.len().saturating_sub(MEDIA);
    let named = media.iter().take(MEDIA).map(|(media, count)| format!("{media} ({count})"));
    let more = (more > 0).then(|| format!("and {more} more"));
    let named: Vec<String> = named.chain(more).collect();
    if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) }
}

fn noise(one: &Noise, all: usize) -> String {
    let what = if one.left_out { "left out" } else { "yours to decide" };
    format!("{:<28} {what:<15} in {} of {all}: {}", one.drop, one.answers, one.why)
}

fn unmapped(one: &Unmapped) -> String {
    format!("{}: {}", one.place, one.reason)
}

fn part(screen: Screen, title: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    screen.line("");
    let count = if lines.len() > LINES { format!(" ({})", lines.len()) } else { String::new() };
    screen.line(&screen.paint(Tone::Strong, &format!("{title}{count}")));
    let more = lines.len().saturating_sub(LINES);
    for line in lines.into_iter().take(LINES) {
        screen.line(&format!("  {}", one_line(&line)));
    }
    if more > 0 {
        screen.line(&format!("  and {more} more; --json has them all"));
    }
}

/// Names of a document cannot end the line that tells of them, nor begin one.
fn one_line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}

/// Puts the folder there. A new one is made beside its place and moved there whole; with `force` each file is replaced in
/// one step, the manifest last.
fn write(folder: &Path, import: &Import, force: bool) -> Result<()> {
    let failed = |what: &str, cause: std::io::Error| {
        Error::new(Kind::BadConfig, format!("{} {what}; nothing was changed there.", folder.display()))
            .with_source(cause)
    };
    let there = std::fs::symlink_metadata(folder).is_ok();
    let empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if there && !force && !empty {
        return Err(Error::new(
            Kind::BadConfig,
            format!(
                "{} is there already; choose another folder with --into, or replace what is in it with --force.",
                folder.display()
            ),
        ));
    }
    let parent = folder.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|cause| failed("cannot be made", cause))?;
    let beside = parent.join(format!(".bartizan-import-{:016x}", rand::random::<u64>()));
    let done = fill(&beside, import).and_then(|()| {
        if !there {
            return std::fs::rename(&beside, folder);
        }
        let last = std::iter::once(PathBuf::from("connector.toml"));
        for name in import.files.iter().map(|(_, to)| to.clone()).chain(last) {
            let to = folder.join(&name);
            if let Some(parent) = to.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::rename(beside.join(&name), to)?;
        }
        Ok(())
    });
    // Gone already where it was moved.
    let _ = std::fs::remove_dir_all(&beside);
    done.map_err(|cause| failed("cannot be written", cause))
}

fn fill(folder: &Path, import: &Import) -> std::io::Result<()> {
    std::fs::create_dir(folder)?;
    for (from, to) in &import.files {
        let to = folder.join(to);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        put(&to, &std::fs::read(from)?, from)?;
    }
    // it repeats what the document says
    let document = import.files.first().map_or(Path::new(""), |(from, _)| from);
    put(&folder.join("connector.toml"), import.text.as_bytes(), document)
}

/// A new file that nobody reads who could not read what it was made of, and that nobody else can change, whatever the
/// umask: what others can change is not served.
fn put(path: &Path, bytes: &[u8], source: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
        options.mode(0o600 | (std::fs::metadata(source)?.mode() & 0o644));
    }
    #[cfg(not(unix))]
    let _ = source;
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_document_stay_in_their_line() {
        let drop = String::from("**.old\n  **._links\tleft out\r\u{1b}[2K\u{85}x");
        let told = Noise { drop, why: String::from("deprecated"), answers: 1, left_out: false };
        let told = one_line(&noise(&told, 1));
        assert!(told.lines().count() == 1 && !told.contains(char::is_control), "{told:?}");
        assert!(told.contains("yours to decide"), "{told}");
    }

    #[test]
    fn the_most_frequent_media_types_are_named_and_the_others_counted() {
        let of = |media: std::collections::BTreeMap<String, usize>| {
            super::media(&Answers { media, ..Answers::default() })
        };
        assert_eq!(of(std::collections::BTreeMap::new()), "");
        let many = (0..50_000).map(|at| (format!("text/x-{at}"), if at == 49_000 { 7 } else { 1 }));
        let told = of(many.collect());
        assert!(told.starts_with(": text/x-49000 (7), ") && told.ends_with(", and 49992 more"), "{told}");
    }
}
