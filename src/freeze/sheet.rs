//! What is written down about a freeze.
//!
//! Owns [`Sheet`], [`Notice`] and how two sheets become one. The idea: only a lift that an operator's key
//! proves ends a freeze, and it ends what began before it; of two freezes the wider one holds. So processes and instances
//! that hear of the same sheets in any order come to the same end, and an old lift ends no new freeze.
//!
//! Must not: read or write files.

use serde::{Deserialize, Serialize};

use crate::approvals::{Operator, Testimony};
use crate::error::{Error, Kind, Result};
use crate::json::{canonical, json};

/// How much is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// Nothing.
    Nothing,
    /// Whatever is not a read.
    Writes,
    /// Everything.
    All,
}

impl Extent {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Writes => "writes",
            Self::All => "all",
        }
    }

    pub(super) const fn from_index(index: u8) -> Self {
        match index {
            0 => Self::Nothing,
            1 => Self::Writes,
            _ => Self::All,
        }
    }
}

/// That something was frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Which freeze it is.
    pub id: String,
    /// How much.
    pub extent: Extent,
    /// When, in milliseconds of the epoch.
    pub at: u64,
    /// Who said so, by their own account: freezing needs no key.
    pub by: String,
    /// Why, in the operator's words; shown to operators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Notice {
    /// A freeze that begins now.
    pub fn new(extent: Extent, at: u64, by: impl Into<String>, reason: Option<String>) -> Self {
        Self { id: format!("{:032x}", rand::random::<u128>()), extent, at, by: by.into(), reason }
    }
}

/// That a freeze was lifted, and by whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lift {
    /// When, in milliseconds of the epoch.
    pub at: u64,
    /// Who proves it.
    pub proof: Testimony,
}

/// The last word about freezing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sheet {
    version: u8,
    /// The freeze that it is about.
    pub notice: Notice,
    /// Its end, if it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lift: Option<Lift>,
}

impl Sheet {
    /// Frozen.
    pub fn frozen(notice: Notice) -> Self {
        Self { version: 1, notice, lift: None }
    }

    /// The end of that freeze, signed.
    pub fn lifted(notice: Notice, at: u64, operator: &Operator) -> Self {
        // after the freeze, whatever the clock of this machine says
        let at = at.max(notice.at.saturating_add(1));
        let proof = operator.testify(&statement(&notice, at));
        Self { version: 1, notice, lift: Some(Lift { at, proof }) }
    }

    /// Reads a sheet; what is none is an error, which freezes.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let damaged = || {
            Error::new(
                Kind::BadConfig,
                "What is written down about freezing is damaged, so everything counts as frozen; `bartizan unfreeze` \
                 mends it.",
            )
        };
        let sheet: Self = serde_json::from_slice(bytes).map_err(|cause| damaged().with_source(cause))?;
        if sheet.version == 1 { Ok(sheet) } else { Err(damaged()) }
    }

    /// The bytes of its file.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|cause| {
            Error::new(Kind::Internal, "A freeze could not be written down.").with_source(cause)
        })
    }

    /// How much is frozen by this.
    pub fn extent(&self) -> Extent {
        if self.lift.is_some() { Extent::Nothing } else { self.notice.extent }
    }

    /// What an operator signs to end it.
    pub(super) fn statement(&self) -> Option<(&Testimony, String)> {
        self.lift.as_ref().map(|lift| (&lift.proof, statement(&self.notice, lift.at)))
    }

    /// The last word of two, where `proved` says whether the new one's lift is an operator's. None: the old one stays.
    pub(super) fn after(old: Option<&Self>, new: &Self, proved: bool) -> bool {
        let Some(old) = old else { return new.lift.is_none() || proved };
        match (&old.lift, &new.lift) {
            (Some(lift), None) => new.notice.at > lift.at,
            (Some(lift), Some(other)) => proved && other.at > lift.at,
            // whoever lifts a freeze lifts what began before that
            (None, Some(lift)) => proved && lift.at > old.notice.at,
            (None, None) => new.notice.extent > old.notice.extent,
        }
    }
}

fn statement(notice: &Notice, at: u64) -> String {
    let body = json!({"id": notice.id, "extent": notice.extent, "since": notice.at, "at": at});
    format!("bartizan unfreeze v1\n{}", canonical(&body))
}
