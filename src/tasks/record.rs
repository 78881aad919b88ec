//! A task as it lies in the state directory.
//!
//! Owns [`Record`], [`State`] and the making of ids. The idea: an id is 160 random bits behind the time at which the
//! task is forgotten, so that a name alone tells what is over; it is no credential, for it opens only for its owner.
//!
//! Must not: know what a result means; whoever writes one has redacted it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::json::{Map, Value};

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub id: String,
    /// The digest of whose it is.
    pub owner: String,
    /// The process that runs it.
    pub process: String,
    /// When it was made, in milliseconds since the epoch.
    pub created: u64,
    /// When it changed last.
    pub updated: u64,
    /// When it is forgotten.
    pub expires: u64,
    /// A sentence about where it stands.
    pub message: Option<String>,
    /// Whether what was called may have had effects.
    pub ran: bool,
    /// Where it stands.
    pub state: State,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum State {
    /// Under way.
    Working,
    /// Waiting for answers.
    InputRequired {
        /// The questions that are open, by key.
        requests: Map<String, Value>,
    },
    /// It ended with a result, redacted.
    Completed {
        /// The result.
        result: Value,
    },
    /// It ended with an error of the protocol.
    Failed {
        /// The error: `code`, `message`, `data`.
        error: Value,
    },
    /// It was taken back.
    Cancelled,
}

impl State {
    /// Whether it stays as it is.
    pub const fn is_over(&self) -> bool {
        match self {
            Self::Working | Self::InputRequired { .. } => false,
            Self::Completed { .. } | Self::Failed { .. } | Self::Cancelled => true,
        }
    }
}

const TIME: usize = 12;
const LENGTH: usize = TIME + 40;

/// A fresh id for a task that is forgotten at `expires`.
pub(super) fn fresh_id(expires: u64) -> String {
    let (most, rest) = (rand::random::<u128>(), rand::random::<u32>());
    format!("{:012x}{most:032x}{rest:08x}", expires & 0xffff_ffff_ffff)
}

/// When the task of that id is forgotten; none if it is no id, and so not safe in a file name.
pub(super) fn expiry(id: &str) -> Option<u64> {
    let plain = id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if id.len() != LENGTH || !plain {
        return None;
    }
    u64::from_str_radix(&id[..TIME], 16).ok()
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_end_and_nothing_else() {
        let (one, two) = (fresh_id(1_800_000_000_000), fresh_id(1_800_000_000_000));
        assert_eq!(one.len(), LENGTH);
        assert_ne!(one, two);
        assert_eq!(expiry(&one), Some(1_800_000_000_000));
        for wrong in ["", "../../etc/passwd", &one[1..], &one.to_uppercase(), &format!("{one}a")] {
            assert_eq!(expiry(wrong), None, "{wrong}");
        }
    }
}
