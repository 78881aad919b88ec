//! The line: six calls in a row.
//!
//! Must not: be gone round.

mod approve;
pub mod call;
mod redact;
pub mod tool;

pub use approve::Approved;
pub use call::{Answers, Client, Context, Halt, Outcome, Proposed, Question, Reply, Voice};
pub use redact::Redacted;
pub use tool::{Family, Tool, ToolSpec};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
