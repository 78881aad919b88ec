//! Calls that cannot begin.
//!
//! Owns [`Line::unheard`]. The idea: a call of something that is not there, or with something that is no arguments, is a
//! call that was attempted: it is charged to its caller and leaves an intent and an outcome like any other, so that the
//! log shows who looks for what. Over quota it leaves nothing, so that nobody fills the file faster than by calling.
//!
//! Must not: repeat a name that the caller made up, or change what the caller is told.

use super::{Charged, Context, Line, redact};
use crate::audit::{Finish, Record};
use crate::error::Error;

/// What the log calls something that is not there.
const UNKNOWN: &str = "unknown";

impl Line {
    /// Charges and writes down a call that ends with `error` before it could begin. `known` is what it would have called,
    /// where that exists. The same error comes back, marked as written down.
    pub async fn unheard(
        &self,
        method: &'static str,
        known: Option<&str>,
        context: &Context,
        mut error: Error,
    ) -> Error {
        if self.parts.limiter.admit(&context.principal.id, None, "read").await.is_ok() {
            let record = Record {
                principal: &context.principal.id,
                bearer: context.principal.bearer.as_deref(),
                delegate: context.principal.delegate.as_deref(),
                address: context.address,
                profile: self.parts.profile,
                transport: context.transport,
                client: &context.client.name,
                client_version: &context.client.version,
                method,
                tool: known.unwrap_or(UNKNOWN),
                effect: UNKNOWN,
                arguments: None,
                request: &context.request_id,
                trace: None,
                practice: false,
            };
            let written = match self.parts.audit.intent(record).await {
                Ok(entry) => {
                    if redact::is_named(error.kind()) {
                        let detail = redact::named(error.detail().cloned(), &entry.id().to_string(), false);
                        error = error.with_detail(detail);
                    }
                    entry.finish(Finish { result: error.kind().name(), ..Finish::default() }).await
                }
                Err(failed) => Err(failed),
            };
            if let Err(failed) = written {
                tracing::error!(
                    kind = failed.kind().name(),
                    "a call that could not begin could not be audited"
                );
            }
        }
        error.with_source(Charged)
    }
}
