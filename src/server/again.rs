//! Calls that go on later.
//!
//! Owns [`again`]. The idea: a call that waited, for an answer or for a person, goes on under the rules and along the
//! tool that hold by then, both of one snapshot; where the tool has become another, nobody has agreed to that one.
//!
//! Must not: call anything.

use std::sync::Arc;

use crate::catalog::Snapshot;
use crate::error::{Error, Kind, Result};
use crate::pipeline::{Tool, unknown};
use crate::protocol::Method;

/// What a call goes on with: the tool of that name, or the resource at that address, as it is now.
pub(super) fn again(
    now: &Snapshot,
    (method, name): (&str, &str),
    before: &Arc<dyn Tool>,
) -> Result<Arc<dyn Tool>> {
    let entry = if method == Method::ResourcesRead.name() {
        now.resource(name).map(|(entry, _)| entry)
    } else if method == Method::PromptsGet.name() {
        now.prompt(name)
    } else {
        now.tool(name)
    };
    let tool = entry.ok_or_else(|| unknown(method))?.tool();
    if Arc::ptr_eq(tool, before) || tool.spec().fingerprint() == before.spec().fingerprint() {
        return Ok(Arc::clone(tool));
    }
    Err(Error::new(Kind::Forbidden, "What this call is for has changed since it was made; make it again."))
}
