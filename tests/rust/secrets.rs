//! Where credentials come from, and what happens when they change.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan::app::{App, Extra};
use bartizan::clock::{ManualClock, SharedClock, SystemClock};
use bartizan::config::Config;
use bartizan::error::Kind;
use bartizan::http::credentials::{Basic, Header};
use bartizan::http::oauth::{ClientCredentials, Style, TokenEndpoint};
use bartizan::http::{Client, Credentials, Method, Request, Settings};
use bartizan::json::{Map, json};
use bartizan::redaction::{self, Redactor};
use bartizan::secret::Secret;
use bartizan::vault::{self, Keeper, Reference, Told};

use crate::loopback::{Act, Seen, Upstream, answer};

fn redactor() -> Redactor {
    let key = Some(Secret::new("fingerprints of the tests, 32 byte"));
    Redactor::new(&redaction::Config { fingerprint_key: key, ..redaction::Config::default() }).unwrap()
}

fn write(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}

fn client(upstream: &Upstream, credentials: Arc<dyn Credentials>) -> Client {
    let settings = Settings::new("acme", upstream.base(), &upstream.egress());
    Client::new(settings, credentials, redactor(), SystemClock::shared()).unwrap()
}

async fn status(client: &Client, upstream: &Upstream) -> u16 {
    client.send(Request::new(Method::GET, upstream.url("/"))).await.unwrap().status
}

/// An upstream that accepts these headers and nothing else.
async fn lock(accepted: &Arc<Mutex<Vec<String>>>) -> Upstream {
    let accepted = accepted.clone();
    Upstream::start(move |seen, _| {
        let shown = seen.header("authorization").unwrap_or_default().to_owned();
        let known = accepted.lock().unwrap().contains(&shown);
        answer(if known { 200 } else { 401 }, "{}")
    })
    .await
}

#[tokio::test]
async fn a_replaced_file_is_picked_up_without_a_restart_and_without_a_failed_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    write(&path, "the-first-token-4711");
    let accepted = Arc::new(Mutex::new(vec![String::from("Bearer the-first-token-4711")]));
    let upstream = lock(&accepted).await;
    let reference = Reference::parse(&format!("file:{}", path.display())).unwrap();
    let client = client(&upstream, Arc::new(Header::bearer(Arc::new(reference))));
    assert_eq!(status(&client, &upstream).await, 200);

    accepted.lock().unwrap().push(String::from("Bearer the-second-token-4712"));
    write(&path, "the-second-token-4712");
    assert_eq!(status(&client, &upstream).await, 200);
    assert_eq!(upstream.seen().last().unwrap().header("authorization"), Some("Bearer the-second-token-4712"));
    accepted.lock().unwrap().remove(0);
    assert_eq!(status(&client, &upstream).await, 200);

    // what cannot be used leaves the one before in use: open to others, empty, gone
    let before = upstream.seen().len();
    std::fs::write(folder.path().join("x"), "the-third-token-4713").unwrap();
    std::fs::set_permissions(folder.path().join("x"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::rename(folder.path().join("x"), &path).unwrap();
    assert_eq!(status(&client, &upstream).await, 200);
    write(&path, "");
    assert_eq!(status(&client, &upstream).await, 200);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(status(&client, &upstream).await, 200);
    assert!(
        upstream.seen()[before..].iter().all(|seen| seen.header("authorization").unwrap().ends_with("-4712"))
    );
}

#[tokio::test]
async fn a_401_reads_the_secret_again_and_tries_once_more_only_with_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let (user, path) = (folder.path().join("user"), folder.path().join("password"));
    write(&user, "ann");
    write(&path, "first-password-1");
    let known = |password: &str| {
        use base64::Engine as _;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("ann:{password}"));
        format!("Basic {pair}")
    };
    let accepted = Arc::new(Mutex::new(vec![known("first-password-1")]));
    let upstream = lock(&accepted).await;
    // a supply that does not tell that it has changed
    struct Still(Reference);
    impl bartizan::http::Supply for Still {
        fn secret(&self) -> bartizan::error::Result<Secret> {
            self.0.resolve()
        }
        fn reference(&self) -> String {
            self.0.to_string()
        }
    }
    let of = |path: &Path| Arc::new(Still(Reference::parse(&format!("file:{}", path.display())).unwrap()));
    let client = client(&upstream, Arc::new(Basic::new(of(&user), of(&path))));
    assert_eq!(status(&client, &upstream).await, 200);
    *accepted.lock().unwrap() = vec![known("second-password-2")];
    assert_eq!(status(&client, &upstream).await, 401);
    assert_eq!(upstream.seen().len(), 2, "the same one is not sent twice");
    write(&path, "second-password-2");
    assert_eq!(status(&client, &upstream).await, 200);
    assert_eq!(upstream.seen().len(), 4);
    *accepted.lock().unwrap() = Vec::new();
    write(&path, "third-password-3");
    assert_eq!(status(&client, &upstream).await, 401);
    assert_eq!(upstream.seen().len(), 6, "and never a third time");
}

#[tokio::test]
async fn a_client_secret_that_was_replaced_by_rubbish_stays_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let (id, secret) = (folder.path().join("id"), folder.path().join("secret"));
    write(&id, "client-4711");
    write(&secret, "the-client-secret-4711");
    let tokens = AtomicUsize::new(0);
    let upstream = Upstream::start(move |seen, _| match seen.path() {
        "/token" => {
            assert!(String::from_utf8_lossy(&seen.body).contains("the-client-secret-4711"));
            let number = tokens.fetch_add(1, Ordering::SeqCst);
            answer(200, json!({"access_token": format!("token-{number}-abcdef"), "expires_in": 3600}))
        }
        _ => answer(200, "{}"),
    })
    .await;
    let clock = ManualClock::at(Duration::from_secs(1_800_000_000));
    let endpoint =
        TokenEndpoint { url: upstream.url("/token"), style: Style::Form, scope: None, audience: None };
    let of = |path: &Path| Arc::new(Reference::parse(&format!("file:{}", path.display())).unwrap());
    let oauth =
        ClientCredentials::new("acme", endpoint, of(&id), of(&secret), &upstream.egress(), clock.clone());
    let credentials: Arc<dyn Credentials> = Arc::new(oauth.unwrap());
    let client = client(&upstream, credentials.clone());
    assert_eq!(status(&client, &upstream).await, 200);
    write(&secret, "");
    clock.advance(Duration::from_secs(3600));
    assert_eq!(status(&client, &upstream).await, 200);
    assert_eq!(upstream.count("/token"), 2);
    write(&secret, "the-client-secret-4711");
    // a freeze forgets tokens; the next call fetches one
    credentials.forget();
    assert_eq!(status(&client, &upstream).await, 200);
    assert_eq!(upstream.count("/token"), 3);
}

/// A HashiCorp Vault, as far as its documentation says what it does with these requests.
struct Stand {
    upstream: Upstream,
    logins: Arc<AtomicUsize>,
    /// Tokens that are good.
    good: Arc<Mutex<Vec<String>>>,
    away: Arc<std::sync::atomic::AtomicBool>,
}

async fn stand() -> Stand {
    let (logins, good, away) =
        (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<String>>>::default(), Arc::default());
    let (count, known): (_, Arc<Mutex<Vec<String>>>) = (logins.clone(), good.clone());
    let gone: Arc<std::sync::atomic::AtomicBool> = Arc::clone(&away);
    let upstream = Upstream::start(move |seen: &Seen, _| -> Act {
        if gone.load(Ordering::SeqCst) {
            return answer(503, json!({"errors": ["Vault is sealed"]}));
        }
        assert_eq!(seen.header("x-vault-namespace"), Some("team/one"));
        assert_eq!(seen.header("x-vault-request"), Some("true"));
        if seen.target == "/v1/auth/approle/login" {
            assert_eq!((seen.method.as_str(), seen.header("x-vault-token")), ("POST", None));
            if seen.json() != json!({"role_id": "role-4711", "secret_id": "the-secret-id-4711"}) {
                return answer(400, json!({"errors": ["invalid role or secret ID"]}));
            }
            let token = format!("hvs.token-number-{}", count.fetch_add(1, Ordering::SeqCst));
            known.lock().unwrap().push(token.clone());
            let auth = json!({"client_token": token, "lease_duration": 900, "renewable": true});
            return answer(200, json!({"auth": auth}));
        }
        let token = seen.header("x-vault-token").unwrap_or_default().to_owned();
        if !known.lock().unwrap().contains(&token) {
            return answer(403, json!({"errors": ["permission denied"]}));
        }
        match (seen.method.as_str(), seen.target.as_str()) {
            ("POST", "/v1/auth/token/renew-self") => {
                let auth = json!({"client_token": token, "lease_duration": 900, "renewable": true});
                answer(200, json!({"auth": auth}))
            }
            ("GET", "/v1/auth/token/lookup-self") => {
                answer(200, json!({"data": {"ttl": 0, "renewable": false}}))
            }
            ("GET", "/v1/secret/data/equinix/prod") => answer(
                200,
                json!({"data": {
                    "data": {"client_secret": "newest-secret-4711", "number": 42, "list": []},
                    "metadata": {"version": 2}
                }}),
            ),
            ("GET", "/v1/secret/data/equinix/prod?version=1") => {
                answer(200, json!({"data": {"data": {"client_secret": "oldest-secret-4711"}}}))
            }
            ("GET", "/v1/kv1/data/x") => answer(200, json!({"data": {"value": "x"}})),
            _ => answer(404, json!({"errors": []})),
        }
    })
    .await;
    Stand { upstream, logins, good, away }
}

fn keeper(stand: &Stand, opens: &str, clock: &SharedClock) -> Keeper {
    let text =
        format!("[vault]\naddress = 'http://{}'\nnamespace = 'team/one'\n{opens}", stand.upstream.address);
    let config: vault::Config = toml::from_str(&text).unwrap();
    Keeper::open(&config, &bartizan::http::Config::default(), &redactor(), clock).unwrap()
}

async fn read(keeper: &Keeper, reference: &str) -> bartizan::error::Result<String> {
    let (keeper, reference) = (keeper.clone(), Reference::parse(reference).unwrap());
    let read = tokio::task::spawn_blocking(move || keeper.resolve(&reference)).await.unwrap();
    read.map(|secret| secret.expose().to_owned())
}

#[tokio::test]
async fn a_vault_is_logged_in_to_and_asked_as_its_api_says() {
    let stand = stand().await;
    let folder = tempfile::tempdir().unwrap();
    let (role, secret) = (folder.path().join("role"), folder.path().join("secret"));
    write(&role, "role-4711");
    write(&secret, "the-secret-id-4711");
    let opens = format!(
        "approle = {{ role_id = 'file:{}', secret_id = 'file:{}' }}",
        role.display(),
        secret.display()
    );
    let manual = ManualClock::at(Duration::from_secs(1_800_000_000));
    let clock: SharedClock = manual.clone();
    let keeper = keeper(&stand, &opens, &clock);
    assert_eq!(read(&keeper, "vault:secret/equinix/prod#client_secret").await.unwrap(), "newest-secret-4711");
    assert_eq!(read(&keeper, "vault:secret/equinix/prod#number").await.unwrap(), "42");
    assert_eq!(stand.upstream.count("/v1/secret/data/equinix/prod"), 1, "one request serves all its fields");
    assert_eq!(
        read(&keeper, "vault:secret/equinix/prod#client_secret@1").await.unwrap(),
        "oldest-secret-4711"
    );
    assert_eq!(stand.logins.load(Ordering::SeqCst), 1);
    for (reference, word) in [
        ("vault:secret/equinix/prod#nothing", "no such value"),
        ("vault:secret/equinix/prod#list", "no such value"),
        ("vault:secret/elsewhere#x", "has nothing"),
        ("vault:kv1/x#value", "KV version 2"),
    ] {
        let error = read(&keeper, reference).await.unwrap_err();
        assert!(error.message().contains(word) && !error.message().contains("4711"), "{error}");
    }

    // after two thirds of its life the token is renewed, and when it was taken back another one is fetched
    manual.advance(Duration::from_secs(700));
    read(&keeper, "vault:secret/equinix/prod#client_secret").await.unwrap();
    assert_eq!(stand.upstream.count("/v1/auth/token/renew-self"), 1);
    assert_eq!(stand.logins.load(Ordering::SeqCst), 1);
    stand.good.lock().unwrap().clear();
    manual.advance(Duration::from_secs(400));
    read(&keeper, "vault:secret/equinix/prod#client_secret").await.unwrap();
    assert_eq!(stand.logins.load(Ordering::SeqCst), 2);

    // a Vault that is away costs nothing for a while, then it is said
    stand.away.store(true, Ordering::SeqCst);
    assert_eq!(read(&keeper, "vault:secret/equinix/prod#client_secret").await.unwrap(), "newest-secret-4711");
    manual.advance(Duration::from_secs(301));
    let error = read(&keeper, "vault:secret/equinix/prod#client_secret").await.unwrap_err();
    assert!(error.message().contains("sealed"), "{error}");
    stand.away.store(false, Ordering::SeqCst);
    write(&secret, "the-wrong-secret-id");
    stand.good.lock().unwrap().clear();
    let error = read(&keeper, "vault:secret/equinix/prod#client_secret").await.unwrap_err();
    assert!(
        error.message().contains("refused the login") && !error.message().contains("wrong-secret"),
        "{error}"
    );
}

#[tokio::test]
async fn a_vaults_token_comes_by_reference_and_may_change() {
    let stand = stand().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    write(&path, "hvs.the-first-token");
    stand.good.lock().unwrap().push(String::from("hvs.the-first-token"));
    let manual = ManualClock::at(Duration::from_secs(1_800_000_000));
    let clock: SharedClock = manual.clone();
    let keeper = keeper(&stand, &format!("token = 'file:{}'", path.display()), &clock);
    read(&keeper, "vault:secret/equinix/prod#client_secret").await.unwrap();
    *stand.good.lock().unwrap() = vec![String::from("hvs.the-second-token")];
    write(&path, "hvs.the-second-token");
    manual.advance(Duration::from_secs(301));
    read(&keeper, "vault:secret/equinix/prod#client_secret").await.unwrap();
    stand.good.lock().unwrap().clear();
    manual.advance(Duration::from_secs(301));
    let error = read(&keeper, "vault:secret/equinix/prod#client_secret").await.unwrap_err();
    assert!(error.message().contains("does not let this token"), "{error}");
}

#[test]
fn a_vault_that_cannot_be_right_is_refused_at_the_start() {
    let open = |text: &str| {
        let config: vault::Config = toml::from_str(&format!("[vault]\n{text}")).unwrap();
        Keeper::open(&config, &bartizan::http::Config::default(), &redactor(), &SystemClock::shared())
    };
    for (text, word) in [
        ("address = 'http://vault.example.com:8200'\ntoken = 'env:X'", "https"),
        ("address = 'https://vault.example.com:8200'", "either"),
        (
            "address = 'https://v:8200'\ntoken = 'env:X'\napprole = { role_id = 'env:A', secret_id = 'env:B' }",
            "either",
        ),
        ("address = 'https://v:8200'\ntoken = 'vault:a/b#c'", "cannot be in it"),
        (
            "address = 'https://v:8200'\napprole = { mount = '../sys', role_id = 'env:A', secret_id = 'env:B' }",
            "`mount`",
        ),
    ] {
        let error = open(text).err().unwrap();
        assert_eq!(error.kind(), Kind::BadConfig);
        assert!(error.message().contains(word), "{error}");
    }
    assert!(
        toml::from_str::<vault::Config>("[vault]\naddress = 'https://v'\ntoken = 'hvs.literal'").is_err()
    );
    let keeper = Keeper::default();
    for undeclared in ["command:x", "vault:a/b#c"] {
        let error = keeper.resolve(&Reference::parse(undeclared).unwrap()).unwrap_err();
        assert!(error.message().contains("[secrets."), "{error}");
    }
}

#[test]
fn whoever_listens_hears_what_was_found_once_and_never_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let heard: Arc<Mutex<Vec<Told>>> = Arc::default();
    let ear = heard.clone();
    let keeper = Keeper::open(
        &vault::Config::default(),
        &bartizan::http::Config::default(),
        &redactor(),
        &SystemClock::shared(),
    )
    .unwrap()
    .heard_by(move |told| {
        ear.lock().unwrap().push(told.clone());
        Ok(())
    });
    let supply = keeper.supply(&Reference::parse(&format!("file:{}", path.display())).unwrap()).unwrap();
    let mut whats = Vec::new();
    for text in [
        None,
        Some("first-secret-of-all-4711"),
        Some("first-secret-of-all-4711"),
        Some("other-secret-4712"),
        None,
    ] {
        match text {
            Some(text) => write(&path, text),
            None => drop(std::fs::remove_file(&path)),
        }
        let _ = supply.secret();
        whats.push(heard.lock().unwrap().len());
    }
    assert_eq!(whats, [1, 2, 2, 3, 4]);
    let all = heard.lock().unwrap();
    assert_eq!(
        all.iter().map(|told| told.what).collect::<Vec<_>>(),
        ["failed", "loaded", "replaced", "failed"]
    );
    assert_ne!(all[1].fingerprint, all[2].fingerprint);
    assert!(!format!("{all:?}").contains("secret-4711") && !format!("{all:?}").contains("first-secret"));
}

const DOCUMENT: &str = r#"{
  "openapi": "3.1.0", "info": {"title": "acme", "version": "1"},
  "paths": {"/widgets": {"get": {"operationId": "list_widgets", "responses": {"200": {"description": "fine"}}}}}
}"#;

#[tokio::test]
async fn a_server_reads_what_a_program_prints_and_writes_down_that_it_did() {
    let accepted = Arc::new(Mutex::new(vec![String::from("Bearer printed-by-a-program-4711")]));
    let upstream = lock(&accepted).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.json"), DOCUMENT).unwrap();
    let path = folder.path().join("bartizan.toml");
    let text = format!(
        "state_dir = 'state'\n[egress]\nallow_private = ['{0}']\n\
         [secrets.commands.acme]\nargv = ['/bin/echo', 'printed-by-a-program-4711']\n\
         [[openapi]]\nfile = 'acme.json'\nbase_url = 'http://{0}'\nauth = 'bearer:command:acme'\n",
        upstream.address
    );
    std::fs::write(&path, &text).unwrap();
    let app = App::build(Config::load(&path).unwrap(), Extra::default()).await.unwrap();
    app.call("list_widgets", Map::new(), &app.context()).await.unwrap();
    assert_eq!(upstream.seen().len(), 1);
    let audited = std::fs::read_to_string(app.audit().path()).unwrap();
    assert!(audited.contains("secret loaded") && audited.contains("command:acme"), "{audited}");
    assert!(!audited.contains("4711"));
    app.close().await.unwrap();

    let broken = text.replace("[secrets.commands.acme]", "[secrets.commands.other]");
    std::fs::write(&path, broken).unwrap();
    let error = App::build(Config::load(&path).unwrap(), Extra::default()).await.err().unwrap();
    assert!(error.message().contains("[secrets.commands.acme]"), "{error}");
}

#[tokio::test]
async fn a_configuration_that_others_can_change_is_refused_with_the_way_to_mend_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bartizan.toml");
    let set =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::write(&path, "state_dir = 'state'\n[policy]\nfiles = ['mine.cedar']\n").unwrap();
    let policy = folder.path().join("mine.cedar");
    std::fs::write(&policy, "").unwrap();
    for mode in [0o664, 0o646, 0o666] {
        set(&path, mode);
        let error = Config::load(&path).unwrap_err();
        assert!(error.message().contains("chmod go-w"), "{mode:o}: {error}");
    }
    set(&path, 0o644);
    set(folder.path(), 0o775);
    assert!(Config::load(&path).unwrap_err().message().contains("chmod go-w"));
    set(folder.path(), 0o755);
    let config = Config::load(&path).unwrap();
    set(&policy, 0o666);
    let error = App::build(config.clone(), Extra::default()).await.err().unwrap();
    assert!(error.message().contains("mine.cedar") && error.message().contains("chmod go-w"), "{error}");
    set(&policy, 0o644);
    App::build(config, Extra::default()).await.unwrap().close().await.unwrap();
}

/// A place for tokens under these keys, in this profile.
fn tokens(state: &bartizan::state::StateDir, profile: &str, keys: &[&str]) -> vault::Tokens {
    use std::fmt::Write as _;
    let mut named = String::new();
    for (index, key) in keys.iter().enumerate() {
        let path = state.file(&format!("key-{index}"));
        write(&path, key);
        let _ = write!(named, "'file:{}', ", path.display());
    }
    let config: vault::TokensConfig = toml::from_str(&format!("persist = true\nkeys = [{named}]")).unwrap();
    vault::Tokens::open(&config, state, profile, &Keeper::default()).unwrap().unwrap()
}

const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222222222222222222222222222";

#[test]
fn a_kept_token_opens_unchanged_in_its_place_with_its_key_and_else_not_at_all() {
    use bartizan::http::TokenStore as _;
    let folder = tempfile::tempdir().unwrap();
    let state = bartizan::state::StateDir::open(folder.path().join("state")).unwrap();
    let kept = tokens(&state, "production", &[ONE]);
    let plain = b"{\"token\":\"the-access-token-4711\"}";
    kept.save("a", plain);
    kept.save("b", b"another");
    let path = state.path().join("tokens/a.token");
    let good = std::fs::read(&path).unwrap();
    assert!(!good.windows(6).any(|window| window == b"access"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(kept.load("a").unwrap().as_slice(), plain);

    for index in 0..good.len() {
        for bit in [1, 0x80] {
            let mut other = good.clone();
            other[index] ^= bit;
            std::fs::write(&path, &other).unwrap();
            assert!(kept.load("a").is_none(), "byte {index}");
        }
    }
    for length in [0, 1, 4, 28, 29, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        assert!(kept.load("a").is_none(), "{length} bytes");
    }
    std::fs::write(&path, &good).unwrap();
    assert!(kept.load("a").is_some());
    std::fs::copy(&path, state.path().join("tokens/b.token")).unwrap();
    assert!(kept.load("b").is_none(), "one file in the place of another");
    assert!(tokens(&state, "staging", &[ONE]).load("a").is_none(), "another profile");
    assert!(tokens(&state, "production", &[TWO]).load("a").is_none(), "another key");
    for wide in [0o640, 0o604, 0o666] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(wide)).unwrap();
        assert!(kept.load("a").is_none(), "{wide:o}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(kept.load("a").is_some() && kept.load("nothing").is_none());
}

#[test]
fn another_key_takes_over_without_losing_anything() {
    use bartizan::http::TokenStore as _;
    let folder = tempfile::tempdir().unwrap();
    let state = bartizan::state::StateDir::open(folder.path().join("state")).unwrap();
    tokens(&state, "production", &[ONE]).save("a", b"content");
    let both = tokens(&state, "production", &[TWO, ONE]);
    assert_eq!(both.load("a").unwrap().as_slice(), b"content");
    std::fs::write(state.path().join("tokens/rubbish.token"), b"rubbish").unwrap();
    assert_eq!(both.reseal().unwrap(), (1, 1));
    let after = tokens(&state, "production", &[TWO]);
    assert_eq!(after.load("a").unwrap().as_slice(), b"content");
    assert_eq!(after.names().unwrap(), ["a"]);
    assert!(tokens(&state, "production", &[ONE]).load("a").is_none());
    assert_eq!(after.clear().unwrap(), 1);

    let refused = |text: &str| {
        let config: vault::TokensConfig = toml::from_str(text).unwrap();
        vault::Tokens::open(&config, &state, "production", &Keeper::default()).err().unwrap()
    };
    assert!(refused("persist = true").message().contains("where the key is"));
    write(&state.file("short"), "hunter2");
    let named = format!("file:{}", state.file("short").display());
    assert!(refused(&format!("persist = true\nkeys = ['{named}']")).message().contains("32 bytes"));
    assert!(refused(&format!("persist = true\npassphrase = '{named}'")).message().contains("12 characters"));
    write(&state.file("long"), "correct horse battery");
    let text = format!("persist = true\npassphrase = 'file:{}'", state.file("long").display());
    let config: vault::TokensConfig = toml::from_str(&text).unwrap();
    let open = || vault::Tokens::open(&config, &state, "production", &Keeper::default()).unwrap().unwrap();
    open().save("a", b"content");
    assert_eq!(open().load("a").unwrap().as_slice(), b"content");
    assert!(
        vault::Tokens::open(&vault::TokensConfig::default(), &state, "x", &Keeper::default())
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_token_that_was_kept_saves_a_login_until_it_ends_or_is_refused_or_its_secret_changes() {
    let folder = tempfile::tempdir().unwrap();
    let state = bartizan::state::StateDir::open(folder.path().join("state")).unwrap();
    let bad: Arc<Mutex<String>> = Arc::default();
    let (refused, number) = (bad.clone(), AtomicUsize::new(0));
    let upstream = Upstream::start(move |seen, _| match seen.path() {
        "/token" => {
            let number = number.fetch_add(1, Ordering::SeqCst);
            answer(200, json!({"access_token": format!("token-{number}-abcdef"), "expires_in": 3600}))
        }
        _ => {
            let shown = seen.header("authorization").unwrap_or_default();
            answer(if shown.ends_with(&*refused.lock().unwrap()) { 401 } else { 200 }, "{}")
        }
    })
    .await;
    *bad.lock().unwrap() = String::from("nothing");
    let clock = ManualClock::at(Duration::from_secs(1_800_000_000));
    let start = |secret: &str| {
        let endpoint =
            TokenEndpoint { url: upstream.url("/token"), style: Style::Form, scope: None, audience: None };
        let (id, secret) = (Arc::new(Secret::new("client-4711")), Arc::new(Secret::new(secret)));
        let oauth = ClientCredentials::new("acme", endpoint, id, secret, &upstream.egress(), clock.clone());
        let store = Arc::new(tokens(&state, "production", &[ONE]));
        client(&upstream, Arc::new(oauth.unwrap().kept_in(Some(store))))
    };
    let logins = || upstream.count("/token");
    assert_eq!(status(&start("the-first-secret"), &upstream).await, 200);
    assert_eq!(status(&start("the-first-secret"), &upstream).await, 200);
    assert_eq!(logins(), 1, "kept over the restart");
    assert_eq!(status(&start("the-second-secret"), &upstream).await, 200);
    assert_eq!(logins(), 2, "another secret's token");
    *bad.lock().unwrap() = String::from("token-1-abcdef");
    assert_eq!(status(&start("the-second-secret"), &upstream).await, 200);
    assert_eq!(logins(), 3, "refused: fetched once more, and tried once more");
    assert_eq!(status(&start("the-second-secret"), &upstream).await, 200);
    assert_eq!(logins(), 3);
    clock.advance(Duration::from_secs(3560));
    assert_eq!(status(&start("the-second-secret"), &upstream).await, 200);
    assert_eq!(logins(), 4, "within a minute of its end");
}

#[tokio::test]
async fn profiles_that_share_a_credential_are_refused_where_it_is_used() {
    let accepted = Arc::new(Mutex::new(vec![String::from("Bearer one-token-for-all-4711")]));
    let upstream = lock(&accepted).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.json"), DOCUMENT).unwrap();
    write(&folder.path().join("token"), "one-token-for-all-4711");
    let path = folder.path().join("bartizan.toml");
    let text = format!(
        "state_dir = 'state'\n[egress]\nallow_private = ['{0}']\n\
         [[openapi]]\nfile = 'acme.json'\nbase_url = 'http://{0}'\nauth = 'bearer:file:{1}'\n",
        upstream.address,
        folder.path().join("token").display()
    );
    let start = async |more: &str| {
        std::fs::write(&path, format!("{more}\n{text}")).unwrap();
        let app = App::build(Config::load(&path).unwrap(), Extra::default()).await.unwrap();
        let done = app.call("list_widgets", Map::new(), &app.context()).await.map(drop);
        app.close().await.unwrap();
        done
    };
    start("profile = 'development'").await.unwrap();
    let sent = upstream.seen().len();
    assert!(start("").await.unwrap_err().message().contains("development"));
    assert_eq!(upstream.seen().len(), sent, "nothing was sent with it");
    start("profile = 'development'").await.unwrap();
    write(&folder.path().join("token"), "another-token-of-its-own");
    accepted.lock().unwrap().push(String::from("Bearer another-token-of-its-own"));
    start("").await.unwrap();
}

#[tokio::test]
async fn a_secret_that_others_can_read_is_not_used_and_that_is_an_event_of_its_own() {
    let accepted = Arc::new(Mutex::new(vec![String::from("Bearer a-token-in-a-file-4711")]));
    let upstream = lock(&accepted).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.json"), DOCUMENT).unwrap();
    let (path, token) = (folder.path().join("bartizan.toml"), folder.path().join("token"));
    write(&token, "a-token-in-a-file-4711");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = format!(
        "state_dir = 'state'\n[egress]\nallow_private = ['{0}']\n\
         [[openapi]]\nfile = 'acme.json'\nbase_url = 'http://{0}'\nauth = 'bearer:file:{1}'\n",
        upstream.address,
        token.display()
    );
    std::fs::write(&path, text).unwrap();
    let app = App::build(Config::load(&path).unwrap(), Extra::default()).await.unwrap();
    for _ in 0..2 {
        assert!(app.call("list_widgets", Map::new(), &app.context()).await.is_err());
    }
    assert!(upstream.seen().is_empty());
    let audited = std::fs::read_to_string(app.audit().path()).unwrap();
    assert_eq!(audited.matches("file mode wrong").count(), 1, "one trigger, one event: {audited}");
    assert!(audited.contains("chmod 600") && !audited.contains("secret unreadable"), "{audited}");
    app.close().await.unwrap();
}

#[test]
fn a_kept_token_that_does_not_open_is_told_of() {
    use bartizan::http::TokenStore as _;
    let folder = tempfile::tempdir().unwrap();
    let state = bartizan::state::StateDir::open(folder.path().join("state")).unwrap();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = told.clone();
    let kept = tokens(&state, "production", &[ONE]).heard_by(move |file, reason| {
        hears.lock().unwrap().push(format!("{file}: {reason}"));
    });
    kept.save("a", b"content");
    assert!(kept.load("a").is_some() && told.lock().unwrap().is_empty());
    let path = state.path().join("tokens/a.token");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(kept.load("a").is_none());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(kept.load("a").is_none());
    let told = told.lock().unwrap();
    assert!(
        told.len() == 2 && told[0].contains("does not open") && told[1].contains("chmod 600"),
        "{told:?}"
    );
}

/// Looks at an installation in a folder of its own.
struct Ward {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Ward {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, clock: ManualClock::at(Duration::from_secs(1_800_000_000)) }
    }

    fn look(&self, text: &str, mend: bool) -> bartizan::doctor::Report {
        let file = self.folder.path().join("bartizan.toml");
        if !text.is_empty() || !file.exists() {
            std::fs::write(&file, format!("state_dir = 'state'\n{text}")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let config = Config::load(&file).unwrap();
        let state = bartizan::state::StateDir::open(config.state_folder().unwrap()).unwrap();
        let (clock, redactor): (SharedClock, _) = (self.clock.clone(), redactor());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reaches = bartizan::app::reaches(&config, false, (&redactor, &clock, &state));
        let reaches = runtime.block_on(reaches).unwrap();
        let patient = bartizan::doctor::Patient {
            config: &config,
            file: Some(&file),
            state: &state,
            redactor: &redactor,
            clock: &clock,
            folder: self.folder.path(),
            proxies: vec!["HTTPS_PROXY"],
            reaches,
        };
        bartizan::doctor::examine(&patient, mend).unwrap()
    }
}

fn said(report: &bartizan::doctor::Report, area: &str) -> String {
    let found = report.findings.iter().filter(|one| one.area == area && !one.mended);
    found
        .map(|one| format!("{:?} {} {}\n", one.severity, one.what, one.mend.clone().unwrap_or_default()))
        .collect()
}

#[test]
fn the_doctor_finds_what_is_open_and_mends_modes_only() {
    let ward = Ward::new();
    let healthy = ward.look("", false);
    assert!(!healthy.has_errors(), "{:?}", healthy.findings);
    assert!(said(&healthy, "approvals").contains("could forge approvals"), "it says so plainly");
    assert!(said(&healthy, "network").contains("HTTPS_PROXY"));

    let token = ward.folder.path().join("token");
    write(&token, "the-token-4711");
    std::fs::write(ward.folder.path().join("acme.json"), DOCUMENT).unwrap();
    let text = format!(
        "[policy]\nset = 'standard'\n[egress]\nallow_private = ['127.0.0.1:1']\n\
         [[openapi]]\nfile = 'acme.json'\nbase_url = 'https://api.example.com'\nauth = 'bearer:file:{}'\n",
        token.display()
    );
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let key = ward.folder.path().join("state/fingerprint.key");
    std::fs::write(&key, [1; 32]).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let ill = ward.look(&text, false);
    assert!(ill.has_errors() && ill.score < healthy.score);
    assert!(said(&ill, "files").contains("chmod 600") && said(&ill, "files").contains("fingerprint.key"));
    assert!(said(&ill, "settings").contains("egress.allow_private"));
    assert!(said(&ill, "upstream permissions").contains("not known"));
    assert!(!format!("{:?}", ill.findings).contains("4711"));
    let mended = ward.look(&text, true);
    assert!(!mended.has_errors(), "{:?}", mended.findings);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&token), mode(&key)), (0o600, 0o600));
    assert!(said(&ward.look(&text, false), "settings").contains("egress.allow_private"), "choices stay");

    let open = "[http]\nlisten = '0.0.0.0:1'\n";
    let exposed = said(&ward.look(open, false), "exposure");
    for word in ["unencrypted", "every address", "vulnerability"] {
        assert!(exposed.contains(word), "{exposed}");
    }
}

#[test]
fn the_doctor_says_the_rest_where_one_look_cannot_be_had() {
    let ward = Ward::new();
    let healthy = ward.look("", false);
    // as on a full disk: the directory can be read, and nothing can be written
    let state = ward.folder.path().join("state");
    std::fs::remove_file(state.join("duties.json")).unwrap();
    std::fs::create_dir(state.join("duties.json")).unwrap();
    std::fs::set_permissions(state.join("duties.json"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::remove_dir(state.join("approvals")).unwrap();
    std::fs::write(state.join("approvals"), "").unwrap();
    std::fs::set_permissions(state.join("approvals"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let ill = ward.look("", false);
    assert!(said(&ill, "calendar").contains("Error could not be looked at"), "{:?}", ill.findings);
    assert!(said(&ill, "approvals").contains("Error could not be looked at"), "{:?}", ill.findings);
    for area in ["settings", "exposure", "network", "files"] {
        assert_eq!(said(&ill, area), said(&healthy, area));
    }
}

#[test]
fn the_doctor_knows_what_is_due_and_how_old_credentials_are() {
    let ward = Ward::new();
    assert!(said(&ward.look("", false), "calendar").contains("Good logs"));
    let pass = |days: u64| ward.clock.advance(Duration::from_hours(24 * days));
    pass(31);
    let due = said(&ward.look("", false), "calendar");
    assert!(
        due.contains("Warning logs") && due.contains("Warning updates") && due.contains("Good permissions"),
        "{due}"
    );
    let state = bartizan::state::StateDir::open(ward.folder.path().join("state")).unwrap();
    let clock: SharedClock = ward.clock.clone();
    bartizan::doctor::done(&state, &clock, "logs").unwrap();
    assert!(bartizan::doctor::done(&state, &clock, "dishes").unwrap_err().message().contains("review"));
    let due = said(&ward.look("", false), "calendar");
    assert!(due.contains("Good logs") && due.contains("Warning updates"), "{due}");
    pass(370);
    assert!(said(&ward.look("", false), "calendar").contains("Warning review"));

    let ages = vault::Ages::new(state, clock, "production", (75, 90), None);
    ages.note("mark", "env:TOKEN").unwrap();
    pass(80);
    ages.note("mark", "env:TOKEN").unwrap();
    assert!(said(&ward.look("", false), "ages").contains("Warning env:TOKEN has been in use for 80 days"));
    pass(10);
    ages.note("mark", "env:TOKEN").unwrap();
    let report = ward.look("", false);
    assert!(said(&report, "ages").contains("Error env:TOKEN") && report.has_errors());
}

#[test]
fn credentials_that_git_tracks_are_found_by_name_and_by_content_and_not_repeated() {
    let ward = Ward::new();
    let git = |arguments: &[&str]| {
        let done = std::process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .current_dir(ward.folder.path())
            .output();
        done.is_ok_and(|done| done.status.success())
    };
    if !git(&["init", "-q"]) {
        crate::support::skipped("there is no git here to look at tracked files with");
        return;
    }
    // made here, so that nobody finds it in this file
    let token = format!("ghp_{}", "aB3dE6gH9j".repeat(4).get(..36).unwrap());
    let private = format!(
        "-----BEGIN {0} KEY-----\nMIIEvQ{1}\n-----END {0} KEY-----\n",
        "PRIVATE",
        "IBADANBgkqhkiG9w0".repeat(8)
    );
    std::fs::write(ward.folder.path().join("notes.txt"), format!("token: {token}\n")).unwrap();
    std::fs::write(ward.folder.path().join("server.txt"), &private).unwrap();
    std::fs::write(ward.folder.path().join(".env"), "A=b\n").unwrap();
    std::fs::write(ward.folder.path().join(".env.example"), "A=\n").unwrap();
    std::fs::write(ward.folder.path().join("untracked.txt"), format!("{token}\n")).unwrap();
    assert!(git(&["add", "notes.txt", "server.txt", ".env", ".env.example"]));
    let found = said(&ward.look("", false), "git");
    for name in [".env,", "notes.txt", "server.txt"] {
        assert!(found.contains(name), "{name}: {found}");
    }
    assert!(
        !found.contains("untracked") && !found.contains("example") && !found.contains("aB3dE6"),
        "{found}"
    );
    assert!(git(&["rm", "-q", "--cached", "notes.txt", "server.txt", ".env"]));
    assert!(said(&ward.look("", false), "git").starts_with("Good"));
}

#[test]
fn a_firewall_is_told_every_host_of_the_configuration_and_no_other() {
    let text = "[[connector]]\nname = 'equinix'\n\
                [[openapi]]\nfile = 'x.json'\nbase_url = 'https://api.example.com:8443/v1'\n\
                [secrets.vault]\naddress = 'https://vault.example.com:8200'\ntoken = 'env:X'\n\
                [introduction]\nwebsite_url = 'https://not-a-destination.example.com'\n\
                [contact]\nsecurity = ['https://nor-this.example.com']\n";
    let config = Config::parse(text, "bartizan.toml").unwrap();
    let all = bartizan::app::destinations(&config).unwrap();
    for (host, port) in [("api.equinix.com", 443), ("api.example.com", 8443), ("vault.example.com", 8200)] {
        assert!(all.contains(&(host.to_owned(), port, "tcp")), "{host}: {all:?}");
    }
    assert_eq!(all.len(), 3, "{all:?}");
}

#[test]
fn a_firewall_is_told_one_of_each_kind_of_destination() {
    let text = "[[openapi]]\nfile = 'x.json'\nbase_url = 'https://api.example.com/v1'\n\
                [[connector]]\nname = 'equinix'\nbase = 'https://sandbox.example.com'\n\
                [secrets.vault]\naddress = 'https://vault.example.com:8200'\ntoken = 'env:X'\n\
                [egress]\nproxy = 'http://proxy.example.com:3128'\nproxy_resolves = true\n\
                [store]\nurl = 'rediss://redis.example.com'\n\
                [telemetry]\notlp_endpoint = 'https://otel.example.com:4318'\n\
                [approvals.webhook]\nurl = 'https://approve.example.com/in/1'\nsecret = 'env:X'\n\
                link = 'https://ourselves.example.com'\n\
                [[alerts.to]]\nkind = 'webhook'\nurl = 'HTTPS://alerts.example.com/x'\nsecret = 'env:X'\n\
                [[alerts.to]]\nkind = 'syslog'\naddress = 'udp:udp.example.com:514'\n\
                [[alerts.to]]\nkind = 'syslog'\naddress = 'unix:/dev/log'\n\
                [[alerts.to]]\nkind = 'otlp'\nurl = 'https://logs.example.com:4318/v1'\n\
                [[audit.anchor.to]]\nkind = 'syslog'\naddress = 'tls:tls.example.com:6514'\nca_file = 'ca.pem'\n\
                [[audit.anchor.to]]\nkind = 'syslog'\naddress = 'tcp:[2001:db8::1]:601'\n\
                [oauth]\npublic_url = 'https://ourselves.example.com/mcp'\n\
                [[oauth.issuers]]\nissuer = 'https://issuer.example.com'\njwks_uri = 'https://keys.example.com/jwks'\n\
                [[oauth.issuers]]\nissuer = 'https://opaque.example.com'\n\
                introspection = { endpoint = 'https://ask.example.com/q', client_id = 'us', client_secret = 'env:X' }\n";
    let config = Config::parse(text, "bartizan.toml").unwrap();
    let all = bartizan::app::destinations(&config).unwrap();
    let wanted = [
        ("api.example.com", 443, "tcp"),
        ("sandbox.example.com", 443, "tcp"),
        ("vault.example.com", 8200, "tcp"),
        ("proxy.example.com", 3128, "tcp"),
        ("redis.example.com", 6379, "tcp"),
        ("otel.example.com", 4318, "tcp"),
        ("approve.example.com", 443, "tcp"),
        ("alerts.example.com", 443, "tcp"),
        ("udp.example.com", 514, "udp"),
        ("logs.example.com", 4318, "tcp"),
        ("tls.example.com", 6514, "tcp"),
        ("2001:db8::1", 601, "tcp"),
        ("issuer.example.com", 443, "tcp"),
        ("keys.example.com", 443, "tcp"),
        ("opaque.example.com", 443, "tcp"),
        ("ask.example.com", 443, "tcp"),
    ];
    for (host, port, over) in wanted {
        assert!(all.contains(&(host.to_owned(), port, over)), "{host}: {all:?}");
    }
    // where the connector gets its tokens is the only other
    let token = all.iter().filter(|(host, ..)| host == "api.equinix.com").count();
    assert_eq!(all.len(), wanted.len() + token, "{all:?}");
}
