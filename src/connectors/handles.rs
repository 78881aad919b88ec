//! Ids that are secrets, and how a caller can use them all the same.
//!
//! Owns [`Handles`]. The idea: an id that grants access never leaves; the caller sees a sealed name for it that only
//! the same principal can hand back, and only to this installation.
//!
//! Must not: remember anything.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result};
use crate::principal::Principal;

/// Every handle starts so.
pub const PREFIX: &str = "handle:";
const NONCE: usize = 12;

/// Seals and opens ids.
#[derive(Clone)]
pub struct Handles {
    key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Handles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Handles(..)")
    }
}

impl Handles {
    /// Handles that every process with this key understands.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key: Zeroizing::new(key) }
    }

    /// Handles that only this process understands.
    pub fn random() -> Self {
        Self::new(rand::random())
    }

    /// The handle of an id: the same for the same principal and id. `family` is part of it (`st` for service tokens).
    pub fn seal(&self, family: &str, principal: &Principal, id: &str) -> Result<String> {
        let nonce = self.nonce(family, principal, id)?;
        let bound = bound(family, principal);
        let sealed = self
            .cipher()?
            .encrypt(&nonce.into(), Payload { msg: id.as_bytes(), aad: &bound })
            .map_err(|_| Error::new(Kind::Internal, "a handle could not be made"))?;
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        Ok(format!("{PREFIX}{family}_{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The id behind a handle. A handle of another principal, family or installation is simply unknown.
    pub fn open(&self, family: &str, principal: &Principal, handle: &str) -> Result<String> {
        let unknown = || {
            Error::new(Kind::BadArguments, "the handle is not known; list again and use what is shown then")
        };
        let text = handle.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(family)?.strip_prefix('_'));
        let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or_else(unknown)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE).ok_or_else(unknown)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| unknown())?;
        let bound = bound(family, principal);
        let id = self
            .cipher()?
            .decrypt(&nonce.into(), Payload { msg: sealed, aad: &bound })
            .map_err(|_| unknown())?;
        String::from_utf8(id).map_err(|_| unknown())
    }

    fn cipher(&self) -> Result<ChaCha20Poly1305> {
        let made = ChaCha20Poly1305::new_from_slice(self.key.as_slice());
        made.map_err(|_| Error::new(Kind::Internal, "the key of handles has the wrong length"))
    }

    /// Derived from what is sealed: a nonce is never used for two messages, and a handle stays the same.
    fn nonce(&self, family: &str, principal: &Principal, id: &str) -> Result<[u8; NONCE]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_slice())
            .map_err(|_| Error::new(Kind::Internal, "the key of handles has the wrong length"))?;
        mac.update(&bound(family, principal));
        mac.update(id.as_bytes());
        let digest = mac.finalize().into_bytes();
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&digest[..NONCE]);
        Ok(nonce)
    }
}

/// Family and principal, so joined that no other pair reads the same.
fn bound(family: &str, principal: &Principal) -> Vec<u8> {
    let tenant = principal.tenant.as_deref().unwrap_or_default();
    format!("{}:{family}{}:{tenant}{}", family.len(), tenant.len(), principal.id).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::Handles;
    use crate::principal::{Principal, PrincipalKind};

    #[test]
    fn a_handle_opens_for_its_principal_only() {
        let handles = Handles::new([7; 32]);
        let (anna, bert) =
            (Principal::new("anna", PrincipalKind::ApiKey), Principal::new("bert", PrincipalKind::ApiKey));
        let id = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
        let handle = handles.seal("st", &anna, id).unwrap();
        assert!(handle.starts_with("handle:st_") && !handle.contains(id));
        assert_eq!(handles.seal("st", &anna, id).unwrap(), handle, "the same again");
        assert_eq!(handles.open("st", &anna, &handle).unwrap(), id);
        let foreign = handles.open("st", &bert, &handle).unwrap_err();
        let unknown = handles.open("st", &anna, "handle:st_AAAA").unwrap_err();
        assert_eq!(foreign.message(), unknown.message());
        assert!(handles.open("xx", &anna, &handle).is_err());
        assert!(Handles::new([8; 32]).open("st", &anna, &handle).is_err());
        let mut forged = handle.clone();
        forged.pop();
        assert!(handles.open("st", &anna, &forged).is_err());
    }
}
