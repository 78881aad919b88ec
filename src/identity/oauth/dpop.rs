//! Proofs of possession (RFC 9449).
//!
//! Owns [`Expected`], which a proof is compared with, and [`Nonces`]. The idea: a proof is a token that the caller signs
//! for this very request: our address, this method, this access token, now, once. The key is the one that the access
//! token was bound to, so whoever stole the token alone has nothing.
//!
//! Must not: take an address from the request, or accept a proof twice ([`Once`](crate::state::Once) is asked by whoever
//! asked here).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::jwk::Key;
use super::jws::Jws;
use crate::json::{Digest, Value};

/// Longest proof.
const LONGEST: usize = 8 << 10;
/// How old a proof may be.
const WINDOW: Duration = Duration::from_mins(5);
/// How long a nonce is handed out; it is accepted for as long again.
const SLOT: u64 = 300;

/// What a proof has to say.
pub(super) struct Expected<'a> {
    /// The method of the request.
    pub(super) method: &'a str,
    /// Our address, normalised.
    pub(super) address: &'a str,
    /// The access token that it comes with.
    pub(super) token: &'a str,
    /// The thumbprint of the key that the token is bound to.
    pub(super) key: &'a str,
    /// Wall time.
    pub(super) now: Duration,
    /// By how much clocks may differ.
    pub(super) leeway: Duration,
    /// What it has to repeat, where it has to.
    pub(super) nonces: Option<&'a Nonces>,
}

/// A proof that is right, if it is new.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// Names it among those of its key.
    pub(super) id: Digest,
    /// When it was made.
    pub(super) made: Duration,
    /// How long it has to be remembered.
    pub(super) remember: Duration,
}

/// Why a proof is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is wrong, in a few words of ours.
    Wrong(&'static str),
    /// It does not repeat what we said last.
    Nonce,
}

impl Expected<'_> {
    /// Compares.
    pub(super) fn check(&self, proof: &str) -> Result<Proof, Fault> {
        let wrong = Fault::Wrong;
        let proof = Jws::read(proof, LONGEST).map_err(wrong)?;
        if !proof.head("typ").is_some_and(|typ| typ.eq_ignore_ascii_case("dpop+jwt")) {
            return Err(Fault::Wrong("not a proof of possession"));
        }
        let Some(Value::Object(jwk)) = proof.header.get("jwk") else {
            return Err(Fault::Wrong("proof without key"));
        };
        let key = Key::read(jwk).map_err(wrong)?;
        if key.thumbprint != self.key {
            return Err(Fault::Wrong("proof by another key"));
        }
        if !proof.is_signed_by(&key) {
            return Err(Fault::Wrong("proof is not signed by its key"));
        }
        if proof.claim("htm") != Some(self.method) {
            return Err(Fault::Wrong("proof for another method"));
        }
        let there = proof.claim("htu").and_then(|text| Url::parse(text).ok()).and_then(|url| normal(&url));
        if there.as_deref() != Some(self.address) {
            return Err(Fault::Wrong("proof for another address"));
        }
        let token = URL_SAFE_NO_PAD.encode(Sha256::digest(self.token));
        if proof.claim("ath") != Some(&token) {
            return Err(Fault::Wrong("proof for another token"));
        }
        let issued = proof.claims.get("iat").and_then(Value::as_f64).unwrap_or(-1.0);
        let issued =
            Duration::try_from_secs_f64(issued).map_err(|_| Fault::Wrong("proof without a usable time"))?;
        if issued.saturating_add(WINDOW) <= self.now {
            return Err(Fault::Wrong("proof is too old"));
        }
        if issued > self.now.saturating_add(self.leeway) {
            return Err(Fault::Wrong("proof is from the future"));
        }
        let id = proof.claim("jti").filter(|id| !id.is_empty() && id.len() <= 256);
        let id = id.ok_or(Fault::Wrong("proof without a usable id"))?;
        if self
            .nonces
            .is_some_and(|nonces| !proof.claim("nonce").is_some_and(|nonce| nonces.knows(nonce, self.now)))
        {
            return Err(Fault::Nonce);
        }
        let remember = WINDOW + self.leeway + Duration::from_secs(1);
        Ok(Proof { id: Digest::of(format!("{}\n{id}", self.key).as_bytes()), made: issued, remember })
    }
}

/// An address as proofs are compared by: lower case where case means nothing, no default port, no query, no fragment.
pub(super) fn normal(url: &Url) -> Option<String> {
    if !url.username().is_empty() || url.password().is_some() || url.host().is_none() {
        return None;
    }
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    Some(url.into())
}

/// Values that proofs repeat: each says when it was made, under a key of ours, so that none has to be remembered.
pub(super) struct Nonces {
    mac: Hmac<Sha256>,
}

impl Nonces {
    /// Whoever has the same key accepts the same values.
    pub(super) fn new(key: &[u8; 32]) -> Option<Self> {
        Hmac::<Sha256>::new_from_slice(key).ok().map(|mac| Self { mac })
    }

    fn of(&self, slot: u64) -> String {
        let mut mac = self.mac.clone();
        mac.update(b"dpop-nonce");
        mac.update(&slot.to_be_bytes());
        URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..18])
    }

    /// The value to repeat from now on.
    pub(super) fn current(&self, now: Duration) -> String {
        self.of(now.as_secs() / SLOT)
    }

    fn knows(&self, nonce: &str, now: Duration) -> bool {
        let slot = now.as_secs() / SLOT;
        let same =
            |slot: u64| bool::from(subtle::ConstantTimeEq::ct_eq(self.of(slot).as_bytes(), nonce.as_bytes()));
        same(slot) || slot.checked_sub(1).is_some_and(same)
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, EncodingKey, Header};

    use super::*;
    use crate::json::{Map, json};

    const NOW: u64 = 1_800_000_000;
    const ADDRESS: &str = "https://mcp.example.com/mcp";

    /// A key of ours: PKCS #8 and its public half.
    fn key() -> (EncodingKey, Value, String) {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let point = pair.public_key_raw();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..65])
        });
        let print = Key::read(jwk.as_object().unwrap()).map(|key| key.thumbprint).unwrap();
        (EncodingKey::from_ec_der(&pair.serialize_der()), jwk, print)
    }

    fn claims() -> Map<String, Value> {
        let claims = json!({
            "jti": "one", "htm": "POST", "htu": ADDRESS, "iat": NOW,
            "ath": URL_SAFE_NO_PAD.encode(Sha256::digest("token"))
        });
        claims.as_object().unwrap().clone()
    }

    fn sign(key: &EncodingKey, header: &Value, claims: &Map<String, Value>) -> String {
        let encode = |value: String| URL_SAFE_NO_PAD.encode(value);
        let message =
            format!("{}.{}", encode(header.to_string()), encode(Value::Object(claims.clone()).to_string()));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, Algorithm::ES256).unwrap();
        assert_eq!(Header::new(Algorithm::ES256).alg, Algorithm::ES256);
        format!("{message}.{signature}")
    }

    fn expected<'a>(key: &'a str, nonces: Option<&'a Nonces>) -> Expected<'a> {
        Expected {
            method: "POST",
            address: ADDRESS,
            token: "token",
            key,
            now: Duration::from_secs(NOW),
            leeway: Duration::from_secs(60),
            nonces,
        }
    }

    #[test]
    fn a_proof_is_for_this_request_alone() {
        let (key, jwk, print) = key();
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        let check = |claims: &Map<String, Value>| expected(&print, None).check(&sign(&key, &header, claims));
        let proof = check(&claims()).unwrap();
        assert_eq!(proof.remember, Duration::from_secs(361));
        for (name, value, words) in [
            ("htm", json!("GET"), "proof for another method"),
            ("htm", json!("post"), "proof for another method"),
            ("htu", json!("https://mcp.example.com/mcp/"), "proof for another address"),
            ("htu", json!("https://mcp.example.com:8443/mcp"), "proof for another address"),
            ("htu", json!("http://mcp.example.com/mcp"), "proof for another address"),
            ("htu", json!("https://u@mcp.example.com/mcp"), "proof for another address"),
            ("htu", json!("/mcp"), "proof for another address"),
            ("ath", json!("x"), "proof for another token"),
            ("iat", json!(NOW - 300), "proof is too old"),
            ("iat", json!(NOW + 61), "proof is from the future"),
            ("iat", json!("now"), "proof without a usable time"),
            ("iat", json!(-5), "proof without a usable time"),
            ("jti", json!(""), "proof without a usable id"),
            ("jti", json!("x".repeat(257)), "proof without a usable id"),
            ("jti", Value::Null, "proof without a usable id"),
        ] {
            let mut claims = claims();
            claims.insert(name.into(), value.clone());
            assert_eq!(check(&claims), Err(Fault::Wrong(words)), "{name}: {value}");
        }
        for same in [
            "HTTPS://MCP.example.com:443/mcp",
            "https://mcp.example.com/mcp?x=1#y",
            "https://mcp.example.com/a/../mcp",
        ] {
            let mut claims = claims();
            claims.insert("htu".into(), json!(same));
            assert!(check(&claims).is_ok(), "{same}");
        }
    }

    #[test]
    fn only_the_key_of_the_token_can_prove_anything() {
        let ((key, jwk, print), (other, foreign, _)) = (key(), key());
        let check =
            |key: &EncodingKey, header: Value| expected(&print, None).check(&sign(key, &header, &claims()));
        let wrong = |words| Err(Fault::Wrong(words));
        let header = |jwk: &Value| json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        assert!(check(&key, header(&jwk)).is_ok());
        assert_eq!(check(&other, header(&foreign)), wrong("proof by another key"));
        assert_eq!(check(&other, header(&jwk)), wrong("proof is not signed by its key"));
        let mut private = jwk.clone();
        private["d"] = json!("c2VjcmV0");
        assert_eq!(check(&key, header(&private)), wrong("a private key was shown"));
        assert_eq!(
            check(&key, json!({"typ": "JWT", "alg": "ES256", "jwk": jwk})),
            wrong("not a proof of possession")
        );
        assert_eq!(check(&key, json!({"typ": "dpop+jwt", "alg": "ES256"})), wrong("proof without key"));
        assert_eq!(
            check(&key, json!({"typ": "dpop+jwt", "alg": "HS256", "jwk": jwk})),
            wrong("signature algorithm not accepted")
        );
        assert_eq!(
            check(&key, json!({"typ": "dpop+jwt", "alg": "ES384", "jwk": jwk})),
            wrong("proof is not signed by its key")
        );
    }

    #[test]
    fn a_nonce_is_ours_and_not_old() {
        let nonces = Nonces::new(&[7; 32]).unwrap();
        let (key, jwk, print) = key();
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        let check = |nonce: Option<String>| {
            let mut claims = claims();
            claims.extend(nonce.map(|nonce| (String::from("nonce"), json!(nonce))));
            expected(&print, Some(&nonces)).check(&sign(&key, &header, &claims))
        };
        let at = |seconds: u64| Some(nonces.current(Duration::from_secs(seconds)));
        assert!(check(at(NOW)).is_ok() && check(at(NOW - SLOT)).is_ok());
        for bad in [None, at(NOW - 2 * SLOT), at(NOW + SLOT), Some(String::new())] {
            assert_eq!(check(bad), Err(Fault::Nonce));
        }
        let other = Nonces::new(&[8; 32]).unwrap();
        assert_eq!(check(Some(other.current(Duration::from_secs(NOW)))), Err(Fault::Nonce));
    }
}
