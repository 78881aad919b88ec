//! A rotation, rehearsed.
//!
//! Owns [`rehearse`] and its [`Rehearsal`]. The idea: everything that a rotation will do is done with what stands ready
//! for it, short of putting it into use: the new value is read as a server would read it, the upstream is asked whether
//! it accepts it (by a login, or by the connector's `health` request, which only reads), and what else still needs the
//! old value is named. What nobody could try is said to be unknown, not passed over.
//!
//! Must not: put anything into use, keep a token, count a login against anybody, or write a file.

use std::collections::BTreeMap;

use serde::Serialize;

use super::permissions::surroundings;
use super::sources::{self, Opened, references};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::connectors::manifest::Way;
use crate::error::{Error, Kind, Result};
use crate::http::Granted;
use crate::redaction::Redactor;
use crate::secret::Secret;
use crate::state::{KeyRing, StateDir};
use crate::vault::{Keeper, Reference, Tokens};

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It would work.
    Ok,
    /// Nobody could try it here.
    Unknown,
    /// It would not work.
    Failed,
}

/// One step of one rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which: `present`, `accepted`, `next`, `accepted next`, `put in place`, `old removed`.
    pub step: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// What was found, without any secret.
    pub said: String,
}

/// The rotation of one source's credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rehearsed {
    /// Whose credential.
    pub source: String,
    /// Whether all of it could be tried and would work.
    pub passed: bool,
    /// Each step.
    pub steps: Vec<Step>,
}

/// Everything that was rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rehearsal {
    /// Whether every rotation would work.
    pub passed: bool,
    /// Each source of credentials, and the keys that seal tokens and state.
    pub sources: Vec<Rehearsed>,
}

impl Rehearsed {
    fn new(source: impl Into<String>) -> Self {
        Self { source: source.into(), passed: true, steps: Vec::new() }
    }

    /// Notes a step. One that nobody could try is no failure, except that there is nothing to rotate to.
    fn step(&mut self, step: &'static str, outcome: Outcome, said: impl Into<String>) {
        self.passed &= outcome != Outcome::Failed && !(step == "next" && outcome == Outcome::Unknown);
        let said = said.into();
        self.steps.push(Step { step, outcome, said: said.trim_end_matches('.').to_owned() });
    }
}

/// What is read in place of what: second credentials of the configuration, and those that were given.
type Pairs = BTreeMap<String, Reference>;

/// Rehearses the rotation of every credential. `given` names new values beside those of `[secrets.standby]`.
pub async fn rehearse(
    config: &Config,
    given: &[(Reference, Reference)],
    (redactor, clock, state): (&Redactor, &SharedClock, &StateDir),
) -> Result<Rehearsal> {
    if config.practice {
        return Err(Error::new(
            Kind::BadConfig,
            "In practice no real credential is read, so there is nothing to rehearse; leave `practice` out.",
        ));
    }
    let standbys = config.secrets.standby.values().flat_map(|one| &one.replace);
    let pairs: Vec<(&Reference, &Reference)> =
        standbys.chain(given.iter().map(|(first, second)| (first, second))).collect();
    let open = || {
        let keeper = Keeper::open(&config.secrets, &config.egress, redactor, clock)?;
        Ok::<_, Error>(keeper.in_profile(config.profile.name()))
    };
    let (now, then) = (open()?, open()?.rehearsing(pairs.iter().copied()));
    pairs.iter().try_for_each(|(_, second)| then.check(second))?;
    let pairs: Pairs = pairs.iter().map(|(first, second)| (first.to_string(), (*second).clone())).collect();
    let old = sources::connectors(config, &surroundings(config, redactor, clock, now.clone()))?;
    let new = sources::connectors(config, &surroundings(config, redactor, clock, then))?;
    let known: Vec<&str> = old.iter().map(|one| one.connector.name()).collect();
    let uses = old.iter().flat_map(|one| one.access.ways()).flat_map(references);
    let used: Vec<String> = uses.map(|reference| reference.to_string()).collect();
    if let Some((first, _)) = given.iter().find(|(first, _)| !used.contains(&first.to_string())) {
        return Err(Error::new(
            Kind::BadConfig,
            format!(
                "No source reads {first}, so nothing can be rehearsed with --with {first}=…; see `bartizan check`."
            ),
        ));
    }
    let mut all = Vec::new();
    for (at, (old_one, new_one)) in old.iter().zip(&new).enumerate() {
        if old_one.access.ways().iter().all(|way| **way == Way::None) {
            continue;
        }
        let others = old.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, one)| one);
        let others: Vec<&Opened> = others.collect();
        all.push(source(known[at], (old_one, new_one), &others, (&now, &pairs, redactor)).await);
    }
    all.extend(keys(config, &now, state));
    Ok(Rehearsal { passed: all.iter().all(|one| one.passed), sources: all })
}

/// What is behind each reference of a way, or why it cannot be read. Blocks.
fn read(way: &Way, keeper: &Keeper) -> Result<Vec<(Reference, Secret)>> {
    let found = way.references().into_iter();
    found.map(|(one, what)| keeper.resolve_as(one, what).map(|secret| (one.clone(), secret))).collect()
}

async fn source(
    name: &str,
    (old, new): (&Opened, &Opened),
    others: &[&Opened],
    (now, pairs, redactor): (&Keeper, &Pairs, &Redactor),
) -> Rehearsed {
    let mut done = Rehearsed::new(name);
    let print = |secret: &Secret| {
        let print = redactor.fingerprint(secret.expose());
        print.map_or(String::new(), |print| format!(" (fingerprint {print})"))
    };
    let ways: Vec<Result<Vec<(Reference, Secret)>>> =
        tokio::task::block_in_place(|| old.access.ways().iter().map(|way| read(way, now)).collect());
    let present = ways.iter().find_map(|found| found.as_ref().ok());
    let Some(present) = present else {
        let why: Vec<&str> =
            ways.iter().filter_map(|found| found.as_ref().err()).map(Error::message).collect();
        done.step("present", Outcome::Failed, format!("cannot be read: {}", why.join("; or else: ")));
        return done;
    };
    let shown: Vec<String> = present.iter().map(|(one, secret)| format!("{one}{}", print(secret))).collect();
    done.step("present", Outcome::Ok, format!("read from {}", shown.join(" and ")));
    let (outcome, said) = accepted(old).await;
    done.step("accepted", outcome, said);

    let mut next: Vec<(&Reference, &Secret, &Reference)> = Vec::new();
    for (reference, secret) in present {
        next.extend(pairs.get(&reference.to_string()).map(|second| (reference, secret, second)));
    }
    if next.is_empty() {
        let first = present.first().map_or_else(String::new, |(one, _)| one.to_string());
        let said = format!(
            "nothing stands ready: name a second credential under [secrets.standby], or give the new value as \
             --with {first}=REF"
        );
        done.step("next", Outcome::Unknown, said);
        return done;
    }
    let mut changed = Vec::new();
    for (reference, secret, second) in next {
        match tokio::task::block_in_place(|| now.resolve(second)) {
            Err(error) => {
                done.step("next", Outcome::Failed, format!("cannot be read: {}", error.message()));
                return done;
            }
            Ok(fresh) if fresh.expose() == secret.expose() => {}
            Ok(fresh) => changed.push((reference, secret, format!("{second}{}", print(&fresh)))),
        }
    }
    if changed.is_empty() {
        let said = "what stands ready is the same as what is in use; make a new one at the vendor";
        done.step("next", Outcome::Failed, said);
        return done;
    }
    let shown: Vec<&str> = changed.iter().map(|(_, _, second)| second.as_str()).collect();
    done.step("next", Outcome::Ok, format!("read from {}", shown.join(" and ")));
    let (outcome, said) = accepted(new).await;
    done.step("accepted next", outcome, said);

    let restart = changed.iter().find(|(one, _, _)| matches!(one, Reference::Env(_)) && one.file().is_none());
    match restart {
        Some((one, _, _)) => done.step(
            "put in place",
            Outcome::Ok,
            format!(
                "{one} is a variable of a process that runs: `bartizan credential switch` needs no restart, a new value \
                 in it does"
            ),
        ),
        None => done.step("put in place", Outcome::Ok, "a server that runs reads it with its next request"),
    }
    let mut still = Vec::new();
    for other in others {
        for way in other.access.ways() {
            let Ok(theirs) = tokio::task::block_in_place(|| read(way, now)) else { continue };
            let shared = theirs.iter().find(|(reference, secret)| {
                // one that is replaced, too, goes along
                !pairs.contains_key(&reference.to_string())
                    && changed.iter().any(|(_, value, _)| value.expose() == secret.expose())
            });
            if let Some((reference, _)) = shared {
                still.push(format!("{} by {reference}", other.connector.name()));
            }
        }
    }
    if still.is_empty() {
        done.step("old removed", Outcome::Ok, "no other source of this configuration uses it");
    } else {
        let said =
            format!("it is still used: {}; give each source a credential of its own", still.join(", "));
        done.step("old removed", Outcome::Failed, said);
    }
    done
}

/// Whether an upstream accepts the credential of a connector.
async fn accepted(opened: &Opened) -> (Outcome, String) {
    let client = opened.connector.client();
    if let Some(request) = opened.connector.health() {
        return match client.send(request.clone()).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                (Outcome::Ok, format!("the upstream accepts it (status {})", answer.status))
            }
            Ok(answer) if matches!(answer.status, 401 | 403) => {
                (Outcome::Failed, format!("the upstream refuses it (status {})", answer.status))
            }
            Ok(answer) => (
                Outcome::Failed,
                format!("the upstream answers status {}, which says neither yes nor no", answer.status),
            ),
            Err(error) => (Outcome::Failed, error.message().to_owned()),
        };
    }
    let logs_in = matches!(client.granted(false).await, Ok(Granted::AfterLogin));
    if !logs_in {
        let said = "no request that only reads is named for it (`health`), so the upstream was not asked";
        return (Outcome::Unknown, String::from(said));
    }
    match client.granted(true).await {
        Ok(_) => (Outcome::Ok, String::from("the token endpoint accepts it")),
        Err(error) => (Outcome::Failed, error.message().to_owned()),
    }
}

/// The keys that seal tokens and what clients carry: a new one can be made here, so all of it can be tried.
fn keys(config: &Config, keeper: &Keeper, state: &StateDir) -> Vec<Rehearsed> {
    let mut all = Vec::new();
    match tokio::task::block_in_place(|| Tokens::open(&config.tokens, state, config.profile.name(), keeper)) {
        Ok(None) => {}
        Ok(Some(tokens)) => {
            let mut done = Rehearsed::new("[tokens] keys");
            match tokens.rehearse() {
                Ok((fresh, lost)) => {
                    done.step("present", Outcome::Ok, "read");
                    let said = format!(
                        "{fresh} kept tokens would be sealed with a new key and open with it alone; {lost} do not open \
                         now and would be fetched again"
                    );
                    done.step("next", Outcome::Ok, said);
                    done.step("put in place", Outcome::Ok, "put it first, then: bartizan tokens rotate-key");
                    done.step("old removed", Outcome::Ok, "after that nothing needs the old key");
                }
                Err(error) => done.step("present", Outcome::Failed, error.message()),
            }
            all.push(done);
        }
        Err(error) => {
            let mut done = Rehearsed::new("[tokens] keys");
            done.step("present", Outcome::Failed, error.message());
            all.push(done);
        }
    }
    if !config.server.sealing_keys.is_empty() {
        let mut done = Rehearsed::new("[server] sealing_keys");
        match tokio::task::block_in_place(|| sealing(config, keeper)) {
            Ok(()) => {
                done.step("present", Outcome::Ok, "read");
                done.step("next", Outcome::Ok, "what the present key sealed opens beside a new one");
                let said = "add it last on every instance, then put it first";
                done.step("put in place", Outcome::Ok, said);
                let wait = config.server.state_ttl_seconds;
                done.step(
                    "old removed",
                    Outcome::Ok,
                    format!("{wait} seconds later nothing needs the old key"),
                );
            }
            Err(error) => done.step("present", Outcome::Failed, error.message()),
        }
        all.push(done);
    }
    all
}

fn sealing(config: &Config, keeper: &Keeper) -> Result<()> {
    let named = config.server.sealing_keys.iter();
    let mut keys = named
        .map(|named| Reference::parse(named).and_then(|one| keeper.resolve(&one)))
        .collect::<Result<Vec<Secret>>>()?;
    let sealed = KeyRing::read(&keys)?.wrap(b"rehearsal", b"rotation")?;
    keys.insert(0, Secret::new(crate::json::Digest(rand::random()).hex()));
    let both = KeyRing::read(&keys)?;
    let fresh = KeyRing::read(keys.get(..1).unwrap_or_default())?;
    let opens = both.unwrap(&sealed, b"rotation").is_some()
        && fresh.unwrap(&both.wrap(b"rehearsal", b"rotation")?, b"rotation").is_some();
    if opens {
        Ok(())
    } else {
        Err(Error::new(Kind::Internal, "What was sealed did not open beside a new key."))
    }
}
