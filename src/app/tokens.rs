//! Who answers for access tokens.
//!
//! Owns [`App::tokens`]: `[oauth]` made into an authenticator. The idea: what it needs of the
//! rest (the way out, the redactor, the store of used proofs, a key for nonces that all who share callers have) comes
//! from here and nowhere else.
//!
//! Must not: check a token.

use std::sync::Arc;
use std::time::Duration;

use super::App;
use crate::config::Config;
use crate::error::Result;
use crate::identity::oauth::{OAuth, Surroundings};
use crate::json::Digest;
use crate::state::Remembered;
use crate::state::shared::Dated;
use crate::transport::auth::Authenticator;

/// Proofs of possession that are remembered at one time; one caller has a sixteenth, which is 270 requests a second.
const PROOFS: usize = 1_600_000;

impl App {
    /// Whoever answers for tokens, where tokens are accepted.
    pub(super) fn tokens(&self, config: &Config) -> Result<Option<Arc<dyn Authenticator>>> {
        if !config.oauth.is_on() {
            return Ok(None);
        }
        let introduction = &config.introduction;
        let ahead = Duration::from_secs(config.oauth.leeway_seconds);
        let around = Surroundings {
            egress: &config.egress,
            redactor: self.redactor.clone(),
            once: match self.shared() {
                Some(shared) => Arc::new(Dated::new(shared.clone(), ahead)),
                // nothing tells the next process what was accepted: nothing from its first moments is
                None if config.stateless => {
                    Arc::new(Dated::new(Arc::new(Remembered::new(PROOFS, self.clock.clone())), ahead))
                }
                None => Arc::new(Remembered::lasting(PROOFS, self.clock.clone(), &self.state, ahead)?),
            },
            nonce_key: self.nonce_key(config)?,
            name: Some(introduction.title.as_deref().unwrap_or(&introduction.name)),
            clock: self.clock.clone(),
        };
        Ok(Some(OAuth::new(&config.oauth, around)?))
    }

    /// The same for all instances that seal with the same keys; else this installation's own.
    fn nonce_key(&self, config: &Config) -> Result<[u8; 32]> {
        let Some(named) = config.server.sealing_keys.first() else { return self.state.key("dpop.key") };
        let secret = crate::vault::Reference::parse(named)?.resolve()?;
        Ok(Digest::of(format!("bartizan dpop nonce {}", secret.expose()).as_bytes()).0)
    }
}
