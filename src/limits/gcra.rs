//! The arithmetic of a quota.
//!
//! Owns [`Quota`], [`Decision`] and [`decide`]. The idea: a bucket is one number, the time at which it would be full
//! again (the "theoretical arrival time" of the generic cell rate algorithm); a take moves it on, and is refused when
//! it would move further ahead of now than the burst allows. All in whole nanoseconds, rounded against the caller.
//!
//! Must not: read a clock, or keep anything.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u32 = 60;
const DAY: u32 = 24 * 60 * 60;

/// How much is allowed: so many per minute, of which so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// How many a minute, in the long run; in a period of another length where it was made with one.
    pub per_minute: u32,
    /// How many at once.
    pub burst: u32,
    /// Seconds of the period.
    #[serde(skip, default = "a_minute")]
    period: u32,
}

const fn a_minute() -> u32 {
    MINUTE
}

impl Quota {
    /// A quota.
    pub const fn new(per_minute: u32, burst: u32) -> Self {
        Self { per_minute, burst, period: MINUTE }
    }

    /// At most `most` in any 24 hours, of which `burst` at once: what is spent comes back at the rate that keeps this
    /// true, so a burst that leaves nothing to come back is cut to leave one.
    pub fn of_a_day(most: u32, burst: u32) -> Self {
        let burst = burst.min(most.saturating_sub(1).max(1));
        Self { per_minute: most.saturating_sub(burst), burst, period: DAY }
    }

    /// How many in how many seconds, as a caller is told it.
    pub const fn announced(self) -> (u32, u32) {
        match self.period {
            MINUTE => (self.per_minute, MINUTE),
            // all that can be taken in any period of this length
            period => (self.per_minute.saturating_add(self.burst), period),
        }
    }

    /// Nanoseconds between two takes in the long run; rounded up, so that rounding never grants more.
    const fn interval(self) -> u64 {
        if self.per_minute == 0 {
            u64::MAX
        } else {
            (self.period as u64 * SECOND).div_ceil(self.per_minute as u64)
        }
    }

    /// How far ahead of now a bucket may be.
    const fn tolerance(self) -> u64 {
        self.interval().saturating_mul(self.burst as u64)
    }

    /// How far a take of `cost` moves a bucket on.
    pub(super) fn taking(self, cost: u32) -> Duration {
        Duration::from_nanos(self.interval().saturating_mul(u64::from(cost)))
    }

    /// When a bucket that is empty now is full again.
    pub(super) fn empty_at(self, now: Duration) -> Duration {
        now.saturating_add(Duration::from_nanos(self.tolerance()))
    }

    /// Whether nothing can ever be taken.
    const fn is_closed(self) -> bool {
        self.per_minute == 0 || self.burst == 0
    }

    /// How many could be taken at once from a bucket that is full again at `full_at`.
    pub fn left(self, full_at: Duration, now: Duration) -> u32 {
        if self.is_closed() {
            return 0;
        }
        let ahead = nanos(full_at).saturating_sub(nanos(now));
        u32::try_from(self.tolerance().saturating_sub(ahead) / self.interval()).unwrap_or(u32::MAX)
    }
}

/// What was decided about one take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Taken.
    Allowed {
        /// How many more could be taken right now.
        left: u32,
    },
    /// Not taken; nothing changed.
    Refused {
        /// When the same take will succeed if nobody takes before; none when it never can.
        retry_after: Option<Duration>,
    },
}

/// Decides about taking `cost` from a bucket that is full again at `full_at`. Returns the decision and the bucket's
/// new state, which is the old one when refused.
pub fn decide(full_at: Duration, quota: Quota, cost: u32, now: Duration) -> (Decision, Duration) {
    if quota.is_closed() || cost > quota.burst {
        return (Decision::Refused { retry_after: None }, full_at);
    }
    let (now_nanos, interval, tolerance) = (nanos(now), quota.interval(), quota.tolerance());
    let next = nanos(full_at).max(now_nanos).saturating_add(interval.saturating_mul(u64::from(cost)));
    let ahead = next - now_nanos;
    if ahead > tolerance {
        let wait = Duration::from_nanos(ahead - tolerance);
        return (Decision::Refused { retry_after: Some(wait) }, full_at);
    }
    let next = Duration::from_nanos(next);
    (Decision::Allowed { left: quota.left(next, now) }, next)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_is_granted_and_the_next_take_is_told_when() {
        let quota = Quota::new(60, 3);
        let mut full_at = Duration::ZERO;
        for expected in [2, 1, 0] {
            let (decision, next) = decide(full_at, quota, 1, Duration::from_secs(9));
            assert_eq!(decision, Decision::Allowed { left: expected });
            full_at = next;
        }
        let (decision, next) = decide(full_at, quota, 1, Duration::from_secs(9));
        assert_eq!(decision, Decision::Refused { retry_after: Some(Duration::from_secs(1)) });
        assert_eq!(next, full_at);
    }

    #[test]
    fn what_can_never_succeed_has_no_retry_time() {
        for quota in [Quota::new(0, 10), Quota::new(10, 0), Quota::new(60, 3)] {
            let (decision, _) = decide(Duration::ZERO, quota, 4, Duration::from_secs(1));
            assert_eq!(decision, Decision::Refused { retry_after: None });
        }
        assert_eq!(Quota::new(0, 5).left(Duration::ZERO, Duration::ZERO), 0);
    }

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate_times_time(
            per_minute in 1u32..100_000, burst in 1u32..200,
            steps in prop::collection::vec((0u64..3_000_000_000, 1u32..4), 1..200),
        ) {
            let quota = Quota::new(per_minute, burst);
            let (mut now, mut full_at, mut taken) = (0u64, Duration::ZERO, 0u64);
            for (pause, cost) in steps {
                now += pause;
                let (decision, next) = decide(full_at, quota, cost, Duration::from_nanos(now));
                full_at = next;
                if let Decision::Allowed { .. } = decision {
                    taken += u64::from(cost);
                }
                let most = u128::from(burst)
                    + u128::from(per_minute) * u128::from(now) / (u128::from(MINUTE) * u128::from(SECOND));
                prop_assert!(u128::from(taken) <= most, "{taken} taken, {most} allowed");
            }
        }

        #[test]
        fn a_day_never_sees_more_than_its_budget(
            most in 2u32..400, burst in 1u32..400,
            steps in prop::collection::vec((0u64..3_600_000_000_000, 1u32..3), 1..300),
        ) {
            let quota = Quota::of_a_day(most, burst);
            let (mut now, mut full_at) = (1_000_000_000_000_000u64, Duration::ZERO);
            let mut taken: Vec<(u64, u32)> = Vec::new();
            for (pause, cost) in steps {
                now += pause;
                let (decision, next) = decide(full_at, quota, cost, Duration::from_nanos(now));
                full_at = next;
                if let Decision::Allowed { .. } = decision {
                    taken.push((now, cost));
                }
                let day = taken.iter().filter(|(at, _)| at + u64::from(DAY) * SECOND > now);
                let sum: u32 = day.map(|(_, cost)| cost).sum();
                prop_assert!(sum <= most, "{sum} of {most}");
            }
        }

        #[test]
        fn a_take_at_the_retry_time_succeeds_and_not_before(
            per_minute in 1u32..100_000, burst in 1u32..50, ahead in 0u64..90_000_000_000, cost in 1u32..50,
        ) {
            let (quota, now) = (Quota::new(per_minute, burst), Duration::from_secs(1000));
            let full_at = now + Duration::from_nanos(ahead);
            if let (Decision::Refused { retry_after: Some(wait) }, _) = decide(full_at, quota, cost, now) {
                let early = decide(full_at, quota, cost, (now + wait).saturating_sub(Duration::from_nanos(1))).0;
                let in_time = decide(full_at, quota, cost, now + wait).0;
                let refused_early = matches!(early, Decision::Refused { .. });
                let allowed_in_time = matches!(in_time, Decision::Allowed { .. });
                prop_assert!(refused_early && allowed_in_time);
            }
        }

        #[test]
        fn what_is_left_can_be_taken_and_one_more_cannot(
            per_minute in 1u32..100_000, burst in 1u32..50, ahead in 0u64..90_000_000_000,
        ) {
            let (quota, now) = (Quota::new(per_minute, burst), Duration::from_secs(1000));
            let full_at = now + Duration::from_nanos(ahead);
            let left = quota.left(full_at, now);
            let more = decide(full_at, quota, left + 1, now).0;
            let all = decide(full_at, quota, left, now).0;
            let more_is_refused = matches!(more, Decision::Refused { .. });
            let all_is_allowed = left == 0 || matches!(all, Decision::Allowed { left: 0 });
            prop_assert!(more_is_refused && all_is_allowed);
        }
    }
}
