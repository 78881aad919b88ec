//! The way to one upstream with one credential.
//!
//! Owns [`Lane`], its queue and its [`Permit`]s. The idea: a request gets a permit when the circuit is closed, the pace
//! allows it and it is its turn; callers take turns, so that who asks a hundred times waits a hundred times. Who would be
//! served too late is told at once when to come back.
//!
//! Must not: send.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::announced::Announced;
use super::circuit::{self, Change, Circuit, Outcome};
use super::pace::{Left, Turns, Wait};
use super::retry::Budget;
use super::settings::Pace;
use super::traffic::{State, Watch};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};

/// More requests than this do not wait for one upstream.
const MOST_WAITING: usize = 1000;
/// In which 429 answers are counted before somebody is told.
const WINDOW: Duration = Duration::from_mins(1);
/// A wait inside the whole request's deadline ends a little before it, so that it is told apart from a slow answer.
const MARGIN: Duration = Duration::from_millis(5);

tokio::task_local! {
    static OWNER: Arc<str>;
}

/// Runs `work` on behalf of a caller: its requests take turns with those of others.
pub async fn on_behalf<T>(owner: Arc<str>, work: impl Future<Output = T>) -> T {
    OWNER.scope(owner, work).await
}

/// What a lane keeps to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) pace: Option<Pace>,
    pub(super) at_once: u32,
    pub(super) circuit: circuit::Rules,
    /// Answers of 429 within a minute before somebody is told; 0 means never.
    pub(super) alert: u32,
}

pub(super) struct Lane {
    upstream: String,
    host: String,
    watch: Arc<OnceLock<Weak<dyn Watch>>>,
    inner: Mutex<Inner>,
    pub(super) budget: Budget,
}

struct Inner {
    turns: Turns,
    circuit: Circuit,
    queue: Queue,
    alert: u32,
    /// Answers of 429: how many since when, and whether somebody was told.
    busy: (u32, Duration, bool),
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    retries: u64,
    limited: u64,
    failed: u64,
    refused: u64,
}

/// Who waits, in the order in which they go: callers in turn, each by its own order.
#[derive(Default)]
struct Queue {
    waiting: BTreeMap<Key, (Option<Arc<str>>, Arc<Notify>)>,
    /// Of those who wait: the last round they have a place in, and how many places.
    owners: HashMap<Option<Arc<str>>, (u64, u32)>,
    round: u64,
    number: u64,
}

/// The round, and the place in it.
type Key = (u64, u64);

impl Queue {
    fn push(&mut self, owner: Option<Arc<str>>) -> (Key, Arc<Notify>) {
        let (last, count) = self.owners.get(&owner).copied().unwrap_or((0, 0));
        let round = if count > 0 { last + 1 } else { self.round.max(last) };
        self.owners.insert(owner.clone(), (round, count + 1));
        self.number += 1;
        let (key, bell) = ((round, self.number), Arc::new(Notify::new()));
        self.waiting.insert(key, (owner, Arc::clone(&bell)));
        (key, bell)
    }

    fn remove(&mut self, key: Key) {
        let Some((owner, _)) = self.waiting.remove(&key) else { return };
        if let Some((_, count)) = self.owners.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&owner);
            }
        }
    }

    /// How many go before this one.
    fn before(&self, key: Key) -> u32 {
        u32::try_from(self.waiting.range(..key).count()).unwrap_or(u32::MAX)
    }

    fn ring(&self) {
        if let Some((_, bell)) = self.waiting.values().next() {
            bell.notify_one();
        }
    }
}

impl Lane {
    pub(super) fn new(
        upstream: &str,
        host: &str,
        rules: Rules,
        watch: Arc<OnceLock<Weak<dyn Watch>>>,
    ) -> Self {
        Self {
            upstream: upstream.to_owned(),
            host: host.to_owned(),
            watch,
            inner: Mutex::new(Inner {
                turns: Turns::new(rules.pace, rules.at_once),
                circuit: Circuit::new(rules.circuit),
                queue: Queue::default(),
                alert: rules.alert,
                busy: (0, Duration::ZERO, false),
                counts: Counts::default(),
            }),
            budget: Budget::new(),
        }
    }

    pub(super) fn tune(&self, rules: Rules) {
        let mut inner = self.lock();
        inner.turns.tune(rules.pace, rules.at_once);
        inner.circuit.tune(rules.circuit);
        inner.alert = rules.alert;
        inner.queue.ring();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) -> Option<Arc<dyn Watch>> {
        self.watch.get()?.upgrade()
    }

    pub(super) fn state(&self) -> State {
        let inner = self.lock();
        State {
            upstream: self.upstream.clone(),
            host: self.host.clone(),
            circuit: inner.circuit.name(),
            flying: inner.turns.flying(),
            waiting: u32::try_from(inner.queue.waiting.len()).unwrap_or(u32::MAX),
            sent: inner.counts.sent,
            retries: inner.counts.retries,
            limited: inner.counts.limited,
            failed: inner.counts.failed,
            refused: inner.counts.refused,
        }
    }

    /// Waits for the turn of a request whose answer is wanted before `deadline`. `again` says that it is not its first try.
    pub(super) async fn enter(
        self: &Arc<Self>,
        clock: &SharedClock,
        deadline: Duration,
        again: bool,
    ) -> Result<Permit> {
        let mut place: Option<Place> = None;
        loop {
            let now = clock.monotonic();
            let patience = deadline.saturating_sub(now).saturating_sub(MARGIN);
            let (sleep, bell) = {
                let mut inner = self.lock();
                if let Some(shut) = inner.circuit.shut(now) {
                    inner.counts.refused += 1;
                    return Err(self.shut(shut));
                }
                let before = place
                    .as_ref()
                    .map_or(inner.queue.waiting.len(), |place| inner.queue.before(place.key) as usize);
                let wait = inner.turns.wait(now, u32::try_from(before).unwrap_or(u32::MAX));
                if before == 0 && wait == Wait::Now {
                    let probe = inner.circuit.sends();
                    let left = inner.turns.leave(now);
                    inner.counts.sent += 1;
                    inner.counts.retries += u64::from(again);
                    if let Some(place) = place.take() {
                        inner.queue.round = inner.queue.round.max(place.key.0);
                        place.give_up(&mut inner);
                    }
                    inner.queue.ring();
                    return Ok(Permit {
                        lane: Arc::clone(self),
                        clock: Arc::clone(clock),
                        left,
                        probe,
                        open: true,
                    });
                }
                let sleep = match wait {
                    Wait::For(wait) => Some(wait),
                    Wait::Now | Wait::Answer => None,
                };
                let full = place.is_none() && inner.queue.waiting.len() >= MOST_WAITING;
                if full || sleep.is_some_and(|sleep| sleep > patience) {
                    inner.counts.refused += 1;
                    let place = place.take();
                    if let Some(place) = place {
                        place.give_up(&mut inner);
                        inner.queue.ring();
                    }
                    return Err(self.busy(sleep.unwrap_or(Duration::from_secs(1))));
                }
                let bell = if let Some(place) = &place {
                    Arc::clone(&place.bell)
                } else {
                    let owner = OWNER.try_with(Arc::clone).ok();
                    let (key, bell) = inner.queue.push(owner);
                    place = Some(Place { lane: Arc::clone(self), key, bell: Arc::clone(&bell), held: true });
                    // it may stand before others now
                    if before > 0 {
                        inner.queue.ring();
                    }
                    bell
                };
                // only the first one watches the time; the others are called
                (sleep.filter(|_| before == 0), bell)
            };
            let wait = sleep.unwrap_or(patience).min(patience);
            if tokio::time::timeout(wait, bell.notified()).await.is_err() && sleep.is_none() {
                self.lock().counts.refused += 1;
                return Err(self.busy(Duration::from_secs(1)));
            }
        }
    }

    fn busy(&self, wait: Duration) -> Error {
        let seconds = wait.as_secs() + 1;
        let message =
            format!("{} accepts no more requests just now; try again in {seconds} seconds", self.upstream);
        Error::new(Kind::RateLimited, message).with_retry_after(wait)
    }

    fn shut(&self, wait: Duration) -> Error {
        let message = format!(
            "{} has failed too often and is not asked again for {} seconds; then one request will try whether it answers",
            self.upstream,
            wait.as_secs() + 1
        );
        Error::new(Kind::UpstreamFailed, message).with_retry_after(wait)
    }

    fn report(&self, inner: &mut Inner, now: Duration, probe: bool, outcome: Outcome) {
        let Some(change) = inner.circuit.report(now, probe, outcome) else { return };
        match change {
            Change::Opened(pause) => {
                let seconds = pause.as_secs();
                tracing::warn!(upstream = %self.upstream, seconds, "an upstream has failed too often and is left alone");
                if let Some(watch) = self.watch() {
                    watch.opened(&self.upstream, &self.host, pause);
                }
                // nobody waits for a turn that does not come
                for (_, bell) in inner.queue.waiting.values() {
                    bell.notify_one();
                }
            }
            Change::Closed => {
                tracing::info!(upstream = %self.upstream, "an upstream that was left alone answers again");
                if let Some(watch) = self.watch() {
                    watch.closed(&self.upstream, &self.host);
                }
            }
        }
    }

    /// Counts an answer of 429.
    fn too_many(&self, inner: &mut Inner, now: Duration) {
        inner.counts.limited += 1;
        if now.saturating_sub(inner.busy.1) > WINDOW || inner.busy.0 == 0 {
            inner.busy = (0, now, false);
        }
        inner.busy.0 += 1;
        if inner.alert > 0 && inner.busy.0 >= inner.alert && !inner.busy.2 {
            inner.busy.2 = true;
            tracing::warn!(upstream = %self.upstream, count = inner.busy.0, "an upstream keeps saying that it is asked too often");
            if let Some(watch) = self.watch() {
                watch.limited(&self.upstream, &self.host, inner.busy.0, WINDOW);
            }
        }
    }
}

/// A place in the queue; given up when it is dropped.
struct Place {
    lane: Arc<Lane>,
    key: Key,
    bell: Arc<Notify>,
    held: bool,
}

impl Place {
    fn give_up(mut self, inner: &mut Inner) {
        self.held = false;
        inner.queue.remove(self.key);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.held {
            let mut inner = self.lane.lock();
            inner.queue.remove(self.key);
            inner.queue.ring();
        }
    }
}

/// One request that may leave now. What became of it is said, or nothing is known of it.
pub(super) struct Permit {
    lane: Arc<Lane>,
    clock: SharedClock,
    left: Left,
    probe: bool,
    open: bool,
}

impl Permit {
    /// It was answered; for so long nothing may leave, where the answer was that it is too many.
    pub(super) fn answered(mut self, status: u16, said: &Announced, pause: Duration) {
        self.open = false;
        let now = self.clock.monotonic();
        let mut inner = self.lane.lock();
        inner.turns.answered(self.left, said, now);
        if status == 429 {
            inner.turns.pause(now, pause);
            self.lane.too_many(&mut inner, now);
        }
        // 501 says what it cannot do, not that it fails
        let bad = status >= 500 && status != 501;
        inner.counts.failed += u64::from(bad);
        self.lane.report(&mut inner, now, self.probe, if bad { Outcome::Bad } else { Outcome::Good });
        inner.queue.ring();
    }

    /// It was not answered. `down` says that the upstream is to blame.
    pub(super) fn failed(mut self, down: bool) {
        self.end(if down { Outcome::Bad } else { Outcome::Neither });
    }

    fn end(&mut self, outcome: Outcome) {
        self.open = false;
        let now = self.clock.monotonic();
        let mut inner = self.lane.lock();
        inner.turns.lost(now);
        inner.counts.failed += u64::from(outcome == Outcome::Bad);
        self.lane.report(&mut inner, now, self.probe, outcome);
        inner.queue.ring();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.open {
            self.end(Outcome::Neither);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const S: Duration = Duration::from_secs(1);

    fn lane(at_once: u32) -> Arc<Lane> {
        let circuit = circuit::Rules { failures: 3, open: S * 10 };
        let rules = Rules { pace: None, at_once, circuit, alert: 0 };
        Arc::new(Lane::new("widgets", "https://api.example.com", rules, Arc::default()))
    }

    async fn until(condition: impl Fn() -> bool) {
        let soon = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(S * 10, soon).await.unwrap();
    }

    #[tokio::test]
    async fn callers_take_turns_and_who_gives_up_holds_up_nobody() {
        let (lane, clock) = (lane(1), ManualClock::at(S * 1000) as SharedClock);
        let first = lane.enter(&clock, S * 2000, false).await.unwrap();
        first.answered(200, &Announced::default(), Duration::ZERO);
        let held = lane.enter(&clock, S * 2000, false).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (number, who) in
            ["greedy", "greedy", "greedy", "greedy", "modest", "other", "greedy"].into_iter().enumerate()
        {
            let (own, clock, order) = (Arc::clone(&lane), Arc::clone(&clock), Arc::clone(&order));
            tasks.push(tokio::spawn(on_behalf(Arc::from(who), async move {
                let permit = own.enter(&clock, S * 2000, false).await.unwrap();
                order.lock().unwrap().push(who);
                permit.answered(200, &Announced::default(), Duration::ZERO);
            })));
            until(|| lane.state().waiting as usize == number + 1).await;
        }
        tasks.remove(1).abort();
        until(|| lane.state().waiting == 6).await;
        held.failed(false);
        for task in tasks {
            tokio::time::timeout(S * 10, task).await.unwrap().unwrap();
        }
        let order = order.lock().unwrap().clone();
        assert!(order.iter().position(|who| *who == "modest").unwrap() <= 2, "{order:?}");
        assert!(order.iter().position(|who| *who == "other").unwrap() <= 2, "{order:?}");
        assert_eq!((order.len(), lane.state().waiting, lane.state().flying), (6, 0, 0));
    }

    #[tokio::test]
    async fn whose_turn_comes_too_late_is_told_so() {
        let (lane, clock) = (lane(1), ManualClock::at(S * 1000) as SharedClock);
        let first = lane.enter(&clock, S * 2000, false).await.unwrap();
        first.answered(429, &Announced::default(), S * 30);
        let Err(late) = lane.enter(&clock, S * 1010, false).await else { panic!("it was let in") };
        assert_eq!((late.kind(), late.retry_after()), (Kind::RateLimited, Some(S * 30)));
        let lane = self::lane(1);
        let _held = lane.enter(&clock, S * 2000, false).await.unwrap();
        let soon = S * 1000 + Duration::from_millis(20);
        let Err(queued) = lane.enter(&clock, soon, false).await else { panic!("it was let in") };
        assert_eq!(queued.kind(), Kind::RateLimited);
        assert_eq!((lane.state().waiting, lane.state().refused), (0, 1));
    }

    #[tokio::test]
    async fn who_waits_for_an_upstream_that_is_given_up_is_told_at_once() {
        let (lane, clock) = (lane(3), ManualClock::at(S * 1000) as SharedClock);
        lane.enter(&clock, S * 2000, false).await.unwrap().answered(
            200,
            &Announced::default(),
            Duration::ZERO,
        );
        let mut permits = Vec::new();
        for _ in 0..3 {
            permits.push(lane.enter(&clock, S * 2000, false).await.unwrap());
        }
        let waiting = {
            let (lane, clock) = (Arc::clone(&lane), Arc::clone(&clock));
            tokio::spawn(async move { lane.enter(&clock, S * 2000, false).await.map(|_| ()) })
        };
        until(|| lane.state().waiting == 1).await;
        for permit in permits {
            permit.answered(503, &Announced::default(), Duration::ZERO);
            if lane.state().circuit == "open" {
                break;
            }
        }
        // one of them was let in before the last failure came, or told
        let _ = tokio::time::timeout(S * 10, waiting).await.unwrap().unwrap();
        let Err(shut) = lane.enter(&clock, S * 2000, false).await else { panic!("it was let in") };
        assert_eq!((shut.kind(), shut.retry_after()), (Kind::UpstreamFailed, Some(S * 10)));
    }
}
