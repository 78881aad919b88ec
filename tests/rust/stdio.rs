//! Lines in, lines out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bartizan::json::{Bounds, Value, json};
use bartizan::transport::stdio::{Settings, serve};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::scripted::{Scripted, local, within};

struct Wire {
    lines: BufReader<ReadHalf<DuplexStream>>,
    input: Option<WriteHalf<DuplexStream>>,
    server: Arc<Scripted>,
    shutdown: CancellationToken,
    done: JoinHandle<()>,
}

fn open(settings: Settings) -> Wire {
    let (ours, theirs) = tokio::io::duplex(16 << 10);
    let (reader, writer) = tokio::io::split(theirs);
    let server = Arc::new(Scripted::default());
    let shutdown = CancellationToken::new();
    let (handler, stop) = (server.clone(), shutdown.clone());
    let done = tokio::spawn(async move {
        serve(reader, writer, handler, &settings, stop, local()).await.unwrap();
    });
    let (read, write) = tokio::io::split(ours);
    Wire { lines: BufReader::new(read), input: Some(write), server, shutdown, done }
}

fn request(id: u64, method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string() + "\n"
}

impl Wire {
    async fn say(&mut self, text: &str) {
        within(self.input.as_mut().unwrap().write_all(text.as_bytes())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        within(self.lines.read_line(&mut line)).await.unwrap();
        serde_json::from_str(&line).expect("every line is one message")
    }

    /// Ends the input for good.
    async fn end(&mut self) {
        self.input.take().unwrap().shutdown().await.unwrap();
    }
}

// proves: stdio-one-line
#[tokio::test]
async fn a_burst_is_answered_one_line_each() {
    let mut wire = open(Settings::default());
    let burst: String = (0..500).map(|id| request(id, "echo", json!({"text": "a\nb"}))).collect();
    let mut input = wire.input.take().unwrap();
    let writing = tokio::spawn(async move {
        input.write_all(burst.as_bytes()).await.unwrap();
        input
    });
    let mut seen = Vec::new();
    for _ in 0..500 {
        let answer = wire.hear().await;
        assert_eq!(answer["result"]["text"], "a\nb");
        seen.push(answer["id"].as_u64().unwrap());
    }
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
    wire.input = Some(writing.await.unwrap());
    wire.end().await;
    within(wire.done).await.unwrap();
    assert_eq!(wire.server.closed.count(), 1);
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_the_conversation_goes_on() {
    let mut wire = open(Settings { bounds: Bounds { size: 1000, depth: 64 }, ..Settings::default() });
    wire.say("hello\n\n  \r\n").await;
    assert_eq!(wire.hear().await["error"]["code"], -32700);
    wire.say("{\"a\":1,\"a\":2}\n").await;
    assert_eq!(wire.hear().await["error"]["code"], -32700);
    wire.say(&("[".repeat(999) + "\n")).await;
    assert_eq!(wire.hear().await["error"]["code"], -32700);
    wire.say("17\n").await;
    assert_eq!(wire.hear().await["error"]["code"], -32600);
    // Much longer than the limit, and than what is read at once: one answer.
    wire.say(&("x".repeat(300_000) + "\n")).await;
    assert_eq!(wire.hear().await["error"]["code"], -32700);
    wire.say(&request(1, "echo", json!({}))).await;
    assert_eq!(wire.hear().await["id"], 1);
}

#[tokio::test]
async fn a_handler_that_panics_is_answered_and_the_conversation_goes_on() {
    let mut wire = open(Settings::default());
    wire.say(&(request(7, "panic", json!({})) + &request(8, "echo", json!({})))).await;
    let first = wire.hear().await;
    assert_eq!((&first["id"], &first["error"]["code"]), (&json!(7), &json!(-32603)));
    assert_eq!(wire.hear().await["id"], 8);
}

#[tokio::test]
async fn slow_requests_hold_up_nobody_and_only_so_many_run() {
    let mut wire = open(Settings { in_flight: 2, ..Settings::default() });
    for id in 1..=3 {
        wire.say(&request(id, "gated", json!({}))).await;
    }
    // A notification is never kept waiting: it may be what a request waits for.
    wire.say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n").await;
    wire.server.noticed.seen().await;
    assert_eq!(wire.server.started.count(), 2, "the third waits for a place");
    wire.server.gate.happens();
    wire.hear().await;
    for _ in 0..3 {
        wire.server.started.seen().await;
    }
    wire.server.gate.happens();
    wire.server.gate.happens();
    wire.hear().await;
    wire.hear().await;
}

#[tokio::test]
async fn what_is_sent_on_the_way_comes_before_the_answer() {
    let mut wire = open(Settings::default());
    wire.say(&request(1, "flood", json!({"count": 3}))).await;
    for number in 0..3 {
        assert_eq!(wire.hear().await["params"]["n"], number);
    }
    assert_eq!(wire.hear().await["id"], 1);
}

// proves: stdio-bounded
#[tokio::test]
async fn a_reader_that_stops_costs_a_bounded_amount() {
    let mut wire = open(Settings { queue_bytes: 100_000, ..Settings::default() });
    wire.say(&request(1, "flood", json!({"count": 10_000, "size": 1000, "gated": true}))).await;
    wire.server.started.seen().await;
    let accepted = wire.server.accepted.load(Ordering::SeqCst);
    assert!((50..=100).contains(&accepted), "{accepted} were kept, the others dropped");

    // Nor are more and more requests read: their answers would have to be kept.
    let mut input = wire.input.take().unwrap();
    let text = request(2, "echo", json!({"text": "y".repeat(10_000)}));
    let mut written = 0;
    while let Ok(result) =
        tokio::time::timeout(Duration::from_millis(300), input.write_all(text.as_bytes())).await
    {
        result.unwrap();
        written += text.len();
        assert!(written < 64 << 20, "somebody keeps it all");
    }
    assert!(written < 4 << 20, "{written} bytes were taken");

    // Once it reads again, everything that was kept arrives.
    wire.server.gate.happens();
    let mut notices = 0;
    loop {
        let message = wire.hear().await;
        notices += usize::from(message.get("method").is_some());
        if message["id"] == 1 {
            break;
        }
    }
    assert_eq!(notices, accepted);
    drop(input);
}

// proves: stdio-end
#[tokio::test]
async fn the_end_of_the_input_lets_running_requests_finish() {
    let mut wire = open(Settings::default());
    wire.say(&request(1, "gated", json!({}))).await;
    wire.server.started.seen().await;
    // The last line needs no end.
    wire.say(request(2, "echo", json!({})).trim_end()).await;
    wire.end().await;
    assert_eq!(wire.hear().await["id"], 2);
    wire.server.closed.seen().await;
    wire.server.gate.happens();
    assert_eq!(wire.hear().await["id"], 1);
    within(wire.done).await.unwrap();
}

#[tokio::test]
async fn the_conversation_is_closed_after_the_last_request_has_started() {
    let mut wire = open(Settings { in_flight: 1, ..Settings::default() });
    wire.say(&(request(1, "gated", json!({})) + &request(2, "gated", json!({})))).await;
    wire.end().await;
    wire.server.started.seen().await;
    wire.server.gate.happens();
    assert_eq!(wire.hear().await["id"], 1);
    wire.server.started.seen().await;
    wire.server.closed.seen().await;
    assert_eq!(wire.server.peers.lock().unwrap().len(), 2);
    wire.server.gate.happens();
    assert_eq!(wire.hear().await["id"], 2);
    within(wire.done).await.unwrap();
}

// proves: stdio-end
#[tokio::test]
async fn requests_that_never_end_are_given_up_after_the_end() {
    for shut_down in [false, true] {
        let mut wire = open(Settings { drain: Duration::from_millis(50), ..Settings::default() });
        wire.say(&request(1, "hang", json!({}))).await;
        wire.server.started.seen().await;
        if shut_down {
            wire.shutdown.cancel();
        } else {
            wire.end().await;
        }
        within(wire.done).await.unwrap();
        wire.server.dropped.seen().await;
        assert!(wire.server.peers.lock().unwrap()[0].gone.is_cancelled());
    }
}

#[tokio::test]
async fn a_peer_that_vanishes_cancels_what_runs() {
    let mut wire = open(Settings::default());
    wire.say(&(request(1, "hang", json!({})) + &request(2, "gated", json!({})))).await;
    wire.server.started.seen().await;
    wire.server.started.seen().await;
    let Wire { lines, input, server, done, .. } = wire;
    drop((lines, input));
    server.gate.happens();
    within(done).await.unwrap();
    server.dropped.seen().await;
}

/// Not a test by itself: what `standard_output_carries_nothing_but_the_protocol` starts.
#[cfg(unix)]
#[test]
#[ignore = "a helper of another test"]
fn serve_the_real_standard_streams() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let wire = bartizan::transport::wire::take().unwrap();
        assert!(bartizan::transport::wire::take().is_err(), "once");
        println!("NOISE of a print");
        let status =
            std::process::Command::new("sh").args(["-c", "cat; echo NOISE of a child"]).status().unwrap();
        assert!(status.success());
        let handler = Arc::new(Scripted::default());
        let settings = Settings::default();
        serve(wire.input, wire.output, handler, &settings, CancellationToken::new(), local()).await.unwrap();
        println!("NOISE at the end");
    });
}

// proves: stdio-only-protocol
#[cfg(unix)]
#[tokio::test]
async fn standard_output_carries_nothing_but_the_protocol() {
    use std::process::Stdio;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stdio::serve_the_real_standard_streams", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(request(1, "echo", json!({"a": 1})).as_bytes()).await.unwrap();
    drop(input);
    let output = within(child.wait_with_output()).await.unwrap();
    let (wire, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    // The test harness greets before the wire is taken; after that there is only the answer.
    let after_greeting: Vec<&str> = wire.lines().skip_while(|line| !line.starts_with('{')).collect();
    assert_eq!(after_greeting, [json!({"jsonrpc": "2.0", "id": 1, "result": {"a": 1}}).to_string()], "{log}");
    assert_eq!(log.matches("NOISE").count(), 3, "{log}");
    assert!(output.status.success(), "{log}");
}
