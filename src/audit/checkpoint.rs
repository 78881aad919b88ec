//! Signed checkpoints.
//!
//! Owns the audit's ed25519 key. The idea: every so many lines one line carries a signature over its place in the
//! chain; the latest one is also kept beside the file, so that a file cut off before it shows. The private half stays
//! in the state directory, the public half lies beside the file for whoever verifies.
//!
//! Must not: claim more than it can: who can read the private half can sign anything.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::chain::{Hash, hash_of, text};
use crate::ownership::private;

/// What is kept beside the file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The checkpoint's own line.
    pub(super) seq: u64,
    /// The hash of the line before it.
    pub(super) prev: String,
    pub(super) signature: String,
}

/// The private half.
pub(super) struct Signer {
    key: SigningKey,
    id: String,
    change: Option<Change>,
}

/// How a key was found not to be the one that signed so far.
pub(super) struct Change {
    /// The public half of the former one, in hexadecimal, where it still lay beside the file.
    pub(super) former: Option<String>,
}

impl Signer {
    /// Reads the key, or makes one. Call with the audit file locked, so that two processes make one key.
    pub(super) fn open(key_file: &Path, audit_file: &Path) -> io::Result<Self> {
        let mut made = false;
        let seed = match fs::read_to_string(key_file) {
            Ok(text) => decode(&text).ok_or_else(|| io::Error::other("the audit key file holds no key"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let seed: [u8; 32] = rand::random();
                private(OpenOptions::new().write(true).create_new(true))
                    .open(key_file)?
                    .write_all(text(&super::chain::hex(&seed)).as_bytes())?;
                made = true;
                seed
            }
            Err(error) => return Err(error),
        };
        let key = SigningKey::from_bytes(&seed);
        let public = key.verifying_key();
        let shown = super::chain::hex(public.as_bytes());
        let public_file = beside(audit_file, "pub");
        let beside = fs::read_to_string(&public_file).ok();
        let same = beside.as_deref() == Some(text(&shown));
        let verifier = Verifier { id: key_id(&public), key: public };
        let kept = kept(audit_file);
        // whoever changes the key may change its public half, too
        let unsigned = !kept.is_empty() && !kept.iter().any(|kept| verifier.is_genuine(kept));
        let former = beside.filter(|_| !same).filter(|former| decode(former).is_some());
        let former = former.map(|former| former.trim().to_ascii_lowercase());
        let change = (made || unsigned || former.is_some()).then_some(Change { former });
        if !same {
            fs::write(public_file, shown)?;
        }
        Ok(Self { key, id: verifier.id, change })
    }

    /// Whether this is not the key that signed so far; told once.
    pub(super) fn changed(&mut self) -> Option<Change> {
        self.change.take()
    }

    /// The public half, in hexadecimal.
    pub(super) fn public(&self) -> String {
        text(&super::chain::hex(self.key.verifying_key().as_bytes())).to_owned()
    }

    /// A signature over something that is no checkpoint, in base64.
    pub(super) fn sign_bytes(&self, message: &[u8]) -> String {
        STANDARD.encode(self.key.sign(message).to_bytes())
    }

    /// The members of a checkpoint line at this place.
    pub(super) fn sign(&self, seq: u64, prev: &Hash) -> (String, Kept) {
        let signature = STANDARD.encode(self.key.sign(&message(seq, prev)).to_bytes());
        let members = format!(",\"key\":\"{}\",\"signature\":\"{signature}\"", self.id);
        (members, Kept { seq, prev: text(prev).to_owned(), signature })
    }
}

/// The public half.
pub(super) struct Verifier {
    key: VerifyingKey,
    id: String,
}

impl Verifier {
    /// The public half that lies beside an audit file, if there is one.
    pub(super) fn beside(audit_file: &Path) -> Option<Self> {
        Self::of(&fs::read_to_string(beside(audit_file, "pub")).ok()?)
    }

    /// A public half in hexadecimal.
    pub(super) fn of(public_key: &str) -> Option<Self> {
        let key = VerifyingKey::from_bytes(&decode(public_key)?).ok()?;
        Some(Self { id: key_id(&key), key })
    }

    /// Whether the signature is good for something that is no checkpoint.
    pub(super) fn verify_bytes(&self, message: &[u8], signature: &str) -> bool {
        let bytes = STANDARD.decode(signature.trim()).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        bytes.is_some_and(|bytes| self.key.verify_strict(message, &Signature::from_bytes(&bytes)).is_ok())
    }

    /// Whether the checkpoint that is kept beside the file is signed with this key.
    pub(super) fn is_genuine(&self, kept: &Kept) -> bool {
        <Hash>::try_from(kept.prev.as_bytes()).is_ok_and(|prev| self.verify(kept.seq, &prev, &kept.signature))
    }

    /// Whether this is the key that a checkpoint names.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id == id
    }

    /// Whether the signature is good for this place.
    pub(super) fn verify(&self, seq: u64, prev: &Hash, signature: &str) -> bool {
        self.verify_bytes(&message(seq, prev), signature)
    }
}

/// The checkpoints kept beside a file, the latest first. One of them may be torn; the other is then still there.
pub(super) fn kept(audit_file: &Path) -> Vec<Kept> {
    let bytes = fs::read(beside(audit_file, "checkpoint")).unwrap_or_default();
    let mut found: Vec<Kept> = slots(&bytes).into_iter().flatten().collect();
    found.sort_by_key(|kept| std::cmp::Reverse(kept.seq));
    found
}

/// Bytes of a slot.
const SLOT: usize = 512;

/// What the two slots hold.
fn slots(bytes: &[u8]) -> [Option<Kept>; 2] {
    // An earlier version left one without padding.
    let padding = |byte: &u8| *byte == 0;
    let one = |slot: Option<&[u8]>| serde_json::from_slice(slot?.split(padding).next()?.trim_ascii()).ok();
    let mut chunks = bytes.chunks(SLOT);
    [one(chunks.next()), one(chunks.next())]
}

/// Keeps the latest checkpoint. Best effort: the line itself is in the file already. Call with the audit file locked, so
/// that an older one never replaces a newer. The file has two slots, and the older one is overwritten in place: replacing
/// the file would make the file system write it out each time, and every call would wait for that; and a process that
/// dies in the middle leaves the other slot whole.
pub(super) fn keep(audit_file: &Path, kept: &Kept) {
    let written = serde_json::to_vec(kept).map_err(io::Error::other).and_then(|mut bytes| {
        let mut file = private(OpenOptions::new().read(true).write(true).create(true).truncate(false))
            .open(beside(audit_file, "checkpoint"))?;
        let mut there = Vec::with_capacity(2 * SLOT);
        (&file).take(2 * SLOT as u64).read_to_end(&mut there)?;
        let [first, second] = slots(&there).map(|kept| kept.map(|kept| kept.seq));
        bytes.resize(SLOT - 1, b' ');
        bytes.push(b'\n');
        file.seek(SeekFrom::Start(if first <= second { 0 } else { SLOT as u64 }))?;
        file.write_all(&bytes)
    });
    if written.is_err() {
        tracing::warn!("the latest audit checkpoint could not be kept beside the audit file");
    }
}

/// `FILE.EXTENSION`.
pub(super) fn beside(file: &Path, extension: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

fn message(seq: u64, prev: &Hash) -> Vec<u8> {
    format!("bartizan audit checkpoint\n{seq}\n{}", text(prev)).into_bytes()
}

fn key_id(key: &VerifyingKey) -> String {
    text(&hash_of(key.as_bytes()))[..16].to_owned()
}

fn decode(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut out = [0; 32];
    for (index, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(seq: u64) -> Kept {
        Kept { seq, prev: "0".repeat(64), signature: STANDARD.encode([7; 64]) }
    }

    #[test]
    fn a_torn_slot_leaves_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let seqs = || kept(&file).iter().map(|kept| kept.seq).collect::<Vec<_>>();
        for seq in 1..=5 {
            keep(&file, &checkpoint(seq));
        }
        assert_eq!(seqs(), [5, 4]);
        let beside = beside(&file, "checkpoint");
        let whole = fs::read(&beside).unwrap();
        assert_eq!(whole.len(), 2 * SLOT);
        // The next one goes where the older is, and its writer dies after any number of bytes.
        let mut next = serde_json::to_vec(&checkpoint(6)).unwrap();
        next.resize(SLOT, b' ');
        for died in 1..SLOT {
            let mut torn = whole.clone();
            torn[SLOT..SLOT + died].copy_from_slice(&next[..died]);
            fs::write(&beside, &torn).unwrap();
            assert!(seqs().contains(&5), "{died}");
        }
        keep(&file, &checkpoint(7));
        assert_eq!(seqs()[0], 7);
        // What an earlier version left, in one piece.
        fs::write(&beside, serde_json::to_vec(&checkpoint(9)).unwrap()).unwrap();
        keep(&file, &checkpoint(10));
        assert_eq!(seqs(), [10, 9]);
    }
}
