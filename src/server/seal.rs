//! Text that a client carries for us and can neither read nor change.
//!
//! Owns [`KeyRing`]. The idea: the first key seals, every key opens, so that replicas share a ring and a key can be
//! replaced without breaking what is under way; what a text is bound to is authenticated, not stored.
//!
//! Must not: say why a text did not open.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::error::{Error, Kind, Result};
use crate::json::Digest;

const VERSION: u8 = 1;
const ID: usize = 4;
const NONCE: usize = 24;
/// Longer texts were never made here.
const LONGEST: usize = 1 << 20;

/// The keys that seal and open.
pub struct KeyRing {
    keys: Vec<([u8; ID], XChaCha20Poly1305)>,
}

impl KeyRing {
    /// A ring of these keys; the first one seals.
    pub fn new(keys: &[[u8; 32]]) -> Result<Self> {
        if keys.is_empty() {
            return Err(Error::new(
                Kind::BadConfig,
                "The key ring for sealed state is empty; give it one key.",
            ));
        }
        Ok(Self { keys: keys.iter().map(ready).collect() })
    }

    /// A ring of one fresh key that nobody else has: what it seals lives as long as this process.
    pub fn ephemeral() -> Self {
        let key: [u8; 32] = rand::random();
        Self { keys: vec![ready(&key)] }
    }

    /// Seals `plain`; it opens only with the same `bound`.
    pub(crate) fn seal(&self, plain: &[u8], bound: &[u8]) -> Result<String> {
        let failed = || Error::new(Kind::Internal, "State could not be sealed.");
        let (id, cipher) = self.keys.first().ok_or_else(failed)?;
        let nonce: [u8; NONCE] = rand::random();
        let sealed =
            cipher.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: bound }).map_err(|_| failed())?;
        let mut bytes = Vec::with_capacity(1 + ID + NONCE + sealed.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Opens a text, if it was sealed here for the same `bound`.
    pub(crate) fn open(&self, text: &str, bound: &[u8]) -> Option<Vec<u8>> {
        if text.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk::<ID>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let (_, cipher) = self.keys.iter().find(|(known, _)| *version == VERSION && known == id)?;
        cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: bound }).ok()
    }
}

fn ready(key: &[u8; 32]) -> ([u8; ID], XChaCha20Poly1305) {
    let mut named = b"bartizan sealing key ".to_vec();
    named.extend_from_slice(key);
    let Digest(digest) = Digest::of(&named);
    let mut id = [0; ID];
    id.copy_from_slice(&digest[..ID]);
    (id, XChaCha20Poly1305::new(&Key::from(*key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // proves: state-sealed
    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let ring = KeyRing::ephemeral();
        let text = ring.seal(b"hello", b"alice").unwrap();
        assert_eq!(ring.open(&text, b"alice").unwrap(), b"hello");
        assert_eq!(ring.open(&text, b"bob"), None);
        assert_eq!(ring.open(&format!("{text}-TAMPERED"), b"alice"), None);
        for index in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[index] = if other[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(ring.open(&String::from_utf8(other).unwrap(), b"alice"), None, "{index}");
        }
        for text in ["", "AA", "not base64!", &"A".repeat(2 << 20)] {
            assert_eq!(ring.open(text, b"alice"), None);
        }
        assert_ne!(ring.seal(b"hello", b"alice").unwrap(), text);
        assert_eq!(KeyRing::ephemeral().open(&text, b"alice"), None);
    }

    // proves: state-keys-rotate
    #[test]
    fn an_older_key_still_opens() {
        let old = KeyRing::new(&[[1; 32]]).unwrap();
        let text = old.seal(b"x", b"").unwrap();
        let both = KeyRing::new(&[[2; 32], [1; 32]]).unwrap();
        assert_eq!(both.open(&text, b"").unwrap(), b"x");
        assert_eq!(old.open(&both.seal(b"x", b"").unwrap(), b""), None);
        assert!(KeyRing::new(&[]).is_err());
    }
}
