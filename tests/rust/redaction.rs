//! Redaction from outside: what is secret never survives, and what is needed does.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bartizan::error::Kind;
use bartizan::json::{Map, Value, json};
use bartizan::redaction::{Config, NamedRule, Pii, Redactor};
use bartizan::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use proptest::prelude::*;

fn redactor() -> Redactor {
    Redactor::new(&Config::default()).unwrap()
}

#[test]
fn what_a_later_call_needs_stays() {
    let redactor = redactor();
    let page = json!({
        "data": [{"uuid": "c4d1e7d2-8d1c-4b3a-9c1e-0123456789ab", "id": "port_7f3a9c", "etag": "W/\"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
                  "href": "https://api.example.com/fabric/v4/ports/c4d1e7d2-8d1c-4b3a-9c1e-0123456789ab?offset=20&limit=20"}],
        "nextToken": "eyJvZmZzZXQiOjIwLCJsaW1pdCI6MjB9", "nextPageToken": "CAUQAA4d1bRdW3rOcB7xLthrM4BTBGK1", "page_token": "b3Blbi1zZXNhbWU",
        "continuationToken": "1!48!MDAwMDI0ITAwMDAw", "cursor": "YXJyYXljb25uZWN0aW9uOjk5", "token_type": "Bearer", "token_timeout": "3600",
        "@odata.nextLink": "https://graph.example.com/v1.0/users?$skiptoken=RFNwdAIAAQAAABc6YWJjQGV4YW1wbGUuY29t",
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "max_tokens": 4096, "usage": {"total_tokens": 812},
        "commit": "da39a3ee5e6b4b0d3255bfef95601890afd80709", "progressToken": 7, "created": "2026-01-02T03:04:05Z",
        "key": "env", "value": "production", "publicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ",
    });
    let mut after = page.clone();
    redactor.value(&mut after);
    assert_eq!(after, page);
    for text in [
        "Invalid token: unexpected end of input",
        "The password is required.",
        "Password: required",
        "token: string",
        "See https://example.com/docs/authentication#tokens for the key concepts.",
        "const token = getToken();",
        "Authorization: Bearer <token>",
        "export API_KEY=$API_KEY",
        "password=${PASSWORD}",
        "a basic example of bearer tokens",
        "The key: value pairs are sorted",
        "monkey = 12345678901234567890",
        "next_token=AbCdEf123456GhIjKl789",
        "keyboard: qwertz",
        "MSSQL: 3 rows; secrets are never shown; tokens: 512",
        "git@github.com:owner/name.git",
        "mailto:someone@example.com",
    ] {
        assert_eq!(redactor.text(text), text);
        assert!(matches!(redactor.text(text), Cow::Borrowed(_)), "{text}");
    }
}

#[test]
fn keys_that_tell_hide_their_values_and_only_those() {
    let mut value = json!({
        "password": "a", "dbPassword": "correct horse", "client_secret": "${literally}", "Authorization": "Bearer abc",
        "api_key": 123_456_789, "access_token": ["one", {"token": "two", "name": "three"}], "credentials": {"user": "me", "passwd": "x"},
        "headers": [{"name": "X-Api-Key", "value": "k"}, {"name": "Accept", "value": "text/plain"}],
        "secret": null, "password_set": true, "empty": {"password": ""},
    });
    redactor().value(&mut value);
    assert_eq!(
        value,
        json!({
            "password": "[redacted:password]", "dbPassword": "[redacted:password]", "client_secret": "[redacted:secret]",
            "Authorization": "[redacted:authorization]", "api_key": "[redacted:key]",
            "access_token": ["[redacted:token]", {"token": "[redacted:token]", "name": "three"}],
            "credentials": {"user": "me", "passwd": "[redacted:password]"},
            "headers": [{"name": "X-Api-Key", "value": "[redacted:key]"}, {"name": "Accept", "value": "text/plain"}],
            "secret": null, "password_set": true, "empty": {"password": ""},
        })
    );
}

#[test]
fn well_known_forms_are_found_in_running_text() {
    let redactor = redactor();
    for (text, secret) in [
        ("clone https://user:s3cr3t-pw@git.example.com/x.git now", "s3cr3t-pw"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA=="),
        ("got a Bearer 9f8e7d6c5b4a39281706f5e4 back", "9f8e7d6c5b4a39281706f5e4"),
        ("{\\\"password\\\": \\\"hunter22\\\"}", "hunter22"),
        ("DB_PASSWORD=swordfish\nUSER=me", "swordfish"),
        ("password: swordfish", "swordfish"),
        ("Cookie: sid=31d4d96e407aad42; theme=dark", "31d4d96e407aad42"),
        ("Server=db;User Id=sa;Password=Pa55w0rd!;Encrypt=true", "Pa55w0rd!"),
        (
            "AccountName=x;AccountKey=8dJ3kfLs93jfK30fkd93kfLsk3KD93==;Suffix=y",
            "8dJ3kfLs93jfK30fkd93kfLsk3KD93==",
        ),
        (
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
            "eyJzdWIiOiIxMjM0NTY3ODkwIn0",
        ),
        (
            "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIGLlamZtV2aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456oAoGCCqGSM49\n-----END EC PRIVATE KEY-----",
            "MHcCAQEE",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nMHcCAQEEIIGLlamZtV2aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456oAoGCCqGSM49\ncut off",
            "MHcCAQEE",
        ),
        (
            "token\u{200b}=ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        ),
        ("gh\u{200b}p_16C7e42F292c6912E7710c838347Ae178B4a", "16C7e42F292c6912E7710c838347Ae178B4a"),
    ] {
        let out = redactor.text(text);
        assert!(!out.contains(secret) && out.contains("[redacted:"), "{out}");
        assert_eq!(redactor.text(&out), out, "a second pass changes nothing");
    }
}

#[test]
fn pointers_blank_what_they_name() {
    let mut value =
        json!({"owner": {"email": "a@b.c", "name": "n"}, "list": [{"pin": 1}, {"pin": [2]}], "a/b": "x"});
    let pointers = ["/owner/email", "/list/*/pin", "/a~1b", "/missing/x"].map(String::from);
    redactor().value_at(&mut value, &pointers);
    assert_eq!(
        value,
        json!({"owner": {"email": "[redacted:field]", "name": "n"},
               "list": [{"pin": "[redacted:field]"}, {"pin": "[redacted:field]"}], "a/b": "[redacted:field]"})
    );
}

#[test]
fn what_was_redacted_or_is_held_here_cannot_be_sent_back() {
    let redactor = redactor();
    redactor.learn(&Secret::new("kT9-upstream-credential"), "equinix");
    for arguments in [
        json!({"note": "keep [redacted:token] please"}),
        json!({"[redacted:key]": 1}),
        json!([["kT9-upstream-credential"]]),
        json!({"x": STANDARD.encode("kT9-upstream-credential")}),
        json!({"x": "[reda\u{200b}cted:token]"}),
    ] {
        assert!(redactor.refuses(&arguments), "{arguments}");
    }
    assert!(!redactor.refuses(&json!({"note": "plain", "password": "somebody else's", "n": 5})));
}

#[test]
fn short_credentials_count_only_in_context() {
    let redactor = redactor();
    redactor.learn(&Secret::new("swordfish"), "login");
    assert_eq!(redactor.text("We ate swordfish on Friday."), "We ate swordfish on Friday.");
    for text in
        ["x-custom: swordfish", "note=\"swordfish\"", "sent Bearer swordfish", "<v>a</v><w>swordfish</w>"]
    {
        assert!(!redactor.text(text).contains("swordfish"), "{text}");
    }
    assert!(
        redactor.clone().text("q=swordfish").contains("[redacted:login]"),
        "clones share what is learned"
    );
}

#[test]
fn configured_names_and_patterns_count() {
    let config = Config {
        keys: vec![String::from("Badge")],
        keep: vec![String::from("token")],
        patterns: vec![String::from(r"EMP-\d{6}")],
        ..Config::default()
    };
    let redactor = Redactor::new(&config).unwrap();
    let mut value = json!({"badge": "42", "token": "page-2", "note": "by EMP-123456."});
    redactor.value(&mut value);
    assert_eq!(
        value,
        json!({"badge": "[redacted:configured]", "token": "page-2", "note": "by [redacted:configured]."})
    );
    for bad in ["(", "(?=x)", "x*"] {
        let config = Config { patterns: vec![String::from(bad)], ..Config::default() };
        assert_eq!(Redactor::new(&config).unwrap_err().kind(), Kind::BadConfig, "{bad}");
    }
}

#[test]
fn rules_of_the_configuration_have_names_of_their_own() {
    let rule = |name: &str, pattern: Option<&str>, keys: &[&str]| NamedRule {
        name: name.to_owned(),
        pattern: pattern.map(String::from),
        keys: keys.iter().map(|key| String::from(*key)).collect(),
    };
    let with = |rule: NamedRule| Redactor::new(&Config { rules: vec![rule], ..Config::default() });
    let redactor = with(rule("staff-badge", Some(r"EMP-\d{6}"), &["Badge"])).unwrap();
    assert_eq!(redactor.text("seen EMP-123456 twice"), "seen [redacted:staff-badge] twice");
    let mut value = json!({"badge": "42", "other": "43"});
    redactor.value(&mut value);
    assert_eq!(value, json!({"badge": "[redacted:staff-badge]", "other": "43"}));
    for bad in [
        rule("", Some("x"), &[]),
        rule("Loud", Some("x"), &[]),
        rule("x", None, &[]),
        rule("x", Some("("), &[]),
    ] {
        assert_eq!(with(bad.clone()).unwrap_err().kind(), Kind::BadConfig, "{bad:?}");
    }
}

#[test]
fn data_about_people_goes_only_where_it_is_asked_for_and_has_no_fingerprint() {
    let line =
        "ada@example.com, +44 20 7946 0958, DE89 3704 0044 0532 0130 00, 4012 8888 8888 1881, 203.0.113.7";
    assert_eq!(redactor().text(line), line);
    let config = Config {
        pii: vec![Pii::Email, Pii::Phone, Pii::Iban, Pii::Card, Pii::Ip],
        fingerprint_key: Some(Secret::new("installation")),
        ..Config::default()
    };
    let redactor = Redactor::new(&config).unwrap();
    let clean = "[redacted:email], [redacted:phone], [redacted:iban], [redacted:card], [redacted:ip]";
    assert_eq!(redactor.text(line), clean);
    assert_eq!(redactor.logged(line), clean, "whoever knows all numbers could try them");
}

// found by the fuzz target `redactor`
#[test]
fn a_sequence_for_terminals_takes_nothing_of_a_secret() {
    let secret = "7vEry-Secret0pass9w0rd-73";
    let redactor = redactor();
    redactor.learn(&Secret::new(secret), "test");
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let token = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    for spelled in [secret, &hex, &STANDARD.encode(secret), token] {
        for before in
            ["\u{1b}", "x\u{1b}[", "\u{1b}[31;", "\u{1b}(", "\u{9b}", "\u{1b}]0;", "\u{1b} ", "\u{200b}"]
        {
            let text = format!("{before}{spelled}\u{1b}[0m end");
            for clean in [redactor.text(&text), redactor.text(&redactor.clean(&text)), redactor.logged(&text)]
            {
                let parts = spelled.as_bytes().windows(6);
                let left = parts.filter(|part| clean.contains(std::str::from_utf8(part).unwrap())).count();
                assert_eq!(left, 0, "{before:?}: {clean:?}");
                assert!(clean.contains("[redacted:") && clean.ends_with(" end"), "{before:?}: {clean:?}");
            }
            assert_eq!(spelled == token, !redactor.refuses(&json!(text)), "{before:?} {spelled}");
        }
    }
}

#[test]
fn operators_see_which_secret_a_marker_stands_for() {
    let config = Config { fingerprint_key: Some(Secret::new("installation")), ..Config::default() };
    let redactor = Redactor::new(&config).unwrap();
    let (secret, other) =
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_26C7e42F292c6912E7710c838347Ae178B4b");
    let logged = |secret: &str| redactor.logged(&format!("cloning with {secret} now")).into_owned();
    assert_eq!(logged(secret), logged(secret));
    assert_ne!(logged(secret), logged(other));
    assert!(logged(secret).starts_with("cloning with [redacted:github#"), "{}", logged(secret));
    let again = logged(&logged(secret));
    assert_eq!(again.matches("[redacted:").count(), 1, "{again}");
    assert_eq!(redactor.text(secret), "[redacted:github]");
    let mut value = json!({"password": "hunter2", "apiKey": "k3jd83Zd95kxwq8tj3fd"});
    redactor.value_logged(&mut value);
    assert_eq!(value["password"], "[redacted:password]", "too short to be told apart safely");
    assert!(value["apiKey"].as_str().unwrap().starts_with("[redacted:key#"), "{value}");
    assert!(redactor.refuses(&json!({"x": value["apiKey"]})));
}

#[test]
fn fingerprints_need_a_key_and_tell_nothing() {
    assert_eq!(redactor().fingerprint("0123456789abcdefghij"), None);
    let with = |key: &str| {
        Redactor::new(&Config { fingerprint_key: Some(Secret::new(key)), ..Config::default() }).unwrap()
    };
    let print = with("one").fingerprint("0123456789abcdefghij").unwrap();
    assert_eq!(Some(&print), with("one").fingerprint("0123456789abcdefghij").as_ref());
    assert_ne!(Some(&print), with("two").fingerprint("0123456789abcdefghij").as_ref());
    assert_eq!(with("one").fingerprint("hunter2"), None, "too short to be told apart safely");
    assert_eq!(with("one").fingerprint("aaaaaaaaaaaaaaaaaaaaaaa"), None);
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn lower_hex(percent: &str) -> String {
    let mut parts = percent.split('%');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |out, part| format!("{out}%{}{}", part[..2].to_lowercase(), &part[2..]))
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |out, byte| out + &format!("{byte:02x}"))
}

fn encoded(secret: &str, how: usize) -> String {
    match how {
        0 => secret.to_owned(),
        1 => STANDARD.encode(secret),
        2 => URL_SAFE.encode(secret),
        3 => percent(secret),
        4 => hex(secret),
        5 => hex(secret).to_uppercase(),
        6 => json!(secret).to_string(),
        7 => json!(json!(secret).to_string()).to_string(),
        10 => secret
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;"),
        8 => percent(secret).replace("%20", "+"),
        _ => lower_hex(&percent(secret)),
    }
}

/// What of the base64 of `before + secret + after` depends on the secret alone.
fn core_in_base64(before: usize, secret: &str) -> String {
    let whole = STANDARD_NO_PAD.encode([vec![b'x'; before], secret.as_bytes().to_vec()].concat());
    let skip = (before * 8).div_ceil(6);
    let end = (before + secret.len()) * 8 / 6;
    whole[skip..end].to_owned()
}

fn place(seed: &str, spot: usize) -> Value {
    match spot {
        0 => json!(seed),
        1 => json!({"text": format!("before {seed} after")}),
        2 => json!([1, [{"deep": [seed]}]]),
        3 => Value::Object(Map::from_iter([(seed.to_owned(), json!(1))])),
        4 => Value::Object(Map::from_iter([(format!("a{seed}b"), json!({"x": seed}))])),
        5 => json!({"password": seed}),
        6 => json!({"url": format!("https://h.example/?q={seed}&r=1")}),
        _ => json!(format!("{{\"inner\": {seed}, \"x\": \"{seed}{seed}\"}}")),
    }
}

proptest! {
    /// Arguments that hold a marker or a held credential are refused in whatever spelling and place.
    #[test]
    fn held_credentials_and_markers_are_refused_in_every_spelling(
        secret in "[A-Za-z0-9]{6}[ -~]{6,24}[A-Za-z0-9]{2}", how in 0usize..11, spot in 0usize..8, kind in "[a-z-]{1,12}",
    ) {
        let redactor = redactor();
        redactor.learn(&Secret::new(&*secret), "test");
        let arguments = place(&encoded(&secret, how), spot);
        prop_assert!(redactor.refuses(&arguments), "{arguments}");
        let arguments = place(&format!("[redacted:{kind}]"), spot);
        prop_assert!(redactor.refuses(&arguments), "{arguments}");
    }

    /// A caller who guesses learns nothing from results: whatever was hidden, the marker is the same.
    #[test]
    fn results_tell_two_secrets_of_a_kind_apart_by_nothing(one in "[A-Za-z0-9]{36}", two in "[A-Za-z0-9]{36}") {
        let config = Config { fingerprint_key: Some(Secret::new("installation")), ..Config::default() };
        let redactor = Redactor::new(&config).unwrap();
        let shown = |secret: &str| redactor.text(&format!("password={secret}")).into_owned();
        prop_assert_eq!(shown(&one), shown(&two));
        prop_assert_eq!(shown(&one), "password=[redacted:password]");
    }

    #[test]
    fn seeded_secrets_never_survive(
        secret in "[A-Za-z0-9]{6}[ -~é/+\"\\\\]{6,24}[A-Za-z0-9]{2}", how in 0usize..11, spot in 0usize..8,
    ) {
        let redactor = redactor();
        redactor.learn(&Secret::new(&*secret), "test");
        let seed = encoded(&secret, how);
        let mut value = place(&seed, spot);
        redactor.value(&mut value);
        let out = value.to_string();
        let plain = seed.trim_matches('"').trim_end_matches('=').to_owned();
        prop_assert!(!out.contains(&plain), "{out} holds {plain}");
        let mut again = value.clone();
        redactor.value(&mut again);
        prop_assert_eq!(value, again, "a second pass changes nothing");
    }

    #[test]
    fn seeded_secrets_do_not_survive_inside_longer_base64(
        before in 0usize..7, secret in "[A-Za-z0-9!-/]{12,40}", after in 0usize..7,
    ) {
        let redactor = redactor();
        redactor.learn(&Secret::new(&*secret), "test");
        let whole = [vec![b'x'; before], secret.as_bytes().to_vec(), vec![b'y'; after]].concat();
        let text = format!("data {}", STANDARD.encode(whole));
        let out = redactor.text(&text);
        prop_assert!(!out.contains(&core_in_base64(before, &secret)), "{out}");
    }

    #[test]
    fn any_text_is_taken_without_panic_and_a_second_pass_changes_nothing(
        text in "(token|secret|password|key|://|-u |curl |eyJ|Bearer |sk-|=|:|\"|'|\\\\|<|>|@|[a-z0-9]{1,8}|é|\u{200b}|\n| ){0,30}",
    ) {
        let redactor = redactor();
        let once = redactor.text(&text).into_owned();
        let twice = redactor.text(&once).into_owned();
        prop_assert_eq!(once, twice);
    }
}

/// Whoever sends arguments or answers chooses the text; marks in a row must not cost the square of its length.
#[test]
fn no_text_takes_more_time_than_its_length_deserves() {
    let redactor = redactor();
    let starts = [
        "Q~",
        "pat",
        "_mmk",
        "-----BEGIN PRIVATE KEY",
        "-----BEGIN PRIVATE KEY-----END ",
        "curl ",
        "eyJhbGciOiJIUzI1NiJ9.",
        "password=",
        "pass:",
        "cookie=",
        "authorization: ",
    ];
    let took = |start: &str, kilobytes: usize, times: usize| {
        let text = start.repeat((kilobytes << 10) / start.len());
        let begun = worked();
        for _ in 0..times {
            let _ = redactor.text(&text);
        }
        worked().saturating_sub(begun)
    };
    // as much text in one piece takes about as long as in four; where it costs the square, four times as long
    let fits = |parts: Duration, whole: Duration| whole < parts * 2 + Duration::from_millis(20);
    for start in starts {
        let (mut parts, mut whole) = (took(start, 64, 4), took(start, 256, 1));
        for _ in 0..2 {
            if fits(parts, whole) {
                break;
            }
            (parts, whole) = (parts.min(took(start, 64, 4)), whole.min(took(start, 256, 1)));
        }
        assert!(fits(parts, whole), "{start} took {parts:?} in four pieces, {whole:?} in one");
    }
}

/// How long this thread has worked; where nobody says, how long it has been there. Others may keep the machine busy.
fn worked() -> Duration {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| BEGUN.elapsed(), Duration::from_nanos)
}

#[test]
fn a_very_long_secret_goes_whole() {
    let redactor = redactor();
    let long = "a1B2c3D4e5".repeat(1000);
    for text in
        [format!("password={long}"), format!("cookie: {long}\n"), format!("{{\"token\": \"{long}\"}}")]
    {
        let out = redactor.text(&text);
        assert!(out.contains("[redacted:") && !out.contains("a1B2"), "{}", &out[..out.len().min(200)]);
    }
}

#[test]
fn secrets_as_keys_stay_apart_however_many_they_are() {
    let redactor = redactor();
    let keys = (0..20_000)
        .map(|number| (format!("AKIA{:016}", number * 7919 + 1_234_567_890_123_i64), json!(number)));
    let mut value = Value::Object(keys.collect());
    let begun = std::time::Instant::now();
    assert!(redactor.value(&mut value));
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    let members = value.as_object().unwrap();
    assert_eq!(members.len(), 20_000);
    assert!(members.keys().filter(|key| key.contains("AKIA")).count() < 200);
}

#[test]
fn a_credential_in_use_is_never_forgotten_and_a_replaced_one_only_after_many() {
    let redactor = redactor();
    let hides = |text: &str| !redactor.text(&format!("<{text}>")).contains(text);
    let bearer = redactor.hold(&Secret::new("kT9-static-bearer-of-the-upstream"), "bearer-token");
    let twice = redactor.hold(&Secret::new("kT9-static-bearer-of-the-upstream"), "bearer-token");
    let mut token = redactor.hold(&Secret::new("zQ3-refreshed-token-0000"), "access-token");
    for hour in 1..=300 {
        token = redactor.hold(&Secret::new(format!("zQ3-refreshed-token-{hour:04}")), "access-token");
    }
    assert!(hides("kT9-static-bearer-of-the-upstream") && hides("zQ3-refreshed-token-0300"));
    assert!(hides("zQ3-refreshed-token-0290"), "one that was replaced just now may still turn up");
    assert!(!hides("zQ3-refreshed-token-0001"), "there is a bound");
    drop((bearer, token));
    for other in 0..300 {
        redactor.learn(&Secret::new(format!("another-secret-{other:04}")), "test");
    }
    assert!(hides("kT9-static-bearer-of-the-upstream"), "somebody still holds it");
    drop(twice);
    for other in 300..600 {
        redactor.learn(&Secret::new(format!("another-secret-{other:04}")), "test");
    }
    assert!(!hides("kT9-static-bearer-of-the-upstream"));
}

#[test]
fn a_key_is_recognised_wherever_it_turns_up() {
    let redactor = Redactor::new(&Config::default()).unwrap();
    let store =
        bartizan::identity::keys::KeyStore::in_memory(bartizan::clock::SystemClock::shared()).unwrap();
    for _ in 0..200 {
        let key = store.mint(&bartizan::identity::keys::Grant::named("x")).unwrap().key;
        let key = key.expose();
        for text in [format!("it says {key}."), format!("[\"{key}\"]"), format!("x={key}&y=1")] {
            assert!(!redactor.text(&text).contains(&key[12..]), "{text}");
        }
    }
}
