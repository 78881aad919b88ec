//! One pass over a text.
//!
//! Owns [`scan`]: every place of a text that a built-in rule calls secret. The idea: one sieve over the prefixes of
//! `rules.rs`, the marks of `marks.rs`, the words of telling names and everything known reads the text once; only where
//! it stops does anything else look. A text without any of them costs half a nanosecond a byte and nothing more.
//!
//! Must not: change the text.

use std::sync::LazyLock;

use super::context::{LONG, beside};
use super::examples::is_published;
use super::known::Known;
use super::looks::{is_placeholder, variety};
use super::marks::{MARKS, is_escape};
use super::names::VENDORS;
use super::rules::{SHAPES, Shape};
use super::shell::COMMANDS;
use super::sieve::Sieve;

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
    "pass",
    "pwd",
    "key",
    "auth",
    "cred",
    "cookie",
    "session",
    "connectionstring",
    "connection_string",
    "connection-string",
    "client_srt",
    "_pat",
    "psk",
    "mnemonic",
    "bundle_",
    "accessid",
    "access_id",
    "access-id",
    "access.id",
];

/// How many needles the built-in rules have; those of what is known come after them.
pub(super) const BUILT_IN: usize = COMMANDS_FROM + COMMANDS.len();
const COMMANDS_FROM: usize = SHAPES.len() + MARKS.len() + WORDS.len() + VENDORS.len();

/// Where the built-in rules begin.
pub(super) fn built_in() -> &'static Sieve {
    static BUILT: LazyLock<Sieve> = LazyLock::new(|| {
        let mut sieve = Sieve::new();
        for (number, shape) in SHAPES.iter().enumerate() {
            sieve.add(number, shape.prefix.as_bytes(), None, shape.alphabet.fits());
        }
        for (number, (mark, before, after, _)) in MARKS.iter().enumerate() {
            sieve.add(SHAPES.len() + number, mark.as_bytes(), *before, *after);
        }
        for (number, word) in WORDS.iter().chain(VENDORS).enumerate() {
            // Of the short ones, none is the beginning of a longer word that tells.
            let after = |byte: u8| !byte.is_ascii_alphabetic() || byte.eq_ignore_ascii_case(&b'v');
            sieve.add(SHAPES.len() + MARKS.len() + number, word.as_bytes(), None, after);
        }
        for (number, command) in COMMANDS.iter().enumerate() {
            sieve.add(COMMANDS_FROM + number, command.name.as_bytes(), None, |_| true);
        }
        sieve.close();
        sieve
    });
    &BUILT
}

/// Every secret that the built-in rules see and everything known, in no order, perhaps overlapping. Empty costs no
/// allocation.
pub(super) fn scan(text: &str, known: &Known) -> Vec<Found> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut name_end = 0;
    // A place that a rule has claimed is not read by the same rule again: the time has to grow with the text alone.
    let mut claimed = [0; MARKS.len()];
    let mut long_end = 0;
    let mut line_end = 0;
    let mut too_long = (usize::MAX, 0);
    known.sieve().unwrap_or_else(|| built_in()).each(bytes, |index, start| {
        if let Some(shape) = SHAPES.get(index) {
            // Where characters go on for too long was seen once, and is not counted again from each prefix among them.
            if index != too_long.0 || start + shape.prefix.len() + shape.most >= too_long.1 {
                match token(text, start, shape) {
                    Ok(secret) => found.extend(secret),
                    Err(end) => too_long = (index, end),
                }
            }
        } else if let Some((mark, .., rule)) = MARKS.get(index - SHAPES.len()) {
            let claimed = &mut claimed[index - SHAPES.len()];
            let end = start + mark.len();
            if start >= *claimed
                && bytes.get(start..end).is_some_and(|here| here.eq_ignore_ascii_case(mark.as_bytes()))
                && let Some(secret) = rule(text, start, end)
            {
                *claimed = secret.end;
                found.push(secret);
            }
        } else if let Some(word) = word(index - SHAPES.len() - MARKS.len()) {
            let end = start + word.len();
            if end > name_end
                && start >= long_end
                && bytes.get(start..end).is_some_and(|here| here.eq_ignore_ascii_case(word.as_bytes()))
            {
                let (secret, end) = beside(text, start, end);
                name_end = end;
                if let Some(secret) = secret {
                    if secret.end - secret.start > LONG {
                        long_end = secret.end;
                    }
                    found.push(secret);
                }
            }
        } else if let Some(command) = COMMANDS.get(index - COMMANDS_FROM) {
            let end = start + command.name.len();
            let here =
                bytes.get(start..end).is_some_and(|here| here.eq_ignore_ascii_case(command.name.as_bytes()));
            // One command is read at a time, and the next begins behind its secret.
            if here && start >= line_end && (start == 0 || !bytes[start - 1].is_ascii_alphanumeric()) {
                let secret = command.secret(text, end);
                line_end = secret.map_or(end + 256, |secret| secret.end);
                found.extend(secret);
            }
        } else {
            found.extend(known.at(index - BUILT_IN, text, start));
        }
    });
    found
}

fn word(index: usize) -> Option<&'static str> {
    WORDS.get(index).or_else(|| VENDORS.get(index - WORDS.len())).copied()
}

/// The token of this shape at `start`, if there is one; the error is where its characters end, too many for such a token.
fn token(text: &str, start: usize, shape: &Shape) -> Result<Option<Found>, usize> {
    let bytes = text.as_bytes();
    let body = start + shape.prefix.len();
    if bytes.get(start..body) != Some(shape.prefix.as_bytes()) {
        return Ok(None);
    }
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
    if start > 0 && inside(bytes[start - 1]) && !is_escape(bytes, start) {
        return Ok(None);
    }
    let mut length =
        bytes[body..].iter().take(shape.most + 1).take_while(|byte| shape.alphabet.has(**byte)).count();
    if length > shape.most {
        return Err(body + bytes[body..].iter().take_while(|byte| shape.alphabet.has(**byte)).count());
    }
    // A full stop or dash at the end is punctuation.
    while length > shape.least && matches!(bytes[body + length - 1], b'.' | b'-') {
        length -= 1;
    }
    let rest = &bytes[body..body + length];
    if length < shape.least || !is_drawn(rest, shape) {
        return Ok(None);
    }
    // The alphabet's run has ended; a letter or digit right after it makes it part of something longer, and stars what
    // somebody has hidden.
    let after = &bytes[body + length..];
    let hidden = |after: &[u8]| {
        after.len() >= 4
            && matches!(after[0], b'#' | b'*' | b'.')
            && after[..4].iter().all(|byte| *byte == after[0])
    };
    if after.first().is_some_and(u8::is_ascii_alphanumeric)
        || hidden(after)
        || hidden(after.get(1..).unwrap_or_default())
    {
        return Ok(None);
    }
    if matches!(shape.kind, "google" | "stripe") && is_published(&bytes[start..body + length]) {
        return Ok(None);
    }
    Ok(Some(Found { start, end: body + length, kind: shape.kind }))
}

/// Not written by hand as an example.
fn is_drawn(rest: &[u8], shape: &Shape) -> bool {
    if shape.kind == "age" || shape.kind == "bedrock" {
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
            // of a length that nothing else has: one key in thirty is drawn without a digit
            || shape.least == shape.most && variety(rest) >= 7
            || rest.len() >= 32 && variety(rest) >= 14)
        && !is_placeholder(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_secrets_holds_none() {
        let known = Known::default();
        assert!(scan("nothing to see here, at https://example.com/a?b=c", &known).is_empty());
    }

    #[test]
    fn a_key_that_was_drawn_without_a_digit_is_one_too() {
        let known = Known::default();
        for key in ["AKIAKTPADIKOQXFOQIEA", "ASIAQOHUVYEXVDSNQYQO"] {
            assert_eq!(scan(&format!("Port with {key} in it"), &known).len(), 1, "{key}");
        }
    }
}
