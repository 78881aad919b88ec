//! Secrets with a form of their own.
//!
//! Owns the rules that are more than a prefix and an alphabet: private keys, JWTs, addresses with a password, header
//! schemes, Azure client secrets and a few more. The idea: each starts at a mark the automaton found, and reads from
//! there.
//!
//! Must not: run unless its mark was found.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::looks::{is_placeholder, is_random, variety};
use super::scan::Found;
use super::sieve::Fits;
use super::talk::{
    jwk, kubernetes, openssl, pair, pgpass, piped, putty, sentry, signature, spoken, spoken_after,
    spoken_short, teams,
};

/// A rule: the text and where its mark begins and ends.
pub(super) type Rule = fn(&str, usize, usize) -> Option<Found>;

/// Marks (found in any case of letters), what stands before and behind a short one, and what reads on from them.
pub(super) const MARKS: &[(&str, Option<Fits>, Fits, Rule)] = &[
    ("-----BEGIN", None, any, private_key),
    ("eyJ", None, is_url, jwt),
    ("ZXlK", None, any, encoded_jwt),
    ("://", None, any, userinfo),
    ("bearer ", None, any, bearer),
    ("basic ", None, any, basic),
    ("Q~", Some(is_digit), is_url_or_dot, azure_secret),
    ("-us", None, is_digit, mailchimp),
    (".atlasv1.", None, any, terraform),
    ("pat", None, is_alnum, airtable),
    (":AA", None, is_url, telegram),
    ("_mmk", None, any, maxmind),
    ("sntrys_", None, any, sentry),
    ("webhook.office.com/webhookb2/", None, any, teams),
    ("?sig=", None, any, signature),
    ("&sig=", None, any, signature),
    ("-signature=", None, any, signature),
    ("\"d\":", None, any, jwk),
    ("identified by ", None, any, spoken),
    ("contrase\u{f1}a", None, any, spoken),
    ("mot de passe", None, any, spoken),
    ("kennwort", None, any, spoken),
    ("wachtwoord", None, any, spoken),
    ("senha", None, any, spoken),
    ("\u{43f}\u{430}\u{440}\u{43e}\u{43b}\u{44c}", None, any, spoken),
    ("securestring ", None, any, spoken),
    ("pw:", None, is_not_letter, spoken_short),
    ("pw=", None, is_not_letter, spoken_short),
    ("pass is ", None, any, spoken_after),
    ("pass:", None, any, openssl),
    ("auth=(", None, any, pair),
    ("credential(", None, any, pair),
    ("credentials(", None, any, pair),
    ("basicauth(", None, any, pair),
    ("basic_auth(", None, any, pair),
    (":5432:", None, any, pgpass),
    ("sudo -S", None, any, piped),
    ("kind: Secret", None, any, kubernetes),
    ("\"kind\":\"Secret\"", None, any, kubernetes),
    ("\"kind\": \"Secret\"", None, any, kubernetes),
    ("PuTTY-User-Key-File-", None, any, putty),
];

fn is_not_letter(byte: u8) -> bool {
    !byte.is_ascii_alphabetic()
}

fn any(_: u8) -> bool {
    true
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

fn is_alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn is_url_or_dot(byte: u8) -> bool {
    is_url(byte) || matches!(byte, b'.' | b'~')
}

const fn found(start: usize, end: usize, kind: &'static str) -> Found {
    Found { start, end, kind }
}

fn run(bytes: &[u8], from: usize, fits: impl Fn(u8) -> bool) -> usize {
    from + bytes[from..].iter().take_while(|byte| fits(**byte)).count()
}

fn run_back(bytes: &[u8], to: usize, fits: impl Fn(u8) -> bool) -> usize {
    to - bytes[..to].iter().rev().take_while(|byte| fits(**byte)).count()
}

/// A run that is of no interest beyond `most`: marks may follow each other closely, and none may cost the whole text.
fn run_up_to(bytes: &[u8], from: usize, most: usize, fits: impl Fn(u8) -> bool) -> usize {
    run(&bytes[..bytes.len().min(from + most)], from, fits)
}

/// The same, backwards.
fn run_back_up_to(bytes: &[u8], to: usize, most: usize, fits: impl Fn(u8) -> bool) -> usize {
    let left = to.saturating_sub(most);
    left + run_back(&bytes[left..], to - left, fits)
}

/// Where `-----END` is, in any case of letters.
fn end_line(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(offset) = text[from..].find("-----") {
        let at = from + offset;
        if text.as_bytes().get(at + 5..at + 8).is_some_and(|word| word.eq_ignore_ascii_case(b"END")) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

fn is_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn private_key(text: &str, at: usize, end: usize) -> Option<Found> {
    let title = text[end..].split("-----").next().filter(|title| title.len() < 60)?;
    let upper = title.to_ascii_uppercase();
    if !upper.contains("PRIVATE KEY") && !upper.contains("SECRET KEY") {
        return None;
    }
    let body = end + title.len();
    let close = end_line(&text[body..]).map(|offset| body + offset);
    let stop = match close {
        Some(close) => text[close + 8..].find("-----").map_or(text.len(), |offset| close + 8 + offset + 5),
        None => text.len(),
    };
    let held = &text.as_bytes()[body..close.unwrap_or(stop)];
    let letters = held.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    if letters < 40 || variety(held) < 8 {
        return None;
    }
    Some(found(at, stop, "private-key"))
}

fn jwt(text: &str, at: usize, _end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    if !text[at..].starts_with("eyJ") || at > 0 && is_url(bytes[at - 1]) && !is_escape(bytes, at) {
        return None;
    }
    let head = run(bytes, at, is_url);
    if bytes.get(head) != Some(&b'.') || head - at < 8 {
        return None;
    }
    let claims = run(bytes, head + 1, is_url);
    let header = URL_SAFE_NO_PAD.decode(&text[at..head - (head - at) % 4]).ok()?;
    if !header.starts_with(b"{\"") {
        return None;
    }
    let stop = run(bytes, claims, |byte| is_url(byte) || byte == b'.');
    (stop - head > 16).then_some(())?;
    Some(found(at, stop, "jwt"))
}

/// Whether the letter before `at` belongs to an escape such as `\n` or `%3D`.
pub(super) fn is_escape(bytes: &[u8], at: usize) -> bool {
    (at >= 2 && bytes[at - 2] == b'\\' && matches!(bytes[at - 1], b'n' | b't' | b'r'))
        || (at >= 3
            && bytes[at - 3] == b'%'
            && bytes[at - 2].is_ascii_hexdigit()
            && bytes[at - 1].is_ascii_hexdigit())
}

fn encoded_jwt(text: &str, at: usize, _end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    if !text[at..].starts_with("ZXlK") || at > 0 && is_base64(bytes[at - 1]) && !is_escape(bytes, at) {
        return None;
    }
    let stop = run(bytes, at, is_base64);
    let whole = &text[at..stop - (stop - at) % 4];
    let inner = STANDARD_NO_PAD.decode(whole).or_else(|_| URL_SAFE_NO_PAD.decode(whole)).ok()?;
    let inner = String::from_utf8(inner).ok()?;
    jwt(&inner, 0, 3)?;
    Some(found(at, run(bytes, stop, |byte| byte == b'='), "jwt"))
}

fn userinfo(text: &str, at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    if at == 0 || !bytes[at - 1].is_ascii_alphanumeric() {
        return None;
    }
    let stop = run(bytes, end, |byte| {
        byte.is_ascii_graphic()
            && !matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\' | b',')
    });
    let authority = &text[end..stop];
    let user = &authority[..authority.rfind('@')?];
    let (start, secret) = match user.split_once(':') {
        Some((name, password)) => (end + name.len() + 1, password),
        None if is_random(user, 16) => (end, user),
        None => return None,
    };
    if secret.is_empty()
        || is_placeholder(secret)
        || matches!(secret, "password" | "pass" | "secret" | "PASSWORD")
    {
        return None;
    }
    Some(found(start, start + secret.len(), "password"))
}

fn bearer(text: &str, _at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let stop = run(bytes, end, |byte| is_url(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'='));
    let token = &text[end..stop];
    (is_random(token, 16) && !is_placeholder(token)).then_some(())?;
    Some(found(end, stop, "token"))
}

fn basic(text: &str, _at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let stop = run(bytes, end, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
    let token = text[end..stop].trim_end_matches('=');
    if token.len() < 6 {
        return None;
    }
    let plain = String::from_utf8(STANDARD_NO_PAD.decode(token).ok()?).ok()?;
    (plain.contains(':') && plain.chars().all(|c| !c.is_control())).then_some(())?;
    Some(found(end, stop, "password"))
}

fn azure_secret(text: &str, at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let fits = |byte: u8| is_url(byte) || matches!(byte, b'.' | b'~');
    let start = at.checked_sub(4)?;
    let stop = run_up_to(bytes, end, 35, fits);
    let good = text[at..].starts_with("Q~")
        && bytes[at - 1].is_ascii_digit()
        && bytes[start..at - 1].iter().all(|byte| fits(*byte))
        && (start == 0 || !fits(bytes[start - 1]) || is_escape(bytes, start))
        && (31..=34).contains(&(stop - end))
        && variety(&bytes[end..stop]) >= 10;
    good.then_some(())?;
    Some(found(start, stop, "azure"))
}

fn mailchimp(text: &str, at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let start = run_back_up_to(bytes, at, 33, |byte| byte.is_ascii_hexdigit());
    let stop = run_up_to(bytes, end, 3, |byte| byte.is_ascii_digit());
    (at - start == 32 && (1..=2).contains(&(stop - end)) && variety(&bytes[start..at]) > 6).then_some(())?;
    Some(found(start, stop, "mailchimp"))
}

fn terraform(text: &str, at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let start = run_back_up_to(bytes, at, 15, |byte| byte.is_ascii_alphanumeric());
    let stop = run(bytes, end, is_url);
    (at - start == 14 && stop - end >= 50).then_some(())?;
    Some(found(start, stop, "terraform"))
}

fn airtable(text: &str, at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let dot = run_up_to(bytes, end, 15, |byte| byte.is_ascii_alphanumeric());
    if dot - end != 14 || bytes.get(dot) != Some(&b'.') || at > 0 && is_url(bytes[at - 1]) {
        return None;
    }
    let stop = run_up_to(bytes, dot + 1, 65, |byte| byte.is_ascii_hexdigit());
    (stop - dot == 65).then_some(())?;
    Some(found(at, stop, "airtable"))
}

fn telegram(text: &str, at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let start = run_back_up_to(bytes, at, 11, |byte| byte.is_ascii_digit());
    let stop = run_up_to(bytes, end, 35, is_url);
    ((8..=10).contains(&(at - start)) && (32..=34).contains(&(stop - end))).then_some(())?;
    Some(found(start, stop, "telegram"))
}

fn maxmind(text: &str, at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let start = run_back_up_to(bytes, at, 37, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let boundary = bytes.get(end).is_none_or(|byte| !is_url(*byte));
    (at - start == 36 && boundary).then_some(())?;
    Some(found(start, end, "maxmind"))
}
