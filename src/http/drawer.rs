//! Where one token is kept over a restart.
//!
//! Owns [`Drawer`]. The idea: the name says nothing to whoever lists the folder, and is another one for another endpoint,
//! client or purpose; a token that was fetched with another secret is not this client's any more.
//!
//! Must not: block whoever waits for a token.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::token::{self, TokenStore};
use crate::redaction::Redactor;
use crate::secret::Secret;

/// The place of one token.
#[derive(Clone)]
pub(super) struct Drawer {
    store: Arc<dyn TokenStore>,
    name: String,
    /// The digest of the secret that it is fetched with.
    with: String,
}

impl Drawer {
    /// The place of the access token of `parts` (endpoint, client and so on); none where nothing keyed can be kept.
    pub(super) fn of(
        store: Option<&Arc<dyn TokenStore>>,
        redactor: &Redactor,
        parts: &[&str],
        secret: &Secret,
    ) -> Option<Self> {
        let keyed = |text: &str| redactor.keyed_digest(text.as_bytes()).map(|digest| digest.hex());
        let name = keyed(&format!("token\0{}", parts.join("\0")))?[..32].to_owned();
        let with = keyed(&format!("token of\0{}", secret.expose()))?;
        Some(Self { store: Arc::clone(store?), name, with })
    }

    /// The place of what is good for the next access token, in a chain that begins with `seed`.
    pub(super) fn of_chain(
        store: Option<&Arc<dyn TokenStore>>,
        redactor: &Redactor,
        parts: &[&str],
        seed: &Secret,
    ) -> Option<Self> {
        let keyed = |text: &str| redactor.keyed_digest(text.as_bytes()).map(|digest| digest.hex());
        let name = keyed(&format!("refresh\0{}\0{}", parts.join("\0"), seed.expose()))?[..32].to_owned();
        Some(Self { store: Arc::clone(store?), name, with: String::new() })
    }

    /// What is kept and lasts longer than `margin`, with the seconds it lasts.
    pub(super) async fn take(&self, now: u64, margin: u64) -> Option<(Secret, u64)> {
        let found = self.read().await?;
        token::read(&found, now, &self.with).filter(|(_, lasts)| *lasts > margin)
    }

    /// Keeps a token until that second of the epoch.
    pub(super) async fn put(&self, token: &Secret, ends: u64) {
        // whether it could be kept is in the log
        self.write(token::write(token, ends, &self.with)).await;
    }

    /// The bytes that are kept.
    pub(super) async fn read(&self) -> Option<Zeroizing<Vec<u8>>> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.store.load(&this.name)).await.ok()?
    }

    /// Keeps bytes; false where it cannot.
    pub(super) async fn write(&self, bytes: Zeroizing<Vec<u8>>) -> bool {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.store.save(&this.name, &bytes)).await.unwrap_or(false)
    }

    /// Keeps nothing.
    pub(super) fn clear(&self) {
        self.store.remove(&self.name);
    }
}
