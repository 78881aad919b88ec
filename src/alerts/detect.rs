//! What is unusual.
//!
//! Owns [`Detectors`]: audit lines in, alerts out. The idea: a detector looks at lines that are written already and at
//! nothing else; the time is the line's, so that a log can be played back. One incident is told once, and again only after
//! it was quiet for a while.
//!
//! Must not: grow with what callers make up, or repeat more of a line than who and what.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;

use super::bounded::{Bounded, Window};
use super::config::{Burst, Config};
use crate::error::Result;
use crate::json::Value;

/// Most callers, addresses, upstreams or incidents that are remembered.
const MOST: usize = 4096;
/// Most tools or addresses that are remembered of one caller.
const MOST_EACH: usize = 512;
const HOUR: u64 = 3600;

/// Something that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Which detector.
    pub detector: &'static str,
    /// Who or what: a caller, an address, an upstream, an event.
    pub subject: String,
    /// What about: a tool, an address.
    pub what: String,
    /// How many, where that was counted.
    pub count: u64,
    /// Within how many seconds.
    pub seconds: u64,
    /// The time of the line that showed it.
    pub time: String,
}

/// The members that are looked at.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow, default)]
    time: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    principal: Cow<'a, str>,
    #[serde(borrow, default)]
    address: Cow<'a, str>,
    #[serde(borrow, default)]
    tool: Cow<'a, str>,
    #[serde(borrow, default)]
    effect: Cow<'a, str>,
    #[serde(borrow, default)]
    step: Cow<'a, str>,
    #[serde(borrow, default)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    upstream: Cow<'a, str>,
    #[serde(default)]
    upstream_status: u16,
    #[serde(default)]
    arguments: Option<&'a serde_json::value::RawValue>,
    #[serde(default)]
    detail: Option<Value>,
}

/// What is known of a caller.
#[derive(Default)]
struct Caller {
    since: u64,
    tools: BTreeSet<String>,
    addresses: BTreeSet<String>,
    hour: u64,
    calls: u64,
    /// Calls an hour so far, in thousandths, and of how many hours.
    usual: u64,
    hours: u32,
}

/// Everything that watches.
pub struct Detectors {
    config: Config,
    working: Option<(u32, u32)>,
    failures: Bounded<String, Window>,
    denials: Bounded<String, Window>,
    writes: Bounded<String, Window>,
    limits: Bounded<String, Window>,
    callers: Bounded<String, Caller>,
    /// Calls under way that are about something critical, and what that is.
    critical: Bounded<String, String>,
    incidents: Bounded<(&'static str, String, String), Option<u64>>,
}

impl Detectors {
    /// Detectors that know nobody yet.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self {
            working: config.working()?,
            config: config.clone(),
            failures: Bounded::new(MOST),
            denials: Bounded::new(MOST),
            writes: Bounded::new(MOST),
            limits: Bounded::new(MOST),
            callers: Bounded::new(MOST),
            critical: Bounded::new(MOST),
            incidents: Bounded::new(MOST),
        })
    }

    /// Looks at an audit line.
    pub fn see(&mut self, line: &str) -> Vec<Alert> {
        let Ok(line) = serde_json::from_str::<Line<'_>>(line) else { return Vec::new() };
        let Ok(time) = line.time.parse::<jiff::Timestamp>() else { return Vec::new() };
        let Ok(now) = u64::try_from(time.as_second()) else { return Vec::new() };
        let mut found = Vec::new();
        match &*line.kind {
            "intent" => self.intent(&line, now, &mut found),
            "outcome" => self.outcome(&line, now, &mut found),
            "event" | "recovery" => self.event(&line, now, &mut found),
            _ => {}
        }
        found.retain(|alert| self.is_news(alert, now));
        found
    }

    /// Whether the same was not told, or has been quiet since.
    fn is_news(&mut self, alert: &Alert, now: u64) -> bool {
        let key = (alert.detector, alert.subject.clone(), alert.what.clone());
        let last = self.incidents.of(&key);
        let quiet = last.is_none_or(|last| now.saturating_sub(last) >= u64::from(self.config.quiet_seconds));
        *last = Some(now);
        quiet
    }

    fn intent(&mut self, line: &Line<'_>, now: u64, found: &mut Vec<Alert>) {
        if &*line.effect != "read"
            && let Some(what) = self.is_critical(line)
        {
            *self.critical.of(&line.id.clone().into_owned()) = what;
        }
        if line.address.is_empty() || self.config.learn_hours == 0 {
            return;
        }
        let known = u64::from(self.config.learn_hours) * HOUR;
        let caller = self.callers.of(&line.principal.clone().into_owned());
        if caller.since == 0 {
            caller.since = now;
        }
        let is_new =
            caller.addresses.len() < MOST_EACH && caller.addresses.insert(line.address.clone().into_owned());
        if is_new && now.saturating_sub(caller.since) >= known {
            found.push(alert("new_address", line, &line.address, 1, 0));
        }
    }

    fn outcome(&mut self, line: &Line<'_>, now: u64, found: &mut Vec<Alert>) {
        let ran = matches!(&*line.step, "approved" | "executed" | "redacted");
        let changed = ran && matches!(&*line.effect, "write" | "destroy");
        let who = line.principal.clone().into_owned();
        let burst = |burst: Burst| (u64::from(burst.count), u64::from(burst.seconds));
        if &*line.event == "denied" && self.denials.of(&who).count(self.config.denials, now) {
            let (count, seconds) = burst(self.config.denials);
            found.push(alert("denials", line, "", count, seconds));
        }
        if changed && self.writes.of(&who).count(self.config.writes, now) {
            let (count, seconds) = burst(self.config.writes);
            found.push(alert("write_burst", line, "", count, seconds));
        }
        if line.upstream_status == 429 {
            let upstream = if line.upstream.is_empty() { &line.tool } else { &line.upstream };
            if self.limits.of(&upstream.clone().into_owned()).count(self.config.upstream_limits, now) {
                let (count, seconds) = burst(self.config.upstream_limits);
                let subject = upstream.clone().into_owned();
                found.push(Alert { subject, ..alert("upstream_limits", line, "", count, seconds) });
            }
        }
        if let Some(what) = self.critical.remove(&line.id.clone().into_owned())
            && ran
        {
            found.push(alert("critical", line, &what, 1, 0));
        }
        if changed && self.is_off_hours(now) {
            found.push(alert("off_hours", line, &line.tool, 1, 0));
        }
        self.habits(line, &who, now, ran, found);
    }

    /// What the caller never did, or does much more than it did.
    fn habits(&mut self, line: &Line<'_>, who: &String, now: u64, ran: bool, found: &mut Vec<Alert>) {
        let Config { learn_hours, volume_factor, volume_least, .. } = self.config;
        let caller = self.callers.of(who);
        if caller.since == 0 {
            caller.since = now;
        }
        let known = learn_hours > 0 && now.saturating_sub(caller.since) >= u64::from(learn_hours) * HOUR;
        if ran
            && learn_hours > 0
            && !caller.tools.contains(&*line.tool)
            && caller.tools.len() < MOST_EACH
            && caller.tools.insert(line.tool.clone().into_owned())
            && known
        {
            found.push(alert("new_tool", line, &line.tool, 1, 0));
        }
        let hour = now / HOUR;
        if hour != caller.hour {
            if caller.hour > 0 {
                // an hour without calls weighs as little as it was long ago
                let hours = caller.hours.min(23);
                caller.usual = (caller.usual * u64::from(hours) + caller.calls * 1000) / u64::from(hours + 1);
                caller.hours = hours + 1;
            }
            (caller.hour, caller.calls) = (hour, 0);
        }
        caller.calls += 1;
        let usual = caller.usual * u64::from(volume_factor) / 1000;
        let many = caller.calls > usual.max(u64::from(volume_least));
        if volume_factor > 0 && caller.hours >= 3 && many {
            let calls = caller.calls;
            found.push(alert("volume", line, "", calls, HOUR));
        }
    }

    fn event(&mut self, line: &Line<'_>, now: u64, found: &mut Vec<Alert>) {
        let detail = |name: &str| {
            let value = line.detail.as_ref().and_then(|detail| detail.get(name)?.as_str());
            value.unwrap_or_default().to_owned()
        };
        if &*line.event == "authentication failed" {
            let peer = detail("peer");
            // an address without its port
            let from = peer.parse::<std::net::SocketAddr>().map_or(peer, |peer| peer.ip().to_string());
            let left_out = line.detail.as_ref().and_then(|detail| detail.get("left_out_before")?.as_u64());
            let times =
                1 + left_out.unwrap_or_default().min(u64::from(self.config.failed_authentications.count));
            let window = self.failures.of(&from);
            let burst = self.config.failed_authentications;
            let hits = (0..times).filter(|_| window.count(burst, now)).count();
            if hits > 0 {
                let (count, seconds) = (u64::from(burst.count), u64::from(burst.seconds));
                found.push(Alert {
                    subject: from,
                    ..alert("failed_authentications", line, "", count, seconds)
                });
            }
        } else if self.config.events.iter().any(|event| **event == *line.event) {
            let named = ["upstream", "path", "who", "id", "principal", "what"].map(detail);
            let subject = named.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
            found.push(Alert { subject, ..alert("event", line, &line.event, 1, 0) });
        }
    }

    /// What of a call is listed as critical.
    fn is_critical(&self, line: &Line<'_>) -> Option<String> {
        let listed = &self.config.critical;
        if listed.is_empty() {
            return None;
        }
        let tool = listed.iter().find(|listed| match listed.strip_suffix('*') {
            Some(start) => line.tool.starts_with(start),
            None => **listed == *line.tool,
        });
        if tool.is_some() {
            return Some(line.tool.clone().into_owned());
        }
        let arguments = serde_json::from_str::<Value>(line.arguments?.get()).ok()?;
        listed.iter().find(|listed| holds(&arguments, listed)).cloned()
    }

    fn is_off_hours(&self, now: u64) -> bool {
        let Some((from, to)) = self.working else { return false };
        let local = i64::try_from(now / 60).unwrap_or_default() + i64::from(self.config.utc_offset_minutes);
        let minute = u32::try_from(local.rem_euclid(24 * 60)).unwrap_or_default();
        let within = if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to };
        !within
    }
}

fn alert(detector: &'static str, line: &Line<'_>, what: &str, count: u64, seconds: u64) -> Alert {
    Alert {
        detector,
        subject: line.principal.clone().into_owned(),
        what: what.to_owned(),
        count,
        seconds,
        time: line.time.clone().into_owned(),
    }
}

fn holds(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Array(items) => items.iter().any(|item| holds(item, wanted)),
        Value::Object(members) => members.values().any(|member| holds(member, wanted)),
        Value::Number(number) => number.to_string() == wanted,
        Value::Null | Value::Bool(_) => false,
    }
}
