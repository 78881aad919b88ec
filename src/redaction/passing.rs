//! Credentials that pass through.
//!
//! Owns [`Passing`]: pieces of the tokens that callers show, for as long as those are in use. The idea: there are many
//! of them, and they are long and random, so what is kept is a hash of every piece of sixteen letters, in the spellings
//! a program would send it on in; a text is searched in one pass, whatever is kept. The tokens themselves are not kept.
//!
//! Must not: know whose a token is.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::known::aligned;
use super::scan::Found;

/// Letters of a piece.
const WIDTH: usize = 16;
/// Pieces of a spelling other than the plain one.
const FEW: usize = 4;
/// Bits of the filter that is asked first.
const FILTER: usize = 1 << 20;

/// Pieces of tokens.
pub(super) struct Passing {
    /// By rolling hash: the digest, and how many tokens have it.
    pieces: HashMap<u64, ([u8; 16], usize)>,
    filter: Vec<u64>,
    /// The base of the rolling hash: nobody outside can make texts that collide.
    base: u64,
    /// Its power that leaves the window.
    leaving: u64,
    released: usize,
}

impl Default for Passing {
    fn default() -> Self {
        let base = rand::random::<u64>() | 1;
        let leaving = (1..WIDTH).fold(1_u64, |power, _| power.wrapping_mul(base));
        Self { pieces: HashMap::new(), filter: Vec::new(), base, leaving, released: 0 }
    }
}

impl Passing {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    fn hash(&self, piece: &[u8]) -> u64 {
        piece.iter().fold(0, |hash, byte| hash.wrapping_mul(self.base).wrapping_add(u64::from(*byte) + 1))
    }

    fn mark(&mut self, hash: u64) {
        if self.filter.is_empty() {
            self.filter = vec![0; FILTER / 64];
        }
        let bit = place(hash);
        self.filter[bit / 64] |= 1 << (bit % 64);
    }

    /// Takes a token in. What of it is public (header and claims of a signed one) is left out: other tokens begin alike.
    pub(super) fn add(&mut self, token: &str) {
        for piece in pieces(token) {
            let hash = self.hash(&piece);
            self.pieces.entry(hash).or_insert((digest(&piece), 0)).1 += 1;
            self.mark(hash);
        }
    }

    /// Lets it go.
    pub(super) fn remove(&mut self, token: &str) {
        for piece in pieces(token) {
            let hash = self.hash(&piece);
            if let Some((_, count)) = self.pieces.get_mut(&hash) {
                *count -= 1;
                if *count == 0 {
                    self.pieces.remove(&hash);
                }
            }
        }
        self.released += 1;
        if self.pieces.is_empty() || self.released >= 256 {
            self.released = 0;
            self.filter.clear();
            let kept: Vec<u64> = self.pieces.keys().copied().collect();
            for hash in kept {
                self.mark(hash);
            }
        }
    }

    /// Whether a text holds a piece of a token.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.runs(text).next().is_some()
    }

    /// Where they are: each whole word that holds a piece.
    pub(super) fn scan(&self, text: &str, found: &mut Vec<Found>) {
        found.extend(self.runs(text).map(|(start, end)| Found { start, end, kind: "token" }));
    }

    /// Words that hold a piece. Most words are shorter than one, and are skipped from their end.
    fn runs<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
        let bytes = text.as_bytes();
        let mut start = if self.filter.is_empty() { bytes.len() } else { 0 };
        std::iter::from_fn(move || {
            while let Some(window) = bytes.get(start..start + WIDTH) {
                if let Some(gap) = window.iter().rposition(|byte| !is_of_token(*byte)) {
                    start += gap + 1;
                    continue;
                }
                let rest = bytes[start + WIDTH..].iter().position(|byte| !is_of_token(*byte));
                let end = rest.map_or(bytes.len(), |rest| start + WIDTH + rest);
                let run = (start, end);
                start = end;
                if self.holds(&bytes[run.0..run.1]) {
                    return Some(run);
                }
            }
            None
        })
    }

    /// Whether a word holds a piece.
    fn holds(&self, word: &[u8]) -> bool {
        let mut hash = self.hash(&word[..WIDTH]);
        let mut end = WIDTH;
        loop {
            let bit = place(hash);
            if self.filter[bit / 64] >> (bit % 64) & 1 == 1
                && self.pieces.get(&hash).is_some_and(|(known, _)| *known == digest(&word[end - WIDTH..end]))
            {
                return true;
            }
            let Some(next) = word.get(end) else { return false };
            let gone = (u64::from(word[end - WIDTH]) + 1).wrapping_mul(self.leaving);
            hash = hash.wrapping_sub(gone).wrapping_mul(self.base).wrapping_add(u64::from(*next) + 1);
            end += 1;
        }
    }
}

/// What tokens are made of, in every spelling.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=' | b'%')
}

/// Where in the filter a hash is.
#[allow(clippy::cast_possible_truncation, reason = "twenty bits are left")]
fn place(hash: u64) -> usize {
    (hash >> 44) as usize
}

fn digest(piece: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(piece)[..16]);
    short
}

/// The pieces of a token, in every spelling. A fragment of 31 letters holds one.
fn pieces(token: &str) -> Vec<Vec<u8>> {
    let secret = match token.rsplit_once('.') {
        Some((_, signature)) if signature.len() >= WIDTH => signature,
        _ => token,
    };
    let bytes = secret.as_bytes();
    let mut all = Vec::new();
    let mut cut = |spelling: &[u8], most: usize| {
        all.extend(spelling.chunks_exact(WIDTH).take(most).map(<[u8]>::to_vec));
        if spelling.len() >= WIDTH {
            all.push(spelling[spelling.len() - WIDTH..].to_vec());
        }
    };
    cut(bytes, usize::MAX);
    cut(&bytes.iter().rev().copied().collect::<Vec<u8>>(), FEW);
    let hex = |upper: bool, before: &str| -> String {
        bytes
            .iter()
            .map(|byte| if upper { format!("{before}{byte:02X}") } else { format!("{before}{byte:02x}") })
            .collect()
    };
    for before in ["", "%"] {
        cut(hex(true, before).as_bytes(), FEW);
        cut(hex(false, before).as_bytes(), FEW);
    }
    for encoded in aligned(bytes) {
        cut(encoded.as_bytes(), FEW);
    }
    all
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.\
                         4vQ7yW2mKc9Zt1XbR8uLd5Hs0PjNfAoGiE3kVxYwTqMzBnCrDpFlJhSgUaIeOy6-_vQ7yW2mKc9Zt1XbR8uLdw";
    const OTHER: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.\
                         zzQ7yW2mKc9Zt2XbR8uLd5Hs0PjNfBoGiE3kVxYwTqMzCnCrDpFlJhSgUbIeOy6-_vQ7yW2mKc9Zt3XbR8uLdw";

    #[test]
    fn a_token_is_found_in_every_spelling_and_in_parts() {
        let mut passing = Passing::default();
        passing.add(TOKEN);
        let signature = TOKEN.rsplit_once('.').unwrap().1;
        let digits =
            |byte: u8| [byte >> 4, byte & 15].map(|four| char::from(b"0123456789abcdef"[usize::from(four)]));
        let hex: String = TOKEN.bytes().flat_map(digits).collect();
        let percent =
            |byte: u8| [vec!['%'], digits(byte).map(|digit| digit.to_ascii_uppercase()).to_vec()].concat();
        let percent: String = TOKEN.bytes().flat_map(percent).collect();
        for text in [
            TOKEN.to_owned(),
            format!("see {TOKEN}."),
            signature[7..50].to_owned(),
            signature[signature.len() - 31..].to_owned(),
            TOKEN.chars().rev().collect(),
            hex.to_uppercase(),
            hex,
            percent,
            STANDARD.encode(TOKEN),
            STANDARD.encode(format!("x{TOKEN}yy")),
            URL_SAFE_NO_PAD.encode(format!("xx{TOKEN}")),
        ] {
            assert!(passing.is_in(&text), "{text}");
        }
        let mut found = Vec::new();
        let text = format!("a {} word, then x={signature}; \u{e9}nd {TOKEN}", "b".repeat(40));
        passing.scan(&text, &mut found);
        let words: Vec<&str> = found.iter().map(|found| &text[found.start..found.end]).collect();
        assert_eq!(words, [format!("x={signature}").as_str(), TOKEN]);
        for text in ["", "short", OTHER, &TOKEN[..40], &"a".repeat(10_000)] {
            assert!(!passing.is_in(text), "{text}");
        }
    }

    #[test]
    fn what_was_let_go_is_forgotten_and_what_two_hold_is_not() {
        let mut passing = Passing::default();
        passing.add(TOKEN);
        passing.add(TOKEN);
        passing.add(OTHER);
        passing.remove(TOKEN);
        assert!(passing.is_in(TOKEN) && passing.is_in(OTHER));
        passing.remove(TOKEN);
        assert!(!passing.is_in(TOKEN) && passing.is_in(OTHER));
        passing.remove(OTHER);
        assert!(passing.is_empty() && !passing.is_in(OTHER));
    }
}
