//! An audit over several files: nothing is lost while one is left for the next, and a missing one shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bartizan::audit::{
    Audit, Config, FaultKind, Filter, Finish, Record, Report, Sink, Step, query, tail, verify,
};
use bartizan::clock::ManualClock;
use bartizan::json::{Map, Value, json};
use bartizan::redaction::{self, Redactor};

struct Place {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: ManualClock::at(Duration::from_secs(1_700_000_000)),
        }
    }

    fn config(&self) -> Config {
        Config { state: self.folder.path().to_path_buf(), rotate_megabytes: 1, ..Config::default() }
    }

    fn open(&self, config: &Config) -> Arc<Audit> {
        let redactor = Redactor::new(&redaction::Config::default()).unwrap();
        Audit::open(config, redactor, self.clock.clone()).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.config().file()
    }

    fn full(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}.{number:06}", self.file().display()))
    }

    fn files(&self) -> usize {
        let names = fs::read_dir(self.folder.path()).unwrap();
        names.filter(|one| one.as_ref().unwrap().file_name().to_string_lossy().contains(".00")).count()
    }
}

/// About four kilobytes.
async fn call(audit: &Audit, tool: &str) {
    let arguments: Map<String, Value> =
        serde_json::from_value(json!({"note": "lorem ipsum ".repeat(160)})).unwrap();
    let record = Record {
        principal: "key:test",
        transport: "http",
        method: "tools/call",
        tool,
        effect: "read",
        arguments: Some(&arguments),
        ..Record::default()
    };
    let entry = audit.intent(record).await.unwrap();
    entry.reached(Step::Redacted);
    entry.finish(Finish { result: "ok", ..Finish::default() }).await.unwrap();
}

async fn calls(audit: &Audit, count: usize) {
    for number in 0..count {
        call(audit, &format!("tool{number}")).await;
    }
}

#[track_caller]
fn good(file: &Path) -> Report {
    let report = verify(file, None).unwrap();
    assert_eq!(report.fault, None);
    report
}

#[tokio::test]
async fn a_full_file_is_left_for_the_next_and_the_chain_goes_on() {
    let place = Place::new();
    let audit = place.open(&place.config());
    calls(&audit, 1500).await;
    audit.close();
    assert!(place.files() >= 3, "{}", place.files());
    for number in 1..=3 {
        let length = fs::metadata(place.full(number)).unwrap().len();
        assert!((1 << 20..(1 << 20) + 20_000).contains(&length), "{length}");
    }
    let report = good(&place.file());
    assert_eq!((report.calls, report.open_calls), (1500, 0));
    assert_eq!(report.files, place.files() as u64 + 1);
    assert!(verify(&place.file(), Some(report.head.as_str())).unwrap().unproven.is_empty());
    // A head that was noted long ago is in one of them.
    let first = fs::read_to_string(place.full(1)).unwrap();
    let line: Value = serde_json::from_str(first.lines().nth(7).unwrap()).unwrap();
    let noted = verify(&place.file(), line["hash"].as_str()).unwrap();
    assert!(noted.is_good() && noted.unproven[0].contains("line 8 of audit.jsonl.000001"));
    // Questions go through all of them.
    let wanted = Filter { kind: Some("outcome".into()), tool: Some("tool3".into()), ..Filter::default() };
    let mut found = 0;
    query(&place.file(), &wanted, |_| {
        found += 1;
        true
    })
    .unwrap();
    assert_eq!(found, 1);
    let outcomes = Filter { kind: Some("outcome".into()), ..Filter::default() };
    let last = tail(&place.file(), 1400, &outcomes).unwrap();
    assert_eq!(
        (last.len(), &last[0]["tool"], &last[1399]["tool"]),
        (1400, &json!("tool100"), &json!("tool1499"))
    );
}

#[tokio::test]
async fn a_missing_or_edited_file_is_named() {
    let place = Place::new();
    let audit = place.open(&place.config());
    calls(&audit, 1500).await;
    drop(audit);
    good(&place.file());
    let whole: Vec<(PathBuf, Vec<u8>)> = (1..=3)
        .map(|number| place.full(number))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();

    for (gone, said) in [(1, "before line 1 of audit.jsonl.000002"), (2, "audit.jsonl.000002 is missing")] {
        let (path, bytes) = &whole[gone - 1];
        fs::remove_file(path).unwrap();
        let fault = verify(&place.file(), None).unwrap().fault.unwrap();
        assert_eq!((fault.kind, fault.line), (FaultKind::Deleted, 1));
        assert!(fault.message.contains(said), "{}", fault.message);
        fs::write(path, bytes).unwrap();
    }
    let (path, bytes) = &whole[1];
    let edited = String::from_utf8(bytes.clone()).unwrap().replacen("\"tool4", "\"tool5", 1);
    fs::write(path, &edited).unwrap();
    let fault = verify(&place.file(), None).unwrap().fault.unwrap();
    assert_eq!((fault.kind, fault.file.as_str()), (FaultKind::Edited, "audit.jsonl.000002"));
    assert!(fault.message.contains("of audit.jsonl.000002 was edited"), "{}", fault.message);
    // Cut off at its end.
    fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(!verify(&place.file(), None).unwrap().is_good());
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    fs::write(path, lines[..lines.len() - 2].concat()).unwrap();
    let fault = verify(&place.file(), None).unwrap().fault.unwrap();
    assert_eq!(fault.kind, FaultKind::Deleted);
    fs::write(path, bytes).unwrap();
    good(&place.file());
    // Without the file that is written to, the kept checkpoint shows that something is gone.
    fs::remove_file(place.file()).unwrap();
    assert_eq!(verify(&place.file(), None).unwrap().fault.unwrap().kind, FaultKind::Truncated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_processes_share_the_files() {
    let place = Place::new();
    let config = place.config();
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let audit = place.open(&config);
            tokio::spawn(async move { calls(&audit, 400).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let report = good(&place.file());
    assert_eq!((report.calls, report.open_calls), (1600, 0));
    assert!(place.files() >= 3);
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_left_behind() {
    let place = Place::new();
    let (one, other) = (place.open(&place.config()), place.open(&place.config()));
    call(&one, "first").await;
    call(&other, "second").await;
    // As somebody's own rotation does it; each of them notices when it writes next.
    fs::rename(place.file(), place.full(1)).unwrap();
    call(&one, "third").await;
    call(&other, "fourth").await;
    call(&one, "fifth").await;
    let written = fs::read_to_string(place.file()).unwrap();
    assert!(!written.contains("second") && written.contains("third") && written.contains("fourth"));
    assert_eq!(good(&place.file()).calls, 5);
    // Whoever renamed it died before it began the next, and nobody else was there.
    drop((one, other));
    fs::rename(place.file(), place.full(2)).unwrap();
    let late = place.open(&place.config());
    call(&late, "sixth").await;
    drop(late);
    let report = good(&place.file());
    assert_eq!((report.calls, report.files), (6, 3));
}

#[tokio::test]
async fn old_files_are_deleted_only_when_that_was_said_and_the_chain_says_so() {
    let place = Place::new();
    let config = Config { keep: 2, ..place.config() };
    let audit = place.open(&config);
    calls(&audit, 1800).await;
    drop(audit);
    assert_eq!(place.files(), 2);
    assert!(!place.full(1).exists());
    let report = good(&place.file());
    assert!(report.unproven.iter().any(|said| said.contains("[audit] keep")), "{:?}", report.unproven);
    // One more than was said.
    let oldest = (1..20).map(|number| place.full(number)).find(|path| path.exists()).unwrap();
    fs::remove_file(oldest).unwrap();
    assert_eq!(verify(&place.file(), None).unwrap().fault.unwrap().kind, FaultKind::Deleted);
}

#[tokio::test]
async fn a_file_is_full_by_age_too_and_never_when_that_was_said() {
    let place = Place::new();
    let config = Config { rotate_megabytes: 0, rotate_days: 7, ..place.config() };
    let audit = place.open(&config);
    calls(&audit, 300).await;
    place.clock.advance(Duration::from_secs(6 * 24 * 3600));
    call(&audit, "sixth day").await;
    assert_eq!(place.files(), 0);
    place.clock.advance(Duration::from_secs(2 * 24 * 3600));
    call(&audit, "eighth day").await;
    assert_eq!(place.files(), 1);
    call(&audit, "eighth day").await;
    assert_eq!(place.files(), 1);
    drop(audit);
    assert_eq!(good(&place.file()).calls, 303);
}

#[tokio::test]
async fn a_file_that_cannot_be_renamed_is_written_on() {
    let place = Place::new();
    // One letter more than this is no name.
    let name = format!("{}.jsonl", "a".repeat(244));
    let file = place.folder.path().join(name);
    let audit = place.open(&Config { path: Some(file.clone()), ..place.config() });
    calls(&audit, 600).await;
    drop(audit);
    let report = good(&file);
    assert_eq!((report.calls, report.files), (600, 1));
    assert!(fs::metadata(&file).unwrap().len() > 3 << 19);
}

/// Not a test by itself: a process of the next test, which may open few files.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the parent says through the environment where")]
async fn as_a_process_of_few_descriptors() {
    let Ok(state) = std::env::var("AUDIT_FILES_STATE") else { return };
    let place = Place::new();
    let config = Config { state: PathBuf::from(state), ..place.config() };
    let audit = place.open(&config);
    calls(&audit, 700).await;
    let mut taken = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        assert!(taken.len() < 1000, "descriptors are limited");
        taken.push(file);
    }
    // The second file is full within these, and nobody can see what the first one is called.
    let note = "lorem ipsum ".repeat(160);
    let mut refused = 0;
    for _ in 0..1000 {
        refused += u32::from(audit.event("note", &json!({"note": note})).await.is_err());
    }
    assert!((1..1000).contains(&refused), "{refused} were refused");
    taken.clear();
    calls(&audit, 300).await;
}

#[test]
fn a_folder_that_cannot_be_listed_costs_calls_but_no_file() {
    let place = Place::new();
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" --exact audit_files::as_a_process_of_few_descriptors"])
        .arg(std::env::current_exe().unwrap())
        .env("AUDIT_FILES_STATE", place.folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "calls were refused, and then again not");
    let report = good(&place.file());
    assert_eq!((report.calls, report.open_calls), (1000, 0));
    assert!(place.full(1).exists() && place.full(2).exists());
}

#[test]
fn a_process_that_starts_while_another_leaves_the_file_goes_on_where_the_chain_is() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let early = place.open(&place.config());
    runtime.block_on(calls(&early, 3));
    early.close();
    let held = fs::File::open(place.file()).unwrap();
    held.lock().unwrap();
    let file = place.file();
    let open = || {
        let all = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        all.filter(|one| fs::read_link(one.path()).is_ok_and(|name| name == file)).count()
    };
    let before = open();
    std::thread::scope(|scope| {
        let late = scope.spawn(|| place.open(&place.config()));
        let deadline = Instant::now() + Duration::from_secs(4);
        while open() <= before && Instant::now() < deadline {
            std::thread::yield_now();
        }
        // It has opened the file and waits for its lock. The file is full now, and a third begins the next.
        fs::rename(place.file(), place.full(1)).unwrap();
        let third = place.open(&place.config());
        runtime.block_on(calls(&third, 3));
        held.unlock().unwrap();
        let late = late.join().unwrap();
        runtime.block_on(calls(&late, 2));
    });
    drop(early);
    assert_eq!(good(&place.file()).calls, 8);
}

#[tokio::test]
async fn a_file_whose_last_line_cannot_be_named_is_not_deleted() {
    let place = Place::new();
    let config = Config { keep: 1, ..place.config() };
    let audit = place.open(&config);
    while !place.full(1).exists() {
        calls(&audit, 20).await;
    }
    let whole = fs::read(place.full(1)).unwrap();
    fs::write(place.full(1), "what was a line is none any more\n".repeat(50_000)).unwrap();
    while !place.full(3).exists() {
        calls(&audit, 20).await;
    }
    drop(audit);
    assert!(place.full(1).exists() && place.full(2).exists());
    let deleted = |name: &str| {
        let files =
            [place.full(2), place.full(3), place.file()].map(|file| fs::read_to_string(file).unwrap());
        files.iter().any(|text| text.contains("audit_file_deleted") && text.contains(name))
    };
    assert!(!deleted("audit.jsonl.000001"));
    // With its lines back, all of it is whole; and the next time there is something to delete, it is.
    fs::write(place.full(1), whole).unwrap();
    good(&place.file());
    let audit = place.open(&config);
    while !place.full(4).exists() {
        calls(&audit, 20).await;
    }
    drop(audit);
    assert_eq!(place.files(), 1);
    good(&place.file());
}

#[derive(Default)]
struct Collected {
    lines: Mutex<Vec<Value>>,
    more: tokio::sync::Notify,
}

impl Sink for Collected {
    fn name(&self) -> &'static str {
        "collected"
    }

    fn take(
        &self,
        lines: Vec<Arc<str>>,
    ) -> Pin<Box<dyn Future<Output = bartizan::error::Result<()>> + Send + '_>> {
        let read = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        self.lines.lock().unwrap().extend(read);
        self.more.notify_one();
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn copies_have_every_line_also_of_a_file_that_is_left() {
    let place = Place::new();
    let config = Config { keep: 1, ..place.config() };
    let audit = place.open(&config);
    let sink = Arc::new(Collected::default());
    audit.copy_to(sink.clone());
    while !place.full(2).exists() {
        calls(&audit, 20).await;
    }
    let last = tail(&place.file(), 1, &Filter::default()).unwrap()[0]["seq"].as_u64().unwrap();
    let all_came = async {
        while sink.lines.lock().unwrap().last().is_none_or(|line| line["seq"] != last) {
            sink.more.notified().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all_came).await.expect("the last line came");
    let lines = sink.lines.lock().unwrap();
    let seqs: Vec<u64> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
    for event in ["audit_file_full", "audit_file_deleted"] {
        assert!(lines.iter().any(|line| line["event"] == event), "{event}");
    }
}

#[tokio::test]
async fn another_key_that_signs_is_in_the_audit_and_in_what_is_verified() {
    let place = Place::new();
    let config = place.config();
    let key = config.state.join("audit.key");
    let public = PathBuf::from(format!("{}.pub", place.file().display()));
    let run = async |tool: &str| {
        let audit = place.open(&config);
        call(&audit, tool).await;
        audit.close();
    };
    let made = || {
        let mut found = Vec::new();
        query(&place.file(), &Filter { event: Some("audit key made".into()), ..Filter::default() }, |line| {
            found.push(line["former"].as_str().map(str::to_owned));
            true
        })
        .unwrap();
        found
    };
    let said = |report: &Report| -> Vec<String> {
        report
            .unproven
            .iter()
            .filter(|one| one.contains("key that you noted") || one.contains("another one"))
            .cloned()
            .collect()
    };
    run("one").await;
    run("two").await;
    assert!(made().is_empty() && said(&good(&place.file())).is_empty(), "the first key is no news");
    let former = fs::read_to_string(&public).unwrap();
    // gone
    fs::remove_file(&key).unwrap();
    run("three").await;
    run("four").await;
    assert_eq!(made(), [Some(former.clone())]);
    let found = said(&good(&place.file()));
    assert!(found.len() == 1 && found[0].contains(&former) && found[0].contains("line "), "{found:?}");
    // replaced, and its public half, too
    fs::write(&key, "7".repeat(64)).unwrap();
    fs::remove_file(&public).unwrap();
    run("five").await;
    run("six").await;
    assert_eq!(made(), [Some(former), None]);
    assert_eq!(said(&good(&place.file())).len(), 1);
    // what was not changed is none
    fs::remove_file(&public).unwrap();
    run("seven").await;
    assert_eq!(made().len(), 2);
}
