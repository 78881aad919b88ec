//! Proofs of possession: only one by the key of the token, for this request, now, and once, is accepted.

#![no_main]

mod issuer;

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex};

use arbitrary::Arbitrary;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use issuer::{ADDRESS, DOOR, NOW, Signer, encode};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

static OWN: LazyLock<Signer> = LazyLock::new(Signer::new);
static THIEF: LazyLock<Signer> = LazyLock::new(Signer::new);
static USED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
/// A token that is bound to the key of [`OWN`].
static TOKEN: LazyLock<String> = LazyLock::new(|| {
    let said = |name: &str| OWN.jwk[name].as_str().unwrap().to_owned();
    let canonical = format!("{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{}\",\"y\":\"{}\"}}", said("x"), said("y"));
    let mut claims = DOOR.claims();
    claims["cnf"] = json!({"jkt": URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))});
    DOOR.signer.sign(&json!({"alg": "ES256", "kid": "one"}), &claims)
});

#[derive(Debug, Arbitrary)]
enum Word {
    Text(String),
    Near(i16),
    Number(i64),
    Nothing,
    Private,
}

#[derive(Debug, Arbitrary)]
enum Input {
    Raw(String),
    Signed { header: Vec<(u8, Word)>, claims: Vec<(u8, Word)>, thief: bool, shown: bool, bearer: bool, twice: bool },
}

fn value(word: Word) -> Value {
    match word {
        Word::Text(text) => json!(text),
        Word::Near(by) => json!(NOW.saturating_add_signed(by.into())),
        Word::Number(number) => json!(number),
        Word::Nothing => Value::Null,
        Word::Private => {
            let mut jwk = OWN.jwk.clone();
            jwk["d"] = json!("c2VjcmV0");
            jwk
        }
    }
}

fuzz_target!(|input: Input| {
    let show = |proofs: &[String], bearer: bool| {
        let scheme = if bearer { "Bearer" } else { "DPoP" };
        let mut headers = vec![("authorization", format!("{scheme} {}", *TOKEN))];
        headers.extend(proofs.iter().map(|proof| ("dpop", proof.clone())));
        DOOR.show(&headers)
    };
    let (header, claims, thief, shown, bearer, twice) = match input {
        Input::Raw(text) => return assert!(show(&[text], false).is_err(), "what nobody signed"),
        Input::Signed { header, claims, thief, shown, bearer, twice } => (header, claims, thief, shown, bearer, twice),
    };
    let signer = if thief { &*THIEF } else { &*OWN };
    let jwk = if shown { &OWN.jwk } else { &signer.jwk };
    let mut head = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
    let mut said = json!({
        "jti": "one", "htm": "POST", "htu": ADDRESS, "iat": NOW, "ath": encode(Sha256::digest(TOKEN.as_bytes()))
    });
    for (name, word) in header {
        head[["typ", "alg", "jwk", "crit", "kid"][usize::from(name) % 5]] = value(word);
    }
    for (name, word) in claims {
        said[["jti", "htm", "htu", "iat", "ath", "nonce"][usize::from(name) % 6]] = value(word);
    }
    let proof = signer.sign(&head, &said);
    let proofs = if twice { vec![proof.clone(), proof] } else { vec![proof] };
    if show(&proofs, bearer).is_err() {
        return;
    }
    assert!(!thief && !bearer && !twice, "the key of the token alone, and one proof");
    assert_eq!(said["htm"], "POST");
    assert!(said["htu"].as_str().is_some_and(|text| text.to_lowercase().starts_with("https://mcp.example.com")), "{said}");
    assert_eq!(said["ath"], json!(encode(Sha256::digest(TOKEN.as_bytes()))));
    assert!(said["iat"].as_f64().is_some_and(|made| (NOW as f64 - made) < 300.0 && made - 60.0 <= NOW as f64), "{said}");
    assert!(head.get("crit").is_none() && head["jwk"].get("d").is_none());
    let id = said["jti"].as_str().unwrap().to_owned();
    assert!(USED.lock().unwrap().insert(id), "each once");
});
