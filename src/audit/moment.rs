//! Times as people type them.
//!
//! Owns [`moment`]: a time, a day or an age becomes the text that audit lines carry. The idea: lines carry UTC in one form,
//! so that times compare as texts do; whatever is typed becomes that form first.
//!
//! Must not: ask for the time.

use std::time::Duration;

use crate::clock::rfc3339;
use crate::error::{Error, Kind, Result};

/// The moment that `text` means, `now` being the wall time: `2026-11-22T08:00:00Z`, `2026-11-22` (UTC), or an age such as
/// `90m`, `24h`, `7d`, `2w`.
pub fn moment(text: &str, now: Duration) -> Result<String> {
    let wrong = || {
        Error::new(
            Kind::BadConfig,
            "That is no time: write 2026-11-22T08:00:00Z, 2026-11-22, or an age such as 90m, 24h, 7d or 2w.",
        )
    };
    if let Some(age) = age(text) {
        return Ok(rfc3339(now.saturating_sub(age)));
    }
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let time: jiff::Timestamp = whole.parse().map_err(|_| wrong())?;
    let millis = u64::try_from(time.as_millisecond()).map_err(|_| wrong())?;
    Ok(rfc3339(Duration::from_millis(millis)))
}

fn age(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return None,
    };
    let count: u64 = digits.parse().ok()?;
    Some(Duration::from_secs(count.checked_mul(unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_becomes_one_form() {
        let now = Duration::from_secs(1_700_000_000);
        for (typed, meant) in [
            ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20.000Z"),
            ("2023-11-14T23:13:20+01:00", "2023-11-14T22:13:20.000Z"),
            ("2023-11-14", "2023-11-14T00:00:00.000Z"),
            ("20s", "2023-11-14T22:13:00.000Z"),
            ("24h", "2023-11-13T22:13:20.000Z"),
            ("1w", "2023-11-07T22:13:20.000Z"),
        ] {
            assert_eq!(moment(typed, now).unwrap(), meant, "{typed}");
        }
        for typed in
            ["", "d", "yesterday", "7x", "-7d", "2023-13-01", "é", "99999999999999999999d", "1969-01-01"]
        {
            assert!(moment(typed, now).is_err(), "{typed}");
        }
    }
}
