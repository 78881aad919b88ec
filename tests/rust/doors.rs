//! Who may come in, and how far: keys, scopes and the local user, on a server as it is started.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bartizan::app::{App, Extra};
use bartizan::clock::SystemClock;
use bartizan::config::Config;
use bartizan::identity::keys::{Grant, KeyStore, Minted};
use bartizan::json::{Map, Value, json};
use bartizan::pipeline::{Tool, ToolSpec};
use bartizan::policy::Effect;
use bartizan::principal::{Principal, PrincipalKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::loopback::soon;
use crate::stage;
use crate::support::{PATIENCE, in_time};

/// A server as `bartizan serve --http` starts it.
pub struct Started {
    pub folder: tempfile::TempDir,
    pub app: Arc<App>,
    pub address: SocketAddr,
    pub key_file: Option<PathBuf>,
    pub stop: CancellationToken,
    pub done: JoinHandle<bartizan::error::Result<()>>,
}

fn tool(name: &str, effect: Effect) -> Arc<dyn Tool> {
    stage::played(ToolSpec { effect, ..stage::spec(name, json!({})) }, |_, _| stage::text("done"))
}

fn tools() -> Vec<Arc<dyn Tool>> {
    vec![tool("look", Effect::Read), tool("make", Effect::Write), tool("wipe", Effect::Destroy)]
}

/// What is served, where, with what key, and how it ends.
pub type Serving = (SocketAddr, Option<PathBuf>, CancellationToken, JoinHandle<bartizan::error::Result<()>>);

pub async fn serving(app: &Arc<App>) -> Serving {
    let stop = CancellationToken::new();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let done = tokio::spawn({
        let (app, stop) = (Arc::clone(app), stop.clone());
        async move {
            let ready = |reachable: &bartizan::app::Reachable| {
                sender.send((reachable.address, reachable.key_file.clone())).unwrap();
            };
            app.serve_http(false, stop, ready).await
        }
    });
    let (address, key_file) = soon(receiver).await.unwrap();
    (address, key_file, stop, done)
}

pub async fn started_in(folder: tempfile::TempDir, text: &str) -> Started {
    started_with(folder, text, tools()).await
}

pub async fn started_with(folder: tempfile::TempDir, text: &str, tools: Vec<Arc<dyn Tool>>) -> Started {
    let path = folder.path().join("bartizan.toml");
    std::fs::write(&path, format!("state_dir = 'state'\n{text}")).unwrap();
    let config = Config::load(&path).unwrap();
    let app = App::build(config, Extra { tools, ..Extra::default() }).await.unwrap();
    let (address, key_file, stop, done) = serving(&app).await;
    Started { folder, app, address, key_file, stop, done }
}

pub async fn started(text: &str) -> Started {
    let listening = format!("{text}\n[http]\nlisten = '127.0.0.1:0'\ndrain_delay = 0\ndrain = 0.2\n");
    started_in(tempfile::tempdir().unwrap(), &listening).await
}

impl Started {
    /// The keys, as another process sees them.
    pub fn keys(&self) -> Arc<KeyStore> {
        KeyStore::open(&self.folder.path().join("state"), SystemClock::shared()).unwrap()
    }

    fn mint(&self, scopes: &[&str]) -> Minted {
        let scopes = scopes.iter().map(|scope| String::from(*scope)).collect();
        self.keys().mint(&Grant { scopes, ..Grant::named(format!("of-{}", rand_name())) }).unwrap()
    }

    pub async fn ask(&self, key: &str, method: &str, params: Value) -> (u16, Value) {
        self.show(&[("Authorization", &format!("Bearer {key}"))], method, params).await
    }

    pub async fn show(&self, headers: &[(&str, &str)], method: &str, params: Value) -> (u16, Value) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (status, text) = soon(exchange(stream, &post("/mcp", headers, method, params))).await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    pub async fn ended(self) -> tempfile::TempDir {
        self.stop.cancel();
        soon(self.done).await.unwrap().unwrap();
        self.app.close().await.unwrap();
        self.folder
    }

    pub fn audited(&self) -> String {
        std::fs::read_to_string(self.app.audit().path()).unwrap()
    }
}

fn rand_name() -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

/// A request of the newest revision, by a client that can do what `params` say it can, if they do.
pub fn post(path: &str, headers: &[(&str, &str)], method: &str, mut params: Value) -> String {
    const ABLE: &str = "io.modelcontextprotocol/clientCapabilities";
    let able = params.get("_meta").map_or(json!({}), |meta| meta[ABLE].clone());
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
        ABLE: able
    });
    let named = params["name"].as_str().map(|name| format!("Mcp-Name: {name}\r\n")).unwrap_or_default();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let host = if headers.iter().any(|(name, _)| *name == "Host") { "" } else { "Host: localhost\r\n" };
    format!(
        "POST {path} HTTP/1.1\r\n{host}Content-Type: application/json\r\nAccept: application/json, \
         text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{named}{more}Connection: \
         close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends bytes and reads to the end: the status, and what stands behind the head.
pub async fn exchange<S>(mut stream: S, request: &str) -> std::io::Result<(u16, String)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (status, _, body) = whole(&mut stream, request).await?;
    Ok((status, body))
}

/// The same with the head, in lower case.
pub async fn whole<S>(stream: &mut S, request: &str) -> std::io::Result<(u16, String, String)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        read?;
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    let status = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_default();
    Ok((status, head.to_lowercase(), body.to_owned()))
}

const POLICY: &str = "policy = 'open.cedar'\n";

/// A policy that allows everybody everything.
fn open_house() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("open.cedar"), "permit(principal, action, resource);").unwrap();
    folder
}

async fn open_server(text: &str) -> Started {
    let text = format!("{POLICY}{text}\n[http]\nlisten = '127.0.0.1:0'\ndrain_delay = 0\ndrain = 0.2\n");
    started_in(open_house(), &text).await
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_a_ceiling_whatever_the_policy_allows() {
    let server = open_server("").await;
    for (scopes, may) in [
        (&["read"][..], &["look"][..]),
        (&["write"], &["look", "make", "wipe"]),
        (&["admin"], &["look", "make", "wipe"]),
    ] {
        let minted = server.mint(scopes);
        let key = minted.key.expose();
        let (status, listed) = server.ask(key, "tools/list", json!({})).await;
        assert_eq!(status, 200, "{listed}");
        let listed: Vec<&str> = listed["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap())
            .collect();
        assert_eq!(listed, may, "{scopes:?}");
        for name in ["look", "make", "wipe"] {
            let (_, answer) = server.ask(key, "tools/call", json!({"name": name, "arguments": {}})).await;
            let ran = answer["result"]["content"][0]["text"] == "done";
            assert_eq!(ran, may.contains(&name), "{scopes:?} {name}: {answer}");
            if !ran {
                assert_eq!(answer["error"]["code"], -32602, "as if there were no such tool: {answer}");
            }
        }
    }
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_user_has_the_scopes_that_the_configuration_gives() {
    let folder = open_house();
    let path = folder.path().join("bartizan.toml");
    let text = "state_dir = 'state'\npolicy = 'open.cedar'\n[principal.local]\nscopes = ['read']\nroles = ['ops']\n\
                tenant = 'acme'\n";
    std::fs::write(&path, text).unwrap();
    let app =
        App::build(Config::load(&path).unwrap(), Extra { tools: tools(), ..Extra::default() }).await.unwrap();
    let local = app.local_principal();
    assert!(local.id.starts_with("local:") && local.kind == PrincipalKind::Local);
    assert!(local.roles.contains("ops") && local.tenant.as_deref() == Some("acme"));
    let visible = |principal: &Principal| -> Vec<String> {
        let line = app.line();
        let all = tools();
        let seen = all.iter().filter(|tool| line.visible(principal, tool.spec()));
        seen.map(|tool| tool.spec().name.clone()).collect()
    };
    assert_eq!(visible(&local), ["look"]);
    let mut context = app.context();
    context.principal = local;
    let refused = app.call("make", Map::new(), &context).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), bartizan::error::Kind::NoSuchTool);
    app.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_within_a_second_by_a_server_that_runs() {
    let server = open_server("").await;
    let kept = server.mint(&["read"]);
    assert_eq!(server.ask(kept.key.expose(), "tools/list", json!({})).await.0, 200);
    let mut tries = Vec::new();
    loop {
        let lost = server.mint(&["read"]);
        assert_eq!(server.ask(lost.key.expose(), "tools/list", json!({})).await.0, 200);
        assert!(server.keys().revoke(&lost.id).unwrap());
        let since = Instant::now();
        while server.ask(lost.key.expose(), "tools/list", json!({})).await.0 != 401 {
            assert!(since.elapsed() < PATIENCE, "it still opens the door");
        }
        if in_time(&mut tries, since.elapsed()) {
            break;
        }
    }
    assert_eq!(server.ask(kept.key.expose(), "tools/list", json!({})).await.0, 200);

    // what was counted is there for whoever looks, once the server has ended
    let folder = server.ended().await;
    let keys = KeyStore::open(&folder.path().join("state"), SystemClock::shared()).unwrap();
    let about = keys.list().into_iter().find(|about| about.id == kept.id).unwrap();
    assert_eq!((about.used.calls, about.used.failures), (2, 0));
    assert!(about.used.last.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_belongs_to_whoever_started_the_server() {
    let server = started("").await;
    let key = std::fs::read_to_string(server.key_file.as_ref().unwrap()).unwrap();
    assert_eq!(server.ask(key.trim(), "tools/list", json!({})).await.0, 200);
    let about = server.keys().list().remove(0);
    assert!(!about.grant.owner.is_empty());
    assert!(server.audited().contains("\"key issued\"") && !server.audited().contains(key.trim()));
    // and no two installations have a key in common
    let other = started("").await;
    for name in ["http.key", "keys.pepper", "audit.key", "fingerprint.key", "handles.key"] {
        let [one, two] = [&server, &other]
            .map(|server| std::fs::read(server.folder.path().join("state").join(name)).unwrap());
        assert_ne!(one, two, "{name}");
    }
    other.ended().await;
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_production_nothing_crosses_a_network_in_plain_http_unless_a_proxy_encrypts() {
    let build = async |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bartizan.toml");
        std::fs::write(&path, format!("state_dir = 'state'\n{text}")).unwrap();
        let built = App::build(Config::load(&path).unwrap(), Extra::default()).await;
        match built {
            Ok(app) => app.close().await.map(|()| String::new()).unwrap(),
            Err(error) => error.message().to_owned(),
        }
    };
    assert!(build("[http]\ninsecure_plaintext = true\n").await.contains("tls_proxy"));
    assert_eq!(build("[http]\ninsecure_plaintext = true\ntls_proxy = true\n").await, "");
    assert_eq!(build("profile = 'staging'\n[http]\ninsecure_plaintext = true\n").await, "");
    assert!(build("[http]\nallowed_origins = ['*']\n").await.contains("allowed_origins"));
}
