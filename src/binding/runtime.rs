//! The runtime that Python's own servers, clients and scripts run on.
//!
//! Owns the waiting. The idea: a thread of Python's waits with the interpreter let go and looks for signals now and
//! then; a coroutine of Python's waits for a callback that is made from the pool.
//!
//! Must not: be used by the command line, which has its own.

use std::future::Future;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::errors;
use super::pool::Pool;
use crate::error::{Error, Kind, Result};

/// How often a waiting thread looks for Ctrl-C.
const GLANCE: Duration = Duration::from_millis(100);

/// The runtime, started when it is first needed.
pub(super) fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| Builder::new_multi_thread().thread_name("bartizan").enable_all().build().ok())
        .as_ref()
        .ok_or_else(|| Error::new(Kind::Internal, "The operating system gave no threads to run on."))
}

/// Waits for a future on a thread of Python's.
pub(super) fn wait<T: Send>(py: Python<'_>, work: impl Future<Output = Result<T>> + Send) -> PyResult<T> {
    let runtime = runtime().map_err(|error| errors::raised(py, &error))?;
    let mut work = pin!(work);
    loop {
        let done = py.detach(|| runtime.block_on(async { tokio::time::timeout(GLANCE, &mut work).await }));
        match done {
            Ok(done) => return done.map_err(|error| errors::raised(py, &error)),
            Err(_) => py.check_signals()?,
        }
    }
}

/// Runs a future and calls `done(result, error)` from the pool; what is returned cancels it.
pub(super) fn tell<T: Send + 'static>(
    py: Python<'_>,
    done: Py<PyAny>,
    work: impl Future<Output = T> + Send + 'static,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Cancel> {
    let runtime = runtime().map_err(|error| errors::raised(py, &error))?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    runtime.spawn(async move {
        let outcome = tokio::select! {
            biased;
            () = cancelled.cancelled() => None,
            outcome = work => Some(outcome),
        };
        Pool::brief().send(move |py| {
            let told = match outcome.map(|outcome| convert(py, outcome)) {
                Some(Ok(result)) => done.call1(py, (result, py.None())),
                Some(Err(raised)) => done.call1(py, (py.None(), raised.into_value(py))),
                None => {
                    let error = Error::new(Kind::Cancelled, "The call was cancelled.");
                    done.call1(py, (py.None(), errors::raised(py, &error).into_value(py)))
                }
            };
            if let Err(raised) = told {
                raised.write_unraisable(py, None);
            }
        });
    });
    Ok(Cancel(token))
}

/// Cancels what was started.
#[pyclass(frozen, module = "bartizan._core")]
pub(super) struct Cancel(pub(super) CancellationToken);

#[pymethods]
impl Cancel {
    fn cancel(&self) {
        self.0.cancel();
    }
}
