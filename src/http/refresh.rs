//! The refresh token that is good now.
//!
//! Owns [`Next`] and where it is kept. The idea: an endpoint may hand out a new refresh token with every access token, and
//! the former one is spent with that; so what the operator once put down is only where the chain begins, and the link that
//! is good now is kept sealed, counted, under the name of the one it began with. A link that the endpoint does not take
//! any more is marked, so that nobody sends it again.
//!
//! Must not: ask an endpoint, or go back to an older link.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::drawer::Drawer;
use super::sharing::Asking;
use crate::json::{Digest, Value};
use crate::secret::Secret;

/// A link of the chain.
#[derive(Clone)]
pub(super) struct Next {
    pub(super) token: Secret,
    /// How many were handed out before it.
    pub(super) number: u64,
    /// Whether the endpoint has refused it.
    pub(super) spent: bool,
}

/// A link as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    token: String,
    number: u64,
    spent: bool,
}

impl Next {
    /// The link after this one.
    pub(super) fn after(&self, token: Secret) -> Self {
        Self { token, number: self.number + 1, spent: false }
    }

    fn write(&self) -> Zeroizing<Vec<u8>> {
        let kept = Kept { token: self.token.expose().to_owned(), number: self.number, spent: self.spent };
        let bytes = Zeroizing::new(serde_json::to_vec(&kept).unwrap_or_default());
        drop(Zeroizing::new(kept.token));
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let kept: Kept = serde_json::from_slice(bytes).ok()?;
        Some(Self { token: Secret::new(kept.token), number: kept.number, spent: kept.spent })
    }

    /// Whether it comes later in the chain; of the same link the one that is known to be spent.
    fn is_later(&self, other: &Self) -> bool {
        (self.number, self.spent) > (other.number, other.spent)
    }
}

/// The chain that begins with one refresh token.
#[derive(Default)]
pub(super) struct Chain {
    /// The token it begins with, by its digest, and the last link this process knows.
    known: Option<(Digest, Next)>,
}

impl Chain {
    fn known(&self, seed: &Secret) -> Option<Next> {
        let digest = Digest::of(seed.expose().as_bytes());
        self.known.as_ref().filter(|(of, _)| *of == digest).map(|(_, next)| next.clone())
    }

    /// Remembers a link.
    pub(super) fn put(&mut self, seed: &Secret, next: Next) {
        self.known = Some((Digest::of(seed.expose().as_bytes()), next));
    }
}

/// The link that is good now, of what this process, this machine and the other instances know.
pub(super) async fn current(
    known: &std::sync::Mutex<Chain>,
    seed: &Secret,
    drawer: Option<&Drawer>,
    asking: Option<&Asking>,
) -> Next {
    let mut found = vec![Next { token: seed.clone(), number: 0, spent: false }];
    found.extend(known.lock().unwrap_or_else(std::sync::PoisonError::into_inner).known(seed));
    if let Some(drawer) = drawer {
        found.extend(drawer.read().await.and_then(|bytes| Next::read(&bytes)));
    }
    if let Some(asking) = asking {
        found.extend(asking.beside().await.and_then(|bytes| Next::read(&bytes)));
    }
    let first = found.swap_remove(0);
    found.into_iter().fold(first, |best, one| if one.is_later(&best) { one } else { best })
}

/// Keeps a link everywhere it can be kept. False where it will not outlive this process.
pub(super) async fn keep(
    known: &std::sync::Mutex<Chain>,
    seed: &Secret,
    next: &Next,
    drawer: Option<&Drawer>,
    asking: Option<&Asking>,
) -> bool {
    known.lock().unwrap_or_else(std::sync::PoisonError::into_inner).put(seed, next.clone());
    let bytes = next.write();
    let mut kept = false;
    if let Some(drawer) = drawer {
        kept = drawer.write(bytes.clone()).await;
    }
    if let Some(asking) = asking {
        asking.put_beside(&bytes).await;
    }
    kept
}

/// Keeps here what another instance got.
pub(super) async fn copy(bytes: &[u8], drawer: Option<&Drawer>) {
    let (Some(theirs), Some(drawer)) = (Next::read(bytes), drawer) else { return };
    let ours = drawer.read().await.and_then(|bytes| Next::read(&bytes));
    if ours.is_none_or(|ours| theirs.is_later(&ours)) {
        drawer.write(theirs.write()).await;
    }
}

/// The refresh token of an answer, if it hands one out.
pub(super) fn handed_out(body: &[u8]) -> Option<Secret> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let token = answer.get("refresh_token")?.as_str().filter(|token| !token.is_empty())?;
    Some(Secret::new(token))
}

/// Whether a refusal is about the refresh token itself (RFC 6749, 5.2), and not about who asks.
pub(super) fn is_spent(body: &[u8]) -> bool {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    answer.is_some_and(|answer| answer.get("error").and_then(Value::as_str) == Some("invalid_grant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(token: &str, number: u64, spent: bool) -> Next {
        Next { token: Secret::new(token), number, spent }
    }

    #[test]
    fn the_last_link_counts_and_one_that_is_spent_stays_so() {
        assert!(next("b", 2, false).is_later(&next("a", 1, true)));
        assert!(next("a", 1, true).is_later(&next("a", 1, false)));
        assert!(!next("a", 1, false).is_later(&next("a", 1, false)));
        let back = Next::read(&next("token-4711", 3, true).write()).unwrap();
        assert_eq!((back.token.expose(), back.number, back.spent), ("token-4711", 3, true));
        assert!(Next::read(b"{}").is_none() && Next::read(b"").is_none());
    }

    #[test]
    fn another_beginning_is_another_chain() {
        let (mut chain, seed) = (Chain::default(), Secret::new("first"));
        chain.put(&seed, next("second", 1, false));
        assert_eq!(chain.known(&seed).unwrap().token.expose(), "second");
        assert!(chain.known(&Secret::new("another")).is_none());
    }

    #[test]
    fn what_the_endpoint_says_is_understood() {
        let handed = |body: &str| handed_out(body.as_bytes()).map(|token| token.expose().to_owned());
        assert_eq!(handed(r#"{"access_token":"a","refresh_token":"r"}"#).as_deref(), Some("r"));
        assert_eq!(handed(r#"{"access_token":"a","refresh_token":""}"#), None);
        assert_eq!(handed(r#"{"access_token":"a"}"#), None);
        assert!(is_spent(br#"{"error":"invalid_grant","error_description":"reused"}"#));
        assert!(!is_spent(br#"{"error":"invalid_client"}"#) && !is_spent(b"<html>"));
    }
}
