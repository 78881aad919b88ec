//! Logins that were refused, remembered for all processes of a state directory, or all instances that share a store.
//!
//! Owns [`Account`]. The idea: a vendor locks an account after so many wrong logins in a row, whoever tries; so the count
//! is in a file that every process asks before it tries and corrects afterwards. A try counts as refused until it is
//! known to be something else, so that neither a crash nor many processes at once get round it. A success removes the
//! file, and so may the operator.
//!
//! Must not: hold a secret, or an id in the clear.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::oauth::{COOL_DOWN, OUT, STRIKES};
use crate::error::{Error, Kind, Result};
use crate::redaction::Redactor;
use crate::state::Folder;

/// A try that has not said how it ended after this long never will.
const LONGEST: u64 = 60;

/// The client of one token endpoint.
#[derive(Clone)]
pub(super) struct Account {
    folder: Arc<Folder>,
    file: String,
    secret: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Record {
    /// Refused logins in a row.
    strikes: u32,
    /// The digest of the secret that was refused last.
    secret: String,
    /// No try before this second of the epoch.
    until: u64,
    /// When the tries began that are under way.
    trying: Vec<u64>,
}

/// Whether a login may be tried.
pub(super) enum May {
    /// It may; how it ended has to be said.
    Try(Try),
    /// Not before so long, after so many refusals.
    Wait(Duration, u32),
    /// Others try just now.
    Busy,
    /// Never again with this secret.
    Never,
}

/// One try.
pub(super) struct Try {
    account: Account,
    begun: u64,
}

impl Account {
    /// The account of `parts` (endpoint, client id) with this secret; none where nothing keyed can be kept.
    pub(super) fn of(
        folder: &Arc<Folder>,
        redactor: &Redactor,
        parts: &[&str],
        secret: &str,
    ) -> Option<Self> {
        let keyed = |text: &str| {
            let digest = match folder.directory() {
                Some(directory) => Some(directory.keyed(text)),
                None => redactor.keyed_digest(text.as_bytes()),
            };
            digest.map(|digest| digest.hex()[..32].to_owned())
        };
        let file = keyed(&format!("login\0{}", parts.join("\0")))?;
        let secret = keyed(&format!("secret\0{secret}"))?;
        Some(Self { folder: Arc::clone(folder), file, secret })
    }

    /// What an operator may remove once the credentials are right.
    pub(super) fn place(&self) -> String {
        self.folder.place(&self.file)
    }

    /// Asks whether a login may be tried at this second of the epoch.
    pub(super) async fn may_try(&self, now: u64) -> Result<May> {
        self.change(move |account, record| {
            let under_way = record.trying.len();
            record.trying.retain(|begun| now < begun + LONGEST && *begun <= now);
            record.strikes += u32::try_from(under_way - record.trying.len()).unwrap_or(u32::MAX);
            if record.strikes >= OUT && record.secret == account.secret {
                return May::Never;
            }
            // A clock that was set back keeps nobody waiting for longer than a pause lasts.
            let wait = record.until.saturating_sub(now).min(COOL_DOWN.as_secs());
            if wait > 0 {
                return May::Wait(Duration::from_secs(wait), record.strikes);
            }
            // Another secret gets one try after each pause.
            let room = OUT.saturating_sub(record.strikes).max(1);
            if record.trying.len() >= room as usize {
                return May::Busy;
            }
            record.trying.push(now);
            May::Try(Try { account: account.clone(), begun: now })
        })
        .await
    }

    async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Account, &mut Record) -> T + Send + 'static,
    ) -> Result<T> {
        let account = self.clone();
        let work = move || {
            let _turn = account.folder.lock("logins")?;
            let bytes = account.folder.read(&account.file)?;
            let mut record =
                bytes.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok()).unwrap_or_default();
            let done = act(&account, &mut record);
            if record.strikes == 0 && record.trying.is_empty() {
                account.folder.remove(&account.file)?;
                return Ok(done);
            }
            let bytes = serde_json::to_vec(&record).map_err(|cause| {
                Error::new(Kind::Internal, "A login could not be written down.").with_source(cause)
            })?;
            account.folder.write(&account.file, &bytes)?;
            Ok(done)
        };
        tokio::task::spawn_blocking(work).await.map_err(|cause| {
            Error::new(Kind::Internal, "Counting a login was interrupted.").with_source(cause)
        })?
    }
}

impl Try {
    /// It was accepted: nothing is held against the account any more.
    pub(super) async fn accepted(self) -> Result<()> {
        self.end(|_, record| (record.strikes, record.until) = (0, 0)).await
    }

    /// It was refused; returns how many were in a row.
    pub(super) async fn refused(self, now: u64) -> Result<u32> {
        self.end(move |account, record| {
            record.strikes += 1;
            record.secret.clone_from(&account.secret);
            record.until = now + pause(record.strikes).as_secs();
            record.strikes
        })
        .await
    }

    /// Whether it would have been accepted is not known, and it was not refused.
    pub(super) async fn neither(self) -> Result<()> {
        self.end(|_, _| ()).await
    }

    async fn end<T: Send + 'static>(
        self,
        act: impl FnOnce(&Account, &mut Record) -> T + Send + 'static,
    ) -> Result<T> {
        let begun = self.begun;
        let how = move |account: &Account, record: &mut Record| {
            if let Some(place) = record.trying.iter().position(|other| *other == begun) {
                record.trying.remove(place);
            }
            act(account, record)
        };
        self.account.change(how).await
    }
}

/// How long nothing is tried after so many refusals in a row.
pub(super) fn pause(strikes: u32) -> Duration {
    match strikes {
        0..STRIKES => Duration::from_secs(5).saturating_mul(strikes),
        _ => COOL_DOWN,
    }
}
