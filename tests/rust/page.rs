//! The webhook tells, the page shows, and only a form that was shown decides.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use bartizan::approvals::{Approvals, Decision, Listed, Opens, Status};
use bartizan::clock::{ManualClock, SystemClock};
use bartizan::identity::keys::Grant;
use bartizan::json::{Value, json};
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::net::TcpStream;

use crate::approvals::{Case, pending, taken};
use crate::doors::{Started, exchange, post, started, started_in, whole};
use crate::loopback::{Seen, Upstream, answer, soon};

const SECRET: &str = "a-secret-that-signs-4711";

struct Office {
    server: Started,
    hook: Upstream,
}

/// A key, and the name of its bearer's second factor.
struct Keys {
    ci: String,
    carol: String,
    dave: String,
    bob: String,
}

fn config(hook: &Upstream, folder: &std::path::Path, more: &str) -> String {
    let secret = folder.join("hook.secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        "[policy]\nset = 'standard'\n[egress]\nallow_private = ['{}']\nretries = 0\n[approvals]\n{more}\n\
         [approvals.webhook]\nurl = 'http://{}/told'\nsecret = 'file:{}'\nkey_id = 'k1'\nlink = 'https://mcp.example.com'\n",
        hook.address,
        hook.address,
        secret.display()
    )
}

impl Office {
    async fn new(more: &str) -> (Self, Keys) {
        let hook = Upstream::start(|_, _| answer(204, "")).await;
        let keep = tempfile::tempdir().unwrap();
        let server = started(&config(&hook, keep.path(), more)).await;
        // the secret was read when the server started
        drop(keep);
        let office = Self { server, hook };
        let keys = Keys {
            ci: office.mint("ci", "bob", None),
            carol: office.mint("carol", "carol", Some("approver")),
            dave: office.mint("dave", "dave", None),
            bob: office.mint("bobs-other", "bob", Some("approver")),
        };
        (office, keys)
    }

    fn mint(&self, name: &str, owner: &str, role: Option<&str>) -> String {
        let grant = Grant {
            owner: owner.into(),
            roles: role.into_iter().map(String::from).collect(),
            ..Grant::named(name)
        };
        self.server.keys().mint(&grant).unwrap().key.expose().to_owned()
    }

    async fn call(&self, key: &str) -> Value {
        let bearer = format!("Bearer {key}");
        let call = post(
            "/mcp",
            &[("Authorization", &bearer)],
            "tools/call",
            json!({"name": "make", "arguments": {}}),
        );
        let stream = TcpStream::connect(self.server.address).await.unwrap();
        let (_, text) = soon(exchange(stream, &call)).await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["result"].clone()
    }

    /// The id of the approval that a call waits for.
    async fn waits(&self, key: &str) -> String {
        let result = self.call(key).await;
        let error = &result["structuredContent"]["error"];
        assert_eq!(error["kind"], "NeedsApproval", "{result}");
        error["approval"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String, String) {
        let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.server.address).await.unwrap();
        soon(whole(&mut stream, &text)).await.unwrap()
    }

    async fn look(&self, id: &str, key: &str) -> (u16, String, String) {
        self.ask("GET", &format!("/approvals/{id}"), &[("Authorization", &basic(key))], "").await
    }

    async fn token(&self, id: &str, key: &str) -> String {
        let (status, _, page) = self.look(id, key).await;
        assert_eq!(status, 200, "{page}");
        let rest = page.split_once("name=\"token\" value=\"").unwrap_or_else(|| panic!("no form: {page}")).1;
        rest.split('"').next().unwrap().to_owned()
    }

    async fn send(&self, id: &str, key: &str, more: &[(&str, &str)], form: &str) -> (u16, String) {
        let basic = basic(key);
        let mut headers =
            vec![("Authorization", basic.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
        headers.extend(more);
        let (status, _, body) = self.ask("POST", &format!("/approvals/{id}"), &headers, form).await;
        (status, body)
    }

    fn shown(&self, id: &str) -> Listed {
        self.desk().show(id).unwrap()
    }

    fn desk(&self) -> std::sync::Arc<bartizan::approvals::Approvals> {
        let config = self.server.app.config();
        let state = self.server.folder.path().join("state");
        bartizan::approvals::Approvals::open(&config.approvals, &state, SystemClock::shared()).unwrap()
    }

    async fn told(&self, count: usize) -> Vec<Seen> {
        soon(async {
            while self.hook.seen().len() < count {
                self.hook.arrived.notified().await;
            }
        })
        .await;
        self.hook.seen()
    }
}

fn basic(key: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("whoever:{key}")))
}

/// What a receiver does, as the documentation says it.
fn is_genuine(seen: &Seen) -> bool {
    use base64::Engine as _;
    let (id, time) = (seen.header("webhook-id").unwrap(), seen.header("webhook-timestamp").unwrap());
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{id}.{time}.").as_bytes());
    mac.update(&seen.body);
    let expected = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    let age = SystemClock::shared().wall().as_secs() - time.parse::<u64>().unwrap();
    seen.header("webhook-signature") == Some(&format!("v1,{expected}"))
        && seen.header("bartizan-key-id") == Some("k1")
        && age < 60
}

// proves: approval-page
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_told_shown_and_agreed_to_by_an_approver() {
    let (office, keys) = Office::new("").await;
    let id = office.waits(&keys.ci).await;
    let told = office.told(1).await;
    assert!(is_genuine(&told[0]), "{:?}", told[0].headers);
    let message = told[0].json();
    assert_eq!(message["approval"], *id);
    assert_eq!(told[0].header("webhook-id"), Some(&*id));
    assert_eq!(message["link"], format!("https://mcp.example.com/approvals/{id}"));
    assert_eq!((&message["tool"], &message["asked_by"]), (&json!("make"), &json!("key:ci")));
    assert!(message.get("arguments").is_none() && !told[0].body.windows(3).any(|bytes| bytes == b"bz_"));

    // What follows links sees a prompt, and approves nothing, whatever it sends along.
    for (method, path) in [
        ("GET", format!("/approvals/{id}")),
        ("HEAD", format!("/approvals/{id}")),
        ("GET", format!("/approvals/{id}?decision=approve")),
        ("POST", format!("/approvals/{id}")),
    ] {
        let (status, head, body) = office.ask(method, &path, &[], "").await;
        assert_eq!(status, 401, "{method} {path}");
        assert!(head.contains("www-authenticate: basic") && !body.contains("make"), "{head}");
    }
    for _ in 0..3 {
        let (status, head, page) = office.look(&id, &keys.carol).await;
        assert_eq!(status, 200, "{page}");
        assert!(page.contains("make (write, from builtin)") && page.contains("key:ci"), "{page}");
        for header in [
            "content-security-policy: default-src 'none'; style-src 'sha256-",
            "frame-ancestors 'none'",
            "cache-control: no-store",
            "x-frame-options: deny",
            "referrer-policy: same-origin",
        ] {
            assert!(head.contains(header), "{header} is not in {head}");
        }
        assert!(!head.contains("access-control"), "{head}");
    }
    assert_eq!(office.shown(&id).status, Status::Pending);
    assert_eq!(office.waits(&keys.ci).await, id);

    let token = office.token(&id, &keys.carol).await;
    let form = format!("token={token}&decision=approve");
    let own = [("Origin", "https://mcp.example.com"), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(office.send(&id, &keys.carol, &own, &form).await.0, 303);
    let listed = office.shown(&id);
    assert_eq!((listed.status, listed.by.as_deref()), (Status::Approved, Some("key:carol")));
    // A form that is sent again is an old one.
    assert_eq!(office.send(&id, &keys.carol, &own, &form).await.0, 409);
    assert_eq!(office.call(&keys.ci).await["content"][0]["text"], "done");
    assert_eq!(office.send(&id, &keys.carol, &own, &form).await.0, 409);
    assert_ne!(office.waits(&keys.ci).await, id, "once");
    let audit = office.server.audited();
    assert!(
        audit.contains("\"approval approved\"") && audit.contains("\"approver\":\"key:carol\""),
        "{audit}"
    );
    assert!(audit.contains("\"approval told\""), "{audit}");
    office.server.ended().await;
}

// proves: approval-page
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_that_was_not_shown_to_this_approver_decides_nothing() {
    let (office, keys) = Office::new("").await;
    let id = office.waits(&keys.ci).await;
    let other = office.waits(&keys.dave).await;
    let token = office.token(&id, &keys.carol).await;
    let form = format!("token={token}&decision=approve");
    let stranger = office.mint("erin", "erin", Some("approver"));
    let late = "1.0000000000000000000000000000000000000000000000000000000000000000";
    for (why, on, key, more, form, status) in [
        ("no token", &id, &keys.carol, None, "decision=approve".to_owned(), 409),
        ("a token of long ago", &id, &keys.carol, None, format!("token={late}&decision=approve"), 409),
        ("two tokens", &id, &keys.carol, None, format!("token={token}&token={token}&decision=approve"), 409),
        ("another approver's", &id, &stranger, None, form.clone(), 409),
        ("another approval's", &other, &keys.carol, None, form.clone(), 409),
        ("no decision", &id, &keys.carol, None, format!("token={token}"), 409),
        ("another site", &id, &keys.carol, Some(("Origin", "https://evil.example")), form.clone(), 403),
        ("no site", &id, &keys.carol, Some(("Origin", "null")), form.clone(), 403),
        ("another site's form", &id, &keys.carol, Some(("Sec-Fetch-Site", "cross-site")), form.clone(), 403),
        ("a neighbour's form", &id, &keys.carol, Some(("Sec-Fetch-Site", "same-site")), form.clone(), 403),
        ("no approver", &id, &keys.dave, None, form.clone(), 403),
        ("the caller", &id, &keys.ci, None, form.clone(), 403),
    ] {
        let more: Vec<(&str, &str)> = more.into_iter().collect();
        let (got, body) = office.send(on, key, &more, &form).await;
        assert_eq!(got, status, "{why}: {body}");
        assert!(!body.contains("from builtin"), "{why}: {body}");
        assert_eq!(office.shown(&id).status, Status::Pending, "{why}");
    }
    // Another application's address may use the endpoint, never its pages; and no script reads them.
    let json = [("Authorization", &*basic(&keys.carol)), ("Content-Type", "application/json")];
    assert_eq!(office.ask("POST", &format!("/approvals/{id}"), &json, "{}").await.0, 415);
    assert_eq!(office.look(&id, &keys.dave).await.0, 403);
    assert_eq!(office.look("aaaa-aaaa-aaaa", &keys.carol).await.0, 404);
    assert_eq!(office.ask("GET", "/approvals/..%2fkeys", &json, "").await.0, 404);
    // The one who asked holds an approver's key as well: it is the same person.
    let token = office.token(&id, &keys.bob).await;
    let (status, body) = office.send(&id, &keys.bob, &[], &format!("token={token}&decision=approve")).await;
    assert!(status == 403 && body.contains("another person"), "{status} {body}");
    assert_eq!(office.shown(&id).status, Status::Pending);
    let (_, _, page) = office.look(&id, &keys.bob).await;
    assert!(!page.contains("Let it run once") && page.contains("Refuse"), "{page}");

    // A decision that somebody else wrote down in the server's name.
    let forged = json!({
        "id": id, "operator": "key:carol", "decision": "approve", "at": SystemClock::shared().wall().as_millis() as u64,
        "expires": office.shown(&id).record.expires, "factor": null, "page": true, "signature": "0".repeat(64)
    });
    let path = office.server.folder.path().join(format!("state/approvals/{id}.decision"));
    std::fs::write(&path, forged.to_string()).unwrap();
    assert_eq!(office.waits(&keys.ci).await, id);
    // One that is genuine, put beside another approval.
    let genuine = office.waits(&office.mint("frank", "frank", None)).await;
    let shown = office.shown(&genuine);
    let carol = bartizan::principal::Principal::new("key:carol", bartizan::principal::PrincipalKind::ApiKey);
    office.desk().decide_on_page(&shown, Decision::Approve, &carol, None).unwrap();
    let folder = office.server.folder.path().join("state/approvals");
    std::fs::copy(folder.join(format!("{genuine}.decision")), &path).unwrap();
    assert_eq!(office.waits(&keys.ci).await, id);
    office.server.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_asks_for_a_second_factor_where_one_is_due() {
    let (office, keys) = Office::new("second_factor = 'always'").await;
    let refused = office.call(&keys.ci).await;
    assert!(refused.to_string().contains("factor enrol"), "{refused}");
    let desk = office.desk();
    let begun = desk.begin_factor("carol").unwrap();
    let totp = totp_rs::Totp::from_url(begun.address().unwrap().expose()).unwrap();
    let now = || SystemClock::shared().wall().as_secs();
    // the codes of the step before are used up by enrolling with one
    let first = totp.generate(now() - 30).to_string();
    let recovery = desk.confirm_factor(&begun, &first, &Opens::Page).unwrap();
    let id = office.waits(&keys.ci).await;
    let (_, _, page) = office.look(&id, &keys.carol).await;
    assert!(page.contains("name=\"code\""), "{page}");
    let token = office.token(&id, &keys.carol).await;
    let with = |code: &str| format!("token={token}&decision=approve&code={code}");
    for (why, code) in [("none", String::new()), ("used", first), ("no code", "abcdef".into())] {
        let (status, body) = office.send(&id, &keys.carol, &[], &with(&code)).await;
        assert_eq!(status, 403, "{why}: {body}");
        assert_eq!(office.shown(&id).status, Status::Pending, "{why}");
    }
    assert!(office.server.audited().contains("second factor failed"));
    assert_eq!(office.send(&id, &keys.carol, &[], &with(&totp.generate(now()).to_string())).await.0, 303);
    assert_eq!(office.call(&keys.ci).await["content"][0]["text"], "done");

    // A factor that its owner's passphrase seals is not the server's to check.
    desk.remove_factor("carol").unwrap();
    let begun = desk.begin_factor("carol").unwrap();
    let totp = totp_rs::Totp::from_url(begun.address().unwrap().expose()).unwrap();
    let passphrase = Secret::new("correct horse battery");
    let first = totp.generate(now() - 30).to_string();
    desk.confirm_factor(&begun, &first, &Opens::Passphrase(&passphrase)).unwrap();
    let id = office.waits(&keys.ci).await;
    let token = office.token(&id, &keys.carol).await;
    let form = format!("token={token}&decision=approve&code={}", totp.generate(now()));
    let (status, body) = office.send(&id, &keys.carol, &[], &form).await;
    assert!(status == 403 && body.contains("opens only with its passphrase"), "{status} {body}");
    let _ = recovery;
    office.server.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_told_is_told_again_and_by_the_next_server() {
    let hook = Upstream::start(|_, before| {
        answer(
            if before == 0 {
                503
            } else if before == 1 {
                400
            } else {
                200
            },
            "",
        )
    })
    .await;
    let keep = tempfile::tempdir().unwrap();
    let text = config(&hook, keep.path(), "");
    let office = Office { server: started(&text).await, hook };
    let ci = office.mint("ci", "bob", None);
    let id = office.waits(&ci).await;
    let told = office.told(2).await;
    assert!(told.iter().all(is_genuine), "each try is signed anew");
    assert_eq!(told[0].header("webhook-id"), told[1].header("webhook-id"));
    let Office { server, hook } = office;
    let folder = server.ended().await;
    let listening = format!("{text}\n[http]\nlisten = '127.0.0.1:0'\ndrain_delay = 0\ndrain = 0.2\n");
    let office = Office { server: started_in(folder, &listening).await, hook };
    let told = office.told(3).await;
    assert_eq!(told[2].json()["approval"], *id);
    let folder = office.server.folder.path().join("state/approvals");
    soon(async {
        while !folder.join(format!("{id}.told")).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    office.server.ended().await;
}

#[tokio::test]
async fn without_a_webhook_there_is_no_page() {
    let server = started("[policy]\nset = 'standard'").await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let text = "GET /approvals/aaaa-aaaa-aaaa HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (status, _, _) = soon(whole(&mut stream, text)).await.unwrap();
    assert_eq!(status, 404);
    server.ended().await;
}

#[test]
fn a_webhook_that_could_not_work_is_refused_when_the_server_starts() {
    use bartizan::approvals::{Config, Webhook};
    let check = |change: &dyn Fn(&mut Webhook)| {
        let mut webhook = Webhook {
            url: "https://hooks.example.com/x".into(),
            secret: "env:HOOK".into(),
            key_id: "1".into(),
            link: "https://mcp.example.com:8443".into(),
        };
        change(&mut webhook);
        Config { webhook: Some(webhook), ..Config::default() }.check()
    };
    assert!(check(&|_| ()).is_ok());
    assert!(check(&|webhook| webhook.link = "https://mcp.example.com/".into()).is_ok());
    for link in ["", "mcp.example.com", "https://", "https://a.example/path", "https://a\"b", "javascript:x"]
    {
        assert!(check(&|webhook| webhook.link = link.into()).is_err(), "{link}");
    }
    assert!(check(&|webhook| webhook.url.clear()).is_err());
    assert!(check(&|webhook| webhook.secret.clear()).is_err());
    assert!(Config { channels: Vec::new(), ..Config::default() }.check().is_err());
}

/// A caller that came in with a token.
fn by_token(id: &str, tenant: Option<&str>, owner: Option<&str>) -> Principal {
    Principal {
        tenant: tenant.map(String::from),
        issuer: Some("https://login.example.com".into()),
        owner: owner.map(Into::into),
        roles: ["approver".to_owned()].into(),
        ..Principal::new(format!("oauth:corp:{id}"), PrincipalKind::Token)
    }
}

fn by_key(name: &str, owner: &str) -> Principal {
    let owner = Some(owner.into());
    Principal { owner, ..Principal::new(format!("key:{name}"), PrincipalKind::ApiKey) }
}

fn with_page(folder: &std::path::Path, more: &str) -> std::sync::Arc<Approvals> {
    let text = format!(
        "{more}\n[webhook]\nurl = 'https://hooks.example'\nsecret = 'env:X'\nlink = 'https://a.example'"
    );
    let config = toml::from_str(&text).unwrap();
    Approvals::open(&config, &folder.join("state"), ManualClock::at(Duration::from_hours(500_000))).unwrap()
}

// proves: approval-page
#[test]
fn nobody_sees_or_decides_what_another_tenant_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let approvals = with_page(folder.path(), "");
    let case = Case { principal: by_token("anna", Some("acme"), Some("anna@acme.example")), ..Case::usual() };
    let shown = approvals.show(&pending(&approvals, &case)).unwrap();
    let elsewhere = Principal {
        issuer: Some("https://evil.example".into()),
        ..by_token("carol", Some("acme"), Some("carol@acme.example"))
    };
    for stranger in [
        by_token("carol", Some("umbrella"), Some("carol@acme.example")),
        by_token("carol", None, Some("carol@acme.example")),
        elsewhere,
    ] {
        assert!(!approvals.may_see(&shown, &stranger), "{stranger:?}");
        for decision in [Decision::Approve, Decision::Refuse] {
            let refused = approvals.decide_on_page(&shown, decision, &stranger, None).unwrap_err();
            assert!(refused.message().contains("another tenant"), "{refused}");
        }
    }
    let carol = by_token("carol", Some("acme"), Some("carol@acme.example"));
    assert!(approvals.may_see(&shown, &carol));
    approvals.decide_on_page(&shown, Decision::Approve, &carol, None).unwrap();
    assert!(taken(&approvals, &case));
}

// proves: approval-page
#[test]
fn one_person_with_a_key_and_a_token_does_not_agree_with_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let approvals = with_page(folder.path(), "");
    let case = Case { principal: by_key("ci", "Anna"), ..Case::usual() };
    let shown = approvals.show(&pending(&approvals, &case)).unwrap();
    let why = |principal: &Principal| approvals.why_not(&shown, principal).unwrap_or_default();
    for same in ["anna", "ANNA@example.com"] {
        assert!(why(&by_token("x81", None, Some(same))).contains("another person"), "{same}");
    }
    let nobody = by_token("x81", None, None);
    assert!(why(&nobody).contains("[approvals.people]"), "it could be anybody");
    assert!(approvals.decide_on_page(&shown, Decision::Approve, &nobody, None).is_err());

    // what is known of them when the grant is taken counts as well
    approvals.decide_on_page(&shown, Decision::Approve, &by_token("x81", None, Some("bert")), None).unwrap();
    let later = with_page(folder.path(), "[people]\nanna = ['bert']");
    assert!(!taken(&later, &case), "bert is anna, as it turned out");
    assert!(taken(&approvals, &case));

    let shown = approvals.show(&pending(&approvals, &case)).unwrap();
    let named = with_page(folder.path(), "[people]\ncarol = ['oauth:corp:x81']");
    assert_eq!(named.why_not(&shown, &nobody), None);
}
