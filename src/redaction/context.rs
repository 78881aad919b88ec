//! Secrets that only the name beside them gives away.
//!
//! Owns [`beside`]. The idea: around a telling word the whole name is read, then what stands between a name and its
//! value in configuration, code, JSON, XML, shell, headers and addresses; the value is taken if the name is certain
//! and the value no placeholder, or if the name is uncertain and the value looks drawn at random.
//!
//! Must not: match a value without a name.

use super::looks::{is_code, is_placeholder, is_plain_word, is_random};
use super::names::{Telling, telling};
use super::scan::Found;

/// A value is judged by so many of its bytes; one that goes on is taken whole, but not looked at whole, so that a text
/// full of names costs what its length says.
pub(super) const LONG: usize = 1024;

/// Looks for a value after the name around `at..end`. Also returns where the name ends, so that other telling words
/// in the same name are not tried again.
pub(super) fn beside(text: &str, at: usize, end: usize) -> (Option<Found>, usize) {
    let bytes = text.as_bytes();
    let (mut from, mut to) = (at, end);
    while from > 0 && is_name(bytes[from - 1]) {
        from -= 1;
    }
    while to < bytes.len() && is_name(bytes[to]) {
        to += 1;
    }
    // `\nPASSWORD` in a JSON text: the `n` belongs to the escape.
    if from > 0 && from < at && bytes[from - 1] == b'\\' && matches!(bytes[from], b'n' | b't' | b'r') {
        from += 1;
    }
    let name = text[from..to].trim_end_matches(['.', '-']);
    let told = telling(name);
    // The kind in one of our own markers is no name.
    if told == Telling::No || text[..from].ends_with(super::MARKER) {
        return (None, to);
    }
    let flag = from > 0 && bytes[from - 1] == b'-' || name.starts_with('-');
    (value_after(text, from, to, told, flag), to)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// What stands between a name and its value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    /// `=` and its relatives, or `:` right at the value.
    Tight,
    /// `:` and white space.
    Loose,
    /// `", "` between two quoted texts, or `name value` after dashes: needs a good look at the value.
    Weak,
    /// `>` of a tag.
    Tag,
}

fn value_after(text: &str, from: usize, name_end: usize, told: Telling, flag: bool) -> Option<Found> {
    let bytes = text.as_bytes();
    let mut at = name_end;
    let mut closed = false;
    while let Some(b'"' | b'\'' | b'`' | b']' | b'\\') = bytes.get(at) {
        closed |= bytes[at] != b'\\';
        at += 1;
        if at - name_end > 6 {
            return None;
        }
    }
    let name_closed = at;
    at = spaces(bytes, at, false);
    // `token string = "x"`: a type between name and sign.
    if at > name_closed && bytes.get(at).is_some_and(u8::is_ascii_alphabetic) && !flag {
        let word = bytes[at..].iter().take(12).take_while(|byte| byte.is_ascii_alphabetic()).count();
        let after = spaces(bytes, at + word, false);
        if matches!(&bytes[at..at + word], b"string" | b"str" | b"String" | b"is" | b"was") && word > 0 {
            at = if bytes.get(after) == Some(&b'=') || word < 4 { after } else { return None };
            if word < 4 && bytes.get(at) != Some(&b'=') {
                return take(text, at, told, Joint::Weak);
            }
        } else {
            return None;
        }
    }
    let signs = bytes[at..]
        .iter()
        .take(5)
        .take_while(|byte| matches!(byte, b'=' | b':' | b'.' | b'?' | b'|' | b'+' | b'>' | b'~' | b'!'))
        .count();
    let sign = &bytes[at..at + signs];
    let joint = match sign {
        [] if closed && bytes.get(at) == Some(&b',') => {
            at += 1;
            Joint::Weak
        }
        [] if flag && at > name_closed => Joint::Weak,
        [b'>', ..] if from > 0 && bytes[from - 1] == b'<' => Joint::Tag,
        [first, ..] if *first == b'>' || *first == b'!' || sign == b"." || sign == b"?" || sign == b"::" => {
            return None;
        }
        _ if sign.contains(&b'=') => Joint::Tight,
        _ if sign == b":" => Joint::Loose,
        _ => return None,
    };
    let signed = match joint {
        Joint::Tag => at + 1,
        _ => at + signs,
    };
    let at = spaces(bytes, signed, joint == Joint::Tag);
    let joint = if joint == Joint::Loose && at == signed { Joint::Tight } else { joint };
    take(text, at, told, joint)
}

fn spaces(bytes: &[u8], mut at: usize, lines: bool) -> usize {
    let most = at + 40;
    while at < most
        && bytes
            .get(at)
            .is_some_and(|byte| matches!(byte, b' ' | b'\t') || (lines && matches!(byte, b'\n' | b'\r')))
    {
        at += 1;
    }
    at
}

/// Takes the value at `at`, if it is one.
fn take(text: &str, mut at: usize, told: Telling, joint: Joint) -> Option<Found> {
    let bytes = text.as_bytes();
    let mut quote = None;
    loop {
        match bytes.get(at) {
            Some(b'\\') if matches!(bytes.get(at + 1), Some(b'"' | b'\'' | b'\\')) => at += 1,
            Some(found @ (b'"' | b'\'' | b'`')) => {
                quote = Some(*found);
                at += 1;
                break;
            }
            _ => break,
        }
    }
    let (certain, kind) = match told {
        Telling::Secret(kind) => (true, kind),
        Telling::Maybe(kind) => (false, kind),
        Telling::No => return None,
    };
    if kind == "authorization" || kind == "cookie" {
        return header(text, at, quote, kind);
    }
    let near = end_of(bytes, at, quote, joint, LONG);
    let end = near.unwrap_or_else(|| text.floor_char_boundary(at + LONG));
    let value = text[at..end].trim_end_matches('\\');
    let end = at + value.len();
    if value.is_empty() || is_placeholder(value) {
        return None;
    }
    let good = if certain {
        match (quote.is_some(), joint) {
            (true, Joint::Weak) => is_random(value, 8) && !value.contains(' '),
            (true, _) => {
                value.len() >= 4 && !is_plain_word(value) && !(is_code(value) && value.contains('('))
            }
            (false, Joint::Tight | Joint::Tag) => {
                value.len() >= 4
                    && !is_plain_word(value)
                    && !is_code(value)
                    && !value.starts_with(['[', '{', '('])
            }
            (false, Joint::Loose) => {
                let alone = at + value.len() == bytes.len()
                    || matches!(
                        bytes[end],
                        b'\n' | b'\r' | b',' | b'}' | b'\\' | b'<' | b'"' | b'\'' | b')' | b';'
                    );
                let odd = value.bytes().any(|byte| byte.is_ascii_digit())
                    && value.bytes().any(|byte| byte.is_ascii_alphabetic());
                value.len() >= 4
                    && !is_plain_word(value)
                    && !is_code(value)
                    && !value.starts_with(['[', '{', '('])
                    && (odd || (alone && kind == "password") || is_random(value, 12))
            }
            (false, Joint::Weak) => is_random(value, 12) && !is_code(value),
        }
    } else {
        joint != Joint::Weak && is_random(value, 16) && !value.contains(' ') && !is_code(value)
    };
    good.then(|| {
        let whole = || end_of(bytes, at, quote, joint, bytes.len()).unwrap_or(bytes.len());
        Found { start: at, end: if near.is_some() { end } else { whole() }, kind }
    })
}

/// Where the value at `at` ends; nothing if it goes on for more than `most` bytes.
fn end_of(bytes: &[u8], at: usize, quote: Option<u8>, joint: Joint, most: usize) -> Option<usize> {
    let rest = &bytes[at..bytes.len().min(at.saturating_add(most))];
    let length = match quote {
        Some(quote) => rest.iter().position(|byte| *byte == quote || matches!(byte, b'\n' | b'\r')),
        None if joint == Joint::Tag => rest.iter().position(|byte| matches!(byte, b'<' | b'\n' | b'\r')),
        None => rest.iter().position(|byte| {
            byte.is_ascii_whitespace()
                || matches!(
                    byte,
                    b'"' | b'\'' | b'`' | b'\\' | b',' | b';' | b'<' | b'>' | b'&' | b')' | b'}' | b']'
                )
        }),
    };
    let last = at + rest.len() == bytes.len();
    length.or(last.then_some(rest.len())).map(|length| at + length)
}

/// The value of a header: a scheme is kept, and what follows it is the secret.
fn header(text: &str, at: usize, quote: Option<u8>, kind: &'static str) -> Option<Found> {
    let bytes = text.as_bytes();
    let ends = |byte: &u8| matches!(byte, b'\n' | b'\r' | b'"' | b'\'' | b'`' | b'<') || Some(*byte) == quote;
    let rest = &bytes[at..];
    let near = rest.iter().take(LONG).position(ends).or((rest.len() <= LONG).then_some(rest.len()));
    let stop = near.unwrap_or_else(|| text.floor_char_boundary(at + LONG) - at);
    let value = text[at..at + stop].trim_end_matches('\\').trim_end();
    let scheme = value.split(' ').next().unwrap_or_default();
    let has_scheme = scheme.len() < value.len()
        && scheme.len() <= 24
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let start = if has_scheme { at + scheme.len() + 1 } else { at };
    let start = spaces(bytes, start, false).min(at + value.len());
    let mut secret = &text[start..at + value.len()];
    if kind == "authorization" && !secret.contains('=') {
        secret = secret.split([' ', ',']).next().unwrap_or_default();
    }
    let known_scheme =
        ["bearer", "basic", "token", "apikey", "digest"].iter().any(|name| name.eq_ignore_ascii_case(scheme));
    let odd = secret.bytes().any(|byte| byte.is_ascii_digit()) || is_random(secret, 8);
    let good = secret.len() >= 6
        && !is_placeholder(secret)
        && !is_plain_word(secret)
        && !is_code(secret)
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
