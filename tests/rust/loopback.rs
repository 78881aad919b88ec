//! A scripted upstream on the loopback interface: remembers every request, answers as told, misbehaves on demand.
//!
//! Must not: decide anything; a test says what each request gets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What a request gets.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// An answer.
    Answer { status: u16, headers: Vec<(String, String)>, body: String },
    /// Nothing, until the other side leaves (then [`Upstream::left`] fires).
    Hang,
    /// These bytes as they are, then nothing until the other side leaves.
    RawThenHang(String),
    /// These bytes as they are, then the connection is closed.
    RawThenClose(String),
    /// An endless chunked body.
    Endless,
}

pub(crate) fn answer(status: u16, body: impl ToString) -> Act {
    Act::Answer { status, headers: Vec::new(), body: body.to_string() }
}

pub(crate) fn with_header(act: Act, name: &str, value: &str) -> Act {
    match act {
        Act::Answer { status, mut headers, body } => {
            headers.push((name.to_owned(), value.to_owned()));
            Act::Answer { status, headers, body }
        }
        other => other,
    }
}

type Script = dyn Fn(&Seen, usize) -> Act + Send + Sync;

/// A running upstream; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) arrived: Arc<Notify>,
    pub(crate) left: Arc<Notify>,
}

impl Upstream {
    /// Starts one. The script gets each request and how many came before it.
    pub(crate) async fn start(script: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (seen, arrived, left) = (Arc::default(), Arc::default(), Arc::default());
        let upstream = Self { address, seen, arrived, left };
        let (shared, script): (Self, Arc<Script>) = (upstream.clone(), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone(), Arc::clone(&script)));
            }
        });
        upstream
    }

    pub(crate) fn base(&self) -> url::Url {
        url::Url::parse(&format!("http://{}", self.address)).expect("an address")
    }

    pub(crate) fn url(&self, path: &str) -> url::Url {
        url::Url::parse(&format!("http://{}{path}", self.address)).expect("an address")
    }

    /// An egress configuration that may reach this upstream and nothing else private; without waits for retries.
    pub(crate) fn egress(&self) -> bartizan::http::Config {
        bartizan::http::Config::default().allowing(self.address.to_string())
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path() == path).count()
    }
}

/// Waits for an event, at most a minute.
pub(crate) async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), event).await.expect("it happens soon")
}

async fn serve(mut stream: TcpStream, upstream: Upstream, script: Arc<Script>) {
    let mut buffer = Vec::new();
    while let Some(seen) = read(&mut stream, &mut buffer).await {
        let before = {
            let mut all = upstream.seen.lock().expect("not poisoned");
            all.push(seen.clone());
            all.len() - 1
        };
        upstream.arrived.notify_one();
        match script(&seen, before) {
            Act::Answer { status, headers, body } => {
                let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                if !headers.iter().any(|(name, _)| name == "content-type") {
                    text.push_str("content-type: application/json\r\n");
                }
                for (name, value) in headers {
                    text.push_str(&format!("{name}: {value}\r\n"));
                }
                text.push_str("\r\n");
                text.push_str(&body);
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::Hang => return gone(stream, &upstream).await,
            Act::RawThenHang(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                return gone(stream, &upstream).await;
            }
            Act::RawThenClose(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                return;
            }
            Act::Endless => {
                let head = "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
                upstream.left.notify_one();
                return;
            }
        }
    }
}

/// Waits until the other side leaves.
async fn gone(mut stream: TcpStream, upstream: &Upstream) {
    let mut rest = [0; 64];
    while matches!(stream.read(&mut rest).await, Ok(read) if read > 0) {}
    upstream.left.notify_one();
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let mut lines = head.lines();
            let mut first = lines.next()?.split(' ');
            let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length: usize = length.map_or(0, |(_, value)| value.parse().expect("a length"));
            while buffer.len() < end + 4 + length {
                fill(stream, buffer).await?;
            }
            let body = buffer[end + 4..end + 4 + length].to_vec();
            buffer.drain(..end + 4 + length);
            return Some(Seen { method, target, headers, body });
        }
        fill(stream, buffer).await?;
    }
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 8192];
    let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
    buffer.extend_from_slice(&chunk[..read]);
    Some(())
}
