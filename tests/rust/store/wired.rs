//! Two servers as they are started, with one store: whatever must happen once happens once on both together.

use std::sync::Arc;

use bartizan::approvals::{Approvals, Decision, Status};
use bartizan::clock::SystemClock;
use bartizan::identity::keys::{Grant, KeyStore};
use bartizan::json::{Value, json};
use bartizan::pipeline::{Tool, ToolSpec};
use bartizan::policy::Effect;
use bartizan::secret::Secret;
use futures_util::future::join_all;

use super::instances::{copy_keys, settings};
use super::server::{Server, until};
use crate::approvals::PASSPHRASE;
use crate::doors::{Started, started_with};
use crate::issuer::{AuthServer, Signer};
use crate::loopback::{Upstream, answer};
use crate::stage;

const ADDRESS: &str = "https://mcp.example.com/mcp";
const DOCUMENT: &str = r#"{"openapi": "3.1.0", "info": {"title": "acme", "version": "1"}, "paths": {
    "/widgets": {"get": {"operationId": "listWidgets", "responses": {"200": {"description": "fine"}}}}
}}"#;

fn tools() -> Vec<Arc<dyn Tool>> {
    let make =
        ToolSpec { effect: Effect::Write, ..stage::spec("make", json!({"size": {"type": "integer"}})) };
    vec![stage::played(make, |_, _| stage::text("made")), stage::buying()]
}

/// Two servers, what a caller shows, and what stands beside them.
struct Pair {
    servers: [Started; 2],
    key: String,
    signer: Signer,
    issuer: AuthServer,
    api: Upstream,
    _common: tempfile::TempDir,
}

async fn pair(server: &Server) -> Pair {
    let signer = Signer::ec("one");
    let issuer = AuthServer::start(&[&signer]).await;
    // an API that knows no client
    let api = Upstream::start(|_, _| answer(400, "{}")).await;
    let common = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = common.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let rules = "permit (principal, action, resource);\n\
                 forbid (principal, action == Action::\"callUnattended\", resource == Tool::\"make\");";
    let (policy, id) = (write("own.cedar", rules), write("id", "client-4711"));
    let secret = write("secret", "the-secret-of-the-client");
    write("acme/openapi.json", DOCUMENT);
    write(
        "acme/connector.toml",
        &format!(
            "name = 'acme'\nbase = 'http://{0}'\n[credentials]\nkind = 'oauth2'\ntoken_url = 'http://{0}/token'\n\
             client_id = 'file:{id}'\nclient_secret = 'file:{secret}'\nstyle = 'json'\n",
            api.address
        ),
    );
    #[cfg(unix)]
    for path in [&id, &secret] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::create_dir(common.path().join("operators")).unwrap();
    let plenty = "{ per_minute = 100000, burst = 10000 }";
    let more = format!(
        "policy = '{policy}'\n[approvals]\noperators = '{place}/operators'\n[limits]\nread = {plenty}\nwrite = {plenty}\n\
         refusals = {plenty}\n[egress]\nallow_private = ['{api}', '{issuer}']\nretries = 0\n[[connector]]\npath = \
         '{place}/acme'\n[oauth]\npublic_url = '{ADDRESS}'\nissuers = [{{ issuer = 'http://{issuer}', name = 'test' }}]\n",
        place = common.path().display(),
        api = api.address,
        issuer = issuer.upstream.address,
    );
    let text = settings(server, common.path(), &more);
    let first = tempfile::tempdir().unwrap();
    let state = bartizan::state::StateDir::open(first.path().join("state")).unwrap();
    let keys = KeyStore::open(state.path(), SystemClock::shared()).unwrap();
    let minted = keys.mint(&Grant { scopes: ["write".to_owned()].into(), ..Grant::named("caller") }).unwrap();
    let one = started_with(first, &text, tools()).await;
    let other = tempfile::tempdir().unwrap();
    copy_keys(&one.folder.path().join("state"), &other.path().join("state"));
    let two = started_with(other, &text, tools()).await;
    let key = minted.key.expose().to_owned();
    let pair = Pair { servers: [one, two], key, signer, issuer, api, _common: common };
    pair.beside(|approvals, passphrase| approvals.enrol("alice", passphrase, None).map(drop).unwrap()).await;
    pair
}

fn call(tool: &str, arguments: Value) -> Value {
    json!({"name": tool, "arguments": arguments})
}

/// The same by a client that can do more.
fn able(mut params: Value, what: Value) -> Value {
    params["_meta"] = json!({"io.modelcontextprotocol/clientCapabilities": what});
    params
}

fn says(answer: &Value, words: &str) -> bool {
    answer["result"]["content"][0]["text"] == words
}

impl Pair {
    async fn ask(&self, which: usize, method: &str, params: Value) -> Value {
        self.servers[which % 2].ask(&self.key, method, params).await.1
    }

    /// What fifty callers are told who call at once, in turn at one server and at the other.
    async fn fifty(&self, params: &Value) -> Vec<Value> {
        join_all((0..50).map(|index| self.ask(index, "tools/call", params.clone()))).await
    }

    /// What a command beside the second server does.
    async fn beside<T: Send + 'static>(&self, work: fn(&Approvals, &Secret) -> T) -> T {
        let config = self.servers[1].app.config();
        let work = move || work(&bartizan::app::approvals(&config).unwrap(), &Secret::new(PASSPHRASE));
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    /// An operator agrees to whatever waits; says to how much.
    async fn agree(&self) -> usize {
        let agree = |approvals: &Approvals, passphrase: &Secret| {
            let operator = approvals.operator("alice", None, passphrase).unwrap();
            let records = approvals.list().unwrap();
            let waits = records.iter().filter(|one| one.status == Status::Pending);
            let agree =
                |id| approvals.decide(&approvals.show(id).unwrap(), Decision::Approve, &operator).unwrap();
            waits.map(|one| agree(&one.record.id)).count()
        };
        self.beside(agree).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_are_one_for_whatever_counts_once() {
    let Some(server) = Server::start(&[]) else { return };
    let pair = pair(&server).await;

    // an approval
    let make = call("make", json!({"size": 1}));
    let asked = pair.ask(0, "tools/call", make.clone()).await;
    assert_eq!(asked["result"]["isError"], true, "{asked}");
    assert_eq!(pair.agree().await, 1, "{asked}");
    let answers = pair.fifty(&make).await;
    assert_eq!(answers.iter().filter(|answer| says(answer, "made")).count(), 1, "{answers:?}");

    // the answer to a question
    let buy = able(call("buying", json!({})), json!({"elicitation": {"form": {}}}));
    let asked = pair.ask(0, "tools/call", buy.clone()).await;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let mut again = buy;
    again["requestState"] = asked["result"]["requestState"].clone();
    again["inputResponses"] = json!({"user_name": {"action": "accept", "content": {"name": "Ann"}}});
    let answers = pair.fifty(&again).await;
    assert_eq!(answers.iter().filter(|answer| says(answer, "Hello, Ann!")).count(), 1, "{answers:?}");

    // a task: made on one, followed on the other, run when somebody agrees
    let tasks = || json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let begun = pair.ask(0, "tools/call", able(call("make", json!({"size": 2})), tasks())).await;
    assert_eq!(begun["result"]["resultType"], "task", "{begun}");
    let look = || pair.ask(1, "tasks/get", able(json!({"taskId": begun["result"]["taskId"]}), tasks()));
    until("it waits for a person", || async {
        let seen = look().await;
        assert_eq!(seen["result"]["status"], "working", "{seen}");
        seen["result"]["statusMessage"].is_string()
    })
    .await;
    assert!(pair.agree().await >= 1);
    until("the other server tells what became of it", || async {
        let seen = look().await;
        assert_ne!(seen["result"]["status"], "failed", "{seen}");
        seen["result"]["result"]["content"][0]["text"] == "made"
    })
    .await;

    // a login that an upstream refused
    for which in [0, 1, 0, 1] {
        let told = pair.ask(which, "tools/call", call("list_widgets", json!({}))).await;
        assert_eq!(told["result"]["isError"], true, "{told}");
    }
    assert_eq!(pair.api.count("/token"), 1, "the pause after the first refusal is everybody's");

    // a proof of possession
    let (own, now) = (Signer::ec("own"), SystemClock::shared().wall().as_secs());
    let token = pair.signer.token(&json!({
        "iss": pair.issuer.url(), "aud": ADDRESS, "sub": "anna", "client_id": "ide", "exp": now + 600,
        "scope": "mcp:read", "cnf": {"jkt": own.thumbprint()}
    }));
    for first in [0, 1] {
        let proof = own.proof(&token, ("POST", ADDRESS), now, json!({}));
        let headers = [("Authorization", format!("DPoP {token}")), ("DPoP", proof)];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let mut statuses = Vec::new();
        for which in [first, 1 - first] {
            statuses.push(pair.servers[which].show(&headers, "tools/list", json!({})).await.0);
        }
        assert_eq!(statuses, [200, 401]);
    }
    for started in pair.servers {
        started.ended().await;
    }
}
