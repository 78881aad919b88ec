//! A server that keeps nothing: what it writes (nothing), where it may be (development), and what clients are told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bartizan::app::{App, Extra};
use bartizan::audit::Sink;
use bartizan::config::Config;
use bartizan::error::{Kind, Result};
use bartizan::json::{Value, json};
use bartizan::pipeline::ToolSpec;
use bartizan::policy::Effect;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::doors::{exchange, post, serving};
use crate::loopback::soon;
use crate::stage;

const SERVED: &str = "stateless = true\nprofile = 'development'\npolicy = { set = 'admin' }\ndiagnostics = true\n\
                      [http]\nlisten = '127.0.0.1:0'\ndrain_delay = 0\ndrain = 0.2\n";

fn config(folder: &Path, text: &str) -> Config {
    let path = folder.join("bartizan.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).unwrap()
}

fn extra() -> Extra {
    let make = ToolSpec { effect: Effect::Write, ..stage::spec("make", json!({})) };
    Extra { tools: vec![stage::played(make, |_, _| stage::text("done"))], ..Extra::default() }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn refused(text: &str, extra: Extra) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = App::build(config(folder.path(), text), extra).await.err().unwrap();
    assert_eq!(error.kind(), Kind::BadConfig);
    assert_eq!(names(folder.path()), ["bartizan.toml"], "a refusal writes nothing either");
    error.message().to_owned()
}

struct Deaf;

impl Sink for Deaf {
    fn name(&self) -> &'static str {
        "deaf"
    }

    fn take(&self, _lines: Vec<Arc<str>>) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_development_may_be_stateless_and_nothing_may_rely_on_what_is_not_kept() {
    for profile in ["", "profile = 'production'", "profile = 'staging'"] {
        let said = refused(&format!("stateless = true\n{profile}"), extra()).await;
        assert!(said.contains("development"), "{said}");
        let named =
            refused(&format!("stateless = true\n{profile}\naudit.path = 'audit.jsonl'"), extra()).await;
        assert_eq!(said, named, "a named audit makes no difference");
    }
    let development = "stateless = true\nprofile = 'development'\n";
    for (text, word) in [
        ("state_dir = 'state'", "state_dir"),
        ("[alerts]\nwatch = true", "[alerts]"),
        ("[audit.anchor]\nto = [{ kind = 'syslog', address = 'udp:127.0.0.1:1' }]", "[audit.anchor]"),
    ] {
        let said = refused(&format!("{development}{text}"), extra()).await;
        assert!(said.contains(word), "{text}: {said}");
    }
    let said = refused(development, Extra { sinks: vec![Arc::new(Deaf)], ..extra() }).await;
    assert!(said.contains("sinks"), "{said}");
    // what another process would do in the state directory, it is told it cannot
    let error = Config::parse(development, "x").unwrap().state_folder().unwrap_err();
    assert!(error.message().contains("stateless"), "{error}");
}

struct Running {
    app: Arc<App>,
    key_file: PathBuf,
    address: std::net::SocketAddr,
    stop: CancellationToken,
    done: tokio::task::JoinHandle<Result<()>>,
}

async fn serve(config: Config) -> Running {
    let app = App::build(config, extra()).await.unwrap();
    let (address, key_file, stop, done) = serving(&app).await;
    Running { app, key_file: key_file.unwrap(), address, stop, done }
}

impl Running {
    async fn ask(&self, method: &str, params: Value) -> Value {
        let key = std::fs::read_to_string(&self.key_file).unwrap();
        let headers = [("Authorization", &*format!("Bearer {}", key.trim()))];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (status, text) = soon(exchange(stream, &post("/mcp", &headers, method, params))).await.unwrap();
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn makes(&self) {
        let answer = self.ask("tools/call", json!({"name": "make", "arguments": {}})).await;
        assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
    }

    async fn end(self) {
        self.stop.cancel();
        soon(self.done).await.unwrap().unwrap();
        self.app.close().await.unwrap();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_stateless_server_works_writes_no_file_and_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let running = serve(config(folder.path(), SERVED)).await;
    running.makes().await;
    let found = running.ask("server/discover", json!({})).await;
    let described = found["result"]["serverInfo"]["description"]
        .as_str()
        .or_else(|| found["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["description"].as_str());
    assert!(described.is_some_and(|said| said.contains("Stateless")), "{found}");
    assert!(running.app.audit().is_off());
    assert_eq!(running.app.audit().path(), Path::new(""));
    let memory = running.key_file.parent().unwrap().to_path_buf();
    assert!(memory.starts_with("/dev/shm"), "{memory:?}");
    assert!(!memory.join("audit.jsonl").exists());
    running.end().await;
    assert_eq!(names(folder.path()), ["bartizan.toml"]);
    assert!(!memory.exists(), "what it remembered is gone with it");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_is_named_is_all_that_a_stateless_server_writes() {
    let folder = tempfile::tempdir().unwrap();
    let running = serve(config(folder.path(), &format!("{SERVED}[audit]\npath = 'book.jsonl'\n"))).await;
    running.makes().await;
    running.end().await;
    let names = names(folder.path());
    assert!(names.iter().all(|name| name == "bartizan.toml" || name.starts_with("book.jsonl")), "{names:?}");
    let report = bartizan::audit::verify(&folder.path().join("book.jsonl"), None).unwrap();
    assert!(report.fault.is_none(), "{report:?}");
    assert_eq!(report.calls, 1, "{report:?}");
}
