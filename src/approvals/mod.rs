//! Does a person agree, and can that be proved?
//!
//! Owns [`Approvals`] and its [`Config`]. The idea: a call that needs a person leaves a record in the state directory;
//! an operator signs a decision about exactly that record with a key whose private half only a passphrase opens; the
//! server holds public halves, and takes the grant by renaming the record, which exactly one caller can do.
//!
//! Must not: know tools, or render anything that was not redacted before.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::SharedClock;
use crate::error::Result;

/// The `[approvals]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long an approval may be decided and used, in seconds.
    pub expires_seconds: u64,
    /// Where the public keys of operators are; `operators` in the state directory if not given.
    pub operators: Option<PathBuf>,
    /// The profile that approvals are bound to; unset is production.
    pub profile: String,
    /// How many approvals may wait at once.
    pub most_pending: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            expires_seconds: 900,
            operators: None,
            profile: String::from("production"),
            most_pending: 1000,
        }
    }
}

impl Config {
    /// How long an approval may be decided and used.
    pub fn expires(&self) -> Duration {
        Duration::from_secs(self.expires_seconds)
    }
}

/// Approvals, in a state directory that several processes may share.
pub struct Approvals {
    _clock: SharedClock,
}

impl Approvals {
    /// Opens the approvals of a state directory, which is made if it is not there.
    pub fn open(_config: &Config, _state: &std::path::Path, clock: SharedClock) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { _clock: clock }))
    }
}
