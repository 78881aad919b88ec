//! How a document says that requests are signed, as far as it does.
//!
//! Owns [`proposal`]. The idea: a document names the headers of a signature and now and then the hash, but hardly ever what
//! is signed; so a recipe is begun with what it says, and cannot be used before a person has said the rest.
//!
//! Must not: make a recipe that would be followed as it is.

use super::access::Proposal;
use crate::connectors::openapi::{Facts, Scheme, SchemeKind, words_of};

/// What stands for what is signed; no recipe with it is accepted, because it covers nothing of a request.
pub(super) const OPEN: &str = "TO BE COMPLETED";

/// What a header beside the signature holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Signature,
    Timestamp,
    Nonce,
    BodyHash,
    KeyId,
}

impl Part {
    const fn text(self) -> &'static str {
        match self {
            Self::Signature => "{signature}",
            Self::Timestamp => "{timestamp}",
            Self::Nonce => "{nonce}",
            Self::BodyHash => "{body_sha256_hex}",
            Self::KeyId => "{key_id}",
        }
    }

    /// What a header is for, by its name.
    fn of(header: &str) -> Option<Self> {
        let plain = plain(header);
        let says = |words: &[&str]| words.iter().any(|word| plain.contains(word));
        let times = ["date", "time", "datetime"];
        let timed = says(&["timestamp"]) || words_of(header).iter().any(|it| times.contains(&it.as_str()));
        if is_signature(header) {
            Some(Self::Signature)
        } else if timed {
            Some(Self::Timestamp)
        } else if says(&["nonce"]) {
            Some(Self::Nonce)
        } else if says(&["digest", "contentsha256", "contenthash", "bodyhash"]) {
            Some(Self::BodyHash)
        } else {
            says(&["key", "client", "access", "app", "user", "account"]).then_some(Self::KeyId)
        }
        .filter(|part| *part != Self::KeyId || !says(&["secret", "passphrase", "password"]))
    }
}

/// Letters and digits alone, small.
fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|it| it.to_ascii_lowercase()).collect()
}

/// Whether a header is called like a signature.
fn is_signature(header: &str) -> bool {
    let plain = plain(header);
    let last = words_of(header).pop().unwrap_or_default();
    plain.contains("signature") || plain.contains("hmac") || last == "sign"
}

/// Ways that no recipe can say, by words that name them.
fn beyond(words: &str) -> Option<Proposal> {
    let says = |any: &[&str]| any.iter().any(|one| words.contains(one));
    if says(&["eg1hmac", "edgegrid"]) {
        return Some(edgegrid());
    }
    let aws =
        ["sigv4", "aws4hmac", "amazonsignatureauthorizationv4", "awssignatureversion4", "xamzsignature"];
    says(&aws).then(|| Proposal {
        says: String::from("AWS Signature Version 4, which is not signed here"),
        notes: vec![String::from(
            "Its key is made anew for each day, region and service, which no recipe here can say: let a proxy of your own sign.",
        )],
        ..Proposal::default()
    })
}

/// Akamai's way, whose documents name none.
pub(super) fn edgegrid() -> Proposal {
    let notes = [
        "Its key is made anew for each request, which no recipe here can say: let a proxy of your own sign, and name",
        "that as `base`. The values lie in ~/.edgerc, and are references like any other: edgerc:#/client_secret,",
        "edgerc:#/client_token, edgerc:#/access_token, edgerc:#/host.",
    ];
    let says = String::from("Akamai EdgeGrid (EG1-HMAC-SHA256), which is not signed here");
    Proposal { says, notes: notes.map(str::to_owned).to_vec(), ..Proposal::default() }
}

/// Where a way of signing is a signature over each request: what is known of it.
pub(super) fn proposal(variable: &str, scheme: &Scheme, facts: &Facts) -> Option<Proposal> {
    let words = plain(&format!("{} {}", scheme.name, scheme.says));
    let hints = ["hmac", "signedrequest", "requestsignature"];
    let signature = String::from(Part::Signature.text());
    let (name, (header, text)) = match &scheme.kind {
        SchemeKind::Header(name) if name.eq_ignore_ascii_case("authorization") => {
            let known = hints.iter().any(|hint| words.contains(hint)) || beyond(&words).is_some();
            (name, known.then(|| (name.clone(), signature))?)
        }
        SchemeKind::Header(name) => (name, is_signature(name).then(|| (name.clone(), signature))?),
        SchemeKind::Query(name) if is_signature(name) => {
            let says = format!("a signature in the query ({name}), which is not sent here");
            return Some(Proposal { says, ..Proposal::default() });
        }
        SchemeKind::Other(name) => {
            let known = is_signature(name) || beyond(&plain(name)).is_some();
            let word: String = name.chars().filter(|it| it.is_ascii_alphanumeric() || *it == '-').collect();
            (name, known.then(|| (String::from("Authorization"), format!("{word} {signature}")))?)
        }
        _ => return None,
    };
    let beyond = beyond(&format!("{words} {}", plain(name)));
    Some(beyond.unwrap_or_else(|| begun(variable, scheme, (header, text), facts)))
}

/// A recipe as far as the document says it.
fn begun(variable: &str, scheme: &Scheme, signature: (String, String), facts: &Facts) -> Proposal {
    let mut notes = vec![
        String::from(
            "Begun only: say from the vendor's page what is signed (`sign`), and check the rest against it.",
        ),
        String::from(
            "Until then it is refused, and nothing is sent with it. The parts are in docs/connectors.md.",
        ),
    ];
    let (mut headers, mut told) = (vec![signature], format!("{} {}", scheme.name, scheme.says));
    let mut fixed = Vec::new();
    for other in companions(scheme, facts) {
        let SchemeKind::Header(header) = &other.kind else { continue };
        let part =
            Part::of(header).filter(|part| headers.iter().all(|(_, text)| !text.contains(part.text())));
        match part {
            Some(part) => {
                headers.push((header.clone(), part.text().to_owned()));
                told = format!("{told} {}", other.says);
            }
            None => fixed.push(header.clone()),
        }
    }
    if !fixed.is_empty() {
        notes.push(format!("A recipe has no place for what else is asked for: {}.", fixed.join(", ")));
    }
    let has = |part: Part| headers.iter().any(|(_, text)| text.contains(part.text()));
    let words = plain(&told);
    let first = |known: &[(&str, &'static str)]| {
        known.iter().find(|(word, _)| words.contains(word)).map(|(_, value)| *value)
    };
    let mut keys = vec![("kind", String::from("hmac")), ("key", format!("env:{variable}_SECRET"))];
    if has(Part::KeyId) {
        keys.push(("key_id", format!("env:{variable}_KEY_ID")));
    }
    let mut unsaid = vec!["what is signed"];
    let hash = first(&[("sha256", "sha256"), ("sha512", "sha512")]);
    let odd = first(&[("sha1", "SHA-1"), ("sha384", "SHA-384"), ("md5", "MD5")]).filter(|_| hash.is_none());
    if let Some(odd) = odd {
        notes.push(format!("The document speaks of {odd}, which is not known here."));
    }
    unsaid.extend(hash.is_none().then_some("the hash"));
    keys.push(("algorithm", hash.unwrap_or("sha256").to_owned()));
    keys.push(("sign", OPEN.to_owned()));
    let written = first(&[("base64url", "base64url"), ("base64", "base64"), ("hex", "hex")]);
    unsaid.extend(written.is_none().then_some("how the signature is written"));
    keys.push(("encoding", written.unwrap_or("hex").to_owned()));
    if has(Part::Timestamp) {
        let time = first(&[
            ("millisecond", "unix-ms"),
            ("iso8601", "rfc3339"),
            ("rfc3339", "rfc3339"),
            ("rfc1123", "http-date"),
            ("rfc7231", "http-date"),
            ("unix", "unix"),
            ("epoch", "unix"),
            ("seconds", "unix"),
        ]);
        unsaid.extend(time.is_none().then_some("how the time is written"));
        keys.push(("time", time.unwrap_or("unix").to_owned()));
    }
    notes.push(format!("The document does not say: {}.", unsaid.join(", ")));
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let says = format!(
        "requests signed with a shared key (HMAC: {}); the recipe is begun and has to be completed",
        names.join(", ")
    );
    Proposal { says, keys, headers, notes }
}

/// The other headers that go with a signature: those that the document asks for together with it, else all that look so.
fn companions<'a>(scheme: &'a Scheme, facts: &'a Facts) -> impl Iterator<Item = &'a Scheme> {
    let together = facts.wanted.iter().find(|names| names.contains(&scheme.name));
    facts.schemes.iter().filter(move |other| {
        let SchemeKind::Header(header) = &other.kind else { return false };
        let part = Part::of(header);
        let wanted = together.map_or(part.is_some(), |names| names.contains(&other.name));
        other.name != scheme.name && wanted && part != Some(Part::Signature)
    })
}

/// Whether a scheme is spoken for by the signature that the document asks for together with it. What it asks for alone is
/// a way of its own, and so is a key where nothing says what goes together.
pub(super) fn belongs(scheme: &Scheme, facts: &Facts) -> bool {
    let SchemeKind::Header(own) = &scheme.kind else { return false };
    if facts.wanted.iter().any(|names| *names == [scheme.name.as_str()]) {
        return false;
    }
    let signature = |one: &&Scheme| matches!(&one.kind, SchemeKind::Header(header) if is_signature(header));
    facts.schemes.iter().filter(signature).any(|one| {
        let said = facts.wanted.iter().any(|names| names.contains(&one.name));
        let is_key = !said && Part::of(own) == Some(Part::KeyId);
        !is_key && companions(one, facts).any(|other| other == scheme)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::import::access;
    use crate::connectors::openapi;
    use crate::json::{Value, json};

    fn proposals(schemes: &Value, security: &Value) -> Vec<Proposal> {
        let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {},
            "components": {"securitySchemes": schemes}, "security": security});
        let (_, facts) = openapi::survey(document.to_string().as_bytes(), None, &[]).unwrap();
        access::proposals("shop", &facts)
    }

    fn header(name: &str, says: &str) -> Value {
        json!({"type": "apiKey", "in": "header", "name": name, "description": says})
    }

    #[test]
    fn headers_that_are_asked_for_together_become_one_recipe_that_is_begun() {
        let schemes = json!({
            "key": header("X-Access-Key", ""),
            "sign": header("X-Access-Sign", "HMAC-SHA512 of the request, Base64."),
            "time": header("X-Access-Timestamp", "Unix time in milliseconds."),
            "phrase": header("X-Access-Passphrase", ""),
            "simple": header("X-Api-Key", ""),
        });
        let together = json!([{"sign": [], "key": [], "time": [], "phrase": []}, {"simple": []}]);
        let found = proposals(&schemes, &together);
        assert_eq!(found.len(), 2, "{found:?}");
        let recipe = found.iter().find(|one| !one.headers.is_empty()).unwrap();
        let mut headers = recipe.headers.clone();
        headers.sort();
        let expected = [
            ("X-Access-Key", "{key_id}"),
            ("X-Access-Sign", "{signature}"),
            ("X-Access-Timestamp", "{timestamp}"),
        ];
        assert_eq!(headers, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
        let said = [
            ("key", "env:SHOP_SECRET"),
            ("key_id", "env:SHOP_KEY_ID"),
            ("algorithm", "sha512"),
            ("sign", OPEN),
            ("encoding", "base64"),
            ("time", "unix-ms"),
        ];
        for (key, value) in said {
            assert!(recipe.keys.contains(&(key, value.to_owned())), "{key}: {:?}", recipe.keys);
        }
        assert!(recipe.notes.iter().any(|note| note.contains("X-Access-Passphrase")));
        assert!(
            recipe.notes.iter().any(|note| note.ends_with("does not say: what is signed.")),
            "{:?}",
            recipe.notes
        );
    }

    #[test]
    fn what_no_recipe_can_say_is_named_and_nothing_is_begun() {
        for (scheme, name) in [
            (
                json!({"type": "apiKey", "in": "header", "name": "Authorization", "x-amazon-apigateway-authtype": "awsSigv4"}),
                "AWS",
            ),
            (header("X-Amz-Signature", ""), "AWS"),
            (json!({"type": "http", "scheme": "EG1-HMAC-SHA256"}), "EdgeGrid"),
            (header("Authorization", "An EdgeGrid signature."), "EdgeGrid"),
            (json!({"type": "apiKey", "in": "query", "name": "signature"}), "in the query"),
        ] {
            let found = proposals(&json!({"one": scheme}), &json!([]));
            assert!(found.len() == 1 && found[0].says.contains(name), "{found:?}");
            assert!(found[0].keys.is_empty() && found[0].headers.is_empty());
        }
    }

    #[test]
    fn a_key_that_nothing_asks_for_together_with_a_signature_is_a_way_of_its_own() {
        let schemes = json!({
            "sign": header("X-Signature", ""), "time": header("X-Timestamp", ""), "simple": header("X-Api-Key", ""),
        });
        let simple = |security: &Value| {
            let found = proposals(&schemes, security);
            let names: Vec<String> =
                found.iter().filter(|one| one.headers.is_empty()).map(|one| one.says.clone()).collect();
            assert!(names.len() < 2, "{names:?}");
            names.iter().any(|says| says.contains("simple"))
        };
        assert!(simple(&json!([])));
        assert!(simple(&json!([{"sign": [], "time": [], "simple": []}, {"simple": []}])));
        assert!(!simple(&json!([{"sign": [], "time": [], "simple": []}])));
    }

    #[test]
    fn only_a_header_that_is_called_so_holds_the_time() {
        for name in ["Date", "X-Date", "X-Request-Time", "xtimestamp", "X-RequestTime", "X-Datetime"] {
            assert_eq!(Part::of(name), Some(Part::Timestamp), "{name}");
        }
        for name in ["X-Update-Token", "X-Runtime", "X-Validated-App", "X-Timeout", "X-Candidate"] {
            assert_ne!(Part::of(name), Some(Part::Timestamp), "{name}");
        }
    }

    #[test]
    fn an_authorization_header_is_signed_only_where_its_words_say_so() {
        let plain = proposals(&json!({"one": header("Authorization", "Your token.")}), &json!([]));
        assert_eq!(plain[0].keys[0].1, "header");
        let signed =
            proposals(&json!({"one": header("Authorization", "HMAC over the request.")}), &json!([]));
        assert_eq!(signed[0].headers, [(String::from("Authorization"), String::from("{signature}"))]);
        let scheme = proposals(&json!({"one": {"type": "http", "scheme": "hmac"}}), &json!([]));
        assert_eq!(scheme[0].headers, [(String::from("Authorization"), String::from("hmac {signature}"))]);
        let other = proposals(&json!({"one": header("X-Design", "")}), &json!([]));
        assert_eq!(other[0].keys[0].1, "header");
    }
}
