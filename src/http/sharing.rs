//! Tokens that instances share.
//!
//! Owns [`begin`] and [`Asking`]. The idea: one instance at a time asks a token endpoint for one client with one secret; what it gets
//! is sealed in the store, and the others take it from there. A token that an upstream has refused is not taken again.
//! An instance that asks for too long has lost its turn, and what it gets it keeps for itself.
//!
//! Must not: hold a secret in the clear, or keep an instance from asking for ever.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failed::Failed;
use crate::clock::SharedClock;
use crate::error::{Kind, Result};
use crate::json::Digest;
use crate::secret::Secret;
use crate::state::shared::{Directory, Guard};
use crate::state::{Folder, Shared};

/// How often it is looked whether another instance is done.
const AGAIN: Duration = Duration::from_millis(50);

/// How long what is beside a token is kept.
const BESIDE: Duration = Duration::from_hours(400 * 24);

/// The tokens of one client of one endpoint.
struct Sharing {
    shared: Arc<Shared>,
    name: String,
    clock: SharedClock,
}

/// A token as it lies in the store, sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    token: String,
    /// When it ends, in seconds since the epoch.
    ends: u64,
}

/// How a fetch begins.
pub(super) enum Begun {
    /// The others have a token, it lasts for so many seconds, and this is what they keep beside it.
    Token(Secret, u64, Option<Vec<u8>>),
    /// It is this instance's turn to ask; or nobody else is there.
    Ask(Option<Asking>),
}

/// The turn of this instance.
pub(super) struct Asking {
    sharing: Sharing,
    guard: Guard,
}

/// Begins a fetch; `parts` name the endpoint and the client, `refused` is the token that an upstream did not accept.
pub(super) async fn begin(
    folder: Option<&Folder>,
    parts: &[&str],
    secret: &Secret,
    refused: Option<Digest>,
    (clock, margin, patience): (&SharedClock, Duration, Duration),
) -> Result<Begun, Failed> {
    let Some(directory) = folder.and_then(Folder::directory) else { return Ok(Begun::Ask(None)) };
    let sharing = Sharing::of(directory, parts, secret, clock);
    match sharing.turn(refused.as_ref(), margin, patience).await.map_err(Failed::of)? {
        Turn::Token(token, lasts) => {
            let beside = sharing.shared.note(&sharing.beside(), None).await.map_err(Failed::of)?;
            Ok(Begun::Token(token, lasts, beside))
        }
        Turn::Ask(guard) => Ok(Begun::Ask(Some(Asking { sharing, guard }))),
        Turn::Busy => {
            let message = "other instances are asking for a token for long; try again later";
            Err(Failed::new(Kind::UpstreamFailed, String::from(message)))
        }
    }
}

impl Asking {
    /// Lets the others have what was got.
    pub(super) async fn share(self, token: &Secret, lasts: u64) {
        self.sharing.share(&self.guard, token, lasts).await;
    }

    /// What is kept beside the token: what the next one is fetched with.
    pub(super) async fn beside(&self) -> Option<Vec<u8>> {
        self.sharing.shared.note(&self.sharing.beside(), None).await.ok().flatten()
    }

    /// Keeps something beside the token, for longer than any token.
    pub(super) async fn put_beside(&self, bytes: &[u8]) {
        let name = self.sharing.beside();
        let done = self.sharing.shared.put_note(&name, bytes, BESIDE, Some(&self.guard)).await;
        match done {
            Ok(true) => {}
            Ok(false) => tracing::error!(
                "a refresh took so long that another instance may have begun one; check the store"
            ),
            Err(error) => {
                tracing::error!(
                    reason = error.message(),
                    "a refresh token could not be shared with other instances"
                );
            }
        }
    }
}

/// What the others have.
enum Turn {
    /// A token, and how many seconds it lasts.
    Token(Secret, u64),
    /// Nothing: it is this instance's turn to ask.
    Ask(Guard),
    /// Nothing, and another instance has been asking for a long time.
    Busy,
}

impl Sharing {
    /// For a client and its secret; `parts` name the endpoint and the client.
    fn of(directory: &Directory, parts: &[&str], secret: &Secret, clock: &SharedClock) -> Self {
        let text = format!("token\0{}\0{}", parts.join("\0"), secret.expose());
        let name = format!("token:{}", directory.keyed(&text).hex());
        Self { shared: Arc::clone(directory.shared()), name, clock: Arc::clone(clock) }
    }

    fn beside(&self) -> String {
        format!("{}:beside", self.name)
    }

    /// The token that is there, unless it is about to end or is the one that was refused; else whose turn it is.
    async fn turn(&self, refused: Option<&Digest>, margin: Duration, patience: Duration) -> Result<Turn> {
        let end = self.clock.monotonic() + patience;
        loop {
            if let Some(bytes) = self.shared.note(&self.name, None).await?
                && let Ok(kept) = serde_json::from_slice::<Kept>(&bytes)
            {
                let lasts = kept.ends.saturating_sub(self.clock.wall().as_secs());
                let is_refused = refused.is_some_and(|refused| *refused == Digest::of(kept.token.as_bytes()));
                if lasts > margin.as_secs() && !is_refused {
                    return Ok(Turn::Token(Secret::new(kept.token), lasts));
                }
            }
            if let Some(guard) = self.shared.guard(&self.name, patience * 2).await? {
                return Ok(Turn::Ask(guard));
            }
            if self.clock.monotonic() >= end {
                return Ok(Turn::Busy);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Lets the others have a token. What cannot be shared is used here all the same.
    async fn share(&self, guard: &Guard, token: &Secret, lasts: u64) {
        let kept = Kept {
            token: token.expose().to_owned(),
            ends: self.clock.wall().as_secs().saturating_add(lasts),
        };
        let Ok(bytes) = serde_json::to_vec(&kept) else { return };
        let done = self.shared.put_note(&self.name, &bytes, Duration::from_secs(lasts), Some(guard)).await;
        if let Err(error) = done {
            tracing::warn!(reason = error.message(), "a token could not be shared with other instances");
        }
    }
}
