//! Calls that outlive their request: durable, their caller's alone, run once.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bartizan::approvals::Decision;
use bartizan::clock::SystemClock;
use bartizan::error::{Error, Kind};
use bartizan::identity::keys::{Grant, KeyStore};
use bartizan::json::{Value, json};
use bartizan::pipeline::{self, Approved, BoxFuture, Context, Halt, Reply, Tasking, Tool, ToolSpec};
use bartizan::policy::{Effect, Filter};
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::protocol::Door;
use bartizan::protocol::types::{Ask, Asks, ToolResult};
use bartizan::secret::Secret;
use bartizan::tasks;
use bartizan::transport::auth::{Presented, Right};
use bartizan::transport::{Channel, HeaderFacts};
use tokio::sync::Semaphore;

use crate::lists::under;
use crate::stage;
use crate::support::{Ground, Heard, PATIENCE, Script, World, able, newest};

const EAGER: Option<Tasking> = Some(Tasking { required: false, late: false });

/// A tool that waits until it is let go, and counts.
struct Gated {
    spec: ToolSpec,
    runs: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    go: Arc<Semaphore>,
    says: &'static str,
}

impl Gated {
    fn new(name: &str) -> Self {
        Self {
            spec: ToolSpec { task: EAGER, ..stage::spec(name, json!({"size": {"type": "integer"}})) },
            runs: Arc::default(),
            dropped: Arc::default(),
            go: Arc::new(Semaphore::new(0)),
            says: "Done.",
        }
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Tool for Gated {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, _: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            let _count = Count(Arc::clone(&self.dropped));
            self.runs.fetch_add(1, Ordering::SeqCst);
            context.voice.progress(1.0, None, Some("half way"));
            let go = self.go.acquire().await.map_err(|_| Error::new(Kind::Internal, "The gate is gone."))?;
            go.forget();
            Ok(Reply::Tool(ToolResult::text(self.says)))
        })
    }
}

/// Everything a client can declare, tasks too.
fn tasking() -> Value {
    let mut able = able();
    able["extensions"] = json!({"io.modelcontextprotocol/tasks": {}});
    able
}

async fn client(world: &World) -> Script {
    Script::open(world, Channel::Http, newest(Door::Envelope), tasking()).await
}

async fn other(world: &World) -> Script {
    let mut other = client(world).await;
    other.principal = Arc::new(Principal::new("key:bob", PrincipalKind::ApiKey));
    other
}

async fn started(client: &Script, name: &str, arguments: Value) -> String {
    let heard = client.call(name, arguments).await;
    let result = heard.result();
    assert_eq!(result["resultType"], "task", "{result}");
    assert!(matches!(result["status"].as_str(), Some("working" | "input_required")), "{result}");
    assert!(result["ttlMs"].is_u64() && result["pollIntervalMs"].is_u64(), "{result}");
    for later in ["result", "error", "inputRequests", "requestState", "task"] {
        assert!(result.get(later).is_none(), "{later} in {result}");
    }
    result["taskId"].as_str().unwrap().to_owned()
}

async fn look(client: &Script, id: &str) -> Value {
    let heard = client.ask("tasks/get", json!({"taskId": id})).await;
    let result = heard.result();
    assert_eq!((&result["resultType"], &result["taskId"]), (&json!("complete"), &json!(id)));
    result.clone()
}

/// Looks until the task stands like that.
async fn until(client: &Script, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let looking = async {
        loop {
            let task = look(client, id).await;
            if wanted(&task) {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the task never came there")
}

async fn ended(client: &Script, id: &str, status: &str) -> Value {
    until(client, id, |task| task["status"] == status).await
}

async fn answer(client: &Script, id: &str, responses: Value) -> Heard {
    client.ask("tasks/update", json!({"taskId": id, "inputResponses": responses})).await
}

async fn eventually(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it never happened");
}

fn acknowledged(heard: &Heard) {
    let result = heard.result();
    assert_eq!(result["resultType"], "complete");
    let members: BTreeSet<_> = result.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["_meta", "resultType"]));
}

fn files(world: &World) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for folder in std::fs::read_dir(world.state().join("tasks")).unwrap().map(|entry| entry.unwrap().path()) {
        if folder.is_dir() {
            all.extend(std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all
}

fn as_task(tool: ToolSpec) -> ToolSpec {
    ToolSpec { task: EAGER, ..tool }
}

// proves: task-durable
#[tokio::test]
async fn a_task_is_on_the_disk_before_its_name_is_told_and_its_result_stays_there() {
    let tool = Arc::new(Gated::new("slow"));
    let world = Ground::new().world(vec![tool.clone()]);
    let client = client(&world).await;
    let id = started(&client, "slow", json!({})).await;
    let there = files(&world);
    assert_eq!(there.len(), 1, "{there:?}");
    assert!(there[0].to_string_lossy().ends_with(&format!("{id}.open")));
    assert_eq!(std::fs::metadata(&there[0]).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(id.len() >= 40, "160 random bits and more");

    let task = until(&client, &id, |task| task["statusMessage"] == "half way").await;
    assert_eq!(task["status"], "working");
    tool.go.add_permits(1);
    let task = ended(&client, &id, "completed").await;
    assert_eq!(task["result"]["content"][0]["text"], "Done.");
    assert_eq!(task["result"]["isError"], false);
    assert_eq!(tool.runs(), 1);
    let there = files(&world);
    assert!(there.len() == 1 && there[0].to_string_lossy().ends_with(&format!("{id}.done")), "{there:?}");
    assert_eq!(look(&client, &id).await["result"]["content"][0]["text"], "Done.");

    let audit = world.audited();
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_call = lines.iter().filter(|line| line["tool"] == "slow" || line["result"] == "ok").count();
    assert!(of_call >= 2, "an intent and an outcome:\n{audit}");
    assert!(!audit.contains(&id), "the name of a task is not for the audit");
}

#[tokio::test]
async fn a_result_lies_there_redacted() {
    let secret = "ghp_abcdefghijklmnopqrstuvwxyz0123456789";
    let tool = Arc::new(Gated {
        says: "The token is ghp_abcdefghijklmnopqrstuvwxyz0123456789.",
        ..Gated::new("slow")
    });
    tool.go.add_permits(1);
    let world = Ground::new().world(vec![tool.clone()]);
    let client = client(&world).await;
    let id = started(&client, "slow", json!({})).await;
    let task = ended(&client, &id, "completed").await;
    assert!(!task.to_string().contains(secret), "{task}");
    for path in files(&world) {
        assert!(!std::fs::read_to_string(path).unwrap().contains(secret));
    }
}

// proves: task-owned
#[tokio::test]
async fn somebody_elses_task_is_like_none() {
    let tool = Arc::new(Gated::new("slow"));
    let world = Ground::new().world(vec![tool.clone()]);
    let (alice, bob) = (client(&world).await, other(&world).await);
    let id = started(&alice, "slow", json!({})).await;
    let nobodys = "0".repeat(id.len());
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let mut faults = Vec::new();
        for name in [id.as_str(), &nobodys, "../../instance.key", ""] {
            let heard = bob.ask(method, json!({"taskId": name, "inputResponses": {}})).await;
            assert_eq!(heard.fault(), (400, -32602));
            faults.push(heard.body["error"].clone());
        }
        faults.dedup();
        assert_eq!(faults.len(), 1, "{method}: {faults:?}");
    }
    assert_eq!(look(&alice, &id).await["status"], "working", "nothing has reached it");
    tool.go.add_permits(1);
    ended(&alice, &id, "completed").await;
    assert_eq!(bob.ask("tasks/get", json!({"taskId": id})).await.fault(), (400, -32602));
}

// proves: task-expires
#[tokio::test]
async fn a_client_may_leave_out_the_header_that_names_a_task_but_not_name_another() {
    let world = Ground::new().world(vec![Arc::new(Gated::new("slow"))]);
    let client = client(&world).await;
    let id = started(&client, "slow", json!({})).await;
    let params = json!({"taskId": id});
    for method in ["tasks/get", "tasks/cancel"] {
        let named = |names: &[&str]| HeaderFacts {
            name: names.iter().map(ToString::to_string).collect(),
            ..client.headers(method, &params)
        };
        let send = async |headers| client.raw(method, client.dressed(params.clone()), headers).heard().await;
        assert_eq!(send(named(&["another"])).await.fault(), (400, -32020));
        assert_eq!(send(named(&[&id, &id])).await.fault(), (400, -32020));
        send(named(&[])).await.result();
    }
}

#[tokio::test]
async fn a_task_is_forgotten_when_its_time_is_over_and_not_before() {
    let tool = Arc::new(Gated::new("slow"));
    tool.go.add_permits(1);
    let world = Ground::new().world(vec![tool.clone()]);
    let client = client(&world).await;
    let id = started(&client, "slow", json!({})).await;
    let task = ended(&client, &id, "completed").await;
    let ttl = Duration::from_millis(task["ttlMs"].as_u64().unwrap());
    world.clock.advance(ttl.saturating_sub(Duration::from_secs(1)));
    look(&client, &id).await;
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(client.ask("tasks/get", json!({"taskId": id})).await.fault(), (400, -32602));
    // the next one sweeps the file away; one that still runs is taken back when it expires
    let next = started(&client, "slow", json!({})).await;
    assert!(files(&world).iter().all(|path| !path.to_string_lossy().contains(&id)));
    eventually(|| tool.runs() == 2).await;
    world.clock.advance(ttl);
    eventually(|| tool.dropped.load(Ordering::SeqCst) == 2).await;
    assert_eq!(client.ask("tasks/get", json!({"taskId": next})).await.fault(), (400, -32602));
}

// proves: task-cancelled
#[tokio::test]
async fn cancelling_really_ends_the_call() {
    let tool = Arc::new(Gated::new("slow"));
    let world = Ground::new().world(vec![tool.clone()]);
    let client = client(&world).await;
    let id = started(&client, "slow", json!({})).await;
    eventually(|| tool.runs() == 1).await;
    acknowledged(&client.ask("tasks/cancel", json!({"taskId": id})).await);
    let task = ended(&client, &id, "cancelled").await;
    assert!(task.get("result").is_none() && task.get("error").is_none());
    assert_eq!(tool.dropped.load(Ordering::SeqCst), 1);
    acknowledged(&client.ask("tasks/cancel", json!({"taskId": id})).await);
    acknowledged(&answer(&client, &id, json!({"x": {"action": "accept"}})).await);
    assert_eq!(look(&client, &id).await["status"], "cancelled");
    let audit = world.audited();
    assert!(audit.contains("Cancelled") && audit.contains("tasks/cancel"), "{audit}");
}

fn name(text: &str) -> Value {
    json!({"action": "accept", "content": {"name": text}})
}

fn question(key: &str) -> (String, Ask) {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    (key.to_owned(), Ask::Form { message: format!("What is the {key}?"), schema })
}

/// A tool that asks for two names at once, then for one.
fn asking() -> Arc<dyn Tool> {
    stage::played(as_task(stage::spec("asking", json!({}))), |_, context| {
        let (one, two, three) = (question("one"), question("two"), question("three"));
        let answered =
            |(key, ask): &(String, Ask)| context.answers.to(key, ask).map(Option::<&Value>::cloned);
        let (Some(first), Some(second)) = (answered(&one)?, answered(&two)?) else {
            return Err(Halt::Ask(Asks::from_iter([one, two])));
        };
        let Some(third) = answered(&three)? else { return Err(Halt::Ask(Asks::from_iter([three]))) };
        let names: Vec<_> =
            [first, second, third].iter().map(|answer| answer["content"]["name"].to_string()).collect();
        Ok(Reply::Tool(ToolResult::text(names.join(" "))))
    })
}

// proves: task-asks
#[tokio::test]
async fn a_task_asks_while_it_works_and_takes_answers_one_by_one() {
    let world = Ground::new().world(vec![asking()]);
    let client = client(&world).await;
    let id = started(&client, "asking", json!({})).await;
    let task = ended(&client, &id, "input_required").await;
    assert_eq!(task["inputRequests"]["one"]["method"], "elicitation/create");
    assert_eq!(task["inputRequests"].as_object().unwrap().len(), 2);
    // what was not asked is ignored, what does not fit is refused, and changes nothing
    acknowledged(&answer(&client, &id, json!({"unknown": {"ignored": true}})).await);
    let wrong = json!({"one": name("Ann"), "two": {"action": "accept", "content": {"name": 7}}});
    assert_eq!(answer(&client, &id, wrong).await.fault(), (400, -32602));
    assert_eq!(answer(&client, &id, json!([])).await.fault(), (400, -32602));
    assert_eq!(look(&client, &id).await["inputRequests"].as_object().unwrap().len(), 2);

    acknowledged(&answer(&client, &id, json!({"one": name("Ann")})).await);
    let task = look(&client, &id).await;
    assert_eq!(task["status"], "input_required");
    let left: Vec<_> = task["inputRequests"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(left, ["two"]);
    // an answer counts once
    acknowledged(&answer(&client, &id, json!({"one": name("Bea"), "two": name("Cy")})).await);
    let task = until(&client, &id, |task| task["inputRequests"].get("three").is_some()).await;
    assert_eq!(task["status"], "input_required");
    acknowledged(&answer(&client, &id, json!({"three": name("Di")})).await);
    let task = ended(&client, &id, "completed").await;
    assert_eq!(task["result"]["content"][0]["text"], r#""Ann" "Cy" "Di""#);
}

#[tokio::test]
async fn a_question_the_client_cannot_answer_fails_the_task_with_an_error_of_the_protocol() {
    let world = Ground::new().world(vec![asking()]);
    let mut client = client(&world).await;
    client.capabilities = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let id = started(&client, "asking", json!({})).await;
    let task = ended(&client, &id, "failed").await;
    assert_eq!(task["error"]["code"], -32021);
    assert!(task["error"]["data"]["requiredCapabilities"]["elicitation"].is_object(), "{task}");
    assert!(task.get("result").is_none());
}

#[tokio::test]
async fn what_a_model_can_mend_completes_with_an_error_in_its_result() {
    let failing = stage::played(as_task(stage::spec("failing", json!({}))), |_, _| {
        Err(Error::new(Kind::ToolFailed, "It broke.").into())
    });
    let world = Ground::new().world(vec![failing]);
    let client = client(&world).await;
    let id = started(&client, "failing", json!({})).await;
    let task = ended(&client, &id, "completed").await;
    assert_eq!(task["result"]["isError"], true);
    assert_eq!(task["result"]["structuredContent"]["error"]["kind"], "ToolFailed");
}

#[tokio::test]
async fn a_call_that_is_refused_leaves_no_task() {
    let tool = Arc::new(Gated::new("slow"));
    let destroying = Gated {
        spec: ToolSpec { effect: Effect::Destroy, task: EAGER, ..stage::spec("drop_all", json!({})) },
        ..Gated::new("x")
    };
    let ground = Ground { policy: "standard", ..Ground::new() };
    let world = ground.world(vec![tool.clone(), Arc::new(destroying)]);
    let client = client(&world).await;
    let wrong = client.call("slow", json!({"size": "large"})).await;
    assert_eq!(wrong.result()["structuredContent"]["error"]["kind"], "BadArguments");
    assert_eq!(wrong.result()["resultType"], "complete");
    let forbidden = client.call("drop_all", json!({})).await;
    assert_eq!(forbidden.result()["structuredContent"]["error"]["kind"], "Forbidden");
    assert_eq!(client.call("nothing", json!({})).await.fault(), (400, -32602));
    assert_eq!((files(&world).len(), tool.runs()), (0, 0));
}

#[tokio::test]
async fn a_client_without_tasks_waits_and_one_that_needs_them_says_so() {
    let tool = Arc::new(Gated::new("slow"));
    tool.go.add_permits(1);
    let required = |name: &str| ToolSpec {
        task: Some(Tasking { required: true, late: false }),
        ..stage::spec(name, json!({}))
    };
    let needs = stage::played(required("needs"), |_, _| Ok(Reply::Tool(ToolResult::text("ran"))));
    let world = Ground::new().world(vec![tool.clone(), needs]);
    let plain = Script::open(&world, Channel::Http, newest(Door::Envelope), able()).await;
    let heard = plain.call("slow", json!({})).await;
    assert_eq!(heard.result()["content"][0]["text"], "Done.");
    assert_eq!(files(&world).len(), 0);

    let wanted = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let mut refused = vec![plain.call("needs", json!({})).await];
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        refused.push(plain.ask(method, json!({"taskId": "x", "inputResponses": {}})).await);
    }
    let listen = json!({"notifications": {"taskIds": ["x"]}});
    refused.push(plain.ask("subscriptions/listen", listen).await);
    for heard in refused {
        assert_eq!(heard.fault(), (400, -32021));
        assert_eq!(heard.body["error"]["data"]["requiredCapabilities"], wanted);
    }
    let said = plain.ask("server/discover", json!({})).await;
    assert_eq!(said.result()["capabilities"]["extensions"], wanted["extensions"]);
    assert!(said.result()["capabilities"].get("tasks").is_none());

    let older = Script::open(&world, Channel::Http, newest(Door::Handshake), tasking()).await;
    tool.go.add_permits(1);
    assert_eq!(older.call("slow", json!({})).await.result()["content"][0]["text"], "Done.");
    assert_eq!(older.call("needs", json!({})).await.result()["isError"], true);
    assert_eq!(older.ask("tasks/get", json!({"taskId": "x"})).await.body["error"]["code"], -32601);
}

/// A tool that asks for a name, and is a task from then on.
struct Late(ToolSpec);

impl Tool for Late {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(&'a self, _: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            let asked = question("name");
            let Some(answer) = context.answers.to(&asked.0, &asked.1)? else {
                return Err(Halt::Ask(Asks::from_iter([asked])));
            };
            if let Some(detach) = &context.detach {
                detach.detach().await?;
                detach.detach().await?;
            }
            tokio::task::yield_now().await;
            Ok(Reply::Tool(ToolResult::text(format!("Hello, {}!", answer["content"]["name"]))))
        })
    }
}

#[tokio::test]
async fn what_is_asked_before_is_asked_in_the_request() {
    let task = Some(Tasking { required: true, late: true });
    let world =
        Ground::new().world(vec![Arc::new(Late(ToolSpec { task, ..stage::spec("late", json!({})) }))]);
    let client = client(&world).await;
    let asked = client.call("late", json!({})).await;
    assert_eq!(asked.result()["resultType"], "input_required");
    assert!(asked.result().get("taskId").is_none());
    assert_eq!(files(&world).len(), 0);
    let params = json!({
        "name": "late", "arguments": {}, "inputResponses": {"name": name("Ann")},
        "requestState": asked.result()["requestState"],
    });
    let heard = client.ask("tools/call", params).await;
    let result = heard.result();
    assert_eq!(result["resultType"], "task");
    assert!(result.get("requestState").is_none());
    let task = ended(&client, result["taskId"].as_str().unwrap(), "completed").await;
    assert_eq!(task["result"]["content"][0]["text"], "Hello, \"Ann\"!");
}

const PASSPHRASE: &str = "correct horse battery";

fn decide(world: &World, decision: Decision) {
    let approvals = world.approvals.as_ref().unwrap();
    let passphrase = Secret::new(PASSPHRASE);
    let name = format!("op{}", approvals.operators().unwrap().len());
    approvals.enrol(&name, &passphrase, None).unwrap();
    let operator = approvals.operator(&name, None, &passphrase).unwrap();
    let open: Vec<_> = approvals
        .list()
        .unwrap()
        .into_iter()
        .filter(|one| one.status == bartizan::approvals::Status::Pending)
        .collect();
    assert_eq!(open.len(), 1);
    let shown = approvals.show(&open[0].record.id).unwrap();
    approvals.decide(&shown, decision, &operator).unwrap();
}

/// A tool that writes, and that its author never thought of as a task.
fn writer() -> Arc<Gated> {
    let mut tool = Gated::new("writer");
    tool.spec.effect = Effect::Write;
    tool.spec.task = None;
    tool.go.add_permits(1);
    Arc::new(tool)
}

fn office() -> Ground {
    Ground { policy: "standard", approvals: true, ..Ground::new() }
}

#[tokio::test]
async fn an_approval_is_a_task_that_runs_once_when_a_person_agrees() {
    let (ground, tool) = (office(), writer());
    let world = ground.world(vec![tool.clone()]);
    let client = client(&world).await;
    let id = started(&client, "writer", json!({"size": 1})).await;
    let task = until(&client, &id, |task| task["statusMessage"].is_string()).await;
    assert_eq!(task["status"], "working");
    assert!(task["statusMessage"].as_str().unwrap().contains("bartizan approvals approve"), "{task}");
    assert_eq!(tool.runs(), 0);
    decide(&world, Decision::Approve);
    let task = ended(&client, &id, "completed").await;
    assert_eq!(task["result"]["content"][0]["text"], "Done.");
    assert_eq!(tool.runs(), 1);
    let used = world.approvals.as_ref().unwrap().list().unwrap();
    assert_eq!(used[0].status, bartizan::approvals::Status::Used);
    // a client without tasks is told what it was always told
    let plain = Script::open(&world, Channel::Http, newest(Door::Envelope), able()).await;
    let heard = plain.call("writer", json!({"size": 2})).await;
    assert_eq!(heard.result()["structuredContent"]["error"]["kind"], "NeedsApproval");
}

#[tokio::test]
async fn two_calls_that_wait_for_one_approval_do_not_both_run() {
    let (ground, tool) = (office(), writer());
    tool.go.add_permits(5);
    let world = ground.world(vec![tool.clone()]);
    let client = client(&world).await;
    let ids = [started(&client, "writer", json!({})).await, started(&client, "writer", json!({})).await];
    decide(&world, Decision::Approve);
    let over = async |id: &str| look(&client, id).await["status"] == "completed";
    let waiting = async {
        while !(over(&ids[0]).await || over(&ids[1]).await) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    // the other one asks anew, under an approval of its own
    let pending = || {
        let all = world.approvals.as_ref().unwrap().list().unwrap();
        all.iter().filter(|one| one.status == bartizan::approvals::Status::Pending).count()
    };
    eventually(|| pending() == 1).await;
    assert_eq!(tool.runs(), 1);
    decide(&world, Decision::Refuse);
    let waiting = async {
        while !(over(&ids[0]).await && over(&ids[1]).await) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    let errors = [look(&client, &ids[0]).await, look(&client, &ids[1]).await];
    let refused = errors.iter().filter(|task| task["result"]["isError"] == true).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["result"]["structuredContent"]["error"]["kind"], "Declined");
    assert_eq!(tool.runs(), 1);
}

#[tokio::test]
async fn an_approval_that_nobody_gives_in_time_ends_its_task() {
    let (ground, tool) = (office(), writer());
    let world = ground.world(vec![tool.clone()]);
    let client = client(&world).await;
    let id = started(&client, "writer", json!({})).await;
    until(&client, &id, |task| task["statusMessage"].is_string()).await;
    world.clock.advance(Duration::from_secs(901));
    let task = ended(&client, &id, "completed").await;
    assert_eq!(task["result"]["isError"], true);
    assert_eq!(task["result"]["structuredContent"]["error"]["kind"], "NeedsApproval");
    assert_eq!(tool.runs(), 0);
}

#[tokio::test]
async fn cancelling_while_a_person_is_asked_means_it_never_runs() {
    let (ground, tool) = (office(), writer());
    let world = ground.world(vec![tool.clone()]);
    let client = client(&world).await;
    let id = started(&client, "writer", json!({})).await;
    acknowledged(&client.ask("tasks/cancel", json!({"taskId": id})).await);
    ended(&client, &id, "cancelled").await;
    decide(&world, Decision::Approve);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!((tool.runs(), look(&client, &id).await["status"].clone()), (0, json!("cancelled")));
}

/// Runs a server that breaks off: what it left behind is all there is.
fn broken_off(work: impl AsyncFnOnce() -> String) -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let left = runtime.block_on(work());
    runtime.shutdown_timeout(Duration::from_secs(5));
    left
}

#[test]
fn after_a_crash_what_was_under_way_is_unknown_and_never_runs_again() {
    let ground = Ground { policy: "standard", approvals: true, ..Ground::new() };
    let (tool, waiting) = (Arc::new(Gated::new("slow")), writer());
    let done = broken_off(async || {
        let world = ground.world(vec![tool.clone(), waiting.clone()]);
        let client = client(&world).await;
        let running = started(&client, "slow", json!({})).await;
        eventually(|| tool.runs() == 1).await;
        let asking = started(&client, "writer", json!({})).await;
        until(&client, &asking, |task| task["statusMessage"].is_string()).await;
        let finished = started(&client, "slow", json!({"size": 2})).await;
        eventually(|| tool.runs() == 2).await;
        tool.go.add_permits(1);
        let waits = async {
            loop {
                for id in [&running, &finished] {
                    if look(&client, id).await["status"] == "completed" {
                        return id.clone();
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, waits).await.unwrap();
        let unknown = if ended == running { finished } else { running };
        format!("{unknown} {asking} {ended}")
    });
    let ids: Vec<&str> = done.split(' ').collect();
    let left = broken_off(async || {
        let world = ground.world(vec![tool.clone(), waiting.clone()]);
        let client = client(&world).await;
        let task = look(&client, ids[0]).await;
        assert_eq!(task["status"], "failed");
        assert_eq!(task["error"]["data"]["outcome"], "unknown", "{task}");
        let task = look(&client, ids[1]).await;
        assert_eq!(
            (&task["status"], &task["error"]["data"]["outcome"]),
            (&json!("failed"), &json!("not run"))
        );
        assert_eq!(look(&client, ids[2]).await["result"]["content"][0]["text"], "Done.");
        // a yes that comes too late for the task is there for the next call, not for a ghost
        decide(&world, Decision::Approve);
        tokio::time::sleep(Duration::from_millis(700)).await;
        String::new()
    });
    assert!(left.is_empty());
    assert_eq!((tool.runs(), waiting.runs()), (2, 0));
}

#[tokio::test]
async fn a_server_that_stops_says_so_in_its_tasks() {
    let tool = Arc::new(Gated::new("slow"));
    let world = Ground::new().world(vec![tool.clone()]);
    let client = client(&world).await;
    let id = started(&client, "slow", json!({})).await;
    eventually(|| tool.runs() == 1).await;
    world.server.stop();
    world.server.settle(PATIENCE).await;
    let task = look(&client, &id).await;
    assert_eq!((&task["status"], &task["error"]["data"]["outcome"]), (&json!("failed"), &json!("unknown")));
    assert_eq!(tool.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn processes_on_one_state_directory_agree() {
    let ground = Ground::new();
    let (tool, far) = (Arc::new(Gated::new("slow")), Arc::new(Gated::new("slow")));
    let here = ground.world(vec![tool.clone(), asking()]);
    let there = ground.world(vec![far.clone(), asking()]);
    let (near, distant) = (client(&here).await, client(&there).await);
    let running = started(&near, "slow", json!({})).await;
    let asks = started(&near, "asking", json!({})).await;
    ended(&near, &asks, "input_required").await;

    assert_eq!(look(&distant, &running).await["status"], "working", "its process lives");
    assert_eq!(look(&distant, &asks).await["inputRequests"].as_object().unwrap().len(), 2);
    acknowledged(&distant.ask("tasks/cancel", json!({"taskId": running})).await);
    ended(&distant, &running, "cancelled").await;
    assert_eq!(tool.dropped.load(Ordering::SeqCst), 1);
    assert_eq!(answer(&distant, &asks, json!({"one": 7})).await.fault(), (400, -32602));
    acknowledged(&answer(&distant, &asks, json!({"one": name("Ann"), "two": name("Bea")})).await);
    until(&distant, &asks, |task| task["inputRequests"].get("three").is_some()).await;
    acknowledged(&answer(&distant, &asks, json!({"three": name("Cy")})).await);
    let task = ended(&distant, &asks, "completed").await;
    assert_eq!(task["result"]["content"][0]["text"], r#""Ann" "Bea" "Cy""#);
    assert_eq!(far.runs(), 0);
    assert!(
        files(&here).iter().all(|path| !path.to_string_lossy().contains("mail")),
        "mail is gone once read"
    );
}

#[tokio::test]
async fn tasks_are_capped_for_each_caller_and_for_all() {
    let tasks = tasks::Config { each: 2, total: 3, ..tasks::Config::default() };
    let ground = Ground { tasks: Some(tasks), ..Ground::new() };
    let tool = Arc::new(Gated::new("slow"));
    let world = ground.world(vec![tool.clone()]);
    let (alice, bob) = (client(&world).await, other(&world).await);
    let full =
        |heard: &Heard| assert_eq!(heard.result()["structuredContent"]["error"]["kind"], "RateLimited");
    started(&alice, "slow", json!({})).await;
    started(&alice, "slow", json!({})).await;
    full(&alice.call("slow", json!({})).await);
    started(&bob, "slow", json!({})).await;
    full(&bob.call("slow", json!({})).await);
    eventually(|| tool.runs() == 3).await;
    assert_eq!(files(&world).len(), 3);
}

#[tokio::test]
async fn tasks_that_run_leave_room_for_calls_and_wait_for_each_other() {
    let calls = pipeline::Config { at_once: 1, tasks_at_once: 1, ..pipeline::Config::default() };
    let tool = Arc::new(Gated::new("slow"));
    let world = Ground { calls, ..Ground::new() }.world(vec![tool.clone(), stage::echo()]);
    let client = client(&world).await;
    let ids = [started(&client, "slow", json!({})).await, started(&client, "slow", json!({})).await];
    eventually(|| tool.runs() == 1).await;
    assert_eq!(client.call("echo", json!({"text": "x"})).await.result()["content"][0]["text"], "x");
    assert_eq!(tool.runs(), 1);
    tool.go.add_permits(2);
    for id in ids {
        ended(&client, &id, "completed").await;
    }
    assert_eq!(tool.runs(), 2);
}

#[tokio::test]
async fn a_request_that_goes_away_leaves_no_task_behind() {
    let tool = Arc::new(Gated::new("slow"));
    let world = Ground::new().world(vec![tool.clone()]);
    let client = client(&world).await;
    for _ in 0..20 {
        let call = client.start("tools/call", json!({"name": "slow", "arguments": {}}));
        tokio::task::yield_now().await;
        call.gone.cancel();
        let heard = call.heard().await;
        assert!(heard.body.is_null() || heard.result()["resultType"] == "task");
        if let Some(id) = heard.body["result"]["taskId"].as_str() {
            acknowledged(&client.ask("tasks/cancel", json!({"taskId": id})).await);
        }
    }
    let open = || files(&world).iter().filter(|path| path.to_string_lossy().ends_with(".open")).count();
    eventually(|| open() == 0 && tool.dropped.load(Ordering::SeqCst) == tool.runs()).await;
}

#[tokio::test]
async fn results_are_capped_in_bytes() {
    let limit = pipeline::Config::default().result_limit as u64;
    let tasks = tasks::Config { bytes_each: 2 * limit + 4096, ..tasks::Config::default() };
    let world = Ground { tasks: Some(tasks), ..Ground::new() };
    let tool = Arc::new(Gated::new("slow"));
    let world = world.world(vec![tool.clone()]);
    let client = client(&world).await;
    started(&client, "slow", json!({})).await;
    let second = started(&client, "slow", json!({})).await;
    let third = client.call("slow", json!({})).await;
    assert_eq!(third.result()["structuredContent"]["error"]["kind"], "RateLimited");
    acknowledged(&client.ask("tasks/cancel", json!({"taskId": second})).await);
    ended(&client, &second, "cancelled").await;
    started(&client, "slow", json!({})).await;
}

#[tokio::test]
async fn a_stream_hears_of_the_tasks_it_asked_for_and_may_see() {
    let tool = Arc::new(Gated::new("slow"));
    let world = Ground::new().world(vec![tool.clone()]);
    let (alice, bob) = (client(&world).await, other(&world).await);
    let mine = started(&alice, "slow", json!({})).await;
    let ignored = started(&alice, "slow", json!({})).await;
    let wanted = json!({"notifications": {"taskIds": [mine, "unknown"]}});
    let stream = alice.start("subscriptions/listen", wanted.clone());
    let strange = bob.start("subscriptions/listen", wanted);
    let method = "notifications/subscriptions/acknowledged";
    let acknowledged = stream.outlet.method(method).await;
    assert_eq!(acknowledged["params"]["notifications"]["taskIds"], json!([mine]));
    let nothing = strange.outlet.method(method).await;
    assert!(nothing["params"]["notifications"].get("taskIds").is_none(), "{nothing}");

    let now = stream.outlet.method("notifications/tasks").await;
    assert_eq!((&now["params"]["taskId"], &now["params"]["status"]), (&json!(mine), &json!("working")));
    tool.go.add_permits(2);
    let over = stream.outlet.find(|message| message["params"]["status"] == "completed").await;
    let told = over["params"].as_object().unwrap();
    let seen = look(&alice, &mine).await;
    for (key, value) in told.iter().filter(|(key, _)| *key != "_meta") {
        assert_eq!(*value, seen[key], "{key}");
    }
    assert!(told["_meta"]["io.modelcontextprotocol/subscriptionId"].is_u64(), "{told:?}");
    ended(&alice, &ignored, "completed").await;
    world.server.stop();
    let heard = stream.heard().await;
    assert!(heard.said.iter().all(|message| message["params"]["taskId"] != json!(ignored)));
    let heard = strange.heard().await;
    assert!(heard.said.iter().all(|message| message["method"] != "notifications/tasks"));
    // one that is over before it is watched is told at once
    let late = alice.start("subscriptions/listen", json!({"notifications": {"taskIds": [ignored]}}));
    let told = late.outlet.method("notifications/tasks").await;
    assert_eq!(told["params"]["status"], "completed");
}

/// A tool that asks once, as a task.
fn asking_once() -> Arc<dyn Tool> {
    stage::played(as_task(stage::spec("once", json!({}))), |_, context| {
        let (key, ask) = question("one");
        match context.answers.to(&key, &ask)? {
            None => Err(Halt::Ask(Asks::from_iter([(key, ask)]))),
            Some(answer) => Ok(Reply::Tool(ToolResult::text(answer["content"]["name"].to_string()))),
        }
    })
}

#[tokio::test]
async fn an_answer_that_cannot_be_written_down_is_not_lost() {
    let world = Ground::new().world(vec![asking_once()]);
    let client = client(&world).await;
    let id = started(&client, "once", json!({})).await;
    ended(&client, &id, "input_required").await;
    // nothing can be put in the place of this
    let file = files(&world).into_iter().find(|path| path.to_string_lossy().ends_with(".open")).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir_all(file.join("in the way")).unwrap();
    // whatever its client is told: the task has the answer
    answer(&client, &id, json!({"one": name("Ann")})).await;
    let task = ended(&client, &id, "completed").await;
    assert_eq!(task["result"]["content"][0]["text"], r#""Ann""#);
}

#[tokio::test]
async fn mail_that_cannot_be_read_keeps_no_other_back_and_large_answers_are_not_left() {
    let ground = Ground::new();
    let (tool, far) = (Arc::new(Gated::new("slow")), Arc::new(Gated::new("slow")));
    let (here, there) = (ground.world(vec![tool.clone()]), ground.world(vec![far.clone()]));
    let (near, distant) = (client(&here).await, client(&there).await);
    let id = started(&near, "slow", json!({})).await;
    let large = json!({"one": {"action": "accept", "content": {"name": "x".repeat(300 << 10)}}});
    assert_eq!(
        answer(&distant, &id, large).await.fault(),
        (400, -32602),
        "nothing is asked, and it is large"
    );
    let file = files(&here).into_iter().find(|path| path.to_string_lossy().ends_with(".open")).unwrap();
    for place in ["0", "z"] {
        std::fs::create_dir(file.with_file_name(format!("{id}.mail-{place}"))).unwrap();
    }
    acknowledged(&distant.ask("tasks/cancel", json!({"taskId": id})).await);
    ended(&distant, &id, "cancelled").await;
    assert_eq!(tool.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_that_waits_for_a_person_ends_with_the_key_it_was_made_with() {
    let (ground, tool) = (office(), writer());
    let world = ground.world(vec![tool.clone()]);
    let keys = KeyStore::in_memory(SystemClock::shared()).unwrap();
    let [kept, lost] = [(); 2].map(|()| keys.mint(&Grant::named("alice")).unwrap());
    let mut client = client(&world).await;
    for (minted, size) in [(&kept, 1), (&lost, 2)] {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {}", minted.key.expose()).parse().unwrap());
        let presented = Presented {
            headers: &headers,
            method: &http::Method::POST,
            path: "/mcp",
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            certificate: None,
        };
        client.right = Some(Right::new(keys.clone(), &presented));
        let id = started(&client, "writer", json!({"size": size})).await;
        until(&client, &id, |task| task["statusMessage"].is_string()).await;
        if size == 2 {
            assert!(keys.revoke(&lost.id).unwrap());
        }
        tool.go.add_permits(1);
        decide(&world, Decision::Approve);
        let task = ended(&client, &id, "completed").await;
        if size == 1 {
            assert_eq!(task["result"]["content"][0]["text"], "Done.");
        } else {
            assert_eq!(task["result"]["structuredContent"]["error"]["kind"], "Forbidden", "{task}");
        }
    }
    assert_eq!(tool.runs(), 1);
}

#[tokio::test]
async fn a_call_that_waits_for_a_person_runs_what_is_there_when_it_goes_on() {
    let (ground, old) = (office(), writer());
    let world = ground.world(vec![old.clone()]);
    let client = client(&world).await;
    let (alike, mut other) = (writer(), Gated::new("writer"));
    other.spec.effect = Effect::Write;
    other.spec.description = Some("Does something else.".into());
    let other = Arc::new(other);
    for (size, next) in [(1, &alike), (2, &other)] {
        let id = started(&client, "writer", json!({"size": size})).await;
        until(&client, &id, |task| task["statusMessage"].is_string()).await;
        let line = under(&world, "standard", Filter::default());
        world.catalog.reconfigure(vec![Arc::clone(next) as Arc<dyn Tool>], line).unwrap();
        decide(&world, Decision::Approve);
        let task = ended(&client, &id, "completed").await;
        assert_eq!(task["result"]["isError"] == true, size == 2, "{task}");
    }
    assert_eq!((old.runs(), alike.runs(), other.runs()), (0, 1, 0));
}
