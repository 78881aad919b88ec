//! A second factor: codes from a phone, and codes from a sheet of paper.
//!
//! Owns the arithmetic of TOTP (RFC 6238), the sealed file of a factor and what a code does to it. The idea: a factor is
//! a file that only a passphrase opens (or, where the approval page has to check codes, the key of the state directory);
//! beside the secret lies what was used up: the last step, the wrong codes in a row, the recovery codes.
//!
//! Must not: read or write files, or ask anybody.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

use super::operator::{MEMORY_KIB, PASSES, cipher};
use super::record;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// Seconds that a code is shown for.
pub(super) const STEP: u64 = 30;
/// Wrong codes in a row that lock a factor.
const MOST_WRONG: u8 = 5;
/// Recovery codes that an enrolment shows.
const RECOVERY: usize = 10;

/// What was shown beside a passphrase or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proven {
    /// The code of a phone.
    Totp,
    /// A recovery code.
    Recovery,
}

impl Proven {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Recovery => "recovery",
        }
    }
}

/// How the secret is sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "by")]
enum Seal {
    /// By the person's passphrase: nothing on this machine can check a code without it.
    Passphrase { memory_kib: u32, passes: u32, salt: String, nonce: String, sealed: String },
    /// By the key of the state directory: the server can check codes.
    State { nonce: String, sealed: String },
}

/// What opens the secret.
#[derive(Clone, Copy)]
pub(super) enum Opener<'a> {
    /// A passphrase.
    Passphrase(&'a Secret),
    /// The key of the state directory.
    State(&'a [u8; 32]),
}

/// A factor as it lies in its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Factor {
    #[serde(rename = "bartizan_second_factor")]
    version: u8,
    pub(super) name: String,
    pub(super) enrolled: u64,
    seal: Seal,
    /// The newest step whose code was used.
    last_step: u64,
    wrong: u8,
    salt: String,
    recovery: Vec<String>,
}

/// What was used up of a factor, wherever it was: instances that have the same factor tell each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wear {
    /// Of which enrolment.
    of: String,
    last_step: u64,
    wrong: u8,
    /// What is left of the recovery codes.
    recovery: Vec<String>,
}

fn damaged() -> Error {
    Error::new(
        Kind::BadConfig,
        "The file of this second factor is damaged; remove it and enrol the factor again.",
    )
}

fn bound(name: &str) -> String {
    format!("bartizan second factor v1\n{name}")
}

/// The codes of a secret.
fn codes(secret: &[u8], name: &str) -> Result<Totp> {
    Builder::new()
        .with_secret(secret.to_vec())
        .with_account_name(name)
        .with_issuer(Some("bartizan"))
        .build()
        .map_err(|_| Error::new(Kind::Internal, "The codes of a second factor could not be worked out."))
}

/// The address that an authenticator reads, which holds the secret.
pub(super) fn address(secret: &[u8], name: &str) -> Result<Secret> {
    codes(secret, name)?
        .to_url()
        .map(Secret::new)
        .map_err(|_| Error::new(Kind::Internal, "The address of a second factor could not be made."))
}

/// The step whose code this is, at that time or one step beside it.
pub(super) fn step_of(secret: &[u8], code: &str, now: u64) -> Result<Option<u64>> {
    let totp = codes(secret, "x")?;
    let step = now / STEP;
    let mut found = None;
    for near in step.saturating_sub(1)..=step.saturating_add(1) {
        let expected = Zeroizing::new(totp.generate(near.saturating_mul(STEP)).to_string());
        if bool::from(expected.as_bytes().ct_eq(code.as_bytes())) {
            found = Some(near);
        }
    }
    Ok(found)
}

/// What was typed, without the spaces and dashes that people read it with.
pub(super) fn plain(typed: &str) -> Zeroizing<String> {
    let kept = typed.chars().filter(|one| !one.is_whitespace() && *one != '-');
    Zeroizing::new(kept.map(|one| one.to_ascii_uppercase()).collect())
}

fn is_totp(code: &str) -> bool {
    code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit())
}

impl Factor {
    /// A factor whose code of `step` was just shown, and its recovery codes, which cannot be had again.
    pub(super) fn new(
        name: &str,
        secret: &[u8],
        opener: Opener<'_>,
        (step, at): (u64, u64),
    ) -> Result<(Self, Vec<Secret>)> {
        let nonce: [u8; 24] = rand::random();
        let fail = |_| Error::new(Kind::Internal, "A second factor could not be sealed.");
        let aad = bound(name);
        let payload = || Payload { msg: secret, aad: aad.as_bytes() };
        let seal = match opener {
            Opener::Passphrase(passphrase) => {
                let salt: [u8; 16] = rand::random();
                let cipher = cipher(passphrase, &salt, MEMORY_KIB, PASSES)?;
                Seal::Passphrase {
                    memory_kib: MEMORY_KIB,
                    passes: PASSES,
                    salt: STANDARD.encode(salt),
                    nonce: STANDARD.encode(nonce),
                    sealed: STANDARD.encode(cipher.encrypt(&XNonce::from(nonce), payload()).map_err(fail)?),
                }
            }
            Opener::State(key) => Seal::State {
                nonce: STANDARD.encode(nonce),
                sealed: STANDARD.encode(
                    XChaCha20Poly1305::new(key.into())
                        .encrypt(&XNonce::from(nonce), payload())
                        .map_err(fail)?,
                ),
            },
        };
        let salt: [u8; 32] = rand::random();
        let fresh: Vec<Secret> = (0..RECOVERY).map(|_| recovery_code()).collect();
        let factor = Self {
            version: 1,
            name: name.to_owned(),
            enrolled: at,
            seal,
            last_step: step,
            wrong: 0,
            salt: STANDARD.encode(salt),
            recovery: fresh
                .iter()
                .map(|code| record::keyed(&salt, plain(code.expose()).as_bytes()))
                .collect(),
        };
        Ok((factor, fresh))
    }

    pub(super) fn read(bytes: &[u8], name: &str) -> Result<Self> {
        let factor: Self = serde_json::from_slice(bytes).map_err(|_| damaged())?;
        if factor.version == 1 && factor.name == name { Ok(factor) } else { Err(damaged()) }
    }

    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|cause| {
            Error::new(Kind::Internal, "A second factor could not be written down.").with_source(cause)
        })
    }

    /// What is used up so far.
    pub(super) fn wear(&self) -> Wear {
        Wear {
            of: self.salt.clone(),
            last_step: self.last_step,
            wrong: self.wrong,
            recovery: self.recovery.clone(),
        }
    }

    /// Takes over what others have used up. What they say of wrong codes holds; nothing that is used up comes back.
    pub(super) fn adopt(&mut self, wear: &Wear) {
        if wear.of != self.salt {
            return;
        }
        self.last_step = self.last_step.max(wear.last_step);
        self.wrong = wear.wrong;
        self.recovery.retain(|code| wear.recovery.contains(code));
    }

    /// What names the code that was accepted last, and since when it could have been shown.
    pub(super) fn accepted(&self) -> (String, Duration) {
        let name = format!("{}\n{}\n{}", self.name, self.salt, self.last_step);
        (name, Duration::from_secs(self.last_step.saturating_sub(1).saturating_mul(STEP)))
    }

    pub(super) fn needs_passphrase(&self) -> bool {
        matches!(self.seal, Seal::Passphrase { .. })
    }

    pub(super) fn is_locked(&self) -> bool {
        self.wrong >= MOST_WRONG
    }

    pub(super) fn tries_left(&self) -> u8 {
        MOST_WRONG.saturating_sub(self.wrong)
    }

    pub(super) fn recovery_left(&self) -> usize {
        self.recovery.len()
    }

    pub(super) fn unlock(&mut self) {
        self.wrong = 0;
    }

    fn open(&self, opener: Opener<'_>) -> Result<Zeroizing<Vec<u8>>> {
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| damaged());
        let aad = bound(&self.name);
        let (cipher, nonce, sealed) = match (&self.seal, opener) {
            (
                Seal::Passphrase { memory_kib, passes, salt, nonce, sealed },
                Opener::Passphrase(passphrase),
            ) => (cipher(passphrase, &bytes(salt)?, *memory_kib, *passes)?, nonce, sealed),
            (Seal::State { nonce, sealed }, Opener::State(key)) => {
                (XChaCha20Poly1305::new(key.into()), nonce, sealed)
            }
            (Seal::Passphrase { .. }, Opener::State(_)) => {
                return Err(Error::new(
                    Kind::Forbidden,
                    "This second factor opens only with its passphrase, so its codes cannot be checked here; decide with \
                     `bartizan approvals`, or enrol one for the page: bartizan approvals factor enrol NAME --page.",
                ));
            }
            (Seal::State { .. }, Opener::Passphrase(_)) => return Err(damaged()),
        };
        let nonce: [u8; 24] = bytes(nonce)?.try_into().map_err(|_| damaged())?;
        let sealed = bytes(sealed)?;
        let opened =
            cipher.decrypt(&XNonce::from(nonce), Payload { msg: &sealed, aad: aad.as_bytes() }).map_err(
                |_| Error::new(Kind::Unauthenticated, "The passphrase does not open this second factor."),
            )?;
        Ok(Zeroizing::new(opened))
    }

    /// Looks at a code. Whatever comes of it, this has changed and has to be written down, unless the secret could not
    /// even be opened (then `Err` of the outer result). Seconds since the epoch are the time.
    pub(super) fn check(&mut self, typed: &str, opener: Opener<'_>, now: u64) -> Result<Result<Proven>> {
        let code = plain(typed);
        if !is_totp(&code) {
            return Ok(self.recover(&code));
        }
        if self.is_locked() {
            return Ok(Err(locked()));
        }
        let secret = self.open(opener)?;
        match step_of(&secret, &code, now)? {
            Some(step) if step > self.last_step => {
                self.last_step = step;
                self.wrong = 0;
                Ok(Ok(Proven::Totp))
            }
            Some(_) => Ok(Err(used())),
            None => Ok(Err(self.count())),
        }
    }

    /// A recovery code is good once, and also where wrong codes have locked the factor, which it unlocks.
    fn recover(&mut self, code: &str) -> Result<Proven> {
        let salt = STANDARD.decode(&self.salt).ok().and_then(|salt| <[u8; 32]>::try_from(salt).ok());
        let hash = record::keyed(&salt.ok_or_else(damaged)?, code.as_bytes());
        let before = self.recovery.len();
        let mut kept = Vec::with_capacity(before);
        for known in std::mem::take(&mut self.recovery) {
            if !bool::from(known.as_bytes().ct_eq(hash.as_bytes())) {
                kept.push(known);
            }
        }
        self.recovery = kept;
        if self.recovery.len() < before {
            self.wrong = 0;
            return Ok(Proven::Recovery);
        }
        if self.is_locked() { Err(locked()) } else { Err(self.count()) }
    }

    fn count(&mut self) -> Error {
        self.wrong = self.wrong.saturating_add(1);
        if self.is_locked() {
            return locked();
        }
        Error::new(
            Kind::Unauthenticated,
            format!(
                "That is not the code of this second factor now; {} more tries before it locks.",
                self.tries_left()
            ),
        )
    }
}

pub(super) fn used() -> Error {
    Error::new(Kind::Unauthenticated, "This code was used already; wait for the next one.")
}

fn locked() -> Error {
    Error::new(
        Kind::Unauthenticated,
        "This second factor is locked after five wrong codes. A recovery code unlocks it, or another operator does: \
         bartizan approvals factor unlock NAME --operator OTHER.",
    )
}

/// Sixteen characters of 5 bits each, in four groups.
fn recovery_code() -> Secret {
    let bytes = Zeroizing::new(rand::random::<[u8; 10]>());
    let text = Zeroizing::new(BASE32_NOPAD.encode(&bytes[..]));
    let groups: Vec<&str> = [0, 4, 8, 12].into_iter().filter_map(|at| text.get(at..at + 4)).collect();
    Secret::new(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &[u8] = b"12345678901234567890";

    /// RFC 6238, appendix B: the rows of SHA-1; a code of six digits is the end of one of eight.
    #[test]
    fn codes_are_those_of_the_rfc() {
        for (time, eight) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(step_of(SEED, &eight[2..], time).unwrap(), Some(time / STEP), "{time}");
            assert_eq!(step_of(SEED, &eight[2..], time + STEP).unwrap(), Some(time / STEP), "one step late");
            assert_eq!(step_of(SEED, &eight[2..], time - STEP).unwrap(), Some(time / STEP), "one step early");
            assert_eq!(step_of(SEED, &eight[2..], time + 2 * STEP).unwrap(), None);
        }
    }

    fn code(at: u64) -> String {
        codes(SEED, "x").unwrap().generate(at).to_string()
    }

    fn factor(key: &[u8; 32]) -> (Factor, Vec<Secret>) {
        Factor::new("alice", SEED, Opener::State(key), (0, 0)).unwrap()
    }

    #[test]
    fn a_step_is_good_once_and_time_does_not_go_back() {
        let key = [3; 32];
        let (mut factor, _) = factor(&key);
        let mut check = |typed: &str, now| factor.check(typed, Opener::State(&key), now).unwrap();
        assert_eq!(check(&code(3000), 3000).unwrap(), Proven::Totp);
        assert!(check(&code(3000), 3000).unwrap_err().message().contains("used already"));
        assert!(check(&code(2970), 3000).is_err(), "an older step than the last is gone, too");
        assert_eq!(check(&format!("{} {}", &code(3030)[..3], &code(3030)[3..]), 3030).unwrap(), Proven::Totp);
        assert!(check(&code(90), 90).is_err(), "a clock that was put back brings no code back");
    }

    #[test]
    fn five_wrong_codes_lock_and_a_recovery_code_unlocks_once() {
        let key = [3; 32];
        let (mut factor, recovery) = factor(&key);
        assert_eq!(recovery.len(), RECOVERY);
        let mut now = 3000;
        for _ in 0..MOST_WRONG {
            let wrong = if code(now).starts_with('0') { "900000" } else { "000000" };
            assert!(factor.check(wrong, Opener::State(&key), now).unwrap().is_err());
        }
        assert!(factor.is_locked());
        now += STEP;
        assert!(factor.check(&code(now), Opener::State(&key), now).unwrap().is_err(), "the right one, too");
        let typed = recovery[3].expose().to_lowercase();
        assert_eq!(factor.check(&typed, Opener::State(&key), now).unwrap().unwrap(), Proven::Recovery);
        assert!(!factor.is_locked() && factor.recovery_left() == RECOVERY - 1);
        assert!(factor.check(&typed, Opener::State(&key), now).unwrap().is_err(), "good once");
        assert_eq!(factor.check(&code(now), Opener::State(&key), now).unwrap().unwrap(), Proven::Totp);
    }

    #[test]
    fn what_others_used_up_is_used_up_here_and_of_another_enrolment_it_says_nothing() {
        let key = [3; 32];
        let (mut one, recovery) = factor(&key);
        let mut copy = Factor::read(&one.bytes().unwrap(), "alice").unwrap();
        assert_eq!(one.check(&code(3000), Opener::State(&key), 3000).unwrap().unwrap(), Proven::Totp);
        assert_eq!(
            one.check(recovery[0].expose(), Opener::State(&key), 3000).unwrap().unwrap(),
            Proven::Recovery
        );
        assert!(one.check("000000", Opener::State(&key), 3000).unwrap().is_err());
        copy.adopt(&one.wear());
        assert_eq!((copy.recovery_left(), copy.tries_left()), (RECOVERY - 1, MOST_WRONG - 1));
        assert!(copy.check(&code(3000), Opener::State(&key), 3000).unwrap().is_err());
        assert!(copy.check(recovery[0].expose(), Opener::State(&key), 3000).unwrap().is_err());
        let (mut other, _) = factor(&key);
        other.adopt(&one.wear());
        assert_eq!((other.recovery_left(), other.tries_left()), (RECOVERY, MOST_WRONG));
    }

    #[test]
    fn the_file_holds_no_secret_and_opens_for_nobody_else() {
        let passphrase = Secret::new("correct horse battery");
        let (factor, recovery) = Factor::new("alice", SEED, Opener::Passphrase(&passphrase), (0, 0)).unwrap();
        let bytes = factor.bytes().unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        for secret in [STANDARD.encode(SEED), BASE32_NOPAD.encode(SEED), recovery[0].expose().to_owned()] {
            assert!(!text.contains(&secret));
        }
        let again = Factor::read(&bytes, "alice").unwrap();
        assert_eq!(&again.open(Opener::Passphrase(&passphrase)).unwrap()[..], SEED);
        assert!(again.open(Opener::Passphrase(&Secret::new("another one altogether"))).is_err());
        assert!(again.open(Opener::State(&[3; 32])).is_err());
        assert!(Factor::read(&bytes, "bob").is_err(), "a file put in another's place");
        let mut moved = again;
        moved.name = String::from("bob");
        assert!(moved.open(Opener::Passphrase(&passphrase)).is_err(), "the name is sealed in");
    }
}
