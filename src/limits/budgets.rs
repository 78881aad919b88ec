//! What a caller may do beyond its classes: each tool, a day, and all callers together.
//!
//! Owns [`ToolQuota`], [`Daily`] and the buckets that they need in this process. The idea: each is one more take from one
//! more bucket of the same arithmetic; without a setting there is none, and a call costs nothing more.
//!
//! Must not: loosen anything; each of these only comes on top.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gcra::Quota;
use super::memory::Memory;
use super::{Config, Own};
use crate::error::{Error, Kind, Result};

/// How often one tool, or each of several, may be called by one caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolQuota {
    /// How many a minute, in the long run.
    pub per_minute: u32,
    /// How many at once.
    pub burst: u32,
    /// What a call takes of the daily budget, in place of what its class takes.
    #[serde(default)]
    pub cost: Option<u32>,
}

/// What one caller may spend in any 24 hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daily {
    /// How many calls, where each costs one. Never more in any 24 hours.
    pub calls: u32,
    /// How many of them at once; half unless given. The others come back over the day.
    #[serde(default)]
    pub burst: Option<u32>,
    /// What a read costs.
    #[serde(default = "one")]
    pub read: u32,
    /// What a write costs.
    #[serde(default = "one")]
    pub write: u32,
    /// What a destroy costs.
    #[serde(default = "one")]
    pub destroy: u32,
}

const fn one() -> u32 {
    1
}

impl Daily {
    fn quota(&self) -> Quota {
        Quota::of_a_day(self.calls, self.burst.unwrap_or(self.calls.div_ceil(2)))
    }

    fn cost(&self, class: &str) -> u32 {
        match class {
            "read" => self.read,
            "destroy" => self.destroy,
            _ => self.write,
        }
    }
}

impl Config {
    /// Refuses what cannot be meant. Errors are `BadConfig`.
    pub fn check(&self) -> Result<()> {
        let bad = |message: &'static str| Err(Error::new(Kind::BadConfig, message));
        if let Some(daily) = &self.daily {
            if daily.calls < 2 {
                return bad(
                    "[limits] daily: `calls` is at least 2; to let nothing through, switch tools off under [offer].",
                );
            }
            let burst = daily.quota().burst;
            if [daily.read, daily.write, daily.destroy].iter().any(|cost| *cost > burst) {
                return bad(
                    "[limits] daily: one call costs more than can be spent at once; raise `calls` or `burst`.",
                );
            }
        }
        for (pattern, rule) in &self.tools {
            let name = pattern.strip_suffix('*').unwrap_or(pattern);
            if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
                || pattern.is_empty()
            {
                return bad("[limits.tools] takes names of tools, with at most one `*` at the end.");
            }
            if rule.cost.is_some() && self.daily.is_none() {
                return bad("[limits.tools]: a `cost` means something only with [limits] daily.");
            }
        }
        Ok(())
    }
}

/// One more take for a call.
pub(super) struct Wanted {
    pub(super) key: String,
    pub(super) quota: Quota,
    pub(super) cost: u32,
    /// It is counted where writes are, whatever the call is: it has to outlive this process.
    pub(super) lasts: bool,
    /// Without it nothing is let through at all.
    pub(super) is_all: bool,
    what: What,
}

enum What {
    Tool,
    Day,
    Everybody,
}

impl Wanted {
    /// What the limit is called.
    pub(super) const fn name(&self) -> &'static str {
        match self.what {
            What::Tool => "tool",
            What::Day => "daily",
            What::Everybody => "global",
        }
    }

    pub(super) fn refusal(&self, retry_after: Option<Duration>) -> Error {
        let Quota { per_minute, burst, .. } = self.quota;
        let what = match self.what {
            What::Tool => format!(
                "Too many calls of this tool: the quota is {per_minute} a minute, at most {burst} at once."
            ),
            What::Day => String::from("The budget of calls for a day is spent."),
            What::Everybody => {
                format!("The server has too many calls: all callers together may make {per_minute} a minute.")
            }
        };
        let Some(wait) = retry_after else {
            let message = format!("{what} This call can never be made; an operator can raise [limits].");
            return Error::new(Kind::RateLimited, message);
        };
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        let unit = if seconds == 1 { "second" } else { "seconds" };
        Error::new(Kind::RateLimited, format!("{what} Try again in {seconds} {unit}.")).with_retry_after(wait)
    }
}

/// The further budgets, and their buckets in this process.
pub(super) struct Budgets {
    tools: Vec<(String, ToolQuota)>,
    daily: Option<Daily>,
    /// The least that any call costs of a day.
    least: u32,
    global: Option<Quota>,
    memory: Arc<Memory>,
}

impl Budgets {
    pub(super) fn new(config: &Config) -> Self {
        Self::over(config, Arc::new(Memory::new(config.most_principals)))
    }

    pub(super) fn renewed(&self, config: &Config) -> Self {
        self.memory.resize(config.most_principals);
        Self::over(config, Arc::clone(&self.memory))
    }

    fn over(config: &Config, memory: Arc<Memory>) -> Self {
        let tools: Vec<_> = config.tools.iter().map(|(name, rule)| (name.clone(), rule.clone())).collect();
        let own = tools.iter().filter_map(|(_, rule)| rule.cost);
        let daily = config.daily.clone();
        let classes = daily.iter().flat_map(|daily| [daily.read, daily.write, daily.destroy]);
        let least = classes.chain(own).min().unwrap_or_default();
        Self { tools, daily, least, global: config.global, memory }
    }

    /// What a call takes beyond its class, each in turn; what all share comes last, so that who is refused before costs
    /// the others nothing.
    pub(super) fn wants(&self, principal: &str, tool: Option<&str>, class: &'static str) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        if self.tools.is_empty() && self.daily.is_none() && self.global.is_none() {
            return wanted;
        }
        let mut own_cost = None;
        for (pattern, rule) in
            self.tools.iter().filter(|(pattern, _)| tool.is_some_and(|tool| fits(pattern, tool)))
        {
            own_cost = own_cost.max(rule.cost);
            wanted.push(Wanted {
                key: format!("tool:{pattern}:{principal}"),
                quota: Quota::new(rule.per_minute, rule.burst),
                cost: 1,
                lasts: false,
                is_all: false,
                what: What::Tool,
            });
        }
        if let Some(daily) = &self.daily {
            let cost = own_cost.unwrap_or(daily.cost(class));
            if cost > 0 {
                wanted.push(Wanted {
                    key: format!("daily:{principal}"),
                    quota: daily.quota(),
                    cost,
                    lasts: true,
                    is_all: cost == self.least,
                    what: What::Day,
                });
            }
        }
        if let Some(quota) = self.global {
            wanted.push(Wanted {
                key: String::from("global"),
                quota,
                cost: 1,
                lasts: false,
                is_all: false,
                what: What::Everybody,
            });
        }
        wanted
    }

    /// The bucket in this process.
    pub(super) fn own<'a>(&'a self, wanted: &'a Wanted) -> Own<'a> {
        Own { memory: &self.memory, key: &wanted.key, index: 0 }
    }
}

fn fits(pattern: &str, tool: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == tool, |start| tool.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pattern_that_fits_counts_and_the_dearest_cost_holds() {
        let text = r#"
            daily = { calls = 100, write = 5 }
            global = { per_minute = 1000, burst = 100 }
            [tools]
            "ports_*" = { per_minute = 6, burst = 2, cost = 7 }
            "ports_delete" = { per_minute = 1, burst = 1, cost = 20 }
        "#;
        let config: Config = toml::from_str(text).unwrap();
        config.check().unwrap();
        let budgets = Budgets::new(&config);
        let wants = |tool, class| -> Vec<(String, u32)> {
            budgets.wants("key:a", tool, class).into_iter().map(|one| (one.key, one.cost)).collect()
        };
        let all = |list: &[(&str, u32)]| {
            list.iter().map(|(key, cost)| ((*key).to_owned(), *cost)).collect::<Vec<_>>()
        };
        assert_eq!(wants(Some("vlans"), "write"), all(&[("daily:key:a", 5), ("global", 1)]));
        assert_eq!(wants(None, "read"), all(&[("daily:key:a", 1), ("global", 1)]));
        assert_eq!(
            wants(Some("ports_delete"), "destroy"),
            all(&[
                ("tool:ports_*:key:a", 1),
                ("tool:ports_delete:key:a", 1),
                ("daily:key:a", 20),
                ("global", 1)
            ])
        );
        assert!(Budgets::new(&Config::default()).wants("a", Some("b"), "write").is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "daily = { calls = 1 }",
            "daily = { calls = 10, write = 9 }",
            "[tools]\n\"a*b\" = { per_minute = 1, burst = 1 }",
            "[tools]\n\"\" = { per_minute = 1, burst = 1 }",
            "[tools]\na = { per_minute = 1, burst = 1, cost = 2 }",
        ] {
            assert!(toml::from_str::<Config>(text).unwrap().check().is_err(), "{text}");
        }
        assert!(Config::default().check().is_ok());
    }
}
