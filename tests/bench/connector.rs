//! What a call through a connector adds to the request that it makes.
//!
//! `connector-bench upstream PORT MILLISECONDS` answers after that time; `connector-bench ask CONNECTIONS SECONDS URL` asks
//! it with bare reqwest; with a key and the body of a tools/call behind the URL it asks a server instead, which then asks the
//! upstream. Both print one line: calls a second, and the time in microseconds within which half of them were answered.
//! `connector-bench relay PORT URL` only passes each call on with reqwest and puts the answer into a JSON-RPC result: the
//! least that anything between a client and an upstream can add.

#![expect(clippy::print_stdout, reason = "what it is for")]
#![allow(clippy::unwrap_used, reason = "a program to measure with")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use serde_json::{Value, json};

/// Calls that are made before any is counted.
const WARMING: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["upstream", port, millis] => {
            upstream(port.parse().unwrap(), Duration::from_millis(millis.parse().unwrap()));
        }
        ["relay", port, url] => relay(port.parse().unwrap(), url).await,
        ["ask", connections, seconds, url] => {
            ask(connections.parse().unwrap(), seconds.parse().unwrap(), url, None).await;
        }
        ["ask", connections, seconds, url, key, body] => {
            ask(connections.parse().unwrap(), seconds.parse().unwrap(), url, Some((key, body))).await;
        }
        _ => {
            println!(
                "usage: connector-bench upstream PORT MILLISECONDS | relay PORT URL | ask CONNECTIONS SECONDS URL [KEY BODY]"
            );
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Answers each connection on a thread of its own: a runtime's timers would gather the answers of a millisecond.
fn upstream(port: u16, wait: Duration) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for stream in listener.incoming() {
        std::thread::spawn(move || serve(stream.unwrap(), wait));
    }
}

fn serve(mut stream: TcpStream, wait: Duration) {
    stream.set_nodelay(true).unwrap();
    let body = r#"{"id":"w1","name":"a widget","state":"ready","tags":["one","two"],"size":42}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (mut held, mut some) = (Vec::new(), [0; 4096]);
    // requests have no body, and come one at a time
    while let Ok(read @ 1..) = stream.read(&mut some) {
        held.extend_from_slice(&some[..read]);
        if held.ends_with(b"\r\n\r\n") {
            held.clear();
            std::thread::sleep(wait);
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

async fn relay(port: u16, url: &str) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url: Arc<str> = url.into();
    let pass = move |body: Bytes| {
        let (client, url) = (client.clone(), Arc::clone(&url));
        async move {
            let call: Value = serde_json::from_slice(&body).unwrap();
            let answer = client.get(&*url).send().await.unwrap().bytes().await.unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            let text = json!([{"type": "text", "text": answer.to_string()}]);
            json!({"jsonrpc": "2.0", "id": call["id"], "result": {"content": text}}).to_string()
        }
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    axum::serve(listener, axum::Router::new().route("/mcp", axum::routing::post(pass))).await.unwrap();
}

async fn ask(connections: usize, seconds: f64, url: &str, call: Option<(&str, &str)>) {
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(connections).build().unwrap();
    let start = Instant::now();
    let (counted, end) = (start + WARMING, start + WARMING + Duration::from_secs_f64(seconds));
    let one = || {
        let Some((key, body)) = call else { return client.get(url) };
        let request = client.post(url).bearer_auth(key).header(CONTENT_TYPE, "application/json");
        let request = request.header("accept", "application/json, text/event-stream");
        let request = request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", "tools/call");
        let named: serde_json::Value = serde_json::from_str(body).unwrap();
        request.header("mcp-name", named["params"]["name"].as_str().unwrap()).body(body.to_owned())
    };
    let askers: Vec<_> = (0..connections)
        .map(|_| {
            let request = one();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < end {
                    let begun = Instant::now();
                    let answer = request.try_clone().unwrap().send().await.unwrap();
                    assert!(answer.status().is_success(), "answered with {}", answer.status());
                    let text = answer.text().await.unwrap();
                    assert!(text.contains("a widget") && !text.contains("\"isError\":true"), "{text}");
                    if begun >= counted {
                        times.push(begun.elapsed());
                    }
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for asker in askers {
        times.extend(asker.await.unwrap());
    }
    times.sort_unstable();
    let half = times[times.len() / 2].as_micros();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = times.len() as f64 / seconds;
    println!("{rate:.0} {half}");
}
