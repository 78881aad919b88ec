//! A configuration that changes while its server runs.

use std::path::PathBuf;
use std::sync::Arc;

use bartizan::app::{App, Extra, Source};
use bartizan::config::Config;
use bartizan::error::{Kind, Result};
use bartizan::json::{Map, Value, json};
use bartizan::pipeline::{Approved, BoxFuture, Context, Halt, Outcome, Reply, Tool, ToolSpec};
use bartizan::policy::Effect;
use bartizan::protocol::types::{Content, ToolResult};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::stage;
use crate::support::PATIENCE;

const DOCUMENT: &str = r#"{
  "openapi": "3.1.0", "info": {"title": "acme", "version": "1"},
  "paths": {"/widgets": {"get": {"operationId": "OPERATION", "responses": {"200": {"description": "fine"}}}}}
}"#;

/// A folder with a configuration, and a server that runs on it.
struct Site {
    folder: tempfile::TempDir,
    app: Arc<App>,
}

impl Site {
    async fn new(text: &str, tools: Vec<Arc<dyn Tool>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("acme.json"), DOCUMENT).unwrap();
        std::fs::write(folder.path().join("bartizan.toml"), format!("state_dir = 'state'\n{text}")).unwrap();
        let config = Config::load(&folder.path().join("bartizan.toml")).unwrap();
        let app = App::build(config, Extra { tools, ..Extra::default() }).await.unwrap();
        Self { folder, app }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path("bartizan.toml"), format!("state_dir = 'state'\n{text}")).unwrap();
    }

    async fn reload(&self) -> Result<()> {
        self.app.reload(Config::load(&self.path("bartizan.toml"))).await
    }

    async fn call(&self, tool: &str, arguments: Value) -> Result<ToolResult> {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        match self.app.call(tool, arguments, &self.app.context()).await? {
            Outcome::Done(done) => match done.into_reply() {
                Reply::Tool(result) => Ok(result),
                other => panic!("{other:?}"),
            },
            Outcome::Paused(question) => panic!("{question:?}"),
        }
    }

    fn tools(&self) -> Vec<String> {
        let now = self.app.catalog().now();
        now.list(bartizan::catalog::List::Tools).iter().map(|entry| entry.spec().name.clone()).collect()
    }

    fn events(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.app.audit().path()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == name).collect()
    }
}

fn text(result: &ToolResult) -> String {
    match &result.content[0] {
        Content::Text { text, .. } => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_can_be_reloaded_holds_from_the_next_call_on() {
    let site = Site::new("diagnostics = true", vec![writer()]).await;
    let sees_writer = || {
        let now = site.app.catalog().now();
        let writer = now.tool("writer").unwrap();
        site.app.line().visible(&site.app.process_principal(), writer.spec())
    };
    assert!(!sees_writer(), "read-only");
    let said = site.call("echo", json!({"message": "badge-4711"})).await.unwrap();
    assert!(text(&said).contains("badge-4711"));

    site.write(
        "diagnostics = true\npolicy = 'admin'\n[redaction]\npatterns = ['badge-[0-9]+']\n\
         [limits]\nwrite = { per_minute = 1, burst = 1 }\n[log]\nlevel = 'error'",
    );
    site.reload().await.unwrap();
    assert!(sees_writer());
    site.call("writer", json!({})).await.unwrap();
    let late = site.call("writer", json!({})).await.unwrap_err();
    assert_eq!(late.kind(), Kind::RateLimited);
    let said = site.call("echo", json!({"message": "badge-4711"})).await.unwrap();
    assert!(!text(&said).contains("4711"), "{}", text(&said));
    let audited = std::fs::read_to_string(site.app.audit().path()).unwrap();
    assert_eq!(audited.matches("badge-4711").count(), 1, "the audit has the new rules too");

    let reloaded = site.events("configuration reloaded");
    assert_eq!(reloaded.len(), 1);
    assert_eq!(reloaded[0]["detail"]["changed"], json!(["policy", "limits", "redaction", "log"]));
    assert_eq!(site.events("relaxed").last().unwrap()["detail"]["settings"][0]["value"], "admin");

    // what was counted stays counted: a reload is no way to a fresh quota
    site.reload().await.unwrap();
    assert_eq!(site.call("writer", json!({})).await.unwrap_err().kind(), Kind::RateLimited);

    site.write("diagnostics = true\npolicy = 'admin'\n[offer]\nwithout = ['echo']");
    site.reload().await.unwrap();
    assert_eq!(site.call("echo", json!({"message": "x"})).await.unwrap_err().kind(), Kind::NoSuchTool);
    site.write("policy = 'admin'");
    site.reload().await.unwrap();
    assert_eq!(site.tools(), ["writer"], "the toolset is gone, what was given at the start is not");
}

#[tokio::test]
async fn a_document_is_read_again() {
    let openapi = "[[openapi]]\nfile = 'acme.json'\nbase_url = 'https://api.example.com'";
    let site = Site::new(openapi, vec![stage::echo()]).await;
    assert_eq!(site.tools(), ["operation", "echo"]);
    std::fs::write(site.path("acme.json"), DOCUMENT.replace("OPERATION", "listWidgets")).unwrap();
    site.reload().await.unwrap();
    assert_eq!(site.tools(), ["list_widgets", "echo"]);
    let gone = site.call("operation", json!({})).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NoSuchTool);
}

#[tokio::test]
async fn a_file_that_is_wrong_changes_nothing_and_says_so() {
    let openapi = "policy = 'admin'\n[[openapi]]\nfile = 'acme.json'\nbase_url = 'https://api.example.com'";
    let site = Site::new(openapi, vec![writer()]).await;
    let version = site.app.catalog().now().version();
    std::fs::write(site.path("broken.cedar"), "permit(principal, action, hunter2").unwrap();
    for (text, words) in [
        ("polcy = 'read-only'", "did you mean `policy`"),
        ("policy = 'broken.cedar'", "broken.cedar"),
        ("policy = 'none.cedar'", "none.cedar"),
        ("[[openapi]]\nfile = 'none.json'\nbase_url = 'https://api.example.com'", "none.json"),
        ("policy = 'read-only'\n[log]\nlevel = 'a=b=c'", "[log] level"),
        ("policy = 'read-only'\n[redaction]\npatterns = ['(']", "[redaction]"),
        ("policy = 'read-only'\n[offer]\ntoolsets = ['nothing']", "nothing"),
        ("policy = 'read-only'\n[http]\nlisten = '127.0.0.1:1'", "`http.listen` cannot change"),
        ("policy = 'read-only'\n[audit]\npath = 'other.jsonl'", "`audit.path` cannot change"),
        ("policy = 'read-only'\npractice = true", "`practice` cannot change"),
    ] {
        site.write(text);
        let refused = site.reload().await.unwrap_err();
        assert_eq!(refused.kind(), Kind::BadConfig, "{text}");
        assert!(refused.message().contains(words), "{text}: {refused}");
        let audited = site.events("configuration refused");
        let last = &audited.last().unwrap()["detail"];
        assert_eq!(last["kind"], "BadConfig");
        assert!(!last["reason"].as_str().unwrap().contains("hunter2"));
        site.call("writer", json!({})).await.unwrap();
    }
    let other = site.folder.path().join("elsewhere.toml");
    std::fs::write(&other, "state_dir = 'another'").unwrap();
    let moved = site.app.reload(Config::load(&other)).await.unwrap_err();
    assert!(moved.message().contains("`state_dir` cannot change"), "{moved}");
    assert_eq!(site.tools(), ["operation", "writer"]);
    assert_eq!(site.app.catalog().now().version(), version);
    assert!(site.events("configuration reloaded").is_empty());
}

/// A tool that writes, and says so.
struct Writer(ToolSpec);

impl Tool for Writer {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(&'a self, _: &'a Approved, _: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async { Ok(Reply::Tool(ToolResult::text("written"))) })
    }
}

fn writer() -> Arc<dyn Tool> {
    Arc::new(Writer(ToolSpec { effect: Effect::Write, ..ToolSpec::new("writer") }))
}

/// A tool that waits until it is told to go on, and then says something.
struct Slow {
    spec: ToolSpec,
    says: String,
    started: Notify,
    go: Notify,
}

impl Tool for Slow {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, _: &'a Approved, _: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            self.started.notify_one();
            self.go.notified().await;
            Ok(Reply::Tool(ToolResult::text(self.says.clone())))
        })
    }
}

#[tokio::test]
async fn a_call_keeps_the_rules_it_began_under() {
    let spec = ToolSpec { effect: Effect::Write, ..ToolSpec::new("slow") };
    let says = String::from("the badge is badge-4711");
    let slow = Arc::new(Slow { spec, says, started: Notify::new(), go: Notify::new() });
    let strict = "policy = 'admin'\n[redaction]\npatterns = ['badge-[0-9]+']";
    let site = Site::new(strict, vec![slow.clone() as Arc<dyn Tool>]).await;
    let (app, context) = (Arc::clone(&site.app), site.app.context());
    let running = tokio::spawn(async move { app.call("slow", Map::new(), &context).await.map(|_| ()) });
    let kept = {
        let (app, context) = (Arc::clone(&site.app), site.app.context());
        tokio::time::timeout(PATIENCE, slow.started.notified()).await.unwrap();
        tokio::spawn(async move {
            match app.call("slow", Map::new(), &context).await.unwrap() {
                Outcome::Done(done) => format!("{:?}", done.into_reply()),
                Outcome::Paused(_) => panic!("nothing was asked"),
            }
        })
    };
    tokio::time::timeout(PATIENCE, slow.started.notified()).await.unwrap();
    site.write("policy = 'read-only'");
    site.reload().await.unwrap();
    assert_eq!(site.call("slow", json!({})).await.unwrap_err().kind(), Kind::NoSuchTool);
    slow.go.notify_one();
    running.await.unwrap().unwrap();
    slow.go.notify_one();
    let said = kept.await.unwrap();
    assert!(!said.contains("4711"), "it began when badges were secrets: {said}");
}

#[tokio::test]
async fn a_call_that_began_under_other_rules_leaves_nothing_to_be_read_under_these() {
    let reading = Some(bartizan::pipeline::Reading { max_bytes: Some(2_000), ..Default::default() });
    let spec = ToolSpec { effect: Effect::Read, reading, ..ToolSpec::new("slow") };
    let slow =
        Arc::new(Slow { spec, says: "a badge ".repeat(1_000), started: Notify::new(), go: Notify::new() });
    let openapi = "[[openapi]]\nfile = 'acme.json'\nbase_url = 'https://api.example.com'\n";
    let site = Site::new(&format!("policy = 'admin'\n{openapi}"), vec![slow.clone() as Arc<dyn Tool>]).await;
    for (reloads, linked) in [(false, true), (true, false), (false, true)] {
        let app = Arc::clone(&site.app);
        let context = Context { transport: "memory", ..app.context() };
        let running = tokio::spawn(async move { app.call("slow", Map::new(), &context).await });
        tokio::time::timeout(PATIENCE, slow.started.notified()).await.unwrap();
        if reloads {
            site.write(&format!("policy = 'standard'\n{openapi}"));
            site.reload().await.unwrap();
            // the first call under the new rules
            assert!(site.call("slow", json!({"x": 1})).await.is_err());
        }
        slow.go.notify_one();
        let Outcome::Done(done) = running.await.unwrap().unwrap() else { panic!("nothing was asked") };
        let Reply::Tool(result) = done.into_reply() else { panic!("a tool's result") };
        assert!(text(&result).len() < 2_500, "it is cut");
        let is_link = |block: &Content| matches!(block, Content::ResourceLink { .. });
        assert_eq!(result.content.iter().any(is_link), linked, "{:?}", result.content);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_change_are_noticed_and_a_broken_one_is_waited_out() {
    let openapi = "[[openapi]]\nfile = 'acme.json'\nbase_url = 'https://api.example.com'\n";
    let site = Site::new(openapi, Vec::new()).await;
    let changed = Arc::new(Notify::new());
    let told = Arc::clone(&changed);
    site.app.catalog().watch(move |_| told.notify_one());
    let file = site.path("bartizan.toml");
    let read = move || Config::load(&file);
    let (source, _) = Source::open(Some(site.path("bartizan.toml")), Box::new(read), false).unwrap();
    let stop = CancellationToken::new();
    let following = tokio::spawn(site.app.follow(source, stop.clone()));
    let soon = async |event: &Notify| {
        tokio::time::timeout(PATIENCE, event.notified()).await.expect("nothing happened");
    };
    // whether watching has begun by now or not
    std::fs::write(site.path("acme.json"), DOCUMENT.replace("OPERATION", "widgets")).unwrap();
    soon(&changed).await;
    assert_eq!(site.tools(), ["widgets"]);

    // as an editor does: a new file takes the place of the old one
    std::fs::write(site.path("new.toml"), "state_dir = 'state'\nthis is no TOML").unwrap();
    std::fs::rename(site.path("new.toml"), site.path("bartizan.toml")).unwrap();
    let refused = async {
        while site.events("configuration refused").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("nobody said that the file is broken");
    site.write(&format!("diagnostics = true\n{openapi}"));
    soon(&changed).await;
    assert_eq!(site.tools(), ["widgets", "echo", "whoami"]);
    assert_eq!(site.events("configuration refused").len(), 1);

    // a file that only the new configuration names
    std::fs::write(site.path("own.cedar"), "permit(principal, action, resource);").unwrap();
    site.write(&format!("policy = 'own.cedar'\n{openapi}"));
    soon(&changed).await;
    let before = site.app.line().policy().version().to_owned();
    std::fs::write(site.path("own.cedar"), "permit(principal, action == Action::\"call\", resource);")
        .unwrap();
    soon(&changed).await;
    assert_ne!(site.app.line().policy().version(), before);
    stop.cancel();
    tokio::time::timeout(PATIENCE, following).await.unwrap().unwrap();
}

#[tokio::test]
async fn two_reloads_at_once_leave_one_whole_configuration() {
    let site = Site::new("policy = 'admin'", vec![writer()]).await;
    let file = |name: &str, text: &str| {
        let path = site.path(name);
        std::fs::write(&path, format!("state_dir = 'state'\n{text}")).unwrap();
        Config::load(&path)
    };
    let (one, other) = (
        file("one.toml", "diagnostics = true\npolicy = 'admin'"),
        file("other.toml", "policy = 'read-only'"),
    );
    let (one, other): (Result<()>, Result<()>) = tokio::join!(site.app.reload(one), site.app.reload(other));
    one.unwrap();
    other.unwrap();
    let config = site.app.config();
    let whole = (config.diagnostics, site.tools().len(), site.call("writer", json!({})).await.is_ok());
    assert!(whole == (true, 3, true) || whole == (false, 1, false), "{whole:?}");
    assert_eq!(site.events("configuration reloaded").len(), 2);
}

#[tokio::test]
async fn a_stand_in_keeps_what_was_done_to_it() {
    let practice = "practice = true\n[[openapi]]\nfile = 'acme.json'\nbase_url = ''\n";
    let site = Site::new(practice, Vec::new()).await;
    let before = site.app.stands()[0].url();
    site.write(&format!("diagnostics = true\n{practice}"));
    site.reload().await.unwrap();
    assert_eq!(site.app.stands()[0].url(), before, "nothing about the document has changed");
    assert_eq!(site.tools().len(), 3);
    std::fs::write(site.path("acme.json"), DOCUMENT.replace("OPERATION", "listWidgets")).unwrap();
    site.reload().await.unwrap();
    assert_ne!(site.app.stands()[0].url(), before);
    site.call("list_widgets", json!({})).await.unwrap();
    site.app.close().await.unwrap();
}
