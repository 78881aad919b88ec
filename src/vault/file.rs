//! A secret in a file.
//!
//! Owns reading one, and reading what only has to be genuine. The idea: what is read is what was checked: owner, mode and
//! place of the file that was opened.
//!
//! Must not: keep what was read anywhere but in the secret.

use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::{absent, refused};
use crate::error::Result;
use crate::ownership::{self, Care, Exposed, Flaw};
use crate::secret::Secret;

/// Longest secret that is read from a file.
pub(super) const LONGEST: u64 = 64 * 1024;

/// The bytes of a file that nobody else can read, at most `longest` of them; `place` is what messages call it.
pub(super) fn bytes(path: &Path, place: &str, longest: u64) -> Result<Zeroizing<Vec<u8>>> {
    cared(path, place, longest, Care::Secret)
}

fn cared(path: &Path, place: &str, longest: u64, care: Care) -> Result<Zeroizing<Vec<u8>>> {
    let unreadable = |cause: std::io::Error| {
        let error = if cause.kind() == std::io::ErrorKind::NotFound {
            absent(format!("the secret at {place} is not there; create it, readable by you alone"))
        } else {
            refused(format!("the secret at {place} cannot be read; check that it is a file of yours"))
        };
        error.with_source(cause)
    };
    let file = ownership::open(path, care).map_err(|flaw| match flaw {
        Flaw::Io(cause) => unreadable(cause),
        Flaw::Said(said) => refused(format!("the secret at {place} {said}")).with_source(Exposed),
    })?;
    let known = file.metadata().map_err(unreadable)?.len();
    // room for all of it, so that nothing is left behind in memory that had to grow
    let room = usize::try_from(known.min(longest)).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(longest + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > longest {
        return Err(refused(format!("the secret at {place} is longer than {longest} bytes")));
    }
    Ok(bytes)
}

/// The secret in a file.
pub(super) fn secret(path: &Path, place: &str) -> Result<Secret> {
    text(&bytes(path, place, LONGEST)?, place)
}

/// What anybody may read but nobody else may replace, such as a certificate. A private key beside it makes it a secret.
pub(super) fn public(path: &Path, place: &str) -> Result<Secret> {
    let found = text(&cared(path, place, LONGEST, Care::Trusted)?, place)?;
    if found.expose().contains("PRIVATE KEY") { secret(path, place) } else { Ok(found) }
}

fn text(bytes: &[u8], place: &str) -> Result<Secret> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| refused(format!("the secret at {place} is not text")))?
        .trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(refused(format!("the secret at {place} is empty")));
    }
    Ok(Secret::new(text))
}

/// A number that changes when the file is changed or replaced; nothing where there is none.
pub(super) fn stamp(path: &Path) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    crate::state::Stamp::at(path)?.hash(&mut hasher);
    Some(hasher.finish())
}
