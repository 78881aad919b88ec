//! What a line says, and that each trigger leaves one event.

use std::sync::Arc;

use bartizan::audit::Event;
use bartizan::json::{Value, json};
use bartizan::limits::{self, Quota};
use bartizan::policy::Effect;
use bartizan::principal::{Principal, PrincipalKind};

use super::line::{Fake, Options, context, principal, spec};

fn outcomes(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line["kind"] == "outcome").collect()
}

#[tokio::test]
async fn a_line_says_who_on_whose_behalf_from_where_with_what_claimed_program_in_which_profile() {
    let setup = Options::new("standard").build();
    let tool = Fake::plain(spec("look", Effect::Read));
    let mut caller = Principal::new("oauth:ann", PrincipalKind::ApiKey);
    caller.delegate = Some("client:agent-7".into());
    let mut context = context(caller);
    context.address = Some("192.0.2.7".parse().unwrap());
    context.client = Arc::new(bartizan::pipeline::Client {
        name: String::from("editor\u{1b}[31m\n{\"forged\":1}"),
        version: String::from("9"),
        ..Default::default()
    });
    setup.call(&tool, json!({}), &context).await.unwrap();
    let lines = setup.lines();
    let intent = &lines[0];
    assert_eq!(intent["principal"], "oauth:ann");
    assert_eq!(intent["delegate"], "client:agent-7");
    assert_eq!(intent["address"], "192.0.2.7");
    assert_eq!(intent["profile"], "production");
    assert_eq!(intent["client_version_claimed"], "9");
    assert!(intent["client_claimed"].as_str().unwrap().starts_with("editor"));
    assert!(intent.get("client").is_none() && intent.get("forged").is_none());
    let outcome = outcomes(&lines)[0];
    assert_eq!((&outcome["effect"], &outcome["result"]), (&json!("read"), &json!("ok")));
    assert!(outcome["bytes_out"].as_u64().is_some() && outcome.get("event").is_none());
}

#[tokio::test]
async fn a_denied_call_is_one_event_in_its_own_outcome() {
    let setup = Options::new("read-only").build();
    let tool = Fake::plain(spec("change", Effect::Write));
    setup.call(&tool, json!({}), &context(principal("key:ci"))).await.err().unwrap();
    let lines = setup.lines();
    assert_eq!(outcomes(&lines)[0]["event"], Event::Denied.name());
    assert_eq!(lines.iter().filter(|line| line.get("event").is_some()).count(), 1);
}

#[tokio::test]
async fn a_call_over_quota_is_one_event_in_its_own_outcome() {
    let config = limits::Config { read: Quota::new(1, 1), ..limits::Config::default() };
    let setup = Options { limits: config, ..Options::new("standard") }.build();
    let tool = Fake::plain(spec("look", Effect::Read));
    let context = context(principal("key:ci"));
    setup.call(&tool, json!({}), &context).await.unwrap();
    setup.call(&tool, json!({}), &context).await.err().unwrap();
    let lines = setup.lines();
    let named: Vec<&Value> = lines.iter().filter(|line| line.get("event").is_some()).collect();
    assert_eq!(named.len(), 1);
    assert_eq!((&named[0]["event"], &named[0]["kind"]), (&json!("limited"), &json!("outcome")));
    assert_eq!(named[0]["result"], "RateLimited");
}
