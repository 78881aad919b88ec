//! Kind to exception, and what a tool raised to a reply.
//!
//! Owns the one exhaustive match. The idea: exceptions are classes written in Python; each kind names its own.
//!
//! Must not: put the words of an exception into a message, unless they were ours to begin with.

use std::time::Duration;

use pyo3::exceptions::asyncio::CancelledError;
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::{convert, spec};
use crate::error::{Error, Kind};
use crate::pipeline::{Family, Halt, Reply, ToolSpec};
use crate::protocol::types::ToolResult;

import_exception!(bartizan.context, Asked);
import_exception!(bartizan.exceptions, ApprovalRequired);
import_exception!(bartizan.exceptions, BartizanError);
import_exception!(bartizan.exceptions, Cancelled);
import_exception!(bartizan.exceptions, ConfigError);
import_exception!(bartizan.exceptions, Declined);
import_exception!(bartizan.exceptions, Forbidden);
import_exception!(bartizan.exceptions, Frozen);
import_exception!(bartizan.exceptions, InternalError);
import_exception!(bartizan.exceptions, InvalidArguments);
import_exception!(bartizan.exceptions, ProtocolError);
import_exception!(bartizan.exceptions, RateLimited);
import_exception!(bartizan.exceptions, ResourceNotFound);
import_exception!(bartizan.exceptions, TimedOut);
import_exception!(bartizan.exceptions, ToolError);
import_exception!(bartizan.exceptions, ToolFailed);
import_exception!(bartizan.exceptions, Unauthenticated);
import_exception!(bartizan.exceptions, UpstreamError);

/// The exception of an error.
pub(super) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let built = build(py, error).and_then(|raised| raised.setattr("_ours", true).map(|()| raised));
    built.map_or_else(|fault| fault, PyErr::from_value)
}

/// An exception whose words came from outside: raised again in a tool, it is a failure like any other.
pub(super) fn foreign(py: Python<'_>, error: &Error) -> PyErr {
    build(py, error).map_or_else(|fault| fault, PyErr::from_value)
}

fn build<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let class = match error.kind() {
        Kind::BadJson
        | Kind::BadRequest
        | Kind::NoSuchMethod
        | Kind::BadParams
        | Kind::NoSuchTool
        | Kind::NoSuchResource
        | Kind::HeaderMismatch
        | Kind::MissingCapability
        | Kind::UnsupportedRevision => py.get_type::<ProtocolError>(),
        Kind::Unauthenticated => py.get_type::<Unauthenticated>(),
        Kind::BadArguments => py.get_type::<InvalidArguments>(),
        Kind::RateLimited => py.get_type::<RateLimited>(),
        Kind::Forbidden => py.get_type::<Forbidden>(),
        Kind::NeedsApproval => py.get_type::<ApprovalRequired>(),
        Kind::Declined => py.get_type::<Declined>(),
        Kind::Frozen => py.get_type::<Frozen>(),
        Kind::UpstreamRefused | Kind::UpstreamFailed => py.get_type::<UpstreamError>(),
        Kind::TimedOut => py.get_type::<TimedOut>(),
        Kind::Cancelled => py.get_type::<Cancelled>(),
        Kind::ToolFailed => py.get_type::<ToolFailed>(),
        Kind::BadConfig => py.get_type::<ConfigError>(),
        Kind::Internal => py.get_type::<InternalError>(),
    };
    let words = PyDict::new(py);
    words.set_item("kind", error.kind().name())?;
    if let Some(detail) = error.detail() {
        words.set_item("detail", convert::to_python(py, detail)?)?;
    }
    if let Some(after) = error.retry_after() {
        words.set_item("retry_after", after.as_secs_f64())?;
    }
    class.call((error.message(),), Some(&words))
}

/// What a call came to when the Python side raised.
pub(super) fn outcome(py: Python<'_>, raised: &PyErr, spec: &ToolSpec) -> Result<Reply, Halt> {
    if raised.is_instance_of::<Asked>(py) {
        return match spec::asks(raised.value(py)) {
            Ok(asks) => Err(Halt::Ask(asks)),
            Err(fault) => Err(failed(py, &fault).into()),
        };
    }
    if raised.is_instance_of::<ToolError>(py) && spec.family == Family::Tool {
        let words = raised.value(py).str().map(|words| words.to_string_lossy().into_owned());
        return Ok(Reply::Tool(ToolResult::failure(words.unwrap_or_default())));
    }
    if raised.is_instance_of::<ResourceNotFound>(py) {
        return Err(Error::new(Kind::NoSuchResource, "There is nothing at this address.").into());
    }
    if raised.is_instance_of::<BartizanError>(py)
        && let Some(error) = ours(raised.value(py))
    {
        return Err(error.into());
    }
    if raised.is_instance_of::<CancelledError>(py) {
        return Err(Error::new(Kind::Cancelled, "The call was cancelled.").into());
    }
    Err(failed(py, raised).into())
}

/// The error behind an exception that the core itself raised: its sentence is ours and may be shown again.
pub(super) fn ours(raised: &Bound<'_, pyo3::exceptions::PyBaseException>) -> Option<Error> {
    if !raised.getattr("_ours").ok()?.is_truthy().ok()? {
        return None;
    }
    let name = raised.getattr("kind").ok()?.extract::<String>().ok()?;
    let kind = *Kind::ALL.iter().find(|kind| kind.name() == name)?;
    let message = raised.getattr("message").ok()?.extract::<String>().ok()?;
    let mut error = Error::new(kind, message);
    if let Ok(detail) = raised.getattr("detail").and_then(|detail| convert::from_python(&detail))
        && !detail.is_null()
    {
        error = error.with_detail(detail);
    }
    if let Ok(Some(after)) = raised.getattr("retry_after").and_then(|after| after.extract::<Option<f64>>())
        && let Ok(after) = Duration::try_from_secs_f64(after)
    {
        error = error.with_retry_after(after);
    }
    Some(error)
}

/// An exception nobody expected: its words go to the log only, where the line keeps them under an id.
pub(super) fn failed(py: Python<'_>, raised: &PyErr) -> Error {
    let words = traceback(py, raised).unwrap_or_else(|_| {
        raised.get_type(py).name().map_or_else(|_| String::new(), |name| name.to_string())
    });
    Error::new(Kind::ToolFailed, "The tool failed unexpectedly.").with_source(words)
}

fn traceback(py: Python<'_>, raised: &PyErr) -> PyResult<String> {
    let lines = py.import("traceback")?.call_method1("format_exception", (raised.value(py),))?;
    PyString::new(py, "").call_method1("join", (lines,))?.extract()
}

/// A Python exception as an error of the start: ours as it was, anything else as bad configuration.
pub(super) fn at_start(py: Python<'_>, raised: &PyErr) -> Error {
    ours(raised.value(py)).unwrap_or_else(|| {
        let words = raised.is_instance_of::<ConfigError>(py).then(|| raised.value(py).to_string());
        match words {
            Some(words) => Error::new(Kind::BadConfig, words),
            None => Error::new(Kind::BadConfig, "The Python side of the server could not be set up."),
        }
        .with_source(traceback(py, raised).unwrap_or_default())
    })
}
