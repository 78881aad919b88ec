//! The demo's story, step by step.
//!
//! Owns what is done, what is expected of it, and how it is told. The idea: a step is a sentence, an action and an
//! expectation; the first that is not met ends the story and the command with a failure.
//!
//! Must not: pretend.

use std::time::{Duration, Instant};

use super::demo::Stage;
use super::screen::{Screen, Tone};
use super::tools;
use crate::approvals::{Approvals, Decision};
use crate::audit;
use crate::client::{self, CallOptions};
use crate::clock::SystemClock;
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};
use crate::secret::Secret;

/// How the story is told.
struct Teller {
    as_json: bool,
    screen: Screen,
    begun: Instant,
    step: u32,
}

impl Teller {
    /// One step that was as expected.
    fn tell(&mut self, id: &str, sentence: &str, facts: &Value) {
        self.step += 1;
        if self.as_json {
            let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.screen
                .json(&json!({"step": id, "ok": true, "says": sentence, "facts": facts, "ms": millis}));
        } else {
            let number = self.screen.paint(Tone::Good, &format!("{:>2} ✓", self.step));
            self.screen.line(&format!("{number} {sentence}"));
        }
    }

    /// Something to look at, under a step.
    fn show(&self, text: &str) {
        if !self.as_json {
            self.screen.line(&self.screen.paint(Tone::Note, &format!("     {text}")));
        }
    }
}

/// Plays every step. `command` is how a client starts bartizan.
pub(super) async fn tell(stage: &Stage, command: &str, as_json: bool, screen: Screen) -> Result<()> {
    let mut teller = Teller { as_json, screen, begun: Instant::now(), step: 0 };
    begin(stage, &mut teller);
    let tools = list(stage, &mut teller).await?;
    read(stage, &mut teller).await?;
    let made = create(stage, &mut teller).await?;
    forbidden(stage, &mut teller, &tools, &made).await?;
    limit(stage, &mut teller).await?;
    verify(stage, &mut teller).await?;
    end(&mut teller, command);
    Ok(())
}

fn begin(stage: &Stage, teller: &mut Teller) {
    let upstream = stage.app.stands().first().map(|stand| stand.url()).unwrap_or_default();
    teller.tell(
        "start",
        &format!("An Equinix Fabric stand-in answers at {upstream}; bartizan serves it at {}.", stage.url),
        &json!({"upstream": upstream, "endpoint": stage.url, "policy": "standard"}),
    );
    teller.show("policy standard: reads run, writes ask a person, deletes are forbidden");
}

async fn list(stage: &Stage, teller: &mut Teller) -> Result<Vec<String>> {
    let tools = stage.client.list_tools().await.map_err(|error| tools::client_failed(&error))?;
    let names: Vec<String> =
        tools.iter().filter_map(|tool| tool["name"].as_str().map(String::from)).collect();
    expect(names.iter().any(|name| name == "list_fabric_ports"), "list", "the ports tool is offered")?;
    expect(
        !names.iter().any(|name| name.starts_with("delete_")),
        "list",
        "what policy forbids is not offered",
    )?;
    teller.tell(
        "list",
        &format!("An MCP client lists {} tools; those that delete are not even shown.", names.len()),
        &json!({"tools": names.len()}),
    );
    Ok(names)
}

async fn read(stage: &Stage, teller: &mut Teller) -> Result<()> {
    let result = call(stage, "list_fabric_ports", json!({"limit": 5})).await?;
    let data = &result["structuredContent"]["data"];
    let ports = data.as_array().map_or(0, Vec::len);
    expect(result["isError"] != true && ports > 0, "read", "ports are read")?;
    let tokens: u64 = stage.app.stands().iter().map(|stand| stand.practice().tokens_issued()).sum();
    expect(tokens == 1, "read", "one OAuth2 token is fetched")?;
    teller.tell(
        "read",
        &format!(
            "It reads {ports} ports. bartizan fetched an OAuth2 token for that; the model never sees it."
        ),
        &json!({"ports": ports, "tokens": tokens}),
    );
    let leaked = stage.app.stands().first().map(|stand| stand.leak().to_owned()).unwrap_or_default();
    let text = result.to_string();
    expect(!leaked.is_empty() && !text.contains(&leaked), "redact", "the secret does not come through")?;
    let marker =
        text.find("[redacted:").map(|at| &text[at..]).and_then(|rest| rest.split_inclusive(']').next());
    let marker = marker.ok_or_else(|| unexpected("redact", "what was removed is marked"))?;
    teller.tell(
        "redact",
        &format!("One port's description held an access key; what came out says {marker}."),
        &json!({"marker": marker}),
    );
    Ok(())
}

async fn create(stage: &Stage, teller: &mut Teller) -> Result<String> {
    let ports = call(stage, "list_fabric_ports", json!({"limit": 2})).await?;
    let ports = &ports["structuredContent"]["data"];
    let side = |index: usize, vlan: u32| {
        let port = &ports[index.min(ports.as_array().map_or(1, Vec::len) - 1)]["uuid"];
        json!({"type": "port", "port_uuid": port, "vlan": vlan})
    };
    let name = "demo-connection";
    let arguments = json!({
        "name": name, "type": "EVPL_VC", "bandwidth": 50, "notifications": ["ops@example.com"],
        "a_side": side(0, 1001), "z_side": side(1, 1002),
    });
    let passphrase = Secret::new(format!("{:032x}", rand::random::<u128>()));
    let (config, state) = (stage.app.config().approvals.clone(), stage.scratch.path().to_path_buf());
    let open = move || Approvals::open(&config, &state, SystemClock::shared());
    let (first, enrolling) = (open.clone(), passphrase.clone());
    tokio::task::spawn_blocking(move || first()?.enrol("operator", &enrolling, None))
        .await
        .map_err(|_| unexpected("enrol", "an operator can be enrolled"))??;
    let paused = call(stage, "create_fabric_connection", arguments.clone()).await?;
    let id = find(&paused, "approval").unwrap_or_default();
    expect(paused["isError"] == true && !id.is_empty(), "pause", "the write waits for a person")?;
    teller.tell(
        "pause",
        &format!("It asks for a new connection. Nothing is sent: approval {id} waits for a person."),
        &json!({"approval": id}),
    );

    let chosen = id.clone();
    let shown = tokio::task::spawn_blocking(move || -> Result<_> {
        let desk = open()?;
        let shown = desk.show(&chosen)?;
        desk.decide(&shown, Decision::Approve, &desk.operator("operator", None, &passphrase)?)?;
        Ok(shown.record.shown)
    })
    .await
    .map_err(|_| unexpected("approve", "the operator can sign"))??;
    let detail =
        json!({"operator": "operator", "approval": id, "tool": shown.tool, "principal": shown.principal});
    stage.app.audit().event("approval approved", &detail).await?;
    teller.tell(
        "approve",
        "An operator sees what would be sent and signs for exactly that, once.",
        &json!({"target": shown.target, "principal": shown.principal}),
    );
    teller.show(&format!("{} by {}", shown.target.as_deref().unwrap_or(&shown.tool), shown.principal));

    let created = call(stage, "create_fabric_connection", arguments.clone()).await?;
    let uuid = created["structuredContent"]["uuid"].as_str().unwrap_or_default().to_owned();
    expect(created["isError"] != true && !uuid.is_empty(), "create", "the same call, repeated, runs")?;
    teller.tell(
        "create",
        &format!("The same call, repeated, runs: connection {uuid}."),
        &json!({"uuid": uuid}),
    );
    let again = call(stage, "create_fabric_connection", arguments).await?;
    expect(again["isError"] == true, "once", "an approval is spent when it is used")?;
    teller.tell("once", "A third time it waits again: the approval is spent.", &json!({}));

    let found = call(stage, "search_connections", json!({"name": name})).await?;
    expect(found.to_string().contains(&uuid), "listed", "the connection is there")?;
    teller.tell("listed", "The new connection is in the list.", &json!({"uuid": uuid}));
    Ok(uuid)
}

async fn forbidden(stage: &Stage, teller: &mut Teller, tools: &[String], uuid: &str) -> Result<()> {
    expect(!tools.iter().any(|name| name == "delete_connection"), "forbid", "the tool is hidden")?;
    let options = CallOptions::default();
    let refusal =
        stage.client.call_tool("delete_connection", json!({"connection_uuid": uuid}), &options).await;
    let kind = match &refusal {
        Ok(result) => find(result, "kind").unwrap_or_default(),
        Err(client::Error::Rpc(error)) => {
            error.data.as_ref().and_then(|data| find(data, "kind")).unwrap_or_else(|| String::from("unknown"))
        }
        Err(error) => return Err(tools::client_failed(error)),
    };
    expect(kind == Kind::Forbidden.name(), "forbid", "policy forbids a delete")?;
    let there = call(stage, "get_fabric_connection", json!({"connection_id": uuid})).await?;
    expect(there["isError"] != true, "forbid", "the connection is still there")?;
    teller.tell(
        "forbid",
        "It tries to delete the connection all the same: Forbidden by policy, and the connection is still there.",
        &json!({"kind": kind}),
    );
    Ok(())
}

async fn limit(stage: &Stage, teller: &mut Teller) -> Result<()> {
    for made in 0..40 {
        let result = call(stage, "list_metros", json!({})).await?;
        if find(&result, "kind").as_deref() == Some("RateLimited") {
            let wait = find(&result, "retryAfter").unwrap_or_default();
            teller.tell(
                "limit",
                &format!("It reads in a loop and is stopped after {made} more calls: come back in {wait} s."),
                &json!({"calls": made, "retryAfter": wait}),
            );
            return Ok(());
        }
        expect(result["isError"] != true, "limit", "reads within the quota run")?;
    }
    Err(unexpected("limit", "a loop runs into the quota"))
}

async fn verify(stage: &Stage, teller: &mut Teller) -> Result<()> {
    let path = stage.app.audit().path().to_path_buf();
    let report = tokio::task::spawn_blocking(move || audit::verify(&path, None))
        .await
        .map_err(|_| unexpected("verify", "the audit log can be read"))??;
    expect(report.is_good(), "verify", "the audit log is whole")?;
    let lines = audit::tail(stage.app.audit().path(), usize::MAX, &audit::Filter::default())?;
    expect(lines.len() as u64 == report.lines, "verify", "every line can be shown")?;
    teller.tell(
        "verify",
        &format!("The audit log is whole: {} lines, each bound to the one before.", report.lines),
        &json!({"lines": report.lines, "log": lines}),
    );
    for line in &lines {
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        let what = if line["kind"] == "event" { text("event") } else { text("tool") };
        teller.show(&format!(
            "{:>4} {:<8} {what:<26} {:<14} {}…",
            line["seq"].as_u64().unwrap_or_default(),
            text("kind"),
            text("result"),
            text("hash").get(..12).unwrap_or_default()
        ));
    }
    Ok(())
}

fn end(teller: &mut Teller, command: &str) {
    let took = teller.begun.elapsed();
    let snippet = json!({"mcpServers": {"fabric": {
        "command": command,
        "args": ["serve", "--connector", "equinix", "--practice", "--policy", "standard"]
    }}});
    if teller.as_json {
        teller.screen.json(&json!({"step": "end", "ok": true, "snippet": snippet, "seconds": seconds(took)}));
        return;
    }
    teller.screen.line("");
    teller.screen.line(&format!(
        "Done in {:.1} s. To give a desktop AI client the same practice server:",
        seconds(took)
    ));
    teller.screen.line(&serde_json::to_string_pretty(&snippet).unwrap_or_default());
}

fn seconds(took: Duration) -> f64 {
    took.as_secs_f64()
}

async fn call(stage: &Stage, tool: &str, arguments: Value) -> Result<Value> {
    let answer = stage.client.call_tool(tool, arguments, &CallOptions::default()).await;
    answer.map_err(|error| tools::client_failed(&error))
}

/// The first value of that key anywhere in a result, as text.
fn find(value: &Value, key: &str) -> Option<String> {
    match value {
        Value::Object(object) => match object.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => object.values().find_map(|inner| find(inner, key)),
        },
        Value::Array(items) => items.iter().find_map(|inner| find(inner, key)),
        _ => None,
    }
}

fn expect(met: bool, step: &str, what: &str) -> Result<()> {
    if met { Ok(()) } else { Err(unexpected(step, what)) }
}

fn unexpected(step: &str, what: &str) -> Error {
    Error::new(
        Kind::Internal,
        format!("The demo failed at step `{step}`: expected that {what}. Please report it."),
    )
}
