//! No authentication, on purpose.
//!
//! Owns [`NoAuth`]. The idea: `--no-auth` is a choice somebody made for loopback; everybody is the same anonymous
//! principal, and the transport refuses to open such an endpoint to other machines.
//!
//! Must not: grant approval rights.

use std::sync::Arc;

use crate::principal::{Principal, PrincipalKind};
use crate::transport::auth::{Authenticator, Presented, Verdict};

/// Lets everybody in as `anonymous`.
pub struct NoAuth(Arc<Principal>);

impl NoAuth {
    /// The open door.
    pub fn new() -> Self {
        Self(Arc::new(Principal::new("anonymous", PrincipalKind::Anonymous)))
    }
}

impl Default for NoAuth {
    fn default() -> Self {
        Self::new()
    }
}

impl Authenticator for NoAuth {
    fn authenticate<'a>(&'a self, _presented: &'a Presented<'a>) -> Verdict<'a> {
        Verdict::Now(Ok(self.0.clone()))
    }

    fn is_open(&self) -> bool {
        true
    }
}
