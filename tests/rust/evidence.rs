//! One bundle of everything that tells what happened: whole, signed, the same each time, and without a secret.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bartizan::app::{App, Extra};
use bartizan::clock::{ManualClock, SharedClock, SystemClock};
use bartizan::config::Config;
use bartizan::evidence::{self, Case, Written};
use bartizan::freeze::{Extent, Freeze};
use bartizan::identity::keys::{Grant, KeyStore};
use bartizan::json::{Map, Value, json};
use bartizan::redaction::{self, Redactor};
use bartizan::secret::Secret;
use bartizan::state::StateDir;

const TOKEN: &str = "the-token-of-the-upstream-4711";
const DOCUMENT: &str = r#"{
  "openapi": "3.1.0", "info": {"title": "acme", "version": "1"},
  "paths": {"/widgets": {"get": {"operationId": "list_widgets", "responses": {"200": {"description": "fine"}}}}}
}"#;

struct Scene {
    folder: tempfile::TempDir,
    config: Config,
    clock: Arc<ManualClock>,
    redactor: Redactor,
    /// What must be nowhere.
    secrets: Vec<String>,
}

impl Scene {
    /// An installation in which something happened.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("acme.json"), DOCUMENT).unwrap();
        std::fs::write(path("token"), TOKEN).unwrap();
        std::fs::set_permissions(path("token"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(path("ours.cedar"), "permit (principal, action, resource);").unwrap();
        // somebody put a secret where none belongs
        let planted = format!("ghp_{}", "aB3dE6gH9j".repeat(4).get(..36).unwrap());
        let text = format!(
            "state_dir = 'state'\ndiagnostics = true\n[policy]\nset = 'ours.cedar'\n\
             [introduction]\ninstructions = 'log in with {planted}'\n\
             [[openapi]]\nfile = 'acme.json'\nbase_url = 'https://api.example.com'\nauth = 'bearer:file:{}'\n",
            path("token").display()
        );
        std::fs::write(path("bartizan.toml"), &text).unwrap();
        let config = Config::load(&path("bartizan.toml")).unwrap();
        let app = App::build(config.clone(), Extra::default()).await.unwrap();
        let mut arguments = Map::new();
        arguments.insert(String::from("text"), json!(format!("my key is {planted}")));
        let _ = app.call("echo", arguments, &app.context()).await;
        app.close().await.unwrap();
        let state = path("state");
        let clock = SystemClock::shared();
        let keys = KeyStore::open(&state, clock.clone()).unwrap();
        let grant = Grant {
            owner: String::from("ann@example.com"),
            scopes: ["read"].map(String::from).into(),
            expires: Some(clock.wall() + Duration::from_secs(1000)),
            ..Grant::named("ci")
        };
        let minted = keys.mint(&grant).unwrap();
        let stored: Value = serde_json::from_slice(&std::fs::read(state.join("keys.json")).unwrap()).unwrap();
        let mut hashes = Vec::new();
        find("hash", &stored, &mut hashes);
        assert!(!hashes.is_empty());
        let approvals =
            bartizan::approvals::Approvals::open(&config.approvals, &state, clock.clone()).unwrap();
        let freeze = Freeze::open(&state, approvals, clock).unwrap();
        freeze.freeze(Extent::Writes, "ann", Some(String::from("odd orders"))).unwrap();
        let fingerprints = Secret::new("fingerprints of the tests, 32 byte");
        let redactor = Redactor::new(&redaction::Config {
            fingerprint_key: Some(fingerprints),
            ..redaction::Config::default()
        });
        let key = std::fs::read_to_string(state.join("audit.key")).unwrap();
        // only now: nobody shall be told anything there
        let (told, addresses) = addresses();
        std::fs::write(path("bartizan.toml"), text + &told).unwrap();
        let config = Config::load(&path("bartizan.toml")).unwrap();
        let own = vec![TOKEN.into(), planted, minted.key.expose().to_owned(), key.trim().into()];
        let secrets = [hashes, own, addresses].concat();
        let clock = ManualClock::at(Duration::from_secs(1_800_000_000));
        Self { folder, config, clock, redactor: redactor.unwrap(), secrets }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bundle(&self, name: &str) -> Written {
        let state = StateDir::open(self.path("state")).unwrap();
        let clock: SharedClock = self.clock.clone();
        let file = self.path("bartizan.toml");
        let case = Case {
            config: &self.config,
            file: Some(&file),
            state: &state,
            redactor: &self.redactor,
            clock: &clock,
            since: None,
            doctor: Ok(json!({"score": 100})),
            untold: None,
        };
        evidence::gather(&case).write(&self.path(name)).unwrap()
    }
}

/// Where messages go, as chat services and automations have it: whoever knows the address can write there. What of them
/// is secret, too.
fn addresses() -> (String, Vec<String>) {
    let letters = |number: u64, length: usize| {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(ALPHABET[usize::try_from((state >> 33) % 62).unwrap()])
        };
        (0..length).map(|_| next()).collect::<String>()
    };
    let (slack, teams, flow, plain, path) =
        (letters(1, 24), letters(2, 36), letters(3, 43), letters(4, 20), letters(5, 22));
    let text = format!(
        "[[alerts.to]]\nkind = 'webhook'\nurl = 'https://hooks.slack.example/services/T0AB12CD3/B0EF45GH6/{slack}'\n\
         secret = 'env:NOT_THERE'\n\
         [[alerts.to]]\nkind = 'webhook'\nurl = 'https://alerts.example.com:8443/{plain}?urgent=yes'\nsecret = 'env:NOT_THERE'\n\
         [[alerts.to]]\nkind = 'otlp'\nurl = 'https://otlp.example.com/tenant/{path}'\n\
         [[audit.anchor.to]]\nkind = 'webhook'\nurl = 'https://acme.webhook.office.example/webhookb2/{teams}/IncomingWebhook/1'\n\
         secret = 'env:NOT_THERE'\n\
         [approvals.webhook]\nurl = 'https://prod.logic.example/workflows/9/invoke?api-version=2016-06-01&sig={flow}'\n\
         secret = 'env:NOT_THERE'\nlink = 'https://mcp.example.com'\n"
    );
    let short = ["T0AB12CD3", "urgent=yes", "/workflows/9/invoke"].map(String::from);
    (text, [vec![slack, teams, flow, plain, path], short.to_vec()].concat())
}

fn find(name: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(name).and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| find(name, member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| find(name, item, found)),
        _ => {}
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn refusal(path: &Path, key: Option<&str>) -> String {
    evidence::check(path, key).unwrap_err().message().to_owned()
}

#[tokio::test]
async fn a_bundle_holds_everything_in_one_private_file_and_no_secret() {
    let scene = Scene::new().await;
    let written = scene.bundle("one.tar");
    let path = scene.path("one.tar");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let left = std::fs::read_dir(scene.folder.path()).unwrap().flatten();
    assert!(!left.into_iter().any(|one| one.file_name().to_string_lossy().ends_with(".part")));
    let names: Vec<&str> = written.files.iter().map(|part| part.name.as_str()).collect();
    let wanted = [
        "anchors.json",
        "approvals.json",
        "audit-verification.json",
        "audit.jsonl",
        "audit.pub",
        "configuration.json",
        "credentials.json",
        "doctor.json",
        "files.json",
        "freeze.json",
        "keys.json",
        "policy.json",
        "tools.json",
        "versions.json",
    ];
    assert_eq!(names, wanted);
    let bytes = std::fs::read(&path).unwrap();
    for told in ["list_widgets", "ann@example.com", "odd orders", "ours.cedar", "bearer:file:", "echo"] {
        assert!(holds(&bytes, told), "{told}");
    }
    for host in [
        "hooks.slack.example/[",
        "alerts.example.com:8443/[",
        "acme.webhook.office.example/[",
        "prod.logic.example/[",
    ] {
        assert!(holds(&bytes, &format!("https://{host}redacted:address#")), "{host}");
    }
    assert!(!holds(&bytes, "\"missing\""), "every part could be had");
    for secret in &scene.secrets {
        assert!(!holds(&bytes, secret), "{secret}");
    }
    // the same once more, byte for byte
    scene.bundle("two.tar");
    assert!(bytes == std::fs::read(scene.path("two.tar")).unwrap());
}

#[tokio::test]
async fn a_bundle_proves_that_nothing_in_it_was_touched() {
    let scene = Scene::new().await;
    let Written { key, lines, .. } = scene.bundle("one.tar");
    let path = scene.path("one.tar");
    let verdict = evidence::check(&path, Some(&key)).unwrap();
    assert!(verdict.audit.is_good() && verdict.audit.lines == lines && verdict.audit.checkpoints > 0);
    assert!(evidence::check(&path, None).unwrap().unproven[0].contains("--key"));
    assert!(refusal(&path, Some(&"0".repeat(64))).contains("another key"));

    let bytes = std::fs::read(&path).unwrap();
    let other = scene.path("other.tar");
    let mut touched = 0;
    // a letter of each file, wherever it is
    for part in &verdict.files {
        let head = bytes.windows(part.name.len() + 1).position(|window| {
            window[..part.name.len()] == *part.name.as_bytes() && window[part.name.len()] == 0
        });
        let at = head.unwrap() + 512 + usize::try_from(part.bytes).unwrap() / 2;
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(&other, changed).unwrap();
        assert!(evidence::check(&other, None).is_err(), "{}", part.name);
        touched += 1;
    }
    assert_eq!(touched, verdict.files.len());
    let listed = bytes.windows(4).position(|window| window == b"made").unwrap();
    let mut changed = bytes.clone();
    changed[listed + 9] ^= 1;
    std::fs::write(&other, changed).unwrap();
    assert!(refusal(&other, None).contains("signature"));
    for end in [0, 100, 600, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&other, &bytes[..end]).unwrap();
        assert!(evidence::check(&other, None).is_err(), "cut off at {end}");
    }
    std::fs::write(&other, [bytes.as_slice(), b"more"].concat()).unwrap();
    assert!(evidence::check(&other, None).is_err());
}

#[tokio::test]
async fn what_cannot_be_had_is_said_and_keeps_nothing_else_from_being_had() {
    let scene = Scene::new().await;
    std::fs::remove_file(scene.path("acme.json")).unwrap();
    std::fs::remove_file(scene.path("ours.cedar")).unwrap();
    std::fs::write(scene.path("state/freeze.json"), "{").unwrap();
    let written = scene.bundle("one.tar");
    assert_eq!(written.files.len(), 14);
    let bytes = std::fs::read(scene.path("one.tar")).unwrap();
    assert!(holds(&bytes, "\"missing\"") && holds(&bytes, "acme.json cannot be read"));
    evidence::check(&scene.path("one.tar"), None).unwrap();
    // a file that is there is never replaced
    let state = StateDir::open(scene.path("state")).unwrap();
    let clock: SharedClock = scene.clock.clone();
    let case = Case {
        config: &scene.config,
        file: None,
        state: &state,
        redactor: &scene.redactor,
        clock: &clock,
        since: None,
        doctor: Ok(Value::Null),
        untold: None,
    };
    let error = evidence::gather(&case).write(&scene.path("one.tar")).unwrap_err();
    assert!(error.message().contains("never replaced"), "{error}");
    assert_eq!(std::fs::read(scene.path("one.tar")).unwrap(), bytes);
}

#[tokio::test]
async fn a_line_of_the_audit_that_holds_a_credential_is_told_and_stays_as_it_is() {
    let scene = Scene::new().await;
    let clock = SystemClock::shared();
    // a redactor that has never heard of it, as that of another process may be
    let innocent = Redactor::new(&redaction::Config::default()).unwrap();
    let settings = bartizan::audit::Config { state: scene.path("state"), ..Default::default() };
    let audit = bartizan::audit::Audit::open(&settings, innocent, clock).unwrap();
    audit.event("test", &json!({"said": format!("use {TOKEN} there")})).await.unwrap();
    drop(audit);
    scene.bundle("one.tar");
    let verdict = evidence::check(&scene.path("one.tar"), None).unwrap();
    assert!(verdict.audit.is_good(), "the chain is whole");
    let said = verdict.unproven.iter().find(|one| one.contains("hold one that")).unwrap();
    let audit = std::fs::read_to_string(scene.path("state/audit.jsonl")).unwrap();
    let line = audit.lines().position(|line| line.contains(TOKEN)).unwrap() + 1;
    assert!(said.contains(&format!("1 line(s) of audit.jsonl, the first of them line {line},")), "{said}");
    assert!(!said.contains(TOKEN));
    // what nobody could read nobody looked for
    assert!(verdict.unproven.iter().any(|one| one.contains("env:NOT_THERE")), "{:?}", verdict.unproven);
}

#[tokio::test]
async fn a_bundle_has_the_key_that_signs_whatever_lies_beside_the_audit() {
    let scene = Scene::new().await;
    std::fs::write(scene.path("state/audit.jsonl.pub"), "0".repeat(64)).unwrap();
    let Written { key, .. } = scene.bundle("one.tar");
    let verdict = evidence::check(&scene.path("one.tar"), Some(&key)).unwrap();
    assert!(verdict.unproven.iter().any(|one| one.contains("beside the audit")), "{:?}", verdict.unproven);
}

#[tokio::test]
async fn a_file_of_a_bundle_has_the_time_that_was_signed() {
    let scene = Scene::new().await;
    scene.bundle("one.tar");
    let (path, bytes) = (scene.path("one.tar"), std::fs::read(scene.path("one.tar")).unwrap());
    let verdict = evidence::check(&path, None).unwrap();
    let mut heads = vec![0];
    let mut at = 0;
    let sizes = |at: usize| {
        usize::from_str_radix(std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap(), 8).unwrap()
    };
    for _ in 0..=verdict.files.len() {
        at += 512 + sizes(at).div_ceil(512) * 512;
        heads.push(at);
    }
    assert_eq!(heads.len(), verdict.files.len() + 2);
    for at in heads {
        let mut changed = bytes.clone();
        let head = &mut changed[at..at + 512];
        let time = u64::from_str_radix(std::str::from_utf8(&head[136..147]).unwrap(), 8).unwrap();
        assert_eq!(time, 1_800_000_000);
        head[136..147].copy_from_slice(format!("{:011o}", time + 999).as_bytes());
        head[148..156].copy_from_slice(b"        ");
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        std::fs::write(scene.path("other.tar"), changed).unwrap();
        assert!(refusal(&scene.path("other.tar"), None).contains("another time"), "{at}");
    }
}
