//! The audit read by people: questions, numbers, a part for somebody else, lines as they come.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bartizan::audit::{
    Audit, Config, Event, Filter, Finish, Follow, Form, Known, Record, Step, export, query, summarize, verify,
};
use bartizan::clock::ManualClock;
use bartizan::json::{Value, json};
use bartizan::redaction::{self, Redactor};

struct Place {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    audit: Arc<Audit>,
}

impl Place {
    fn new(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Duration::from_secs(1_700_000_000));
        let config = Config { state: folder.path().to_path_buf(), ..config };
        let redactor = Redactor::new(&redaction::Config::default()).unwrap();
        let audit = Audit::open(&config, redactor, clock.clone()).unwrap();
        Self { folder, clock, audit }
    }

    fn file(&self) -> PathBuf {
        self.audit.path().to_path_buf()
    }

    async fn call(&self, who: &str, tool: &str, effect: &str, finish: Finish<'_>) {
        let record = Record { principal: who, method: "tools/call", tool, effect, ..Record::default() };
        let entry = self.audit.intent(record).await.unwrap();
        entry.reached(Step::Redacted);
        entry.finish(finish).await.unwrap();
        self.clock.advance(Duration::from_mins(1));
    }
}

fn ended(result: &str) -> Finish<'_> {
    Finish { result, ..Finish::default() }
}

fn denied(result: &str) -> Finish<'_> {
    Finish { result, event: Some(Event::Denied), verdict: Some("deny"), ..Finish::default() }
}

/// Ten calls of two callers, one that never ends, three events.
async fn a_day() -> Place {
    let place = Place::new(Config::default());
    for _ in 0..4 {
        place.call("key:ann", "widgets_list", "read", ended("ok")).await;
    }
    place.call("key:ann", "widget_delete", "destroy", ended("NeedsApproval")).await;
    let agreed = Finish { approval: Some("ap1"), approver: Some("operator:eve"), ..ended("ok") };
    place.call("key:ann", "widget_delete", "destroy", agreed).await;
    for _ in 0..2 {
        place.call("key:bot", "widget_delete", "destroy", denied("Forbidden")).await;
    }
    place.call("key:bot", "widget_delete", "destroy", ended("Declined")).await;
    place.call("key:bot", "widgets_list", "read", ended("UpstreamFailed")).await;
    let record = Record { principal: "key:bot", method: "tools/call", tool: "slow", ..Record::default() };
    std::mem::forget(place.audit.intent(record).await.unwrap());
    for _ in 0..2 {
        place.audit.event(Event::AuthenticationFailed, &json!({"peer": "192.0.2.1"})).await.unwrap();
    }
    place.audit.event(Event::Relaxed, &json!({})).await.unwrap();
    place.audit.close();
    place
}

#[tokio::test]
async fn a_report_equals_a_log_made_by_hand() {
    let place = a_day().await;
    let found = serde_json::to_value(summarize(&place.file(), &Filter::default()).unwrap()).unwrap();
    let row = |name, calls, done, asked, refused, failed| json!({"name": name, "calls": calls, "done": done, "asked": asked, "refused": refused, "failed": failed});
    let count = |name, count| json!({"name": name, "count": count});
    assert_eq!(
        found,
        json!({
            "from": "2023-11-14T22:13:20.000Z",
            "to": "2023-11-14T22:23:20.000Z",
            "lines": 25,
            "calls": 10,
            "open": 1,
            "callers": [row("key:ann", 6, 5, 1, 0, 0), row("key:bot", 4, 0, 0, 3, 1)],
            "tools": [row("widget_delete", 5, 1, 1, 3, 0), row("widgets_list", 5, 4, 0, 0, 1)],
            "effects": [row("destroy", 5, 1, 1, 3, 0), row("read", 5, 4, 0, 0, 1)],
            "outcomes": [
                count("ok", 5), count("Forbidden", 2), count("Declined", 1), count("NeedsApproval", 1),
                count("UpstreamFailed", 1)
            ],
            "events": [count("authentication failed", 2), count("denied", 2), count("relaxed", 1)],
            "approvals": {"asked": 1, "agreed": 1, "declined": 1},
            "refusals": [
                {"principal": "key:bot", "tool": "widget_delete", "result": "Forbidden", "count": 2},
                {"principal": "key:bot", "tool": "widget_delete", "result": "Declined", "count": 1}
            ]
        })
    );
    let late = Filter { since: Some("2023-11-14T22:19:00.000Z".into()), ..Filter::default() };
    let late = summarize(&place.file(), &late).unwrap();
    assert_eq!((late.calls, late.callers[0].name.as_str()), (4, "key:bot"));
}

#[tokio::test]
async fn questions_are_answered_by_every_member() {
    let place = a_day().await;
    let count = |filter: Filter| {
        let mut found = 0;
        query(&place.file(), &filter, |_| {
            found += 1;
            true
        })
        .unwrap();
        found
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(count(Filter { result: text("DENIED"), ..Filter::default() }), 2);
    assert_eq!(count(Filter { result: text("forbidden"), ..Filter::default() }), 2);
    assert_eq!(count(Filter { event: text("authentication failed"), ..Filter::default() }), 2);
    assert_eq!(count(Filter { effect: text("read"), kind: text("outcome"), ..Filter::default() }), 5);
    let until = text("2023-11-14T22:14:20.000Z");
    assert_eq!(count(Filter { until, principal: text("key:ann"), ..Filter::default() }), 2);
}

fn part(path: &Path) -> bartizan::audit::Report {
    verify(path, Known { part: true, ..Known::default() }).unwrap()
}

#[tokio::test]
async fn a_part_goes_to_somebody_else_with_its_proof() {
    let place = Place::new(Config { checkpoint_every: 10, ..Config::default() });
    for number in 0..30 {
        place.call("key:ann", &format!("tool{number}"), "read", ended("ok")).await;
    }
    let (since, until) = ("2023-11-14T22:20:00.000Z", "2023-11-14T22:25:00.000Z");
    let mut out = Vec::new();
    let done = export(&place.file(), Form::Lines, (Some(since), Some(until)), &mut out).unwrap();
    let elsewhere = place.folder.path().join("elsewhere.jsonl");
    fs::write(&elsewhere, &out).unwrap();
    let key = bartizan::audit::public_key(&place.file()).unwrap();
    fs::write(place.folder.path().join("elsewhere.jsonl.pub"), key).unwrap();
    let report = part(&elsewhere);
    assert_eq!(report.fault, None);
    assert_eq!((report.lines, done.unsigned), (done.lines, 0));
    assert!(
        report.checkpoints >= 1 && report.unproven.iter().any(|said| said.contains("begins with its line"))
    );
    assert!(verify(&elsewhere, None).unwrap().fault.is_some(), "a part is not taken for the whole");
    let text = String::from_utf8(out).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert!(first["time"].as_str().unwrap() >= since);
    // any change shows to whoever got it
    for (from, to) in [("tool8", "tool9"), ("\"result\":\"ok\"", "\"result\":\"no\"")] {
        fs::write(&elsewhere, text.replacen(from, to, 1)).unwrap();
        assert!(part(&elsewhere).fault.is_some(), "{from}");
    }
    let without: Vec<&str> =
        text.lines().enumerate().filter(|(at, _)| *at != 3).map(|(_, line)| line).collect();
    fs::write(&elsewhere, without.join("\n") + "\n").unwrap();
    assert!(part(&elsewhere).fault.is_some());
}

#[tokio::test]
async fn a_table_has_a_row_for_each_line() {
    let place = Place::new(Config::default());
    place.call("key:=1+1", "look, \"here\"", "read", ended("ok")).await;
    let mut out = Vec::new();
    let done = export(&place.file(), Form::Csv, (None, None), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!((done.lines, text.lines().count()), (2, 3));
    assert!(text.starts_with("time,seq,kind,event,id,principal"));
    assert!(text.contains("\"look, \"\"here\"\"\""));
}

/// What the fuzzer is given to begin with, and every way to cut it off.
#[test]
fn what_is_no_audit_is_read_without_harm_and_never_called_whole() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/audit");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let mut whole = Vec::new();
    for seed in fs::read_dir(seeds).unwrap() {
        let path = seed.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for end in (0..=bytes.len()).rev().step_by(23) {
            fs::write(&file, &bytes[..end]).unwrap();
            let report = verify(&file, None).unwrap();
            if report.fault.is_none() && end == bytes.len() {
                whole.push(path.file_name().unwrap().to_owned());
            }
            assert!(report.fault.is_some() || bytes[..end].is_empty() || bytes[..end].ends_with(b"\n"));
            summarize(&file, &Filter::default()).unwrap();
            export(&file, Form::Csv, (None, None), &mut Vec::new()).unwrap();
        }
    }
    assert_eq!(whole, ["whole"]);
}

#[tokio::test]
async fn lines_are_followed_over_files_that_change_places() {
    let place = Place::new(Config { rotate_megabytes: 1, ..Config::default() });
    let long = "lorem ipsum ".repeat(150);
    let note = |number: u64| json!({"number": number, "long": long});
    place.audit.event("note", &note(0)).await.unwrap();
    let mut follow = Follow::from_end(&place.file()).unwrap();
    let mut numbers = Vec::new();
    let mut take = |follow: &mut Follow| {
        let lines = follow.more().unwrap();
        numbers.extend(lines.iter().filter_map(|line| line["detail"]["number"].as_u64()));
    };
    for number in 1..=2000 {
        place.audit.event("note", &note(number)).await.unwrap();
        if number % 700 == 0 {
            take(&mut follow);
        }
    }
    take(&mut follow);
    assert!(place.folder.path().join("audit.jsonl.000002").exists(), "files changed places more than once");
    assert_eq!(numbers, (1..=2000).collect::<Vec<u64>>());
}
