//! `bartizan policy accept`.
//!
//! Owns an operator's agreement to the policy that a configuration names. The idea: the operator sees what is another than
//! what was accepted last, then signs exactly that, with a key that only a passphrase opens and after a code of the second
//! factor. A server that runs takes it by itself.
//!
//! Must not: accept without showing, or act without a line.

use super::operator::{Log, operator, passphrase, second_factor};
use super::policy_args::Accept;
use super::screen::{Screen, Tone};
use super::settings;
use crate::app::{Terms, accept, accepted};
use crate::approvals::Approvals;
use crate::audit::Event;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::error::Result;
use crate::json::{Value, json};
use crate::state::StateDir;

/// To be called outside of a runtime.
pub(super) fn run(typed: &Accept, screen: Screen) -> Result<()> {
    let config = settings::configuration(&typed.source)?;
    let terms = Terms::read(&config)?;
    let state = StateDir::open(config.state_folder()?)?;
    let approvals = crate::app::approvals(&config)?;
    let before = accepted(&state, &approvals, terms.profile())?;
    let changes = terms.changes(before.as_ref());
    let rows: Vec<Value> =
        changes.iter().map(|(what, then, now)| json!({"what": what, "before": then, "now": now})).collect();
    let told = |done: bool| {
        json!({
            "accepted": done, "profile": terms.profile(), "set": terms.set(), "policy": terms.short(), "changed": rows
        })
    };
    if before.as_ref() == Some(&terms) && approvals.guards_policy()? {
        if typed.json {
            screen.json(&told(true));
        } else {
            screen.line("Exactly this policy is accepted already.");
        }
        return Ok(());
    }
    if !typed.json {
        let label = |name: &str| screen.paint(Tone::Note, &format!("{name:<10}"));
        screen.line(&format!("{} {}", label("profile"), terms.profile()));
        screen.line(&format!("{} {}", label("policy"), terms.short()));
        if before.is_none() {
            screen.line(&format!("{} (none)", label("accepted")));
        }
        for (what, then, now) in &changes {
            screen.line(&format!(
                "{} {}: {then} -> {now}",
                label("changes"),
                screen.paint(Tone::Strong, what)
            ));
        }
    }
    let name = operator(&approvals, &typed.key)?;
    let passphrase = passphrase(&typed.key, &format!("Passphrase of operator {name}: "), false)?;
    let log = Log::open(config)?;
    let act = Event::PolicyAccepted.name();
    let mut detail = json!({
        "operator": name, "profile": terms.profile(), "set": terms.set(), "policy": terms.short(), "changed": rows
    });
    let unlocked = approvals.operator(&name, None, &passphrase);
    let key = log.noting(act, &detail, unlocked)?;
    // whatever this configuration says of second factors: it is not accepted yet
    let shown = second_factor(&approvals, &log, (&name, &passphrase), &typed.key, true);
    let factor = log.noting(act, &detail, shown)?;
    detail["factor"] = json!(factor.map(crate::approvals::Proven::name));
    let key = key.with_factor(factor);
    log.act(act, &detail, || accept(&state, &approvals, &terms, &key, now()))?;
    if typed.json {
        screen.json(&told(true));
    } else {
        screen.line(
            &screen.paint(
                Tone::Good,
                "accepted: it holds from the next start on, and in servers that run at once",
            ),
        );
    }
    Ok(())
}

fn now() -> u64 {
    u64::try_from(SystemClock::shared().wall().as_millis()).unwrap_or(u64::MAX)
}

/// The policy that counts as accepted once the first factor of an installation is there.
pub(super) struct First {
    state: StateDir,
    terms: Terms,
}

impl First {
    /// Nothing where somebody has a second factor already.
    pub(super) fn of(config: &Config, approvals: &Approvals) -> Result<Option<Self>> {
        if approvals.has_factors()? {
            return Ok(None);
        }
        Ok(Some(Self { state: StateDir::open(config.state_folder()?)?, terms: Terms::read(config)? }))
    }

    /// Accepts it: what it was, in words.
    pub(super) fn accept(
        &self,
        approvals: &Approvals,
        log: &Log,
        operator: &crate::approvals::Operator,
    ) -> Result<String> {
        let terms = &self.terms;
        let detail = json!({
            "operator": operator.name(), "profile": terms.profile(), "set": terms.set(), "policy": terms.short(),
            "factor": operator.factor().map(crate::approvals::Proven::name), "changed": []
        });
        log.act(Event::PolicyAccepted.name(), &detail, || {
            accept(&self.state, approvals, terms, operator, now())
        })?;
        Ok(format!(
            "The policy that this configuration names (set {}, profile {}) counts as accepted; from now on another one \
             holds only after: bartizan policy accept.",
            terms.set(),
            terms.profile()
        ))
    }
}
