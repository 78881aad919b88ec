//! Is what stands after a telling name its secret?
//!
//! Owns [`take`] and [`Joint`]. The idea: the more the name and what joins it to a value tell, the less the value has to
//! look like a secret: after `DB_PASSWORD=` nearly anything is one, after "password is" only what has a digit or a sign
//! in it, and after a mere `key:` only what was drawn at random.
//!
//! Must not: read before the value; that is `context.rs`.

use super::context::LONG;
use super::looks::{
    is_code, is_counted, is_odd, is_placeholder, is_plain_word, is_prose, is_random, is_reference,
    is_unspeakable, is_uuid,
};
use super::names::{Telling, is_pretended, telling};
use super::scan::Found;

/// What stands between a name and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Joint {
    /// `=` and its relatives, or `:` right at the value.
    Tight,
    /// `:` and white space.
    Loose,
    /// `, ` between two quoted texts, or a flag and its value: needs a look at the value.
    Weak,
    /// White space alone, or "is": needs a good look at the value.
    Bare,
    /// `>` of a tag.
    Tag,
}

/// A name as it was read.
#[derive(Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) text: &'a str,
    pub(super) told: Telling,
}

impl Name<'_> {
    /// `DB_PASSWORD`: the name of an environment variable or a constant.
    fn is_loud(&self) -> bool {
        self.text.len() > 4
            && self
                .text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    }
}

/// Takes the value at `at`, if it is one.
pub(super) fn take(text: &str, at: usize, name: Name<'_>, joint: Joint) -> Option<Found> {
    let bytes = text.as_bytes();
    let (at, quote) = opened(bytes, at);
    let (certain, kind) = match name.told {
        Telling::Secret(kind) => (true, kind),
        Telling::Maybe(kind) => (false, kind),
        Telling::No => return None,
    };
    if (kind == "authorization" || kind == "cookie") && joint != Joint::Bare {
        return header(text, at, quote, kind);
    }
    let near = end_of(bytes, at, quote, joint, LONG);
    let end = near.unwrap_or_else(|| text.floor_char_boundary(at + LONG));
    let mut value = text[at..end].trim_end_matches('\\');
    if joint == Joint::Bare && quote.is_none() {
        // The end of a sentence.
        value = value.trim_end_matches(['.', ',', ';', ':', '!', '?']);
    }
    let end = at + value.len();
    if value.is_empty() || is_placeholder(value) || is_pretended(name.text) {
        return None;
    }
    // `BUNDLE_GEMS__EXAMPLE__COM=user:password`
    if kind == "bundle" && !value.contains(':') {
        return None;
    }
    let good = if certain {
        fits_certain(text, value, end, Given { name, kind, quoted: quote.is_some(), joint })
    } else {
        fits_maybe(value, kind, joint, quote.is_some())
    };
    good.then(|| {
        let whole = || end_of(bytes, at, quote, joint, bytes.len()).unwrap_or(bytes.len());
        Found { start: at, end: if near.is_some() { end } else { whole() }, kind }
    })
}

/// What is known about a value before it is looked at.
#[derive(Clone, Copy)]
struct Given<'a> {
    name: Name<'a>,
    kind: &'static str,
    quoted: bool,
    joint: Joint,
}

fn fits_certain(text: &str, value: &str, end: usize, given: Given<'_>) -> bool {
    let Given { name, kind, quoted, joint } = given;
    let is_word = kind == "password" || kind == "bundle";
    if value.len() < 4 || is_plain_word(value) || is_reference(value) && !name.is_loud() {
        return false;
    }
    let opens = value.starts_with(['[', '{', '(']) && !is_random(value, 12);
    let alone = || {
        matches!(
            text.as_bytes().get(end),
            None | Some(b'\n' | b'\r' | b',' | b'}' | b'\\' | b'<' | b'"' | b'\'' | b')' | b';')
        )
    };
    match (quoted, joint) {
        (true, Joint::Tight | Joint::Loose | Joint::Tag) => {
            let called = is_code(value) && value.contains('(');
            !called && !is_prose(value, kind) && (is_word || is_secretive(value, kind))
        }
        (_, Joint::Weak) if is_word => !is_code(value) && !opens && !value.contains(' ') && is_odd(value, 5),
        (_, Joint::Weak) => {
            (is_random(value, 8) || is_digits(value, 15)) && !value.contains(' ') && !is_code(value)
        }
        (false, Joint::Tight | Joint::Tag) => !is_code(value) && !opens && !is_prose(value, kind),
        (false, Joint::Loose) => {
            !is_code(value)
                && !opens
                && (is_odd(value, 4) || (alone() && is_word) || is_random(value, 12) || is_digits(value, 10))
        }
        (_, Joint::Bare) if is_word => {
            !is_code(value)
                && !opens
                && !value.contains(' ')
                && value.len() >= 6
                && is_odd(value, 6)
                && !is_term(value)
        }
        (_, Joint::Bare) => {
            is_random(value, 16) && !value.contains(' ') && !is_code(value) && !value.contains("://")
        }
    }
}

fn fits_maybe(value: &str, kind: &str, joint: Joint, quoted: bool) -> bool {
    if kind == "vendor" && !matches!(joint, Joint::Tight | Joint::Loose | Joint::Tag) {
        return false;
    }
    let least = match kind {
        "vendor" => 20,
        "access-id" => 12,
        "password" if joint != Joint::Bare => 6,
        _ => 16,
    };
    if value.contains([' ', '/']) && kind != "key"
        || value.contains(' ')
        || value.contains("://")
        || is_code(value)
    {
        return false;
    }
    if kind == "password" {
        return is_odd(value, least) && !is_term(value) && (quoted || joint != Joint::Weak);
    }
    if kind == "access-id" {
        let has = |fits: fn(&u8) -> bool| value.bytes().any(|byte| fits(&byte));
        return value.len() >= least
            && !value.contains(':')
            && (is_uuid(value)
                || is_random(value, least)
                || has(u8::is_ascii_digit) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase));
    }
    // `user:1234:profile`: each part by itself, and a UUID is the name of a thing.
    let named = value.len() >= 36 && value.get(value.len() - 36..).is_some_and(is_uuid);
    let drawn = value.split([':', '.', '/']).any(|part| is_random(part, least));
    drawn && !named && !is_counted(value) && !is_reference(value) && (quoted || joint != Joint::Weak)
}

/// Not a word that code uses for a kind of token, such as `token: "keyword"`.
fn is_secretive(value: &str, kind: &str) -> bool {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'.' | b'-' | b'_'));
    if !plain {
        return true;
    }
    // Capitalised: a label. Small letters: a word, for a kind of token; else somebody's idea of a secret.
    let small = value.bytes().all(|byte| !byte.is_ascii_uppercase());
    is_random(value, 12)
        || (value.len() >= 20 && is_unspeakable(value))
        || (small && kind != "token" && value.len() >= 6 && telling(value) == Telling::No)
}

/// A number long enough to be one.
fn is_digits(value: &str, least: usize) -> bool {
    value.len() >= least
        && value.bytes().all(|byte| byte.is_ascii_digit())
        && super::looks::variety(value.as_bytes()) > 4
}

/// A technical word with digits in it.
fn is_term(value: &str) -> bool {
    const TERMS: &[&str] = &[
        "sha", "md", "base", "oauth", "utf", "http", "ipv", "pbkdf", "v", "x", "ntlm", "aes", "rsa", "ed",
        "hs", "rs", "es", "tls", "ssl", "bcrypt", "scrypt", "argon", "totp", "fido", "pkcs", "saml", "krb",
        "k", "q", "p",
    ];
    let letters = value.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    value.len() <= 9 && TERMS.iter().any(|term| term.eq_ignore_ascii_case(letters))
}

/// Steps over a prefix (`b"`, `@"`, `r'`), escapes and the quote.
fn opened(bytes: &[u8], mut at: usize) -> (usize, Option<u8>) {
    let is_quote = |byte: Option<&u8>| matches!(byte, Some(b'"' | b'\'' | b'`'));
    if matches!(bytes.get(at), Some(b'b' | b'r' | b'u' | b'f' | b'@' | b'L')) && is_quote(bytes.get(at + 1)) {
        at += 1;
    }
    loop {
        match bytes.get(at) {
            Some(b'\\') if matches!(bytes.get(at + 1), Some(b'"' | b'\'' | b'\\')) => at += 1,
            Some(found @ (b'"' | b'\'' | b'`')) => {
                // `"""` opens, too.
                let more = bytes[at + 1..].iter().take(2).take_while(|byte| *byte == found).count();
                return (at + 1 + if more == 2 { 2 } else { 0 }, Some(*found));
            }
            _ => return (at, None),
        }
    }
}

/// Where the value at `at` ends; nothing if it goes on for more than `most` bytes.
pub(super) fn end_of(bytes: &[u8], at: usize, quote: Option<u8>, joint: Joint, most: usize) -> Option<usize> {
    let rest = &bytes[at..bytes.len().min(at.saturating_add(most))];
    let length = match quote {
        Some(quote) => rest.iter().position(|byte| *byte == quote || matches!(byte, b'\n' | b'\r')),
        None if joint == Joint::Tag => rest.iter().position(|byte| matches!(byte, b'<' | b'\n' | b'\r')),
        None => rest.iter().enumerate().position(|(at, byte)| {
            byte.is_ascii_whitespace()
                || matches!(
                    byte,
                    b'"' | b'\''
                        | b'`'
                        | b'\\'
                        | b','
                        | b';'
                        | b'<'
                        | b'>'
                        | b'&'
                        | b')'
                        | b'}'
                        | b']'
                        | b'|'
                )
                || (*byte == b'%' && is_joint_escape(&rest[at..]))
        }),
    };
    let last = at + rest.len() == bytes.len();
    length.or(last.then_some(rest.len())).map(|length| at + length)
}

/// `%26`, `%22`, `%2C`: a sign between values, in an address within an address.
fn is_joint_escape(bytes: &[u8]) -> bool {
    bytes
        .get(1..3)
        .is_some_and(|hex| [b"26", b"22", b"2C", b"2c", b"7D", b"7d"].iter().any(|sign| *sign == hex))
}

/// The value of a header: a scheme is kept, and what follows it is the secret.
fn header(text: &str, at: usize, quote: Option<u8>, kind: &'static str) -> Option<Found> {
    let bytes = text.as_bytes();
    let at = at + usize::from(bytes.get(at) == Some(&b'['));
    let ends =
        |byte: &u8| matches!(byte, b'\n' | b'\r' | b'"' | b'\'' | b'`' | b'<' | b']') || Some(*byte) == quote;
    let rest = bytes.get(at..)?;
    let near = rest.iter().take(LONG).position(ends).or((rest.len() <= LONG).then_some(rest.len()));
    let stop = near.unwrap_or_else(|| text.floor_char_boundary(at + LONG) - at);
    // A header within an address ends where its line does.
    let line = ["%0d%0a", "%0D%0A", "\\r\\n"].iter().filter_map(|end| text[at..at + stop].find(end)).min();
    let (near, stop) = line.map_or((near, stop), |line| (Some(line), line));
    let value = text[at..at + stop].trim_end_matches('\\').trim_end();
    let scheme = value.split(' ').next().unwrap_or_default();
    let has_scheme = scheme.len() < value.len()
        && scheme.len() <= 24
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let start = if has_scheme { at + scheme.len() + 1 } else { at };
    let start =
        start + bytes[start..].iter().take(40).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let start = start.min(at + value.len());
    let mut secret = &text[start..at + value.len()];
    if kind == "authorization" && !secret.contains('=') {
        secret = secret.split([' ', ',', '}', '\\']).next().unwrap_or_default();
    }
    let known_scheme =
        ["bearer", "basic", "token", "apikey", "digest"].iter().any(|name| name.eq_ignore_ascii_case(scheme));
    let odd = secret.bytes().any(|byte| byte.is_ascii_digit()) || is_random(secret, 8);
    let good = secret.len() >= 6
        && !secret.starts_with(['{', '<', '('])
        && !is_placeholder(secret)
        && !is_plain_word(secret)
        && !is_code(secret)
        && !is_term(secret)
        && (odd
            || (has_scheme && known_scheme && secret.len() >= 8 && quote.is_some())
            || secret.ends_with('='));
    good.then(|| {
        // What goes on beyond the part that was looked at is secret too.
        let whole = || at + rest.iter().position(ends).unwrap_or(rest.len());
        let cut = near.is_none() && start + secret.len() == at + value.len();
        Found { start, end: if cut { whole() } else { start + secret.len() }, kind }
    })
}
