//! Security events as they come about at a whole server: each trigger leaves one line in the audit, with its facts.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bartizan::audit::Event;
use bartizan::json::{Value, json};

use crate::doors::{Started, exchange, post, started, started_in};
use crate::loopback::{Upstream, answer, soon};
use crate::store::server::{until, within};

const DOCUMENT: &str = r#"{"openapi": "3.1.0", "info": {"title": "acme", "version": "1"}, "paths": {
    "/widgets": {"get": {"operationId": "listWidgets", "responses": {"200": {"description": "fine"}}}}
}}"#;

fn events(server: &Started, event: Event) -> Vec<Value> {
    let lines = server.audited();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == event.name()).collect()
}

/// A server with one tool, `list_widgets`, whose requests go to `base`.
async fn reaching(base: &str, egress: &str) -> Started {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.json"), DOCUMENT).unwrap();
    let text = format!(
        "[egress]\nretries = 0\n{egress}\n[[openapi]]\nfile = 'acme.json'\nbase_url = '{base}'\n[http]\nlisten = \
         '127.0.0.1:0'\ndrain_delay = 0\ndrain = 0.2\n"
    );
    started_in(folder, &text).await
}

async fn list(server: &Started) -> Value {
    let key = std::fs::read_to_string(server.key_file.as_ref().unwrap()).unwrap();
    server.ask(key.trim(), "tools/call", json!({"name": "list_widgets", "arguments": {}})).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_one_event_that_names_who_came() {
    let server = started("").await;
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let peer = stream.local_addr().unwrap();
    let request = post("/mcp", &[("Authorization", "Bearer canary-of-a-key")], "tools/list", json!({}));
    assert_eq!(soon(exchange(stream, &request)).await.unwrap().0, 401);
    within("it is noted", || !events(&server, Event::AuthenticationFailed).is_empty());
    // whoever shows no key at all, or a good one, is none
    let key = std::fs::read_to_string(server.key_file.as_ref().unwrap()).unwrap();
    assert_eq!(server.ask(key.trim(), "tools/list", json!({})).await.0, 200);
    assert_eq!(server.show(&[], "tools/list", json!({})).await.0, 401);
    let audit = server.app.audit().path().to_path_buf();
    let noted = events(&server, Event::AuthenticationFailed);
    let _folder = server.ended().await;
    let whole = std::fs::read_to_string(audit).unwrap();
    assert_eq!(whole.matches("\"authentication failed\"").count(), 1);
    assert_eq!(noted[0]["detail"]["peer"], peer.to_string(), "{}", noted[0]);
    assert!(noted[0]["detail"]["what"].is_string() && !whole.contains("canary-of-a-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_a_forbidden_address_is_one_event_in_the_calls_outcome() {
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    let server = reaching(&format!("https://localhost:{}", upstream.address.port()), "").await;
    let told = list(&server).await;
    assert_eq!(told["result"]["structuredContent"]["error"]["kind"], "Forbidden", "{told}");
    let noted = events(&server, Event::EgressRefused);
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert_eq!((&noted[0]["kind"], &noted[0]["tool"]), (&json!("outcome"), &json!("list_widgets")));
    assert!(upstream.seen().is_empty(), "nobody was spoken to");
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_left_alone_and_one_that_answers_again_are_one_event_each() {
    static WELL: AtomicBool = AtomicBool::new(false);
    let upstream =
        Upstream::start(|_, _| answer(if WELL.load(Ordering::SeqCst) { 200 } else { 503 }, "{}")).await;
    let egress =
        format!("allow_private = ['{}']\ncircuit_failures = 2\ncircuit_seconds = 0.2", upstream.address);
    let server = reaching(&format!("http://{}", upstream.address), &egress).await;
    for _ in 0..2 {
        assert_eq!(list(&server).await["result"]["isError"], true);
    }
    within("it is noted", || !events(&server, Event::CircuitOpened).is_empty());
    assert!(events(&server, Event::CircuitClosed).is_empty());
    WELL.store(true, Ordering::SeqCst);
    until("it is asked again", || async { list(&server).await["result"]["isError"] != true }).await;
    within("so is that", || !events(&server, Event::CircuitClosed).is_empty());
    for (event, facts) in [(Event::CircuitOpened, 3), (Event::CircuitClosed, 2)] {
        let noted = events(&server, event);
        assert_eq!(noted.len(), 1, "{noted:?}");
        let detail = noted[0]["detail"].as_object().unwrap();
        assert_eq!((detail.len(), &detail["upstream"]), (facts, &json!("acme")));
    }
    server.ended().await;
}

fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_changed_is_one_event_whether_it_can_be_used_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("server.pem"), folder.path().join("server.key"));
    let renew = || {
        let made = rcgen::generate_simple_self_signed(vec![String::from("localhost")]).unwrap();
        put(&key, &made.signing_key.serialize_pem());
        put(&certificate, &made.cert.pem());
    };
    renew();
    let text = "[http]\nlisten = '127.0.0.1:0'\ndrain_delay = 0\ndrain = 0.2\n[http.tls]\ncertificate = \
                'server.pem'\nkey = 'server.key'\n";
    let server = started_in(folder, text).await;
    // who is turned away for speaking in the clear knows that the files were read
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let _ = soon(exchange(stream, "GET / HTTP/1.1\r\n\r\n")).await;
    let noted = |event| events(&server, event);
    assert!(noted(Event::CertificateReloaded).is_empty());
    put(&certificate, "no certificate");
    within("that it cannot be used is noted", || !noted(Event::CertificateFailed).is_empty());
    assert!(noted(Event::CertificateReloaded).is_empty());
    renew();
    within("that it is used is noted", || !noted(Event::CertificateReloaded).is_empty());
    let reloaded = noted(Event::CertificateReloaded);
    assert_eq!(reloaded.len(), 1, "{reloaded:?}");
    assert_eq!(reloaded[0]["detail"]["path"], certificate.display().to_string());
    assert!(reloaded[0]["detail"]["expires"].is_string());
    server.ended().await;
}
