//! `bartizan key`.
//!
//! Owns the operator's side of API keys: issuing, listing, rotating, revoking. The idea: a key is shown once, to whoever
//! issues it; what an operator does is in the audit before it is done, and where operators are enrolled one of them has
//! to agree to every new key. A server that runs notices by itself, within a second.
//!
//! Must not: show a key again, or act without a line.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::args::{Key as Typed, KeyAction, NewKey, RotateKey};
use super::operator::{Log, authorise};
use super::screen::{Screen, Tone};
use super::settings;
use crate::approvals::{Approvals, Operator, visible};
use crate::audit::Event;
use crate::clock::{SharedClock, SystemClock, rfc3339};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::identity::keys::{About, Ages, Grant, KeyStore, Minted, State, is_name};
use crate::json::{Value, json};
use crate::state::StateDir;
use crate::transport::addresses::ranges;

const DAY: u64 = 86_400;
/// The longest that a key may live, in days.
const LONGEST: u64 = 366;

pub(super) fn run(typed: &Typed, screen: Screen) -> Result<()> {
    let config = settings::file(typed.state.config.as_deref())?;
    let office = Office::open(config, typed.state.json, screen)?;
    match &typed.action {
        KeyAction::New(typed) => office.issue(typed),
        KeyAction::List => {
            office.list();
            Ok(())
        }
        KeyAction::Rotate(typed) => office.rotate(typed),
        KeyAction::Revoke { id } => office.revoke(id),
    }
}

/// Where keys are issued.
struct Office {
    config: Config,
    state: StateDir,
    keys: Arc<KeyStore>,
    clock: SharedClock,
    as_json: bool,
    screen: Screen,
}

impl Office {
    fn open(config: Config, as_json: bool, screen: Screen) -> Result<Self> {
        let clock = SystemClock::shared();
        let state = StateDir::open(config.state_folder()?)?;
        let keys = KeyStore::open(state.path(), clock.clone())?;
        Ok(Self { config, state, keys, clock, as_json, screen })
    }

    fn log(&self) -> Result<Log> {
        Log::of_words(self.config.clone())
    }

    fn approvals(&self) -> Result<Arc<Approvals>> {
        Approvals::open(&self.config.approvals, self.state.path(), self.clock.clone())
    }

    fn issue(&self, typed: &NewKey) -> Result<()> {
        let name = typed.name.clone().unwrap_or_else(|| typed.owner.clone());
        if typed.name.is_none() && !is_name(&name) && !typed.owner.trim().is_empty() {
            return Err(Error::new(
                Kind::BadConfig,
                "This owner cannot be the name of a key as well; give the key one: --name NAME.",
            ));
        }
        let set = |words: &[String]| words.iter().cloned().collect::<BTreeSet<String>>();
        let grant = Grant {
            name,
            owner: typed.owner.trim().to_owned(),
            scopes: set(&typed.scopes),
            roles: set(&typed.roles),
            tenant: typed.tenant.clone(),
            may_approve: false,
            expires: Some(self.clock.wall() + life(&typed.expires)?),
            from: ranges(&typed.from)?,
            certificate: typed.certificate.clone(),
        };
        let draft = self.keys.draft(&grant)?;
        let mut detail = told(draft.id(), &grant);
        let log = self.log()?;
        let by = authorise(&*self.approvals()?, &log, Event::KeyIssued.name(), &detail, &typed.key)?;
        detail["operator"] = json!(by.as_ref().map(Operator::name));
        let minted = log.act(Event::KeyIssued.name(), &detail, || self.keys.keep(draft))?;
        self.show(&minted, &grant, "").or_else(|error| self.lost(&log, &minted, &detail, &error))
    }

    fn rotate(&self, typed: &RotateKey) -> Result<()> {
        let old = self.find(&typed.id)?;
        let now = self.clock.wall();
        let life = match &typed.expires {
            Some(text) => life(text)?,
            None => old.grant.expires.map_or(Duration::from_secs(90 * DAY), |at| {
                at.saturating_sub(old.created).min(Duration::from_secs(LONGEST * DAY))
            }),
        };
        let ends = now + span(&typed.overlap)?;
        let grant = Grant { expires: Some(now + life), ..old.grant };
        let draft = self.keys.draft(&grant)?;
        let mut detail = told(draft.id(), &grant);
        detail["replaces"] = json!({"id": old.id, "ends": rfc3339(ends)});
        let log = self.log()?;
        let by = authorise(&*self.approvals()?, &log, Event::KeyRotated.name(), &detail, &typed.key)?;
        detail["operator"] = json!(by.as_ref().map(Operator::name));
        let minted =
            log.act(Event::KeyRotated.name(), &detail, || self.keys.replace(&old.id, draft, ends))?;
        let holder = self.state.file("http.key");
        let handed = self.keys.hand_over(&holder, &old.id, &minted)?;
        let mut remark = format!("The key {} opens nothing any more from {} on.", old.id, rfc3339(ends));
        if handed {
            remark = format!("{remark} {} holds the new one.", holder.display());
        }
        let shown = self.show(&minted, &grant, &remark);
        // what its holder's file holds is not lost
        if handed { shown } else { shown.or_else(|error| self.lost(&log, &minted, &detail, &error)) }
    }

    /// Takes a key back that nobody can have seen.
    fn lost(&self, log: &Log, minted: &Minted, detail: &Value, why: &Error) -> Result<()> {
        log.act(Event::KeyRevoked.name(), detail, || self.keys.revoke(&minted.id))?;
        let said = format!("{} The key {} was shown to nobody, so it is revoked.", why.message(), minted.id);
        Err(Error::new(why.kind(), said))
    }

    fn revoke(&self, id: &str) -> Result<()> {
        let about = self.find(id)?;
        let detail = told(&about.id, &about.grant);
        self.log()?.act(Event::KeyRevoked.name(), &detail, || self.keys.revoke(&about.id))?;
        let told = match crate::app::shared_now(&self.config) {
            Ok(None) => Ok(()),
            Ok(Some(shared)) => crate::app::say_revoked(&shared, &about.id),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            self.screen.note(&format!(
                "{} The other instances hear of it once a server of this state directory reaches the store.",
                error.message()
            ));
        }
        if self.as_json {
            self.screen.json(&json!({"revoked": about.id}));
        } else {
            let name = visible(&about.grant.name);
            self.screen.line(&format!(
                "{} ({name}) is revoked: servers that run refuse it within a second.",
                about.id
            ));
        }
        Ok(())
    }

    /// The key of that id, or the only one of that name.
    fn find(&self, named: &str) -> Result<About> {
        let mut all = self.keys.list();
        if let Some(at) = all.iter().position(|about| about.id == named) {
            return Ok(all.swap_remove(at));
        }
        let mut alike: Vec<About> = all.into_iter().filter(|about| about.grant.name == named).collect();
        let said = match alike.len() {
            0 => "There is no key of that id or name; `bartizan key list` shows them.",
            1 => return Ok(alike.remove(0)),
            _ => "There are several keys of that name; say which by its id (`bartizan key list`).",
        };
        Err(Error::new(Kind::BadArguments, said))
    }

    fn show(&self, minted: &Minted, grant: &Grant, remark: &str) -> Result<()> {
        if self.as_json {
            let mut shown = told(&minted.id, grant);
            shown["key"] = json!(minted.key.expose());
            return self.screen.hand(&shown.to_string());
        }
        self.screen.hand(minted.key.expose())?;
        let scopes: Vec<&str> = grant.scopes.iter().map(String::as_str).collect();
        self.screen.note(&format!(
            "This is the only time the key is shown; send it as `Authorization: Bearer KEY`.\n{}: key:{}, for {}, \
             scopes {}, until {}.",
            minted.id,
            grant.name,
            visible(&grant.owner),
            scopes.join(", "),
            grant.expires.map_or_else(|| String::from("it is revoked"), rfc3339),
        ));
        if !remark.is_empty() {
            self.screen.note(remark);
        }
        Ok(())
    }

    fn list(&self) {
        let (ages, now) = (self.config.keys, self.clock.wall());
        let all = self.keys.list();
        if self.as_json {
            let rows: Vec<Value> = all.iter().map(|about| row(about, &ages, now)).collect();
            self.screen.json(&json!({"keys": rows}));
            return;
        }
        for about in &all {
            self.line(about, &ages, now);
        }
        if all.is_empty() {
            self.screen.note("There is no key yet: bartizan key new --owner WHO --scopes read");
        }
    }

    fn line(&self, about: &About, ages: &Ages, now: Duration) {
        let state = ages.state(about, now);
        let (tone, word) = match state {
            State::Good => (Tone::Good, String::from("good")),
            State::Old => (Tone::Strong, String::from("old: rotate it")),
            State::TooOld => (Tone::Bad, format!("older than {} days: rotate it", ages.error_days)),
            State::Expired => (Tone::Note, String::from("expired")),
            State::Ownerless => (Tone::Bad, String::from("has no owner, so it opens nothing: revoke it")),
        };
        let scopes: Vec<&str> = about.grant.scopes.iter().map(String::as_str).collect();
        let mut facts = vec![
            format!("for {}", visible(&about.grant.owner)),
            scopes.join(","),
            format!("{} old", days(now.saturating_sub(about.created))),
            match about.grant.expires {
                None => String::from("no end"),
                Some(at) if at <= now => String::from("ended"),
                Some(at) => format!("ends in {}", days(at.saturating_sub(now))),
            },
            format!("{} calls, {} refused", about.used.calls, about.used.failures),
            match about.used.last {
                None => String::from("never used"),
                Some(at) => format!("last used {} ago", days(now.saturating_sub(at))),
            },
        ];
        if ages.is_unused(about, now) && state != State::Expired {
            facts.push(format!("unused for {} days or more: revoke it?", ages.unused_days));
        }
        self.screen.line(&format!(
            "{}  key:{}  {}\n          {}",
            self.screen.paint(Tone::Strong, &about.id),
            visible(&about.grant.name),
            self.screen.paint(tone, &word),
            self.screen.paint(Tone::Note, &facts.join(", ")),
        ));
    }
}

/// What may be told of a key, to the audit and to whoever issued it.
fn told(id: &str, grant: &Grant) -> Value {
    json!({
        "id": id,
        "name": grant.name,
        "owner": grant.owner,
        "scopes": grant.scopes,
        "roles": grant.roles,
        "tenant": grant.tenant,
        "expires": grant.expires.map(rfc3339),
        "from": grant.from,
        "certificate": grant.certificate,
    })
}

fn row(about: &About, ages: &Ages, now: Duration) -> Value {
    let mut row = told(&about.id, &about.grant);
    row["state"] = json!(ages.state(about, now).name());
    row["unused"] = json!(ages.is_unused(about, now));
    row["created"] = json!(rfc3339(about.created));
    row["age_days"] = json!(now.saturating_sub(about.created).as_secs() / DAY);
    row["days_left"] = json!(about.grant.expires.map(|at| at.saturating_sub(now).as_secs() / DAY));
    row["last_used"] = json!(about.used.last.map(rfc3339));
    row["calls"] = json!(about.used.calls);
    row["failures"] = json!(about.used.failures);
    row
}

fn days(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds < 3600 => format!("{} min", seconds / 60),
        seconds if seconds < 2 * DAY => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / DAY),
    }
}

/// How long a key lives.
fn life(text: &str) -> Result<Duration> {
    let life = span(text)?;
    if life.is_zero() || life > Duration::from_secs(LONGEST * DAY) {
        let said = format!("A key lives for at least a second and at most {LONGEST} days (--expires 90d).");
        return Err(Error::new(Kind::BadConfig, said));
    }
    Ok(life)
}

/// A span such as `90d`, `12h`, `30m` or `45s`.
fn span(text: &str) -> Result<Duration> {
    let bad =
        || Error::new(Kind::BadConfig, "Write a time as a number and a unit: 90d, 2w, 12h, 30m or 45s.");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number
        .checked_mul(unit)
        .filter(|seconds| *seconds < 100_000 * DAY)
        .map(Duration::from_secs)
        .ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        for (text, seconds) in
            [("90d", 90 * DAY), ("2w", 14 * DAY), ("12h", 43_200), ("0s", 0), ("30m", 1800)]
        {
            assert_eq!(span(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for text in ["", "d", "90", "-1d", "1.5d", "90 d", "1y", "99999999999999999d", "9\u{20ac}"] {
            assert!(span(text).is_err(), "{text}");
        }
        assert!(life("0d").is_err() && life("367d").is_err() && life("366d").is_ok());
    }
}
