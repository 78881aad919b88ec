//! Quotas from outside: what is granted, what is said, and what a broken store means.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan::clock::{ManualClock, SharedClock};
use bartizan::error::{Error, Kind, Result};
use bartizan::limits::{Config, Decision, Limiter, Outage, Quota, Store, decide};
use proptest::prelude::*;

fn clock() -> Arc<ManualClock> {
    ManualClock::at(Duration::from_secs(1_700_000_000))
}

fn limiter(config: &Config, clock: &Arc<ManualClock>) -> Limiter {
    Limiter::new(config, Arc::clone(clock) as SharedClock)
}

#[tokio::test]
async fn writes_are_few_reads_are_many_and_each_caller_has_its_own() {
    let clock = clock();
    let limiter = limiter(&Config::default(), &clock);
    for left in (0..10).rev() {
        assert_eq!(limiter.left("a", "write"), left + 1);
        assert_eq!(limiter.take("a", "write", 1).await.unwrap(), Decision::Allowed { left });
    }
    let refused = limiter.take("a", "write", 1).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::RateLimited);
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(
        refused.message(),
        "Too many write calls: the quota is 60 a minute, at most 10 at once. Try again in 1 second."
    );
    for (principal, class) in [("a", "destroy"), ("a", "read"), ("b", "write")] {
        assert!(limiter.take(principal, class, 1).await.is_ok(), "{principal} {class}");
    }
    clock.advance(refused.retry_after().unwrap());
    assert!(limiter.take("a", "write", 1).await.is_ok(), "the time to come back is exact");
    assert!(limiter.take("a", "write", 1).await.is_err());
}

#[tokio::test]
async fn what_can_never_be_granted_says_so() {
    let closed = Config { write: Quota::new(0, 10), read: Quota::new(60, 5), ..Config::default() };
    let limiter = limiter(&closed, &clock());
    let zero = limiter.take("a", "write", 1).await.unwrap_err();
    assert!(zero.message().contains("zero") && zero.retry_after().is_none(), "{zero}");
    let many = limiter.take("a", "read", 6).await.unwrap_err();
    assert!(many.message().contains("ask for less") && many.retry_after().is_none(), "{many}");
    assert_eq!(limiter.left("a", "write"), 0);
}

/// A store in which everybody shares buckets, and which can break.
#[derive(Default)]
struct Shared {
    buckets: Mutex<HashMap<String, Duration>>,
    broken: AtomicBool,
}

impl Store for Shared {
    fn take<'a>(
        &'a self,
        key: &'a str,
        quota: Quota,
        cost: u32,
        now: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<Decision>> + Send + 'a>> {
        Box::pin(async move {
            if self.broken.load(Ordering::SeqCst) {
                return Err(Error::new(Kind::Internal, "down"));
            }
            let mut buckets = self.buckets.lock().unwrap();
            let full_at = buckets.entry(key.to_owned()).or_default();
            let (decision, next) = decide(*full_at, quota, cost, now);
            *full_at = next;
            Ok(decision)
        })
    }
}

#[tokio::test]
async fn instances_share_a_store_and_a_broken_one_never_means_no_limit() {
    let (clock, store) = (clock(), Arc::new(Shared::default()));
    let make = |on_outage| {
        let config = Config { write: Quota::new(60, 4), on_outage, ..Config::default() };
        Limiter::shared(&config, Arc::clone(&clock) as SharedClock, Arc::clone(&store) as Arc<dyn Store>)
    };
    let (refuses, counts) = (make(Outage::Refuse), make(Outage::Local));
    for limiter in [&refuses, &counts, &refuses, &counts] {
        assert!(limiter.take("a", "write", 1).await.is_ok());
    }
    assert!(refuses.take("a", "write", 1).await.is_err() && counts.take("a", "write", 1).await.is_err());

    store.broken.store(true, Ordering::SeqCst);
    let unasked = refuses.take("b", "write", 1).await.unwrap_err();
    assert!(unasked.message().contains("cannot be reached"), "{unasked}");
    for _ in 0..4 {
        assert!(counts.take("b", "write", 1).await.is_ok());
    }
    assert!(counts.take("b", "write", 1).await.is_err(), "this process counts by itself");
}

proptest! {
    #[test]
    fn memory_and_a_shared_store_decide_alike(
        per_minute in 1u32..5000, burst in 1u32..20,
        steps in prop::collection::vec((0u64..2_000_000_000, 0usize..3, 1u32..4), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let clock = clock();
        let config = Config { write: Quota::new(per_minute, burst), ..Config::default() };
        let memory = limiter(&config, &clock);
        let shared = Limiter::shared(&config, Arc::clone(&clock) as SharedClock, Arc::new(Shared::default()));
        for (pause, who, cost) in steps {
            clock.advance(Duration::from_nanos(pause));
            let principal = ["a", "b", "c"][who];
            let (left, right) = runtime.block_on(async {
                (memory.take(principal, "write", cost).await, shared.take(principal, "write", cost).await)
            });
            match (left, right) {
                (Ok(left), Ok(right)) => prop_assert_eq!(left, right),
                (Err(left), Err(right)) => prop_assert_eq!(left.retry_after(), right.retry_after()),
                _ => prop_assert!(false, "one allowed what the other refused"),
            }
        }
    }
}

#[tokio::test]
async fn who_is_refused_far_too_often_is_held_and_nobody_else() {
    let clock = ManualClock::at(Duration::from_secs(1_000));
    let config = Config { write: Quota::new(60, 1), refusals: Quota::new(60, 5), ..Config::default() };
    let limiter = Limiter::new(&config, clock.clone());
    limiter.take("key:hammer", "write", 1).await.unwrap();
    assert_eq!(limiter.held("key:hammer"), None);
    for _ in 0..5 {
        assert_eq!(limiter.held("key:hammer"), None);
        limiter.take("key:hammer", "write", 1).await.unwrap_err();
    }
    assert_eq!(limiter.held("key:hammer"), Some(Duration::from_secs(1)));
    assert_eq!(limiter.held("key:calm"), None);
    // Other quotas do not set anybody free, and waiting does.
    let renewed = limiter.renewed(&config);
    assert!(renewed.held("key:hammer").is_some());
    clock.advance(Duration::from_secs(1));
    assert_eq!(renewed.held("key:hammer"), None);
    renewed.take("key:hammer", "write", 1).await.unwrap();
}

#[tokio::test]
async fn work_before_a_call_is_known_counts_as_reads() {
    let clock = ManualClock::at(Duration::from_secs(1_000));
    let config = Config { read: Quota::new(60, 10), refusals: Quota::new(60, 2), ..Config::default() };
    let limiter = Limiter::new(&config, clock.clone());
    assert_eq!(limiter.weigh("key:large", 4), None);
    assert_eq!(limiter.left("key:large", "read"), 6);
    // more than is ever there at once: all there is, once it is there
    assert_eq!(limiter.weigh("key:large", 1000), Some(Duration::from_secs(4)));
    clock.advance(Duration::from_secs(4));
    assert_eq!(limiter.weigh("key:large", 1000), None);
    assert_eq!(limiter.take("key:large", "read", 1).await.unwrap_err().kind(), Kind::RateLimited);
    assert_eq!(limiter.weigh("key:large", 1), Some(Duration::from_secs(1)));
    assert!(limiter.held("key:large").is_some(), "and being refused counts too");
    assert_eq!(limiter.weigh("key:other", 1), None);
    let none = Limiter::new(&Config { read: Quota::new(0, 0), ..config }, clock);
    assert_eq!(none.weigh("key:large", 1), None, "who may not read may still send what changes something");
}

/// A clock whose wall hand somebody moves.
struct Moved {
    wall: std::sync::atomic::AtomicU64,
    steady: Arc<ManualClock>,
}

impl bartizan::clock::Clock for Moved {
    fn wall(&self) -> Duration {
        Duration::from_secs(self.wall.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        bartizan::clock::Clock::monotonic(&*self.steady)
    }
}

#[tokio::test]
async fn no_jump_of_the_wall_clock_lets_more_through_or_locks_anybody_out() {
    const NOON: u64 = 1_800_000_000;
    const YEAR: u64 = 365 * 24 * 3600;
    let folder = tempfile::tempdir().unwrap();
    let state = bartizan::state::StateDir::open(folder.path().join("state")).unwrap();
    let steady = clock();
    let clock = Arc::new(Moved { wall: NOON.into(), steady: steady.clone() });
    let config = Config { write: Quota::new(60, 3), ..Config::default() };
    let limiter = Limiter::across(&config, clock.clone() as SharedClock, state);
    let mut admitted = 0;
    for wall in [NOON, NOON + YEAR, NOON - YEAR, NOON, NOON + 7200, NOON - 7200, 0, NOON] {
        clock.wall.store(wall, std::sync::atomic::Ordering::SeqCst);
        for _ in 0..5 {
            admitted += usize::from(limiter.take("key:a", "write", 1).await.is_ok());
        }
    }
    assert_eq!(admitted, 3, "one burst, whatever the wall clock says");
    // put back by a year, nobody waits a year: no longer than an empty bucket makes anybody wait
    clock.wall.store(NOON - YEAR, std::sync::atomic::Ordering::SeqCst);
    let wait = limiter.take("key:a", "write", 1).await.unwrap_err().retry_after().unwrap();
    assert!(wait <= Duration::from_secs(3), "{wait:?}");
    steady.advance(Duration::from_secs(3));
    clock.wall.fetch_add(3, std::sync::atomic::Ordering::SeqCst);
    assert!(limiter.take("key:a", "write", 1).await.is_ok());
}

#[tokio::test]
async fn processes_of_one_state_directory_share_what_they_change_and_not_what_they_read() {
    let (clock, outer) = (clock(), tempfile::tempdir().unwrap());
    let folder = outer.path().join("state");
    let state = || bartizan::state::StateDir::open(&folder).unwrap();
    let config = Config { read: Quota::new(60, 2), write: Quota::new(60, 3), ..Config::default() };
    let process = || Limiter::across(&config, Arc::clone(&clock) as SharedClock, state());
    // A loop in a shell: every call is a process of its own.
    for left in [2, 1, 0] {
        let one = process();
        assert_eq!(one.take("process", "write", 1).await.unwrap(), Decision::Allowed { left });
        assert_eq!(process().left("process", "write"), left);
    }
    let refused = process().take("process", "write", 1).await.unwrap_err();
    assert!(refused.retry_after().is_some(), "{refused}");
    assert!(
        process().take("process", "destroy", 1).await.is_ok()
            && process().take("b", "write", 1).await.is_ok()
    );
    clock.advance(Duration::from_secs(1));
    assert!(process().take("process", "write", 1).await.is_ok());

    let reader = process();
    assert!(
        reader.take("process", "read", 2).await.is_ok() && process().take("process", "read", 2).await.is_ok()
    );
    assert!(reader.take("process", "read", 1).await.is_err());

    // Many at once take no more than there is, and the file forgets what is full again.
    clock.advance(Duration::from_secs(600));
    let all: Vec<_> = (0..20).map(|_| process()).collect();
    let taken = futures_util::future::join_all(all.iter().map(|one| one.take("c", "write", 1))).await;
    assert_eq!(taken.into_iter().flatten().count(), 3);
    let text = std::fs::read_to_string(folder.join("limits.json")).unwrap();
    assert!(text.contains("write:c") && !text.contains("process"), "{text}");

    // A file that cannot be written never means no limit.
    std::fs::remove_file(folder.join("limits.json")).unwrap();
    std::fs::create_dir(folder.join("limits.json")).unwrap();
    let broken = process().take("d", "write", 1).await.unwrap_err();
    assert!(broken.message().contains("cannot be reached"), "{broken}");
}

fn from(text: &str) -> Config {
    let config: Config = toml::from_str(text).unwrap();
    config.check().unwrap();
    config
}

#[tokio::test]
async fn a_tool_and_all_callers_together_have_quotas_of_their_own() {
    let clock = clock();
    let config = from(
        "global = { per_minute = 60, burst = 6 }\n[tools]\n\"ports_*\" = { per_minute = 60, burst = 2 }",
    );
    let limiter = limiter(&config, &clock);
    let admit = |who: &'static str, tool: &'static str| limiter.admit(who, Some(tool), "read");
    for tool in ["ports_list", "ports_get"] {
        admit("a", tool).await.unwrap();
    }
    let refused = admit("a", "ports_list").await.unwrap_err();
    assert_eq!(refused.kind(), Kind::RateLimited);
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
    assert!(refused.message().contains("this tool"), "{refused}");
    admit("a", "vlans_list").await.unwrap();
    for _ in 0..2 {
        admit("b", "ports_list").await.unwrap();
    }
    admit("c", "vlans_list").await.unwrap();
    let refused = admit("c", "vlans_list").await.unwrap_err();
    assert!(
        refused.message().contains("all callers together") && refused.retry_after().is_some(),
        "{refused}"
    );
    assert_eq!(limiter.gone("a"), None, "who may still do something is listened to");
    clock.advance(Duration::from_secs(1));
    admit("c", "vlans_list").await.unwrap();
    // What a caller may not know of is not charged to a quota that names it.
    limiter.admit("a", None, "read").await.unwrap_err();
    clock.advance(Duration::from_secs(60));
    for _ in 0..2 {
        limiter.admit("d", None, "read").await.unwrap();
        admit("d", "ports_list").await.unwrap();
    }
}

#[tokio::test]
async fn a_spent_day_is_told_before_anything_is_looked_at() {
    let clock = clock();
    let config = from("daily = { calls = 24, burst = 12, read = 1, write = 4 }");
    let limiter = limiter(&config, &clock);
    for _ in 0..2 {
        limiter.admit("a", Some("x"), "write").await.unwrap();
    }
    for _ in 0..4 {
        limiter.admit("a", Some("y"), "read").await.unwrap();
    }
    let dear = limiter.admit("a", Some("x"), "write").await.unwrap_err();
    assert_eq!(dear.retry_after(), Some(Duration::from_secs(4 * 7200)));
    assert_eq!(limiter.gone("a"), None, "a dear call that is refused says nothing of a cheap one");
    let cheap = limiter.admit("a", Some("y"), "read").await.unwrap_err();
    assert!(cheap.message().contains("day"), "{cheap}");
    let gone = limiter.gone("a").unwrap();
    assert_eq!((gone.name, gone.after), ("daily", Duration::from_secs(7200)));
    assert_eq!(gone.quota.announced(), (24, 86_400));
    assert_eq!(limiter.gone("b"), None);
    clock.advance(Duration::from_secs(7200));
    assert_eq!(limiter.gone("a"), None);
    limiter.admit("a", Some("y"), "read").await.unwrap();
    limiter.admit("a", Some("y"), "read").await.unwrap_err();
    assert_eq!(limiter.renewed(&config).gone("a"), None, "after a reload a refusal has to show it again");
}

#[tokio::test]
async fn who_has_nothing_left_of_any_class_is_gone_until_something_comes_back() {
    let clock = clock();
    let one = Quota::new(60, 1);
    let config = Config { read: Quota::new(120, 1), write: one, destroy: one, ..Config::default() };
    let limiter = limiter(&config, &clock);
    for class in ["read", "write", "destroy"] {
        assert_eq!(limiter.gone("a"), None);
        limiter.admit("a", None, class).await.unwrap();
        limiter.admit("a", None, class).await.unwrap_err();
    }
    let gone = limiter.gone("a").unwrap();
    assert_eq!((gone.name, gone.after), ("read", Duration::from_millis(500)));
    clock.advance(gone.after);
    assert_eq!(limiter.gone("a"), None);
}

#[tokio::test]
async fn a_daily_budget_outlives_a_process_and_the_number_of_keys_is_bounded() {
    let (clock, outer) = (clock(), tempfile::tempdir().unwrap());
    let folder = outer.path().join("state");
    let config = from(
        "daily = { calls = 4, burst = 2 }\nmost_principals = 32\n[tools]\na = { per_minute = 1, burst = 1 }",
    );
    let process = || {
        let state = bartizan::state::StateDir::open(&folder).unwrap();
        Limiter::across(&config, Arc::clone(&clock) as SharedClock, state)
    };
    for _ in 0..2 {
        process().admit("a", None, "read").await.unwrap();
    }
    process().admit("a", None, "read").await.unwrap_err();
    // A flood of callers does not give back what one of them has spent.
    let memory = limiter(&config, &clock);
    for _ in 0..2 {
        memory.admit("heavy", None, "read").await.unwrap();
    }
    for number in 0..2000 {
        memory.admit(&format!("light{number}"), Some("a"), "read").await.unwrap();
    }
    memory.admit("heavy", None, "read").await.unwrap_err();
}
