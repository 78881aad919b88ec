//! An audit file that another process holds: nobody else is held up, it is waited for, and not for ever.

use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bartizan::audit::{Audit, Config, Finish, Record, Report, Step, verify};
use bartizan::clock::ManualClock;
use bartizan::json::{Value, json};
use bartizan::redaction::{self, Redactor};

fn audit(folder: &tempfile::TempDir, config: Config) -> Arc<Audit> {
    let redactor = Redactor::new(&redaction::Config::default()).unwrap();
    let config = Config { state: folder.path().to_path_buf(), ..config };
    Audit::open(&config, redactor, ManualClock::at(Duration::from_secs(1_700_000_000))).unwrap()
}

fn record(tool: &str) -> Record<'_> {
    Record { principal: "key:test", method: "tools/call", tool, effect: "read", ..Record::default() }
}

fn good(audit: &Audit) -> Report {
    let report = verify(audit.path(), None).unwrap();
    assert_eq!(report.fault, None);
    report
}

fn lines(audit: &Audit) -> Vec<Value> {
    let text = fs::read_to_string(audit.path()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Another process, as far as locks go. It lets go when told, when dropped, and after a while in any case: then what
/// waits on the only thread of a test goes on, and the test fails instead of hanging.
struct Holder {
    release: Sender<()>,
    released: Receiver<()>,
}

impl Holder {
    fn of(audit: &Audit) -> Self {
        let file = fs::File::open(audit.path()).unwrap();
        let (release, wait) = channel();
        let (done, released) = channel();
        file.lock().unwrap();
        std::thread::spawn(move || {
            let _ = wait.recv_timeout(Duration::from_secs(30));
            file.unlock().unwrap();
            let _ = done.send(());
        });
        Self { release, released }
    }

    fn release(self) {
        self.release.send(()).unwrap();
        self.released.recv().unwrap();
    }
}

async fn others_go_on(work: &tokio::task::JoinHandle<impl Send>) {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!work.is_finished(), "the thread that serves was held up until the file was free");
}

#[tokio::test]
async fn a_file_that_is_held_is_waited_for_and_holds_up_nobody_else() {
    for sync in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let audit = audit(&folder, Config { sync, lock_timeout: 60, ..Config::default() });
        let running = audit.intent(record("running")).await.unwrap();
        let holder = Holder::of(&audit);
        let call = tokio::spawn({
            let audit = Arc::clone(&audit);
            async move {
                let entry = audit.intent(record("waits")).await.unwrap();
                entry.reached(Step::Redacted);
                entry.finish(Finish { result: "ok", ..Finish::default() }).await.unwrap();
            }
        });
        others_go_on(&call).await;
        // Lines that nobody waits for hold up nobody either.
        drop(running);
        audit.note("noted", &json!({}));
        others_go_on(&call).await;
        assert_eq!(lines(&audit).len(), 1, "nothing is written without the lock");
        holder.release();
        tokio::time::timeout(Duration::from_secs(30), call).await.expect("it went on").unwrap();
        audit.close();
        let report = good(&audit);
        assert_eq!((report.calls, report.open_calls), (2, 0));
        assert!(lines(&audit).iter().any(|line| line["event"] == "noted"));
    }
}

#[tokio::test]
async fn a_file_that_is_held_too_long_refuses_calls_and_loses_no_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let audit = audit(&folder, Config { lock_timeout: 1, ..Config::default() });
    let ends = audit.intent(record("ends")).await.unwrap();
    let leaves = audit.intent(record("leaves")).await.unwrap();
    let holder = Holder::of(&audit);
    ends.reached(Step::Executed);
    drop(leaves);
    let outcome = ends.finish(Finish { result: "ok", ..Finish::default() });
    let (refused, outcome) = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::join!(audit.intent(record("never")), outcome)
    })
    .await
    .expect("nobody waits for ever");
    for error in [refused.err().unwrap(), outcome.unwrap_err()] {
        assert!(error.message().contains("without a line there is no call"), "{}", error.message());
    }
    assert!(audit.intent(record("never either")).await.is_err());
    holder.release();
    let entry = audit.intent(record("again")).await.unwrap();
    entry.finish(Finish { result: "ok", ..Finish::default() }).await.unwrap();
    audit.close();
    let report = good(&audit);
    assert_eq!((report.calls, report.open_calls), (3, 0));
    let outcomes: Vec<Value> = lines(&audit).into_iter().filter(|line| line["kind"] == "outcome").collect();
    let of = |tool: &str| outcomes.iter().find(|line| line["tool"] == tool).unwrap()["result"].clone();
    assert_eq!((of("ends"), of("leaves"), of("again")), (json!("ok"), json!("cancelled"), json!("ok")));
    assert!(
        lines(&audit).iter().all(|line| !line["tool"].as_str().is_some_and(|tool| tool.starts_with("never")))
    );
}

#[test]
fn without_a_runtime_a_file_that_is_held_is_waited_for_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let audit = audit(&folder, Config { lock_timeout: 1, ..Config::default() });
    let holder = Holder::of(&audit);
    audit.note("kept for later", &json!({}));
    assert!(lines(&audit).is_empty());
    let redactor = Redactor::new(&redaction::Config::default()).unwrap();
    let config = Config { state: folder.path().to_path_buf(), lock_timeout: 0, ..Config::default() };
    let error = Audit::open(&config, redactor, ManualClock::at(Duration::ZERO)).err().unwrap();
    assert!(error.message().contains("is held by another process"), "{}", error.message());
    holder.release();
    audit.note("at once", &json!({}));
    let events: Vec<Value> = lines(&audit).iter().map(|line| line["event"].clone()).collect();
    assert_eq!(events, [json!("kept for later"), json!("at once")]);
    good(&audit);
}
