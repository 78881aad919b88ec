//! Public keys, as JSON says them.
//!
//! Owns [`Key`]: RFC 7517's keys of four kinds, and their thumbprints (RFC 7638). The idea: a key is for the algorithms of
//! its kind, narrowed by what it says of itself, and for nothing else; secrets and private keys are not read.
//!
//! Must not: fetch, or trust anybody.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use sha2::{Digest as _, Sha256};

use super::jws;
use crate::json::{Map, Value};

/// Members that only a key has which must not be shown.
const PRIVATE: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// A public key.
pub(super) struct Key {
    /// What its owner calls it.
    pub(super) id: Option<String>,
    /// RFC 7638, SHA-256.
    pub(super) thumbprint: String,
    pub(super) decoding: DecodingKey,
    kind: Kind,
    only: Option<Algorithm>,
}

impl Key {
    /// Reads a key that can verify signatures.
    pub(super) fn read(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        if PRIVATE.iter().any(|name| jwk.contains_key(*name)) {
            return Err("a private key was shown");
        }
        let said = |name: &str| match jwk.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err("key is malformed"),
        };
        let need = |name: &str| said(name).and_then(|text| text.ok_or("key is incomplete"));
        if said("use")?.is_some_and(|usage| usage != "sig") {
            return Err("key is not for signatures");
        }
        if let Some(operations) = jwk.get("key_ops") {
            let verifies = operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
            if !verifies {
                return Err("key is not for signatures");
            }
        }
        let only = match said("alg")? {
            None => None,
            Some(name) => Some(jws::algorithm(name).ok_or("key is for another algorithm")?),
        };
        let (kind, decoding, canonical) = match (need("kty")?, said("crv")?) {
            ("RSA", _) => {
                let (n, e) = (need("n")?, need("e")?);
                let (modulus, exponent) = (bytes(n)?, bytes(e)?);
                let length = modulus.iter().skip_while(|byte| **byte == 0).count();
                if !(256..=1024).contains(&length) || exponent.len() > 8 {
                    return Err("RSA key is of an unsafe size");
                }
                let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
                (Kind::Rsa, key, format!("{{\"e\":\"{e}\",\"kty\":\"RSA\",\"n\":\"{n}\"}}"))
            }
            ("EC", Some(curve @ ("P-256" | "P-384"))) => {
                let (x, y) = (need("x")?, need("y")?);
                let (kind, size) = if curve == "P-256" { (Kind::P256, 32) } else { (Kind::P384, 48) };
                if bytes(x)?.len() != size || bytes(y)?.len() != size {
                    return Err("key is malformed");
                }
                let key = DecodingKey::from_ec_components(x, y).map_err(|_| "key is malformed")?;
                let canonical = format!("{{\"crv\":\"{curve}\",\"kty\":\"EC\",\"x\":\"{x}\",\"y\":\"{y}\"}}");
                (kind, key, canonical)
            }
            ("OKP", Some("Ed25519")) => {
                let x = need("x")?;
                if bytes(x)?.len() != 32 {
                    return Err("key is malformed");
                }
                let key = DecodingKey::from_ed_components(x).map_err(|_| "key is malformed")?;
                let canonical = format!("{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{x}\"}}");
                (Kind::Ed25519, key, canonical)
            }
            _ => return Err("key of an unknown kind"),
        };
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        let id = said("kid")?.map(str::to_owned);
        let key = Self { id, thumbprint, decoding, kind, only };
        if key.only.is_some_and(|only| !key.can(only)) {
            return Err("key is for another algorithm");
        }
        Ok(key)
    }

    fn can(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => self.kind == Kind::Rsa,
            Algorithm::ES256 => self.kind == Kind::P256,
            Algorithm::ES384 => self.kind == Kind::P384,
            Algorithm::EdDSA => self.kind == Kind::Ed25519,
            _ => false,
        }
    }

    /// Whether signatures of that algorithm may be checked with it.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.can(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }
}

/// Strictly base64url, so that one key has one spelling and one thumbprint.
fn bytes(encoded: &str) -> Result<Vec<u8>, &'static str> {
    if encoded.len() > 2048 {
        return Err("key is malformed");
    }
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| "key is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    fn read(jwk: Value) -> Result<Key, &'static str> {
        let Value::Object(jwk) = jwk else { panic!("an object") };
        Key::read(&jwk)
    }

    /// The key of RFC 7638, section 3.1.
    fn example() -> Value {
        json!({
            "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
        })
    }

    #[test]
    fn the_thumbprint_is_the_one_of_the_rfc() {
        let key = read(example()).unwrap();
        assert_eq!(key.thumbprint, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(key.id.as_deref(), Some("2011-04-29"));
        assert!(key.is_for(Algorithm::RS256) && !key.is_for(Algorithm::PS256), "it says what it is for");
        assert!(!key.is_for(Algorithm::ES256) && !key.is_for(Algorithm::HS256));
    }

    #[test]
    fn what_is_no_public_key_for_signatures_is_refused() {
        let with = |name: &str, value: Value| {
            let mut jwk = example();
            jwk[name] = value;
            read(jwk).map(|_| ()).unwrap_err()
        };
        assert_eq!(with("d", json!("AQAB")), "a private key was shown");
        assert_eq!(with("k", json!("AQAB")), "a private key was shown");
        assert_eq!(with("use", json!("enc")), "key is not for signatures");
        assert_eq!(with("key_ops", json!(["sign"])), "key is not for signatures");
        assert_eq!(with("alg", json!("HS256")), "key is for another algorithm");
        assert_eq!(with("alg", json!("ES256")), "key is for another algorithm");
        assert_eq!(with("kty", json!("oct")), "key of an unknown kind");
        assert_eq!(with("n", json!("AQAB")), "RSA key is of an unsafe size");
        assert_eq!(with("n", json!("not base64!")), "key is malformed");
        assert_eq!(with("n", json!(7)), "key is malformed");
        let curve = json!({"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"});
        assert_eq!(read(curve).map(|_| ()).unwrap_err(), "key is malformed");
        let symmetric = json!({"kty": "oct", "k": "c2VjcmV0"});
        assert!(read(symmetric).is_err());
    }
}
