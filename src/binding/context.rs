//! The context as Python is handed it.
//!
//! Owns [`CallContext`]; `bartizan.context.Context` is built on it. The idea: it repeats what the line's own context
//! says, and says things to its voice.
//!
//! Must not: be kept beyond the call; what it says afterwards is not heard.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio_util::sync::CancellationToken;

use super::script::Connection;
use super::tool::Home;
use super::{convert, errors, runtime, spec};
use crate::error::{Error, Kind};
use crate::pipeline::Context;
use crate::protocol::types::LogLevel;

/// One call's context.
#[pyclass(frozen, module = "bartizan._core")]
pub(super) struct CallContext {
    context: Context,
    over: CancellationToken,
    home: Home,
}

impl CallContext {
    pub(super) fn new(context: &Context, over: CancellationToken, home: Home) -> Self {
        Self { context: context.clone(), over, home }
    }
}

#[pymethods]
impl CallContext {
    #[pyo3(signature = (progress, total=None, message=None, /))]
    fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        if !self.over.is_cancelled() {
            self.context.voice.progress(progress, total, message);
        }
    }

    #[pyo3(signature = (level, data, logger=None, /))]
    fn log(&self, level: &str, data: &Bound<'_, PyAny>, logger: Option<&str>) -> PyResult<()> {
        let level: LogLevel = serde_json::from_value(level.into())
            .map_err(|_| pyo3::exceptions::PyValueError::new_err("an unknown log level"))?;
        let data = convert::from_python(data)?;
        if !self.over.is_cancelled() {
            self.context.voice.log(level, logger, &data);
        }
        Ok(())
    }

    /// Makes the call a task, if its tool says so by itself and the client supports tasks.
    fn start_task(&self, py: Python<'_>) -> PyResult<()> {
        match &self.context.detach {
            Some(detach) if !self.over.is_cancelled() => runtime::wait(py, detach.detach()),
            _ => Ok(()),
        }
    }

    fn close_stream(&self) {
        if !self.over.is_cancelled() {
            self.context.voice.pause();
        }
    }

    /// The client's answer to a question, checked against it; None if it has not come.
    #[pyo3(signature = (key, question, /))]
    fn answer<'py>(
        &self,
        py: Python<'py>,
        key: &str,
        question: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.context.answers.to(key, &spec::ask(question)?) {
            Ok(None) => Ok(None),
            Ok(Some(answer)) => convert::to_python(py, answer).map(Some),
            Err(error) => Err(errors::raised(py, &error)),
        }
    }

    /// A connector of this server, capped at what this tool may do.
    #[pyo3(signature = (name, /))]
    fn api(&self, py: Python<'_>, name: &str) -> PyResult<Connection> {
        let app = self.home.app().ok_or_else(|| Error::new(Kind::Cancelled, "The server has ended."));
        app.and_then(|app| Connection::within(app, &self.context, self.over.clone(), name))
            .map_err(|error| errors::raised(py, &error))
    }

    #[getter]
    fn principal<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        pythonize::pythonize(py, &*self.context.principal).map_err(PyErr::from)
    }

    #[getter]
    fn client(&self) -> (String, String, Vec<String>) {
        let client = &self.context.client;
        let known = [
            ("elicitation.form", client.capabilities.elicit_form),
            ("elicitation.url", client.capabilities.elicit_url),
            ("sampling", client.capabilities.sampling),
            ("sampling.tools", client.capabilities.sampling_tools),
            ("roots", client.capabilities.roots),
        ];
        let named = known.iter().filter(|(_, has)| *has).map(|(name, _)| String::from(*name));
        let all = named.chain(client.capabilities.extensions.iter().cloned()).collect();
        (client.name.clone(), client.version.clone(), all)
    }

    #[getter]
    fn meta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        match &self.context.meta {
            Some(meta) => convert::arguments(py, meta),
            None => Ok(PyDict::new(py)),
        }
    }

    #[getter]
    fn request_id(&self) -> &str {
        &self.context.request_id
    }

    #[getter]
    fn revision(&self) -> &'static str {
        self.context.revision.name()
    }

    #[getter]
    fn transport(&self) -> &'static str {
        self.context.transport
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.over.is_cancelled() || self.context.cancel.is_cancelled()
    }
}
