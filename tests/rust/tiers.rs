//! The preset policies, profile by profile, scope by scope, for every built-in tool: what is listed, and what a call gets.

use std::sync::Arc;

use bartizan::app::{App, Extra};
use bartizan::catalog::List;
use bartizan::config::Config;
use bartizan::error::{Kind, Result};
use bartizan::json::Map;
use bartizan::pipeline::{Context, Line, Outcome, Proposed, Rules};
use bartizan::policy::{Effect, Policy, Verdict};
use bartizan::principal::{Principal, PrincipalKind};

const SETS: [&str; 3] = ["read-only", "standard", "admin"];
const PROFILES: [&str; 3] = ["development", "staging", "production"];
/// What a token of each tier may do.
const TIERS: [&[&str]; 3] = [&["read"], &["read", "write"], &["read", "write", "admin"]];

/// What the documentation says, and nothing that is read from the policies.
fn declared(set: &str, profile: &str, tier: &[&str], effect: Effect) -> Verdict {
    match (set, effect) {
        (_, Effect::Read) => Verdict::Allow,
        ("standard", Effect::Write) if tier.contains(&"write") => {
            if profile == "development" {
                Verdict::Allow
            } else {
                Verdict::Ask
            }
        }
        ("admin", Effect::Write) if tier.contains(&"write") => Verdict::Allow,
        ("admin", Effect::Destroy) if tier.contains(&"admin") => Verdict::Ask,
        _ => Verdict::Deny,
    }
}

fn caller(tier: &[&str]) -> Arc<Principal> {
    let scopes = tier.iter().map(|scope| (*scope).to_owned()).collect();
    Arc::new(Principal { scopes, ..Principal::new("key:tier", PrincipalKind::ApiKey) })
}

async fn everything(folder: &std::path::Path) -> Arc<App> {
    let text = "practice = true\ndiagnostics = true\nstate_dir = 'state'\n\
                [limits]\nread = { per_minute = 1000000, burst = 100000 }\n\
                write = { per_minute = 1000000, burst = 100000 }\n\
                destroy = { per_minute = 1000000, burst = 100000 }\n\
                refusals = { per_minute = 1000000, burst = 100000 }\n[[connector]]\nname = 'equinix'";
    std::fs::write(folder.join("bartizan.toml"), text).unwrap();
    let config = Config::load(&folder.join("bartizan.toml")).unwrap();
    App::build(config, Extra::default()).await.unwrap()
}

fn line(app: &App, set: &str, profile: &str) -> Line {
    let config = app.config();
    let policy = Policy::load(&bartizan::policy::Config::of(set)).unwrap().in_profile(profile);
    app.line().renewed(Rules {
        limiter: app.line().limiter().clone(),
        policy: Arc::new(policy),
        filter: config.offer.clone(),
        redactor: app.redactor().clone(),
        config: config.calls.clone(),
    })
}

/// What a call was answered, as far as it tells what policy said. A call whose arguments do not fit tells only that the
/// tool exists.
fn said(outcome: Result<Outcome>) -> &'static str {
    match outcome {
        Ok(Outcome::Paused(_)) => "asked",
        Ok(Outcome::Done(_)) => "ran",
        Err(error) => match error.kind() {
            Kind::NoSuchTool | Kind::NoSuchResource => "unknown",
            Kind::Forbidden => "forbidden",
            Kind::NeedsApproval => "asked",
            Kind::BadArguments => "arguments",
            _ => "ran",
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_built_in_tool_is_visible_and_callable_exactly_as_declared() {
    let folder = tempfile::tempdir().unwrap();
    let app = everything(folder.path()).await;
    let now = app.catalog().now();
    let mut told = std::collections::BTreeMap::<&str, usize>::new();
    for set in SETS {
        for profile in PROFILES {
            let line = line(&app, set, profile);
            for tier in TIERS {
                let principal = caller(tier);
                let mut context = Context::new(app.context().revision, principal.clone(), "test");
                context.request_id = format!("{set}-{profile}-{}", tier.len());
                for entry in List::ALL.iter().flat_map(|list| now.list(*list)) {
                    let spec = entry.spec();
                    let expected = declared(set, profile, tier, spec.effect);
                    let place = format!("{set}, {profile}, {tier:?}, {} ({})", spec.name, spec.effect.name());
                    let judged = line.policy().judge(&principal, &spec.resource(), &Map::new());
                    assert_eq!(judged.verdict, expected, "{place}");
                    assert_eq!(line.visible(&principal, spec), expected != Verdict::Deny, "{place}");
                    // Each tool is called once in each tier under the rules that differ most; a stand-in answers.
                    if profile == "staging" {
                        continue;
                    }
                    let call =
                        Proposed { tool: entry.tool().clone(), arguments: Map::new(), method: "tools/call" };
                    let said = said(line.run(call, &context).await);
                    *told.entry(said).or_default() += 1;
                    let fits: &[&str] = match (expected, judged.hidden) {
                        (Verdict::Deny, true) => &["unknown"],
                        (Verdict::Deny, false) => &["forbidden", "arguments"],
                        (Verdict::Ask, _) => &["asked", "arguments"],
                        (Verdict::Allow, _) => &["ran", "arguments"],
                    };
                    assert!(fits.contains(&said), "{place}: {said}");
                }
            }
        }
    }
    for word in ["ran", "unknown", "arguments"] {
        assert!(told.get(word).is_some_and(|count| *count > 10), "{told:?}");
    }
    app.close().await.unwrap();
}
