//! Python functions that watch the line: guards and audit sinks.
//!
//! Owns [`PyGuard`] and [`PySink`]. The idea: both are ports of the core, asked and told from the pool's threads like
//! any tool; what a guard raises, answers wrongly or does not answer in time is an error, and the line takes an error of
//! a guard for a no.
//!
//! Must not: decide anything the function did not say.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::pool::Pool;
use super::{convert, coroutine, errors};
use crate::audit;
use crate::error::{Error, Kind, Result};
use crate::json::Value;
use crate::pipeline::{BoxFuture, Guard, Guarded};
use crate::policy::Verdict;

/// What both are made of: `bartizan.hooks.Hook`.
struct Hook {
    name: String,
    call: Py<PyAny>,
    is_async: bool,
    timeout: Duration,
}

impl Hook {
    fn read(hook: &Bound<'_, PyAny>) -> PyResult<Arc<Self>> {
        let timeout = Duration::try_from_secs_f64(hook.getattr("timeout")?.extract()?);
        Ok(Arc::new(Self {
            name: hook.getattr("name")?.extract()?,
            call: hook.getattr("call")?.unbind(),
            is_async: hook.getattr("is_async")?.extract()?,
            timeout: timeout.map_err(|_| PyTypeError::new_err("an impossible timeout"))?,
        }))
    }
}

/// A function's word on a call.
pub(super) struct PyGuard(Arc<Hook>, String);

impl PyGuard {
    /// Reads the guards of a plan.
    pub(super) fn all(hooks: &Bound<'_, PyList>) -> PyResult<Vec<Arc<dyn Guard>>> {
        let read = |hook: Bound<'_, PyAny>| {
            let hook = Hook::read(&hook)?;
            let name = format!("guard:{}", hook.name);
            Ok(Arc::new(Self(hook, name)) as Arc<dyn Guard>)
        };
        hooks.iter().map(read).collect()
    }
}

fn word(py: Python<'_>, returned: PyResult<Py<PyAny>>) -> Result<Verdict> {
    let said = returned.and_then(|returned| {
        let returned = returned.bind(py);
        if returned.is_none() {
            return Ok(Verdict::Allow);
        }
        match returned.cast::<PyString>().map(|word| word.to_string_lossy().into_owned()).as_deref() {
            Ok("allow") => Ok(Verdict::Allow),
            Ok("ask") => Ok(Verdict::Ask),
            Ok("deny") => Ok(Verdict::Deny),
            Ok(_) | Err(_) => Err(PyTypeError::new_err("a guard returns None, 'allow', 'ask' or 'deny'")),
        }
    });
    said.map_err(|raised| errors::failed(py, &raised))
}

impl Guard for PyGuard {
    fn name(&self) -> &str {
        &self.1
    }

    fn judge<'a>(&'a self, call: Guarded<'a>) -> BoxFuture<'a, Result<Verdict>> {
        let hook = Arc::clone(&self.0);
        let (principal, tool) = (Arc::clone(&call.context.principal), call.spec.name.clone());
        let (arguments, effect) = (call.arguments.clone(), call.spec.effect.name());
        let (limit, owner) = (hook.timeout, Arc::clone(&principal));
        let asked = async move {
            let is_async = hook.is_async;
            let ask = move |py: Python<'_>, sink: Option<coroutine::Sink>| -> PyResult<Py<PyAny>> {
                let principal = pythonize::pythonize(py, &*principal)?;
                let arguments = convert::arguments(py, &arguments)?;
                match sink {
                    Some(sink) => hook.call.call1(py, (principal, tool, arguments, effect, sink)),
                    None => hook.call.call1(py, (principal, tool, arguments, effect)),
                }
            };
            if is_async {
                coroutine::start(&owner.id, move |py, sink| ask(py, Some(sink)), word).await?
            } else {
                Pool::global().run(&owner.id, move |py| word(py, ask(py, None))).await?
            }
        };
        Box::pin(async move {
            tokio::time::timeout(limit, asked)
                .await
                .unwrap_or_else(|_| Err(Error::new(Kind::TimedOut, "The guard did not answer in time.")))
        })
    }
}

/// A function that is told each audit record.
pub(super) struct PySink(Arc<Hook>);

impl PySink {
    /// Reads the sinks of a plan.
    pub(super) fn all(hooks: &Bound<'_, PyList>) -> PyResult<Vec<Arc<dyn audit::Sink>>> {
        let read = |hook: Bound<'_, PyAny>| Ok(Arc::new(Self(Hook::read(&hook)?)) as Arc<dyn audit::Sink>);
        hooks.iter().map(read).collect()
    }
}

/// Lines as a list of dicts.
fn records<'py>(py: Python<'py>, lines: &[Arc<str>]) -> PyResult<Bound<'py, PyList>> {
    let read = |line: &Arc<str>| {
        let record: Value = serde_json::from_str(line).unwrap_or_default();
        convert::to_python(py, &record)
    };
    PyList::new(py, lines.iter().map(read).collect::<PyResult<Vec<_>>>()?)
}

fn taken(py: Python<'_>, returned: PyResult<Py<PyAny>>) -> Result<()> {
    returned.map(drop).map_err(|raised| errors::failed(py, &raised))
}

impl audit::Sink for PySink {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn take(&self, lines: Vec<Arc<str>>) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        let hook = Arc::clone(&self.0);
        // nobody's turn but its own
        let owner: Arc<str> = format!("audit sink {}", hook.name).into();
        Box::pin(async move {
            if hook.is_async {
                let begin = move |py: Python<'_>, sink| hook.call.call1(py, (records(py, &lines)?, sink));
                coroutine::start(&owner, begin, taken).await?
            } else {
                let told = move |py: Python<'_>| {
                    taken(py, records(py, &lines).and_then(|records| hook.call.call1(py, (records,))))
                };
                Pool::global().run(&owner, told).await?
            }
        })
    }
}
