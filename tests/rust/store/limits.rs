//! Quotas that instances share: the same answers as in memory, and never more than the quota and one burst, whatever
//! happens to the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bartizan::clock::{ManualClock, SharedClock, SystemClock};
use bartizan::error::Kind;
use bartizan::limits::{Config, Decision, Limiter, Outage, Quota};
use bartizan::state::Shared;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::task::JoinSet;

use super::server::{Server, instance, opened, until};

fn limiter(config: &Config, shared: &Arc<Shared>) -> Limiter {
    Limiter::instances(config, SystemClock::shared(), shared)
}

fn config(per_minute: u32, burst: u32) -> Config {
    let quota = Quota::new(per_minute, burst);
    Config { read: quota, write: quota, destroy: quota, ..Config::default() }
}

#[test]
fn memory_and_redis_decide_alike() {
    let Some(server) = Server::start(&[]) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Duration::from_secs(1_700_000_000));
    let shared = runtime.block_on(opened(&server.config(), folder.path(), None, clock.clone())).unwrap();
    // a time in the past of one second has another nanosecond part than its whole
    let pauses = prop_oneof![0u64..3, 0u64..2_000_000_000, 59_999_999_990u64..60_000_000_010];
    let quotas = (
        prop_oneof![1u32..10, 1u32..5000, Just(60), Just(7), Just(4_000_000_000)],
        prop_oneof![1u32..20, Just(100_000)],
    );
    let steps = prop::collection::vec((pauses, 0usize..3, prop_oneof![1u32..4, Just(20)]), 1..40);
    let run = AtomicU64::new(0);
    let mut runner = TestRunner::new(ProptestConfig { cases: 150, ..ProptestConfig::default() });
    let done = runner.run(&(quotas, steps), |((per_minute, burst), steps)| {
        let run = run.fetch_add(1, Ordering::SeqCst);
        let config = config(per_minute, burst);
        let memory = Limiter::new(&config, clock.clone() as SharedClock);
        let one = Limiter::instances(&config, clock.clone(), &shared);
        let other = Limiter::instances(&config, clock.clone(), &shared);
        for (index, (pause, who, cost)) in steps.into_iter().enumerate() {
            clock.advance(Duration::from_nanos(pause));
            let principal = format!("{run}-{who}");
            // two instances in turn: one that does not know what the other has taken has to ask
            let redis = if index % 2 == 0 { &one } else { &other };
            let (left, right) = runtime.block_on(async {
                (memory.take(&principal, "write", cost).await, redis.take(&principal, "write", cost).await)
            });
            match (left, right) {
                (Ok(Decision::Allowed { left }), Ok(Decision::Allowed { left: right })) => {
                    prop_assert_eq!(left, right);
                }
                (Err(left), Err(right)) => {
                    prop_assert_eq!(left.retry_after(), right.retry_after());
                    prop_assert_eq!(left.message(), right.message());
                }
                _ => prop_assert!(false, "one allowed what the other refused"),
            }
        }
        Ok(())
    });
    done.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_behind_or_wrong_grants_nothing_more() {
    let Some(server) = Server::start(&[]) else { return };
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ahead = ManualClock::at(Duration::from_secs(1_700_000_100));
    let behind = ManualClock::at(Duration::from_secs(1_700_000_000));
    let first = opened(&server.config(), one.path(), None, ahead.clone()).await.unwrap();
    let second = opened(&server.config(), two.path(), None, behind.clone()).await.unwrap();
    let ahead_limiter = Limiter::instances(&config(60, 10), ahead.clone(), &first);
    let behind_limiter = Limiter::instances(&config(60, 10), behind.clone(), &second);
    for _ in 0..5 {
        assert!(ahead_limiter.take("a", "write", 1).await.is_ok());
        assert!(behind_limiter.take("a", "write", 1).await.is_ok());
    }
    for limiter in [&ahead_limiter, &behind_limiter] {
        let refused = limiter.take("a", "write", 1).await.unwrap_err();
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)), "time stands where it was seen last");
    }
    // a clock that is set back gives nothing either
    let back = ManualClock::at(Duration::from_secs(1_600_000_000));
    let third = opened(&server.config(), one.path(), None, back.clone()).await.unwrap();
    assert!(Limiter::instances(&config(60, 10), back, &third).take("a", "write", 1).await.is_err());
    ahead.advance(Duration::from_secs(1));
    assert!(ahead_limiter.take("a", "write", 1).await.is_ok());
}

/// Callers that take from two limiters in turn, from here to the end, whatever happens.
struct Hammer {
    taken: Arc<AtomicU64>,
    tried: Arc<AtomicU64>,
    tasks: JoinSet<()>,
    since: Instant,
}

impl Hammer {
    const QUOTA: (u32, u32) = (600, 20);

    fn begin(limiters: &[Arc<Limiter>; 2], class: &'static str) -> Self {
        let mut hammer = Self {
            taken: Arc::default(),
            tried: Arc::default(),
            tasks: JoinSet::new(),
            since: Instant::now(),
        };
        for index in 0..8 {
            let (limiter, taken) = (Arc::clone(&limiters[index % 2]), Arc::clone(&hammer.taken));
            let tried = Arc::clone(&hammer.tried);
            hammer.tasks.spawn(async move {
                loop {
                    taken.fetch_add(u64::from(limiter.take("a", class, 1).await.is_ok()), Ordering::SeqCst);
                    tried.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            });
        }
        hammer
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    /// Waits until a good many more have tried: none of them waits for what happened before.
    async fn goes_on(&self) {
        let before = self.tried.load(Ordering::SeqCst);
        until("callers go on", || async { self.tried.load(Ordering::SeqCst) > before + 100 }).await;
        self.fits();
    }

    /// Waits until more are let through.
    async fn gains(&self) {
        let before = self.taken();
        until("calls are let through again", || async { self.taken() > before }).await;
        self.fits();
    }

    /// Never more than a burst and what the quota gives in that time (measured after what was counted).
    fn fits(&self) {
        let taken = self.taken();
        let most =
            f64::from(Self::QUOTA.1) + f64::from(Self::QUOTA.0) * self.since.elapsed().as_secs_f64() / 60.0;
        #[allow(clippy::cast_precision_loss, reason = "counts of a test are small")]
        let all = taken as f64;
        assert!(all <= most, "{all} were let through, {most} may be");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_share_a_quota_whatever_happens_to_the_store() {
    let Some(mut server) = Server::start(&[]) else { return };
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) =
        (instance(&server.config(), one.path()).await, instance(&server.config(), two.path()).await);
    let config = config(Hammer::QUOTA.0, Hammer::QUOTA.1);
    let limiters = [limiter(&config, &first), limiter(&config, &second)].map(Arc::new);
    let [left, right] = &limiters;
    let back = || async { first.problem().is_none() && second.problem().is_none() };
    for class in ["write", "read"] {
        // calls are on their way whenever something happens
        let hammer = Hammer::begin(&limiters, class);
        until("the burst is let through", || async { hammer.taken() >= 20 }).await;
        hammer.goes_on().await;
        // flushed: nobody gets a second burst
        server.tell(&["FLUSHALL"]);
        hammer.goes_on().await;
        // killed: refused, with a time to come back
        server.kill();
        until("the store is away", || async { left.take("b", class, 1).await.is_err() }).await;
        let refused = right.take("b", class, 1).await.unwrap_err();
        assert_eq!(
            (refused.kind(), refused.retry_after()),
            (Kind::RateLimited, Some(Duration::from_secs(1)))
        );
        assert!(refused.message().contains("cannot be reached"), "{refused}");
        hammer.goes_on().await;
        // and back, empty, without a restart of ours
        server.run();
        until("both are back", back).await;
        hammer.gains().await;
        // frozen: nobody waits for it longer than the settings say, and then nobody waits at all
        server.freeze();
        let begun = Instant::now();
        assert!(left.take("c", class, 1).await.is_err());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        until("it is known to be away", || async {
            left.take("c", class, 1).await.is_err() && first.problem().is_some()
        })
        .await;
        let begun = Instant::now();
        for _ in 0..100 {
            assert!(left.take("c", class, 1).await.is_err());
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        hammer.goes_on().await;
        server.thaw();
        until("both are back", back).await;
        hammer.gains().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_evicts_is_not_used() {
    let Some(server) = Server::start(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let shared = instance(&server.config(), folder.path()).await;
    let limiter = limiter(&config(600, 20), &shared);
    assert!(limiter.take("a", "write", 1).await.is_ok());
    server.tell(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    until("it is noticed", || async { shared.problem().is_some() }).await;
    assert!(limiter.take("a", "write", 1).await.is_err());
    let problem = shared.problem().unwrap();
    assert!(problem.sentence().contains("noeviction"), "{}", problem.sentence());
    let refused = opened(&server.config(), folder.path(), None, SystemClock::shared()).await.err().unwrap();
    assert_eq!(refused.kind(), Kind::BadConfig);
    server.tell(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    until("it is used again", || async { limiter.take("a", "write", 1).await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_an_instance_counts_alone_only_where_it_was_told_to() {
    let Some(mut server) = Server::start(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let shared = instance(&server.config(), folder.path()).await;
    let with = |on_outage| limiter(&Config { on_outage, ..config(1, 4) }, &shared);
    let (refuses, reads, local) = (with(Outage::Refuse), with(Outage::Reads), with(Outage::Local));
    for limiter in [&refuses, &reads, &local] {
        assert!(limiter.take("a", "write", 1).await.is_ok());
    }
    server.kill();
    until("it is away", || async { shared.problem().is_some() }).await;
    for (limiter, read, write) in [(&refuses, 0, 0), (&reads, 4, 0), (&local, 4, 3)] {
        for (class, most) in [("read", read), ("write", write)] {
            let mut taken = 0;
            for _ in 0..10 {
                taken += u32::from(limiter.take("a", class, 1).await.is_ok());
            }
            assert_eq!(taken, most, "{class}: its own count goes on, and there is no other burst");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_taken_some_at_a_time_and_writes_one_by_one() {
    let Some(server) = Server::start(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let shared = instance(&server.config(), folder.path()).await;
    let limiter = limiter(&config(6_000_000, 100_000), &shared);
    let asked = || {
        let told = server.tell(&["INFO", "commandstats"]);
        let line =
            told.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap_or_default().to_owned();
        let calls = line.split("calls=").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("0");
        calls.parse::<u64>().unwrap()
    };
    for (class, calls, least, most) in [("read", 5000, 1, 60), ("write", 200, 200, 210)] {
        let (before, begun) = (asked(), Instant::now());
        for _ in 0..calls {
            limiter.take("a", class, 1).await.unwrap();
        }
        let (asked, each) = (asked() - before, begun.elapsed() / calls);
        println!("{calls} {class} calls asked the store {asked} times, {each:?} each");
        assert!((least..=most).contains(&asked), "{class}: {asked}");
    }
    // who calls now and then holds nothing that others could use
    let rare = Limiter::instances(&config(60, 160), SystemClock::shared(), &shared);
    rare.take("rare", "read", 1).await.unwrap();
    let other = Limiter::instances(&config(60, 160), SystemClock::shared(), &shared);
    let Decision::Allowed { left } = other.take("rare", "read", 159).await.unwrap() else { panic!() };
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_noticed_by_an_instance_that_was_down_meanwhile() {
    let Some(server) = Server::start(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = config(60, 5);
    for _ in 0..5 {
        let shared = instance(&server.config(), folder.path()).await;
        assert!(limiter(&config, &shared).take("a", "write", 1).await.is_ok());
    }
    server.tell(&["FLUSHALL"]);
    let shared = instance(&server.config(), folder.path()).await;
    let refused = limiter(&config, &shared).take("a", "write", 1).await.unwrap_err();
    assert!(refused.retry_after().unwrap() <= Duration::from_secs(1), "{:?}", refused.retry_after());
    // a store that nobody knew begins full
    let (fresh, other) = (Server::start(&[]).unwrap(), tempfile::tempdir().unwrap());
    let shared = instance(&fresh.config(), other.path()).await;
    assert!(limiter(&config, &shared).take("a", "write", 5).await.is_ok());
}
