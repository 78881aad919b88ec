//! rmcp as a client: goes through every behaviour on one connection and prints a line of JSON for each.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientConfig,
    ClientRequest, ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability, ErrorCode,
    ExtensionCapabilities, GetPromptRequestParams, GetTaskParams, Implementation, JsonObject,
    ProgressNotificationParam, ProtocolVersion, ReadResourceRequestParams, TASKS_EXTENSION_ID, TaskPayload,
};
use rmcp::service::{NotificationContext, PeerRequestOptions, RequestContext, RunningService};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient, ServiceError};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Done = Result<(), Failure>;

/// Answers questions with a name, and remembers what progress it heard of.
#[derive(Clone)]
struct Person {
    steps: Arc<Mutex<Vec<Value>>>,
    tasks: bool,
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        capabilities.elicitation = Some(ElicitationCapability::default());
        if self.tasks {
            let tasks = (TASKS_EXTENSION_ID.to_owned(), JsonObject::new());
            capabilities.extensions = Some(ExtensionCapabilities::from([tasks]));
        }
        ClientConfig::new(capabilities, Implementation::new("interop", "1.0.0"))
    }

    async fn create_elicitation(
        &self,
        _request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({"value": "Ann"})))
    }

    async fn on_progress(&self, step: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        if let Ok(mut steps) = self.steps.lock() {
            steps.push(json!([step.progress, step.total, step.message]));
        }
    }
}

type Client = RunningService<RoleClient, Person>;

fn say(behaviour: &str, result: &str, why: &str) {
    println!("{}", json!({"behaviour": behaviour, "result": result, "why": why}));
}

async fn report(behaviour: &str, work: impl Future<Output = Done>) {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(())) => say(behaviour, "pass", ""),
        Ok(Err(error)) => say(behaviour, "FAIL", &error.to_string()),
        Err(_) => say(behaviour, "FAIL", "no end in time"),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Done {
    if found == wanted { Ok(()) } else { Err(format!("{found:?} is not {wanted:?}").into()) }
}

fn params(tool: &str, arguments: Value) -> CallToolRequestParams {
    CallToolRequestParams::new(tool.to_owned())
        .with_arguments(arguments.as_object().cloned().unwrap_or_default())
}

/// Calls a tool, answering what it asks, and returns the result as it was on the wire.
async fn call(client: &Client, tool: &str, arguments: Value) -> Result<Value, Failure> {
    Ok(serde_json::to_value(client.call_tool(params(tool, arguments)).await?)?)
}

async fn tools(client: &Client, revision: &str) -> Done {
    let negotiated = client.peer_info().map(|info| serde_json::to_value(&info.protocol_version));
    if let Some(version) = negotiated {
        same(version?, json!(revision))?;
    }
    let listed = client.list_all_tools().await?;
    for name in ["add", "count", "greet", "hang"] {
        same(listed.iter().any(|tool| tool.name == name), true)?;
    }
    same(&call(client, "add", json!({"a": 1})).await?["structuredContent"], &json!({"total": 3}))
}

async fn progress(client: &Client, person: &Person) -> Done {
    let result = call(client, "count", json!({"to": 3})).await?;
    same(&result["content"][0]["text"], &json!("counted to 3"))?;
    let steps = person.steps.lock().map_err(|_| "the steps are lost")?.clone();
    let wanted =
        vec![json!([1.0, 3.0, "number 1"]), json!([2.0, 3.0, "number 2"]), json!([3.0, 3.0, "number 3"])];
    same(steps, wanted)
}

async fn resource(client: &Client) -> Done {
    let listed: Vec<_> = client.list_all_resources().await?.iter().map(|one| one.uri.clone()).collect();
    same(listed, vec!["note://menu/today".to_owned()])?;
    let read = client.read_resource(ReadResourceRequestParams::new("note://tea")).await?;
    same(&serde_json::to_value(read)?["contents"][0]["text"], &json!("a note about tea"))
}

async fn prompt(client: &Client) -> Done {
    let listed: Vec<_> = client.list_all_prompts().await?.iter().map(|one| one.name.clone()).collect();
    same(listed, vec!["review".to_owned()])?;
    let arguments = json!({"code": "x"}).as_object().cloned().unwrap_or_default();
    let found = client.get_prompt(GetPromptRequestParams::new("review").with_arguments(arguments)).await?;
    same(&serde_json::to_value(found)?["messages"][0]["content"]["text"], &json!("Review x"))
}

async fn cancel(client: &Client, label: &str) -> Done {
    let request =
        ClientRequest::CallToolRequest(CallToolRequest::new(params("hang", json!({"label": label}))));
    let hanging = client.send_cancellable_request(request, PeerRequestOptions::no_options()).await?;
    call(client, "witness", json!({"label": label, "what": "started"})).await?;
    hanging.cancel(Some("enough".to_owned())).await?;
    call(client, "witness", json!({"label": label, "what": "cancelled"})).await?;
    Ok(())
}

async fn task(client: &Client, label: &str) -> Done {
    let begun = client.call_tool_once(params("brew", json!({"cups": 2, "label": label}))).await?;
    let CallToolResponse::Task(begun) = begun else { return Err("the call did not become a task".into()) };
    call(client, "pour", json!({"label": label})).await?;
    loop {
        let now = client.get_task(GetTaskParams::new(begun.task.task_id.clone())).await?.task;
        match now.payload {
            TaskPayload::Completed { result } => {
                return same(&serde_json::to_value(result)?["content"][0]["text"], &json!("2 cups"));
            }
            TaskPayload::Working => {
                let pause = now.task.poll_interval_ms.unwrap_or(100).min(500);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            other => return Err(format!("the task ended as {other:?}").into()),
        }
    }
}

async fn typed_error(client: &Client) -> Done {
    match client.call_tool(params("no_such_tool", json!({}))).await {
        Err(ServiceError::McpError(error)) => same(error.code, ErrorCode(-32602))?,
        other => return Err(format!("an unknown tool gave {other:?}").into()),
    }
    let failed = call(client, "fail", json!({})).await?;
    same(&failed["isError"], &json!(true))?;
    same(&failed["content"][0]["text"], &json!("the words of the tool"))
}

async fn connect(asked: &Value, person: Person) -> Result<Client, Failure> {
    let lifecycle = match asked["era"].as_str() {
        Some("legacy") => ClientLifecycleMode::Initialize,
        _ => ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
    };
    if asked["transport"] == "stdio" {
        let command: Vec<String> = serde_json::from_value(asked["command"].clone())?;
        let (program, arguments) = command.split_first().ok_or("there is no command")?;
        let mut process = tokio::process::Command::new(program);
        process.args(arguments);
        return Ok(person.serve_with_lifecycle(TokioChildProcess::new(process)?, lifecycle).await?);
    }
    let mut config = StreamableHttpClientTransportConfig::with_uri(asked["url"].as_str().unwrap_or_default());
    let bearer = format!("Bearer {}", asked["key"].as_str().unwrap_or_default());
    config.custom_headers = HashMap::from([("authorization".try_into()?, bearer.try_into()?)]);
    let transport = StreamableHttpClientTransport::from_config(config);
    Ok(person.serve_with_lifecycle(transport, lifecycle).await?)
}

#[tokio::main]
async fn main() -> Done {
    let asked: Value = serde_json::from_str(&std::env::args().nth(1).ok_or("what is asked for?")?)?;
    let label = asked["label"].as_str().unwrap_or_default().to_owned();
    let legacy = asked["era"] == "legacy";
    let person = Person { steps: Arc::default(), tasks: !legacy };
    let client = connect(&asked, person.clone()).await?;
    report("tools", tools(&client, if legacy { "2025-11-25" } else { "2026-07-28" })).await;
    report("progress", progress(&client, &person)).await;
    report("elicitation", async {
        let greeted = call(&client, "greet", json!({})).await?;
        same(&greeted["content"][0]["text"], &json!("Hello, Ann!"))
    })
    .await;
    report("resource", resource(&client)).await;
    report("prompt", prompt(&client)).await;
    report("cancel", cancel(&client, &label)).await;
    if legacy {
        say("task", "not offered", "its tasks are for 2026-07-28 only");
    } else {
        report("task", task(&client, &label)).await;
    }
    report("typed error", typed_error(&client)).await;
    client.cancel().await?;
    Ok(())
}
