//! Secrets that a phrase gives away.
//!
//! Owns rules for marks that are words of a language, or of one format, more than a form of the secret itself: other
//! languages' words for a password, `IDENTIFIED BY`, pairs of user and password in code, signatures in addresses,
//! Kubernetes secrets. The idea: as in `marks.rs`, each reads on from the mark that was found.
//!
//! Must not: run unless its mark was found.

use super::context::{follows, spaces};
use super::looks::{is_code, is_odd, is_placeholder, is_plain_word, is_prose, is_random, is_reference};
use super::scan::Found;

#[expect(clippy::unnecessary_wraps, reason = "what every rule here ends with")]
const fn found(start: usize, end: usize, kind: &'static str) -> Option<Found> {
    Some(Found { start, end, kind })
}

fn run(bytes: &[u8], from: usize, most: usize, fits: impl Fn(u8) -> bool) -> usize {
    from + bytes[from..].iter().take(most).take_while(|byte| fits(**byte)).count()
}

/// What is said of a password in words: `contrase\u{f1}a: x`, `IDENTIFIED BY 'x'`.
pub(super) fn spoken(text: &str, at: usize, end: usize) -> Option<Found> {
    // The space at its end, if any, is between the name and the value.
    let to = at + text[at..end].trim_end().len();
    follows(text, at, to, "password")
}

/// `pw: x`, which may also be the end of another word.
pub(super) fn spoken_short(text: &str, at: usize, end: usize) -> Option<Found> {
    if at > 0 && (text.as_bytes()[at - 1].is_ascii_alphanumeric() || text.as_bytes()[at - 1] == b'$') {
        return None;
    }
    follows(text, at, end - 1, "password")
}

/// `the pass is x`
pub(super) fn spoken_after(text: &str, at: usize, _end: usize) -> Option<Found> {
    if at > 0 && text.as_bytes()[at - 1].is_ascii_alphanumeric() {
        return None;
    }
    follows(text, at, at + 4, "password")
}

/// `-passin pass:x`
pub(super) fn openssl(text: &str, at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let before = &text[text.floor_char_boundary(at.saturating_sub(12))..at];
    if !["-passin ", "-passout ", "-pass ", "-k "].iter().any(|flag| before.ends_with(flag)) {
        return None;
    }
    let stop =
        run(bytes, end, 256, |byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'|' | b';'));
    (stop > end + 2 && !is_placeholder(&text[end..stop])).then_some(())?;
    found(end, stop, "password")
}

/// `auth=("user", "password")`
pub(super) fn pair(text: &str, _at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let quoted = |at: usize| {
        let quote = bytes.get(at).filter(|byte| matches!(byte, b'"' | b'\''))?;
        let close = bytes[at + 1..].iter().take(256).position(|byte| byte == quote || *byte == b'\n')?;
        (bytes[at + 1 + close] == *quote).then_some((at + 1, at + 1 + close))
    };
    let (_, user_end) = quoted(spaces(bytes, end, false))?;
    let comma = spaces(bytes, user_end + 1, false);
    if bytes.get(comma) != Some(&b',') {
        return None;
    }
    let (start, stop) = quoted(spaces(bytes, comma + 1, false))?;
    let said = &text[start..stop];
    (said.len() >= 4 && !is_placeholder(said) && !is_plain_word(said) && !is_prose(said, "password"))
        .then_some(())?;
    found(start, stop, "password")
}

/// A line of `.pgpass`: `host:5432:database:user:password`.
pub(super) fn pgpass(text: &str, _at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let name = |from: usize| run(bytes, from, 64, |byte| byte.is_ascii_graphic() && byte != b':');
    let database = name(end);
    let user = (bytes.get(database) == Some(&b':')).then(|| name(database + 1))?;
    let start = (bytes.get(user) == Some(&b':')).then_some(user + 1)?;
    let stop = run(bytes, start, 256, |byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\''));
    let said = &text[start..stop];
    (said.len() >= 4 && database > end && !is_placeholder(said) && !said.contains(':')).then_some(())?;
    found(start, stop, "password")
}

/// `echo 'x' | sudo -S`
pub(super) fn piped(text: &str, at: usize, _end: usize) -> Option<Found> {
    let from = text.floor_char_boundary(at.saturating_sub(160));
    let line = text[from..at].rfind(['\n', ';', '&']).map_or(from, |offset| from + offset + 1);
    let echo = line + text[line..at].rfind("echo ")? + 5;
    let said = text[echo..at].trim_end();
    let said = said.strip_suffix('|')?.trim_end();
    let word = said.trim_start_matches(['-', 'e', 'n', ' ']).trim_matches(['"', '\'']);
    let start = echo + said.find(word)?;
    (word.len() >= 4 && !word.contains(' ') && !is_placeholder(word) && !word.starts_with('$'))
        .then_some(())?;
    found(start, start + word.len(), "password")
}

/// A signature that opens what an address names: `&sig=`, `X-Amz-Signature=`.
pub(super) fn signature(text: &str, _at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let stop = run(bytes, end, 1024, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'-' | b'_' | b'+' | b'/' | b'=' | b'.' | b'~')
    });
    is_random(&text[end..stop], 24).then_some(())?;
    found(end, stop, "signature")
}

/// The private part of a JSON Web Key.
pub(super) fn jwk(text: &str, at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let around =
        &text[text.floor_char_boundary(at.saturating_sub(1200))..text.floor_char_boundary(end + 1200)];
    if !around.contains("\"kty\"") {
        return None;
    }
    let start = spaces(bytes, end, false);
    let start = (bytes.get(start) == Some(&b'"')).then_some(start + 1)?;
    let stop = run(bytes, start, 2048, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    is_random(&text[start..stop], 32).then_some(())?;
    found(start, stop, "private-key")
}

/// An organisation's token: what it says of itself in base64, and 43 characters.
pub(super) fn sentry(text: &str, at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let is_base64 =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-');
    let stop = run(bytes, end, 600, is_base64);
    let body = &text[end..stop];
    let (said, signed) = body.rsplit_once('_')?;
    let drawn = signed.trim_end_matches('=');
    (said.starts_with("eyJpYXQiO") && said.len() >= 40 && drawn.len() == 43).then_some(())?;
    found(at, stop, "sentry")
}

/// Who knows the address of a webhook may post there.
pub(super) fn teams(text: &str, _at: usize, end: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let stop = run(bytes, end, 300, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'-' | b'/' | b'_' | b'.')
    });
    (stop - end >= 40 && is_odd(&text[end..stop], 40)).then_some(())?;
    found(end, stop, "teams")
}

/// The values of `data` and `stringData` in a Kubernetes secret, before or behind its kind.
pub(super) fn kubernetes(text: &str, at: usize, end: usize) -> Option<Found> {
    const NEAR: usize = 2048;
    let from = text.floor_char_boundary(at.saturating_sub(NEAR));
    let from = text[from..at].rfind("\n---").map_or(from, |offset| from + offset);
    let to = text.floor_char_boundary(end + NEAR);
    let to = text[end..to].find("\n---").map_or(to, |offset| end + offset);
    // The one that is nearer: behind, or before.
    let block = |from: usize, to: usize| {
        ["data:", "stringData:", "\"data\":", "\"stringData\":"]
            .iter()
            .filter_map(|word| text[from..to].find(word).map(|offset| from + offset + word.len()))
            .min()
    };
    let begin = block(end, to).or_else(|| block(from, at))?;
    let bytes = text.as_bytes();
    let (mut first, mut last) = (None, begin);
    let mut line = begin;
    let indented = text[begin..to].starts_with(['\n', '\r']);
    while line < to {
        let stop = text[line..to].find(['\n', ',', '}']).map_or(to, |offset| line + offset);
        if let Some((name, value)) = text[line..stop].split_once(':') {
            if indented && !name.starts_with([' ', '\n', '\t']) {
                break;
            }
            let said = value.trim().trim_matches(['"', '\'']);
            if said.len() >= 4
                && !is_placeholder(said)
                && !is_reference(said)
                && !is_code(said)
                && !said.starts_with('|')
            {
                let start = line + name.len() + 1 + value.find(said)?;
                first.get_or_insert(start);
                last = start + said.len();
            }
        } else if indented && stop > line && !matches!(bytes[line], b' ' | b'\n' | b'\t') {
            break;
        }
        if bytes.get(stop) == Some(&b'}') {
            break;
        }
        line = stop + 1;
    }
    found(first?, last, "kubernetes-secret")
}

/// A private key as `PuTTY` keeps it.
pub(super) fn putty(text: &str, _at: usize, end: usize) -> Option<Found> {
    let near = text.floor_char_boundary(end + 8192);
    let lines = end + text[end..near].find("Private-Lines:")? + 14;
    let start = lines + text[lines..near].find('\n')? + 1;
    let stop = text[start..near].find("Private-MAC:").map_or(near, |offset| start + offset);
    let stop = start + text[start..stop].trim_end().len();
    (stop > start + 40).then_some(())?;
    found(start, stop, "private-key")
}
