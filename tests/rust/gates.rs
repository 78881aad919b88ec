//! The endpoint as the network sees it: addresses, proxies, origins, headers, smuggling, sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan::clock::SystemClock;
use bartizan::error::Error;
use bartizan::identity::keys::{Grant, KeyStore};
use bartizan::identity::{Callers, NoAuth};
use bartizan::json::json;
use bartizan::transport::auth::Authenticator;
use bartizan::transport::http::{Endpoint, Listener, bind};
use bartizan::transport::{Config, Watch};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::doors::{post, whole};
use crate::loopback::soon;
use crate::scripted::Scripted;

/// What an endpoint told whoever watches it.
#[derive(Default)]
pub struct Told {
    lines: Mutex<Vec<String>>,
    changed: Notify,
}

impl Told {
    fn add(&self, line: String) {
        self.lines.lock().unwrap().push(line);
        self.changed.notify_waiters();
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits until something was told.
    pub async fn until(&self, text: &str) {
        soon(async {
            loop {
                let changed = self.changed.notified();
                if self.lines().iter().any(|line| line.contains(text)) {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
            }
        })
        .await;
    }
}

impl Watch for Told {
    fn refused(&self, what: &'static str, peer: &str) {
        self.add(format!("{what} | {peer}"));
    }

    fn unauthenticated(&self, what: &'static str, peer: &str) {
        self.add(format!("{what} | {peer}"));
    }

    fn renewed(&self, file: &Path, outcome: Result<Option<Duration>, &Error>) {
        assert!(file.ends_with("server.pem"));
        self.add(
            outcome
                .map_or_else(|error| format!("kept: {error}"), |ends| format!("renewed {}", ends.is_some())),
        );
    }
}

/// An endpoint with a scripted server behind it.
pub struct Site {
    pub address: SocketAddr,
    pub told: Arc<Told>,
    pub server: Arc<Scripted>,
    stop: CancellationToken,
    done: JoinHandle<bartizan::error::Result<()>>,
}

impl Site {
    pub async fn with(config: Config, authenticator: Arc<dyn Authenticator>) -> Self {
        let config = Config { drain_delay: Duration::ZERO, ..config };
        let named = config.listen.clone().unwrap_or_else(|| String::from("127.0.0.1:0"));
        let listener = bind(&Config { listen: Some(named), ..config.clone() }, authenticator.is_open()).await;
        Self::on(listener.unwrap(), config, authenticator)
    }

    fn on(listener: Listener, config: Config, authenticator: Arc<dyn Authenticator>) -> Self {
        let address = listener.local_addr().unwrap();
        let (server, told) = (Arc::new(Scripted::default()), Arc::new(Told::default()));
        let endpoint = Endpoint::new(server.clone(), authenticator, config).watched_by(told.clone());
        let stop = CancellationToken::new();
        let done = tokio::spawn(endpoint.serve(listener, stop.clone()));
        Self { address, told, server, stop, done }
    }

    /// One that everybody may use.
    async fn open(text: &str) -> Self {
        Self::with(toml::from_str(text).unwrap(), Arc::new(NoAuth::new())).await
    }

    /// Status, head and body of the answer to some bytes; nothing where there is none.
    pub async fn raw(&self, request: &str) -> Option<(u16, String, String)> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        soon(whole(&mut stream, request)).await.ok()
    }

    async fn ask(&self, headers: &[(&str, &str)]) -> (u16, String) {
        let (status, _, body) = self.raw(&post("/mcp", headers, "who", json!({}))).await.unwrap();
        (status, body)
    }

    pub async fn end(self) {
        self.stop.cancel();
        soon(self.done).await.unwrap().unwrap();
    }
}

/// Anything without a body.
fn plain(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n")
}

#[tokio::test]
async fn who_is_not_on_the_list_is_not_listened_to() {
    for list in ["allow_from = ['10.0.0.0/8', '2001:db8::/32']", "allow_from = []"] {
        let site = Site::open(list).await;
        for request in [post("/mcp", &[], "who", json!({})), plain("GET", "/healthz", "")] {
            assert!(site.raw(&request).await.is_none(), "{list}");
            // a header makes nobody somebody else
            let lying = request.replace("Connection:", "X-Forwarded-For: 10.0.0.1\r\nConnection:");
            assert!(site.raw(&lying).await.is_none(), "{list}");
        }
        site.told.until("address not allowed | 127.0.0.1:").await;
        assert!(site.server.peers.lock().unwrap().is_empty());
        site.end().await;
    }
    let site = Site::open("allow_from = ['::ffff:127.0.0.0/104']").await;
    assert_eq!(site.ask(&[]).await.0, 200);
    site.end().await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_callers_own_address_counts() {
    let keys = KeyStore::in_memory(SystemClock::shared()).unwrap();
    let from = bartizan::transport::addresses::ranges(&["198.51.100.0/25".into()]).unwrap();
    let key = keys.mint(&Grant { from, ..Grant::named("ci") }).unwrap().key;
    let good = format!("Bearer {}", key.expose());
    let text = "trusted_proxies = ['127.0.0.1']\nallow_from = ['198.51.100.0/24']\nfailures_per_minute = 2";
    let site = Site::with(toml::from_str(text).unwrap(), Arc::new(Callers::with_keys(keys))).await;
    let by = |address: &'static str| [("X-Forwarded-For", address), ("Authorization", good.as_str())];

    assert_eq!(site.ask(&by("198.51.100.7")).await.0, 200);
    let caller = site.server.peers.lock().unwrap()[0].address.unwrap();
    assert_eq!(caller.to_string(), "198.51.100.7");
    assert_eq!(site.ask(&by("203.0.113.9")).await.0, 403);
    assert_eq!(
        site.ask(&by("198.51.100.7, 203.0.113.9")).await.0,
        403,
        "what comes first is the client's word"
    );
    assert_eq!(site.ask(&by("nonsense")).await.0, 400);
    assert_eq!(site.ask(&[("Authorization", &good)]).await.0, 403, "the proxy itself is not on the list");
    assert_eq!(site.ask(&by("198.51.100.200")).await.0, 401, "the key is not for that address");
    site.told.until("address not allowed | 203.0.113.9 by 127.0.0.1:").await;
    site.told.until("key used from an address it is not for | 198.51.100.200 by 127.0.0.1:").await;

    // guessing slows down the address that guesses, not all that share the proxy
    let guess = |address: &'static str| [("X-Forwarded-For", address), ("Authorization", "Bearer bz_x_y")];
    for status in [401, 401, 429] {
        assert_eq!(site.ask(&guess("198.51.100.9")).await.0, status);
    }
    assert_eq!(site.ask(&guess("198.51.100.10")).await.0, 401);
    site.end().await;
}

#[tokio::test]
async fn every_answer_says_how_it_may_be_used() {
    let site = Site::open("allowed_origins = ['https://app.example']").await;
    for (request, status) in [
        (post("/mcp", &[], "who", json!({})), 200),
        (post("/mcp", &[], "flood", json!({"count": 2})), 200),
        (plain("GET", "/healthz", ""), 200),
        (plain("GET", "/readyz", ""), 200),
        (plain("GET", "/nowhere", ""), 404),
        (plain("PUT", "/mcp", ""), 405),
        (plain("GET", "/healthz", "Origin: https://evil.example\r\n"), 403),
        (plain("OPTIONS", "/mcp", "Origin: https://app.example\r\n"), 204),
        (plain("GET", "/.well-known/oauth-protected-resource", ""), 404),
    ] {
        let (found, head, _) = site.raw(&request).await.unwrap();
        assert_eq!(found, status, "{request}");
        for header in [
            "x-content-type-options: nosniff",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{header} in {head}");
        }
        assert!(!head.contains("strict-transport-security"), "nobody was here by https");
    }
    site.end().await;
    let site = Site::open("tls_proxy = true").await;
    let (_, head, _) = site.raw(&plain("GET", "/healthz", "")).await.unwrap();
    assert!(head.contains("strict-transport-security: max-age=31536000"), "{head}");
    site.end().await;
}

#[tokio::test]
async fn foreign_names_pages_and_tokens_in_addresses_are_refused_on_every_route() {
    let site = Site::open("allowed_origins = ['https://app.example']").await;
    for path in
        ["/mcp", "/healthz", "/readyz", "/metrics", "/.well-known/oauth-protected-resource", "/nowhere"]
    {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let at = |path: &str, headers: &str| plain(method, path, headers);
            for (request, status) in [
                (at(path, "Origin: https://evil.example\r\n"), 403),
                (at(path, "Origin: null\r\n"), 403),
                (at(path, "Origin: https://app.example\r\nOrigin: https://app.example\r\n"), 403),
                // a name that somebody else points at this address
                (at(path, "").replace("localhost", "rebound.evil.example"), 403),
                (at(path, "").replace("localhost", "localhost.evil.example:80"), 403),
                (at(&format!("{path}?access_token=x"), ""), 400),
                (at(&format!("{path}?a=1&Token=x"), ""), 400),
            ] {
                assert_eq!(site.raw(&request).await.unwrap().0, status, "{request}");
            }
        }
    }
    site.end().await;
}

#[tokio::test]
async fn a_browser_is_told_exactly_what_pages_of_a_listed_origin_may() {
    let site = Site::open("allowed_origins = ['https://app.example']").await;
    let asked = "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n\
                 Access-Control-Request-Headers: Authorization, Mcp-Param-Region, X-Evil, content-type\r\n";
    let (status, head, _) = site.raw(&plain("OPTIONS", "/mcp", asked)).await.unwrap();
    assert_eq!(status, 204);
    for header in [
        "access-control-allow-origin: https://app.example\r\n",
        "access-control-allow-methods: post, get, delete\r\n",
        "access-control-allow-headers: authorization, mcp-param-region, content-type\r\n",
        "vary: origin",
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert!(!head.contains('*') && !head.contains("allow-credentials") && !head.contains("x-evil"), "{head}");
    let (status, head, _) =
        site.raw(&plain("OPTIONS", "/mcp", &asked.replace("app.example", "app.example.evil"))).await.unwrap();
    assert!(status == 403 && !head.contains("access-control-allow"), "{head}");
    let (status, head, _) = site.raw(&plain("OPTIONS", "/mcp", "")).await.unwrap();
    assert!(status == 405 && !head.contains("access-control-allow"), "no page asks: {head}");
    site.end().await;
}

#[tokio::test]
async fn a_request_cannot_hide_in_the_body_of_another() {
    let site = Site::open("").await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "who"}).to_string();
    let hidden = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let length = format!("Content-Length: {}", body.len());
    let head = |more: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, \
             text/event-stream\r\n{more}\r\n\r\n"
        )
    };
    for (lines, payload) in [
        (format!("{length}\r\nContent-Length: {}", body.len() + hidden.len()), &body),
        (format!("Content-Length: {}, {}", body.len(), body.len() + hidden.len()), &body),
        (String::from("Content-Length: +5"), &body),
        (String::from("Transfer-Encoding: chunked, identity"), &chunked),
        (String::from("Transfer-Encoding: xchunked"), &chunked),
        (format!("X-Folded: a\r\n {length}"), &body),
        (format!("{length}\r\nTransfer-Encoding : chunked"), &chunked),
        (format!("{length}\r\nX-Null: a\0b"), &body),
    ] {
        let (status, _, rest) = site.raw(&format!("{}{payload}{hidden}", head(&lines))).await.unwrap();
        assert!((400..500).contains(&status), "{lines}: {status}");
        assert!(!rest.contains("ready"), "{lines}: a second answer came: {rest}");
    }
    assert!(site.server.peers.lock().unwrap().is_empty(), "none of them was a message");
    // one that is in order is answered, and what follows a body in pieces is not read
    for lines in [
        String::from("Transfer-Encoding: chunked"),
        String::from("Transfer-Encoding: chunked\r\nContent-Length: 3"),
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked", chunked.len() + hidden.len()),
    ] {
        let (status, answered, rest) = site.raw(&format!("{}{chunked}{hidden}", head(&lines))).await.unwrap();
        assert!(
            status == 400 || (status == 200 && answered.contains("connection: close")),
            "{lines}: {answered}"
        );
        assert!(!rest.contains("ready"), "{lines}: {rest}");
    }
    site.end().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_in_the_file_system_is_its_owners_alone() {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mcp.sock");
    let config = Config { listen: Some(format!("unix:{}", path.display())), ..Config::default() };
    let site = Site::with(config.clone(), Arc::new(NoAuth::new())).await;
    let about = std::fs::symlink_metadata(&path).unwrap();
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left there");
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let (status, _, body) = soon(whole(&mut stream, &post("/mcp", &[], "who", json!({})))).await.unwrap();
    assert!(status == 200 && body.contains("anonymous"), "{body}");

    let taken = bind(&config, true).await.map(|_| ()).unwrap_err();
    assert!(taken.message().contains("another program answers there"), "{taken}");
    site.end().await;
    assert!(!path.exists(), "gone with its server");
    // a server that was killed left one behind; a file is not taken for one
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    drop(bind(&config, true).await.unwrap());
    std::fs::write(&path, "mine").unwrap();
    assert!(bind(&config, true).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test]
async fn who_sends_half_a_head_is_cut_off_and_others_are_served() {
    let site = Site::open("header_timeout = 1").await;
    let mut slow = TcpStream::connect(site.address).await.unwrap();
    slow.write_all(b"POST /mcp HTTP/1.1\r\nHost: lo").await.unwrap();
    assert_eq!(site.ask(&[]).await.0, 200);
    let mut rest = Vec::new();
    let _ = soon(slow.read_to_end(&mut rest)).await;
    assert!(!String::from_utf8_lossy(&rest).contains("200"));
    site.end().await;
}
