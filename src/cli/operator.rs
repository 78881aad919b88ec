//! What every act of an operator needs.
//!
//! Owns [`Log`], [`redactor`], [`account`], [`operator`], [`passphrase`], [`second_factor`] and [`authorise`]. The idea: an operator is a key that only a passphrase
//! opens; what is done with it is in the audit before it is done, and a failure leaves a line too.
//!
//! Must not: do anything itself.

use std::io::{BufRead, IsTerminal, Read};
use std::sync::Arc;

use super::args::OperatorFlags;
use super::hushed::Hushed;
use crate::app::credentials;
use crate::approvals::{Approvals, Operator, Proven};
use crate::audit::{Audit, Event};
use crate::clock::SystemClock;
use crate::config::{Config, Profile, environment};
use crate::error::{Error, Kind, Result};
use crate::json::{Digest, Value, json};
use crate::redaction::{Held, Redactor};
use crate::secret::Secret;
use crate::state::StateDir;
use crate::vault::{Keeper, Reference};

/// Shorter passphrases are refused at enrolment.
const SHORTEST: usize = 12;

/// What keeps secrets in, with this installation's key for fingerprints.
pub(super) fn redactor(config: &Config, state: &StateDir) -> Result<Redactor> {
    let mut rules = config.redaction.clone();
    rules.fingerprint_key = Some(Secret::new(Digest(state.key("fingerprint.key")?).hex()));
    Redactor::new(&rules)
}

/// Who acts, by the account of the shell.
pub(super) fn account() -> String {
    environment("SUDO_USER")
        .or_else(|| environment("USER"))
        .or_else(|| environment("LOGNAME"))
        .unwrap_or_else(|| String::from("user"))
}

/// The audit, as an operator's acts are written into it; closed, and so signed, when it is dropped. What is typed may
/// hold a credential by mistake, so those of the configuration are known.
pub(super) struct Log {
    audit: Arc<Audit>,
    state: StateDir,
    profile: Profile,
    _held: Vec<Held>,
}

impl Log {
    /// Knows the credentials that can be read without asking anybody.
    pub(super) fn open(config: Config) -> Result<Self> {
        Self::knowing(config, |one| !one.asks())
    }

    /// For an act that takes words as somebody types them: knows every credential that can be read.
    pub(super) fn of_words(config: Config) -> Result<Self> {
        Self::knowing(config, |_| true)
    }

    fn knowing(mut config: Config, which: impl Fn(&Reference) -> bool) -> Result<Self> {
        let (state, clock) = (StateDir::open(config.state_folder()?)?, SystemClock::shared());
        config.audit.state = state.path().to_path_buf();
        let redactor = redactor(&config, &state)?;
        let keeper = Keeper::open(&config.secrets, &config.egress, &redactor, &clock)?;
        let known = credentials(&config).into_iter().filter(which);
        let known = known.filter_map(|one| keeper.resolve(&one).ok());
        let held = known.map(|secret| redactor.hold(&secret, "credential")).collect();
        let audit = Audit::open(&config.audit, redactor, clock)?;
        Ok(Self { audit, state, profile: config.profile, _held: held })
    }

    pub(super) fn event(&self, kind: impl Into<&'static str>, detail: &Value) -> Result<()> {
        super::block_on(self.audit.event(kind, detail))
    }

    /// Whether an act of an operator needs a second factor. That a configuration asks for none counts only where it was
    /// accepted.
    pub(super) fn factor_due(&self, approvals: &Approvals) -> Result<bool> {
        if approvals.factor_for_acts()? {
            return Ok(true);
        }
        let guarded = approvals.guards_policy()?;
        Ok(guarded && !crate::app::waives_factor(&self.state, approvals, self.profile.name())?)
    }

    /// Does something, once the line that says so is written; a failure gets a line too.
    pub(super) fn act<T>(
        &self,
        kind: &'static str,
        detail: &Value,
        act: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.event(kind, detail)?;
        self.noting(kind, detail, act())
    }

    /// Passes a result on; a failure leaves a line.
    pub(super) fn noting<T>(&self, act: &'static str, detail: &Value, done: Result<T>) -> Result<T> {
        if let Err(error) = &done {
            let failed = json!({"act": act, "kind": error.kind().name(), "about": detail});
            self.event("operator act failed", &failed)?;
        }
        done
    }
}

/// Makes sure that an operator agrees to an act that `detail` tells: where operators are enrolled, one of them has to
/// open the key, and a failure leaves a line. Who it was; nothing where there is no operator to ask.
pub(super) fn authorise(
    approvals: &Approvals,
    log: &Log,
    act: &'static str,
    detail: &Value,
    flags: &OperatorFlags,
) -> Result<Option<Operator>> {
    if approvals.operators()?.is_empty() && flags.operator.is_none() {
        return Ok(None);
    }
    let name = operator(approvals, flags)?;
    let passphrase = passphrase(flags, &format!("Passphrase of operator {name}: "), false)?;
    let unlocked = approvals.operator(&name, None, &passphrase);
    let detail = json!({"operator": name, "about": detail});
    let operator = log.noting(act, &detail, unlocked)?;
    let due = log.factor_due(approvals)?;
    let factor = log.noting(act, &detail, second_factor(approvals, log, (&name, &passphrase), flags, due))?;
    Ok(Some(operator.with_factor(factor)))
}

/// Asks for the code of a second factor where one is due, and looks at one that was given anyway.
pub(super) fn second_factor(
    approvals: &Approvals,
    log: &Log,
    (name, passphrase): (&str, &Secret),
    flags: &OperatorFlags,
    due: bool,
) -> Result<Option<Proven>> {
    if !due && flags.code.is_none() {
        return Ok(None);
    }
    if approvals.second_factor(name)?.is_none() {
        return Err(Error::new(
            Kind::Forbidden,
            "This needs a second factor, and this operator has none; enrol it with: bartizan approvals factor enrol NAME.",
        ));
    }
    let code = match &flags.code {
        Some(code) => Secret::new(code.clone()),
        None => code(&format!("Code of {name}'s second factor (or a recovery code): "))?,
    };
    let shown = approvals.check_factor(name, Some(passphrase), code.expose());
    if let Err(error) = &shown
        && error.kind() == Kind::Unauthenticated
        && let Some(kept) = approvals.second_factor(name)?
    {
        let event = if kept.locked { Event::FactorLocked } else { Event::FactorFailed };
        log.event(event, &json!({"who": name, "left": kept.tries_left}))?;
    }
    shown.map(Some)
}

/// A code, typed at the terminal, or the next line of standard input.
pub(super) fn code(prompt: &str) -> Result<Secret> {
    if std::io::stdin().is_terminal() {
        let _hushed = Hushed::new();
        return ask(prompt);
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().take(100).lines().next();
    if let Some(Ok(text)) = read {
        line = text;
    }
    if line.trim().is_empty() {
        return Err(Error::new(
            Kind::BadConfig,
            "There is no terminal to ask for the code on; give it as --code CODE, or as a line of standard input.",
        ));
    }
    Ok(Secret::new(line.trim()))
}

/// The operator that was named, or the only one there is.
pub(super) fn operator(approvals: &Approvals, flags: &OperatorFlags) -> Result<String> {
    if let Some(name) = &flags.operator {
        return Ok(name.clone());
    }
    let names = approvals.operators()?;
    match names.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Error::new(
            Kind::BadConfig,
            "There is no operator yet; make a key first: bartizan approvals enrol NAME.",
        )),
        several => Err(Error::new(
            Kind::BadConfig,
            format!("There are several operators ({}); say which: --operator NAME.", several.join(", ")),
        )),
    }
}

pub(super) fn passphrase(flags: &OperatorFlags, prompt: &str, new: bool) -> Result<Secret> {
    let secret = if let Some(reference) = &flags.passphrase {
        Reference::parse(reference)?.resolve()?
    } else {
        if !std::io::stdin().is_terminal() {
            return Err(Error::new(
                Kind::BadConfig,
                "There is no terminal to ask for the passphrase on; give it as --passphrase env:NAME or file:PATH.",
            ));
        }
        let _hushed = Hushed::new();
        let typed = ask(prompt)?;
        if new && ask("The same again: ")?.expose() != typed.expose() {
            return Err(Error::new(
                Kind::BadConfig,
                "The two passphrases differ; nothing was made. Try again.",
            ));
        }
        typed
    };
    if new && secret.expose().chars().count() < SHORTEST {
        return Err(Error::new(
            Kind::BadConfig,
            format!("The passphrase is too short; {SHORTEST} characters are the least."),
        ));
    }
    Ok(secret)
}

fn ask(prompt: &str) -> Result<Secret> {
    rpassword::prompt_password(prompt).map(Secret::new).map_err(|error| {
        Error::new(Kind::BadConfig, "The passphrase could not be read from the terminal.").with_source(error)
    })
}
