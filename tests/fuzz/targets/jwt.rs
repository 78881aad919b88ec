//! Access tokens: nothing that was not signed is accepted, and of what was signed only what is for us, and now.

#![no_main]

mod issuer;

use arbitrary::Arbitrary;
use issuer::{ADDRESS, DOOR, NOW, Signer, encode};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use std::sync::LazyLock;

static FOREIGN: LazyLock<Signer> = LazyLock::new(Signer::new);

#[derive(Debug, Arbitrary)]
enum Word {
    Text(String),
    Number(i64),
    Near(i16),
    Float(f64),
    Texts(Vec<String>),
    Ours,
    Nothing,
    Deep(Box<Word>),
}

#[derive(Debug, Arbitrary)]
enum Input {
    Raw(String),
    Bytes(Vec<u8>, Vec<u8>, Vec<u8>),
    Signed { header: Vec<(u8, Word)>, claims: Vec<(u8, Word)>, foreign: bool },
}

const HEADER: &[&str] = &["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "zip", "x5c"];
const CLAIMS: &[&str] = &[
    "iss", "aud", "sub", "exp", "nbf", "iat", "scope", "scp", "roles", "tid", "cnf", "client_id", "azp", "at_hash",
];

impl Word {
    fn value(self, name: &str) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Near(by) => json!(NOW.saturating_add_signed(by.into())),
            Self::Float(float) => json!(float),
            Self::Texts(texts) => json!(texts),
            Self::Ours => match name {
                "iss" => json!(DOOR.issuer),
                "aud" => json!([ADDRESS]),
                "alg" => json!("ES256"),
                _ => json!("mcp:read"),
            },
            Self::Nothing => Value::Null,
            Self::Deep(inner) => json!({"jkt": inner.value("")}),
        }
    }
}

fuzz_target!(|input: Input| {
    let show = |token: String| DOOR.show(&[("authorization", format!("Bearer {token}"))]);
    let (header, claims, foreign) = match input {
        Input::Raw(text) => return assert!(show(text).is_err(), "what nobody signed"),
        Input::Bytes(header, claims, signature) => {
            let token = format!("{}.{}.{}", encode(header), encode(claims), encode(signature));
            return assert!(show(token).is_err(), "what nobody signed");
        }
        Input::Signed { header, claims, foreign } => (header, claims, foreign),
    };
    let (mut head, mut said) = (json!({"alg": "ES256", "kid": "one", "typ": "at+jwt"}), DOOR.claims());
    for (name, word) in header {
        let name = HEADER[usize::from(name) % HEADER.len()];
        head[name] = word.value(name);
    }
    for (name, word) in claims {
        let name = CLAIMS[usize::from(name) % CLAIMS.len()];
        said[name] = word.value(name);
    }
    let signer = if foreign { &*FOREIGN } else { &DOOR.signer };
    let Ok(principal) = show(signer.sign(&head, &said)) else { return };
    assert!(!foreign, "another key");
    assert_eq!(said["iss"], json!(DOOR.issuer));
    let ours = |audience: &Value| {
        audience.as_str().is_some_and(|text| text.trim_end_matches('/') == ADDRESS)
    };
    assert!(ours(&said["aud"]) || said["aud"].as_array().is_some_and(|all| all.iter().any(ours)), "{said}");
    assert!(said["exp"].as_f64().is_some_and(|ends| ends + 60.0 > NOW as f64), "{said}");
    assert!(said["nbf"].as_f64().is_none_or(|from| from <= (NOW + 60) as f64), "{said}");
    assert!(head.get("crit").is_none() && said.get("cnf").is_none_or(|bound| bound.get("jkt").is_none()), "{said}");
    assert!(principal.id.starts_with("oauth:test:") || principal.id.starts_with("oauth-client:test:"));
    assert!(!principal.scopes.contains("admin"), "no word of the token is in the map");
    assert!(!principal.may_approve);
});
