//! What names a person.
//!
//! Owns [`Pii`] and its search. The idea: none of it is a secret, so nobody looks for it unless told to; and each kind
//! has a check of its own (Luhn, the IBAN's remainder, the length of a number, what an address may hold), so that a
//! time stamp is no card and a version no address.
//!
//! Must not: be named by a fingerprint; whoever knows all telephone numbers could try them.

use serde::{Deserialize, Serialize};

use super::scan::Found;

/// A kind of data about people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pii {
    /// `ada@example.com`
    Email,
    /// `+44 20 7946 0958`, `(555) 234-5678`
    Phone,
    /// An account number with a right remainder.
    Iban,
    /// A payment card's number with a right check digit.
    Card,
    /// An IPv4 or IPv6 address, but not a loopback or empty one.
    Ip,
}

impl Pii {
    const ALL: [Self; 5] = [Self::Email, Self::Phone, Self::Iban, Self::Card, Self::Ip];

    /// The kind of this name, as configurations write it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::Ip => "ip",
        }
    }
}

/// Whether a marker of this kind hides data about a person.
pub(super) fn is_kind(kind: &str) -> bool {
    Pii::named(kind).is_some()
}

/// Adds the places of these kinds.
pub(super) fn scan(text: &str, kinds: &[Pii], found: &mut Vec<Found>) {
    let bytes = text.as_bytes();
    for kind in kinds {
        let mut at = 0;
        while at < bytes.len() {
            let Some(offset) = bytes[at..].iter().position(|byte| may_begin(*kind, *byte)) else { break };
            let place = at + offset;
            let hit = match kind {
                Pii::Email => email(bytes, place, at),
                Pii::Phone => phone(bytes, place),
                Pii::Iban => iban(bytes, place),
                Pii::Card => card(bytes, place),
                Pii::Ip => ip(text, place),
            };
            match hit {
                Some((start, end)) => {
                    found.push(Found { start, end, kind: kind.name() });
                    at = end.max(place + 1);
                }
                // What does not fit is left behind whole: no run of digits is read twice.
                None => at = place + skipped(*kind, &bytes[place..]),
            }
        }
    }
}

const fn may_begin(kind: Pii, byte: u8) -> bool {
    match kind {
        Pii::Email => byte == b'@',
        Pii::Phone => byte == b'+' || byte == b'(' || byte.is_ascii_digit(),
        Pii::Iban => byte.is_ascii_uppercase(),
        Pii::Card => byte.is_ascii_digit(),
        Pii::Ip => byte.is_ascii_hexdigit() || byte == b':',
    }
}

fn skipped(kind: Pii, rest: &[u8]) -> usize {
    let run = |fits: fn(&u8) -> bool| rest.iter().take_while(|byte| fits(byte)).count().max(1);
    match kind {
        Pii::Email => 1,
        Pii::Phone => 1 + rest[1..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count(),
        Pii::Iban => run(u8::is_ascii_alphanumeric),
        Pii::Card => run(u8::is_ascii_digit),
        Pii::Ip => run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'-')),
    }
}

fn email(bytes: &[u8], at: usize, least: usize) -> Option<(usize, usize)> {
    let local = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-');
    let before = bytes[least..at].iter().rev().take(64).take_while(|byte| local(byte)).count();
    let start = at - before;
    let start = start + bytes[start..at].iter().take_while(|byte| matches!(byte, b'.' | b'-' | b'%')).count();
    let domain = bytes[at + 1..]
        .iter()
        .take(253)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    let mut end = at + 1 + domain.count();
    while end > at + 1 && matches!(bytes[end - 1], b'.' | b'-') {
        end -= 1;
    }
    let domain = std::str::from_utf8(&bytes[at + 1..end]).ok()?;
    let (name, last) = domain.rsplit_once('.')?;
    let is_file = ["png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "mjs", "ts", "html"]
        .iter()
        .any(|one| one.eq_ignore_ascii_case(last));
    let is_clone = &bytes[start..at] == b"git" && bytes.get(end) == Some(&b':');
    (start < at
        && !name.is_empty()
        && (2..=24).contains(&last.len())
        && last.bytes().all(|byte| byte.is_ascii_alphabetic())
        && !is_file
        && !is_clone)
        .then_some((start, end))
}

/// A number, and where it ends: digits with at most one of these signs (two for a bracket) between them.
fn digits(bytes: &[u8], from: usize, most: usize, between: &[u8]) -> (Vec<u8>, usize) {
    let (mut found, mut at, mut end, mut gap) = (Vec::new(), from, from, 0);
    while let Some(byte) = bytes.get(at) {
        if byte.is_ascii_digit() && found.len() <= most {
            found.push(byte - b'0');
            gap = 0;
            end = at + 1;
        } else if between.contains(byte) && gap < 2 && !byte.is_ascii_digit() {
            gap += 1;
        } else {
            break;
        }
        at += 1;
    }
    (found, end)
}

fn is_inside(bytes: &[u8], start: usize, end: usize) -> bool {
    let joined = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    start > 0
        && (joined(bytes[start - 1])
            || matches!(bytes[start - 1], b'.' | b'-' | b'/') && start > 1 && joined(bytes[start - 2]))
        || bytes.get(end).is_some_and(|byte| joined(*byte))
        || matches!(bytes.get(end), Some(b'.' | b'-' | b':'))
            && bytes.get(end + 1).is_some_and(u8::is_ascii_digit)
}

fn phone(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    if bytes[at] == b'+' {
        let (number, end) = digits(bytes, at + 1, 15, b" -.()/");
        let international = (8..=15).contains(&number.len()) && number[0] != 0;
        let varied = number.iter().any(|digit| *digit != number[0]);
        return (international
            && varied
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
            && !is_inside(bytes, at, end))
        .then_some((at, end));
    }
    // North America writes its own without a plus: (234) 555-6789, 234-555-6789.
    let text = &bytes[at..bytes.len().min(at + 14)];
    let shape = |pattern: &[u8]| {
        text.len() >= pattern.len()
            && pattern.iter().zip(text).all(|(want, byte)| match want {
                b'n' => (b'2'..=b'9').contains(byte),
                b'd' => byte.is_ascii_digit(),
                other => other == byte,
            })
    };
    let length =
        [&b"(ndd) ndd-dddd"[..], b"(ndd)ndd-dddd", b"ndd-ndd-dddd"].iter().find(|one| shape(one))?.len();
    (!is_inside(bytes, at, at + length)).then_some((at, at + length))
}

fn card(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let (number, end) = digits(bytes, at, 19, b" -");
    let issued = match number.first()? {
        2 => {
            (2221..=2720).contains(&number.iter().take(4).fold(0, |sum, digit| sum * 10 + u32::from(*digit)))
        }
        3 => number.get(1).is_some_and(|second| matches!(second, 0 | 4..=8)),
        4..=6 => true,
        _ => false,
    };
    let varied = number.iter().collect::<std::collections::BTreeSet<_>>().len() >= 2;
    let called = at > 0 && bytes[at - 1] == b'+';
    (issued
        && varied
        && !called
        && (13..=19).contains(&number.len())
        && luhn(&number)
        && !is_inside(bytes, at, end))
    .then_some((at, end))
}

fn luhn(number: &[u8]) -> bool {
    let sum: u32 = number
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit);
            match (place % 2, digit) {
                (0, _) => digit,
                (_, 5..) => digit * 2 - 9,
                _ => digit * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn iban(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    if at > 0 && bytes[at - 1].is_ascii_alphanumeric()
        || !bytes.get(at + 1)?.is_ascii_uppercase()
        || !bytes.get(at + 2..at + 4)?.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    let (mut number, mut end, mut spaced) = (Vec::new(), at, false);
    for (offset, byte) in bytes[at..].iter().enumerate().take(44) {
        if byte.is_ascii_uppercase() || byte.is_ascii_digit() {
            number.push(*byte);
            end = at + offset + 1;
            spaced = false;
        } else if *byte == b' ' && !spaced && number.len().is_multiple_of(4) {
            spaced = true;
        } else {
            break;
        }
    }
    if !(15..=34).contains(&number.len()) || bytes.get(end).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let rest = number[4..].iter().chain(&number[..4]).fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    (rest == 1).then_some((at, end))
}

fn ip(text: &str, at: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    if at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || matches!(bytes[at - 1], b'.' | b'_' | b'-' | b':'))
    {
        return None;
    }
    let length = bytes[at..]
        .iter()
        .take(46)
        .take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        .count();
    let mut word = text.get(at..at + length)?;
    if bytes.get(at + length).is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-')) {
        return None;
    }
    word = word.trim_end_matches(['.', ':']);
    // `10.0.0.1:8080`
    if let Some((host, port)) = word.split_once(':')
        && host.contains('.')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        word = host;
    }
    let address: std::net::IpAddr = word.parse().ok()?;
    let named = address.is_loopback() || address.is_unspecified();
    (!named && word.len() > 4).then_some((at, at + word.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(text: &str) -> Vec<(&'static str, &str)> {
        let mut found = Vec::new();
        scan(text, &[Pii::Email, Pii::Phone, Pii::Iban, Pii::Card, Pii::Ip], &mut found);
        found.iter().map(|one| (one.kind, &text[one.start..one.end])).collect()
    }

    #[test]
    fn people_are_found() {
        for (text, kind, hit) in [
            ("Write to ada.l+x@mail.example.co.uk.", "email", "ada.l+x@mail.example.co.uk"),
            ("call +44 20 7946 0958 now", "phone", "+44 20 7946 0958"),
            ("tel:+4915112345678", "phone", "+4915112345678"),
            ("ring (212) 555-0187,", "phone", "(212) 555-0187"),
            ("or 212-555-0187", "phone", "212-555-0187"),
            ("IBAN DE89 3704 0044 0532 0130 00.", "iban", "DE89 3704 0044 0532 0130 00"),
            ("GB82WEST12345698765432", "iban", "GB82WEST12345698765432"),
            ("card 4111 1111 1111 1234", "", ""),
            ("card 4012 8888 8888 1881", "card", "4012 8888 8888 1881"),
            ("pan=5555555555554444", "card", "5555555555554444"),
            ("from 203.0.113.7:443", "ip", "203.0.113.7"),
            ("via 2001:db8::8a2e:370:7334 ok", "ip", "2001:db8::8a2e:370:7334"),
        ] {
            let expected: Vec<_> = (!kind.is_empty()).then_some((kind, hit)).into_iter().collect();
            assert_eq!(hits(text), expected, "{text}");
        }
    }

    #[test]
    fn what_only_looks_so_stays() {
        for text in [
            "logo@2x.png",
            "git@github.com:owner/name.git",
            "user@host",
            "@example.com",
            "pkg@1.2.3",
            "2026-01-02T03:04:05.123456789Z",
            "1700000000000",
            "at 12:34:56",
            "v1.2.3.4.5",
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "+0000",
            "1+12345678901234567890",
            "c4d1e7d2-8d1c-4b3a-9c1e-0123456789ab",
            "DE00 3704 0044 0532 0130 00",
            "4111111111111112",
            "id 41111111111111110000000",
            "sha 5555555555554444abcdef",
            "3.14159265358979",
            "std::vec::Vec",
            "a::b",
            "10.20.30",
            "PRP_175780",
            "AB12CD34EF56AB78",
        ] {
            assert!(hits(text).is_empty(), "{text}: {:?}", hits(text));
        }
    }
}
