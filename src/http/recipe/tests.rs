//! What recipes say and what they may not; the expected values are what Python's hmac and hashlib say.
//!
//! Must not: sign with the code it tests.

use std::time::Duration;

use super::*;

const AWS: &str = "06c11c3b9c1026248303b7bca969e2f108fc805ad87fe4c11ea0298d533855ab";
const DIGEST: &str = "B9HR+Wva0Fczp8lX95/8Gvs+YmPoQ3NJYCdzpVvBpEQ=";
const OTHER: &str =
    "Mtl/2mdjBzQG53a4PQ6g/WbsqCB7yPjmkTHHUQCgwBq5nIg/4+glHK0ON/5nZpBrQltPuEwa3RiEMPhhnKQiJQ==";

fn recipe(sign: &str, headers: &[(&str, &str)]) -> Recipe {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Recipe { sign: sign.to_owned(), headers, ..Recipe::default() }
}

fn signed(recipe: &Recipe, key: &[u8]) -> Vec<(String, String)> {
    let url = Url::parse("https://api.example.com/v1/widgets?b=2&a=1&a=0").unwrap();
    let about = About {
        method: &Method::POST,
        url: &url,
        content_type: "application/json",
        body: br#"{"size":7}"#,
        wall: Duration::from_millis(1_784_111_782_345),
        nonce: "0123456789abcdef",
        key_id: "key-4711",
    };
    let headers = recipe.compile().unwrap_or_else(|what| panic!("{what}")).headers(&about, key).unwrap();
    headers.into_iter().map(|(name, value)| (name.as_str().to_owned(), value.to_string())).collect()
}

#[test]
fn the_signature_is_one_that_others_can_compute() {
    let aws = recipe(
        "{method}\n{path}\n{timestamp}\n{body_sha256_hex}",
        &[("X-Timestamp", "{timestamp}"), ("X-Signature", "{signature}")],
    );
    let key = b"correct horse battery";
    assert_eq!(
        signed(&aws, key),
        [
            (String::from("x-timestamp"), String::from("1784111782")),
            (String::from("x-signature"), String::from(AWS))
        ]
    );
    let other = Recipe {
        algorithm: Algorithm::Sha512,
        encoding: Encoding::Base64,
        time: Stamp::HttpDate,
        ..recipe(
            "(request-target): {method_lower} {target}\nhost: {host}\ndate: {timestamp}\nnonce: {nonce}\n{body}",
            &[
                ("Date", "{timestamp}"),
                ("X-Nonce", "{nonce}"),
                ("Digest", "SHA-256={body_sha256_base64}"),
                ("Signature", "keyId=\"{key_id}\",signature=\"{signature}\""),
            ],
        )
    };
    let headers = signed(&other, key);
    assert_eq!(headers[0].1, "Wed, 15 Jul 2026 10:36:22 GMT");
    assert_eq!(headers[2].1, format!("SHA-256={DIGEST}"));
    assert_eq!(headers[3].1, format!("keyId=\"key-4711\",signature=\"{OTHER}\""));
}

#[test]
fn each_part_is_what_leaves() {
    let told = |sign: &str, time| {
        let mut recipe = recipe(sign, &[("S", "{signature}"), ("T", "{timestamp}"), ("N", "{nonce}")]);
        recipe.time = time;
        signed(&recipe, b"k")[0].1.clone()
    };
    let plain = |text: &str| encoded(Encoding::Hex, &mac(Algorithm::Sha256, b"k", text.as_bytes()).unwrap());
    for (sign, text) in [
        ("{url}", "https://api.example.com/v1/widgets?b=2&a=1&a=0"),
        ("{query}", "b=2&a=1&a=0"),
        ("{query_sorted}", "a=0&a=1&b=2"),
        ("{host}{content_type}", "api.example.comapplication/json"),
        ("{{{method}}}", "{POST}"),
    ] {
        assert_eq!(told(sign, Stamp::Unix), plain(text), "{sign}");
    }
    for (time, text) in [
        (Stamp::UnixMs, "1784111782345"),
        (Stamp::Rfc3339, "2026-07-15T10:36:22Z"),
        (Stamp::Compact, "20260715T103622Z"),
    ] {
        assert_eq!(told("{path}{timestamp}", time), plain(&format!("/v1/widgets{text}")), "{time:?}");
    }
}

#[test]
fn what_cannot_be_followed_is_refused_at_the_start() {
    let good = &[("S", "{signature}")][..];
    for (sign, headers, said) in [
        ("", good, "`sign` is empty"),
        ("{method}{", good, "brace"),
        ("{method}}", good, "brace"),
        ("{methode}", good, "there is not"),
        ("{method}{signature}", good, "made of it"),
        ("{timestamp}", &[("S", "{signature}"), ("T", "{timestamp}")], "nothing of the request"),
        ("{method}{timestamp}", good, "{timestamp}, which no header"),
        ("{method}{nonce}", good, "{nonce}, which no header"),
        ("{method}", &[], "no header holds"),
        ("{method}", &[("S", "plain")], "no header holds"),
        ("{method}", &[("Host", "{signature}")], "cannot set host"),
        ("{method}", &[("proxy-authorization", "{signature}")], "cannot set"),
        ("{method}", &[("Content-Type", "{signature}")], "cannot set"),
        ("{method}", &[("S", "{signature}"), ("s", "x")], "twice"),
        ("{method}", &[("S", "{signature}\r\nHost: evil.example")], "plain ASCII"),
        ("{method}", &[("S", "{signature} {body}")], "nothing else"),
        ("{method}", &[("a b", "{signature}")], "no header can have"),
    ] {
        let refused = recipe(sign, headers).check().unwrap_err();
        assert!(refused.contains(said), "{sign}: {refused}");
    }
    assert!(recipe("{method}", &[("S", "{key_id}:{signature}")]).names_key());
    assert!(!recipe("{method}", good).names_key());
}

#[test]
fn a_key_is_read_in_the_form_it_is_written_in() {
    let read = |form, text| decoded(form, text).map(|key| key.to_vec());
    assert_eq!(read(KeyForm::Text, "a b"), Some(b"a b".to_vec()));
    assert_eq!(read(KeyForm::Hex, "00fFa0"), Some(vec![0, 255, 160]));
    for text in ["+/8=", "+/8", "-_8=", "-_8"] {
        assert_eq!(read(KeyForm::Base64, text), Some(vec![0xfb, 0xff]), "{text}");
    }
    for (form, text) in
        [(KeyForm::Hex, "0x1"), (KeyForm::Hex, ""), (KeyForm::Base64, "*"), (KeyForm::Text, "")]
    {
        assert_eq!(read(form, text), None);
    }
}
