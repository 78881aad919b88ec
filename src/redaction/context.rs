//! Secrets that only the name beside them gives away.
//!
//! Owns [`beside`]. The idea: around a telling word the whole name is read, then what stands between a name and its
//! value in configuration, code, JSON, XML, shell, headers, addresses and talk; `value.rs` says whether the value fits.
//!
//! Must not: match a value without a name.

use super::names::{Telling, told_by};
use super::scan::Found;
use super::value::{Joint, Name, take};

/// A value is judged by so many of its bytes; one that goes on is taken whole, but not looked at whole, so that a text
/// full of names costs what its length says.
pub(super) const LONG: usize = 256;

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
    // `\nPASSWORD` in a JSON text, `%3Ftoken` in an address: the first letters belong to the escape.
    if from > 0 && from < at && bytes[from - 1] == b'\\' && matches!(bytes[from], b'n' | b't' | b'r') {
        from += 1;
    } else if from > 0
        && from + 2 <= at
        && bytes[from - 1] == b'%'
        && bytes[from..from + 2].iter().all(u8::is_ascii_hexdigit)
    {
        from += 2;
    }
    let name = text[from..to].trim_end_matches(['.', '-']);
    // The kind in one of our own markers is no name.
    // Nor is that of a name space in XML, `xmlns:auth`.
    if text[..from].ends_with(super::MARKER) || text[..from].ends_with("xmlns:") {
        return (None, to);
    }
    let told = told_by(name, || before(text, from));
    if told == Telling::No {
        return (None, to);
    }
    let flag = from > 0 && bytes[from - 1] == b'-' || name.starts_with('-');
    (value_after(text, from, to, Name { text: name, told }, flag), to)
}

/// A secret that another rule has named, and whose value comes next.
pub(super) fn follows(text: &str, from: usize, to: usize, kind: &'static str) -> Option<Found> {
    value_after(text, from, to, Name { text: "", told: Telling::Secret(kind) }, false)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// The word before a name of one word: `API key`.
fn before(text: &str, from: usize) -> &str {
    let bytes = text.as_bytes();
    if from < 2 || bytes[from - 1] != b' ' {
        return "";
    }
    let letters =
        bytes[..from - 1].iter().rev().take(17).take_while(|byte| byte.is_ascii_alphabetic()).count();
    if letters > 16 { "" } else { &text[from - 1 - letters..from - 1] }
}

fn value_after(text: &str, from: usize, name_end: usize, name: Name<'_>, flag: bool) -> Option<Found> {
    let bytes = text.as_bytes();
    let in_tag = from > 0 && (bytes[from - 1] == b'<' || bytes[from - 1] == b':' && opens_tag(bytes, from));
    let mut at = name_end;
    let mut closed = false;
    while let Some(b'"' | b'\'' | b'`' | b']' | b'\\') = bytes.get(at) {
        closed |= bytes[at] != b'\\';
        at += 1;
        if at - name_end > 6 {
            return None;
        }
    }
    if bytes.get(at) == Some(&b')') && closed {
        at += 1;
    }
    let name_closed = at;
    // `setPassword("x")`, `PASSWORD('x')`
    if !closed && bytes.get(at) == Some(&b'(') && matches!(bytes.get(at + 1), Some(b'"' | b'\'')) {
        let sets = ["set", "with", "PASSWORD", "Password"].iter().any(|verb| name.text.contains(verb));
        return sets.then(|| take(text, at + 1, name, Joint::Weak)).flatten();
    }
    if in_tag && let Some(value) = after_tag(text, at) {
        return take(text, value, name, Joint::Tag);
    }
    // `<entry key="token">x</entry>`
    if closed && bytes.get(at) == Some(&b'>') && bytes[..from].iter().rev().take(40).any(|byte| *byte == b'<')
    {
        return take(text, spaces(bytes, at + 1, true), name, Joint::Tag);
    }
    if let Some(value) = after_pair(text, name.text, at, closed) {
        return take(text, value, name, Joint::Tight);
    }
    at = spaces(bytes, at, false);
    // `Unseal Key 1: x`
    if at > name_closed && bytes.get(at).is_some_and(u8::is_ascii_digit) && !closed {
        let digits = bytes[at..].iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
        if digits < 3 && bytes.get(at + digits) == Some(&b':') {
            at += digits;
        }
    }
    match spoken(text, at, name_closed, flag) {
        Spoken::Value(value, joint) => return take(text, value, name, joint),
        Spoken::Nowhere => return None,
        Spoken::Nothing => {}
    }
    let (signs, joint) = sign(bytes, at, name_closed, closed, flag, from)?;
    let joint_end = at + signs;
    let at = spaces(bytes, joint_end, joint == Joint::Tag);
    let joint = if joint == Joint::Loose && at == joint_end { Joint::Tight } else { joint };
    if joint == Joint::Bare && from > 0 && bytes[from - 1] == b'$' {
        // A variable, and the next word.
        return None;
    }
    if joint != Joint::Bare
        && let Some(value) = after_type(bytes, at)
    {
        return take(text, value, name, Joint::Tight);
    }
    take(text, at, name, joint)
}

/// `api_key: str = "x"`, `token: &'static str = "x"`: where the value behind a type begins.
fn after_type(bytes: &[u8], at: usize) -> Option<usize> {
    let is_type = |byte: &u8| {
        byte.is_ascii_alphabetic()
            || matches!(byte, b'&' | b'\'' | b'<' | b'>' | b'[' | b']' | b'?' | b'|' | b' ')
    };
    if !bytes.get(at).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'&') {
        return None;
    }
    let sign = at + bytes[at..].iter().take(32).take_while(|byte| is_type(byte)).count();
    if bytes.get(sign) != Some(&b'=')
        || bytes.get(sign - 1) != Some(&b' ')
        || bytes.get(sign + 1) == Some(&b'=')
    {
        return None;
    }
    let value = spaces(bytes, sign + 1, false);
    matches!(bytes.get(value), Some(b'"' | b'\'' | b'`')).then_some(value)
}

/// The sign between a name and its value: how long it is, and what it tells.
fn sign(
    bytes: &[u8],
    at: usize,
    name_closed: usize,
    closed: bool,
    flag: bool,
    from: usize,
) -> Option<(usize, Joint)> {
    if let Some(escape) = bytes.get(at..at + 3).filter(|escape| escape[0] == b'%') {
        return match &escape[1..] {
            b"3D" | b"3d" => Some((3, Joint::Tight)),
            b"3A" | b"3a" => Some((3, Joint::Loose)),
            b"22" if bytes.get(at + 3..at + 9).is_some_and(|more| more.eq_ignore_ascii_case(b"%3a%22")) => {
                Some((9, Joint::Tight))
            }
            _ => None,
        };
    }
    let signs = bytes[at..]
        .iter()
        .take(5)
        .take_while(|byte| {
            matches!(byte, b'=' | b':' | b'.' | b'?' | b'|' | b'+' | b'>' | b'~' | b'!' | b'-')
        })
        .count();
    let sign = &bytes[at..at + signs];
    let joint = match sign {
        [] if closed && bytes.get(at) == Some(&b',') => return Some((1, Joint::Weak)),
        [] if flag && at > name_closed => Joint::Weak,
        [] if at > name_closed || closed => Joint::Bare,
        b"->" | b"|" if at > name_closed => Joint::Bare,
        b"||" | b"??" | b"==" | b"===" | b"!=" | b"!==" => Joint::Weak,
        [b'>', ..] if from > 0 && bytes[from - 1] == b'<' => return Some((1, Joint::Tag)),
        [first, ..]
            if matches!(first, b'>' | b'!' | b'-') || sign == b"." || sign == b"?" || sign == b"::" =>
        {
            return None;
        }
        _ if sign.contains(&b'=') => Joint::Tight,
        _ if sign == b":" => Joint::Loose,
        _ => return None,
    };
    Some((signs, joint))
}

/// `<x:password`: whether a tag's name begins before the colon.
fn opens_tag(bytes: &[u8], from: usize) -> bool {
    let prefix =
        bytes[..from - 1].iter().rev().take(16).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    from > prefix + 1 && bytes[from - 2 - prefix] == b'<'
}

/// Where the text of a tag begins, whose name has ended at `at`.
fn after_tag(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let rest = &bytes[at..bytes.len().min(at + 160)];
    if !matches!(rest.first(), Some(b'>' | b' ')) {
        return None;
    }
    let close = rest.iter().position(|byte| matches!(byte, b'>' | b'<' | b'\n'))?;
    if rest[close] != b'>' || close > 0 && rest[close - 1] == b'/' {
        return None;
    }
    // `<add key="x" value="y">` and `<password value="y">` have their say elsewhere.
    if rest[..close].windows(6).any(|word| word.eq_ignore_ascii_case(b"value=")) {
        return None;
    }
    let after = spaces(bytes, at + close + 1, true);
    // `<![CDATA[x]]>`
    let after = if bytes[after..].starts_with(b"<![CDATA[") { after + 9 } else { after };
    let end = bytes[after..].iter().take(LONG).position(|byte| *byte == b'<');
    match end {
        Some(end) if bytes.get(after + end + 1) != Some(&b'/') => None,
        None if bytes.len() - after < LONG => None,
        _ => Some(after),
    }
}

/// Where the value of a pair begins that names both: `"name": "API_KEY", "value": "x"`, `key="ApiKey" value="x"`,
/// `<key>apiKey</key><string>x`, `variable "password" { default = "x"`.
fn after_pair(text: &str, name: &str, at: usize, closed: bool) -> Option<usize> {
    const WORDS: &[&str] =
        &["value", "secret_value", "default", "content", "string_value", "stringvalue", "plaintext", "val"];
    let bytes = text.as_bytes();
    let of_a_form = ["csrf", "xsrf", "authenticity"];
    if of_a_form.iter().any(|word| {
        name.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    }) {
        return None;
    }
    if bytes[at..].starts_with(b"</key>") {
        let next = spaces(bytes, at + 6, true);
        return bytes[next..].starts_with(b"<string>").then_some(next + 8);
    }
    if !closed && !matches!(bytes.get(at), Some(b'\n' | b'\r')) {
        return None;
    }
    let mut next = at;
    let most = at + 60;
    while next < most
        && bytes
            .get(next)
            .is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b'{' | b'\\'))
    {
        // The two letters of an escaped new line.
        next += if bytes[next] == b'\\' && matches!(bytes.get(next + 1), Some(b'n' | b't' | b'r')) {
            2
        } else {
            1
        };
    }
    if next == at {
        return None;
    }
    let escaped = bytes[next..].iter().take(2).take_while(|byte| matches!(byte, b'"' | b'\'')).count();
    next += escaped;
    let letters =
        bytes[next..].iter().take(14).take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'_').count();
    if !WORDS.iter().any(|word| word.eq_ignore_ascii_case(&text[next..next + letters])) {
        return None;
    }
    next += letters;
    while matches!(bytes.get(next), Some(b'"' | b'\'' | b'\\')) {
        next += 1;
    }
    next = spaces(bytes, next, false);
    matches!(bytes.get(next), Some(b'=' | b':')).then(|| spaces(bytes, next + 1, false))
}

/// What words behind a name lead to.
enum Spoken {
    /// There are none.
    Nothing,
    /// To no value.
    Nowhere,
    /// A value there.
    Value(usize, Joint),
}

/// Words between a name and its value: `token string = "x"`, `password is x`, `API key provided: x`.
fn spoken(text: &str, at: usize, name_closed: usize, flag: bool) -> Spoken {
    let bytes = text.as_bytes();
    let quoted = matches!(bytes[name_closed - 1], b'"' | b'\'' | b'`');
    if at == name_closed || flag || quoted || !bytes.get(at).is_some_and(u8::is_ascii_alphabetic) {
        return Spoken::Nothing;
    }
    let length = bytes[at..].iter().take(14).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let after = spaces(bytes, at + length, false);
    let colon = after + usize::from(matches!(bytes.get(after), Some(b':' | b'=')));
    match &text[at..at + length] {
        "string" | "str" | "String" | "Text" => {
            if bytes.get(after) == Some(&b'=') && bytes.get(after + 1) != Some(&b'=') {
                Spoken::Value(spaces(bytes, after + 1, false), Joint::Tight)
            } else {
                Spoken::Nowhere
            }
        }
        "is" | "was" | "es" | "ist" | "lautet" | "est" | "becomes" | "to" | "now"
            if after > at + length || colon > after =>
        {
            // `is now x`, `is: x`
            let mut value = spaces(bytes, colon, false);
            for filler in ["now ", "set to ", "still ", "just ", "called ", "currently "] {
                if bytes[value..].starts_with(filler.as_bytes()) {
                    value += filler.len();
                }
            }
            Spoken::Value(value, Joint::Bare)
        }
        "provided" | "used" | "given" | "value" | "supplied" | "received" | "sent" | "below" | "here"
            if colon > after =>
        {
            Spoken::Value(spaces(bytes, colon, false), Joint::Bare)
        }
        _ => Spoken::Nothing,
    }
}

pub(super) fn spaces(bytes: &[u8], mut at: usize, lines: bool) -> usize {
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
