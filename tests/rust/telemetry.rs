//! What the process says of itself to Prometheus and to an OpenTelemetry receiver.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bartizan::app::{App, Extra};
use bartizan::config::Config;
use bartizan::json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::loopback::{Act, Upstream, answer, soon};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CANARY: &str = "canary-9f3b1c77d2";
const TOKEN: &str = "otlp-token-5d1f9c3b7a2e";

const DOCUMENT: &str = r#"{"openapi": "3.0.3", "info": {"title": "w", "version": "1"}, "paths": {"/widgets/{id}": {"get": {
  "operationId": "widget_get", "parameters": [{"name": "id", "in": "path", "required": true,
  "schema": {"type": "string"}}], "responses": {"200": {"description": "ok", "content": {"application/json": {}}}}}}}}"#;

async fn app(folder: &tempfile::TempDir, upstream: &Upstream, telemetry: &str) -> Arc<App> {
    let document = folder.path().join("w.json");
    fs::write(&document, DOCUMENT).unwrap();
    let text = format!(
        "state_dir = {:?}\ndiagnostics = true\n[egress]\nallow_private = [\"{}\"]\nretries = 0\n[[openapi]]\nfile = {document:?}\n\
         base_url = \"{}\"\n[telemetry]\n{telemetry}",
        folder.path().join("state"),
        upstream.address,
        upstream.url(""),
    );
    App::build(Config::parse(&text, "test").unwrap(), Extra::default()).await.unwrap()
}

async fn call(app: &App, tool: &str, arguments: Value) -> bool {
    let mut context = app.context();
    let meta = json!({"traceparent": format!("00-{TRACE}-00f067aa0ba902b7-01"), "baggage": format!("secret={CANARY}")});
    context.meta = Some(Arc::new(meta.as_object().unwrap().clone()));
    let arguments: Map<String, Value> = arguments.as_object().unwrap().clone();
    app.call(tool, arguments, &context).await.is_ok()
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

async fn scrape(app: &App) -> String {
    let mut stream =
        tokio::net::TcpStream::connect(app.open_metrics().await.unwrap().unwrap()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    soon(stream.read_to_string(&mut text)).await.unwrap();
    text
}

#[tokio::test]
async fn prometheus_counts_kinds_of_things_and_never_what_was_in_them() {
    let body = format!("{{\"note\": \"ghp_{}\"}}", "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1bC3");
    let upstream =
        Upstream::start(move |_, before| answer(if before == 0 { 200 } else { 429 }, body.clone())).await;
    let folder = tempfile::tempdir().unwrap();
    let app = app(&folder, &upstream, "metrics_listen = \"127.0.0.1:0\"").await;
    assert!(call(&app, "widget_get", json!({"id": CANARY})).await);
    call(&app, "widget_get", json!({"id": CANARY})).await;
    assert!(!call(&app, "widget_get", json!({"nope": 1})).await);
    assert!(!call(&app, CANARY, json!({})).await);
    let text = scrape(&app).await;
    for line in [
        "bartizan_calls_total{tool=\"widget_get\",effect=\"read\",outcome=\"ok\"} 1",
        "bartizan_calls_total{tool=\"widget_get\",effect=\"read\",outcome=\"tool_error\"} 1",
        "bartizan_refusals_total{reason=\"BadArguments\"} 1",
        "status=\"429\"} 1",
        "bartizan_redactions_total{kind=\"github\"} ",
        "bartizan_upstream_circuit{",
        "bartizan_upstream_in_flight{",
        "bartizan_audit_calls_running 0",
        "bartizan_audit_write_failures 0",
        "bartizan_approvals_pending 0",
        "bartizan_security_events_total",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains(CANARY) && !text.contains("principal"), "{text}");
    assert!(upstream.seen().iter().all(|seen| seen.header("traceparent").is_none()), "nobody traces");
    app.close().await.unwrap();
}

#[tokio::test]
async fn the_page_of_metrics_is_for_this_machine_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        format!("state_dir = {:?}\n[telemetry]\nmetrics_listen = \"0.0.0.0:0\"", folder.path().join("state"));
    let refused = App::build(Config::parse(&text, "test").unwrap(), Extra::default()).await.err().unwrap();
    assert!(refused.message().contains("loopback"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_leave_the_page_of_metrics_to_the_server_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let text = |listen: &str| {
        let state = folder.path().join("state");
        format!("state_dir = {state:?}\ndiagnostics = true\n[telemetry]\nmetrics_listen = \"{listen}\"\n")
    };
    let app =
        App::build(Config::parse(&text("127.0.0.1:0"), "test").unwrap(), Extra::default()).await.unwrap();
    let address = app.open_metrics().await.unwrap().unwrap();
    assert_eq!(app.open_metrics().await.unwrap(), Some(address), "it is one page");
    let file = folder.path().join("bartizan.toml");
    let same = text(&address.to_string());
    fs::write(&file, &same).unwrap();
    for words in [
        &["tools"][..],
        &["check"],
        &["call", "echo", r#"{"message": "hello"}"#],
        &["policy", "explain", "local:ann", "echo"],
        &["policy", "check"],
    ] {
        let config = ["--config", file.to_str().unwrap()];
        let all: Vec<std::ffi::OsString> =
            [&["bartizan"][..], words, &config].concat().iter().map(Into::into).collect();
        let code = tokio::task::spawn_blocking(move || bartizan::cli::main(all, None)).await.unwrap();
        assert_eq!(code, 0, "{words:?}");
    }
    assert!(scrape(&app).await.contains("bartizan_"), "and it is there still");
    // a second server needs a page of its own
    let other = App::build(Config::parse(&same, "test").unwrap(), Extra::default()).await.unwrap();
    let refused = other.open_metrics().await.unwrap_err();
    assert!(refused.message().contains("metrics_listen"), "{refused}");
    app.close().await.unwrap();
    other.close().await.unwrap();
}

#[cfg(feature = "otlp")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_gets_spans_and_metrics_by_their_conventions_and_no_secret() {
    use std::os::unix::fs::OpenOptionsExt as _;
    let upstream = Upstream::start(|seen, _| match seen.path() {
        "/v1/traces" | "/v1/metrics" => answer(200, ""),
        _ => answer(200, "{\"name\": \"w\"}"),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&token).unwrap();
    std::io::Write::write_all(&mut file, TOKEN.as_bytes()).unwrap();
    let telemetry = format!(
        "otlp_endpoint = \"{}\"\notlp_headers = {{ x-api-key = \"file:{}\" }}\nseconds = 1",
        upstream.base().as_str().trim_end_matches('/'),
        token.display()
    );
    let app = app(&folder, &upstream, &telemetry).await;
    assert!(call(&app, "widget_get", json!({"id": CANARY})).await);
    assert!(!call(&app, "widget_get", json!({"nope": 1})).await);
    tokio::time::timeout(Duration::from_secs(20), app.close()).await.unwrap().unwrap();
    let seen = upstream.seen();
    let of = |path: &str| -> Vec<u8> {
        seen.iter().filter(|seen| seen.path() == path).flat_map(|seen| seen.body.clone()).collect()
    };
    let (traces, metrics) = (of("/v1/traces"), of("/v1/metrics"));
    let trace = data_encoding::HEXLOWER.decode(TRACE.as_bytes()).unwrap();
    for wanted in [
        &b"tools/call widget_get"[..],
        b"mcp.method.name",
        b"gen_ai.tool.name",
        b"execute_tool",
        b"mcp.protocol.version",
        b"validate",
        b"execute",
        b"redact",
        b"http.response.status_code",
        b"BadArguments",
        b"error.type",
        &trace,
    ] {
        assert!(holds(&traces, wanted), "{}", String::from_utf8_lossy(wanted));
    }
    for wanted in [&b"mcp.server.operation.duration"[..], b"http.client.request.duration", b"BadArguments"] {
        assert!(holds(&metrics, wanted), "{}", String::from_utf8_lossy(wanted));
    }
    for secret in [CANARY.as_bytes(), TOKEN.as_bytes(), b"process"] {
        assert!(!holds(&traces, secret) && !holds(&metrics, secret), "{}", String::from_utf8_lossy(secret));
    }
    assert!(seen.iter().filter(|seen| seen.path().starts_with("/v1/")).all(|seen| {
        seen.header("x-api-key") == Some(TOKEN)
            && seen.header("content-type") == Some("application/x-protobuf")
    }));
    // the upstream is told the trace, and nothing a caller made up beside it
    let asked = seen.iter().find(|seen| seen.path().starts_with("/widgets/")).unwrap();
    let told = asked.header("traceparent").unwrap();
    assert!(told.starts_with(&format!("00-{TRACE}-")) && !told.contains("00f067aa0ba902b7"), "{told}");
    assert!(asked.header("baggage").is_none() && asked.header("tracestate").is_none());
    // the audit names the same trace
    let audit = fs::read_to_string(app.audit().path()).unwrap();
    assert!(audit.contains(&format!("\"trace\":\"{TRACE}\"")));
}

#[cfg(feature = "otlp")]
#[tokio::test]
async fn a_receiver_that_is_down_holds_up_no_call() {
    let upstream = Upstream::start(|_, _| Act::Hang).await;
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("otlp_endpoint = \"{}\"", upstream.base().as_str().trim_end_matches('/'));
    let app = app(&folder, &upstream, &endpoint).await;
    let started = std::time::Instant::now();
    for _ in 0..100 {
        assert!(call(&app, "whoami", json!({})).await);
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}
