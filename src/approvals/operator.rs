//! The keys of the people who decide.
//!
//! Owns enrolment, signing and verifying. The idea: the private half of an ed25519 key lies in a file that only a
//! passphrase opens (argon2id, XChaCha20-Poly1305), the public half lies with the server; a signature covers the id,
//! the binding, what was shown, the decision and its times, so it means one call and nothing else.
//!
//! Must not: ask for a passphrase; it is handed in.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::factor::Proven;
use super::record::{self, Party, Record};
use crate::error::{Error, Kind, Result};
use crate::json::{canonical, json};
use crate::secret::Secret;

/// Shortest passphrase, in characters.
const SHORTEST: usize = 12;
pub(super) const MEMORY_KIB: u32 = 19 * 1024;
pub(super) const PASSES: u32 = 3;
/// What a key file may ask of this machine at most.
const MOST_MEMORY_KIB: u32 = 1 << 20;
const MOST_PASSES: u32 = 20;

/// A decision about an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It may run once.
    Approve,
    /// It may not run.
    Refuse,
}

/// The private half, locked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    bartizan_operator_key: u8,
    name: String,
    memory_kib: u32,
    passes: u32,
    salt: String,
    nonce: String,
    sealed: String,
}

/// The public half.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicFile {
    name: String,
    ed25519: String,
}

/// A signed decision.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signed {
    pub(super) id: String,
    pub(super) operator: String,
    pub(super) decision: Decision,
    pub(super) at: u64,
    pub(super) expires: u64,
    /// The second factor that was shown, if one was.
    #[serde(default)]
    pub(super) factor: Option<Proven>,
    /// Whether it was given on the page: then `operator` is the principal who gave it.
    #[serde(default)]
    pub(super) page: bool,
    /// Who gave it there, for the comparison with who asks when it is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<Party>,
    signature: String,
}

/// Whether `name` can name an operator: 1 to 32 of `a-z 0-9 _ -`.
pub(super) fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_')
}

/// A new key: the locked private half and the public half, as the bytes of their files.
pub(super) fn enrol(name: &str, passphrase: &Secret) -> Result<(Vec<u8>, Vec<u8>)> {
    if !is_name(name) {
        return Err(bad(
            "The name of an operator is 1 to 32 characters of a-z, 0-9, _ and -; choose another.",
        ));
    }
    if passphrase.expose().chars().count() < SHORTEST {
        return Err(bad(format!("The passphrase is too short; use at least {SHORTEST} characters.")));
    }
    let private = Zeroizing::new(rand::random::<[u8; 32]>());
    let public = SigningKey::from_bytes(&private).verifying_key();
    let (salt, nonce): ([u8; 16], [u8; 24]) = (rand::random(), rand::random());
    let sealed = cipher(passphrase, &salt, MEMORY_KIB, PASSES)?
        .encrypt(&XNonce::from(nonce), Payload { msg: &private[..], aad: name.as_bytes() })
        .map_err(|_| Error::new(Kind::Internal, "The operator key could not be locked."))?;
    let file = KeyFile {
        bartizan_operator_key: 1,
        name: name.to_owned(),
        memory_kib: MEMORY_KIB,
        passes: PASSES,
        salt: STANDARD.encode(salt),
        nonce: STANDARD.encode(nonce),
        sealed: STANDARD.encode(sealed),
    };
    let public = PublicFile { name: name.to_owned(), ed25519: STANDARD.encode(public.as_bytes()) };
    Ok((text(&file)?, text(&public)?))
}

fn text<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value)
        .map_err(|cause| Error::new(Kind::Internal, "A key could not be written down.").with_source(cause))
}

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Kind::BadConfig, message)
}

/// What a passphrase opens.
pub(super) fn cipher(
    passphrase: &Secret,
    salt: &[u8],
    memory: u32,
    passes: u32,
) -> Result<XChaCha20Poly1305> {
    let fail = || bad("A file that a passphrase opens is damaged; enrol again.");
    if memory > MOST_MEMORY_KIB || passes > MOST_PASSES {
        return Err(fail());
    }
    let params = Params::new(memory, passes, 1, Some(32)).map_err(|_| fail())?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose().as_bytes(), salt, &mut key[..])
        .map_err(|_| fail())?;
    Ok(XChaCha20Poly1305::new((&*key).into()))
}

/// An operator's key, unlocked.
pub struct Operator {
    name: String,
    key: SigningKey,
    factor: Option<Proven>,
}

impl Operator {
    /// Unlocks the key in the bytes of a key file.
    pub fn unlock(file: &[u8], passphrase: &Secret) -> Result<Self> {
        let damaged = || bad("The operator key file is damaged; enrol again.");
        let file: KeyFile = serde_json::from_slice(file).map_err(|_| damaged())?;
        if file.bartizan_operator_key != 1 || !is_name(&file.name) {
            return Err(damaged());
        }
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| damaged());
        let nonce: [u8; 24] = bytes(&file.nonce)?.try_into().map_err(|_| damaged())?;
        let sealed = bytes(&file.sealed)?;
        let opened = cipher(passphrase, &bytes(&file.salt)?, file.memory_kib, file.passes)?
            .decrypt(&XNonce::from(nonce), Payload { msg: &sealed, aad: file.name.as_bytes() })
            .map_err(|_| {
                Error::new(Kind::Unauthenticated, "The passphrase does not open this operator key.")
            })?;
        let opened = Zeroizing::new(opened);
        let private: Zeroizing<[u8; 32]> =
            Zeroizing::new(opened.as_slice().try_into().map_err(|_| damaged())?);
        Ok(Self { name: file.name, key: SigningKey::from_bytes(&private), factor: None })
    }

    /// The operator's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says in what is signed from now on that this second factor was shown.
    #[must_use]
    pub fn with_factor(mut self, factor: Option<Proven>) -> Self {
        self.factor = factor;
        self
    }

    /// The second factor that was shown.
    pub fn factor(&self) -> Option<Proven> {
        self.factor
    }

    /// Signs a statement that is no decision about a call, such as the end of a freeze.
    pub fn testify(&self, statement: &str) -> Testimony {
        let mut proof =
            Testimony { operator: self.name.clone(), factor: self.factor, signature: String::new() };
        let signature = self.key.sign(testimony(&proof, statement).as_bytes());
        proof.signature = STANDARD.encode(signature.to_bytes());
        proof
    }

    pub(super) fn sign(&self, record: &Record, decision: Decision, at: u64) -> Signed {
        let mut signed = Signed::unsigned(record, &self.name, decision, at, self.factor);
        let statement = statement(&signed, &record.binding, &record.shown.digest().hex());
        signed.signature = STANDARD.encode(self.key.sign(statement.as_bytes()).to_bytes());
        signed
    }
}

/// An operator's signature under a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Testimony {
    /// Whose it is.
    pub operator: String,
    /// The second factor that was shown, if one was.
    #[serde(default)]
    pub factor: Option<Proven>,
    signature: String,
}

impl Testimony {
    /// Whether the public key in `file` signed this statement.
    pub(super) fn verify(&self, file: &[u8], statement: &str) -> bool {
        let check = || -> Option<()> {
            let key = public(file, &self.operator)?;
            let signature = Signature::from_slice(&STANDARD.decode(&self.signature).ok()?).ok()?;
            key.verify_strict(testimony(self, statement).as_bytes(), &signature).ok()
        };
        check().is_some()
    }
}

/// The text that is signed where no call is decided about: it never looks like one of those.
fn testimony(proof: &Testimony, statement: &str) -> String {
    let factor = proof.factor.map_or("none", Proven::name);
    format!("bartizan testimony v2\n{}\n{factor}\n{statement}", proof.operator)
}

/// The public key in a file, if it is that operator's.
fn public(file: &[u8], operator: &str) -> Option<VerifyingKey> {
    let public: PublicFile = serde_json::from_slice(file).ok()?;
    let key: [u8; 32] = STANDARD.decode(public.ed25519).ok()?.try_into().ok()?;
    (public.name == operator).then(|| VerifyingKey::from_bytes(&key).ok())?
}

/// The text that is signed.
fn statement(signed: &Signed, binding: &str, shown: &str) -> String {
    let mut body = json!({
        "id": signed.id, "operator": signed.operator, "decision": signed.decision, "at": signed.at,
        "expires": signed.expires, "factor": signed.factor, "page": signed.page, "binding": binding, "shown": shown
    });
    if let Some(by) = &signed.by {
        body["by"] = json!(by);
    }
    format!("bartizan approval v2\n{}", canonical(&body))
}

impl Signed {
    fn unsigned(
        record: &Record,
        operator: &str,
        decision: Decision,
        at: u64,
        factor: Option<Proven>,
    ) -> Self {
        Self {
            id: record.id.clone(),
            operator: operator.to_owned(),
            decision,
            at,
            expires: record.expires,
            factor,
            page: false,
            by: None,
            signature: String::new(),
        }
    }

    /// What a principal decided on the page: proved by the key of this installation, which the server alone reads.
    pub(super) fn on_page(
        key: &[u8; 32],
        record: &Record,
        (principal, by): (&str, Party),
        decision: Decision,
        at: u64,
        factor: Option<Proven>,
    ) -> Self {
        let by = Some(by);
        let mut signed = Self { page: true, by, ..Self::unsigned(record, principal, decision, at, factor) };
        let statement = statement(&signed, &record.binding, &record.shown.digest().hex());
        signed.signature = record::keyed(key, statement.as_bytes());
        signed
    }

    /// Whether the server itself wrote this down.
    pub(super) fn is_ours(&self, key: &[u8; 32], binding: &str, shown: &str) -> bool {
        let expected = record::keyed(key, statement(self, binding, shown).as_bytes());
        self.page && bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes()))
    }

    /// Whether the public key in `file` signed exactly this about a call with that binding and that rendering.
    pub(super) fn verify(&self, file: &[u8], binding: &str, shown: &str) -> bool {
        let check = || -> Option<()> {
            let key = public(file, &self.operator)?;
            let signature = Signature::from_slice(&STANDARD.decode(&self.signature).ok()?).ok()?;
            (!self.page).then_some(())?;
            key.verify_strict(statement(self, binding, shown).as_bytes(), &signature).ok()
        };
        check().is_some()
    }
}
