//! Everything an upstream can do wrong, for tools that were made of documents: what the model is told, and how often the
//! request was sent.

use std::sync::Arc;

use bartizan::clock::SystemClock;
use bartizan::connectors::FAILURE;
use bartizan::connectors::document::{Document, Operation};
use bartizan::connectors::openapi::load;
use bartizan::error::{Error, Kind};
use bartizan::http::oauth::{ClientCredentials, Style, TokenEndpoint};
use bartizan::http::{Config, Credentials, Method, Request};
use bartizan::json::{Digest, Value, json};
use bartizan::policy::Effect;
use bartizan::practice::{Auth, Fault, Options, Practice, Rule, serve};
use bartizan::protocol::types::ToolResult;
use bartizan::secret::Secret;

use super::documents::{contents, shared};
use super::rig::{Parts, Rig, TOKEN, text};
use crate::loopback::{Act, Upstream, answer};

/// What a fault has to become.
struct Row {
    fault: Fault,
    /// Once, or always.
    once: bool,
    /// For what may be sent twice, and for what may not: how often it is sent, and how it ends (nothing means well).
    safe: (usize, &'static str),
    other: (usize, &'static str),
    /// Words of ours that the model reads where it failed.
    says: &'static str,
}

const FAILED: &str = "UpstreamFailed";
const REFUSED: &str = "UpstreamRefused";
const WELL: &str = "";

fn row(
    fault: Fault,
    once: bool,
    safe: (usize, &'static str),
    other: (usize, &'static str),
    says: &'static str,
) -> Row {
    Row { fault, once, safe, other, says }
}

/// The matrix.
fn rows() -> Vec<Row> {
    let same = |fault, sent, kind, says| row(fault, false, (sent, kind), (sent, kind), says);
    vec![
        // a 401 renews the token once, whatever it is: nothing was done
        row(Fault::Status(401), true, (2, WELL), (2, WELL), ""),
        same(Fault::Status(401), 2, REFUSED, "does not accept the credential; the operator must check it"),
        same(Fault::Status(403), 1, REFUSED, "does not let this credential do that"),
        same(Fault::Status(404), 1, REFUSED, "has no such thing"),
        same(Fault::Status(409), 1, REFUSED, "conflicts with the present state; read it again"),
        same(Fault::Fields(422), 1, REFUSED, "refused the content of the request"),
        // a 429 was counted and not served, so it may be sent again whatever it is
        row(Fault::TooMany(0), true, (2, WELL), (2, WELL), ""),
        same(Fault::TooMany(3600), 1, "RateLimited", "Try again in 3600 seconds"),
        same(Fault::Status(500), 1, FAILED, "failed (HTTP 500)"),
        row(Fault::Status(503), true, (2, WELL), (1, FAILED), "is out of order at the moment"),
        row(Fault::Html(502), true, (2, WELL), (1, FAILED), "is out of order at the moment"),
        row(Fault::Reset, true, (2, WELL), (1, FAILED), "broke off"),
        same(Fault::Slow(60_000), 1, "TimedOut", "did not answer within"),
        same(Fault::Html(200), 1, FAILED, "a web page instead of data"),
        same(Fault::BrokenJson, 1, FAILED, "not valid JSON"),
        same(Fault::GzipBomb, 1, FAILED, "compressed form that nobody asked for"),
        same(Fault::Endless, 1, FAILED, "is longer than"),
        same(Fault::WrongType, 1, FAILED, "no data and no text"),
        same(Fault::Redirect, 1, FAILED, "a redirect"),
    ]
}

fn is_safe(operation: &Operation) -> bool {
    operation.effect == Effect::Read || matches!(operation.method.as_str(), "GET" | "HEAD" | "PUT" | "DELETE")
}

/// Of each kind of operation the one whose name has the least digest: always the same, chosen by nobody.
fn chosen(document: &Document) -> Vec<Operation> {
    let kinds: [&dyn Fn(&Operation) -> bool; 5] = [
        &|it| it.method == "GET" && it.effect == Effect::Read,
        &|it| it.method == "POST" && it.effect == Effect::Read,
        &|it| it.method == "POST" && it.effect != Effect::Read,
        &|it| it.method == "PUT" || it.method == "PATCH",
        &|it| it.effect == Effect::Destroy,
    ];
    let answers_json = |it: &Operation| {
        let success = it.responses.iter().find(|(status, _)| status.starts_with('2'));
        success
            .and_then(|(_, answer)| answer.media_type.as_deref())
            .is_none_or(|media| media.contains("json"))
    };
    let mut found: Vec<Operation> = Vec::new();
    for kind in kinds {
        let one = document
            .operations
            .iter()
            .filter(|it| kind(it) && answers_json(it))
            .min_by_key(|it| Digest::of(it.id.as_bytes()).hex());
        found.extend(one.filter(|one| found.iter().all(|known| known.id != one.id)).cloned());
    }
    found
}

fn credentials(practice: &Practice) -> Arc<dyn Credentials> {
    let Auth::ClientCredentials { client_id, client_secret, .. } = practice.auth() else { panic!() };
    let url = practice.token_url().unwrap().parse().unwrap();
    let endpoint = TokenEndpoint { url, style: Style::Json, scope: None, audience: None };
    let egress = Config::default().allowing(practice.address().to_string());
    let held = |text: &str| Arc::new(Secret::new(text));
    let clock = SystemClock::shared();
    Arc::new(
        ClientCredentials::new("acme", endpoint, held(client_id), held(client_secret), &egress, clock)
            .unwrap(),
    )
}

/// How a call ended: the kind (nothing means well), and all that was said.
fn ended(result: &Result<ToolResult, Error>) -> (String, String) {
    match result {
        Ok(result) if result.is_error => {
            let failure = &result.meta.as_ref().expect("a failure says its kind")[FAILURE];
            (failure["kind"].as_str().unwrap().to_owned(), format!("{} {result:?}", text(result)))
        }
        Ok(result) => (String::new(), format!("{result:?}")),
        Err(error) => (error.kind().name().to_owned(), format!("{error:?} {:?}", error.detail())),
    }
}

/// Seconds that a call gets whose answer never comes: as few as will do for the request to have arrived before they are
/// over, which on a busy machine are more.
const SHORT: [&str; 3] = ["0.7", "5", "25"];

/// Opens the connection and has a token fetched, so that a short time is spent on the answer alone.
async fn warm(rig: &Rig, base: &url::Url) {
    let mut tries = 0;
    while rig.connector.client().send(Request::new(Method::HEAD, base.clone())).await.is_err() {
        tries += 1;
        assert!(tries < 50, "it answers at last");
    }
}

/// Requests that were not for a token.
fn sent(practice: &Practice) -> usize {
    let all = practice.requests();
    all.iter().filter(|one| one.operation.as_deref() != Some("token")).count()
}

/// Walks the matrix over the chosen operations of a document; says how many rows that were.
async fn every_fault_of(name: &str, document: Document) -> usize {
    let mut walked = 0;
    for operation in chosen(&document) {
        for row in rows() {
            let alone = Document { operations: vec![operation.clone()], ..document.clone() };
            let mut short = if matches!(row.fault, Fault::Slow(_)) { &SHORT[..] } else { &[] }.iter();
            let (practice, arguments, result, made) = loop {
                // another upstream for each, so that what one row destroys is there for the next
                let practice =
                    serve(alone.clone(), Options { seeds: 1, ..Options::default() }).await.unwrap();
                let arguments = Value::Object(practice.sample_arguments(&operation.id).unwrap());
                let silent = Upstream::start(|_, _| answer(500, "nobody asks here")).await;
                let base = url::Url::parse(&practice.url()).unwrap();
                let seconds = short.next();
                let manifest = seconds.map(|seconds| format!("timeout = {seconds}")).unwrap_or_default();
                let parts = Parts { credentials: credentials(&practice), retries: 2, ..Parts::open() };
                let rig = Rig::made(alone.clone(), &manifest, silent, base.clone(), parts);
                if seconds.is_some() {
                    warm(&rig, &base).await;
                }
                let before = sent(&practice);
                practice.fault(if row.once {
                    Rule::once(row.fault.clone())
                } else {
                    Rule::always(row.fault.clone())
                });
                let result = rig.call(&operation.tool, arguments.clone()).await;
                let made = sent(&practice) - before;
                if made > 0 || short.len() == 0 {
                    break (practice, arguments, result, made);
                }
                practice.shutdown().await;
            };
            let place = format!("{name}: {} {} with {:?}", operation.method, operation.id, row.fault);
            let (kind, shown) = ended(&result);
            let (times, expected) = if is_safe(&operation) { row.safe } else { row.other };
            // an answer without a body cannot break off in the middle of it
            let whole = row.fault == Fault::Reset && kind.is_empty() && shown.contains("without a body");
            let (times, expected) = if whole { (1, WELL) } else { (times, expected) };
            assert_eq!(kind, expected, "{place}: {shown}");
            assert_eq!(made, times, "{place} was sent that often: {shown}");
            if expected.is_empty() {
                practice.shutdown().await;
                walked += 1;
                continue;
            }
            assert!(shown.contains(row.says), "{place}: {shown}");
            let doubtful = matches!(
                row.fault,
                Fault::Status(500 | 503) | Fault::Html(502) | Fault::Reset | Fault::Slow(_) | Fault::Endless
            );
            let told = shown.contains("look before you send it again");
            assert_eq!(told, doubtful && !is_safe(&operation), "{place}: {shown}");
            for secret in ["practice-access-", "practice-secret-", "169.254", "<html", "PNG"] {
                assert!(!shown.contains(secret), "{place}: {secret} came out: {shown}");
            }
            if let (Fault::Fields(_), Some(body)) = (&row.fault, &operation.body) {
                let field = arguments[&body.argument].as_object().and_then(|fields| fields.keys().next());
                if let Some(field) = field {
                    let named = format!("{}.{field}", body.argument);
                    assert!(shown.contains(&named), "{place}: {named} is to be changed: {shown}");
                }
            }
            practice.shutdown().await;
            walked += 1;
        }
    }
    walked
}

#[tokio::test]
async fn every_fault_is_typed_and_nothing_is_sent_twice_by_tools_of_vendors_documents() {
    let Some(shared) = shared() else { return };
    let files = [
        "equinix/fabricv4.patched.yaml",
        "akamai/network-lists-v2.json",
        "akamai/config-dns-v2.json",
        "akamai/papi-v1.reassembled.json",
        "msgraph/v1.0.deviceappmanagement.json.gz",
    ];
    let work = files.map(|file| {
        let document = load(&contents(&shared.join("specs").join(file)), None).unwrap();
        every_fault_of(file, document)
    });
    let walked: usize = futures_util::future::join_all(work).await.into_iter().sum();
    println!("{walked} faults");
    assert!(walked >= 19 * 4 * files.len() - 19 * 4, "{walked}");
}

fn widgets() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Widgets", "version": "1"},
        "paths": {
            "/widgets": {
                "get": {
                    "operationId": "listWidgets",
                    "parameters": [{"name": "page[size]", "in": "query", "schema": {"type": "integer"}}],
                    "responses": {"200": {"description": "All", "content": {"application/json": {"schema": {"type": "object"}}}}}
                },
                "post": {
                    "operationId": "createWidget",
                    "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Widget"}}}},
                    "responses": {"201": {"description": "Made", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Widget"}}}}}
                }
            },
            "/widgets/{widgetId}": {
                "parameters": [{"name": "widgetId", "in": "path", "required": true, "schema": {"type": "string"}}],
                "get": {
                    "operationId": "getWidget",
                    "responses": {"200": {"description": "One", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Widget"}}}}}
                },
                "put": {
                    "operationId": "replaceWidget",
                    "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Widget"}}}},
                    "responses": {"200": {"description": "Replaced", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Widget"}}}}}
                },
                "delete": {"operationId": "deleteWidget", "responses": {"204": {"description": "Gone"}}}
            }
        },
        "components": {"schemas": {
            "Widget": {
                "type": "object",
                "required": ["size", "owner"],
                "properties": {"size": {"type": "integer"}, "owner": {"$ref": "#/components/schemas/Owner"}}
            },
            "Owner": {"type": "object", "properties": {"eMail": {"type": "string"}}}
        }}
    })
}

#[tokio::test]
async fn every_fault_is_typed_and_nothing_is_sent_twice_by_tools_of_a_small_document() {
    let document = load(widgets().to_string().as_bytes(), None).unwrap();
    assert_eq!(every_fault_of("widgets", document).await, 19 * 4);
}

fn widget() -> Value {
    json!({"body": {"size": 7, "owner": {"eMail": "a@example.com"}}})
}

#[tokio::test]
async fn a_refusal_names_the_arguments_to_change_in_the_tools_own_words() {
    let shapes = [
        (
            422,
            json!({"detail": [{"loc": ["body", "owner", "e_mail"], "msg": "hunter2 is no address"}]}),
            "body.owner.eMail",
        ),
        (400, json!({"errors": {"size": ["too large"], "unheard-of": ["x"]}}), "body.size"),
        (409, json!({"errors": [{"pointer": "#/size"}, {"pointer": "#/owner"}]}), "body.size, body.owner"),
    ];
    let answers = shapes.clone();
    let rig = Rig::new(widgets(), "", move |_, before| answer(answers[before].0, &answers[before].1)).await;
    for (status, _, named) in shapes {
        let result = rig.call("create_widget", widget()).await.unwrap();
        let ours = text(&result).lines().next().unwrap().to_owned();
        assert!(
            ours.contains(&format!("(HTTP {status}).")) && ours.ends_with(&format!(": {named}.")),
            "{ours}"
        );
        assert!(!ours.contains("hunter2") && !ours.contains("unheard-of"), "{ours}");
        let listed: Vec<&str> = named.split(", ").collect();
        assert_eq!(result.structured_content.as_ref().unwrap()["arguments"], json!(listed));
        assert_eq!(result.meta.as_ref().unwrap()[FAILURE]["arguments"], json!(listed));
    }
    let rig = Rig::new(widgets(), "", |_, _| answer(404, "{}")).await;
    let result = rig.call("get_widget", json!({"widgetId": "7"})).await.unwrap();
    assert_eq!(
        text(&result).lines().next(),
        Some("acme has no such thing (HTTP 404). Look at this argument: widgetId.")
    );
    let rig = Rig::new(widgets(), "", |_, _| {
        answer(400, json!({"invalid-params": [{"name": "page[size]", "reason": "too large"}]}))
    })
    .await;
    let tool = rig.tool("list_widgets").spec().input.source()["properties"].clone();
    let argument = tool.as_object().unwrap().keys().next().unwrap().clone();
    let result = rig.call("list_widgets", json!({argument.clone(): 1000})).await.unwrap();
    assert!(text(&result).contains(&format!("Look at this argument: {argument}.")), "{}", text(&result));
}

#[tokio::test]
async fn a_delete_whose_answer_was_lost_is_done_and_not_a_failure() {
    let document = load(widgets().to_string().as_bytes(), None).unwrap();
    let upstream = Upstream::start(|_, before| match before {
        0 => Act::RawThenClose(String::new()),
        _ => answer(404, "{}"),
    })
    .await;
    let base = upstream.base();
    let rig = Rig::made(document, "", upstream, base, Parts { retries: 2, ..Parts::open() });
    let result = rig.call("delete_widget", json!({"widgetId": "7"})).await.unwrap();
    assert!(!result.is_error && text(&result).starts_with("Done: it is gone."), "{}", text(&result));
    assert_eq!(rig.upstream.seen().len(), 2);
    // nobody deleted that one before
    let result = rig.call("delete_widget", json!({"widgetId": "8"})).await.unwrap();
    assert!(result.is_error && text(&result).contains("HTTP 404"));
}

#[tokio::test]
async fn a_write_that_runs_out_of_time_says_that_it_may_have_been_done() {
    let document = load(widgets().to_string().as_bytes(), None).unwrap();
    for seconds in SHORT {
        let upstream =
            Upstream::start(|seen, _| if seen.method == "HEAD" { answer(204, "") } else { Act::Hang }).await;
        let base = upstream.base();
        let parts = Parts { retries: 2, ..Parts::open() };
        let manifest = format!("timeout = {seconds}");
        let rig = Rig::made(document.clone(), &manifest, upstream, base.clone(), parts);
        warm(&rig, &base).await;
        let error = rig.call("create_widget", widget()).await.unwrap_err();
        assert!(error.message().contains("look before you send it again"), "{error}");
        let read = rig.call("get_widget", json!({"widgetId": "7"})).await.unwrap_err();
        assert_eq!(read.kind(), Kind::TimedOut);
        assert!(!read.message().contains("look before"), "{read}");
        let seen = rig.upstream.seen();
        assert!(seen.iter().all(|seen| seen.header("authorization") == Some(&format!("Bearer {TOKEN}"))));
        match seen.iter().filter(|seen| seen.method == "POST").count() {
            0 => {}
            1 => return,
            more => panic!("it was sent {more} times"),
        }
    }
    panic!("it never arrived");
}
