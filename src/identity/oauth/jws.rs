//! A signed token, taken apart.
//!
//! Owns [`Jws`]. The idea: everything that comes from outside is bounded and parsed by the one JSON reader that refuses
//! duplicate keys, the algorithm comes from a list of ours, and a key says which algorithms it is for; so nothing in a
//! token chooses how it is checked.
//!
//! Must not: believe a claim; that is for whoever verified the signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;

use super::jwk::Key;
use crate::json::{Bounds, Map, Value, parse};

/// The signatures that can be accepted. None is symmetric: a public key is never taken for a shared secret.
pub(super) const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Longest token that is looked at.
pub(super) const LONGEST: usize = 16 << 10;
/// Longest header of one.
const HEADER: usize = 4 << 10;

/// The algorithm of that name, if it is one of ours.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    // RFC 9864 gave the one curve that is in use a name of its own
    let name = if name == "Ed25519" { "EdDSA" } else { name };
    ALGORITHMS.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
}

/// All names, with blanks.
pub(super) fn names() -> String {
    ALGORITHMS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

/// A token that has the form of one. Nothing about it is verified.
pub(super) struct Jws<'a> {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    pub(super) algorithm: Algorithm,
    message: &'a str,
    signature: &'a str,
}

/// Whether a credential has the form of a signed token at all.
pub(super) fn looks_signed(token: &str) -> bool {
    token.starts_with("ey") && token.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl<'a> Jws<'a> {
    /// Takes a compact token apart. An error is a few words of ours.
    pub(super) fn read(token: &'a str, longest: usize) -> Result<Self, &'static str> {
        if token.len() > longest {
            return Err("token too long");
        }
        let (message, signature) = token.rsplit_once('.').ok_or("not a signed token")?;
        let (header, claims) = message.split_once('.').ok_or("not a signed token")?;
        if header.len() > HEADER || claims.contains('.') || signature.is_empty() {
            return Err("not a signed token");
        }
        let header = object(header)?;
        // `b64` and `crit` change how a signature is read, `enc` and `zip` what is under it
        if ["crit", "b64", "enc", "zip"].iter().any(|name| header.contains_key(*name)) {
            return Err("token header needs an extension");
        }
        let named = header.get("alg").and_then(Value::as_str).ok_or("token without algorithm")?;
        let algorithm = algorithm(named).ok_or("signature algorithm not accepted")?;
        Ok(Self { header, claims: object(claims)?, algorithm, message, signature })
    }

    /// A text of the header.
    pub(super) fn head(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    /// A text among the claims.
    pub(super) fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// Whether this key signed it. A key that is for something else did not.
    pub(super) fn is_signed_by(&self, key: &Key) -> bool {
        key.is_for(self.algorithm)
            && jsonwebtoken::crypto::verify(
                self.signature,
                self.message.as_bytes(),
                &key.decoding,
                self.algorithm,
            )
            .unwrap_or(false)
    }
}

fn object(encoded: &str) -> Result<Map<String, Value>, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| "token is not base64url")?;
    let bounds = Bounds { size: LONGEST, depth: 12 };
    match parse(&bytes, &bounds) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err("token is not JSON"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    fn refusal(token: &str) -> &'static str {
        Jws::read(token, LONGEST).map(|_| ()).unwrap_err()
    }

    #[test]
    fn the_algorithm_is_one_of_ours() {
        for name in ["none", "None", "nOnE", "HS256", "HS512", "RS1", "ES512", "", "rs256"] {
            let token = token(&format!("{{\"alg\":\"{name}\"}}"), "{}");
            assert_eq!(refusal(&token), "signature algorithm not accepted", "{name}");
        }
        assert_eq!(refusal(&token("{}", "{}")), "token without algorithm");
        assert_eq!(refusal(&token("{\"alg\":1}", "{}")), "token without algorithm");
        assert!(Jws::read(&token("{\"alg\":\"RS256\"}", "{}"), LONGEST).is_ok());
    }

    #[test]
    fn what_no_reader_could_agree_on_is_refused() {
        let twice = token("{\"alg\":\"RS256\"}", "{\"iss\":\"a\",\"iss\":\"b\"}");
        assert_eq!(refusal(&twice), "token is not JSON");
        assert_eq!(refusal(&token("{\"alg\":\"RS256\",\"alg\":\"none\"}", "{}")), "token is not JSON");
        for extension in ["\"crit\":[\"exp\"]", "\"b64\":false", "\"zip\":\"DEF\"", "\"enc\":\"A128GCM\""] {
            let token = token(&format!("{{\"alg\":\"RS256\",{extension}}}"), "{}");
            assert_eq!(refusal(&token), "token header needs an extension");
        }
        let good = token("{\"alg\":\"RS256\"}", "{}");
        for broken in [
            String::new(),
            String::from(".."),
            good.replace('.', ""),
            format!("{good}.x"),
            good[..good.len() - 4].to_owned(),
            format!("{good}="),
            good.replacen("ey", "e y", 1),
            token("[]", "{}"),
            token("{\"alg\":\"RS256\"}", "[]"),
        ] {
            let read = Jws::read(&broken, LONGEST);
            assert!(read.is_err() || broken.ends_with('='), "{broken}");
        }
        assert_eq!(refusal(&format!("{good}{}", "x".repeat(LONGEST))), "token too long");
    }
}
