//! What makes a line follow another.
//!
//! Owns the form of a line: `{"seq":N,...,"prev":"HEX","hash":"HEX"}`. The idea: `hash` is the SHA-256 of every byte of
//! the line before `,"hash"`, and `prev` is the hash of the line before; so a line cannot be edited, dropped, moved or
//! copied without breaking what follows. The form is strict, so that two readers cannot see two lines in one.
//!
//! Must not: read or write files.

use sha2::{Digest as _, Sha256};

/// A SHA-256 as 64 hexadecimal digits.
pub(super) type Hash = [u8; 64];

/// What the first line of a file follows.
pub(super) const GENESIS: Hash = [b'0'; 64];

const PREV: &[u8] = b",\"prev\":\"";
const HASH: &[u8] = b"\",\"hash\":\"";
const END: &[u8] = b"\"}";
/// `,"prev":"` + 64 + `","hash":"` + 64 + `"}`
const TAIL: usize = PREV.len() + 64 + HASH.len() + 64 + END.len();

/// Where a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The number of the last line; 0 before the first.
    pub(super) seq: u64,
    /// Its hash.
    pub(super) hash: Hash,
}

impl Head {
    pub(super) const START: Self = Self { seq: 0, hash: GENESIS };

    /// Appends a line whose members are `members` (JSON, without braces, not empty) and moves on to it.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, members: &str) {
        let start = out.len();
        self.seq += 1;
        out.extend_from_slice(b"{\"seq\":");
        out.extend_from_slice(self.seq.to_string().as_bytes());
        out.push(b',');
        out.extend_from_slice(members.as_bytes());
        out.extend_from_slice(PREV);
        out.extend_from_slice(&self.hash);
        self.hash = hex(&Sha256::digest(&out[start..]).into());
        out.extend_from_slice(HASH);
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(END);
        out.push(b'\n');
    }
}

/// The chained parts of a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) prev: Hash,
    /// The hash the line claims.
    pub(super) hash: Hash,
}

impl Link {
    /// Reads a line (without its new line); none if it has not the form of one.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"{\"seq\":")?;
        let digits = rest.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
        let seq: u64 = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        if rest.get(digits) != Some(&b',') || rest.len() < digits + TAIL || rest[0] == b'0' {
            return None;
        }
        let tail = &line[line.len() - TAIL..];
        let tail = tail.strip_prefix(PREV)?;
        let (prev, tail) = tail.split_first_chunk::<64>()?;
        let tail = tail.strip_prefix(HASH)?;
        let (hash, tail) = tail.split_first_chunk::<64>()?;
        let is_hex = |hash: &Hash| hash.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (tail == END && is_hex(prev) && is_hex(hash)).then_some(Self { seq, prev: *prev, hash: *hash })
    }

    /// The hash the line has.
    pub(super) fn true_hash(line: &[u8]) -> Hash {
        hash_of(&line[..line.len() - HASH.len() - 64 - END.len()])
    }
}

/// SHA-256 of bytes.
pub(super) fn hash_of(bytes: &[u8]) -> Hash {
    hex(&Sha256::digest(bytes).into())
}

/// The hash as text.
pub(super) fn text(hash: &Hash) -> &str {
    std::str::from_utf8(hash).unwrap_or_default()
}

pub(super) fn hex(bytes: &[u8; 32]) -> Hash {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 64];
    for (index, byte) in bytes.iter().enumerate() {
        out[2 * index] = DIGITS[usize::from(byte >> 4)];
        out[2 * index + 1] = DIGITS[usize::from(byte & 15)];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_link_and_any_changed_byte_shows() {
        let (mut head, mut out) = (Head::START, Vec::new());
        head.append(&mut out, "\"kind\":\"a\"");
        head.append(&mut out, "\"kind\":\"b\"");
        let lines: Vec<&[u8]> = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let (first, second) = (Link::of(lines[0]).unwrap(), Link::of(lines[1]).unwrap());
        assert_eq!((first.seq, first.prev), (1, GENESIS));
        assert_eq!((second.seq, second.prev, second.hash), (2, first.hash, head.hash));
        assert!(serde_json::from_slice::<crate::json::Value>(lines[1]).is_ok());
        for at in 0..lines[1].len() {
            let mut changed = lines[1].to_vec();
            changed[at] ^= 1;
            let same = Link::of(&changed).is_some_and(|link| {
                link.hash == Link::true_hash(&changed) && link.prev == first.hash && link.seq == 2
            });
            assert!(!same, "byte {at}");
        }
    }
}
