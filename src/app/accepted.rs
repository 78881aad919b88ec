//! Which policy an operator has accepted.
//!
//! Owns [`Terms`], and the record of those that were accepted. The idea: once an operator has a second factor, whoever
//! can change the configuration does not decide alone what may be done: whatever decides about calls, by name and text, is
//! compared with what an operator has signed after a code was shown. There is one record for each profile in the state
//! directory, beside the second factors; a new one takes its place.
//!
//! [`Terms`] leave out what is as it is by default, so that a new setting of a later version changes nothing; and [offer]
//! may take away more than was accepted, never less. Which connectors and tools there are is no part of it: `pins.rs` is
//! about these.
//!
//! Must not: accept anything by itself, or believe a record that nobody proves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::approvals::{Approvals, Operator, Testimony, visible};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::json::{Value, canonical, digest, json};
use crate::policy::Policy;
use crate::state::StateDir;

/// Where the records are, in the state directory.
const FOLDER: &str = "factors";
/// Settings of `[approvals]` that neither say who may agree nor what with.
const ASIDE: &[&str] =
    &["expires_seconds", "profile", "most_pending", "most_pending_each", "operators", "webhook"];
/// Settings of `[oauth]` that say whom tokens stand for.
const TOKENS: &[&str] = &["public_url", "issuers", "scopes", "scope_prefix", "dpop", "dpop_nonce"];
/// Characters of a setting that are shown.
const LONGEST: usize = 80;

/// What decides about calls, but for the calls themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    profile: String,
    /// The name of the set, and that and the names of all files with the digests of their texts.
    set: String,
    texts: Vec<(String, String)>,
    /// By their dotted names, as far as they are not as by default.
    settings: BTreeMap<String, Value>,
    offer: Offer,
}

/// What is taken away from what policies allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Offer {
    read_only: bool,
    tools: Option<BTreeSet<String>>,
    without: BTreeSet<String>,
}

/// The record: terms, and who proves that they were accepted.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u8,
    /// When, in milliseconds of the epoch.
    at: u64,
    terms: Terms,
    proof: Testimony,
}

impl Terms {
    /// Those of a configuration, as its files are now.
    pub fn read(config: &Config) -> Result<Self> {
        config.trusted()?;
        Ok(Self::of(config, &Policy::load(&config.policy)?))
    }

    /// Those of a configuration whose policies were loaded.
    fn of(config: &Config, policy: &Policy) -> Self {
        // a file is the same wherever it is and however it is named from there
        let named =
            |path: &str| Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (offer, plain) = (&config.offer, Config::default());
        let mut settings = Settings(BTreeMap::new());
        settings.add("principal.local", &json!(config.principal.local), &json!(plain.principal.local));
        let mut deciding = json!(config.approvals);
        if let Some(members) = deciding.as_object_mut() {
            members.retain(|name, _| !ASIDE.contains(&name.as_str()));
        }
        let operators = config.approvals.operators.as_ref();
        let operators = operators.map(|path| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone()));
        deciding["operators"] = json!(operators);
        deciding["webhook"] = json!(config.approvals.webhook.as_ref().map(|hook| [&hook.url, &hook.link]));
        settings.add("approvals", &deciding, &json!(plain.approvals));
        let mut tokens = json!(config.oauth);
        if let Some(members) = tokens.as_object_mut() {
            members.retain(|name, _| TOKENS.contains(&name.as_str()));
        }
        settings.add("oauth", &tokens, &json!(plain.oauth));
        let holders = |config: &Config| json!({"certificate": config.http.certificate});
        settings.add("http", &holders(config), &holders(&plain));
        Self {
            profile: config.profile.name().to_owned(),
            set: named(&config.policy.set),
            texts: policy.texts().map(|(path, digest)| (named(path), digest.to_owned())).collect(),
            settings: settings.0,
            offer: Offer {
                read_only: offer.read_only,
                tools: offer.tools.clone(),
                without: offer.without.clone(),
            },
        }
    }

    /// The profile that they are for.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The set of policies, by its name or the name of its file.
    pub fn set(&self) -> &str {
        &self.set
    }

    /// A short name for exactly these.
    pub fn short(&self) -> String {
        digest(&json!(self)).hex()[..12].to_owned()
    }

    /// Whether they are `accepted`, or take away more than that.
    fn is_within(&self, accepted: &Self) -> bool {
        let (now, then) = (&self.offer, &accepted.offer);
        let narrower = now.read_only >= then.read_only
            && then.without.is_subset(&now.without)
            && then
                .tools
                .as_ref()
                .is_none_or(|then| now.tools.as_ref().is_some_and(|now| now.is_subset(then)));
        narrower && Self { offer: then.clone(), ..self.clone() } == *accepted
    }

    /// What is another than `before`, in words: what, before and now. All there is, where nothing was before.
    pub fn changes(&self, before: Option<&Self>) -> Vec<(String, String, String)> {
        let (now, then) = (self.rows(), before.map(Self::rows).unwrap_or_default());
        let names: BTreeSet<&String> = now.keys().chain(then.keys()).collect();
        let said = |rows: &BTreeMap<String, String>, name: &String| {
            rows.get(name).cloned().unwrap_or_else(|| String::from("(none)"))
        };
        let rows = names.into_iter().filter(|name| now.get(*name) != then.get(*name));
        rows.map(|name| (visible(name), said(&then, name), said(&now, name))).collect()
    }

    fn rows(&self) -> BTreeMap<String, String> {
        let mut rows = BTreeMap::new();
        rows.insert(String::from("set"), visible(&self.set));
        for (name, digest) in &self.texts {
            let row: &mut String = rows.entry(format!("text of {name}")).or_default();
            row.push_str(if row.is_empty() { "" } else { ", " });
            row.push_str(&digest[..digest.len().min(12)]);
        }
        let offer = [
            ("offer.read_only", json!(self.offer.read_only)),
            ("offer.tools", json!(self.offer.tools)),
            ("offer.without", json!(self.offer.without)),
        ];
        let offer = offer.into_iter().map(|(name, value)| (name.to_owned(), value));
        for (name, value) in offer.chain(self.settings.clone()) {
            if value.is_null() || value == json!(false) || value == json!([]) {
                continue;
            }
            let text = visible(&value.to_string());
            let cut = text.chars().count() > LONGEST;
            let digest = digest(&value).hex();
            let shown: String = text.chars().take(LONGEST).collect();
            rows.insert(name, if cut { format!("{shown}… ({})", &digest[..12]) } else { shown });
        }
        rows
    }

    fn statement(&self, at: u64) -> String {
        format!("bartizan policy accept v1\n{}", canonical(&json!({"at": at, "terms": self})))
    }
}

/// Settings by dotted name, without those that are as by default.
struct Settings(BTreeMap<String, Value>);

impl Settings {
    fn add(&mut self, table: &str, values: &Value, plain: &Value) {
        for (name, value) in values.as_object().into_iter().flatten() {
            if plain.get(name).unwrap_or(&Value::Null) != value {
                self.0.insert(format!("{table}.{name}"), value.clone());
            }
        }
    }
}

/// The record of a profile: it lies beside the second factors, so that instances which share these share it too.
pub(super) fn file(profile: &str) -> PathBuf {
    Path::new(FOLDER).join(Approvals::accepted_as(profile))
}

/// What was accepted last for that profile. One that no operator with a second factor proves counts as none.
pub fn accepted(state: &StateDir, approvals: &Approvals, profile: &str) -> Result<Option<Terms>> {
    let Some(bytes) = state.folder(FOLDER)?.read(&Approvals::accepted_as(profile))? else { return Ok(None) };
    let proved = |record: &Record| {
        record.version == 1
            && record.terms.profile == profile
            && record.proof.factor.is_some()
            && approvals.attests(&record.proof, &record.terms.statement(record.at))
    };
    let record = serde_json::from_slice::<Record>(&bytes).ok().filter(proved);
    if record.is_none() {
        tracing::warn!(
            "what is written down about the accepted policy is no operator's, so it counts as none"
        );
    }
    Ok(record.map(|record| record.terms))
}

/// Writes down that an operator, who has shown a second factor, accepts these terms.
pub fn accept(
    state: &StateDir,
    approvals: &Approvals,
    terms: &Terms,
    operator: &Operator,
    at: u64,
) -> Result<()> {
    let statement = terms.statement(at);
    let proof = operator.testify(&statement);
    if proof.factor.is_none() || !approvals.attests(&proof, &statement) {
        return Err(Error::new(
            Kind::Forbidden,
            "This operator's key accepts no policy: no second factor was shown, or its public half is not among the \
             operators of this installation.",
        ));
    }
    let record = Record { version: 1, at, terms: terms.clone(), proof };
    let bytes = serde_json::to_vec_pretty(&record).map_err(|cause| {
        Error::new(Kind::Internal, "What was accepted could not be written down.").with_source(cause)
    })?;
    state.folder(FOLDER)?.write(&Approvals::accepted_as(&terms.profile), &bytes)
}

/// Whether it was accepted that no second factor is asked for.
pub fn waives_factor(state: &StateDir, approvals: &Approvals, profile: &str) -> Result<bool> {
    let accepted = accepted(state, approvals, profile)?;
    Ok(accepted.is_some_and(|terms| terms.settings.get("approvals.second_factor") == Some(&json!("off"))))
}

/// Refuses a policy that nobody accepted, where an operator could have.
pub(super) fn enforce(
    config: &Config,
    policy: &Policy,
    approvals: &Approvals,
    state: &StateDir,
) -> Result<()> {
    if config.looks || !approvals.guards_policy()? {
        return Ok(());
    }
    let now = Terms::of(config, policy);
    if accepted(state, approvals, &now.profile)?.is_some_and(|accepted| now.is_within(&accepted)) {
        return Ok(());
    }
    Err(Error::new(
        Kind::BadConfig,
        format!(
            "The policy (set {}, {}) is not the one that an operator has accepted for the profile {}, and with a second \
             factor enrolled no other holds; see what changed, and accept it, with: bartizan policy accept.",
            now.set,
            now.short(),
            now.profile
        ),
    ))
}

/// The same for those who only look.
pub fn unaccepted(config: &Config, state: &StateDir, approvals: &Approvals) -> Result<()> {
    let config = Config { looks: false, ..config.clone() };
    enforce(&config, &Policy::load(&config.policy)?, approvals, state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Terms {
        Terms::read(&Config::parse(text, "bartizan.toml").unwrap()).unwrap()
    }

    #[test]
    fn whatever_decides_is_in_and_what_only_takes_away_may_grow() {
        let plain = terms("");
        assert!(plain.is_within(&plain) && plain.settings.is_empty());
        for text in [
            "policy = 'standard'",
            "profile = 'development'",
            "[principal.local]\nroles = ['ops']",
            "[approvals]\nsecond_factor = 'off'",
            "[approvals]\ntrust_clients = ['local:alice']",
            "[approvals]\nself_approval = true",
            "[approvals]\napprovers = ['key:eve']",
            "[approvals]\noperators = 'elsewhere'",
            "[approvals.webhook]\nurl = 'https://a.example'\nlink = 'https://b.example'",
            "[oauth.scopes]\nwrite = ['x']",
            "[[oauth.issuers]]\nissuer = 'https://issuer.example'\napprovers = true",
            "[[http.certificate]]\nname = 'nightly'\nscopes = ['admin']",
        ] {
            let other = terms(text);
            assert!(!other.is_within(&plain) && !plain.is_within(&other), "{text}");
            assert!(!other.changes(Some(&plain)).is_empty() || other.profile != plain.profile, "{text}");
        }
        for text in [
            "[approvals]\nexpires_seconds = 60",
            "[oauth]\nleeway_seconds = 7",
            "[http]\nlisten = '127.0.0.1:1'",
            "diagnostics = true",
        ] {
            assert_eq!(terms(text), plain, "{text}");
        }
        for text in ["read_only = true", "tools = ['a']", "without = ['a']"] {
            let less = terms(&format!("[offer]\n{text}"));
            assert!(less.is_within(&plain) && !plain.is_within(&less), "{text}");
        }
    }

    #[test]
    fn a_change_is_told_in_words() {
        let rows = terms("policy = 'admin'\n[approvals]\nself_approval = true").changes(Some(&terms("")));
        let names: Vec<&str> = rows.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["approvals.self_approval", "set", "text of admin", "text of read-only"]);
        assert_eq!((rows[0].1.as_str(), rows[0].2.as_str()), ("(none)", "true"));
        assert_eq!((rows[1].1.as_str(), rows[1].2.as_str()), ("read-only", "admin"));
    }
}
