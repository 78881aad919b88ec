//! A new configuration for a server that runs.
//!
//! Owns [`App::reload`]. The idea: everything new is made first, beside the old; then tools and rules change places in
//! one step, so that a call meets either all of the old configuration or all of the new one. What cannot be made, or
//! cannot change while the server runs, refuses the whole, and the old configuration stays. Either way leaves a line in
//! the audit before it happens.
//!
//! Must not: change anything before all of it is known to be good.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::sources::{self, Brought, Count, Sources, Stand};
use super::{App, fit, known_toolsets, settle};
use crate::audit::Event;
use crate::catalog::{Catalog, List};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, json};
use crate::pipeline::{Line, Rules, Tool};
use crate::policy::Policy;
use crate::redaction::Redactor;
use crate::search;
use crate::vault::Keeper;

/// What cannot change while the server runs; for a whole table its name is enough.
const FIXED: &[&str] = &[
    "profile",
    "allow_root",
    "contact",
    "principal",
    "keys",
    "state_dir",
    "stateless",
    "introduction",
    "server",
    "store",
    "tools",
    "practice",
    "approvals",
    "audit",
    "alerts",
    "telemetry",
    "http",
    "oauth",
    "tasks",
    "log.json",
];

/// What earlier configurations left.
pub(super) struct Former {
    /// Names what the tools were made of.
    mark: String,
    /// What the configuration's own sources brought.
    tools: Vec<Arc<dyn Tool>>,
    /// Every toolset that their manifests describe.
    toolsets: BTreeSet<String>,
    /// How many of them are whose.
    counts: Vec<Count>,
    /// Stand-ins that calls may still be talking to, and since when nobody new does.
    retired: Vec<(Duration, Arc<Stand>)>,
}

impl Former {
    pub(super) fn of(config: &Config, made: &Sources) -> Self {
        Self {
            mark: sources::mark(config),
            tools: made.tools.clone(),
            toolsets: made.toolsets.clone(),
            counts: made.counts.clone(),
            retired: Vec::new(),
        }
    }

    /// Ends stand-ins that were retired before that time, or all.
    pub(super) async fn end(&mut self, before: Option<Duration>) {
        let over = |(since, _): &(Duration, Arc<Stand>)| before.is_none_or(|before| *since <= before);
        let (over, rest) = std::mem::take(&mut self.retired).into_iter().partition(over);
        self.retired = rest;
        let over: Vec<(Duration, Arc<Stand>)> = over;
        for (_, stand) in over {
            stand.shutdown().await;
        }
    }
}

/// Everything new, made and not yet in use.
struct Fresh {
    config: Config,
    redactor: Redactor,
    line: Arc<Line>,
    secrets: Keeper,
    tools: Vec<Arc<dyn Tool>>,
    /// What the sources brought, and their stand-ins; none where the former ones serve on.
    sources: Option<Sources>,
    mark: String,
}

impl App {
    /// The tools of each configured connector and document, as they are served now.
    pub(super) async fn made(&self) -> Vec<Brought> {
        let former = self.reloading.lock().await;
        sources::lists(&former.counts, &former.tools)
    }

    /// Puts a configuration in the place of the one that holds, or says why not; then nothing has changed.
    pub async fn reload(&self, config: Result<Config>) -> Result<()> {
        let mut former = self.reloading.lock().await;
        let done = match config {
            Ok(config) => self.replace(config, &mut former).await,
            Err(error) => Err(error),
        };
        let Err(error) = done else {
            tracing::info!("a new configuration holds");
            return Ok(());
        };
        tracing::warn!(reason = error.message(), "the new configuration is not used; the former one stays");
        let detail = json!({"kind": error.kind().name(), "reason": error.message()});
        self.audit.event(Event::ConfigurationRefused, &detail).await?;
        Err(error)
    }

    async fn replace(&self, config: Config, former: &mut Former) -> Result<()> {
        let before = self.config();
        let fresh = self.make(config, &before, former).await?;
        self.note_relaxations(&fresh.config).await?;
        let detail = json!({
            "changed": changed(&before, &fresh.config),
            "policy": fresh.line.policy().version(),
            "tools": fresh.tools.len(),
        });
        self.audit.event(Event::ConfigurationReloaded, &detail).await?;
        self.catalog.reconfigure(fresh.tools, fresh.line)?;
        self.redactor.follow(&fresh.redactor);
        self.secrets.store(Arc::new(fresh.secrets));
        // a process whose logs are somebody else's keeps their level
        crate::telemetry::logs::change(&fresh.config.log)?;
        let now = self.clock.monotonic();
        if let Some(sources) = fresh.sources {
            former.mark = fresh.mark;
            former.tools = sources.tools;
            former.toolsets = sources.toolsets;
            former.counts = sources.counts;
            let stands = sources.stands.into_iter().map(Arc::new).collect();
            self.unasked.store(Arc::new(sources.unasked));
            let old = self.stands.swap(Arc::new(stands));
            former.retired.extend(old.iter().map(|stand| (now, Arc::clone(stand))));
        }
        former.end(now.checked_sub(Duration::from_secs(before.calls.longest_seconds))).await;
        self.config.store(Arc::new(fresh.config));
        Ok(())
    }

    async fn make(&self, mut config: Config, before: &Config, former: &Former) -> Result<Fresh> {
        settle(&mut config, &self.state)?;
        // what was learned of upstreams stays learned
        config.egress.traffic = before.egress.traffic.clone();
        if let Some(setting) = fixed(before, &config) {
            return Err(Error::new(
                Kind::BadConfig,
                format!(
                    "`{setting}` cannot change while the server runs, so nothing was reloaded; put its former value \
                     back, or restart the server."
                ),
            ));
        }
        config.log.check()?;
        let redactor = self.redactor.renewed(&config.redaction)?;
        let policy = Arc::new(Policy::load(&config.policy)?.in_profile(config.profile.name()));
        super::accepted::enforce(&config, &policy, &self.approvals, &self.state)?;
        let mark = sources::mark(&config);
        // a stand-in keeps what was done to it, unless it has to be another; credentials are always read again
        let same = config.practice && mark == former.mark;
        let secrets = super::keeping::keeper(&config, &redactor, &self.clock, (&self.audit, &self.state))?;
        let made = if same {
            None
        } else {
            let logins = super::store::logins(self.shared.as_ref(), &self.state)?;
            let around = (&logins, &secrets);
            Some(sources::open(&config, &redactor, &self.clock, self.handles.clone(), around).await?)
        };
        let line = self.line();
        let mut tools = made.as_ref().map_or(&former.tools, |made| &made.tools).clone();
        let limiter = Arc::new(line.limiter().renewed(&config.limits));
        if config.diagnostics {
            tools.extend(crate::diagnostics::tools(&limiter));
        }
        let now = self.catalog.now();
        let added: Vec<_> = now.added().map(|entry| entry.spec()).collect();
        let specs = tools.iter().map(|tool| tool.spec()).chain(added.iter().copied());
        if search::needed(&config.offer, specs) {
            let finders = search::Handle::default();
            finders.set(&self.catalog);
            tools.extend(search::tools(&finders));
        }
        let described = made.as_ref().map_or(&former.toolsets, |made| &made.toolsets);
        let stay = || now.added().map(|entry| entry.tool().clone());
        tools.extend(super::reader(line.kept(), &tools));
        let checked = Catalog::build(tools.iter().cloned().chain(stay()).collect()).and_then(|all| {
            fit(&policy, &all)?;
            let all = all.now();
            let specs = List::ALL.iter().flat_map(|list| all.list(*list)).map(|one| one.spec());
            known_toolsets(&config, specs, described)
        });
        if let Err(error) = checked {
            for stand in made.iter().flat_map(|made| &made.stands) {
                stand.shutdown().await;
            }
            return Err(error);
        }
        let line = line.renewed(Rules {
            limiter,
            policy,
            filter: config.offer.clone(),
            redactor: redactor.clone(),
            config: config.calls.clone(),
        });
        Ok(Fresh { config, redactor, line: Arc::new(line), secrets, tools, sources: made, mark })
    }
}

/// The first setting that differs and may not.
fn fixed(before: &Config, after: &Config) -> Option<String> {
    let (before, after) = (json!(before), json!(after));
    FIXED.iter().find_map(|name| {
        let pointer = format!("/{}", name.replace('.', "/"));
        let at = |config: &Value| config.pointer(&pointer).cloned().unwrap_or_default();
        differing(name, &at(&before), &at(&after))
    })
}

/// The first member that differs, by its dotted name.
fn differing(name: &str, before: &Value, after: &Value) -> Option<String> {
    if before == after {
        return None;
    }
    let inner = before.as_object().zip(after.as_object()).and_then(|(before, after)| {
        before.keys().chain(after.keys()).find_map(|key| {
            let member = |of: &Map<String, Value>| of.get(key).cloned().unwrap_or_default();
            differing(&format!("{name}.{key}"), &member(before), &member(after))
        })
    });
    Some(inner.unwrap_or_else(|| name.to_owned()))
}

/// The tables that differ, by name.
fn changed(before: &Config, after: &Config) -> Vec<String> {
    let (before, after) = (json!(before), json!(after));
    let Some(members) = after.as_object() else { return Vec::new() };
    members
        .iter()
        .filter(|(name, value)| before.get(name) != Some(value))
        .map(|(name, _)| name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "bartizan.toml").unwrap()
    }

    #[test]
    fn what_cannot_change_is_named() {
        let before = config("");
        for (text, name) in [
            ("[http]\nlisten = \"127.0.0.1:1\"", "http.listen"),
            ("state_dir = \"elsewhere\"", "state_dir"),
            ("[audit]\npath = \"elsewhere.jsonl\"", "audit.path"),
            ("tools = [\"more.py\"]", "tools"),
            ("practice = true", "practice"),
            ("profile = \"staging\"", "profile"),
            ("[approvals]\ntrust_clients = [\"key:x\"]", "approvals.trust_clients"),
            ("[log]\njson = true", "log.json"),
            ("[server]\npage_size = 7", "server.page_size"),
            ("[oauth]\nleeway_seconds = 7", "oauth.leeway_seconds"),
        ] {
            assert_eq!(fixed(&before, &config(text)).as_deref(), Some(name), "{text}");
        }
    }

    #[test]
    fn each_setting_is_either_fixed_or_known_to_be_reloaded() {
        let reloaded = [
            "connector",
            "openapi",
            "diagnostics",
            "policy",
            "offer",
            "limits",
            "calls",
            "redaction",
            "egress",
            "log",
            "secrets",
            "tokens",
            "reload",
            "pinned",
        ];
        for name in json!(config("")).as_object().unwrap().keys() {
            let is_fixed = FIXED.contains(&name.as_str());
            assert!(
                is_fixed != reloaded.contains(&name.as_str()),
                "{name}: decide whether a reload may change it"
            );
        }
        let after = config(
            "[log]\nlevel = \"info\"\n[offer]\nread_only = true\n[limits]\nread = { per_minute = 1, burst = 1 }",
        );
        assert_eq!(fixed(&config(""), &after), None);
        assert_eq!(changed(&config(""), &after), ["offer", "limits", "log"]);
    }
}
