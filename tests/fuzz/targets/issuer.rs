//! An issuer on loopback and whoever accepts its tokens, for the targets that have tokens.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bartizan::clock::ManualClock;
use bartizan::http::{HeaderMap, HeaderName, HeaderValue, Method};
use bartizan::identity::oauth::{OAuth, Surroundings};
use bartizan::principal::Principal;
use bartizan::redaction::Redactor;
use bartizan::state::Remembered;
use bartizan::transport::auth::{Authenticator as _, Presented, Refusal, Verdict};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::KeyPair;
use serde_json::{Value, json};

pub const NOW: u64 = 1_800_000_000;
pub const ADDRESS: &str = "https://mcp.example.com/mcp";

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair.
pub struct Signer {
    key: EncodingKey,
    pub jwk: Value,
}

impl Signer {
    pub fn new() -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let point = pair.public_key_raw();
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..65])});
        Self { key: EncodingKey::from_ec_der(&pair.serialize_der()), jwk }
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    }
}

/// Whoever accepts tokens, and the key that signs them.
pub struct Door {
    oauth: Arc<OAuth>,
    runtime: tokio::runtime::Runtime,
    pub issuer: String,
    pub signer: Signer,
}

pub static DOOR: LazyLock<Door> = LazyLock::new(Door::new);

impl Door {
    fn new() -> Self {
        let signer = Signer::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let issuer = format!("http://{address}");
        let metadata = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}).to_string();
        let mut jwk = signer.jwk.clone();
        jwk["kid"] = json!("one");
        let keys = json!({"keys": [jwk]}).to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut head = [0; 4096];
                let read = stream.read(&mut head).unwrap_or(0);
                let body = if head[..read].starts_with(b"GET /keys") { &keys } else { &metadata };
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 X\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        let clock = ManualClock::at(Duration::from_secs(NOW - 1));
        // what is shown is made after the start
        let remembered = Arc::new(Remembered::new(1 << 24, clock.clone()));
        clock.advance(Duration::from_secs(1));
        let config = serde_json::from_value(json!({
            "public_url": ADDRESS, "issuers": [{"issuer": issuer, "name": "test"}]
        }))
        .unwrap();
        let around = Surroundings {
            egress: &bartizan::http::Config::default().allowing(address.to_string()),
            redactor: Redactor::new(&bartizan::redaction::Config::default()).unwrap(),
            once: remembered,
            nonce_key: [7; 32],
            name: None,
            clock,
        };
        let oauth = OAuth::new(&config, around).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let door = Self { oauth, runtime, issuer, signer };
        let good = door.signer.sign(&json!({"alg": "ES256", "kid": "one"}), &door.claims());
        assert!(door.show(&[("authorization", format!("Bearer {good}"))]).is_ok(), "a good token is accepted");
        door
    }

    pub fn claims(&self) -> Value {
        json!({
            "iss": self.issuer, "aud": ADDRESS, "sub": "anna", "client_id": "ide", "exp": NOW + 600, "scope": "mcp:read"
        })
    }

    /// What is said to whoever shows these headers; nothing if they are none.
    pub fn show(&self, headers: &[(&'static str, String)]) -> Result<Arc<Principal>, Option<Refusal>> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(HeaderName::from_static(name), HeaderValue::from_str(value).map_err(|_| None)?);
        }
        let presented = Presented {
            headers: &all,
            method: &Method::POST,
            path: "/mcp",
            address: IpAddr::from([127, 0, 0, 1]),
            certificate: None,
        };
        let _within = self.runtime.enter();
        match self.oauth.authenticate(&presented) {
            Verdict::Now(verdict) => verdict.map_err(Some),
            Verdict::Known(verdict) | Verdict::Later(verdict) => self.runtime.block_on(verdict).map_err(Some),
        }
    }
}
