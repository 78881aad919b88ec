//! What else the audit's key signs.
//!
//! Owns [`sign`], [`is_signed`] and [`kept_checkpoints`]. The idea: whoever has the audit's public key can tell what came
//! from the same installation; what is signed here begins with other words than a checkpoint, so neither can be shown as
//! the other.
//!
//! Must not: sign what somebody outside chose.

use std::path::Path;

use super::Config;
use super::checkpoint::{self, Signer, Verifier};
use crate::error::{Error, Kind, Result};
use crate::json::{Digest, Value, json};

/// A signature, and the public key it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The public key, in hexadecimal.
    pub key: String,
    /// The signature, in base64.
    pub signature: String,
}

/// Signs bytes as what they are called.
pub fn sign(config: &Config, called: &str, bytes: &[u8]) -> Result<Signed> {
    let signer = signer(config)?;
    Ok(Signed { key: signer.public(), signature: signer.sign_bytes(&message(called, bytes)) })
}

/// The public half of the key that [`sign`] uses, in hexadecimal.
pub fn signing_key(config: &Config) -> Result<String> {
    signer(config).map(|signer| signer.public())
}

fn signer(config: &Config) -> Result<Signer> {
    Signer::open(&config.key(), &config.file()).map_err(|cause| {
        Error::new(Kind::BadConfig, "The audit's key cannot be read, so nothing can be signed.")
            .with_source(cause)
    })
}

/// Whether that key signed these bytes as that.
pub fn is_signed(signed: &Signed, called: &str, bytes: &[u8]) -> bool {
    let verifier = Verifier::of(&signed.key);
    verifier.is_some_and(|verifier| verifier.verify_bytes(&message(called, bytes), &signed.signature))
}

/// The checkpoints that are kept beside an audit file, the latest first.
pub fn kept_checkpoints(path: &Path) -> Vec<Value> {
    let kept = checkpoint::kept(path).into_iter();
    kept.map(|kept| json!({"seq": kept.seq, "prev": kept.prev, "signature": kept.signature})).collect()
}

fn message(called: &str, bytes: &[u8]) -> Vec<u8> {
    format!("bartizan audit {called}\n{}", Digest::of(bytes).hex()).into_bytes()
}
