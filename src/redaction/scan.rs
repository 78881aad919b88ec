//! One pass over a text.
//!
//! Owns [`scan`]: every place of a text that a built-in rule calls secret. The idea: one automaton over the prefixes of
//! `rules.rs`, the marks of `marks.rs` and the words of telling names reads the text once; only where it stops does
//! anything else look. A text without any of them costs about a nanosecond a byte and nothing more.
//!
//! Must not: change the text.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::context::{LONG, beside};
use super::looks::{is_placeholder, variety};
use super::marks::{MARKS, is_escape};
use super::rules::{SHAPES, Shape};

/// A secret's place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: &'static str,
}

/// Words in telling names (see `names.rs`).
const WORDS: &[&str] = &[
    "token",
    "secret",
    "passw",
    "passphrase",
    "passcode",
    "pwd",
    "pass",
    "key",
    "authoriz",
    "auth",
    "credential",
    "creds",
    "cookie",
    "session",
    "connectionstring",
    "connection_string",
    "connection-string",
    "client_srt",
    "_pat",
];

/// None where the automaton could not be built, which a test rules out; then everything is taken for secret.
static AUTOMATON: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let needles = SHAPES
        .iter()
        .map(|shape| shape.prefix)
        .chain(MARKS.iter().map(|(mark, _)| *mark))
        .chain(WORDS.iter().copied());
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::DFA))
        .build(needles)
        .ok()
});

/// Every secret that the built-in rules see, in no order, perhaps overlapping. Empty costs no allocation.
pub(super) fn scan(text: &str) -> Vec<Found> {
    let Some(automaton) = AUTOMATON.as_ref() else {
        return vec![Found { start: 0, end: text.len(), kind: "unchecked" }];
    };
    let mut found = Vec::new();
    let mut name_end = 0;
    // A place that a rule has claimed is not read by the same rule again: the time has to grow with the text alone.
    let mut claimed = [0; MARKS.len()];
    let mut long_end = 0;
    for hit in automaton.find_overlapping_iter(text.as_bytes()) {
        let index = hit.pattern().as_usize();
        if let Some(shape) = SHAPES.get(index) {
            found.extend(token(text, hit.start(), shape));
        } else if let Some((_, rule)) = MARKS.get(index - SHAPES.len()) {
            let claimed = &mut claimed[index - SHAPES.len()];
            if hit.start() >= *claimed
                && let Some(secret) = rule(text, hit.start(), hit.end())
            {
                *claimed = secret.end;
                found.push(secret);
            }
        } else if hit.end() > name_end && hit.start() >= long_end {
            let (secret, end) = beside(text, hit.start(), hit.end());
            name_end = end;
            if let Some(secret) = secret {
                if secret.end - secret.start > LONG {
                    long_end = secret.end;
                }
                found.push(secret);
            }
        }
    }
    found
}

/// The token of this shape at `start`, if there is one.
fn token(text: &str, start: usize, shape: &Shape) -> Option<Found> {
    let bytes = text.as_bytes();
    let body = start + shape.prefix.len();
    if &bytes[start..body] != shape.prefix.as_bytes() {
        return None;
    }
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
    if start > 0 && inside(bytes[start - 1]) && !is_escape(bytes, start) {
        return None;
    }
    let mut length =
        bytes[body..].iter().take(shape.most + 1).take_while(|byte| shape.alphabet.has(**byte)).count();
    if length > shape.most {
        return None;
    }
    // A full stop or dash at the end is punctuation.
    while length > shape.least && matches!(bytes[body + length - 1], b'.' | b'-') {
        length -= 1;
    }
    let rest = &bytes[body..body + length];
    if length < shape.least || !is_drawn(rest, shape) {
        return None;
    }
    // The alphabet's run has ended; a letter or digit right after it makes it part of something longer.
    if bytes.get(body + length).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    Some(Found { start, end: body + length, kind: shape.kind })
}

/// Not written by hand as an example.
fn is_drawn(rest: &[u8], shape: &Shape) -> bool {
    if shape.kind == "age" {
        return true;
    }
    let digits = rest.iter().filter(|byte| byte.is_ascii_digit()).count();
    let wanted = if rest.len() >= 20 { 5 } else { 4 };
    let parts = rest.split(|byte| *byte == b'-').count();
    let hyphenated = (parts - 1) * 6 > rest.len();
    let is_words = hyphenated && shape.least < 30 && digits * 4 < rest.len();
    let text = std::str::from_utf8(rest).unwrap_or_default();
    variety(rest) >= wanted
        && !is_words
        && (shape.kind != "slack" || digits >= 4)
        && (digits >= 2
            || rest.len() >= 100
            || (digits == 1 && rest.len() < 20)
            || rest.len() >= 32 && variety(rest) >= 14)
        && !is_placeholder(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_automaton_can_be_built() {
        assert!(AUTOMATON.is_some());
        assert!(scan("nothing to see here, at https://example.com/a?b=c").is_empty());
    }
}
