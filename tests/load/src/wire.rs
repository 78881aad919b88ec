//! As much HTTP/1.1 as the load needs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::Failure;

const REVISION: &str = "2026-07-28";
/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the server is, and how to be let in.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    path: Arc<str>,
    key: Arc<str>,
}

impl Target {
    pub fn new(url: &str, key: &str) -> Result<Self, Failure> {
        let rest = url.strip_prefix("http://").ok_or("the address has to begin with http://")?;
        let (address, path) = rest.split_once('/').ok_or("the address has no path")?;
        Ok(Self { address: address.parse()?, path: format!("/{path}").into(), key: key.into() })
    }

    /// Returns the bytes of a request.
    pub fn request(&self, method: &str, name: Option<&str>, mut params: Value) -> Vec<u8> {
        let mut meta = json!({
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientInfo": {"name": "load", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        if name.is_some() {
            meta["progressToken"] = json!(1);
        }
        params["_meta"] = meta;
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let name = name.map(|name| format!("Mcp-Name: {name}\r\n")).unwrap_or_default();
        let mut text = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {REVISION}\r\n\
             Mcp-Method: {method}\r\n{name}Content-Length: {}\r\n\r\n",
            self.path,
            self.address,
            self.key,
            body.len()
        );
        text.push_str(&body);
        text.into_bytes()
    }

    /// Returns the bytes of a tool call.
    pub fn call(&self, tool: &str, arguments: &Value) -> Vec<u8> {
        self.request("tools/call", Some(tool), json!({"name": tool, "arguments": arguments}))
    }

    /// Connects; `window` keeps the kernel from reading ahead for a client that does not read.
    pub async fn connect(&self, window: Option<u32>) -> Result<Connection, Failure> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let socket = TcpSocket::from_std_stream(socket.into());
        if let Some(bytes) = window {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = tokio::time::timeout(PATIENCE, socket.connect(self.address)).await??;
        Ok(Connection { stream, buffer: Vec::new() })
    }
}

/// One connection, and what was read from it and not used yet.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Ends the connection with a reset instead of a farewell.
    pub fn reset_at_the_end(&self) -> Result<(), Failure> {
        Ok(SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?)
    }

    /// Reads what there is, at most `most` bytes, and throws it away. None at the end.
    pub async fn waste(&mut self, most: usize) -> Result<Option<usize>, Failure> {
        let mut bytes = vec![0; most];
        let read = self.stream.read(&mut bytes).await?;
        Ok((read > 0).then_some(read))
    }

    async fn more(&mut self) -> Result<(), Failure> {
        match tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await?? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }

    async fn line(&mut self) -> Result<String, Failure> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let rest = self.buffer.split_off(end + 2);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.more().await?;
        }
    }

    async fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Failure> {
        while self.buffer.len() < count {
            self.more().await?;
        }
        let rest = self.buffer.split_off(count);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Reads a head: the status, and the body's length unless it comes in chunks.
    pub async fn head(&mut self) -> Result<(u16, Option<usize>), Failure> {
        let status = self.line().await?;
        let status = status.split(' ').nth(1).ok_or("there is no status")?.parse()?;
        let mut length = None;
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            if line.is_empty() {
                return Ok((status, length));
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse()?);
            }
        }
    }

    /// Reads one chunk of a body that comes in chunks; None after the last.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let size = usize::from_str_radix(&self.line().await?, 16)?;
        let bytes = self.bytes(size).await?;
        self.bytes(2).await?;
        Ok((size > 0).then_some(bytes))
    }

    /// Reads a whole answer.
    pub async fn answer(&mut self) -> Result<(u16, Vec<u8>), Failure> {
        let (status, length) = self.head().await?;
        if let Some(length) = length {
            return Ok((status, self.bytes(length).await?));
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}

/// Whether a text is somewhere in these bytes.
pub fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
