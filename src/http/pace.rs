//! How fast one upstream is asked with one credential.
//!
//! Owns [`Turns`]. The idea: a request may leave when the configured pace, the number under way and what the upstream
//! announced all allow it. What was announced is read so that the upstream never sees more than it said, whatever is still
//! under way and however late answers come: a request counts against a window until its answer shows that it is in another.
//!
//! Must not: sleep, or ask the time.

use std::collections::VecDeque;
use std::time::Duration;

use super::announced::Announced;
use super::settings::Pace;
use crate::limits::{Decision, Quota, decide};

/// Until the first answer, which may announce a limit, one request leaves at a time, but not for longer than this.
const FIRST: Duration = Duration::from_secs(1);
/// Announced times are whole seconds, rounded somehow.
const ROUNDING: Duration = Duration::from_secs(1);
/// A policy that allows more than this in a window is no limit for a client.
const MOST: u32 = 10_000;

/// When a request may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Now,
    /// Not before so long.
    For(Duration),
    /// Not before something that is under way has ended.
    Answer,
}

/// The turns of one upstream and credential.
#[derive(Debug)]
pub(super) struct Turns {
    quota: Option<Quota>,
    at_once: u32,
    /// When the whole burst of the configured pace is there again.
    full_at: Duration,
    /// Nothing leaves before this.
    paused: Duration,
    /// Under way.
    flying: u32,
    /// When the first request left that no answer has followed yet; none once there was an answer.
    first: Option<Duration>,
    answered: bool,
    window: Option<Window>,
    limit: Option<u32>,
    policies: Vec<(u32, Duration)>,
    /// When answers came, as far back as the longest policy reaches.
    answers: VecDeque<Duration>,
}

/// What is known of the window that an upstream counts in. Where answers are late it may be several; then the strictest
/// of what they said holds until the last of them has ended.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// The least that any answer said was left.
    left: u32,
    /// Answers since then that said nothing.
    mute: u32,
    /// When the last of those came.
    muted: Duration,
    /// It has ended by then; none where nothing of it is known but its limit.
    ends: Option<Duration>,
    /// It has not ended before this.
    lasts: Duration,
    /// Answers that said nothing and may belong to the next one.
    spilt: u32,
}

/// A request that left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    at: Duration,
}

impl Turns {
    pub(super) fn new(pace: Option<Pace>, at_once: u32) -> Self {
        let mut turns = Self {
            quota: None,
            at_once: 1,
            full_at: Duration::ZERO,
            paused: Duration::ZERO,
            flying: 0,
            first: None,
            answered: false,
            window: None,
            limit: None,
            policies: Vec::new(),
            answers: VecDeque::new(),
        };
        turns.tune(pace, at_once);
        turns
    }

    /// Other settings; what was learned stays.
    pub(super) fn tune(&mut self, pace: Option<Pace>, at_once: u32) {
        self.quota = pace.map(|pace| Quota::new(pace.per_minute.max(1), pace.burst.max(1)));
        self.at_once = at_once.max(1);
    }

    pub(super) const fn flying(&self) -> u32 {
        self.flying
    }

    /// When the request may leave that `before` others come before; for one that has others before it, at the earliest.
    pub(super) fn wait(&mut self, now: Duration, before: u32) -> Wait {
        self.roll(now);
        if self.flying.saturating_add(before) >= self.at_once && before == 0 {
            return Wait::Answer;
        }
        let mut turn = now.max(self.paused);
        match &self.window {
            Some(window) => {
                if window.left.saturating_sub(window.mute).saturating_sub(self.flying) <= before {
                    match window.ends {
                        Some(ends) => turn = turn.max(ends),
                        None if before == 0 => return Wait::Answer,
                        None => {}
                    }
                }
            }
            None => {
                for (quota, window) in &self.policies {
                    let since = now.saturating_sub(*window);
                    let recent = self.answers.iter().filter(|at| **at > since).count();
                    let room = (*quota as usize).saturating_sub(self.flying as usize);
                    if room == 0 && before == 0 {
                        return Wait::Answer;
                    }
                    // so many answers have to be old before there is room
                    let surplus = (recent + before as usize + 1).saturating_sub(room);
                    if surplus > 0
                        && let Some(at) = self
                            .answers
                            .iter()
                            .filter(|at| **at > since)
                            .nth(surplus.min(recent).saturating_sub(1))
                    {
                        turn = turn.max(*at + *window);
                    }
                }
            }
        }
        if let Some(quota) = self.quota {
            turn = turn.max(paced(quota, self.full_at, turn, before));
        }
        if !self.answered && self.flying > 0 && before == 0 {
            turn = turn.max(self.first.unwrap_or(now) + FIRST);
        }
        match turn.saturating_sub(now) {
            Duration::ZERO => Wait::Now,
            wait => Wait::For(wait),
        }
    }

    /// A request leaves now.
    pub(super) fn leave(&mut self, now: Duration) -> Left {
        if let Some(quota) = self.quota {
            self.full_at = decide(self.full_at, quota, 1, now).1;
        }
        self.first = self.first.or(Some(now));
        self.flying += 1;
        Left { at: now }
    }

    /// It ended without an answer: it may have been counted all the same.
    pub(super) fn lost(&mut self, now: Duration) {
        self.settle(now, None);
    }

    /// Its answer came.
    pub(super) fn answered(&mut self, left: Left, said: &Announced, now: Duration) {
        self.answered = true;
        if !said.policies.is_empty() {
            self.policies = said.policies.iter().filter(|(quota, _)| *quota <= MOST).copied().collect();
        }
        self.limit = match (said.limit, said.remaining) {
            (Some(limit), _) => Some(limit),
            // at least so many
            (None, Some(remaining)) => self.limit.max(Some(remaining.saturating_add(1))),
            (None, None) => self.limit,
        };
        let told = said.remaining.map(|remaining| (remaining, said.reset.unwrap_or(ROUNDING), left));
        self.settle(now, told);
    }

    /// Nothing leaves for this long.
    pub(super) fn pause(&mut self, now: Duration, pause: Duration) {
        self.paused = self.paused.max(now + pause);
    }

    /// A window that has ended is forgotten; what may have been counted in the next one is not.
    fn roll(&mut self, now: Duration) {
        let Some(window) = self.window else { return };
        if window.ends.is_some_and(|ends| now >= ends) {
            let next = self.limit.filter(|_| self.policies.is_empty());
            self.window = next.map(|limit| {
                let left = limit.saturating_sub(window.spilt);
                Window { left, mute: 0, muted: now, ends: None, lasts: now, spilt: 0 }
            });
        } else if window.ends.is_none() && self.flying == 0 && window.left <= window.mute {
            // an upstream that has stopped announcing is not waited for
            (self.window, self.limit) = (None, None);
        }
    }

    fn settle(&mut self, now: Duration, told: Option<(u32, Duration, Left)>) {
        self.roll(now);
        self.flying = self.flying.saturating_sub(1);
        if let Some(longest) = self.policies.iter().map(|(_, window)| *window).max() {
            self.answers.push_back(now);
            let since = now.saturating_sub(longest);
            while self.answers.front().is_some_and(|at| *at <= since) || self.answers.len() > MOST as usize {
                self.answers.pop_front();
            }
        } else {
            self.answers.clear();
        }
        let Some((remaining, reset, request)) = told else {
            if let Some(window) = &mut self.window {
                window.mute += 1;
                window.muted = now;
                window.spilt += u32::from(now >= window.lasts);
            }
            return;
        };
        // It was counted at some time between leaving and now, and its window ends between these.
        let (lasts, ends) = (request.at + reset, now + reset + ROUNDING);
        match &mut self.window {
            Some(Window { left, mute, muted, ends: Some(known), lasts: least, .. }) if lasts <= *known => {
                *left = remaining.min(*left);
                if request.at > *muted {
                    *mute = 0;
                }
                *known = ends.max(*known);
                *least = lasts.max(*least);
            }
            // a later window than any before, or the first that is known
            _ => {
                self.window = Some(Window {
                    left: remaining,
                    mute: 0,
                    muted: request.at,
                    ends: Some(ends),
                    lasts,
                    spilt: 0,
                });
            }
        }
    }
}

/// When the configured pace has room for the request that `before` others come before.
fn paced(quota: Quota, full_at: Duration, turn: Duration, before: u32) -> Duration {
    let there = quota.left(full_at, turn);
    if there > before {
        return turn;
    }
    let first = match decide(full_at, quota, 1, turn).0 {
        Decision::Refused { retry_after } if there == 0 => retry_after.unwrap_or(Duration::from_mins(1)),
        _ => Duration::ZERO,
    };
    let more = if there == 0 { before } else { before - there };
    turn + first + Duration::from_mins(1) * more / quota.per_minute.max(1)
}

#[cfg(test)]
mod tests {
    use super::{Announced, Left, Turns, Wait};
    use crate::http::Pace;
    use proptest::prelude::*;
    use std::time::Duration;

    const S: Duration = Duration::from_secs(1);

    fn said(remaining: u32, reset: u64) -> Announced {
        Announced {
            remaining: Some(remaining),
            reset: Some(S * u32::try_from(reset).unwrap()),
            ..Announced::default()
        }
    }

    /// One request after the other, each answered at once.
    fn after(turns: &mut Turns, now: Duration, said: &Announced) {
        assert_eq!(turns.wait(now, 0), Wait::Now);
        let left = turns.leave(now);
        turns.answered(left, said, now);
    }

    #[test]
    fn a_burst_passes_and_the_rest_comes_evenly() {
        let mut turns = Turns::new(Some(Pace { per_minute: 60, burst: 3 }), 100);
        let now = S * 100;
        for _ in 0..3 {
            after(&mut turns, now, &Announced::default());
        }
        assert_eq!(turns.wait(now, 0), Wait::For(S));
        assert_eq!(turns.wait(now, 4), Wait::For(S * 5), "who waits behind others waits for them too");
        after(&mut turns, now + S, &Announced::default());
        assert_eq!(turns.wait(now + S, 0), Wait::For(S));
        assert_eq!(turns.wait(now + S * 61, 2), Wait::Now);
    }

    #[test]
    fn a_pause_holds_for_all() {
        let mut turns = Turns::new(None, 100);
        turns.pause(S * 10, S * 30);
        assert_eq!(turns.wait(S * 10, 0), Wait::For(S * 30));
        assert_eq!(turns.wait(S * 35, 7), Wait::For(S * 5));
        assert_eq!(turns.wait(S * 41, 0), Wait::Now);
    }

    #[test]
    fn so_many_are_under_way_and_one_until_something_is_known() {
        let mut turns = Turns::new(None, 3);
        let first = turns.leave(S);
        assert_eq!(turns.wait(S, 0), Wait::For(S), "the first answer may announce a limit");
        assert_eq!(turns.wait(S * 2, 0), Wait::Now, "but it is not waited for for ever");
        turns.answered(first, &Announced::default(), S * 2);
        let left: Vec<Left> = (0..3).map(|_| turns.leave(S * 2)).collect();
        assert_eq!(turns.wait(S * 2, 0), Wait::Answer);
        turns.answered(left[0], &Announced::default(), S * 2);
        assert_eq!(turns.wait(S * 2, 0), Wait::Now);
        turns.lost(S * 2);
        assert_eq!(turns.flying(), 1);
    }

    #[test]
    fn what_is_announced_lowers_the_pace_until_the_window_ends() {
        let mut turns = Turns::new(None, 100);
        after(&mut turns, S, &said(2, 10));
        let (one, two) = (turns.leave(S), turns.leave(S));
        assert_eq!(turns.wait(S, 0), Wait::For(S * 11), "what is under way counts");
        turns.answered(two, &said(0, 10), S);
        turns.answered(one, &said(1, 10), S);
        assert_eq!(turns.wait(S, 0), Wait::For(S * 11), "an answer that comes late gives nothing back");
        assert_eq!(turns.wait(S * 12, 0), Wait::Now, "afterwards it recovers");
        after(&mut turns, S * 12, &said(5, 10));
        let _under_way: Vec<Left> = (0..4).map(|_| turns.leave(S * 12)).collect();
        assert_eq!(turns.wait(S * 12, 0), Wait::Now, "and another limit is another limit");
        let none = Announced { policies: vec![(2, S * 60)], ..Announced::default() };
        let mut silent = Turns::new(None, 100);
        after(&mut silent, S, &none);
        after(&mut silent, S * 3, &none);
        assert_eq!(silent.wait(S * 4, 0), Wait::For(S * 57), "a policy alone is kept too");
        assert_eq!(silent.wait(S * 61, 0), Wait::Now);
    }

    /// An upstream that counts in windows and announces what is left, with answers that come late and out of order.
    struct Model {
        limit: u32,
        window: u64,
        start: Duration,
        counts: std::collections::BTreeMap<u64, u32>,
    }

    impl Model {
        /// A request is counted; what the answer will say.
        fn count(&mut self, now: Duration, with_limit: bool, with_policy: bool, floor: bool) -> Announced {
            let since = u64::try_from(now.saturating_sub(self.start).as_millis()).unwrap();
            let index = since / (self.window * 1000);
            let count = self.counts.entry(index).or_default();
            *count += 1;
            assert!(*count <= self.limit, "{count} requests in a window of {}", self.limit);
            let rest = (index + 1) * self.window * 1000 - since;
            let reset = if floor { rest / 1000 } else { rest.div_ceil(1000) };
            Announced {
                limit: with_limit.then_some(self.limit),
                remaining: Some(self.limit - *count),
                reset: Some(Duration::from_secs(reset)),
                policies: if with_policy {
                    vec![(self.limit, Duration::from_secs(self.window))]
                } else {
                    Vec::new()
                },
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        /// Whatever is announced, and however late and mixed up answers come, no window ever sees more than its limit; and
        /// some requests leave all the same.
        #[test]
        fn an_upstream_never_sees_more_than_it_announced(
            limit in 1u32..12, window in 1u64..8, phase in 0u64..5000, floor in any::<bool>(), way in 0u8..3,
            at_once in 1u32..10,
            steps in prop::collection::vec((0u64..1500, 0u8..4, 0usize..8), 1..300)
        ) {
            let mut now = Duration::from_secs(1000);
            let start = now.saturating_sub(Duration::from_millis(phase));
            let mut model = Model { limit, window, start, counts: std::collections::BTreeMap::default() };
            let mut turns = Turns::new(None, at_once);
            let (mut sent, mut counted): (Vec<Left>, Vec<(Left, Announced)>) = (Vec::new(), Vec::new());
            let mut total = 0;
            for (pause, act, which) in steps {
                now += Duration::from_millis(pause);
                match act {
                    0 | 1 => {
                        // Nobody waits for longer than the first answer here: that patience is bounded elsewhere.
                        let goes = turns.wait(now, 0) == Wait::Now;
                        if goes && (turns.answered || turns.flying() == 0) {
                            sent.push(turns.leave(now));
                            total += 1;
                        }
                    }
                    2 if !sent.is_empty() => {
                        let left = sent.remove(which % sent.len());
                        let said = model.count(now, way != 1, way != 0, floor);
                        counted.push((left, said));
                    }
                    _ if !counted.is_empty() => {
                        let (left, said) = counted.remove(which % counted.len());
                        turns.answered(left, &said, now);
                    }
                    _ => {}
                }
            }
            // Once all is answered and the window is over, there is room again.
            for left in sent {
                now += S;
                let said = model.count(now, way != 1, way != 0, floor);
                counted.push((left, said));
            }
            for (left, said) in counted {
                turns.answered(left, &said, now);
            }
            now += Duration::from_secs(3 * window + 3);
            prop_assert_eq!(turns.wait(now, 0), Wait::Now, "after {} requests", total);
        }
    }
}
