//! What others keep or carry for us and can neither read nor change.
//!
//! Owns [`KeyRing`]. The idea: the first key seals, every key opens, so that instances share a ring and a key can be
//! replaced without breaking what is under way; what a text is bound to is authenticated, not stored. A client carries
//! text, a store that instances share keeps bytes.
//!
//! Must not: say why a text did not open.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::error::{Error, Kind, Result};
use crate::json::Digest;
use crate::secret::Secret;

const VERSION: u8 = 1;
const ID: usize = 4;
const NONCE: usize = 24;
/// Longer texts were never made here.
const LONGEST: usize = 1 << 20;

/// The keys that seal and open.
#[derive(Clone)]
pub struct KeyRing {
    keys: Vec<([u8; ID], XChaCha20Poly1305)>,
    /// What other keys that instances have in common are derived from: the first key.
    root: [u8; 32],
}

impl KeyRing {
    /// A ring of these keys; the first one seals.
    pub fn new(keys: &[[u8; 32]]) -> Result<Self> {
        let Some(first) = keys.first() else {
            return Err(Error::new(
                Kind::BadConfig,
                "The key ring for sealed state is empty; give it one key.",
            ));
        };
        Ok(Self { keys: keys.iter().map(ready).collect(), root: *first })
    }

    /// A key for another purpose: the same wherever the first key is.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut named = format!("bartizan key for {purpose} ").into_bytes();
        named.extend_from_slice(&self.root);
        Digest::of(&named).0
    }

    /// A ring of keys as people write them down: 32 bytes, in hexadecimal or base64. The first one seals.
    pub fn read(texts: &[Secret]) -> Result<Self> {
        let keys: Option<Vec<[u8; 32]>> = texts.iter().map(|text| written(text.expose().trim())).collect();
        let keys = keys.ok_or_else(|| {
            Error::new(
                Kind::BadConfig,
                "A sealing key is not 32 bytes in hexadecimal or base64; make one with `openssl rand -hex 32`.",
            )
        })?;
        Self::new(&keys)
    }

    /// A ring of one fresh key that nobody else has: what it seals lives as long as this process.
    pub fn ephemeral() -> Self {
        let key: [u8; 32] = rand::random();
        Self { keys: vec![ready(&key)], root: key }
    }

    /// Seals `plain`; it opens only with the same `bound`.
    pub(crate) fn seal(&self, plain: &[u8], bound: &[u8]) -> Result<String> {
        Ok(URL_SAFE_NO_PAD.encode(self.wrap(plain, bound)?))
    }

    /// The same as bytes, of any length.
    pub(crate) fn wrap(&self, plain: &[u8], bound: &[u8]) -> Result<Vec<u8>> {
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
        Ok(bytes)
    }

    /// Opens a text, if it was sealed here for the same `bound`.
    pub(crate) fn open(&self, text: &str, bound: &[u8]) -> Option<Vec<u8>> {
        if text.len() > LONGEST {
            return None;
        }
        self.unwrap(&URL_SAFE_NO_PAD.decode(text).ok()?, bound)
    }

    /// Opens bytes, if they were sealed here for the same `bound`.
    pub(crate) fn unwrap(&self, bytes: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
        let (version, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk::<ID>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let (_, cipher) = self.keys.iter().find(|(known, _)| *version == VERSION && known == id)?;
        cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: bound }).ok()
    }
}

fn written(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if text.len() == 64 {
        let pairs = text.as_bytes().chunks_exact(2);
        let bytes: Option<Vec<u8>> = pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
        return bytes?.try_into().ok();
    }
    let plain = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(plain).ok()?.try_into().ok()
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
    fn keys_are_read_as_people_write_them() {
        let written = |text: &str| KeyRing::read(&[Secret::new(text)]);
        let text = KeyRing::new(&[[0xFB; 32]]).unwrap().seal(b"x", b"").unwrap();
        let hex = "fB".repeat(32);
        for good in [hex.as_str(), &format!("{hex}\n"), "+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s="] {
            assert_eq!(written(good).unwrap().open(&text, b"").unwrap(), b"x", "{good}");
        }
        for bad in ["", "hunter2", &hex[2..], &"z".repeat(64), &"é".repeat(32)] {
            let error = written(bad).map(|_| ()).unwrap_err();
            assert!(bad.is_empty() || !error.message().contains(bad), "{bad}");
        }
    }

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
