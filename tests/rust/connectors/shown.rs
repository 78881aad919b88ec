//! What a write would change is shown before anybody agrees, and holds only as long as it is so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bartizan::approvals::{self, Decision, Status};
use bartizan::connectors::openapi;
use bartizan::error::{Error, Kind};
use bartizan::http::credentials::Header;
use bartizan::json::{Value, json};
use bartizan::policy::{Config as PolicyConfig, Policy};
use bartizan::redaction::{self, Redactor};
use bartizan::secret::Secret;
use bartizan::vault::Reference;

use super::rig::{Parts, Rig};
use crate::loopback::{Seen, Upstream, answer, with_header};

const PASSPHRASE: &str = "correct horse battery";

fn document() -> Value {
    let id = json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string"}});
    let body = json!({"content": {"application/json": {"schema": {"type": "object"}}}});
    json!({"openapi": "3.0.3", "info": {"title": "Acme", "version": "1"}, "paths": {
        "/widgets/{id}": {"parameters": [id],
            "get": {"operationId": "getWidget"},
            "put": {"operationId": "setWidget", "requestBody": body},
            "delete": {"operationId": "deleteWidget"}},
        "/widgets": {"post": {"operationId": "createWidget", "requestBody": body, "parameters": [
            {"name": "dryRun", "in": "query", "schema": {"type": "boolean"}}]}},
        "/widgets/{id}/blind": {"parameters": [id], "put": {"operationId": "blindWidget", "requestBody": body}}
    }})
}

/// The one widget there is: its entity tag, if it has any, and what it holds.
type World = Arc<Mutex<(Option<&'static str>, Value)>>;

async fn rig(parts: Parts) -> (Rig, World) {
    let world: World = Arc::new(Mutex::new((
        Some("\"v1\""),
        json!({"name": "web", "size": 2, "password": "tr0ub4dor&3-and-more"}),
    )));
    let state = Arc::clone(&world);
    let upstream = Upstream::start(move |seen: &Seen, _| {
        let (tag, body) = state.lock().unwrap().clone();
        if seen.target.contains("dryRun=true") {
            return answer(
                if tag == Some("full") { 409 } else { 200 },
                json!({"price": 12, "password": "hunter2hunter2"}),
            );
        }
        if seen.method != "GET" {
            let stale = seen.header("if-match").is_some_and(|wanted| Some(wanted) != tag);
            return answer(if stale { 412 } else { 200 }, json!({"changed": !stale}));
        }
        match tag {
            Some("gone") => answer(404, json!({})),
            Some("broken") => answer(503, json!({})),
            Some("secret") => answer(403, json!({})),
            Some(tag) => with_header(answer(200, body), "etag", tag),
            None => answer(200, body),
        }
    })
    .await;
    let base = upstream.base();
    let document = openapi::load(document().to_string().as_bytes(), None).unwrap();
    let manifest = "[[operation]]\nid = 'createWidget'\ndry_run = 'dryRun'";
    let rig = Rig::made(document, manifest, upstream, base, parts);
    rig.approvals.enrol("alice", &Secret::new(PASSPHRASE), None).unwrap();
    (rig, world)
}

fn asking() -> Parts {
    Parts {
        policy: Policy::load(&PolicyConfig::of("standard")).unwrap(),
        redactor: Redactor::new(&redaction::Config {
            fingerprint_key: Some(Secret::new("test installation key")),
            ..redaction::Config::default()
        })
        .unwrap(),
        ..Parts::open()
    }
}

fn waits(result: Result<bartizan::protocol::types::ToolResult, Error>) -> String {
    let error = result.expect_err("it waits for an approval");
    assert_eq!(error.kind(), Kind::NeedsApproval, "{error}");
    error.detail().unwrap()["approval"].as_str().unwrap().to_owned()
}

fn approve(rig: &Rig, id: &str) {
    let operator = rig.approvals.operator("alice", None, &Secret::new(PASSPHRASE)).unwrap();
    rig.approvals.decide(&rig.approvals.show(id).unwrap(), Decision::Approve, &operator).unwrap();
}

fn state(rig: &Rig, id: &str) -> String {
    rig.approvals.show(id).unwrap().record.shown.state.unwrap_or_default()
}

fn writes(rig: &Rig) -> Vec<Seen> {
    rig.upstream.seen().into_iter().filter(|seen| seen.method != "GET").collect()
}

fn change() -> Value {
    json!({"id": "7", "body": {"name": "web", "size": 3}})
}

#[tokio::test]
async fn what_would_change_is_shown_and_checked_again() {
    let (rig, world) = rig(asking()).await;
    let id = waits(rig.call("set_widget", change()).await);
    let shown = rig.approvals.show(&id).unwrap().record.shown;
    let seen = shown.state.unwrap();
    assert!(seen.contains("size: 2 -> 3"), "{seen}");
    assert!(!seen.contains("tr0ub4dor"), "{seen}");
    assert!(shown.upstream.unwrap().contains(&rig.upstream.address.to_string()));
    assert!(writes(&rig).is_empty());
    // The read is a call of the same caller, with two lines of its own.
    let audit = fs::read_to_string(&rig.audit).unwrap();
    let reads = audit.lines().filter(|line| line.contains("bartizan/state") && line.contains("get_widget"));
    assert_eq!(reads.count(), 2, "{audit}");

    approve(&rig, &id);
    world.lock().unwrap().0 = Some("\"v2\"");
    let error = rig.call("set_widget", change()).await.unwrap_err();
    assert!(error.message().contains("has changed since it was shown"), "{error}");
    assert!(writes(&rig).is_empty());
    assert_eq!(rig.approvals.show(&id).unwrap().status, Status::Void);

    let id = waits(rig.call("set_widget", change()).await);
    approve(&rig, &id);
    rig.call("set_widget", change()).await.unwrap();
    let sent = writes(&rig);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].header("if-match"), Some("\"v2\""), "the upstream checks it once more");
}

// proves: dry-run-shown
#[tokio::test]
async fn a_dry_run_is_shown_once_and_is_no_run() {
    let (rig, world) = rig(asking()).await;
    let new = || json!({"body": {"name": "web\u{200b}"}});
    let id = waits(rig.call("create_widget", new()).await);
    let shown = rig.approvals.show(&id).unwrap().record.shown;
    let said = shown.rehearsed.unwrap();
    assert!(said.contains("would be accepted, status 200") && said.contains("\"price\": 12"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    assert_eq!(shown.request.unwrap(), format!("POST {}widgets", rig.upstream.base()));
    let dry = |seen: &Seen| seen.target.contains("dryRun=true");
    assert_eq!(waits(rig.call("create_widget", new()).await), id, "it waits");
    approve(&rig, &id);
    world.lock().unwrap().0 = Some("full");
    rig.call("create_widget", new()).await.unwrap();
    let sent = writes(&rig);
    assert_eq!(sent.iter().filter(|seen| dry(seen)).count(), 1, "rehearsed once, when it was asked for");
    assert_eq!(sent.iter().filter(|seen| !dry(seen)).count(), 1);
    let audit = fs::read_to_string(&rig.audit).unwrap();
    assert_eq!(audit.lines().filter(|line| line.contains("bartizan/rehearsal")).count(), 2, "{audit}");

    let id = waits(rig.call("create_widget", new()).await);
    let said = rig.approvals.show(&id).unwrap().record.shown.rehearsed.unwrap();
    assert!(said.contains("REFUSED, status 409"), "{said}");
    // a dry run that the caller asks for is what it is, and is not rehearsed
    let id = waits(rig.call("create_widget", json!({"dryRun": true})).await);
    assert_eq!(rig.approvals.show(&id).unwrap().record.shown.rehearsed, None);
    // What was shown is signed: who alters it afterwards has altered the approval.
    approve(&rig, &id);
    let folder = rig.folder.path().join("state/approvals");
    let path = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let path = path
        .filter(|path| path.extension().is_some_and(|end| end == "pending"))
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&id))
        .unwrap();
    let text =
        fs::read_to_string(&path).unwrap().replace("\"rehearsed\": null", "\"rehearsed\": \"It is free.\"");
    fs::write(&path, text).unwrap();
    assert_eq!(waits(rig.call("create_widget", json!({"dryRun": true})).await), id);
}

#[tokio::test]
async fn without_a_tag_the_content_counts() {
    let (rig, world) = rig(asking()).await;
    world.lock().unwrap().0 = None;
    let id = waits(rig.call("set_widget", change()).await);
    approve(&rig, &id);
    // Even a secret that nobody was shown.
    world.lock().unwrap().1["password"] = json!("another-one-altogether");
    assert!(rig.call("set_widget", change()).await.unwrap_err().message().contains("has changed since"));
    let id = waits(rig.call("set_widget", change()).await);
    approve(&rig, &id);
    rig.call("set_widget", change()).await.unwrap();
    assert_eq!(writes(&rig).len(), 1);
    assert_eq!(writes(&rig)[0].header("if-match"), None);
}

#[tokio::test]
async fn what_cannot_be_read_is_said_or_refused() {
    let (rig, world) = rig(asking()).await;
    let said = |tag| {
        world.lock().unwrap().0 = Some(tag);
        rig.call("set_widget", change())
    };
    assert!(state(&rig, &waits(said("gone").await)).contains("nothing at this address"));
    assert!(state(&rig, &waits(said("secret").await)).contains("status 403"));
    let error = said("broken").await.unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamFailed);
    assert!(error.message().contains("nobody was asked"), "{error}");
    let weak = waits(said("W/\"v1\"").await);
    approve(&rig, &weak);
    rig.call("set_widget", change()).await.unwrap();
    assert_eq!(writes(&rig)[0].header("if-match"), None, "a weak tag is no condition");
    // Where there is no read, there is nothing to show.
    let blind = waits(rig.call("blind_widget", change()).await);
    assert_eq!(rig.approvals.show(&blind).unwrap().record.shown.state, None);
}

#[tokio::test]
async fn what_the_caller_may_not_read_is_not_read_for_it() {
    let policy = "permit(principal, action, resource); \
                  forbid(principal, action, resource) when { resource.name == \"get_widget\" }; \
                  forbid(principal, action == Action::\"callUnattended\", resource);";
    let (rig, _) = rig(Parts { policy: Policy::from_text("test", policy).unwrap(), ..asking() }).await;
    let id = waits(rig.call("set_widget", change()).await);
    assert!(state(&rig, &id).contains("policy does not let"), "{}", state(&rig, &id));
    assert!(rig.upstream.seen().is_empty());
}

#[tokio::test]
async fn a_read_before_an_approval_is_paid_for() {
    let mut parts = asking();
    parts.limits.read = bartizan::limits::Quota::new(1, 1);
    let (rig, _) = rig(parts).await;
    waits(rig.call("set_widget", change()).await);
    assert_eq!(rig.call("set_widget", change()).await.unwrap_err().kind(), Kind::RateLimited);
    assert_eq!(rig.upstream.seen().len(), 1);
}

#[tokio::test]
async fn showing_can_be_switched_off() {
    let mut parts = asking();
    parts.approvals = approvals::Config { show_state: false, ..approvals::Config::default() };
    let (rig, world) = rig(parts).await;
    let id = waits(rig.call("set_widget", change()).await);
    approve(&rig, &id);
    world.lock().unwrap().0 = Some("\"v2\"");
    rig.call("set_widget", change()).await.unwrap();
    assert_eq!(rig.upstream.seen().len(), 1, "nothing but the write");
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_rotated_credential_voids_the_grant() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    private(&file, "the-first-token-8843-abc");
    let reference = Reference::parse(&format!("file:{}", file.display())).unwrap();
    let credentials = Arc::new(Header::bearer(Arc::new(reference)));
    let (rig, _) = rig(Parts { credentials, ..asking() }).await;
    let id = waits(rig.call("set_widget", change()).await);
    assert!(rig.approvals.show(&id).unwrap().record.shown.upstream.unwrap().contains("file:"));
    approve(&rig, &id);
    private(&file, "the-second-token-9951-xyz");
    let again = waits(rig.call("set_widget", change()).await);
    assert_ne!(again, id);
    assert!(writes(&rig).is_empty());
    // The new one is what is used, and what the next approval is for.
    approve(&rig, &again);
    rig.call("set_widget", change()).await.unwrap();
    assert_eq!(writes(&rig)[0].header("authorization"), Some("Bearer the-second-token-9951-xyz"));
    for entry in fs::read_dir(rig.folder.path().join("state/approvals")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("token-8843") && !text.contains("token-9951"));
    }
}
