//! Credentials of connectors, as a whole program uses them, in front of upstreams that check them by themselves.
//!
//! Must not: check a signature with the code that made it; `tests/python/test_credentials.py` checks those with Python's
//! own library.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bartizan::app::{App, Extra};
use bartizan::config::Config;
use bartizan::error::{Error, Kind};
use bartizan::json::{Map, Value, json};
use bartizan::pipeline::{Outcome, Reply};
use bartizan::protocol::types::ToolResult;

use crate::connectors::rig::text;
use crate::loopback::{Act, Seen, Upstream, answer};

const KEY: &str = "k/4711+secret=of the owner";

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Widgets", "version": "1"},
        "paths": {
            "/widgets": {
                "get": {
                    "operationId": "listWidgets",
                    "parameters": [
                        {"name": "q", "in": "query", "schema": {"type": "string"}},
                        {"name": "api_key", "in": "query", "required": true, "schema": {"type": "string"}},
                        {"name": "X-Signature", "in": "header", "schema": {"type": "string"}},
                        {"name": "API-Key", "in": "query", "schema": {"type": "string"}},
                        {"name": "x_signature", "in": "header", "schema": {"type": "string"}},
                        {"name": "more", "in": "query", "schema": {"type": "object"}},
                    ],
                    "responses": {"200": {"description": "All", "content": {"application/json": {"schema": {"type": "object"}}}}}
                },
                "post": {
                    "operationId": "createWidget",
                    "requestBody": {"required": true, "content": {"application/json": {"schema": {"type": "object"}}}},
                    "responses": {"201": {"description": "Made"}}
                }
            }
        }
    })
}

fn private(path: &Path, content: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, content).unwrap();
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}

/// A connector in a folder, and a configuration that names it.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    egress: String,
    pub(crate) more: String,
}

impl Site {
    /// `credentials` is what stands in `connector.toml` after `[credentials]`; `FOLDER` in it is the site's folder.
    pub(crate) fn new(base: &str, address: &str, credentials: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Self { folder, egress: format!("allow_private = ['{address}']"), more: String::new() };
        std::fs::create_dir(site.path("acme")).unwrap();
        std::fs::write(site.path("acme/openapi.json"), document().to_string()).unwrap();
        site.sign(base, credentials);
        site
    }

    fn of(upstream: &Upstream, credentials: &str) -> Self {
        Self::new(upstream.base().as_str(), &upstream.address.to_string(), credentials)
    }

    pub(crate) fn with_egress(mut self, line: &str) -> Self {
        self.egress = format!("{}\n{line}", self.egress);
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn sign(&self, base: &str, credentials: &str) {
        let credentials = credentials.replace("FOLDER", &self.folder.path().display().to_string());
        let base = base.trim_end_matches('/');
        let manifest = format!("name = 'acme'\nbase = '{base}'\n{credentials}\n");
        std::fs::write(self.path("acme/connector.toml"), manifest).unwrap();
    }

    pub(crate) fn keep(&self, name: &str, content: &str) {
        private(&self.path(name), content);
    }

    pub(crate) async fn start(&self, top: &str) -> Result<Arc<App>, Error> {
        let path = self.path("bartizan.toml");
        let text = format!(
            "{top}\nstate_dir = 'state'\n[policy]\nset = 'admin'\n[egress]\n{}\nretries = 2\n{}\n[[connector]]\npath = 'acme'\n",
            self.egress, self.more
        );
        std::fs::write(&path, text).unwrap();
        App::build(Config::load(&path)?, Extra::default()).await
    }

    fn audit(&self) -> String {
        let mut all = String::new();
        let mut folders = vec![self.path("state")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    all.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()));
                }
            }
        }
        all
    }
}

pub(crate) async fn list(app: &App) -> Result<ToolResult, Error> {
    let asks = properties(app).contains_key("api_key");
    let arguments = if asks { json!({"q": "a b", "api_key": "no secret"}) } else { json!({"q": "a b"}) };
    call(app, "list_widgets", arguments).await
}

/// The arguments that the tool has.
fn properties(app: &App) -> Map<String, Value> {
    let now = app.catalog().now();
    let listed = now.list(bartizan::catalog::List::Tools);
    let tool = listed.iter().find(|tool| tool.spec().name == "list_widgets").unwrap();
    tool.spec().input.source()["properties"].as_object().unwrap().clone()
}

async fn call(app: &App, tool: &str, arguments: Value) -> Result<ToolResult, Error> {
    let arguments: Map<String, Value> = arguments.as_object().unwrap().clone();
    match app.call(tool, arguments, &app.context()).await? {
        Outcome::Done(done) => match done.into_reply() {
            Reply::Tool(result) => Ok(result),
            other => panic!("a tool's result, not {other:?}"),
        },
        Outcome::Paused(_) => panic!("nothing asks here"),
    }
}

fn everything(result: &Result<ToolResult, Error>) -> String {
    match result {
        Ok(result) => format!("{result:?}"),
        Err(error) => {
            let mut all = format!("{error:?} {:?}", error.detail());
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                all.push_str(&format!(" <- {cause:?} {cause}"));
                source = cause.source();
            }
            all
        }
    }
}

const SPELLINGS: &[&str] = &["k/4711", "k%2F4711", "k%2f4711", "secret=of", "secret%3Dof"];

// ---- a key in the query

#[tokio::test]
async fn a_query_key_reaches_the_upstream_and_nobody_else() {
    let upstream = Upstream::start(|seen, before| match before {
        // an upstream that shows what it was asked, in its body and in a header
        0 | 1 => {
            // under another name too, so that it is the key that is known and not its name
            let renamed = seen.target.replace("api_key=", "page=");
            let body = json!({"you_asked": seen.target, "next": format!("http://x.example{renamed}")});
            crate::loopback::with_header(answer(200, body), "location", &seen.target)
        }
        2 => answer(403, json!({"message": format!("not with {}", seen.target)})),
        3 => Act::RawThenClose(String::from("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\"")),
        _ => Act::RawThenClose(String::new()),
    })
    .await;
    let site =
        Site::of(&upstream, "[credentials]\nkind = 'query'\nname = 'api_key'\nfrom = 'file:FOLDER/key'");
    site.keep("key", KEY);
    let app = site.start("").await.unwrap();
    assert!(!properties(&app).contains_key("api_key"), "no argument of the model's");
    assert!(call(&app, "list_widgets", json!({"api_key": "mine"})).await.is_err());
    let mut shown = Vec::new();
    for _ in 0..4 {
        shown.push(everything(&list(&app).await));
    }
    shown.push(everything(&call(&app, "create_widget", json!({"body": {}})).await));
    app.close().await.unwrap();
    let sent = upstream.seen();
    assert_eq!(sent[0].target, "/widgets?q=a%20b&api_key=k%2F4711%2Bsecret%3Dof%20the%20owner");
    assert!(sent.iter().all(|seen| seen.target.contains("api_key=k%2F4711")), "each try carries it");
    assert!(shown[0].contains("[redacted:api-key]"), "{}", shown[0]);
    shown.push(site.audit());
    for text in shown {
        for spelling in SPELLINGS {
            assert!(!text.contains(spelling), "{spelling} came out: {text}");
        }
    }
}

#[tokio::test]
async fn a_query_key_that_was_replaced_is_read_again_after_one_401() {
    let upstream = Upstream::start(|seen, _| {
        answer(if seen.target.contains("api_key=the-second-key-4711") { 200 } else { 401 }, "{}")
    })
    .await;
    let site =
        Site::of(&upstream, "[credentials]\nkind = 'query'\nname = 'api_key'\nfrom = 'file:FOLDER/key'");
    site.keep("key", "the-first-key-4711");
    let app = site.start("").await.unwrap();
    assert!(list(&app).await.unwrap().is_error);
    assert_eq!(upstream.seen().len(), 1, "the same key is not tried twice");
    site.keep("key", "the-second-key-4711");
    assert!(!list(&app).await.unwrap().is_error);
    assert_eq!(upstream.seen().len(), 2);
    app.close().await.unwrap();
}

#[tokio::test]
async fn a_redirect_takes_no_key_anywhere() {
    let elsewhere = Upstream::start(|_, _| answer(200, "{}")).await;
    let away = elsewhere.url("/stolen").to_string();
    let upstream = Upstream::start(move |seen, _| {
        let query = seen.target.split_once('?').map_or("", |(_, query)| query);
        crate::loopback::with_header(answer(302, ""), "location", &format!("{away}?{query}"))
    })
    .await;
    let site =
        Site::of(&upstream, "[credentials]\nkind = 'query'\nname = 'api_key'\nfrom = 'file:FOLDER/key'");
    site.keep("key", KEY);
    let app = site.start("").await.unwrap();
    let error = list(&app).await.unwrap_err();
    assert_eq!((error.kind(), elsewhere.seen().len()), (Kind::UpstreamFailed, 0));
    app.close().await.unwrap();
}

// ---- a refresh token

/// A token endpoint whose refresh tokens are good once, and an API that takes the last access token.
#[derive(Default)]
struct Issuer {
    /// The refresh token that is good, and how many were handed out.
    good: String,
    number: usize,
    /// Whether a refresh token that is used twice ends them all, as RFC 9700 wants it.
    over: bool,
    rotates: bool,
    access: String,
    log: Vec<String>,
}

const FIRST: &str = "refresh-token-0-of-anna-4711";

fn form(seen: &Seen) -> Map<String, Value> {
    url::form_urlencoded::parse(&seen.body).map(|(name, value)| (name.into_owned(), json!(value))).collect()
}

async fn issuer(rotates: bool) -> (Upstream, Arc<Mutex<Issuer>>) {
    let state = Arc::new(Mutex::new(Issuer { good: FIRST.to_owned(), rotates, ..Issuer::default() }));
    let shared = Arc::clone(&state);
    let upstream = Upstream::start(move |seen, _| {
        let mut state = shared.lock().unwrap();
        if seen.path() != "/token" {
            let shown = seen.header("authorization").unwrap_or_default();
            return answer(if shown == format!("Bearer {}", state.access) { 200 } else { 401 }, "{}");
        }
        let form = form(seen);
        let given = form.get("refresh_token").and_then(Value::as_str).unwrap_or_default().to_owned();
        state.log.push(given.clone());
        if form.get("grant_type") != Some(&json!("refresh_token"))
            || seen.header("authorization") != Some("Basic YWNtZTp0aGUtY2xpZW50cy1zZWNyZXQ=")
        {
            return answer(401, json!({"error": "invalid_client"}));
        }
        if given != state.good || state.over {
            state.over = true;
            return answer(
                400,
                json!({"error": "invalid_grant", "error_description": format!("reused {given}")}),
            );
        }
        state.number += 1;
        state.access = format!("access-token-{}-of-anna-4711", state.number);
        let mut body = json!({"access_token": state.access, "token_type": "Bearer", "expires_in": 600});
        if state.rotates {
            state.good = format!("refresh-token-{}-of-anna-4711", state.number);
            body["refresh_token"] = json!(state.good);
        }
        answer(200, body)
    })
    .await;
    (upstream, state)
}

const REFRESH: &str = "[credentials]\nkind = 'refresh'\ntoken_url = 'BASE/token'\nclient_id = 'file:FOLDER/id'\n\
                       client_secret = 'file:FOLDER/secret'\nrefresh_token = 'file:FOLDER/refresh'\n";

fn refreshing(upstream: &Upstream, more: &str) -> Site {
    let base = upstream.base().to_string();
    let credentials = format!("{REFRESH}{more}").replace("BASE", base.trim_end_matches('/'));
    let mut site = Site::of(upstream, &credentials);
    site.keep("id", "acme");
    site.keep("secret", "the-clients-secret");
    site.keep("refresh", FIRST);
    site.keep("seal", &"1".repeat(64));
    site.more = format!("[tokens]\npersist = true\nkeys = ['file:{}']", site.path("seal").display());
    site
}

#[tokio::test]
async fn each_refresh_token_is_used_once_and_the_last_one_outlives_a_restart() {
    let (upstream, issuer) = issuer(true).await;
    let site = refreshing(&upstream, "");
    for expected in 1..=3 {
        let app = site.start("").await.unwrap();
        assert!(!list(&app).await.unwrap().is_error);
        assert!(!list(&app).await.unwrap().is_error);
        // the access token is taken back: one 401, one refresh, one more try
        issuer.lock().unwrap().access = String::from("none");
        let before = upstream.count("/widgets");
        assert!(!list(&app).await.unwrap().is_error);
        assert_eq!(upstream.count("/widgets"), before + 2);
        app.close().await.unwrap();
        assert_eq!(issuer.lock().unwrap().number, 1 + expected, "and none at the restart");
    }
    let log = issuer.lock().unwrap().log.clone();
    let expected: Vec<String> = (0..4).map(|number| format!("refresh-token-{number}-of-anna-4711")).collect();
    assert_eq!(log, expected);
    let state = site.audit();
    assert!(!state.contains("refresh-token-") && !state.contains("access-token-"), "sealed");
}

#[tokio::test]
async fn processes_that_share_a_state_directory_take_turns_with_a_refresh_token() {
    let (upstream, issuer) = issuer(true).await;
    let site = refreshing(&upstream, "");
    let (one, two) = (site.start("").await.unwrap(), site.start("").await.unwrap());
    for _ in 0..3 {
        issuer.lock().unwrap().access = String::from("none");
        let calls: Vec<_> = (0..8).map(|number| list(if number % 2 == 0 { &one } else { &two })).collect();
        for done in futures_util::future::join_all(calls).await {
            assert!(!done.unwrap().is_error);
        }
    }
    let log = issuer.lock().unwrap().log.clone();
    let mut once = log.clone();
    once.dedup();
    assert_eq!(once, log, "none was sent twice");
    assert!(!issuer.lock().unwrap().over);
    one.close().await.unwrap();
    two.close().await.unwrap();
}

#[tokio::test]
async fn a_refresh_token_that_somebody_else_used_is_told_plainly_and_not_sent_again() {
    let (upstream, issuer) = issuer(true).await;
    let site = refreshing(&upstream, "");
    let app = site.start("").await.unwrap();
    assert!(!list(&app).await.unwrap().is_error);
    // somebody else has it: the next refresh is a second use
    issuer.lock().unwrap().good = String::from("refresh-token-of-a-thief");
    issuer.lock().unwrap().access = String::from("none");
    let error = list(&app).await.unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamRefused, "{error}");
    assert!(error.message().contains("used by somebody else, revoked, or has ended"), "{error}");
    assert!(error.message().contains("file:") && error.message().contains("/refresh"), "says where: {error}");
    assert!(!everything(&Err(error)).contains("refresh-token-"));
    let asked = upstream.count("/token");
    app.close().await.unwrap();
    for _ in 0..2 {
        let app = site.start("").await.unwrap();
        let error = list(&app).await.unwrap_err();
        assert!(error.message().contains("not sent again"), "{error}");
        app.close().await.unwrap();
    }
    assert_eq!(upstream.count("/token"), asked, "after a restart neither");
    // somebody logs in anew
    let app = site.start("").await.unwrap();
    {
        let mut issuer = issuer.lock().unwrap();
        (issuer.good, issuer.over) = (String::from("refresh-token-of-a-new-login"), false);
    }
    site.keep("refresh", "refresh-token-of-a-new-login");
    assert!(!list(&app).await.unwrap().is_error);
    app.close().await.unwrap();
}

#[tokio::test]
async fn a_refresh_token_needs_a_place_to_be_kept_unless_it_stays_the_same() {
    let (upstream, issuer) = issuer(false).await;
    let mut site = refreshing(&upstream, "");
    site.more.clear();
    let error = site.start("").await.map(drop).unwrap_err();
    assert!(error.kind() == Kind::BadConfig && error.message().contains("[tokens]"), "{error}");
    let mut site = refreshing(&upstream, "rotates = false");
    site.more.clear();
    for number in 1..=2 {
        let app = site.start("").await.unwrap();
        assert!(!list(&app).await.unwrap().is_error);
        app.close().await.unwrap();
        assert_eq!(issuer.lock().unwrap().number, number);
    }
    assert_eq!(issuer.lock().unwrap().log, [FIRST, FIRST]);
}

// ---- a signature

const HMAC: &str = "[credentials]\nkind = 'hmac'\nkey = 'file:FOLDER/key'\nkey_id = 'file:FOLDER/id'\n\
                    sign = \"{method}\\n{target}\\n{timestamp}\\n{body_sha256_hex}\"\n\
                    [credentials.headers]\nX-Timestamp = '{timestamp}'\n\
                    X-Signature = 'key={key_id}, sig={signature}'\n";

#[tokio::test]
async fn each_try_is_signed_anew_and_the_key_never_leaves() {
    let upstream = Upstream::start(|_, before| answer(if before == 0 { 503 } else { 200 }, "{}")).await;
    let site = Site::of(&upstream, HMAC);
    site.keep("key", "the signing key of the owner 4711");
    site.keep("id", "client-7");
    let app = site.start("").await.unwrap();
    assert!(properties(&app).keys().all(|name| !name.to_lowercase().contains("signature")));
    let done = call(&app, "list_widgets", json!({"q": "a", "api_key": "plain here"})).await.unwrap();
    assert!(!done.is_error, "{}", text(&done));
    let seen = upstream.seen();
    assert_eq!(seen.len(), 2);
    for seen in seen {
        let signed = seen.header("x-signature").unwrap();
        assert!(signed.starts_with("key=client-7, sig=") && signed.len() == 18 + 64, "{signed}");
        let sent = format!("{seen:?}");
        assert!(!sent.contains("the signing key") && !sent.contains("owner"), "{sent}");
    }
    app.close().await.unwrap();
    assert!(!site.audit().contains("the signing key"));
}

#[tokio::test]
async fn a_recipe_that_cannot_be_followed_or_leads_elsewhere_is_refused_at_the_start() {
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    for (what, with, said) in [
        ("{method}\\n", "{methode}\\n", "there is not"),
        ("X-Timestamp = '{timestamp}'", "Host = 'evil.example'", "host"),
        ("X-Timestamp = '{timestamp}'", "X-Other = 'x'", "{timestamp}"),
        ("sig={signature}", "sig=none", "{signature}"),
        ("key={key_id}, ", "", "`key_id`"),
        ("kind = 'hmac'", "kind = 'hmac'\nhost = 'evil.example'", "unknown key `host`"),
    ] {
        let site = Site::of(&upstream, &HMAC.replace(what, with));
        site.keep("key", "the signing key of the owner 4711");
        site.keep("id", "client-7");
        let error = site.start("").await.map(drop).unwrap_err();
        assert!(error.kind() == Kind::BadConfig && error.message().contains(said), "{what}: {error}");
    }
    let site = Site::of(&upstream, &HMAC.replace("kind = 'hmac'", "kind = 'hmac'\nkey_encoding = 'hex'"));
    site.keep("key", "the signing key of the owner 4711");
    site.keep("id", "client-7");
    let app = site.start("").await.unwrap();
    let error = call(&app, "create_widget", json!({"body": {}})).await.unwrap_err();
    assert!(error.message().contains("key_encoding") && !error.message().contains("owner"), "{error}");
    app.close().await.unwrap();
    assert!(upstream.seen().is_empty());
}

// ---- profiles

#[tokio::test]
async fn each_profile_signs_with_its_own_credential() {
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    let each = "[credentials.production]\nkind = 'bearer'\nfrom = 'file:FOLDER/real'\n\
                [credentials.development]\nkind = 'header'\nname = 'X-Key'\nfrom = 'file:FOLDER/play'\n";
    let site = Site::of(&upstream, each);
    site.keep("real", "the-real-token-4711");
    site.keep("play", "the-token-to-play-with");
    let ask = async |profile: &str| {
        let app = site.start(profile).await?;
        let done = call(&app, "list_widgets", json!({"api_key": "x"})).await.map(drop);
        app.close().await.unwrap();
        done
    };
    ask("").await.unwrap();
    ask("profile = 'development'").await.unwrap();
    let seen = upstream.seen();
    assert_eq!(seen[0].header("authorization"), Some("Bearer the-real-token-4711"));
    assert_eq!(
        (seen[1].header("authorization"), seen[1].header("x-key")),
        (None, Some("the-token-to-play-with"))
    );
    let error = ask("profile = 'staging'").await.unwrap_err();
    assert!(error.message().contains("[credentials.staging]"), "{error}");
    // the same value in another file
    site.keep("play", "the-real-token-4711");
    let error = ask("profile = 'development'").await.unwrap_err();
    assert!(error.message().contains("production"), "{error}");
    assert_eq!(upstream.seen().len(), 2);
    // the same reference
    site.sign(upstream.base().as_str(), &each.replace("FOLDER/play", "FOLDER/real"));
    let error = ask("").await.unwrap_err();
    assert!(
        error.kind() == Kind::BadConfig && error.message().contains("each profile has its own"),
        "{error}"
    );
    site.sign(upstream.base().as_str(), &each.replace("credentials.development", "credentials.playground"));
    assert!(ask("").await.unwrap_err().message().contains("did you mean"));
}

#[tokio::test]
async fn no_argument_sets_a_credential_however_its_name_is_written() {
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    let site =
        Site::of(&upstream, "[credentials]\nkind = 'query'\nname = 'api_key'\nfrom = 'file:FOLDER/key'");
    site.keep("key", KEY);
    let app = site.start("").await.unwrap();
    let known = properties(&app);
    assert!(!known.contains_key("api_key") && !known.contains_key("API-Key"), "{known:?}");
    // an object whose members become parameters of their own brings none either
    let more = json!({"more": {"API_KEY": "mine", "api-key": "mine", "kept": "yes"}});
    call(&app, "list_widgets", more).await.unwrap();
    app.close().await.unwrap();
    assert_eq!(upstream.seen()[0].target, "/widgets?kept=yes&api_key=k%2F4711%2Bsecret%3Dof%20the%20owner");

    let site =
        Site::of(&upstream, "[credentials]\nkind = 'header'\nname = 'X-Signature'\nfrom = 'file:FOLDER/key'");
    site.keep("key", KEY);
    let app = site.start("").await.unwrap();
    let known = properties(&app);
    assert!(known.keys().all(|name| !name.to_ascii_lowercase().contains("signature")), "{known:?}");
    app.close().await.unwrap();
}
