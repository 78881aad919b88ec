//! What is tried again, and when.
//!
//! Owns the arithmetic of waiting: backoff with full jitter, `Retry-After`, and the budget that keeps retries from
//! multiplying an outage. The idea: plain functions of numbers.
//!
//! Must not: sleep, or ask the time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::http::HeaderMap;
use ::http::header::RETRY_AFTER;

/// Waits grow from here.
const BASE: Duration = Duration::from_millis(250);
/// Waits grow to here.
const CEILING: Duration = Duration::from_secs(8);
/// Nothing an upstream asks for is believed beyond this.
pub(super) const LONGEST: u64 = 24 * 60 * 60;

/// The wait before try number `tries + 1`, anywhere between nothing and the exponential bound; `random` is in 0..1.
pub(super) fn backoff(tries: u32, random: f64) -> Duration {
    let bound = BASE.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1).min(16))).min(CEILING);
    bound.mul_f64(random.clamp(0.0, 1.0))
}

/// What `Retry-After` asks for: seconds, or a date compared with `wall`.
pub(super) fn retry_after(headers: &HeaderMap, wall: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse::<u64>().unwrap_or(LONGEST);
        return Some(Duration::from_secs(seconds.min(LONGEST)));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?.as_second();
    let at = Duration::from_secs(u64::try_from(at).ok()?);
    Some(at.saturating_sub(wall).min(Duration::from_secs(LONGEST)))
}

/// Whether an answer of this status is worth another try.
///
/// A 429 says that the request was counted and not served. Any 5xx may come after the work was done, or from something
/// in between that cannot know, whatever it asks for in `Retry-After`: what must not be done twice is not sent twice.
pub(super) fn worth(status: u16, idempotent: bool) -> bool {
    match status {
        429 => true,
        502..=504 => idempotent,
        _ => false,
    }
}

/// Retries that may still be spent: a tenth of the requests, and ten to begin with.
#[derive(Debug)]
pub(super) struct Budget(Mutex<u32>);

impl Budget {
    const FULL: u32 = 100;
    const RETRY: u32 = 10;

    pub(super) fn new() -> Self {
        Self(Mutex::new(Self::FULL))
    }

    /// A request was begun.
    pub(super) fn earn(&self) {
        let mut tenths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *tenths = (*tenths + 1).min(Self::FULL);
    }

    /// Takes one retry, if there is one.
    pub(super) fn spend(&self) -> bool {
        let mut tenths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = *tenths >= Self::RETRY;
        if enough {
            *tenths -= Self::RETRY;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, backoff, retry_after, worth};
    use ::http::{HeaderMap, HeaderValue};
    use std::time::Duration;

    #[test]
    fn waits_grow_and_stop_growing() {
        assert_eq!(backoff(1, 1.0), Duration::from_millis(250));
        assert_eq!(backoff(2, 1.0), Duration::from_millis(500));
        assert_eq!(backoff(40, 1.0), Duration::from_secs(8));
        assert_eq!(backoff(3, 0.0), Duration::ZERO);
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let wall = Duration::from_secs(784_111_770);
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", HeaderValue::from_static(text));
            retry_after(&headers, wall)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("99999999999999999999999"), Some(Duration::from_secs(86_400)));
        assert_eq!(read("-1"), None);
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn only_what_is_safe_is_tried_again() {
        assert!(worth(429, false));
        for status in [502, 503, 504] {
            assert!(worth(status, true) && !worth(status, false), "{status}");
        }
        assert!(!worth(500, true));
    }

    #[test]
    fn the_budget_runs_dry_and_is_earned_back() {
        let budget = Budget::new();
        assert_eq!((0..20).filter(|_| budget.spend()).count(), 10);
        for _ in 0..10 {
            budget.earn();
        }
        assert!(budget.spend());
        assert!(!budget.spend());
    }
}
