//! What watches the line: guards, which only tighten, and sinks, which hold up nobody.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan::audit::{self, Audit, Record, Sink};
use bartizan::clock::ManualClock;
use bartizan::error::{Error, Kind, Result};
use bartizan::json::{Value, json};
use bartizan::pipeline::{BoxFuture, Guard, Guarded};
use bartizan::policy::{Effect, Verdict};
use bartizan::redaction::{self, Redactor};
use proptest::prelude::*;
use tokio::sync::{Notify, Semaphore};

use crate::line::{Fake, Options, context, principal, spec};
use crate::support::PATIENCE;

#[derive(Debug, Clone, Copy)]
enum Word {
    Says(Verdict),
    Fails,
    Panics,
}

impl Word {
    fn weighs(self) -> Verdict {
        match self {
            Self::Says(verdict) => verdict,
            Self::Fails | Self::Panics => Verdict::Deny,
        }
    }
}

impl Guard for Word {
    fn name(&self) -> &'static str {
        "guard:word"
    }

    fn judge<'a>(&'a self, _: Guarded<'a>) -> BoxFuture<'a, Result<Verdict>> {
        Box::pin(async move {
            match self {
                Self::Says(verdict) => Ok(*verdict),
                Self::Fails => Err(Error::new(Kind::ToolFailed, "the rule broke")),
                Self::Panics => panic!("the rule fell over"),
            }
        })
    }
}

fn word() -> impl Strategy<Value = Word> {
    prop_oneof![
        4 => Just(Word::Says(Verdict::Allow)),
        2 => Just(Word::Says(Verdict::Ask)),
        1 => Just(Word::Says(Verdict::Deny)),
        1 => Just(Word::Fails),
        1 => Just(Word::Panics),
    ]
}

/// What came of a call: whether it ran, the verdict in the audit, the policies in the audit.
async fn outcome(policy: &str, effect: Effect, guards: &[Word]) -> (bool, Verdict, String) {
    let mut options = Options::new(policy);
    options.guards = guards.iter().map(|word| Arc::new(*word) as Arc<dyn Guard>).collect();
    let setup = options.build();
    let tool = Fake::plain(spec("tool", effect));
    let _ = setup.call(&tool, json!({}), &context(principal("key:alice"))).await;
    let lines = setup.lines();
    let last = lines.iter().rfind(|line| line["kind"] == "outcome").unwrap();
    let verdict = serde_json::from_value(last["verdict"].clone()).unwrap();
    (tool.runs() > 0, verdict, last["policy"].as_str().unwrap_or_default().to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_guard_never_turns_a_verdict_into_a_milder_one(
        policy in prop_oneof![Just("read-only"), Just("standard"), Just("admin")],
        effect in prop_oneof![Just(Effect::Read), Just(Effect::Write), Just(Effect::Destroy)],
        guards in prop::collection::vec(word(), 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (_, alone, _) = runtime.block_on(outcome(policy, effect, &[]));
        let (ran, verdict, policies) = runtime.block_on(outcome(policy, effect, &guards));
        // guards after one that denies are not asked any more; their word could change nothing
        let strictest = guards.iter().map(|word| word.weighs()).fold(alone, Verdict::max);
        prop_assert_eq!(verdict, strictest);
        prop_assert_eq!(ran, strictest == Verdict::Allow);
        prop_assert_eq!(policies.contains("guard:word"), strictest > alone);
    }
}

type Taking<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A sink that takes a batch for each permit, and remembers.
struct Slow {
    turns: Semaphore,
    lines: Mutex<Vec<Value>>,
    took: Notify,
    fails: bool,
}

impl Slow {
    fn new(turns: usize, fails: bool) -> Arc<Self> {
        Arc::new(Self { turns: Semaphore::new(turns), lines: Mutex::default(), took: Notify::new(), fails })
    }

    async fn until(&self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let took = self.took.notified();
                {
                    let lines = self.lines.lock().unwrap();
                    if enough(&lines) {
                        return lines.clone();
                    }
                }
                took.await;
            }
        })
        .await
        .expect("the records never came")
    }
}

impl Sink for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn take(&self, lines: Vec<Arc<str>>) -> Taking<'_> {
        Box::pin(async move {
            self.turns.acquire().await.unwrap().forget();
            let read = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
            self.lines.lock().unwrap().extend(read);
            self.took.notify_waiters();
            if self.fails { Err(Error::new(Kind::ToolFailed, "the sink broke")) } else { Ok(()) }
        })
    }
}

fn audit(folder: &tempfile::TempDir) -> Arc<Audit> {
    // no checkpoints in between, which would have to be counted too
    let state = folder.path().to_path_buf();
    let config = audit::Config { state, checkpoint_every: 0, ..audit::Config::default() };
    let redactor = Redactor::new(&redaction::Config::default()).unwrap();
    Audit::open(&config, redactor, ManualClock::at(Duration::from_secs(1_800_000_000))).unwrap()
}

fn written(audit: &Audit) -> Vec<Value> {
    let text = std::fs::read_to_string(audit.path()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_sink_gets_what_is_in_the_file_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let audit = audit(&folder);
    let (one, broken) = (Slow::new(10_000, false), Slow::new(10_000, true));
    audit.copy_to(one.clone());
    audit.copy_to(broken.clone());
    for number in 0..20 {
        let request = number.to_string();
        let record = Record { tool: "echo", request: &request, ..Record::default() };
        let entry = audit.intent(record).await.unwrap();
        drop(entry);
    }
    audit.close();
    let file = written(&audit);
    assert_eq!(file.last().unwrap()["kind"], "checkpoint");
    let copied = one.until(|lines| lines.len() >= 40).await;
    assert_eq!(copied[..40], file[..40], "an intent and an outcome for each");
    broken.until(|lines| lines.len() >= 40).await;
    audit.end_copies(PATIENCE).await;
}

#[tokio::test]
async fn a_sink_that_stands_still_delays_no_line_and_its_losses_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let audit = audit(&folder);
    let slow = Slow::new(0, false);
    audit.copy_to(slow.clone());
    let total = 5000;
    for _ in 0..total {
        tokio::time::timeout(PATIENCE, audit.event("tick", &json!({})))
            .await
            .expect("a line had to wait")
            .unwrap();
    }
    slow.turns.add_permits(100_000);
    let told = |lines: &[Value]| lines.iter().any(|line| line["event"] == "audit sink lagged");
    let got = slow.until(told).await;
    let lagged: u64 = got
        .iter()
        .filter(|line| line["event"] == "audit sink lagged")
        .map(|line| line["detail"]["dropped"].as_u64().unwrap())
        .sum();
    let ticks = slow
        .until(|lines| lines.iter().filter(|line| line["event"] == "tick").count() as u64 + lagged >= total)
        .await;
    let ticks = ticks.iter().filter(|line| line["event"] == "tick").count() as u64;
    assert!(lagged > 0 && ticks + lagged == total, "{ticks} and {lagged}");
    assert_eq!(written(&audit).iter().filter(|line| line["event"] == "tick").count() as u64, total);
    audit.end_copies(PATIENCE).await;
}

#[tokio::test]
async fn a_sink_that_never_returns_does_not_keep_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let audit = audit(&folder);
    audit.copy_to(Slow::new(0, false));
    audit.event("tick", &json!({})).await.unwrap();
    audit.close();
    tokio::time::timeout(PATIENCE, audit.end_copies(Duration::from_millis(20))).await.unwrap();
}
