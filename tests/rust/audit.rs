//! The audit from outside: every call leaves two lines, and every change to the file shows.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bartizan::audit::{Audit, Config, FaultKind, Filter, Finish, Record, Report, Step, query, tail, verify};
use bartizan::clock::{ManualClock, SystemClock};
use bartizan::error::Kind;
use bartizan::json::{Map, Value, json};
use bartizan::redaction::{self, Redactor};
use bartizan::secret::Secret;
use proptest::prelude::*;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn config(&self) -> Config {
        Config { state: self.folder.path().to_path_buf(), ..Config::default() }
    }

    fn file(&self) -> PathBuf {
        self.config().file()
    }

    fn open(&self) -> Arc<Audit> {
        Self::open_with(&self.config())
    }

    fn open_with(config: &Config) -> Arc<Audit> {
        let redactor = Redactor::new(&redaction::Config {
            fingerprint_key: Some(Secret::new("test installation key")),
            ..redaction::Config::default()
        });
        Audit::open(config, redactor.unwrap(), ManualClock::at(Duration::from_secs(1_700_000_000))).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        lines(&self.file())
    }
}

fn lines(file: &Path) -> Vec<Value> {
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn record(tool: &str) -> Record<'_> {
    Record {
        principal: "key:test",
        transport: "http",
        client: "tester",
        method: "tools/call",
        tool,
        effect: "read",
        request: "1",
        ..Record::default()
    }
}

async fn call(audit: &Audit, tool: &str) {
    let entry = audit.intent(record(tool)).await.unwrap();
    entry.reached(Step::Redacted);
    entry.finish(Finish { result: "ok", ..Finish::default() }).await.unwrap();
}

async fn filled(calls: usize) -> Place {
    let place = Place::new();
    let audit = place.open();
    for number in 0..calls {
        call(&audit, &format!("tool{number}")).await;
    }
    audit.close();
    place
}

fn good(file: &Path) -> Report {
    let report = verify(file, None).unwrap();
    assert_eq!(report.fault, None);
    report
}

#[tokio::test]
async fn a_call_leaves_an_intent_and_an_outcome() {
    let place = Place::new();
    let audit = place.open();
    let arguments: Map<String, Value> = serde_json::from_value(
        json!({"name": "x", "password": "hunter2", "note": "ghp_16C7e42F292c6912E7710c838347Ae178B4a"}),
    )
    .unwrap();
    let entry = audit
        .intent(Record {
            arguments: Some(&arguments),
            client: "evil\u{1b}[31m\"client",
            trace: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
            practice: true,
            ..record("widget_get")
        })
        .await
        .unwrap();
    assert_eq!(place.lines().len(), 1, "the intent is in the file before the call runs");
    let id = entry.id().to_string();
    entry.reached(Step::Executed);
    assert_eq!(entry.step(), Step::Executed);
    let finish = Finish {
        result: "ok",
        event: None,
        verdict: Some("allow"),
        policy: Some("standard/reads"),
        approval: Some("ap_1"),
        approver: Some("ann"),
        upstream: Some("equinix"),
        upstream_status: Some(200),
        upstream_request: Some("req-7"),
        upstream_requests: 3,
        bytes: Some(512),
        untrusted: "instruction",
    };
    entry.finish(finish).await.unwrap();

    let lines = place.lines();
    let (intent, outcome) = (&lines[0], &lines[1]);
    for line in [intent, outcome] {
        assert_eq!(line["id"], id.as_str());
        assert_eq!(line["principal"], "key:test");
        assert_eq!(line["tool"], "widget_get");
        assert_eq!(line["method"], "tools/call");
        assert_eq!(line["time"], "2023-11-14T22:13:20.000Z");
    }
    assert_eq!((&intent["kind"], &outcome["kind"]), (&json!("intent"), &json!("outcome")));
    assert_eq!(intent["client_claimed"], "evil\"client");
    assert_eq!(intent["practice"], true);
    assert_eq!(intent["arguments"]["password"], "[redacted:password]");
    assert!(
        intent["arguments_digest"].as_str().unwrap().starts_with("hmac-sha256:"),
        "what is hidden is not guessable"
    );
    assert_eq!(outcome["step"], "executed");
    assert_eq!(outcome["verdict"], "allow");
    assert_eq!((&outcome["upstream_status"], &outcome["bytes_out"]), (&json!(200), &json!(512)));
    let text = fs::read_to_string(place.file()).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("ghp_16C7") && !text.contains('\u{1b}'));
    assert_eq!(fs::metadata(place.file()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        fs::metadata(place.folder.path().join("audit.key")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(good(&place.file()).calls, 1);
}

#[tokio::test]
async fn plain_arguments_are_shown_and_long_ones_are_cut_and_say_so() {
    let place = Place::new();
    let audit = place.open();
    let short: Map<String, Value> = serde_json::from_value(json!({"b": 1, "a": "x"})).unwrap();
    let long: Map<String, Value> =
        serde_json::from_value(json!({"text": "word ".repeat(5000), "id": 7})).unwrap();
    for arguments in [&short, &long] {
        let entry = audit.intent(Record { arguments: Some(arguments), ..record("t") }).await.unwrap();
        entry.finish(Finish { result: "ok", ..Finish::default() }).await.unwrap();
    }
    let lines = place.lines();
    assert_eq!(lines[0]["arguments"], json!({"b": 1, "a": "x"}));
    let expected = bartizan::json::digest(&json!({"a": "x", "b": 1})).hex();
    assert_eq!(lines[0]["arguments_digest"], format!("sha256:{expected}"));
    assert_eq!(lines[2]["arguments_cut"], json!(["text", "id"]));
    assert!(lines[2]["arguments_bytes"].as_u64().unwrap() > 25_000 && lines[2].get("arguments").is_none());
}

#[tokio::test]
async fn a_dropped_entry_says_how_far_the_call_got() {
    let place = Place::new();
    let audit = place.open();
    drop(audit.intent(record("early")).await.unwrap());
    let late = audit.intent(record("late")).await.unwrap();
    late.reached(Step::Approved);
    drop(late);
    audit.event("auth_failed", &json!({"reason": "unknown key", "token": "abc"})).await.unwrap();
    audit.note("origin_refused", &json!({}));
    audit.close();
    let lines = place.lines();
    assert_eq!((&lines[1]["result"], &lines[1]["step"]), (&json!("cancelled"), &json!("proposed")));
    assert_eq!((&lines[3]["result"], &lines[3]["step"]), (&json!("unknown"), &json!("approved")));
    assert_eq!(lines[4]["detail"], json!({"reason": "unknown key", "token": "[redacted:token]"}));
    assert_eq!(lines[5]["event"], "origin_refused");
    assert_eq!(lines[6]["kind"], "checkpoint");
    assert_eq!(good(&place.file()).open_calls, 0);
}

/// What somebody might do to a file, and what `verify` has to say.
async fn after(change: impl FnOnce(&mut Vec<String>)) -> Report {
    let place = filled(10).await;
    let mut lines: Vec<String> =
        fs::read_to_string(place.file()).unwrap().lines().map(String::from).collect();
    assert_eq!(lines.len(), 21);
    change(&mut lines);
    fs::write(place.file(), lines.join("\n") + "\n").unwrap();
    verify(&place.file(), None).unwrap()
}

fn fault(report: &Report) -> (FaultKind, u64) {
    let fault = report.fault.as_ref().expect("the change shows");
    (fault.kind, fault.line)
}

#[tokio::test]
async fn edits_deletions_and_moves_are_named_with_their_line() {
    let edited = after(|lines| lines[6] = lines[6].replace("tool3", "tool4")).await;
    assert_eq!(fault(&edited), (FaultKind::Edited, 7));
    let garbled = after(|lines| lines[6] = String::from("nothing")).await;
    assert_eq!(fault(&garbled), (FaultKind::Edited, 7));
    let deleted = after(|lines| drop(lines.drain(4..7))).await;
    assert_eq!(fault(&deleted), (FaultKind::Deleted, 5));
    assert!(deleted.fault.unwrap().message.starts_with("3 line(s)"));
    let beheaded = after(|lines| drop(lines.remove(0))).await;
    assert_eq!(fault(&beheaded), (FaultKind::Deleted, 1));
    let swapped = after(|lines| lines.swap(4, 5)).await;
    assert_eq!(fault(&swapped), (FaultKind::Reordered, 5));
    let moved = after(|lines| {
        let line = lines.remove(12);
        lines.insert(3, line);
    })
    .await;
    assert_eq!(fault(&moved), (FaultKind::Reordered, 4));
    let copied = after(|lines| lines.insert(9, lines[2].clone())).await;
    assert_eq!(fault(&copied), (FaultKind::Reordered, 10));
    let untouched = after(|_| {}).await;
    assert!(untouched.is_good() && untouched.checkpoints == 1 && untouched.calls == 10);
}

#[tokio::test]
async fn a_line_that_was_rewritten_with_a_new_hash_breaks_the_next() {
    let place = filled(5).await;
    let other = filled(5).await;
    let mut lines: Vec<String> =
        fs::read_to_string(place.file()).unwrap().lines().map(String::from).collect();
    let forged: Vec<String> = fs::read_to_string(other.file()).unwrap().lines().map(String::from).collect();
    // A genuine first line of another file has a good hash of its own.
    lines[0].clone_from(&forged[0]);
    fs::write(place.file(), lines.join("\n") + "\n").unwrap();
    assert_eq!(fault(&verify(&place.file(), None).unwrap()), (FaultKind::Edited, 1));
    // And a whole file of another installation fails at its checkpoint.
    fs::copy(other.file(), place.file()).unwrap();
    let report = verify(&place.file(), None).unwrap();
    assert!(report.is_good() && report.checkpoints == 0);
    assert!(report.unproven.iter().any(|text| text.contains("public key")), "{:?}", report.unproven);
}

#[tokio::test]
async fn a_forged_checkpoint_shows() {
    let place = filled(3).await;
    let text = fs::read_to_string(place.file()).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.pop().unwrap();
    let signature = serde_json::from_str::<Value>(last).unwrap()["signature"].as_str().unwrap().to_owned();
    let forged = last.replace(&signature, &format!("AAAA{}", &signature[4..]));
    fs::write(place.file(), lines.join("\n") + "\n" + &forged + "\n").unwrap();
    assert_eq!(fault(&verify(&place.file(), None).unwrap()), (FaultKind::Edited, 7));
}

#[tokio::test]
async fn cutting_the_end_off_shows_against_a_head_or_a_checkpoint() {
    let place = filled(6).await;
    let whole = fs::read_to_string(place.file()).unwrap();
    let report = good(&place.file());
    assert!(report.unproven.iter().any(|text| text.contains("--head")), "{:?}", report.unproven);
    let proven = verify(&place.file(), Some(report.head.as_str())).unwrap();
    assert!(proven.is_good() && proven.unproven.is_empty(), "{:?}", proven.unproven);

    let cut = whole.lines().take(8).collect::<Vec<_>>().join("\n") + "\n";
    fs::write(place.file(), &cut).unwrap();
    let by_head = verify(&place.file(), Some(report.head.as_str())).unwrap();
    assert_eq!(fault(&by_head).0, FaultKind::Truncated);
    assert_eq!(
        fault(&verify(&place.file(), None).unwrap()).0,
        FaultKind::Truncated,
        "the kept checkpoint is later"
    );
    // Without either it cannot show, and the report says so.
    fs::remove_file(format!("{}.checkpoint", place.file().display())).unwrap();
    let unproven = good(&place.file()).unproven;
    assert!(unproven.iter().any(|text| text.contains("cut off after line 0")), "{unproven:?}");
    // In the middle of a line it shows by itself.
    fs::write(place.file(), &cut[..cut.len() - 30]).unwrap();
    assert_eq!(fault(&verify(&place.file(), None).unwrap()), (FaultKind::Truncated, 8));
    assert_eq!(verify(&place.file(), Some("short")).unwrap_err().kind(), Kind::BadConfig);
    assert_eq!(verify(Path::new("/nonexistent/audit"), None).unwrap_err().kind(), Kind::BadConfig);
}

#[tokio::test]
async fn a_torn_checkpoint_leaves_the_one_before() {
    let place = Place::new();
    let audit = Place::open_with(&Config { checkpoint_every: 4, ..place.config() });
    for number in 0..20 {
        call(&audit, &format!("tool{number}")).await;
    }
    audit.close();
    let beside = format!("{}.checkpoint", place.file().display());
    let kept = fs::read(&beside).unwrap();
    let newest = |bytes: &[u8]| {
        let seq = |slot: &[u8]| serde_json::from_slice::<Value>(slot.trim_ascii()).ok()?["seq"].as_u64();
        bytes.chunks(512).map(seq).max().unwrap()
    };
    let at = usize::from(newest(&kept[..512]) < newest(&kept)) * 512;
    // The process died while it wrote the newest.
    let mut torn = kept.clone();
    torn[at + 60..at + 512].fill(b'#');
    fs::write(&beside, &torn).unwrap();
    assert!(newest(&torn) < newest(&kept));
    good(&place.file());
    let whole = fs::read_to_string(place.file()).unwrap();
    fs::write(place.file(), whole.lines().take(10).collect::<Vec<_>>().join("\n") + "\n").unwrap();
    assert_eq!(fault(&verify(&place.file(), None).unwrap()).0, FaultKind::Truncated);
}

#[tokio::test]
async fn a_torn_tail_is_sealed_at_the_next_start() {
    for torn in ["{\"seq\":7,\"time\":\"20", "half a line", "x"] {
        let place = filled(3).await;
        fs::OpenOptions::new().append(true).open(place.file()).unwrap().write_all(torn.as_bytes()).unwrap();
        assert!(!verify(&place.file(), None).unwrap().is_good());
        let audit = place.open();
        call(&audit, "after").await;
        drop(audit);
        let report = good(&place.file());
        assert_eq!((report.sealed, report.calls), (1, 4));
    }
}

#[tokio::test]
async fn a_line_that_lacks_only_its_end_is_kept() {
    let place = filled(3).await;
    let length = fs::metadata(place.file()).unwrap().len();
    fs::OpenOptions::new().write(true).open(place.file()).unwrap().set_len(length - 1).unwrap();
    assert!(!verify(&place.file(), None).unwrap().is_good());
    let audit = place.open();
    call(&audit, "after").await;
    drop(audit);
    let report = good(&place.file());
    assert_eq!((report.sealed, report.calls, report.checkpoints), (0, 4, 2));
}

#[tokio::test]
async fn calls_that_a_dead_process_left_open_get_an_outcome() {
    let place = Place::new();
    let audit = place.open();
    let kept = audit.intent(record("running")).await.unwrap();
    let left = audit.intent(record("left")).await.unwrap();
    let id = left.id().to_string();
    audit.close();
    // The same lines, written by a process that is no more: a file of our own with the process renamed and rechained.
    let lines = place.lines();
    let dead = Place::new();
    let writer = dead.open();
    writer.close();
    drop(writer);
    let own = lines[0]["process"].as_str().unwrap().to_owned();
    let intent =
        fs::read_to_string(place.file()).unwrap().lines().nth(1).unwrap().replace(&own, "999999999-00000000");
    fs::write(dead.file(), format!("{intent}\n")).unwrap();
    drop(dead.open());
    let recovered = self::lines(&dead.file());
    assert_eq!(recovered[1]["kind"], "outcome");
    assert_eq!((&recovered[1]["id"], &recovered[1]["result"]), (&json!(id), &json!("unknown")));
    assert_eq!(recovered[1]["recovered_from"], "999999999-00000000");
    assert_eq!(recovered[1]["tool"], "left");
    drop(dead.open());
    let outcomes = self::lines(&dead.file()).iter().filter(|line| line["kind"] == "outcome").count();
    assert_eq!(outcomes, 1, "an outcome is written once");
    // This process is alive, so its own open calls are left alone.
    drop(place.open());
    assert_eq!(good(&place.file()).open_calls, 2);
    drop((kept, left));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_writers_share_one_chain() {
    let place = Place::new();
    let config = Config { checkpoint_every: 37, ..place.config() };
    let mut tasks = Vec::new();
    for writer in 0..3 {
        let audit = Place::open_with(&config);
        for task in 0..8 {
            let audit = Arc::clone(&audit);
            tasks.push(tokio::spawn(async move {
                for number in 0..25 {
                    call(&audit, &format!("w{writer}t{task}n{number}")).await;
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let report = good(&place.file());
    assert_eq!((report.calls, report.open_calls), (600, 0));
    assert!(report.checkpoints >= 30, "{} checkpoints", report.checkpoints);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_refuses_calls() {
    let place = Place::new();
    let redactor = Redactor::new(&redaction::Config::default()).unwrap();
    let config = Config { path: Some(place.folder.path().to_path_buf()), ..Config::default() };
    let error = Audit::open(&config, redactor.clone(), SystemClock::shared()).err().unwrap();
    assert_eq!(error.kind(), Kind::BadConfig);
    assert!(error.message().contains("[audit] path"));
    if Path::new("/dev/full").exists() {
        // A device is no file, so the writing itself is what must fail: a limit on the file size of a child would do
        // as well, but a full device is at hand.
        let config = Config { path: Some(PathBuf::from("/dev/full")), ..place.config() };
        assert!(Audit::open(&config, redactor, SystemClock::shared()).is_err());
    }
}

#[tokio::test]
async fn a_file_cut_while_it_is_in_use_shows() {
    let place = Place::new();
    let audit = place.open();
    for number in 0..4 {
        call(&audit, &format!("t{number}")).await;
    }
    let text = fs::read_to_string(place.file()).unwrap();
    let length: usize = text.lines().take(3).map(|line| line.len() + 1).sum();
    fs::OpenOptions::new().write(true).open(place.file()).unwrap().set_len(length as u64).unwrap();
    call(&audit, "after").await;
    let report = verify(&place.file(), None).unwrap();
    assert_eq!(fault(&report), (FaultKind::Deleted, 4));
    assert!(place.lines().iter().any(|line| line["event"] == "audit_file_shrank"));
}

#[tokio::test]
async fn lines_can_be_asked_for() {
    let place = filled(40).await;
    let all = Filter::default();
    let last = tail(&place.file(), 3, &all).unwrap();
    assert_eq!(last.len(), 3);
    assert_eq!(last[2]["kind"], "checkpoint");
    assert_eq!(last[1]["tool"], "tool39");
    assert_eq!(tail(&place.file(), 1000, &all).unwrap().len(), 81);
    let wanted = Filter { kind: Some("outcome".into()), tool: Some("tool5".into()), ..Filter::default() };
    let mut found = Vec::new();
    query(&place.file(), &wanted, |line| {
        found.push(line);
        true
    })
    .unwrap();
    assert_eq!(found.len(), 1);
    let late = Filter { since: Some("2024".into()), ..Filter::default() };
    assert!(tail(&place.file(), 10, &late).unwrap().is_empty());
    let mut seen = 0;
    query(&place.file(), &all, |_| {
        seen += 1;
        seen < 5
    })
    .unwrap();
    assert_eq!(seen, 5);
}

/// Not a test by itself: the other process of the tests below, which start this binary again.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the parent says through the environment what to do")]
async fn as_another_process() {
    let (Ok(state), Ok(task)) = (std::env::var("AUDIT_TEST_STATE"), std::env::var("AUDIT_TEST_TASK")) else {
        return;
    };
    let redactor = Redactor::new(&redaction::Config::default()).unwrap();
    let config = Config { state: PathBuf::from(state), ..Config::default() };
    let audit = Audit::open(&config, redactor, SystemClock::shared()).unwrap();
    match task.as_str() {
        "write" => {
            for number in 0..200 {
                call(&audit, &format!("{}n{number}", std::process::id())).await;
            }
        }
        "hang" => {
            let _entry = audit.intent(record("hanging")).await.unwrap();
            std::future::pending::<()>().await;
        }
        "fill" => {
            let mut written = 0;
            let refused = loop {
                match audit.intent(record("filling")).await {
                    Ok(entry) => {
                        written += 1;
                        drop(entry);
                    }
                    Err(error) => break error,
                }
            };
            assert!(written > 3 && refused.message().contains("without a line there is no call"));
        }
        _ => unreachable!(),
    }
}

fn another_process(place: &Place, task: &str, shell: &str) -> std::process::Child {
    let binary = std::env::current_exe().unwrap();
    std::process::Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" --exact audit::as_another_process --nocapture")])
        .arg(binary)
        .env("AUDIT_TEST_STATE", place.folder.path())
        .env("AUDIT_TEST_TASK", task)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn several_processes_share_one_chain() {
    let place = Place::new();
    let mut children: Vec<_> = (0..3).map(|_| another_process(&place, "write", "")).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let report = good(&place.file());
    assert_eq!((report.calls, report.open_calls), (600, 0));
}

#[test]
fn a_call_that_was_killed_gets_an_outcome_at_the_next_start() {
    killed(|_| {});
    // Also when the file was full and left behind meanwhile.
    killed(|file| fs::rename(file, format!("{}.000001", file.display())).unwrap());
}

fn killed(meanwhile: fn(&Path)) {
    let place = Place::new();
    let mut child = another_process(&place, "hang", "");
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    while !fs::read_to_string(place.file()).is_ok_and(|text| text.contains("hanging")) {
        assert!(std::time::Instant::now() < deadline, "the intent never came");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(good(&place.file()).open_calls, 1);
    meanwhile(&place.file());
    drop(place.open());
    let report = good(&place.file());
    assert_eq!(report.open_calls, 0);
    let outcome = place.lines().into_iter().find(|line| line["kind"] == "outcome").unwrap();
    assert_eq!((&outcome["result"], &outcome["tool"]), (&json!("unknown"), &json!("hanging")));
}

#[test]
fn a_full_disk_refuses_calls_and_leaves_the_chain_whole() {
    let place = Place::new();
    // A limit on the size of files (in blocks of 512 bytes) stands for the full disk.
    let mut child = another_process(&place, "fill", "trap '' XFSZ; ulimit -f 16;");
    assert!(child.wait().unwrap().success(), "the call was refused, with a sentence");
    let report = good(&place.file());
    assert!(report.lines > 6 && fs::metadata(place.file()).unwrap().len() <= 16 * 1024);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_changed_byte_shows(at in 0.0f64..1.0, flip in 1u8..=255) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let place = runtime.block_on(filled(3));
        let mut bytes = fs::read(place.file()).unwrap();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place")]
        let at = ((bytes.len() as f64) * at) as usize;
        bytes[at] ^= flip;
        fs::write(place.file(), bytes).unwrap();
        let head = verify(&place.file(), None).unwrap();
        prop_assert!(!head.is_good(), "byte {} changed unseen", at);
    }
}
