//! Who calls, and with which rights.
//!
//! Owns the answers to `transport`'s [`Authenticator`](crate::transport::auth::Authenticator) port. The idea: trust
//! attaches to a key this server minted or a token that a configured issuer signed, never to what a client says of itself.
//!
//! Must not: decide what a caller may do; that is policy's.

mod callers;
mod certificates;
mod file;
mod grant;
pub mod keys;
pub mod oauth;
mod open;
#[cfg(test)]
mod tests;
mod usage;

pub use callers::Callers;
pub use certificates::Certificates;
pub use open::NoAuth;
