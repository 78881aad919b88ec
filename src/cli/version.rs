//! `bartizan version`.
//!
//! Owns which versions are supported. The idea: a program cannot know what came after it, but it knows its own day, and
//! that nothing is supported for ever.
//!
//! Must not: ask the network.

use std::time::Duration;

use super::args::Version;
use super::screen::{Screen, Tone};
use crate::clock::{SystemClock, rfc3339};
use crate::error::{Error, Kind, Result};
use crate::json::json;

/// The day of this version, in seconds of the epoch: 2026-11-22.
const RELEASED: u64 = 1_795_305_600;
/// Days for which it is supported.
const SUPPORTED: u64 = 365;

/// How a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    until: Duration,
    supported: bool,
}

fn standing(now: Duration) -> Standing {
    let until = Duration::from_secs(RELEASED) + Duration::from_hours(24 * SUPPORTED);
    Standing { until, supported: now < until }
}

pub(super) fn run(typed: &Version, screen: Screen) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let clock = SystemClock::shared();
    let Standing { until, supported } = standing(clock.wall());
    let until = rfc3339(until);
    let day = until.get(..10).unwrap_or_default();
    if typed.json {
        screen.json(&json!({"version": version, "supported_until": day, "supported": supported}));
    } else {
        screen.line(&format!("bartizan {version}"));
    }
    if !typed.check {
        return Ok(());
    }
    if supported {
        if !typed.json {
            screen.line(
                &screen.paint(Tone::Good, &format!("supported until {day}, if no newer one fixes a fault")),
            );
        }
        return Ok(());
    }
    Err(Error::new(
        Kind::Forbidden,
        format!(
            "This version has not been supported since {day}; faults found since then are not mended in it. Update."
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_supported_for_a_year_and_not_for_ever() {
        assert_eq!(rfc3339(Duration::from_secs(RELEASED)), "2026-11-22T00:00:00.000Z");
        let day = |days: u64| Duration::from_secs(RELEASED) + Duration::from_hours(24 * days);
        assert!(standing(day(0)).supported && standing(day(364)).supported);
        assert!(!standing(day(365)).supported && !standing(day(5000)).supported);
    }
}
