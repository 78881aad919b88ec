//! Fit to leave?
//!
//! Owns the stamp [`Redacted`].

use super::Reply;

/// A reply that is fit to leave.
pub struct Redacted {
    reply: Reply,
}

impl Redacted {
    /// The clean reply.
    pub fn into_reply(self) -> Reply {
        self.reply
    }
}
