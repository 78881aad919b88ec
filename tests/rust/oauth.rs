//! Access tokens: what opens the door, what does not, and what an authorization server can do to us.
//!
//! The tokens are shown to the authenticator itself, with the clock in the test's hand; `oauth_http` shows them to a
//! whole server.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan::clock::{Clock, ManualClock};
use bartizan::identity::oauth::{Config, OAuth, Surroundings};
use bartizan::json::{Digest, Value, json};
use bartizan::principal::Principal;
use bartizan::redaction::Redactor;
use bartizan::state::Remembered;
use bartizan::state::shared::Once;
use bartizan::transport::auth::{Authenticator, Certificate, Presented, Refusal, Verdict};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::issuer::{AuthServer, Mood, Signer, encode, hex};
use crate::loopback::{Upstream, answer, soon};

pub(crate) const ADDRESS: &str = "https://mcp.example.com/mcp";
const START: u64 = 1_800_000_000;

/// Whoever is asked about tokens.
pub(crate) struct Door {
    pub(crate) oauth: Arc<OAuth>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) redactor: Redactor,
}

/// What a request shows.
#[derive(Default)]
pub(crate) struct Show {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) method: Method,
    pub(crate) certificate: Option<Arc<Certificate>>,
}

impl Show {
    pub(crate) fn bearer(token: &str) -> Self {
        Self {
            headers: vec![("authorization", format!("Bearer {token}"))],
            method: Method::POST,
            certificate: None,
        }
    }

    pub(crate) fn bound(token: &str, proof: &str) -> Self {
        let headers = vec![("authorization", format!("DPoP {token}")), ("dpop", proof.to_owned())];
        Self { headers, method: Method::POST, certificate: None }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }
}

impl Door {
    pub(crate) fn with(server: &AuthServer, more: &str) -> Self {
        let text = format!("public_url = \"{ADDRESS}\"\n{more}\n");
        let text = if more.contains("issuers") {
            text
        } else {
            format!("{text}[[issuers]]\nissuer = \"{}\"\nname = \"test\"\n", server.url())
        };
        Self::of(&toml::from_str(&text).unwrap(), server, None)
    }

    pub(crate) fn of(config: &Config, server: &AuthServer, once: Option<Arc<dyn Once>>) -> Self {
        let clock = ManualClock::at(Duration::from_secs(START - 1));
        // what is shown is made after the start
        let remembered = Arc::new(Remembered::new(10_000, clock.clone()));
        clock.advance(Duration::from_secs(1));
        let redactor = Redactor::new(&bartizan::redaction::Config::default()).unwrap();
        let around = Surroundings {
            egress: &server.upstream.egress(),
            redactor: redactor.clone(),
            once: once.unwrap_or(remembered),
            nonce_key: [7; 32],
            name: Some("widgets"),
            clock: clock.clone(),
        };
        let oauth = OAuth::new(config, around).unwrap();
        Self { oauth, clock, redactor }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.wall().as_secs()
    }

    pub(crate) async fn show(&self, show: &Show) -> Result<Arc<Principal>, Refusal> {
        let headers = show.headers();
        let presented = Presented {
            headers: &headers,
            method: &show.method,
            path: "/mcp",
            address: IpAddr::from([127, 0, 0, 1]),
            certificate: show.certificate.as_ref(),
        };
        match self.oauth.authenticate(&presented) {
            Verdict::Now(verdict) => verdict,
            Verdict::Known(verdict) | Verdict::Later(verdict) => soon(verdict).await,
        }
    }

    async fn bearer(&self, token: &str) -> Result<Arc<Principal>, Refusal> {
        self.show(&Show::bearer(token)).await
    }

    pub(crate) async fn refused(&self, token: &str) -> &'static str {
        let refusal = self.bearer(token).await.expect_err("it is refused");
        assert_eq!(refusal.status, 401, "{}", refusal.what);
        assert!(refusal.challenges[0].contains("error=\"invalid_token\""), "{:?}", refusal.challenges);
        assert!(refusal.presented, "it counts against the address");
        refusal.what
    }

    pub(crate) fn claims(&self, server: &AuthServer) -> Value {
        json!({
            "iss": server.url(), "aud": ADDRESS, "sub": "anna", "client_id": "ide", "iat": self.now(),
            "exp": self.now() + 600, "scope": "mcp:read mcp:write"
        })
    }
}

fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value;
    claims
}

// ---- what opens the door

#[tokio::test]
async fn a_token_of_a_configured_issuer_says_who_calls() {
    let (ec, ed, rsa) = (Signer::ec("one"), Signer::ed("two"), Signer::rsa());
    let server = AuthServer::start(&[&ec, &ed, rsa]).await;
    let door = Door::with(&server, "");
    for signer in [&ec, &ed, rsa] {
        let principal = door.bearer(&signer.token(&door.claims(&server))).await.unwrap();
        assert_eq!(&*principal.id, "oauth:test:anna");
        assert_eq!(principal.bearer.as_deref(), Some("ide"));
        assert_eq!(principal.issuer.as_deref(), Some(&*server.url()));
        assert!(principal.scopes.contains("write") && !principal.scopes.contains("admin"));
        assert!(!principal.may_approve);
    }
    assert_eq!(server.upstream.count("/keys"), 1, "fetched once for all");
}

#[tokio::test]
async fn a_token_that_was_checked_is_not_checked_again_until_it_ends() {
    let key = Signer::ec("one");
    let server = AuthServer::start(&[&key]).await;
    let door = Door::with(&server, "");
    let token = key.token(&door.claims(&server));
    let first = door.bearer(&token).await.unwrap();
    let again = door.bearer(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again), "the same answer, not made anew");
    door.clock.advance(Duration::from_secs(659));
    assert!(door.bearer(&token).await.is_ok(), "within the leeway");
    door.clock.advance(Duration::from_secs(1));
    assert_eq!(door.refused(&token).await, "token has expired");
    assert_eq!(door.refused(&token).await, "token has expired");
}

// ---- what does not

// proves: oauth-checked
#[tokio::test]
async fn a_token_that_is_wrong_in_one_way_is_refused() {
    let (key, foreign) = (Signer::ec("one"), Signer::ec("one"));
    let server = AuthServer::start(&[&key]).await;
    let door = Door::with(&server, "");
    let good = door.claims(&server);
    let now = door.now();
    let token = key.token(&good);
    assert!(door.bearer(&token).await.is_ok());
    for (claims, what) in [
        (with(&good, "aud", json!("https://other.example.com/mcp")), "token is for another audience"),
        (with(&good, "aud", json!([])), "token is for another audience"),
        (with(&good, "iss", json!("https://evil.example")), "token of an unknown issuer"),
        (with(&good, "iss", json!(format!("{}/", server.url()))), "token of an unknown issuer"),
        (with(&good, "iss", json!([server.url()])), "token without issuer"),
        (with(&good, "exp", json!(now - 61)), "token has expired"),
        (with(&good, "nbf", json!(now + 61)), "token is not valid yet"),
        (with(&good, "iat", json!(now + 3600)), "token was issued in the future"),
    ] {
        assert_eq!(door.refused(&key.token(&claims)).await, what);
    }
    assert_eq!(door.refused(&foreign.token(&good)).await, "token with a wrong signature");
    let (message, signature) = token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let broken = format!("{message}.{flipped}{}", &signature[1..]);
    assert_eq!(door.refused(&broken).await, "token with a wrong signature");
    let (header, _) = message.split_once('.').unwrap();
    let raised = encode(with(&good, "scope", json!("mcp:admin")).to_string());
    assert_eq!(door.refused(&format!("{header}.{raised}.{signature}")).await, "token with a wrong signature");
    for typ in ["dpop+jwt", "logout+jwt", "JWE"] {
        let header = json!({"typ": typ, "alg": "ES256", "kid": "one"});
        assert_eq!(door.refused(&key.sign(&header, &good)).await, "not an access token");
    }
    let critical = json!({"alg": "ES256", "kid": "one", "crit": ["x"], "x": 1});
    assert_eq!(door.refused(&key.sign(&critical, &good)).await, "token header needs an extension");
    for odd in ["opaque-credential-of-somebody", "a.b.c-of-somebody-else", "%2e%2e%2f%2e%2e%2f%2e%2e"] {
        assert!(door.bearer(odd).await.is_err());
    }
}

#[tokio::test]
async fn an_unsigned_token_and_one_signed_with_the_public_key_are_refused() {
    let key = Signer::rsa();
    let server = AuthServer::start(&[key]).await;
    let door = Door::with(&server, "");
    let good = door.claims(&server);
    assert!(door.bearer(&key.token(&good)).await.is_ok());
    for alg in ["none", "None", "NONE", "nOnE"] {
        let message =
            format!("{}.{}", encode(json!({"alg": alg, "kid": "rsa"}).to_string()), encode(good.to_string()));
        for signature in ["", "AA"] {
            let what = door.refused(&format!("{message}.{signature}")).await;
            assert!(what == "signature algorithm not accepted" || what == "not a signed token", "{what}");
        }
    }
    // the oldest trick: the published key as the shared secret
    let jwk = key.jwk();
    let modulus = jwk["n"].as_str().unwrap();
    for secret in [key.pem(), key.pem().trim().to_owned(), modulus.to_owned(), jwk.to_string()] {
        for (name, algorithm) in
            [("HS256", jsonwebtoken::Algorithm::HS256), ("HS512", jsonwebtoken::Algorithm::HS512)]
        {
            let header = json!({"alg": name, "kid": "rsa", "typ": "JWT"});
            let message = format!("{}.{}", encode(header.to_string()), encode(good.to_string()));
            let secret = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
            let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, algorithm).unwrap();
            assert_eq!(
                door.refused(&format!("{message}.{signature}")).await,
                "signature algorithm not accepted"
            );
        }
    }
    // a key of another kind under the same id, and a key that comes along in the token
    let other = Signer::ec("rsa");
    assert!(door.bearer(&other.token(&good)).await.is_err());
    let embedded = json!({"alg": "ES256", "jwk": other.jwk(), "jku": "https://evil.example/keys"});
    assert!(door.bearer(&other.sign(&embedded, &good)).await.is_err());
}

#[tokio::test]
async fn an_issuer_can_be_held_to_fewer_algorithms() {
    let (ec, rsa) = (Signer::ec("one"), Signer::rsa());
    let server = AuthServer::start(&[&ec, rsa]).await;
    let door = Door::with(
        &server,
        &format!(
            "issuers = [{{ issuer = \"{}\", name = \"test\", algorithms = [\"ES256\"] }}]",
            server.url()
        ),
    );
    assert!(door.bearer(&ec.token(&door.claims(&server))).await.is_ok());
    assert_eq!(door.refused(&rsa.token(&door.claims(&server))).await, "signature algorithm not accepted");
}

#[tokio::test]
async fn there_is_one_authorization_and_it_is_a_token() {
    let key = Signer::ec("one");
    let server = AuthServer::start(&[&key]).await;
    let door = Door::with(&server, "");
    let token = key.token(&door.claims(&server));
    let missing = door.show(&Show::default()).await.unwrap_err();
    assert!(
        !missing.presented
            && missing.challenges[0].starts_with("Bearer scope=\"mcp:read\", resource_metadata=")
    );
    let twice =
        vec![("authorization", format!("Bearer {token}")), ("authorization", format!("Bearer {token}"))];
    assert!(door.show(&Show { headers: twice, ..Show::default() }).await.is_err());
    for value in
        [format!("Basic {token}"), token.clone(), String::from("Bearer"), format!("Bearer {token} {token}")]
    {
        let show = Show { headers: vec![("authorization", value)], ..Show::default() };
        assert_eq!(door.show(&show).await.unwrap_err().what, "Authorization is not a token");
    }
    let long = format!("{token}{}", "x".repeat(20_000));
    assert_eq!(door.refused(&long).await, "Authorization is not a token");
}

// ---- what an authorization server can do to us

#[tokio::test]
async fn rotated_keys_are_picked_up_and_old_ones_let_go_without_a_restart() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let server = AuthServer::start(&[&old]).await;
    let door = Door::with(&server, "");
    let before = old.token(&door.claims(&server));
    assert!(door.bearer(&before).await.is_ok());
    server.publishes(&[&new]);
    door.clock.advance(Duration::from_secs(31));
    let after = new.token(&door.claims(&server));
    assert!(door.bearer(&after).await.is_ok(), "an unknown key id is looked up");
    assert!(
        door.bearer(&before).await.is_err(),
        "a key that was taken back opens nothing, checked before or not"
    );
    assert!(door.bearer(&after).await.is_ok());
}

#[tokio::test]
async fn unknown_key_ids_make_no_flood() {
    let (key, foreign) = (Signer::ec("one"), Signer::ec("x"));
    let server = AuthServer::start(&[&key]).await;
    let door = Arc::new(Door::with(&server, ""));
    assert!(door.bearer(&key.token(&door.claims(&server))).await.is_ok());
    door.clock.advance(Duration::from_secs(31));
    for number in 0..50 {
        let header = json!({"alg": "ES256", "kid": format!("made-up-{number}")});
        assert_eq!(
            door.refused(&foreign.sign(&header, &door.claims(&server))).await,
            "token of an unknown key"
        );
    }
    assert_eq!(server.upstream.count("/keys"), 2, "the first, and one for all that is unknown");
    assert!(door.bearer(&key.token(&door.claims(&server))).await.is_ok());

    // and all who come at once wait for one fetch
    let fresh = Arc::new(Door::with(&server, ""));
    let all: Vec<_> = (0..20)
        .map(|number| {
            let token = key.token(&with(&fresh.claims(&server), "sub", json!(format!("u{number}"))));
            let door = fresh.clone();
            tokio::spawn(async move { door.bearer(&token).await.is_ok() })
        })
        .collect();
    for one in all {
        assert!(one.await.unwrap());
    }
    assert_eq!(server.upstream.count("/keys"), 3);
}

#[tokio::test]
async fn keys_serve_on_for_a_while_when_the_issuer_is_down_and_no_longer() {
    let key = Signer::ec("one");
    let server = AuthServer::start(&[&key]).await;
    let door = Door::with(&server, "keys_max_age_seconds = 600\nkeys_stale_seconds = 3600");
    let token = || key.token(&door.claims(&server));
    assert!(door.bearer(&token()).await.is_ok());
    server.is(Mood::Down);
    door.clock.advance(Duration::from_secs(3000));
    assert!(door.bearer(&token()).await.is_ok(), "stale keys are keys");
    door.clock.advance(Duration::from_secs(1300));
    let refusal = door.bearer(&token()).await.unwrap_err();
    assert_eq!(
        (refusal.status, refusal.presented),
        (503, false),
        "it is not the caller's fault: {}",
        refusal.what
    );
    assert!(refusal.retry_after.is_some() && refusal.challenges.is_empty());
    server.is(Mood::Well);
    door.clock.advance(Duration::from_secs(60));
    assert!(door.bearer(&token()).await.is_ok(), "and back without a restart");
}

#[tokio::test]
async fn a_hostile_issuer_leads_us_nowhere() {
    let key = Signer::ec("one");
    let elsewhere = Upstream::start(|_, _| answer(200, "{}")).await;
    let there = format!("http://{}/keys", elsewhere.address);
    for mood in [
        Mood::Endless,
        Mood::Impostor,
        Mood::Redirect(there.clone()),
        Mood::KeysAt(there.clone()),
        Mood::KeysAt(String::from("http://169.254.169.254/latest/meta-data")),
        Mood::KeysAt(String::from("https://localhost:1/keys")),
        Mood::KeysAt(String::from("file:///etc/passwd")),
        Mood::KeysAt(String::from("not an address")),
    ] {
        let server = AuthServer::start(&[&key]).await;
        server.is(mood.clone());
        let door = Door::with(&server, "");
        let refusal = door.bearer(&key.token(&door.claims(&server))).await.unwrap_err();
        assert_eq!(refusal.status, 503, "{mood:?}: {}", refusal.what);
    }
    assert!(elsewhere.seen().is_empty(), "nobody but the issuer was asked");
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_not_asked() {
    let key = Signer::ec("one");
    let server = AuthServer::start(&[&key]).await;
    // the configuration permits the server's address; this is another port of the same machine, under a name
    let other = Upstream::start(|_, _| answer(200, "{}")).await;
    let place = format!("https://localhost:{}", other.address.port());
    let door = Door::with(&server, &format!("issuers = [{{ issuer = \"{place}\", name = \"test\" }}]"));
    let token = key.token(&with(&door.claims(&server), "iss", json!(place)));
    let refusal = door.bearer(&token).await.unwrap_err();
    assert_eq!(refusal.status, 503);
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_silent_issuer_makes_only_those_wait_who_need_it() {
    let (key, other) = (Signer::ec("one"), Signer::ec("two"));
    let (quiet, loud) = (AuthServer::start(&[&key]).await, AuthServer::start(&[&other]).await);
    quiet.is(Mood::Silent);
    let text = format!(
        "public_url = \"{ADDRESS}\"\nissuers = [{{ issuer = \"{}\", name = \"quiet\" }}, {{ issuer = \"{}\", name = \
         \"loud\" }}]",
        quiet.url(),
        loud.url()
    );
    let clock = ManualClock::at(Duration::from_secs(START));
    let egress = quiet.upstream.egress().allowing(loud.upstream.address.to_string());
    let around = Surroundings {
        egress: &egress,
        redactor: Redactor::new(&bartizan::redaction::Config::default()).unwrap(),
        once: Arc::new(Remembered::new(100, clock.clone())),
        nonce_key: [7; 32],
        name: None,
        clock: clock.clone(),
    };
    let oauth = OAuth::new(&toml::from_str(&text).unwrap(), around).unwrap();
    let claims = |server: &AuthServer| json!({"iss": server.url(), "aud": ADDRESS, "sub": "anna", "exp": START + 600, "scope": "mcp:read"});
    let (waits, goes) = (key.token(&claims(&quiet)), other.token(&claims(&loud)));
    let headers = |token: &str| Show::bearer(token).headers();
    let (first, second) = (headers(&waits), headers(&goes));
    let shown = |headers| Presented {
        headers,
        method: &Method::POST,
        path: "/mcp",
        address: IpAddr::from([127, 0, 0, 1]),
        certificate: None,
    };
    let (first, second) = (shown(&first), shown(&second));
    let Verdict::Later(waiting) = oauth.authenticate(&first) else { panic!("it has to be fetched") };
    let waiting = tokio::select! {
        biased;
        _ = waiting => panic!("nothing was answered"),
        () = quiet.upstream.arrived.notified() => true,
    };
    assert!(waiting);
    let Verdict::Later(going) = oauth.authenticate(&second) else { panic!("it has to be fetched") };
    assert_eq!(&*soon(going).await.unwrap().id, "oauth:loud:anna");
}

// ---- asking the issuer

fn asking(server: &AuthServer) -> String {
    let folder = std::env::temp_dir().join(format!("bartizan-oauth-{}", std::process::id()));
    let _ = std::fs::create_dir_all(&folder);
    let path = folder.join("secret");
    if !path.exists() {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
        if let Ok(mut file) = file {
            file.write_all(b"s3cret/of-the+client").unwrap();
        }
    }
    format!(
        "introspection_ttl_seconds = 30\n[[issuers]]\nissuer = \"{0}\"\nname = \"test\"\nintrospection = {{ endpoint = \
         \"{0}/introspect\", client_id = \"bartizan\", client_secret = \"file:{1}\" }}",
        server.url(),
        path.display()
    )
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_and_its_answer_holds_shortly() {
    let server = AuthServer::start(&[&Signer::ec("one")]).await;
    let door = Door::with(&server, &asking(&server));
    let token = "0paque-Token_of.anna-1234567890";
    assert_eq!(door.refused(token).await, "the issuer does not vouch for the token");
    server.vouches(token, Some(door.claims(&server)));
    assert_eq!(&*door.bearer(token).await.unwrap().id, "oauth:test:anna");
    let asked = server.upstream.count("/introspect");
    assert!(door.bearer(token).await.is_ok());
    assert_eq!(server.upstream.count("/introspect"), asked, "kept for a moment");
    let seen = server.upstream.seen();
    let authorization = seen.last().unwrap().header("authorization").unwrap().to_owned();
    let pair = "bartizan:s3cret%2Fof-the%2Bclient";
    assert_eq!(
        authorization,
        format!("Basic {}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair))
    );

    server.vouches(token, None);
    door.clock.advance(Duration::from_secs(30));
    assert_eq!(door.refused(token).await, "the issuer does not vouch for the token");

    for (claims, what) in [
        (with(&door.claims(&server), "aud", json!("https://other.example")), "token is for another audience"),
        (with(&door.claims(&server), "iss", json!("https://evil.example")), "token of another issuer"),
        (with(&door.claims(&server), "exp", json!(5)), "token has expired"),
        (with(&door.claims(&server), "aud", Value::Null), "token without audience"),
    ] {
        server.vouches(token, Some(claims));
        assert_eq!(door.refused(token).await, what);
    }
    server.is(Mood::Down);
    let refusal = door.bearer(token).await.unwrap_err();
    assert_eq!(refusal.status, 503, "who cannot be asked vouches for nobody");
}

// ---- streams

#[tokio::test]
async fn the_lease_of_a_stream_ends_with_its_token_or_its_key() {
    let (key, new) = (Signer::ec("one"), Signer::ec("two"));
    let server = AuthServer::start(&[&key]).await;
    let door = Door::with(&server, "");
    let lease = async |token: &str| {
        assert!(door.bearer(token).await.is_ok());
        let headers = Show::bearer(token).headers();
        let presented = Presented {
            headers: &headers,
            method: &Method::POST,
            path: "/mcp",
            address: IpAddr::from([127, 0, 0, 1]),
            certificate: None,
        };
        door.oauth.lease(&presented).unwrap()
    };
    let short = lease(&key.token(&door.claims(&server))).await;
    let long = lease(&key.token(&with(&door.claims(&server), "exp", json!(START + 6000)))).await;
    assert!(short() && long());
    door.clock.advance(Duration::from_secs(660));
    assert!(!short() && long(), "the token has ended");
    server.publishes(&[&new]);
    assert!(door.bearer(&new.token(&door.claims(&server))).await.is_ok());
    assert!(!long(), "its key was taken back");
}

#[tokio::test]
async fn the_lease_of_an_introspected_token_ends_when_the_issuer_says_so() {
    let server = AuthServer::start(&[&Signer::ec("one")]).await;
    let door = Door::with(&server, &asking(&server));
    let token = "0paque-Token_of.bert-1234567890";
    server.vouches(token, Some(door.claims(&server)));
    assert!(door.bearer(token).await.is_ok());
    let headers = Show::bearer(token).headers();
    let presented = Presented {
        headers: &headers,
        method: &Method::POST,
        path: "/mcp",
        address: IpAddr::from([127, 0, 0, 1]),
        certificate: None,
    };
    let lease = door.oauth.lease(&presented).unwrap();
    assert!(lease());
    server.vouches(token, None);
    door.clock.advance(Duration::from_secs(30));
    let asked = server.upstream.count("/introspect");
    let ended = async {
        while lease() {
            tokio::task::yield_now().await;
        }
    };
    soon(ended).await;
    assert_eq!(server.upstream.count("/introspect"), asked + 1, "asked once");
}

// ---- what is bound

#[tokio::test]
async fn a_token_bound_to_a_certificate_needs_that_certificate() {
    let key = Signer::ec("one");
    let server = AuthServer::start(&[&key]).await;
    let door = Door::with(&server, "");
    let print = encode([9; 32]);
    let token = key.token(&with(&door.claims(&server), "cnf", json!({"x5t#S256": print})));
    assert_eq!(door.refused(&token).await, "token of another certificate");
    let shows = |thumbprint: &str| Show {
        certificate: Some(Arc::new(Certificate {
            thumbprint: thumbprint.into(),
            subject: "CN=anna".into(),
            names: Vec::new(),
            issuer: "CN=authority".into(),
            expires: Duration::from_secs(START + 6000),
        })),
        ..Show::bearer(&token)
    };
    assert!(door.show(&shows(&print)).await.is_ok());
    assert!(door.show(&shows(&encode([8; 32]))).await.is_err());
}

// ---- what callers show does not travel

// proves: oauth-token-stays
#[tokio::test]
async fn arguments_that_hold_a_callers_token_are_refused_while_it_is_in_use() {
    let key = Signer::ec("one");
    let server = AuthServer::start(&[&key]).await;
    let door = Door::with(&server, "");
    let token = key.token(&door.claims(&server));
    let holds = |text: &str| door.redactor.refuses(&json!({"note": [text]}));
    assert!(!holds(&token), "nobody has shown it yet");
    assert!(door.bearer(&token).await.is_ok());
    let hex = hex(&token);
    let signature = token.rsplit_once('.').unwrap().1;
    for text in [token.clone(), format!("Authorization: Bearer {token}"), hex, signature.to_owned()] {
        assert!(holds(&text), "{text}");
    }
    assert!(door.redactor.refuses(&json!({token.as_str(): 1})), "as a name too");
    let other = Signer::ec("other").token(&door.claims(&server));
    assert!(!holds(&other), "another token that nobody uses here");
}

// ---- a store of used ids that other instances share

struct Store(Mutex<Option<bool>>);

impl Once for Store {
    fn first<'a>(
        &'a self,
        _namespace: &'a str,
        _id: &'a Digest,
        _made: Option<Duration>,
        _ttl: Duration,
    ) -> std::pin::Pin<Box<dyn Future<Output = bartizan::error::Result<bool>> + Send + 'a>> {
        let said = *self.0.lock().unwrap();
        Box::pin(async move {
            said.ok_or_else(|| bartizan::error::Error::new(bartizan::error::Kind::UpstreamFailed, "gone"))
        })
    }
}

#[tokio::test]
async fn without_the_store_of_used_proofs_nobody_gets_in_by_one() {
    let (key, own) = (Signer::ec("one"), Signer::ec("own"));
    let server = AuthServer::start(&[&key]).await;
    let text = format!(
        "public_url = \"{ADDRESS}\"\nissuers = [{{ issuer = \"{}\", name = \"test\" }}]",
        server.url()
    );
    let store = Arc::new(Store(Mutex::new(Some(true))));
    let door = Door::of(&toml::from_str(&text).unwrap(), &server, Some(store.clone()));
    let token = key.token(&with(&door.claims(&server), "cnf", json!({"jkt": own.thumbprint()})));
    let proof = || own.proof(&token, ("POST", ADDRESS), door.now(), json!({}));
    assert!(door.show(&Show::bound(&token, &proof())).await.is_ok());
    *store.0.lock().unwrap() = None;
    let refusal = door.show(&Show::bound(&token, &proof())).await.unwrap_err();
    assert_eq!((refusal.status, refusal.presented), (503, false));
    *store.0.lock().unwrap() = Some(false);
    assert_eq!(door.show(&Show::bound(&token, &proof())).await.unwrap_err().what, "proof was used before");
}
