//! Everybody who may come in by the same door.
//!
//! Owns [`Callers`]. The idea: what a request presents says which of the ways in it means; exactly one of them is asked,
//! and what one refuses no other accepts.
//!
//! Must not: check anything itself.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::certificates::Certificates;
use super::keys::KeyStore;
use crate::transport::auth::{Authenticator, Lease, Presented, Verdict};

/// The ways in: keys, and those that the configuration adds.
pub struct Callers {
    keys: Arc<KeyStore>,
    certificates: Option<Certificates>,
    tokens: Option<Arc<dyn Authenticator>>,
}

impl Callers {
    /// Those who have a key.
    pub fn with_keys(keys: Arc<KeyStore>) -> Self {
        Self { keys, certificates: None, tokens: None }
    }

    /// And those who have a client certificate and show nothing else.
    #[must_use]
    pub fn and_certificates(mut self, certificates: Option<Certificates>) -> Self {
        self.certificates = certificates;
        self
    }

    /// And those who have an access token that somebody else issued.
    #[must_use]
    pub fn and_tokens(mut self, tokens: Option<Arc<dyn Authenticator>>) -> Self {
        self.tokens = tokens;
        self
    }

    /// Whoever is asked about this. Who presents nothing is told the way that leads further: to a token.
    fn asked(&self, presented: &Presented<'_>) -> &dyn Authenticator {
        let nothing_else = || !presented.headers.contains_key(AUTHORIZATION);
        if let (Some(certificates), Some(_)) = (&self.certificates, presented.certificate)
            && nothing_else()
        {
            return certificates;
        }
        match &self.tokens {
            Some(tokens) if !shows_key(presented.headers) => &**tokens,
            _ => &*self.keys,
        }
    }
}

/// Whether a request shows one of our own keys, or what passes itself off as one.
fn shows_key(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().any(|value| {
        let scheme = |bytes: &[u8]| bytes.eq_ignore_ascii_case(b"bearer ");
        let bytes = value.as_bytes();
        bytes
            .split_at_checked(7)
            .is_some_and(|(first, rest)| scheme(first) && rest.trim_ascii_start().starts_with(b"bz_"))
    })
}

impl Authenticator for Callers {
    fn authenticate<'a>(&'a self, presented: &'a Presented<'a>) -> Verdict<'a> {
        self.asked(presented).authenticate(presented)
    }

    fn lease(&self, presented: &Presented<'_>) -> Option<Lease> {
        self.asked(presented).lease(presented)
    }

    fn refresh(&self) {
        Authenticator::refresh(&*self.keys);
        self.tokens.iter().for_each(|tokens| tokens.refresh());
    }

    fn step_up(&self, presented: &Presented<'_>, scopes: &[String]) -> Option<String> {
        self.asked(presented).step_up(presented, scopes)
    }

    fn next_nonce(&self, presented: &Presented<'_>) -> Option<String> {
        self.asked(presented).next_nonce(presented)
    }

    fn document(&self, path: &str) -> Option<Arc<str>> {
        self.tokens.as_ref()?.document(path)
    }
}
