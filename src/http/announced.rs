//! What an upstream says of its own limits.
//!
//! Owns [`Announced`]. The idea: three generations of headers say the same three things (how many, how many are left,
//! until when); the strictest of what is said holds, and what cannot be understood says nothing.
//!
//! Must not: believe anything for longer than a day.

use std::time::Duration;

use ::http::HeaderMap;

use super::retry::LONGEST;

/// More policies than this are not kept.
const MOST_POLICIES: usize = 4;

/// What an answer said of limits.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    /// How many in a window of unknown length.
    pub(super) limit: Option<u32>,
    /// How many are left.
    pub(super) remaining: Option<u32>,
    /// How long until there are as many as ever again.
    pub(super) reset: Option<Duration>,
    /// So many in so long.
    pub(super) policies: Vec<(u32, Duration)>,
}

/// Reads the headers of an answer; `wall` is now.
pub(super) fn read(headers: &HeaderMap, wall: Duration) -> Announced {
    let mut found = Announced::default();
    let text = |name: &str| -> Option<String> {
        let all: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        (!all.is_empty()).then(|| all.join(","))
    };
    if let Some(text) = text("ratelimit-policy") {
        found.policies(&text);
    }
    if let Some(text) = text("ratelimit") {
        found.current(&text, wall);
    }
    for family in ["ratelimit", "x-ratelimit", "x-rate-limit"] {
        if let Some(text) = text(&format!("{family}-limit")) {
            // `100`, or with the policies that it comes from: `100, 100;w=60`
            found.policies(&text);
            found.limit = found.limit.or_else(|| number(text.split([',', ';']).next()?));
        }
        let (remaining, reset) = (text(&format!("{family}-remaining")), text(&format!("{family}-reset")));
        let remaining = remaining.and_then(|text| number(text.split(',').next()?));
        found.narrow(remaining, reset.and_then(|text| until(&text, wall)));
    }
    found
}

impl Announced {
    fn policies(&mut self, text: &str) {
        for (name, parameters) in items(text) {
            let quota = value(&parameters, "q").and_then(number).or_else(|| number(name));
            let window = value(&parameters, "w").and_then(number).filter(|seconds| *seconds > 0);
            if let (Some(quota), Some(window)) = (quota, window)
                && quota > 0
                && self.policies.len() < MOST_POLICIES
            {
                let window = Duration::from_secs(u64::from(window).min(LONGEST));
                self.policies.push((quota, window));
            }
        }
    }

    /// `"name";r=50;t=30`, or the older `limit=100, remaining=50, reset=5`.
    fn current(&mut self, text: &str, wall: Duration) {
        let (mut remaining, mut reset) = (None, None);
        for (name, parameters) in items(text) {
            match name.split_once('=') {
                Some(("limit", value)) => self.limit = number(value),
                Some(("remaining", value)) => remaining = number(value),
                Some(("reset", value)) => reset = until(value, wall),
                _ => {
                    let left = value(&parameters, "r").and_then(number);
                    self.narrow(left, value(&parameters, "t").and_then(|text| until(text, wall)));
                }
            }
        }
        self.narrow(remaining, reset);
    }

    /// Keeps what leaves less.
    fn narrow(&mut self, remaining: Option<u32>, reset: Option<Duration>) {
        let Some(remaining) = remaining else { return };
        if self.remaining.is_none_or(|known| (remaining, self.reset) < (known, reset)) {
            (self.remaining, self.reset) = (Some(remaining), reset);
        }
    }
}

/// The members of a list, each with its parameters. Commas and semicolons inside quotes are part of a name.
fn items(text: &str) -> Vec<(&str, Vec<&str>)> {
    split(text, b',')
        .into_iter()
        .map(|item| {
            let mut parts = split(item, b';').into_iter().map(str::trim);
            let name = parts.next().unwrap_or_default();
            (name, parts.collect())
        })
        .collect()
}

fn split(text: &str, at: u8) -> Vec<&str> {
    let (mut quoted, mut start, mut found) = (false, 0, Vec::new());
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            byte if byte == at && !quoted => {
                found.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    found
}

fn value<'a>(parameters: &[&'a str], name: &str) -> Option<&'a str> {
    parameters.iter().find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().unwrap_or(u32::MAX))
}

/// Seconds from now, seconds or milliseconds of the epoch, or a date.
fn until(text: &str, wall: Duration) -> Option<Duration> {
    const EPOCH: f64 = 1e9;
    const MILLIS: f64 = 1e12;
    let text = text.trim();
    let longest = Duration::from_secs(LONGEST);
    if text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        let seconds: f64 = text.parse().ok()?;
        let wait = match seconds {
            _ if seconds >= MILLIS => {
                Duration::try_from_secs_f64(seconds / 1000.0).ok()?.saturating_sub(wall)
            }
            _ if seconds >= EPOCH => Duration::try_from_secs_f64(seconds).ok()?.saturating_sub(wall),
            _ => Duration::try_from_secs_f64(seconds).ok()?,
        };
        return Some(wait.min(longest));
    }
    let dated = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let at = dated.or_else(|| text.parse::<jiff::Timestamp>().ok())?.as_second();
    Some(Duration::from_secs(u64::try_from(at).ok()?).saturating_sub(wall).min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::{HeaderName, HeaderValue};

    const S: Duration = Duration::from_secs(1);

    fn of(headers: &[(&'static str, &'static str)]) -> Announced {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        read(&map, S * 1_784_111_770)
    }

    fn left(remaining: u32, reset: Option<u64>) -> (Option<u32>, Option<Duration>) {
        (Some(remaining), reset.map(Duration::from_secs))
    }

    #[test]
    fn each_generation_of_headers_is_understood() {
        let new = of(&[
            ("ratelimit-policy", "\"a;b,c\";q=100;w=60, \"day\";q=5000;w=86400"),
            ("ratelimit", "\"a;b,c\";r=50;t=30"),
        ]);
        assert_eq!(new.policies, [(100, S * 60), (5000, S * 86_400)]);
        assert_eq!((new.remaining, new.reset), left(50, Some(30)));
        let strictest = of(&[("ratelimit", "\"day\";r=7;t=900, \"minute\";r=3;t=9")]);
        assert_eq!((strictest.remaining, strictest.reset), left(3, Some(9)));
        let older =
            of(&[("ratelimit", "limit=100, remaining=20, reset=5"), ("ratelimit-policy", "100;w=10")]);
        assert_eq!((older.remaining, older.reset), left(20, Some(5)));
        assert_eq!((older.limit, older.policies.clone()), (Some(100), vec![(100, S * 10)]));
        let three =
            of(&[("ratelimit-limit", "10, 10;w=1"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "1")]);
        assert_eq!((three.limit, three.policies.len()), (Some(10), 1));
        assert_eq!((three.remaining, three.reset), left(0, Some(1)));
        for family in ["x-ratelimit", "x-rate-limit"] {
            let name = |end: &str| -> &'static str { format!("{family}-{end}").leak() };
            for (text, seconds) in [
                ("12", Some(12)),
                ("1784111782", Some(12)),
                ("1784111782000", Some(12)),
                ("2026-07-15T10:36:22Z", Some(12)),
                ("Wed, 15 Jul 2026 10:36:22 GMT", Some(12)),
                ("1700000000", Some(0)),
                ("soon", None),
                ("999999999", Some(86_400)),
            ] {
                let read = of(&[(name("limit"), "60"), (name("remaining"), "59"), (name("reset"), text)]);
                assert_eq!((read.remaining, read.reset), left(59, seconds), "{text}");
                assert_eq!(read.limit, Some(60));
            }
        }
    }

    #[test]
    fn nonsense_says_nothing() {
        for headers in [
            &[][..],
            &[("ratelimit", "\"a\";r=-1;t=3")],
            &[("ratelimit-policy", "\"a\";q=0;w=60, ;;, \"b\";q=5;w=0, =;q")],
            &[("x-ratelimit-remaining", "many"), ("x-ratelimit-reset", "12")],
            &[("ratelimit-reset", "5")],
        ] {
            assert_eq!(of(headers), Announced::default(), "{headers:?}");
        }
    }
}
