//! A client certificate, shown to the upstream when the connection is made (mutual TLS).
//!
//! Owns [`ClientCertificate`] and [`Shown`]. The idea: certificate and key are two files that somebody replaces while the
//! program runs; a pair that does not fit together, or has ended, is not shown, and until the new pair is whole the former
//! one stays in use. What signs besides, if anything, signs as ever.
//!
//! Must not: show it to anybody but the connector's own origin (`wire.rs` connects to nothing else).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::credentials::{Identity, both, missing, read};
use super::{BoxFuture, Credentials, Signing, Supply};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::Digest;
use crate::redaction::{Held, Redactor};
use crate::secret::Secret;

/// A certificate with its key.
#[derive(Clone)]
pub(super) struct Shown {
    /// Another one has another mark.
    pub(super) mark: Digest,
    /// Both, as PEM.
    pub(super) pem: Arc<Zeroizing<Vec<u8>>>,
    /// When it ends, in seconds of the epoch.
    ends: i64,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Shown(..)")
    }
}

/// Shows a certificate, and lets something else sign as well.
pub struct ClientCertificate {
    chain: Arc<dyn Supply>,
    key: Arc<dyn Supply>,
    also: Option<Arc<dyn Credentials>>,
    clock: SharedClock,
    state: Mutex<State>,
}

/// What the files were when they were read.
type Stamps = (Option<u64>, Option<u64>);

#[derive(Default)]
struct State {
    shown: Option<Shown>,
    stamps: Option<Stamps>,
    _held: Option<Held>,
}

impl ClientCertificate {
    /// The certificate (with what leads to its authority, if the upstream needs that) and its private key, both PEM; `also`
    /// signs the requests besides.
    pub fn new(
        chain: Arc<dyn Supply>,
        key: Arc<dyn Supply>,
        also: Option<Arc<dyn Credentials>>,
        clock: SharedClock,
    ) -> Self {
        Self { chain, key, also, clock, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reference(&self) -> String {
        format!("the certificate {} with {}", self.chain.reference(), self.key.reference())
    }

    /// The pair as it is now.
    async fn pair(&self, redactor: &Redactor) -> Result<Shown> {
        let stamps = (self.chain.stamp(), self.key.stamp());
        {
            let state = self.lock();
            if let Some(shown) = state.shown.as_ref().filter(|_| state.stamps == Some(stamps)) {
                return Ok(shown.clone());
            }
        }
        let found = self.read(redactor).await;
        let mut state = self.lock();
        match (found, &state.shown) {
            (Ok((shown, held)), former) => {
                if former.as_ref().is_some_and(|former| former.mark != shown.mark) {
                    tracing::info!(reference = self.reference(), "a client certificate was replaced");
                }
                *state = State { shown: Some(shown.clone()), stamps: Some(stamps), _held: Some(held) };
                Ok(shown)
            }
            (Err(error), Some(former)) => {
                tracing::warn!(
                    reference = self.reference(),
                    reason = error.message(),
                    "a client certificate has changed and cannot be used; the former one stays in use"
                );
                Ok(former.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn read(&self, redactor: &Redactor) -> Result<(Shown, Held)> {
        let (chain, key) = (read(&self.chain).await?, read(&self.key).await?);
        let held = redactor.hold(&key, "private-key");
        let shown = self.joined(&chain, &key)?;
        Ok((shown, held))
    }

    fn joined(&self, chain: &Secret, key: &Secret) -> Result<Shown> {
        let bad = |where_: &Arc<dyn Supply>, what: &str| {
            Error::new(Kind::ToolFailed, format!("the client certificate at {} {what}", where_.reference()))
        };
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.expose().as_bytes()).collect();
        let all = all.ok().filter(|all| !all.is_empty());
        let all =
            all.ok_or_else(|| bad(&self.chain, "is not PEM; it begins with -----BEGIN CERTIFICATE-----"))?;
        let no_key = || {
            let what = format!("the private key at {} is not PEM, or is encrypted", self.key.reference());
            Error::new(Kind::ToolFailed, what)
        };
        let private = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| no_key())?;
        let ends = all.first().and_then(|leaf| {
            let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
            Some(leaf.validity().not_after.timestamp())
        });
        let ends = ends.ok_or_else(|| bad(&self.chain, "cannot be read"))?;
        CertifiedKey::from_der(all, private, &default_provider()).map_err(|cause| {
            let what = format!("does not fit the private key at {}", self.key.reference());
            bad(&self.chain, &what).with_source(cause)
        })?;
        let mut pem = Zeroizing::new(Vec::with_capacity(chain.expose().len() + key.expose().len() + 1));
        pem.extend_from_slice(chain.expose().as_bytes());
        pem.push(b'\n');
        pem.extend_from_slice(key.expose().as_bytes());
        Ok(Shown { mark: Digest::of(&pem), pem: Arc::new(pem), ends })
    }
}

impl Credentials for ClientCertificate {
    fn account(&self) -> Option<String> {
        let also = match &self.also {
            Some(also) => format!(" and {}", also.account()?),
            None => String::new(),
        };
        Some(format!("{}{also}", self.reference()))
    }

    fn apply<'a>(&'a self, signing: &'a mut Signing) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if signing.url().scheme() != "https" {
                return Err(Error::new(
                    Kind::ToolFailed,
                    "a client certificate needs https; correct the base address",
                ));
            }
            let shown = self.pair(signing.redactor()).await?;
            let now = i64::try_from(self.clock.wall().as_secs()).unwrap_or(i64::MAX);
            if shown.ends <= now {
                let message =
                    format!("the client certificate at {} has ended; replace it", self.chain.reference());
                return Err(Error::new(Kind::ToolFailed, message));
            }
            signing.shown = Some(shown);
            match &self.also {
                Some(also) => also.apply(signing).await,
                None => Ok(()),
            }
        })
    }

    fn identity<'a>(&'a self, redactor: &'a Redactor) -> BoxFuture<'a, Identity> {
        Box::pin(async move {
            let shown = self.pair(redactor).await.ok();
            let print = shown.and_then(|shown| redactor.fingerprint(&shown.mark.hex()));
            match &self.also {
                None => Identity { reference: self.reference(), fingerprint: print },
                Some(also) => {
                    let also = also.identity(redactor).await;
                    let reference = format!("{} and {}", self.reference(), also.reference);
                    Identity { reference, fingerprint: both(print, also.fingerprint) }
                }
            }
        })
    }

    fn rejected<'a>(&'a self, generation: u64, redactor: &'a Redactor) -> BoxFuture<'a, bool> {
        match &self.also {
            Some(also) => also.rejected(generation, redactor),
            None => Box::pin(async { false }),
        }
    }

    fn forget(&self) {
        *self.lock() = State::default();
        if let Some(also) = &self.also {
            also.forget();
        }
    }

    fn ready(&self) -> Result<()> {
        let (chain, key) = (self.chain.secret()?, self.key.secret()?);
        self.joined(&chain, &key).map_err(missing)?;
        self.also.as_ref().map_or(Ok(()), |also| also.ready())
    }
}
