//! Commands as processes of their own: what they say, and what they do where they cannot say or write it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bartizan::audit::{self, Audit};
use bartizan::clock::{SystemClock, rfc3339};
use bartizan::json::{Value, json};
use bartizan::redaction::{self, Redactor};

use crate::commands::Place;

/// Not a test: the program, with the words that whoever starts this process has chosen.
#[test]
#[allow(clippy::disallowed_methods, clippy::exit, reason = "here it is the program")]
fn as_the_program() {
    let Ok(words) = std::env::var("PROGRAM_TEST_WORDS") else { return };
    if let Ok(place) = std::env::var("PROGRAM_TEST_OUTPUT") {
        let place = std::fs::OpenOptions::new().write(true).open(place).unwrap();
        rustix::stdio::dup2_stdout(&place).unwrap();
    }
    let words: Vec<String> = serde_json::from_str(&words).unwrap();
    let words = [String::from("bartizan")].into_iter().chain(words).map(OsString::from);
    std::process::exit(bartizan::cli::main(words, None).into());
}

/// The program, as `shell` lets it begin.
fn program(words: &[&str], shell: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{shell} exec \"$0\" --exact processes::as_the_program --nocapture")])
        .arg(std::env::current_exe().unwrap())
        .env("PROGRAM_TEST_WORDS", json!(words).to_string())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

fn said(done: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

impl Place {
    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A command with this configuration.
    fn command(&self, words: &[&str], shell: &str) -> Command {
        program(&[words, &["--config", &self.text("bartizan.toml")]].concat(), shell)
    }

    /// The same, to its end: its exit code, and all that it said.
    fn process(&self, words: &[&str]) -> (i32, String) {
        let done = self.command(words, "").output().unwrap();
        (done.status.code().unwrap(), said(&done))
    }

    /// Lines of an audit of which the last is signed.
    fn audit(&self, lines: usize) {
        let redactor = Redactor::new(&redaction::Config::default()).unwrap();
        let config = audit::Config { state: self.path("state"), ..audit::Config::default() };
        bartizan::state::StateDir::open(&config.state).unwrap();
        let audit = Audit::open(&config, redactor, SystemClock::shared()).unwrap();
        for number in 0..lines {
            audit.note("test", &json!({"number": number, "text": "x".repeat(80)}));
        }
        audit.close();
    }

    fn keys(&self) -> Vec<Value> {
        let text = std::fs::read(self.path("state/keys.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["keys"].as_array().unwrap().clone()
    }
}

#[test]
fn a_version_says_until_when_it_is_supported_and_fails_afterwards() {
    let run = |words: &[&str]| {
        let done = program(words, "").output().unwrap();
        (done.status.code().unwrap(), said(&done))
    };
    // the day of this version and a year; whoever runs this later gets the other answer
    let end = Duration::from_secs(1_795_305_600) + Duration::from_hours(24 * 365);
    let day = &rfc3339(end)[..10];
    let supported = SystemClock::shared().wall() < end;
    let (code, said) = run(&["version", "--check"]);
    assert!(
        said.contains(&format!("bartizan {}", env!("CARGO_PKG_VERSION"))) && said.contains(day),
        "{said}"
    );
    let words = if supported { "supported until" } else { "has not been supported since" };
    assert!(said.contains(words), "{said}");
    assert_eq!(code, if supported { 0 } else { 3 });
    let (code, said) = run(&["version", "--check", "--json"]);
    assert_eq!(code, if supported { 0 } else { 3 });
    let told = said.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()).unwrap();
    assert_eq!(told["supported_until"], day, "{said}");
    assert_eq!(
        (&told["supported"], &told["version"]),
        (&json!(supported), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(run(&["version"]).0, 0, "without --check it is no question");
}

#[test]
fn what_could_not_be_written_is_no_success_and_a_key_nobody_saw_opens_nothing() {
    let place = Place::new("");
    let new = ["key", "new", "--owner", "ann", "--scopes", "read"];
    for more in [&[][..], &["--json"]] {
        let words = [&new, more].concat();
        let full = place.command(&words, "").env("PROGRAM_TEST_OUTPUT", "/dev/full").output().unwrap();
        assert_eq!(full.status.code(), Some(1), "{}", said(&full));
        assert!(said(&full).contains("revoked"), "{}", said(&full));
        assert!(place.keys().is_empty(), "{:?}", place.keys());
    }
    // a reader that has gone has not seen the key either
    let closed = place.command(&new, "").stdout(closed_pipe()).output().unwrap();
    assert_ne!(closed.status.code(), Some(0), "{}", said(&closed));
    assert!(place.keys().is_empty());
    let (code, said_then) = place.process(&new);
    assert_eq!((code, place.keys().len()), (0, 1), "{said_then}");
    // what was shown in part elsewhere: a result is whole, or the command failed
    for words in [&["key", "list"][..], &["doctor"], &["audit", "verify"], &["runbook"]] {
        let mut command = if words == ["runbook"] { program(words, "") } else { place.command(words, "") };
        let done = command.env("PROGRAM_TEST_OUTPUT", "/dev/full").output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{words:?}: {}", said(&done));
    }
    // a kept audit says what became of the keys
    let audited = std::fs::read_to_string(place.path("state/audit.jsonl")).unwrap();
    assert!(audited.contains("key revoked"), "{audited}");
}

/// The end of a pipe that nobody reads any more.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn evidence_of_an_audit_that_was_cut_off_or_removed_names_the_cut() {
    for removed in [false, true] {
        let place = Place::new("");
        place.audit(20);
        let file = place.path("state/audit.jsonl");
        if removed {
            std::fs::remove_file(&file).unwrap();
        } else {
            let text = std::fs::read_to_string(&file).unwrap();
            let cut: String = text.split_inclusive('\n').take(3).collect();
            std::fs::write(&file, cut).unwrap();
        }
        let out = place.text("cut.tar");
        let (code, told) = place.process(&["evidence", "--out", &out]);
        assert_eq!(code, 1, "{told}");
        assert!(told.contains("was cut off") && told.contains("cut.tar"), "{told}");
        assert!(Path::new(&out).exists(), "it is evidence all the same");
        for more in [&[][..], &["--key", &place.text("state/audit.jsonl.pub")], &["--json"]] {
            let done = program(&[&["evidence", "verify", out.as_str()], more].concat(), "").output().unwrap();
            assert_eq!(done.status.code(), Some(1), "{}", said(&done));
            assert!(said(&done).contains("was cut off"), "{}", said(&done));
        }
        // also of the youngest part alone
        let out = place.text("since.tar");
        assert_eq!(place.process(&["evidence", "--since", "2090-01-01", "--out", &out, "--json"]).0, 1);
        assert_eq!(program(&["evidence", "verify", &out], "").output().unwrap().status.code(), Some(1));
    }
}

#[test]
fn evidence_is_taken_where_the_audit_cannot_be_written_and_says_so() {
    let place = Place::new("");
    place.audit(600);
    assert_eq!(place.process(&["doctor"]).0, 0);
    let before = std::fs::read(place.path("state/audit.jsonl")).unwrap();
    assert!(before.len() > 100 * 1024, "{}", before.len());
    // the audit has no room for a line more, other files have some
    let out = place.text("full.tar");
    let words = ["evidence", "--since", "2090-01-01", "--out", &out];
    let done = place.command(&words, "trap '' XFSZ; ulimit -f 180;").output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(said(&done).contains("the audit does not say so"), "{}", said(&done));
    assert_eq!(std::fs::read(place.path("state/audit.jsonl")).unwrap(), before);
    let found = program(&["evidence", "verify", &out], "").output().unwrap();
    assert_eq!(found.status.code(), Some(0), "{}", said(&found));
    assert!(said(&found).contains("the audit does not say so"), "{}", said(&found));
    // where it is no file at all there is none to hand over
    let place = Place::new("[audit]\npath = 'full'\n");
    std::os::unix::fs::symlink("/dev/full", place.path("full")).unwrap();
    let (code, told) = place.process(&["evidence", "--out", &place.text("none.tar")]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("the audit does not say so") && told.contains("no file"), "{told}");
}

#[test]
fn taking_evidence_changes_nothing_but_the_audit() {
    let place = Place::new("");
    assert_eq!(place.process(&["key", "new", "--owner", "ann", "--scopes", "read"]).0, 0);
    assert_eq!(place.process(&["freeze", "writes"]).0, 0);
    assert_eq!(place.process(&["doctor"]).0, 0);
    // what a start would put back or make anew
    std::fs::remove_file(place.path("state/freeze.kept.json")).unwrap();
    std::fs::remove_file(place.path("state/keys.pepper")).unwrap();
    let before = contents(&place.path("state"));
    assert!(before.iter().any(|(name, _)| name.ends_with("freeze.json")), "{before:?}");
    let (code, told) = place.process(&["evidence", "--out", &place.text("one.tar")]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(contents(&place.path("state")), before);
    let bundle = String::from_utf8_lossy(&std::fs::read(place.path("one.tar")).unwrap()).into_owned();
    assert!(bundle.contains("\"frozen\": \"writes\"") && bundle.contains("\"owner\": \"ann\""), "{bundle}");
}

/// Every file and folder but the audit's, with what is in it.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            found.extend(contents(&path));
        } else if !entry.file_name().to_string_lossy().starts_with("audit.jsonl") {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}
