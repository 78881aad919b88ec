//! Second credentials and their switch, rotations that are rehearsed, and what upstream credentials may do.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bartizan::app::{App, DrillOutcome, Extra, Reach, Rehearsal, reaches, rehearse};
use bartizan::clock::SystemClock;
use bartizan::config::Config;
use bartizan::error::{Kind, Result};
use bartizan::json::{Map, json};
use bartizan::redaction::{self, Redactor};
use bartizan::secret::Secret;
use bartizan::state::StateDir;
use bartizan::vault::{Reference, Switch, Turned};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::loopback::{Upstream, answer};

const DOCUMENT: &str = r#"{
  "openapi": "3.1.0", "info": {"title": "acme", "version": "1"},
  "security": [{"login": ["widgets:read"]}],
  "paths": {"/widgets": {
    "get": {"operationId": "list_widgets", "responses": {"200": {"description": "fine"}}},
    "post": {"operationId": "add_widget", "security": [{"login": ["widgets:write"]}, {"login": ["widgets:all"]}],
             "responses": {"200": {"description": "fine"}}}
  }}
}"#;

/// A folder with a configuration, and an upstream that accepts what it is told to.
struct Place {
    folder: tempfile::TempDir,
    accepted: Arc<Mutex<BTreeSet<String>>>,
    upstream: Upstream,
}

impl Place {
    async fn new() -> Self {
        let accepted: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let known = accepted.clone();
        let upstream = Upstream::start(move |seen, _| {
            let known = known.lock().unwrap();
            if seen.path() == "/token" {
                let secret = seen.json()["client_secret"].as_str().unwrap_or_default().to_owned();
                let granted = json!({
                    "access_token": format!("token-of-{secret}"), "expires_in": 3600, "scope": "widgets:read extra"
                });
                return if known.contains(&secret) { answer(200, granted) } else { answer(401, "{}") };
            }
            let shown = seen.header("authorization").unwrap_or_default();
            let shown = shown.trim_start_matches("Bearer ").trim_start_matches("token-of-");
            if known.contains(shown) { answer(200, "{}") } else { answer(401, "{}") }
        })
        .await;
        let place = Self { folder: tempfile::tempdir().unwrap(), accepted, upstream };
        std::fs::write(place.path("acme.json"), DOCUMENT).unwrap();
        place.secret("first", "the-first-secret-4711");
        place.secret("second", "the-second-secret-4712");
        place.accept(&["the-first-secret-4711", "the-second-secret-4712"]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn secret(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn accept(&self, secrets: &[&str]) {
        *self.accepted.lock().unwrap() = secrets.iter().map(|one| (*one).to_owned()).collect();
    }

    fn file(&self, name: &str) -> String {
        format!("file:{}", self.path(name).display())
    }

    /// One document with a bearer token, and what else the configuration says.
    fn config(&self, health: &str, more: &str) -> Config {
        let text = format!(
            "state_dir = 'state'\n[egress]\nallow_private = ['{0}']\nretries = 0\n\
             [[openapi]]\nfile = 'acme.json'\nbase_url = 'http://{0}'\nauth = 'bearer:{1}'\n{health}\n{more}\n",
            self.upstream.address,
            self.file("first"),
        );
        self.written(&text)
    }

    fn written(&self, text: &str) -> Config {
        std::fs::write(self.path("bartizan.toml"), text).unwrap();
        Config::load(&self.path("bartizan.toml")).unwrap()
    }

    /// The same, with client credentials in a connector's folder.
    fn logging_in(&self, more: &str) -> Config {
        let folder = self.path("acme");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("openapi.json"), DOCUMENT).unwrap();
        let manifest = format!(
            "name = 'acme'\nbase = 'http://{0}'\n[credentials]\nkind = 'oauth2'\ntoken_url = 'http://{0}/token'\n\
             client_id = '{1}'\nclient_secret = '{2}'\nstyle = 'json'\n",
            self.upstream.address,
            self.file("id"),
            self.file("first"),
        );
        std::fs::write(folder.join("connector.toml"), manifest).unwrap();
        self.secret("id", "client-4711");
        self.written(&format!(
            "state_dir = 'state'\n[egress]\nallow_private = ['{}']\nretries = 0\n[[connector]]\npath = 'acme'\n{more}\n",
            self.upstream.address,
        ))
    }

    fn standby(&self) -> String {
        format!(
            "[secrets.standby.acme]\nreplace = {{ '{}' = '{}' }}",
            self.file("first"),
            self.file("second")
        )
    }

    fn state(&self) -> StateDir {
        StateDir::open(self.path("state")).unwrap()
    }

    fn turn(&self, on: bool) {
        let turned = on.then(|| Turned { since: 1, by: String::from("olga") });
        assert!(Switch::new(&self.state()).turn("acme", turned).unwrap());
    }

    async fn rehearse(&self, config: &Config, given: &[(Reference, Reference)]) -> Result<Rehearsal> {
        rehearse(config, given, (&redactor(), &SystemClock::shared(), &self.state())).await
    }

    /// What the upstream was shown last.
    fn shown(&self) -> String {
        let seen = self.upstream.seen();
        let last = seen.iter().rev().find(|seen| seen.path() == "/widgets").unwrap();
        last.header("authorization").unwrap_or_default().to_owned()
    }
}

fn redactor() -> Redactor {
    let key = Some(Secret::new("fingerprints of the tests, 32 byte"));
    Redactor::new(&redaction::Config { fingerprint_key: key, ..redaction::Config::default() }).unwrap()
}

async fn call(app: &Arc<App>) -> bool {
    let outcome = app.call("list_widgets", Map::new(), &app.context()).await;
    match outcome {
        Ok(bartizan::pipeline::Outcome::Done(done)) => {
            !format!("{:?}", done.into_reply()).contains("is_error: true")
        }
        Ok(_) => panic!("it waits for somebody"),
        Err(_) => false,
    }
}

/// Calls until the upstream is shown that; a server looks at its switch a few times a second.
async fn until_shown(app: &Arc<App>, place: &Place, wanted: &str) {
    let began = Instant::now();
    loop {
        call(app).await;
        if place.shown() == wanted {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "still {}", place.shown());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_second_credential_is_used_on_an_operators_word_alone() {
    let place = Place::new().await;
    let app = App::build(place.config("", &place.standby()), Extra::default()).await.unwrap();
    assert!(call(&app).await);
    assert_eq!(place.shown(), "Bearer the-first-secret-4711");
    // what the upstream refuses is not answered by trying the other one
    place.accept(&["the-second-secret-4712"]);
    for _ in 0..3 {
        assert!(!call(&app).await);
        assert_eq!(place.shown(), "Bearer the-first-secret-4711");
    }
    place.turn(true);
    until_shown(&app, &place, "Bearer the-second-secret-4712").await;
    assert!(call(&app).await);
    // a server that starts later uses it, too
    let later = App::build(place.config("", &place.standby()), Extra::default()).await.unwrap();
    assert!(call(&later).await);
    assert_eq!(place.shown(), "Bearer the-second-secret-4712");
    later.close().await.unwrap();
    place.turn(false);
    until_shown(&app, &place, "Bearer the-first-secret-4711").await;
    app.close().await.unwrap();
    let audited = std::fs::read_to_string(place.path("state/audit.jsonl")).unwrap();
    assert!(
        audited.contains("credential switched here") && audited.contains(&place.file("second")),
        "{audited}"
    );
    assert!(!audited.contains("secret-471"), "{audited}");
}

#[tokio::test]
async fn after_the_switch_no_token_of_the_former_credential_is_used() {
    let place = Place::new().await;
    let app = App::build(place.logging_in(&place.standby()), Extra::default()).await.unwrap();
    assert!(call(&app).await);
    assert_eq!(place.shown(), "Bearer token-of-the-first-secret-4711");
    place.turn(true);
    until_shown(&app, &place, "Bearer token-of-the-second-secret-4712").await;
    assert_eq!(place.upstream.count("/token"), 2);
    app.close().await.unwrap();
}

/// An upstream that repeats both credentials, and a configuration that calls it.
async fn repeating(place: &Place) -> (Upstream, Config) {
    let both = json!({"one": "the-first-secret-4711", "two": "the-second-secret-4712"});
    let upstream = Upstream::start(move |_, _| answer(200, both.clone())).await;
    let document = r#"{
      "openapi": "3.1.0", "info": {"title": "acme", "version": "1"},
      "security": [{"login": []}],
      "components": {"securitySchemes": {"login": {"type": "http", "scheme": "bearer"}}},
      "paths": {"/widgets": {"get": {
        "operationId": "find_widgets", "responses": {"200": {"description": "fine"}},
        "parameters": [{"name": "word", "in": "query", "schema": {"type": "string"}}]
      }}}
    }"#;
    std::fs::write(place.path("acme.json"), document).unwrap();
    let config = place.written(&format!(
        "state_dir = 'state'\n[egress]\nallow_private = ['{0}']\n\
         [[openapi]]\nfile = 'acme.json'\nbase_url = 'http://{0}'\nauth = 'bearer:{1}'\n{2}\n",
        upstream.address,
        place.file("first"),
        place.standby(),
    ));
    (upstream, config)
}

/// What the model sees of a call, or why there was none.
async fn seen(app: &Arc<App>, word: &str) -> String {
    let arguments = json!({"word": word}).as_object().unwrap().clone();
    match app.call("find_widgets", arguments, &app.context()).await {
        Ok(bartizan::pipeline::Outcome::Done(done)) => format!("{:?}", done.into_reply()),
        Ok(_) => panic!("it waits for somebody"),
        Err(error) => format!("refused: {error}"),
    }
}

#[tokio::test]
async fn neither_of_two_credentials_is_shown_or_taken_before_or_after_the_switch() {
    let place = Place::new().await;
    let (upstream, config) = repeating(&place).await;
    let mut app = App::build(config.clone(), Extra::default()).await.unwrap();
    let last = || {
        let seen = upstream.seen();
        seen.last().unwrap().header("authorization").unwrap_or_default().to_owned()
    };
    for round in ["before", "after", "after a restart"] {
        if round == "after" {
            place.turn(true);
            let began = Instant::now();
            while last() != "Bearer the-second-secret-4712" {
                seen(&app, "x").await;
                assert!(began.elapsed() < Duration::from_secs(60));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        } else if round == "after a restart" {
            app.close().await.unwrap();
            app = App::build(config.clone(), Extra::default()).await.unwrap();
        }
        let shown = seen(&app, "x").await;
        assert!(shown.contains("[redacted:"), "{round}: {shown}");
        assert!(!shown.contains("4711") && !shown.contains("4712"), "{round}: {shown}");
        let calls = upstream.seen().len();
        for secret in ["the-first-secret-4711", "the-second-secret-4712"] {
            let answer = seen(&app, &format!("say {secret}")).await;
            assert!(answer.contains("refused") || answer.contains("is_error: true"), "{round}: {answer}");
            assert!(!answer.contains(secret), "{round}: {answer}");
        }
        assert_eq!(upstream.seen().len(), calls, "{round}: nothing is sent on");
    }
    // one that is put in its place is known before it is used
    place.secret("first", "one-that-came-later");
    let began = Instant::now();
    while !seen(&app, "one-that-came-later").await.contains("refused") {
        assert!(began.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    app.close().await.unwrap();
    // one that is gone keeps no server from starting
    std::fs::remove_file(place.path("first")).unwrap();
    App::build(config, Extra::default()).await.unwrap().close().await.unwrap();
    let audited = std::fs::read_to_string(place.path("state/audit.jsonl")).unwrap();
    assert!(!audited.contains("secret-471"), "{audited}");
}

#[tokio::test]
async fn a_name_that_has_a_second_one_is_no_secret() {
    let place = Place::new().await;
    place.secret("id2", "client-4712");
    let pairs =
        format!("[secrets.standby.acme]\nreplace = {{ '{}' = '{}' }}", place.file("id"), place.file("id2"));
    let app = App::build(place.logging_in(&pairs), Extra::default()).await.unwrap();
    let said = json!({"word": "client-4711 client-4712"});
    assert!(!app.redactor().refuses(&said));
    app.close().await.unwrap();
}

#[tokio::test]
async fn a_switch_that_is_lost_or_forged_stays_where_it_was() {
    let place = Place::new().await;
    let config = place.config("", &place.standby());
    place.turn(true);
    let app = App::build(config.clone(), Extra::default()).await.unwrap();
    let second = "Bearer the-second-secret-4712";
    let start = async || {
        let later = App::build(config.clone(), Extra::default()).await?;
        assert!(call(&later).await);
        assert_eq!(place.shown(), second);
        later.close().await
    };
    let (file, kept) = (place.path("state/standby.json"), place.path("state/standby.kept.json"));
    let good = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    start().await.unwrap();
    for forged in
        ["{}", "{\"version\":1,\"on\":{}}", "{\"version\":1,\"turn\":9999999999999,\"on\":{},\"mark\":\"\"}"]
    {
        std::fs::write(&file, forged).unwrap();
        start().await.unwrap();
    }
    std::fs::remove_file(&kept).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(start().await.is_err(), "nobody knows which it was");
    // the server that runs has looked meanwhile, and goes on with what it knows
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_millis(500) {
        assert!(call(&app).await);
        assert_eq!(place.shown(), second);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    std::fs::write(&kept, good).unwrap();
    start().await.unwrap();
    place.turn(false);
    until_shown(&app, &place, "Bearer the-first-secret-4711").await;
    app.close().await.unwrap();
}

/// Types a command in a thread of its own, since it brings its own runtime.
async fn typed(place: &Place, words: &[&str]) -> u8 {
    let config = place.path("bartizan.toml").into_os_string();
    let words: Vec<OsString> = [&["bartizan"], words].concat().iter().map(OsString::from).collect();
    let all = words.into_iter().chain([OsString::from("--config"), config]);
    tokio::task::spawn_blocking(move || bartizan::cli::main(all, None)).await.unwrap()
}

#[tokio::test]
async fn an_operator_switches_and_it_is_written_down_by_fingerprint() {
    let place = Place::new().await;
    place.config("", &place.standby());
    assert_eq!(typed(&place, &["credential", "list"]).await, 0);
    assert_eq!(typed(&place, &["credential", "list", "--json"]).await, 0);
    assert_eq!(typed(&place, &["credential", "switch", "nobody"]).await, 2);
    assert_eq!(typed(&place, &["credential", "switch", "acme", "--back"]).await, 0, "it is so already");
    assert!(Switch::new(&place.state()).on().unwrap().is_empty());
    assert_eq!(typed(&place, &["credential", "switch", "acme"]).await, 0);
    assert!(Switch::new(&place.state()).on().unwrap().contains_key("acme"));
    let audited = || std::fs::read_to_string(place.path("state/audit.jsonl")).unwrap();
    assert!(audited().contains("\"event\":\"credential switched\"") && audited().contains("fingerprint"));
    assert!(!audited().contains("secret-471"));
    // to what cannot be read nobody switches
    std::fs::remove_file(place.path("first")).unwrap();
    assert_eq!(typed(&place, &["credential", "switch", "acme", "--back"]).await, 2);
    assert!(Switch::new(&place.state()).on().unwrap().contains_key("acme"));
    // where an operator is enrolled, one has to agree
    place.secret("passphrase", "correct horse battery");
    place.secret("first", "the-first-secret-4711");
    let reference = place.file("passphrase");
    assert_eq!(typed(&place, &["approvals", "enrol", "alice", "--passphrase", &reference]).await, 0);
    assert_eq!(typed(&place, &["credential", "switch", "acme", "--back"]).await, 2, "nobody to ask");
    let back = ["credential", "switch", "acme", "--back", "--passphrase", &reference];
    assert_eq!(typed(&place, &back).await, 0);
    assert!(Switch::new(&place.state()).on().unwrap().is_empty());
}

fn step(done: &Rehearsal, step: &str) -> (DrillOutcome, String) {
    let found = done.sources.iter().flat_map(|one| &one.steps).find(|one| one.step == step);
    let found = found.unwrap_or_else(|| panic!("no {step}: {done:?}"));
    (found.outcome, found.said.clone())
}

/// Every file below a folder with its content.
fn everything(folder: &Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(everything(&entry.path()));
        } else {
            found.insert((entry.path(), std::fs::read(entry.path()).unwrap()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_rehearsed_to_its_end_and_nothing_is_changed() {
    let place = Place::new().await;
    let config = place.config("health = 'list_widgets'", &place.standby());
    place.state();
    let before = everything(place.folder.path());
    let done = place.rehearse(&config, &[]).await.unwrap();
    assert!(done.passed, "{done:?}");
    for name in ["present", "accepted", "next", "accepted next", "put in place", "old removed"] {
        assert_eq!(step(&done, name).0, DrillOutcome::Ok, "{name}");
    }
    let seen = place.upstream.seen();
    let shown: Vec<_> =
        seen.iter().map(|one| (one.method.as_str(), one.header("authorization").unwrap())).collect();
    assert_eq!(shown, [("GET", "Bearer the-first-secret-4711"), ("GET", "Bearer the-second-secret-4712")]);
    let said = serde_json::to_string(&done).unwrap();
    assert!(!said.contains("4711") && !said.contains("4712") && said.contains("fingerprint"), "{said}");
    assert!(everything(place.folder.path()) == before, "no file is made, changed or removed");

    // the upstream does not accept the new one
    place.accept(&["the-first-secret-4711"]);
    let done = place.rehearse(&config, &[]).await.unwrap();
    assert!(!done.passed && step(&done, "accepted").0 == DrillOutcome::Ok);
    let (outcome, said) = step(&done, "accepted next");
    assert!(outcome == DrillOutcome::Failed && said.contains("401"), "{said}");
    // the new one is the old one
    place.secret("second", "the-first-secret-4711");
    assert_eq!(step(&place.rehearse(&config, &[]).await.unwrap(), "next").0, DrillOutcome::Failed);
    // the new one cannot be read
    std::fs::set_permissions(place.path("second"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (outcome, said) = step(&place.rehearse(&config, &[]).await.unwrap(), "next");
    assert!(outcome == DrillOutcome::Failed && said.contains("chmod 600"), "{said}");
    // nothing stands ready, and then it is given
    place.secret("second", "the-second-secret-4712");
    place.accept(&["the-first-secret-4711", "the-second-secret-4712"]);
    let bare = place.config("", "");
    let done = place.rehearse(&bare, &[]).await.unwrap();
    assert!(!done.passed && step(&done, "next").0 == DrillOutcome::Unknown);
    assert_eq!(step(&done, "accepted").0, DrillOutcome::Unknown, "no request that only reads is named");
    let [first, second] = ["first", "second"].map(|name| Reference::parse(&place.file(name)).unwrap());
    assert!(place.rehearse(&bare, &[(first.clone(), second.clone())]).await.unwrap().passed);
    assert!(place.rehearse(&bare, &[(second, first)]).await.is_err(), "nobody reads that");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_names_who_still_needs_the_old_one_and_logs_in_where_that_tells() {
    let place = Place::new().await;
    // another source has the same secret under another name
    place.secret("copy", "the-first-secret-4711");
    let more = format!(
        "{}\n[[openapi]]\nname = 'other'\nfile = 'acme.json'\nbase_url = 'http://{}'\nauth = 'bearer:{}'\n",
        place.standby(),
        place.upstream.address,
        place.file("copy"),
    );
    let done = place.rehearse(&place.config("", &more), &[]).await.unwrap();
    let (outcome, said) = step(&done, "old removed");
    assert!(outcome == DrillOutcome::Failed && said.contains("other"), "{said}");

    let config = place.logging_in(&place.standby());
    let done = place.rehearse(&config, &[]).await.unwrap();
    assert!(done.passed && step(&done, "accepted next").1.contains("token endpoint"), "{done:?}");
    let logins = place.path("state/logins");
    assert!(!logins.exists() || std::fs::read_dir(logins).unwrap().next().is_none(), "no login is counted");
    place.accept(&["the-first-secret-4711"]);
    let done = place.rehearse(&config, &[]).await.unwrap();
    assert!(!done.passed && step(&done, "accepted next").0 == DrillOutcome::Failed, "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_that_seal_are_rehearsed_too() {
    let place = Place::new().await;
    place.secret("seal", &"5a".repeat(32));
    let more = format!(
        "{}\n[tokens]\npersist = true\nkeys = ['{2}']\n[server]\nsealing_keys = ['{2}']\n{1}",
        place.standby(),
        "",
        place.file("seal"),
    );
    let config = place.config("", &more);
    let done = place.rehearse(&config, &[]).await.unwrap();
    let names: Vec<&str> = done.sources.iter().map(|one| one.source.as_str()).collect();
    assert_eq!(names, ["acme", "[tokens] keys", "[server] sealing_keys"]);
    assert!(done.passed, "{done:?}");
    place.secret("seal", "too short to seal with");
    assert!(!place.rehearse(&config, &[]).await.unwrap().passed);
}

#[tokio::test]
async fn the_drills_exit_code_tells_and_its_report_is_in_the_audit() {
    let place = Place::new().await;
    place.config("health = 'list_widgets'", &place.standby());
    assert_eq!(typed(&place, &["rotate"]).await, 2, "it only rehearses");
    assert_eq!(typed(&place, &["rotate", "--drill", "--json"]).await, 0);
    place.accept(&["the-first-secret-4711"]);
    assert_eq!(typed(&place, &["rotate", "--drill"]).await, 4);
    place.config("health = 'list_widgets'", "");
    assert_eq!(typed(&place, &["rotate", "--drill"]).await, 2, "nothing stands ready");
    let audited = std::fs::read_to_string(place.path("state/audit.jsonl")).unwrap();
    assert_eq!(audited.matches("\"event\":\"rotation rehearsed\"").count(), 3, "{audited}");
    assert!(audited.contains("\"passed\":true") && !audited.contains("4711") && !audited.contains("4712"));
    place.config("health = 'add_widget'", "");
    assert_eq!(typed(&place, &["check"]).await, 2, "what changes something is no health check");
}

fn jwt(claims: &str) -> String {
    format!("{}.{}.{}", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(claims), "c2ln")
}

async fn reach(place: &Place, config: &Config, login: bool) -> Reach {
    let found = reaches(config, login, (&redactor(), &SystemClock::shared(), &place.state())).await.unwrap();
    assert_eq!(found.len(), 1);
    found.into_iter().next().unwrap().1
}

#[tokio::test]
async fn what_a_credential_may_do_beyond_the_tools_is_named_and_what_cannot_be_known_is_said() {
    let place = Place::new().await;
    let names = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<String>>();
    place.secret("first", &jwt(r#"{"scope": "widgets:read widgets:write admin:all openid"}"#));
    let read_only = place.config("", "");
    let Reach::Known { excess, lacking, undeclared } = reach(&place, &read_only, false).await else {
        panic!("it says so")
    };
    assert_eq!((excess, undeclared), (names(&["admin:all", "widgets:write"]), 0), "writes are not offered");
    assert!(lacking.is_empty());
    let standard = place.config("", "[policy]\nset = 'standard'");
    let Reach::Known { excess, .. } = reach(&place, &standard, false).await else { panic!("it says so") };
    assert_eq!(excess, names(&["admin:all"]));

    place.secret("first", &jwt(r#"{"scp": ["widgets:all"]}"#));
    let Reach::Known { excess, lacking, .. } = reach(&place, &standard, false).await else {
        panic!("it says so")
    };
    assert!(excess.is_empty(), "one of the ways to be allowed to write");
    assert_eq!(lacking.keys().collect::<Vec<_>>(), ["list_widgets"]);
    assert_eq!(lacking["list_widgets"], names(&["widgets:read"]));

    place.secret("first", "an-opaque-token-4711");
    assert_eq!(reach(&place, &standard, true).await, Reach::Silent);
    assert!(place.upstream.seen().is_empty(), "nobody was asked");
    let config = place.logging_in("");
    assert_eq!(reach(&place, &config, false).await, Reach::AfterLogin);
    assert!(place.upstream.seen().is_empty(), "nor without being told to");
    place.secret("first", "the-first-secret-4711");
    let Reach::Known { excess, .. } = reach(&place, &config, true).await else {
        panic!("the endpoint says so")
    };
    assert_eq!(excess, names(&["extra"]));
    std::fs::remove_file(place.path("first")).unwrap();
    assert!(matches!(reach(&place, &config, true).await, Reach::Unread(_)));
    assert_eq!(typed(&place, &["doctor", "--login"]).await, 0, "that is no fault of the installation");
}

#[tokio::test]
async fn what_the_operator_says_of_an_operation_wins_over_its_document() {
    let place = Place::new().await;
    let config = place.logging_in("");
    let manifest = place.path("acme/connector.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let more = "[[operation]]\nid = 'list_widgets'\npermissions = ['Widget.Read']\n";
    std::fs::write(&manifest, format!("{text}\n{more}")).unwrap();
    let Reach::Known { excess, lacking, .. } = reach(&place, &config, true).await else {
        panic!("it says so")
    };
    assert_eq!(excess.len(), 2, "{excess:?}");
    assert!(lacking["list_widgets"].contains("Widget.Read"));
    std::fs::write(&manifest, format!("permisions = []\n{text}")).unwrap();
    let error =
        reaches(&config, true, (&redactor(), &SystemClock::shared(), &place.state())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadConfig);
}
