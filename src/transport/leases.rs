//! Streams that end with what let them in.
//!
//! Owns [`Leases`], the open streams and what each goes on by. The idea: a request is checked when it comes, and is
//! over soon; a stream may stay for days, so a key that is taken back has to reach it. One task looks at all of them, a
//! few times a second, while there are any.
//!
//! Must not: know a kind of credential.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::auth::{Authenticator, Lease};

/// How often streams are looked at.
const EVERY: Duration = Duration::from_millis(250);

/// The open streams.
#[derive(Default)]
pub(super) struct Leases {
    next: AtomicU64,
    open: Mutex<HashMap<u64, (Lease, CancellationToken)>>,
    opened: Notify,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (Lease, CancellationToken)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream that goes on as long as its lease.
    pub(super) fn take(self: &Arc<Self>, lease: Lease) -> Leased {
        let (number, ended) = (self.next.fetch_add(1, Ordering::Relaxed), CancellationToken::new());
        self.lock().insert(number, (lease, ended.clone()));
        self.opened.notify_one();
        Leased { leases: Arc::clone(self), number, ended: Box::pin(ended.cancelled_owned()) }
    }

    /// Ends what has lost its right, for ever.
    pub(super) async fn watch(&self, authenticator: &dyn Authenticator) {
        loop {
            if self.lock().is_empty() {
                self.opened.notified().await;
            }
            tokio::time::sleep(EVERY).await;
            authenticator.refresh();
            self.lock().retain(|_, (lease, ended)| {
                let holds = lease();
                if !holds {
                    ended.cancel();
                }
                holds
            });
        }
    }
}

/// A stream's place among those that are watched; resolves when its lease is up.
pub(super) struct Leased {
    leases: Arc<Leases>,
    number: u64,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Future for Leased {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.ended.as_mut().poll(context)
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.leases.lock().remove(&self.number);
    }
}
