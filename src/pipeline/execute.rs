//! Run it, within its time.
//!
//! Owns the stamp [`Executed`].

use super::Reply;

/// What a tool answered.
pub struct Executed {
    _reply: Reply,
}
