//! The practice upstream, from outside: tokens, the life of a thing, searches, pages, refusals, faults.

use std::sync::Arc;
use std::time::Duration;

use bartizan::clock::ManualClock;
use bartizan::connectors::document::Document;
use bartizan::practice::{Auth, Fault, Options, Practice, Rule, serve};
use serde_json::{Value, json};

use crate::practice_document::document;

/// An answer, read whole.
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A client that knows nothing but HTTP.
struct Caller {
    root: String,
    token: Option<String>,
    http: reqwest::Client,
}

impl Caller {
    fn new(practice: &Practice) -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { root: practice.root(), token: None, http: http.build().unwrap() }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse::<reqwest::Method>().unwrap();
        let request = self.http.request(method, format!("{}{path}", self.root));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, text: answer.text().await.unwrap() }
    }

    async fn get(&self, path: &str) -> Answer {
        Self::send(self.request("GET", path)).await
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        self.call_as(method, path, "application/json", body).await
    }

    async fn call_as(&self, method: &str, path: &str, media_type: &str, body: Value) -> Answer {
        Self::send(self.request(method, path).header("content-type", media_type).body(body.to_string())).await
    }

    async fn sign_in(&mut self, practice: &Practice) {
        let Auth::ClientCredentials { client_id, client_secret, .. } = practice.auth() else { panic!() };
        let answer = self.call("POST", "/oauth2/v1/token", credentials(client_id, client_secret)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.token = Some(answer.json()["access_token"].as_str().unwrap().to_owned());
    }
}

fn credentials(id: &str, secret: &str) -> Value {
    json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret})
}

async fn started(options: Options) -> (Practice, Caller) {
    started_with(document(), options).await
}

async fn started_with(document: Document, options: Options) -> (Practice, Caller) {
    let practice = serve(document, options).await.unwrap();
    let mut caller = Caller::new(&practice);
    if matches!(practice.auth(), Auth::ClientCredentials { .. }) {
        caller.sign_in(&practice).await;
    }
    (practice, caller)
}

fn open() -> Options {
    Options { auth: Auth::Open, ..Options::default() }
}

#[tokio::test]
async fn a_token_is_issued_in_both_styles_and_expires() {
    let clock = ManualClock::at(Duration::from_hours(500_000));
    let practice = serve(document(), Options { clock: clock.clone(), ..Options::default() }).await.unwrap();
    let mut caller = Caller::new(&practice);
    assert_eq!(caller.get("/v4/ports").await.status, 401);
    let Auth::ClientCredentials { client_id, client_secret, .. } = practice.auth() else { panic!() };
    let answer = caller.call("POST", "/oauth2/v1/token", credentials(client_id, client_secret)).await.json();
    assert_eq!(answer["token_timeout"], "3599", "a string, as the vendor has it");
    assert_eq!(answer["token_type"], "Bearer");
    caller.token = Some(answer["access_token"].as_str().unwrap().to_owned());
    assert_eq!(caller.get("/v4/ports").await.status, 200);

    let form = [("grant_type", "client_credentials")];
    let form: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = caller.http.post(practice.token_url().unwrap()).basic_auth(client_id, Some(client_secret));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer = Caller::send(request).await.json();
    assert_eq!(answer["expires_in"], 3600);
    assert_eq!(practice.tokens_issued(), 2);

    clock.advance(Duration::from_secs(3601));
    let expired = caller.get("/v4/ports").await;
    assert_eq!(expired.status, 401);
    assert!(expired.header("www-authenticate").starts_with("Bearer"));
}

#[tokio::test]
async fn an_account_is_locked_after_five_failures_and_a_success_forgives() {
    let practice = serve(document(), Options::default()).await.unwrap();
    let caller = Caller::new(&practice);
    let Auth::ClientCredentials { client_id, client_secret, .. } = practice.auth() else { panic!() };
    let attempt =
        async |secret: &str| caller.call("POST", "/oauth2/v1/token", credentials(client_id, secret)).await;
    for _ in 0..4 {
        let wrong = attempt("wrong").await;
        assert_eq!((wrong.status, wrong.json()["error_code"].as_str()), (400, Some("invalid_client")));
        assert!(wrong.json()["error_domain"].is_string() && !wrong.text.contains("wrong\""));
    }
    assert_eq!(attempt(client_secret).await.status, 200);
    for _ in 0..5 {
        assert_eq!(attempt("wrong").await.status, 400);
    }
    assert_eq!(attempt(client_secret).await.json()["error_code"], "account_locked");
    practice.unlock();
    assert_eq!(attempt(client_secret).await.status, 200);
}

#[tokio::test]
async fn other_credentials_are_checked_too() {
    for (auth, header, value) in [
        (Auth::Bearer("t".repeat(20)), "authorization", format!("Bearer {}", "t".repeat(20))),
        (Auth::Header { name: "x-api-key".into(), key: "k".into() }, "x-api-key", "k".to_owned()),
        (Auth::Basic { user: "u".into(), password: "p".into() }, "authorization", "Basic dTpw".to_owned()),
    ] {
        let (_practice, caller) = started(Options { auth, ..Options::default() }).await;
        assert_eq!(caller.get("/v4/ports").await.status, 401);
        let with = |value: &str| Caller::send(caller.request("GET", "/v4/ports").header(header, value));
        assert_eq!(with(&value).await.status, 200);
        assert_eq!(with(&format!("{value}x")).await.status, 401);
    }
}

#[tokio::test]
async fn a_thing_is_created_listed_changed_and_deleted() {
    let (practice, caller) = started(Options::default()).await;
    let body =
        json!({"name": "mine", "bandwidth": 50, "side": {"port": "p"}, "notifications": ["a@example.com"]});
    let tried = caller.call("POST", "/v4/connections?dryRun=true", body.clone()).await;
    assert_eq!(tried.status, 200);
    let search = json!({"filter": {"and": [{"property": "/name", "operator": "=", "values": ["mine"]}]}});
    let found = caller.call("POST", "/v4/connections/search", search.clone()).await.json();
    assert_eq!(found["pagination"]["total"], 0, "a dry run creates nothing");

    let created = caller.call("POST", "/v4/connections", body).await;
    assert_eq!(created.status, 201);
    let made = created.json();
    let uuid = made["uuid"].as_str().unwrap();
    assert!(uuid::Uuid::parse_str(uuid).is_ok());
    assert_eq!((&made["name"], &made["bandwidth"]), (&json!("mine"), &json!(50)));
    assert_eq!(made["state"], "ACTIVE");
    assert_eq!(made["side"], json!({"port": "p"}));

    let at = format!("/v4/connections/{uuid}");
    assert_eq!(caller.get(&at).await.json(), made);
    let found = caller.call("POST", "/v4/connections/search", search).await.json();
    assert_eq!((&found["pagination"]["total"], &found["data"][0]["uuid"]), (&json!(1), &json!(uuid)));

    let etag = caller.get(&at).await.header("etag").to_owned();
    let patch = json!([{"op": "replace", "path": "/name", "value": "yours"}]);
    let wrong_type = caller.call("PATCH", &at, patch.clone()).await;
    assert_eq!(wrong_type.status, 415);
    let changed = caller.call_as("PATCH", &at, "application/json-patch+json", patch.clone()).await;
    assert_eq!((changed.status, &changed.json()["name"]), (200, &json!("yours")));
    let stale = caller
        .request("PATCH", &at)
        .header("content-type", "application/json-patch+json")
        .header("if-match", etag)
        .body(patch.to_string());
    assert_eq!(Caller::send(stale).await.status, 412);

    // what hangs below a thing that was created starts empty, and goes with it
    let below = format!("{at}/notes");
    assert_eq!(caller.get(&below).await.json()["items"], json!([]));
    let note = caller.call("POST", &below, json!({"text": "hello"})).await;
    assert_eq!(note.status, 201);
    assert_eq!(caller.get(&below).await.json()["items"][0]["text"], "hello");

    let gone = Caller::send(caller.request("DELETE", &at)).await;
    assert_eq!((gone.status, &gone.json()["state"]), (200, &json!("DEPROVISIONING")));
    assert_eq!(caller.get(&at).await.status, 404);
    assert_eq!(caller.get(&below).await.status, 404);
    assert!(practice.misfits().is_empty());
}

#[tokio::test]
async fn an_act_changes_the_state_where_its_word_and_the_document_say_so() {
    let (practice, caller) = started(Options::default()).await;
    let body = json!({"name": "mine", "bandwidth": 50, "side": {"port": "p"}, "notifications": []});
    let made = caller.call("POST", "/v4/connections", body).await.json();
    let at = format!("/v4/connections/{}", made["uuid"].as_str().unwrap());
    let act = async |query: &str, word: &str| {
        let done = caller.call("POST", &format!("{at}/actions{query}"), json!({"type": word})).await;
        assert_eq!((done.status, &done.json()["type"]), (202, &json!(word)));
        caller.get(&at).await.json()["state"].clone()
    };
    assert_eq!(made["state"], "ACTIVE");
    assert_eq!(act("", "RESEND_NOTIFICATION").await, "ACTIVE");
    assert_eq!(act("", "CONNECTION_CREATION_REJECTION").await, "ACTIVE", "the document has no such state");
    assert_eq!(act("?dryRun=true", "CONNECTION_DELETION_ACCEPTANCE").await, "ACTIVE");
    assert_eq!(act("", "CONNECTION_DELETION_ACCEPTANCE").await, "DEPROVISIONING");
    let act = json!({"type": "RESEND_NOTIFICATION"});
    assert_eq!(caller.call("POST", "/v4/connections/no-such/actions", act).await.status, 404);
    assert!(practice.misfits().is_empty());
}

#[tokio::test]
async fn a_list_that_is_put_replaces_and_is_never_a_patch() {
    let (practice, caller) = started(Options::default()).await;
    let port = caller.call("POST", "/v4/connections/search", json!({})).await.json()["data"][0].clone();
    let at = format!("/v4/connections/{}/labels", port["uuid"].as_str().unwrap());
    for labels in [json!(["a", "b"]), json!(["c"]), json!([])] {
        assert_eq!(caller.call("PUT", &at, labels.clone()).await.json(), labels);
        assert_eq!(caller.get(&at).await.json(), labels);
    }
    let steps = json!([{"op": "remove", "path": "/0"}]);
    for _ in 0..2 {
        assert_eq!(caller.call("PUT", "/v4/plans/p1", steps.clone()).await.json(), steps);
        assert_eq!(caller.get("/v4/plans/p1").await.json(), steps);
    }
    assert!(practice.misfits().is_empty());
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let (practice, caller) = started(Options::default()).await;
    let (get, head) =
        (caller.get("/v4/ports").await, Caller::send(caller.request("HEAD", "/v4/ports")).await);
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), get.text.len().to_string());
    assert_eq!(practice.requests().last().unwrap().method, "HEAD");
    let refused = Caller::send(caller.request("HEAD", "/v4/connections")).await;
    assert_eq!(refused.status, 405, "there is no GET either");
}

#[tokio::test]
async fn lists_are_seeded_alike_on_every_run_and_cut_into_pages() {
    let (first, one) = started(open()).await;
    let (_second, two) = started(open()).await;
    let list = one.get("/v4/ports").await.json();
    let uuids = |list: &Value| -> Vec<Value> {
        list["data"].as_array().unwrap().iter().map(|port| port["uuid"].clone()).collect()
    };
    assert_eq!(uuids(&list).len(), 3);
    assert_eq!(uuids(&list), uuids(&two.get("/v4/ports").await.json()));

    let page = one.get("/v4/ports?limit=2").await.json();
    assert_eq!((&page["pagination"]["total"], &page["pagination"]["limit"]), (&json!(3), &json!(2)));
    let next = page["pagination"]["next"].as_str().unwrap();
    let rest = one.get(next).await.json();
    assert_eq!([uuids(&page), uuids(&rest)].concat(), uuids(&list));
    assert!(rest["pagination"].get("next").is_none());

    // tokens instead of offsets
    let page = one.get("/v4/events?maxResults=2").await.json();
    let token = page["nextPageToken"].as_str().unwrap();
    let rest = one.get(&format!("/v4/events?maxResults=2&pageToken={token}")).await.json();
    assert_eq!(page["entries"].as_array().unwrap().len() + rest["entries"].as_array().unwrap().len(), 3);
    assert!(rest.get("nextPageToken").is_none());
    assert!(first.misfits().is_empty());
}

#[tokio::test]
async fn searches_filter_and_sort() {
    let (_practice, caller) = started(open()).await;
    for (name, bandwidth) in [("alpha", 10), ("beta", 200), ("gamma", 30)] {
        let body = json!({"name": name, "bandwidth": bandwidth, "side": {"port": "p"}, "notifications": []});
        assert_eq!(caller.call("POST", "/v4/connections", body).await.status, 201);
    }
    let search = json!({
        "filter": {"and": [
            {"property": "/bandwidth", "operator": ">", "values": ["9"]},
            {"or": [
                {"property": "/name", "operator": "LIKE", "values": ["%lph%"]},
                {"property": "/name", "operator": "IN", "values": ["beta", "gamma"]}
            ]}
        ]},
        "sort": [{"property": "/bandwidth", "direction": "DESC"}],
        "pagination": {"offset": 0, "limit": 2}
    });
    let found = caller.call("POST", "/v4/connections/search", search).await.json();
    assert_eq!(found["pagination"]["total"], 3);
    assert_eq!((&found["data"][0]["name"], &found["data"][1]["name"]), (&json!("beta"), &json!("gamma")));
    // a query parameter that is a property narrows, too
    let named = caller.get("/v4/ports?name=nobody").await.json();
    assert_eq!(named["data"], json!([]));
}

#[tokio::test]
async fn requests_that_the_document_does_not_allow_are_refused_in_the_vendors_words() {
    let (_practice, caller) = started(open()).await;
    let body = json!({"name": "x", "bandwidth": 1, "side": {"port": "p"}, "notifications": []});
    let mut wide = body.clone();
    wide["bandwidth"] = json!(999_999_999);
    let mut lacking = body.clone();
    lacking.as_object_mut().unwrap().remove("name");
    for (method, path, body, status) in [
        ("GET", "/v4/nothing", json!(null), 404),
        ("GET", "/v4/ports/00000000-0000-4000-8000-000000000000", json!(null), 404),
        ("GET", "/v4/ports/not-a-uuid", json!(null), 404),
        ("DELETE", "/v4/ports", json!(null), 405),
        ("GET", "/v4/ports?colour=red", json!(null), 400),
        ("GET", "/v4/ports?limit=many", json!(null), 400),
        ("GET", "/v4/ports?limit=1&limit=2", json!(null), 400),
        ("GET", "/v4/stats", json!(null), 400),
        ("GET", "/v4/ports/%2e%2e", json!(null), 400),
        ("POST", "/v4/connections", wide, 400),
        ("POST", "/v4/connections", lacking, 400),
        ("POST", "/v4/connections?dryRun=maybe", body, 400),
    ] {
        let answer = if body.is_null() {
            // reqwest resolves dot segments itself: this one goes out as it is
            if path.ends_with("%2e%2e") {
                let status = raw_get(&caller.root, path).await;
                assert_eq!(status, 400);
                continue;
            }
            Caller::send(caller.request(method, path)).await
        } else {
            caller.call(method, path, body).await
        };
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        let error = &answer.json()[0];
        assert!(error["errorCode"].as_str().unwrap().starts_with("EQ-"), "{path}");
        assert!(error["errorMessage"].is_string() && error["correlationId"].is_string());
        assert!(!answer.text.contains("999999999") && !answer.text.contains("many\""));
    }
}

/// The status of a GET whose target nobody normalises.
async fn raw_get(root: &str, target: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let host = root.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn faults_happen_on_request_and_only_then() {
    let (practice, caller) = started(Options { fault_header: true, ..Options::default() }).await;
    let spoilt = async |fault: &str| {
        Caller::send(caller.request("GET", "/v4/ports").header("x-practice-fault", fault)).await
    };
    let busy = spoilt("429=7").await;
    assert_eq!((busy.status, busy.header("retry-after")), (429, "7"));
    assert!(busy.json()[0]["errorCode"].is_string());
    assert_eq!(spoilt("503").await.json()[0]["errorCode"], "EQ-3000503");
    let page = spoilt("502-html").await;
    assert_eq!((page.status, page.header("content-type")), (502, "text/html; charset=utf-8"));
    assert!(page.text.starts_with("<!DOCTYPE"));
    let broken = spoilt("broken-json").await;
    assert!(broken.status == 200 && serde_json::from_str::<Value>(&broken.text).is_err());
    let away = spoilt("redirect").await;
    assert_eq!((away.status, away.header("location")), (302, "http://169.254.169.254/latest/meta-data/"));
    let token = caller.token.clone().unwrap();
    assert!(spoilt("echo").await.text.contains(&token));
    let request = caller.request("GET", "/v4/ports").header("x-practice-fault", "reset");
    let answer = request.send().await;
    let cut = match answer {
        Ok(answer) => answer.bytes().await.is_err(),
        Err(_) => true,
    };
    assert!(cut, "the body must not arrive whole");
    let slow = caller.request("GET", "/v4/ports").header("x-practice-fault", "slow=60000");
    let slow = slow.timeout(Duration::from_millis(50)).send().await;
    assert!(slow.is_err_and(|error| error.is_timeout()));

    practice.fault(Rule::once(Fault::Status(500)));
    assert_eq!(caller.get("/v4/ports").await.status, 500);
    assert_eq!(caller.get("/v4/ports").await.status, 200);
    practice.fault(Rule::always(Fault::Status(500)).at("/oauth2"));
    assert_eq!(caller.get("/v4/ports").await.status, 200);
    assert_eq!(caller.call("POST", "/oauth2/v1/token", json!({})).await.status, 500);

    let (_plain, caller) = started(open()).await;
    let asked = caller.request("GET", "/v4/ports").header("x-practice-fault", "503");
    assert_eq!(Caller::send(asked).await.status, 200, "the header counts only where it was allowed");
}

#[tokio::test]
async fn a_leak_is_placed_in_one_thing_and_every_answer_says_practice() {
    let leak = "monitoring key practice-leak-0123456789abcdef".to_owned();
    let options = Options { leak: Some(leak.clone()), leak_in: Some("ports".into()), ..open() };
    let (_practice, caller) = started(options).await;
    let answer = caller.get("/v4/ports").await;
    assert_eq!(answer.text.matches(&leak).count(), 1);
    assert_eq!(answer.json()["data"][0]["description"], json!(leak));
    assert_eq!(answer.header("x-practice"), "true");
    assert_eq!(caller.get("/v4/nothing").await.header("x-practice"), "true");
}

#[tokio::test]
async fn what_came_in_is_remembered_within_bounds() {
    let (practice, caller) = started(Options { recorded: 3, ..Options::default() }).await;
    for _ in 0..5 {
        caller.get("/v4/ports?limit=1").await;
    }
    let requests = practice.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!((requests[2].path.as_str(), requests[2].query.as_str()), ("/v4/ports", "limit=1"));
    assert_eq!((requests[2].operation.as_deref(), requests[2].status), (Some("getPorts"), 200));
    assert!(requests[2].header("Authorization").unwrap().starts_with("Bearer practice-"));
}

#[tokio::test]
async fn memory_is_bounded_and_many_callers_do_not_disturb_each_other() {
    let (_practice, caller) = started(Options { capacity: 60, ..open() }).await;
    let caller = Arc::new(caller);
    let tasks = (0..80).map(|number| {
        let caller = caller.clone();
        tokio::spawn(async move {
            let body = json!({
                "name": format!("c{number}"), "bandwidth": 1, "side": {"port": "p"}, "notifications": []
            });
            caller.call("POST", "/v4/connections", body).await.status
        })
    });
    let mut statuses = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        statuses.push(task.await.unwrap());
    }
    let created = statuses.iter().filter(|status| **status == 201).count();
    let full = statuses.iter().filter(|status| **status == 507).count();
    assert_eq!((created, full), (57, 23), "three were there from the start");
    let list =
        caller.call("POST", "/v4/connections/search", json!({"pagination": {"limit": 100}})).await.json();
    let mut uuids: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|item| item["uuid"].as_str().unwrap()).collect();
    uuids.sort_unstable();
    uuids.dedup();
    assert_eq!(uuids.len(), 60);
}

#[tokio::test]
async fn every_operation_can_be_called_with_sample_arguments_and_every_answer_fits() {
    let document = document();
    let (practice, caller) = started_with(document.clone(), open()).await;
    for operation in &document.operations {
        let arguments = practice.sample_arguments(&operation.id).unwrap();
        let answer = crate::practice_document::call(&caller.http, &practice, operation, &arguments).await;
        assert!((200..300).contains(&answer.0), "{} {arguments:?}: {}", operation.id, answer.1);
    }
    assert_eq!(practice.misfits(), Vec::<String>::new());
}

#[tokio::test]
async fn it_listens_on_the_loopback_only_and_stops() {
    let wide = serve(document(), Options { listen: "0.0.0.0:0".parse().unwrap(), ..open() }).await;
    assert!(wide.err().unwrap().message().contains("loopback"));
    let (practice, caller) = started(open()).await;
    assert_eq!(caller.get("/v4/ports").await.status, 200);
    let address = practice.address();
    practice.shutdown().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

/// A vendor's own document, when the shared folder is there.
pub(crate) fn shared(name: &str) -> Option<Document> {
    let bytes = std::fs::read(crate::support::shared(name)?).unwrap();
    Some(bartizan::connectors::openapi::load(&bytes, None).unwrap())
}

#[tokio::test]
async fn every_operation_of_the_vendors_own_document_answers_sample_arguments() {
    let Some(document) = shared("specs/equinix/fabricv4.patched.yaml") else { return };
    let (practice, caller) = started_with(document.clone(), open()).await;
    let mut wrong = Vec::new();
    for operation in &document.operations {
        let arguments = practice.sample_arguments(&operation.id).unwrap();
        let answer = crate::practice_document::call(&caller.http, &practice, operation, &arguments).await;
        if !(200..300).contains(&answer.0) {
            wrong.push(format!(
                "{} {} {arguments:?}\n  {} {}",
                operation.id, operation.path, answer.0, answer.1
            ));
        }
    }
    assert!(wrong.is_empty(), "{} refused:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(practice.misfits(), Vec::<String>::new());
}
