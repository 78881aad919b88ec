//! Credentials that this process holds.
//!
//! Owns [`Known`]. The idea: what we know exactly need not be guessed at: each credential is written down in every
//! encoding a reply may carry it in, and one sieve, shared with the built-in rules, finds all of them in one pass. A
//! credential of fewer than twelve characters would hit by chance, so it counts only right after a sign or a header
//! scheme. A credential in use is never forgotten; of those that were replaced, the oldest goes first.
//!
//! Must not: hand a credential out, or keep more replaced ones than a bound.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use super::memo;
use super::scan::{self, Found};
use super::sieve::Sieve;
use crate::secret::Secret;

/// A credential shorter than this is matched only in context.
pub(super) const SHORT: usize = 12;
/// Shorter ones are no credentials.
const SHORTEST: usize = 4;
/// How many that nobody holds any more are remembered (a client that refreshes its token replaces one every hour).
const MOST: usize = 256;

/// One credential.
#[derive(Clone)]
struct Learnt {
    secret: Secret,
    label: &'static str,
    /// How many parts of this process hold it.
    holders: usize,
}

/// What is known, and where to look for it. Replaced as a whole when something is learned.
#[derive(Default, Clone)]
pub(super) struct Known {
    secrets: Vec<Learnt>,
    spellings: Arc<Vec<Spelling>>,
    /// Another one wherever something else is looked for; 0 while nothing is known.
    version: u64,
    /// With the built-in rules, and without; none while nothing is known.
    sieves: Option<(Arc<Sieve>, Arc<Sieve>)>,
}

/// A credential as a reply may carry it.
struct Spelling {
    text: Box<[u8]>,
    label: &'static str,
    needs_context: bool,
}

impl Known {
    /// Everything known so far and one more.
    pub(super) fn with(&self, secret: &Secret, label: &'static str) -> Option<Self> {
        if secret.expose().len() < SHORTEST || self.place(secret).is_some() {
            return None;
        }
        Some(self.joined(Learnt { secret: secret.clone(), label, holders: 0 }))
    }

    /// The same for one that is held until [`Known::released`].
    pub(super) fn held(&self, secret: &Secret, label: &'static str) -> Option<Self> {
        if secret.expose().len() < SHORTEST {
            return None;
        }
        let Some(place) = self.place(secret) else {
            return Some(self.joined(Learnt { secret: secret.clone(), label, holders: 1 }));
        };
        let mut more = self.clone();
        more.secrets[place].holders += 1;
        Some(more)
    }

    /// One holder less. With the last one gone it counts as replaced, and is the youngest of those.
    pub(super) fn released(&self, secret: &Secret) -> Option<Self> {
        let mut rest = self.clone();
        let mut learnt = rest.secrets.remove(self.place(secret)?);
        learnt.holders = learnt.holders.saturating_sub(1);
        Some(rest.joined(learnt))
    }

    fn place(&self, secret: &Secret) -> Option<usize> {
        self.secrets.iter().position(|learnt| learnt.secret.expose() == secret.expose())
    }

    /// With this one at the end.
    fn joined(&self, learnt: Learnt) -> Self {
        let mut secrets = self.secrets.clone();
        secrets.push(learnt);
        let replaced = secrets.iter().filter(|learnt| learnt.holders == 0).count();
        if replaced > MOST
            && let Some(oldest) = secrets.iter().position(|learnt| learnt.holders == 0)
        {
            secrets.remove(oldest);
        }
        let mut spellings = Vec::new();
        for Learnt { secret, label, .. } in &secrets {
            let text = secret.expose();
            spellings.extend(encodings(text).into_iter().map(|spelling| Spelling {
                text: spelling.into_bytes().into_boxed_slice(),
                label,
                needs_context: text.len() < SHORT,
            }));
        }
        let (mut all, mut own) = (scan::built_in().clone(), Sieve::new());
        for (number, spelling) in spellings.iter().enumerate() {
            all.add(scan::BUILT_IN + number, &spelling.text, None, |_| true);
            own.add(number, &spelling.text, None, |_| true);
        }
        all.close();
        own.close();
        let sieves = Some((Arc::new(all), Arc::new(own)));
        Self { secrets, spellings: Arc::new(spellings), version: memo::version(), sieves }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Where the built-in rules and what is known begin, if anything is known.
    pub(super) fn sieve(&self) -> Option<&Sieve> {
        self.sieves.as_ref().map(|(all, _)| &**all)
    }

    /// Whether this credential is at this place.
    pub(super) fn at(&self, number: usize, text: &str, start: usize) -> Option<Found> {
        let Spelling { text: spelling, label, needs_context } = self.spellings.get(number)?;
        let end = start + spelling.len();
        let here = text.as_bytes().get(start..end)? == &**spelling;
        // Encodings are ASCII or the text itself, so a hit begins and ends between characters.
        (here
            && text.is_char_boundary(start)
            && text.is_char_boundary(end)
            && (!needs_context || in_context(text, start, end)))
        .then_some(Found { start, end, kind: label })
    }

    /// Whether a credential is anywhere in a text.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let Some((_, own)) = &self.sieves else { return false };
        let mut any = false;
        own.each(text.as_bytes(), |number, start| any = any || self.at(number, text, start).is_some());
        any
    }

    /// Whether the whole text is a credential.
    pub(super) fn is(&self, text: &str) -> Option<&'static str> {
        self.secrets.iter().find(|learnt| learnt.secret.expose() == text).map(|learnt| learnt.label)
    }
}

/// After `=` or `:` (and quotes), or a header scheme, and up to a boundary.
fn in_context(text: &str, start: usize, end: usize) -> bool {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if text.as_bytes().get(end).is_some_and(inside) {
        return false;
    }
    let before = text[..start].trim_end_matches([' ', '"', '\'', '`', '\\', '\t']);
    if before.len() < start && ["bearer", "basic", "token"].iter().any(|scheme| ends_with(before, scheme)) {
        return true;
    }
    before.ends_with(['=', ':']) || (before.ends_with('>') && text[end..].starts_with('<'))
}

fn ends_with(text: &str, word: &str) -> bool {
    text.len() >= word.len()
        && text.is_char_boundary(text.len() - word.len())
        && text[text.len() - word.len()..].eq_ignore_ascii_case(word)
}

/// Every spelling of a credential that a reply may carry.
fn encodings(secret: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::from([secret.to_owned()]);
    let bytes = secret.as_bytes();
    // JSON in JSON in JSON: escaped once, twice; with `/` escaped; with everything beyond ASCII escaped.
    let once = json_escaped(secret);
    all.insert(json_escaped(&once));
    all.insert(once.replace('/', "\\/"));
    all.insert(ascii_escaped(secret));
    all.insert(once);
    for upper in [true, false] {
        all.insert(bytes.iter().map(|byte| hex(*byte, upper)).collect());
        all.insert(bytes.iter().flat_map(|byte| [String::from("%"), hex(*byte, upper)]).collect());
        for keep in [&b""[..], b"-_.~", b"-_.!~*'()", b"-_.*", b"-_.~/", b"-_.~:/?#[]@!$&'()*+,;="] {
            let encoded: String = bytes.iter().map(|byte| percent(*byte, keep, upper)).collect();
            all.insert(encoded.replace("%20", "+"));
            all.insert(encoded);
        }
    }
    all.insert(
        secret
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;"),
    );
    if bytes.len() >= SHORT {
        all.insert(secret.chars().rev().collect());
    }
    all.insert(STANDARD.encode(bytes));
    all.insert(STANDARD_NO_PAD.encode(bytes));
    all.insert(URL_SAFE.encode(bytes));
    all.insert(URL_SAFE_NO_PAD.encode(bytes));
    // inside something longer
    if bytes.len() >= SHORT {
        all.extend(aligned(bytes));
    }
    all.retain(|spelling| spelling.len() >= SHORTEST);
    all
}

fn hex(byte: u8, upper: bool) -> String {
    if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }
}

fn percent(byte: u8, keep: &[u8], upper: bool) -> String {
    if byte.is_ascii_alphanumeric() || keep.contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{}", hex(byte, upper))
    }
}

fn json_escaped(text: &str) -> String {
    let quoted = crate::json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn ascii_escaped(text: &str) -> String {
    let mut out = String::new();
    for c in json_escaped(text).chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// What base64, of either alphabet and at each of its three alignments, has of these bytes alone.
pub(super) fn aligned(bytes: &[u8]) -> impl Iterator<Item = String> + '_ {
    [0, 2, 3].into_iter().enumerate().flat_map(|(shift, skip)| {
        let mut padded = vec![0; shift];
        padded.extend_from_slice(bytes);
        let take = (padded.len() * 8 / 6).saturating_sub(skip);
        let alone = move |encoded: String| -> String { encoded.chars().skip(skip).take(take).collect() };
        [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)].map(alone)
    })
}
