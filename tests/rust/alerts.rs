//! Detectors on a log played back, and the ways to those who are told.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bartizan::alerts::{Alert, Burst, Config, Detectors, Watcher};
use bartizan::audit::{
    AnchorConfig, Anchors, Audit, Config as AuditConfig, Event, FaultKind, Finish, Known, Record, Step,
    verify,
};
use bartizan::clock::{ManualClock, SystemClock};
use bartizan::json::{Value, json};
use bartizan::redaction::{self, Redactor};
use bartizan::relay::{Anchor, Means, Message, Relay, Severity};
use bartizan::secret::Secret;
use bartizan::telemetry::Destination;
use tokio::io::AsyncReadExt as _;

use super::loopback::{Upstream, answer, soon};

/// Seconds after the beginning of a Tuesday.
fn at(seconds: u64) -> String {
    bartizan::clock::rfc3339(Duration::from_secs(1_700_006_400 + seconds))
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[derive(Default)]
struct Log {
    lines: Vec<(u64, String)>,
    calls: u64,
}

impl Log {
    fn line(&mut self, second: u64, mut line: Value) {
        line["time"] = at(second).into();
        self.lines.push((second, line.to_string()));
    }

    fn call(&mut self, second: u64, who: &str, tool: &str, effect: &str, more: Value) {
        self.calls += 1;
        let id = self.calls.to_string();
        let mut intent = json!({"kind": "intent", "id": id, "principal": who, "tool": tool, "effect": effect,
            "address": "192.0.2.1", "arguments": {"name": "x"}});
        let mut outcome = json!({"kind": "outcome", "id": id, "principal": who, "tool": tool, "effect": effect,
            "step": "redacted", "result": "ok"});
        for (name, value) in more.as_object().unwrap() {
            let line =
                if ["address", "arguments"].contains(&name.as_str()) { &mut intent } else { &mut outcome };
            line[name] = value.clone();
        }
        self.line(second, intent);
        self.line(second, outcome);
    }

    fn event(&mut self, second: u64, event: &str, detail: Value) {
        self.line(second, json!({"kind": "event", "event": event, "detail": detail}));
    }

    fn play(mut self, config: &Config) -> Vec<Alert> {
        self.lines.sort_by_key(|(second, _)| *second);
        let mut detectors = Detectors::new(config).unwrap();
        self.lines.iter().flat_map(|(_, line)| detectors.see(line)).collect()
    }
}

/// Three days of ordinary work: two callers, each with its tools, its address, its hours; now and then a typo in a key.
fn baseline() -> Log {
    let mut log = Log::default();
    for day in 0..3 {
        for hour in 8..18 {
            let start = day * DAY + hour * HOUR;
            for call in 0..40 {
                log.call(start + call * 60, "key:ann", "widgets_list", "read", json!({}));
                if call % 10 == 0 {
                    log.call(start + call * 60, "key:ann", "widget_update", "write", json!({}));
                    let denied = json!({"step": "validated", "event": "denied"});
                    log.call(start + call * 60, "key:bot", "widget_delete", "destroy", denied);
                }
                log.call(
                    start + call * 60 + 5,
                    "key:bot",
                    "ports_list",
                    "read",
                    json!({"address": "192.0.2.9"}),
                );
            }
            log.event(start, "authentication failed", json!({"peer": "192.0.2.1:5000"}));
            log.call(
                start + 30,
                "key:bot",
                "ports_list",
                "read",
                json!({"upstream": "x", "upstream_status": 429}),
            );
        }
    }
    log
}

fn config() -> Config {
    Config {
        hours: Some(String::from("08:00-18:00")),
        critical: vec![String::from("zone_*"), String::from("www.example.com")],
        ..Config::default()
    }
}

fn names(alerts: &[Alert]) -> Vec<(&str, &str, &str)> {
    alerts.iter().map(|alert| (alert.detector, alert.subject.as_str(), alert.what.as_str())).collect()
}

#[test]
fn ordinary_work_raises_no_alert() {
    assert_eq!(names(&baseline().play(&config())), []);
}

#[test]
fn each_incident_is_told_once() {
    let day = 2 * DAY + 12 * HOUR + 1800;
    type Act = fn(&mut Log, u64);
    let incidents: &[(Act, (&str, &str, &str))] = &[
        (
            |log, day| {
                (0..50).for_each(|n| {
                    log.event(day + n, "authentication failed", json!({"peer": "203.0.113.5:1"}))
                });
            },
            ("failed_authentications", "203.0.113.5", ""),
        ),
        (
            |log, day| {
                (0..80).for_each(|n| log.call(day + n / 2, "key:ann", "widget_update", "write", json!({})))
            },
            ("write_burst", "key:ann", ""),
        ),
        (
            |log, day| {
                let denied = json!({"step": "validated", "event": "denied"});
                (0..60)
                    .for_each(|n| log.call(day + n, "key:bot", "widget_delete", "destroy", denied.clone()));
            },
            ("denials", "key:bot", ""),
        ),
        (
            |log, day| {
                let busy = json!({"upstream": "equinix", "upstream_status": 429});
                (0..50).for_each(|n| log.call(day + n, "key:bot", "ports_list", "read", busy.clone()));
            },
            ("upstream_limits", "equinix", ""),
        ),
        (
            |log, day| log.call(day, "key:ann", "widgets_list", "read", json!({"address": "198.51.100.4"})),
            ("new_address", "key:ann", "198.51.100.4"),
        ),
        (
            |log, day| (0..3).for_each(|n| log.call(day + n, "key:bot", "users_list", "read", json!({}))),
            ("new_tool", "key:bot", "users_list"),
        ),
        (
            |log, day| log.call(day + 12 * HOUR, "key:ann", "widget_update", "write", json!({})),
            ("off_hours", "key:ann", "widget_update"),
        ),
        (
            |log, day| {
                let about = json!({"arguments": {"deep": [{"host": "www.example.com"}]}});
                log.call(day, "key:ann", "widget_update", "write", about);
            },
            ("critical", "key:ann", "www.example.com"),
        ),
        (
            |log, day| (0..700).for_each(|n| log.call(day + n, "key:bot", "ports_list", "read", json!({}))),
            ("volume", "key:bot", ""),
        ),
        (
            |log, day| {
                (0..3).for_each(|n| log.event(day + n, "circuit opened", json!({"upstream": "equinix"})))
            },
            ("event", "equinix", "circuit opened"),
        ),
    ];
    for (act, told) in incidents {
        let mut log = baseline();
        act(&mut log, day);
        assert_eq!(names(&log.play(&config())), [*told]);
    }
    let mut log = baseline();
    log.call(day, "key:ann", "zone_delete", "destroy", json!({}));
    let all = log.play(&config());
    let found = names(&all);
    assert!(found.contains(&("critical", "key:ann", "zone_delete")), "{found:?}");
    // what was refused changed nothing
    let mut log = baseline();
    log.call(day, "key:ann", "zone_delete", "destroy", json!({"step": "permitted"}));
    assert_eq!(names(&log.play(&config())), []);
}

#[test]
fn an_incident_is_told_again_only_after_it_was_quiet() {
    let mut log = Log::default();
    let config = Config { failed_authentications: Burst { count: 3, seconds: 60 }, ..Config::default() };
    let mut fail = |second: u64| log.event(second, "authentication failed", json!({"peer": "203.0.113.5:1"}));
    (0..100).for_each(|minute| (0..3).for_each(|n| fail(minute * 60 + n)));
    (0..3).for_each(|n| fail(100 * 60 + 1000 + n));
    assert_eq!(log.play(&config).len(), 2);
}

#[test]
fn whoever_makes_up_callers_and_lines_makes_nothing_grow_or_panic() {
    let mut detectors = Detectors::new(&config()).unwrap();
    for number in 0..20_000 {
        let line = json!({"kind": "outcome", "time": at(number), "id": number.to_string(),
            "principal": format!("key:{number}"), "tool": format!("t{number}"), "effect": "write", "step": "executed"});
        detectors.see(&line.to_string());
    }
    for line in
        ["", "{", "[]", "{\"kind\":\"outcome\"}", "{\"kind\":7,\"time\":\"x\"}", "{\"time\":\"9999-99\"}"]
    {
        assert!(detectors.see(line).is_empty());
    }
    assert!(
        Detectors::new(&Config { hours: Some(String::from("nine to five")), ..Config::default() }).is_err()
    );
}

fn redactor() -> Redactor {
    Redactor::new(&redaction::Config::default()).unwrap()
}

fn means(egress: bartizan::http::Config) -> Means {
    Means {
        egress,
        redactor: redactor(),
        clock: SystemClock::shared(),
        secrets: bartizan::vault::Keeper::default(),
    }
}

const KEY: &str = "correct-horse-battery-staple-9";

fn key_file(folder: &Path) -> String {
    use std::io::Write as _;
    let path = folder.join("hook.key");
    let mut options = fs::OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .unwrap()
        .write_all(KEY.as_bytes())
        .unwrap();
    format!("file:{}", path.display())
}

fn open_audit(folder: &Path, config: AuditConfig) -> Arc<Audit> {
    let config = AuditConfig { state: folder.to_path_buf(), ..config };
    Audit::open(&config, redactor(), SystemClock::shared()).unwrap()
}

#[tokio::test]
async fn an_alert_reaches_a_webhook_signed_once_after_a_failure_and_without_secrets() {
    use hmac::{KeyInit as _, Mac as _};
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, before| answer(if before == 0 { 500 } else { 204 }, "")).await;
    let to = vec![Destination::Webhook {
        url: upstream.url("/hook").to_string(),
        secret: key_file(folder.path()),
    }];
    let config =
        Config { to, failed_authentications: Burst { count: 3, seconds: 3600 }, ..Config::default() };
    let audit = open_audit(folder.path(), AuditConfig::default());
    let means = means(bartizan::http::Config { retries: 0, ..upstream.egress() });
    let secret = Secret::new("ghp_16C7e42F292c6912E7710c838347Ae178B4a");
    means.redactor.learn(&secret, "test");
    let watcher = Watcher::open(&config, means, audit.path()).unwrap();
    watcher.notes_in(&audit);
    audit.copy_to(watcher.clone());
    for _ in 0..10 {
        let peer = format!("{}:1", secret.expose());
        audit
            .event(Event::AuthenticationFailed, &json!({"peer": peer, "what": "unknown key"}))
            .await
            .unwrap();
    }
    soon(async {
        while upstream.count("/hook") < 2 {
            upstream.arrived.notified().await;
        }
    })
    .await;
    watcher.end(Duration::from_secs(5)).await;
    let seen = upstream.seen();
    assert_eq!(seen.len(), 2, "one that failed, one that did not, and no more for the same incident");
    let got = &seen[1];
    let body = String::from_utf8(got.body.clone()).unwrap();
    assert!(!body.contains(secret.expose()) && !body.contains(KEY));
    let told = &got.json()["messages"][0];
    assert_eq!(
        (&told["kind"], &told["body"]["detector"]),
        (&json!("alert"), &json!("failed_authentications"))
    );
    let signed =
        format!("{}.{}.{body}", got.header("webhook-id").unwrap(), got.header("webhook-timestamp").unwrap());
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    let signature = data_encoding::BASE64.encode(&mac.finalize().into_bytes());
    assert_eq!(got.header("webhook-signature").unwrap(), format!("v1,{signature}"));
    audit.close();
    let text = fs::read_to_string(audit.path()).unwrap();
    assert_eq!(text.matches("\"event\":\"alert\"").count(), 1, "and it is in the audit");
}

fn message() -> Message {
    let body = json!({"note": "hello\nworld"});
    Message::new("test", Severity::Warning, body, &redactor(), Duration::from_secs(1_700_000_000))
}

fn is_syslog(line: &str) {
    let start = "<84>1 2023-11-14T22:13:20.000Z - bartizan ";
    assert!(line.starts_with(start) && !line.contains('\n'), "{line}");
    let json: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    assert_eq!(json["body"]["note"], "hello\nworld");
}

#[tokio::test]
async fn syslog_gets_one_line_by_each_way() {
    let folder = tempfile::tempdir().unwrap();
    let means = means(bartizan::http::Config::default());
    let open = |address: String, ca_file: Option<PathBuf>| {
        Relay::open(&Destination::Syslog { address, ca_file }, &means).unwrap()
    };
    let mut buffer = vec![0; 4096];

    let path = folder.path().join("log");
    let unix = tokio::net::UnixDatagram::bind(&path).unwrap();
    open(format!("unix:{}", path.display()), None).send(&[message()]).await.unwrap();
    let length = soon(unix.recv(&mut buffer)).await.unwrap();
    is_syslog(std::str::from_utf8(&buffer[..length]).unwrap());

    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let relay = open(format!("udp:{}", udp.local_addr().unwrap()), None);
    relay.send(&[message()]).await.unwrap();
    let length = soon(udp.recv(&mut buffer)).await.unwrap();
    is_syslog(std::str::from_utf8(&buffer[..length]).unwrap());

    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = open(format!("tcp:{}", tcp.local_addr().unwrap()), None);
    let messages = [message(), message()];
    let (sent, accepted) = tokio::join!(relay.send(&messages), tcp.accept());
    sent.unwrap();
    drop(relay);
    counted(accepted.unwrap().0).await;

    // TLS, by a private authority
    let made = rcgen::generate_simple_self_signed(vec![String::from("localhost")]).unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = open(format!("tls:localhost:{}", listener.local_addr().unwrap().port()), Some(ca));
    let accept = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
    let (sent, stream) = tokio::join!(relay.send(&messages), accept);
    sent.unwrap();
    drop(relay);
    counted(stream).await;
    let address = String::from("tls:localhost:1");
    assert!(
        Relay::open(&Destination::Syslog { address, ca_file: None }, &means).is_err(),
        "TLS needs an authority"
    );
}

/// Two messages with counted octets.
async fn counted(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut got = Vec::new();
    // a relay that is dropped may leave without a farewell
    let _ = soon(stream.read_to_end(&mut got)).await;
    let mut text = std::str::from_utf8(&got).unwrap();
    for _ in 0..2 {
        let (length, rest) = text.split_once(' ').unwrap();
        let (line, rest) = rest.split_at(length.parse().unwrap());
        is_syslog(line);
        text = rest;
    }
    assert_eq!(text, "");
}

async fn call(audit: &Audit, tool: &str) {
    let record =
        Record { principal: "key:ann", method: "tools/call", tool, effect: "read", ..Record::default() };
    let entry = audit.intent(record).await.unwrap();
    entry.reached(Step::Redacted);
    entry.finish(Finish { result: "ok", ..Finish::default() }).await.unwrap();
}

#[tokio::test]
async fn what_an_anchor_was_sent_shows_a_chain_that_was_cut_or_written_anew() {
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    let folder = tempfile::tempdir().unwrap();
    let secret = key_file(folder.path());
    let webhook = Destination::Webhook { url: upstream.url("/hook").to_string(), secret };
    let otlp = Destination::Otlp {
        url: upstream.url("/otlp").to_string(),
        headers: [(String::from("x-api-key"), key_file(folder.path()))].into_iter().collect(),
    };
    for to in [webhook, otlp] {
        let folder = tempfile::tempdir().unwrap();
        let audit = open_audit(folder.path(), AuditConfig { checkpoint_every: 5, ..AuditConfig::default() });
        let config = AnchorConfig { to: vec![to], ..AnchorConfig::default() };
        let anchor = Anchor::open(&config, means(upstream.egress())).unwrap();
        audit.copy_to(anchor.clone());
        let before = upstream.seen().len();
        for number in 0..9 {
            call(&audit, &format!("tool{number}")).await;
        }
        audit.close();
        audit.end_copies(Duration::from_secs(5)).await;
        anchor.end(Duration::from_secs(5)).await;
        let kept = folder.path().join("kept");
        let seen = upstream.seen();
        assert!(seen.len() > before);
        let bodies: Vec<String> =
            seen[before..].iter().map(|seen| String::from_utf8(seen.body.clone()).unwrap()).collect();
        assert!(bodies.iter().all(|body| !body.contains(KEY)));
        // as a syslog daemon would have kept it
        let lines: Vec<String> =
            bodies.iter().map(|body| format!("<85>1 - - bartizan 1 x - {body}\n")).collect();
        fs::write(&kept, lines.concat()).unwrap();
        let anchors = Anchors::read(&kept).unwrap();
        let look = |file: &Path| verify(file, Known { anchors: Some(&anchors), ..Known::default() }).unwrap();
        let report = look(audit.path());
        assert_eq!(report.fault, None);
        assert!(report.anchored >= 3 && report.unproven.is_empty(), "{:?}", report.unproven);
        // cut off, with the checkpoint beside it gone too: only the outside knows
        let whole = fs::read_to_string(audit.path()).unwrap();
        let cut: Vec<&str> = whole.lines().take(12).collect();
        fs::write(audit.path(), cut.join("\n") + "\n").unwrap();
        let _ = fs::remove_file(folder.path().join("audit.jsonl.checkpoint"));
        assert_eq!(verify(audit.path(), None).unwrap().fault, None, "the chain alone cannot show it");
        assert_eq!(look(audit.path()).fault.unwrap().kind, FaultKind::Truncated);
        // written anew by somebody who holds the signing key
        drop(audit);
        fs::remove_file(folder.path().join("audit.jsonl")).unwrap();
        let audit = open_audit(folder.path(), AuditConfig { checkpoint_every: 5, ..AuditConfig::default() });
        for number in 0..20 {
            call(&audit, &format!("other{number}")).await;
        }
        audit.close();
        assert_eq!(verify(audit.path(), None).unwrap().fault, None);
        assert_eq!(look(audit.path()).fault.unwrap().kind, FaultKind::Edited);
    }
    let empty = folder.path().join("empty");
    fs::write(&empty, "nothing\n").unwrap();
    assert!(Anchors::read(&empty).is_err());
}

#[tokio::test]
async fn a_destination_that_is_down_holds_up_no_call() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Duration::from_secs(1_700_000_000));
    let config =
        AuditConfig { state: folder.path().to_path_buf(), checkpoint_every: 2, ..AuditConfig::default() };
    let audit = Audit::open(&config, redactor(), clock).unwrap();
    let to = vec![Destination::Syslog { address: String::from("tcp:127.0.0.1:1"), ca_file: None }];
    let anchor = Anchor::open(
        &AnchorConfig { to, lines: true, ..AnchorConfig::default() },
        means(bartizan::http::Config::default()),
    )
    .unwrap();
    audit.copy_to(anchor.clone());
    soon(async {
        for number in 0..300 {
            call(&audit, &format!("tool{number}")).await;
        }
    })
    .await;
    anchor.end(Duration::from_millis(10)).await;
    audit.close();
    assert_eq!(verify(audit.path(), None).unwrap().calls, 300);
}
