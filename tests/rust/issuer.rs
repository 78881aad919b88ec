//! A scripted authorization server on loopback, and what signs its tokens.
//!
//! Must not: check anything; a test says what is right and what is not.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use bartizan::json::{Value, json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, SigningKey as _};
use sha2::{Digest as _, Sha256};

use crate::loopback::{Act, Upstream, answer};

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Each byte as two digits.
pub(crate) fn hex(text: &str) -> String {
    let digit = |four: u8| char::from(b"0123456789abcdef"[usize::from(four)]);
    text.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A key pair that signs.
pub(crate) struct Signer {
    pub(crate) kid: String,
    pub(crate) algorithm: &'static str,
    pair: KeyPair,
}

impl Signer {
    pub(crate) fn ec(kid: &str) -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self { kid: kid.into(), algorithm: "ES256", pair }
    }

    pub(crate) fn ed(kid: &str) -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        Self { kid: kid.into(), algorithm: "EdDSA", pair }
    }

    /// One for all tests: it takes a while to make.
    pub(crate) fn rsa() -> &'static Self {
        static KEY: LazyLock<Signer> = LazyLock::new(|| {
            let pair = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
            Signer { kid: "rsa".into(), algorithm: "RS256", pair }
        });
        &KEY
    }

    /// The public half.
    pub(crate) fn jwk(&self) -> Value {
        let raw = self.pair.public_key_raw();
        let mut jwk = match self.algorithm {
            "ES256" => {
                json!({"kty": "EC", "crv": "P-256", "x": encode(&raw[1..33]), "y": encode(&raw[33..65])})
            }
            "EdDSA" => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(raw)}),
            _ => {
                let (n, e) = rsa(raw);
                json!({"kty": "RSA", "n": encode(n), "e": encode(e)})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk
    }

    /// The public half as PEM, as somebody who confuses keys would use it.
    pub(crate) fn pem(&self) -> String {
        rcgen::PublicKeyData::subject_public_key_info(&self.pair)
            .chunks(48)
            .map(|line| base64::engine::general_purpose::STANDARD.encode(line))
            .fold(String::from("-----BEGIN PUBLIC KEY-----\n"), |text, line| text + &line + "\n")
            + "-----END PUBLIC KEY-----\n"
    }

    /// RFC 7638.
    pub(crate) fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let said = |name: &str| jwk[name].as_str().unwrap().to_owned();
        let canonical = match self.algorithm {
            "ES256" => format!(
                "{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{}\",\"y\":\"{}\"}}",
                said("x"),
                said("y")
            ),
            "EdDSA" => format!("{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{}\"}}", said("x")),
            _ => format!("{{\"e\":\"{}\",\"kty\":\"RSA\",\"n\":\"{}\"}}", said("e"), said("n")),
        };
        encode(Sha256::digest(canonical))
    }

    /// A token with exactly this header and these claims.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = if self.algorithm == "ES256" {
            let key = EncodingKey::from_ec_der(&self.pair.serialize_der());
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::ES256).unwrap()
        } else {
            encode(self.pair.sign(message.as_bytes()).unwrap())
        };
        format!("{message}.{signature}")
    }

    /// A token with the header that belongs to it.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&json!({"typ": "at+jwt", "alg": self.algorithm, "kid": self.kid}), claims)
    }

    /// A proof of possession for `token`; `change` is made to its claims.
    pub(crate) fn proof(
        &self,
        token: &str,
        (method, address): (&str, &str),
        now: u64,
        change: Value,
    ) -> String {
        let mut jwk = self.jwk();
        jwk.as_object_mut().unwrap().remove("kid");
        let mut claims = json!({
            "jti": encode(rand::random::<[u8; 12]>()), "htm": method, "htu": address, "iat": now,
            "ath": encode(Sha256::digest(token))
        });
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        self.sign(&json!({"typ": "dpop+jwt", "alg": self.algorithm, "jwk": jwk}), &claims)
    }
}

/// Modulus and exponent out of PKCS #1.
fn rsa(der: &[u8]) -> (&[u8], &[u8]) {
    fn element(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, start) = match der[1] {
            short @ 0..=0x7f => (usize::from(short), 2),
            0x81 => (usize::from(der[2]), 3),
            _ => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
        };
        (&der[start..start + length], &der[start + length..])
    }
    let (inside, _) = element(der);
    let (n, rest) = element(inside);
    let (e, _) = element(rest);
    (n.strip_prefix(&[0]).unwrap_or(n), e)
}

/// How an authorization server behaves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mood {
    Well,
    Down,
    /// Takes requests and says nothing.
    Silent,
    /// Sends keys without end.
    Endless,
    /// Sends everybody elsewhere.
    Redirect(String),
    /// Has metadata of somebody else.
    Impostor,
    /// Names keys at this address.
    KeysAt(String),
}

/// A running authorization server.
#[derive(Clone)]
pub(crate) struct AuthServer {
    pub(crate) upstream: Upstream,
    keys: Arc<Mutex<Vec<Value>>>,
    mood: Arc<Mutex<Mood>>,
    vouched: Arc<Mutex<HashMap<String, Value>>>,
}

impl AuthServer {
    pub(crate) async fn start(keys: &[&Signer]) -> Self {
        let keys = Arc::new(Mutex::new(keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()));
        let mood = Arc::new(Mutex::new(Mood::Well));
        let vouched: Arc<Mutex<HashMap<String, Value>>> = Arc::default();
        let (published, behaves, active) = (keys.clone(), mood.clone(), vouched.clone());
        let upstream = Upstream::start(move |seen, _| {
            let own = format!("http://{}", seen.header("host").unwrap());
            let mood = behaves.lock().unwrap().clone();
            match (seen.path(), mood) {
                (_, Mood::Down) => answer(503, "out of order"),
                (_, Mood::Silent) => Act::Hang,
                (_, Mood::Redirect(to)) => {
                    Act::Answer { status: 302, headers: vec![("location".into(), to)], body: String::new() }
                }
                ("/keys", Mood::Endless) => Act::Endless,
                ("/.well-known/oauth-authorization-server", mood) => {
                    let issuer = if mood == Mood::Impostor { "https://honest.example" } else { own.as_str() };
                    let keys = if let Mood::KeysAt(place) = mood { place } else { format!("{own}/keys") };
                    answer(200, json!({"issuer": issuer, "jwks_uri": keys}))
                }
                ("/keys", _) => answer(200, json!({"keys": *published.lock().unwrap()})),
                ("/introspect", _) => {
                    let form: HashMap<String, String> =
                        url::form_urlencoded::parse(&seen.body).into_owned().collect();
                    let known = active.lock().unwrap().get(&form["token"]).cloned();
                    answer(200, known.unwrap_or_else(|| json!({"active": false})))
                }
                _ => answer(404, "{}"),
            }
        })
        .await;
        Self { upstream, keys, mood, vouched }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.upstream.address)
    }

    pub(crate) fn publishes(&self, keys: &[&Signer]) {
        *self.keys.lock().unwrap() = keys.iter().map(|key| key.jwk()).collect();
    }

    pub(crate) fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Vouches for a token with these claims, or no longer.
    pub(crate) fn vouches(&self, token: &str, claims: Option<Value>) {
        let mut vouched = self.vouched.lock().unwrap();
        match claims {
            Some(mut claims) => {
                claims["active"] = json!(true);
                vouched.insert(token.into(), claims);
            }
            None => drop(vouched.remove(token)),
        }
    }
}
