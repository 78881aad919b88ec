//! Connectors for scripts and for tools.
//!
//! Owns `Connection`: `bartizan.connect("equinix")`, and `ctx.api("equinix")` within a tool. The idea: each call walks
//! the same line as a client's would, capped at the effect that was allowed, and gives plain data back.
//!
//! Must not: reach an upstream in any other way.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tokio_util::sync::CancellationToken;

use super::runtime::{self, Cancel};
use super::{convert, errors, plan};
use crate::app::{App, Extra};
use crate::catalog::List;
use crate::config::{Config, ConnectorEntry};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::pipeline::{Context, Outcome, Reply, ToolSpec};
use crate::policy::Effect;
use crate::protocol::types::{Content, ToolResult};

/// A connector's tools, callable.
#[pyclass(frozen, module = "bartizan._core")]
pub(super) struct Connection {
    app: Arc<App>,
    context: Context,
    source: String,
    // fires when the tool that was handed this has ended: what it left running may not go on calling in its name
    over: CancellationToken,
    // ends the app when it was made for this connection alone
    owned: bool,
}

impl Connection {
    /// The connector of that name, for calls from within a tool: they share its context and so its cap.
    pub(super) fn within(
        app: Arc<App>,
        context: &Context,
        over: CancellationToken,
        source: &str,
    ) -> Result<Self> {
        let connection =
            Self { app, context: context.clone(), source: source.to_owned(), over, owned: false };
        if connection.each(|_| ()).is_empty() {
            return Err(Error::new(
                Kind::BadConfig,
                "No connector of that name is configured on this server; see [[connector]] or --connector.",
            ));
        }
        Ok(connection)
    }

    fn is_mine(&self, spec: &ToolSpec) -> bool {
        spec.source == self.source || spec.toolset == self.source
    }

    fn each<T>(&self, look: impl Fn(&ToolSpec) -> T) -> Vec<T> {
        let now = self.app.catalog().now();
        let mine = now.list(List::Tools).iter().filter(|entry| self.is_mine(entry.spec()));
        mine.map(|entry| look(entry.spec())).collect()
    }

    fn arguments(
        &self,
        py: Python<'_>,
        tool: &str,
        given: &Bound<'_, PyDict>,
    ) -> PyResult<Map<String, Value>> {
        if self.over.is_cancelled() {
            let error = Error::new(Kind::Cancelled, "The call that this connection belongs to has ended.");
            return Err(errors::raised(py, &error));
        }
        let now = self.app.catalog().now();
        if !now.tool(tool).is_some_and(|entry| self.is_mine(entry.spec())) {
            let error =
                Error::new(Kind::NoSuchTool, "This connector has no operation of that name; see .tools().");
            return Err(errors::raised(py, &error));
        }
        match convert::from_python(given)? {
            Value::Object(arguments) => Ok(arguments),
            _ => Ok(Map::new()),
        }
    }
}

#[pymethods]
impl Connection {
    /// The connector's name.
    #[getter]
    fn name(&self) -> &str {
        &self.source
    }

    /// The operations: name, description, effect, input schema.
    fn tools<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = self.each(|spec| {
            crate::json::json!({
                "name": spec.name,
                "description": spec.description,
                "effect": spec.effect.name(),
                "inputSchema": *spec.input.once(),
            })
        });
        PyList::new(py, list.iter().map(|tool| convert::to_python(py, tool)).collect::<PyResult<Vec<_>>>()?)
    }

    /// Calls an operation and waits for its plain data.
    fn call(&self, py: Python<'_>, tool: &str, arguments: &Bound<'_, PyDict>) -> PyResult<Py<PyAny>> {
        let arguments = self.arguments(py, tool, arguments)?;
        let outcome = runtime::wait(py, self.app.call(tool, arguments, &self.context))?;
        plain(py, outcome)
    }

    /// Calls an operation; `done(data, error)` is called from another thread.
    fn start(
        &self,
        py: Python<'_>,
        tool: String,
        arguments: &Bound<'_, PyDict>,
        done: Py<PyAny>,
    ) -> PyResult<Cancel> {
        let arguments = self.arguments(py, &tool, arguments)?;
        let (app, context) = (self.app.clone(), self.context.clone());
        let work = async move { app.call(&tool, arguments, &context).await };
        runtime::tell(py, done, work, |py, outcome| match outcome {
            Ok(outcome) => plain(py, outcome),
            Err(error) => Err(errors::raised(py, &error)),
        })
    }

    /// Ends it; the audit is complete afterwards.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.owned { runtime::wait(py, self.app.close()) } else { Ok(()) }
    }
}

/// The plain data of a result; a failed one raises.
fn plain(py: Python<'_>, outcome: Outcome) -> PyResult<Py<PyAny>> {
    let reply = match outcome {
        Outcome::Done(redacted) => redacted.into_reply(),
        Outcome::Paused(_) => {
            let error =
                Error::new(Kind::NeedsApproval, "This call asks something, and a script has nobody to ask.");
            return Err(errors::raised(py, &error));
        }
    };
    let Reply::Tool(result) = reply else {
        return Err(errors::raised(py, &Error::new(Kind::Internal, "A tool answered with something else.")));
    };
    if result.is_error {
        return Err(refused(py, &result));
    }
    if let Some(data) = &result.structured_content {
        return convert::to_python(py, data).map(Bound::unbind);
    }
    let text = match result.content.as_slice() {
        [Content::Text { text, .. }] => text,
        blocks => return pythonize::pythonize(py, blocks).map(Bound::unbind).map_err(PyErr::from),
    };
    let data = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
    convert::to_python(py, &data).map(Bound::unbind)
}

/// A failed result as its exception: what the upstream said is redacted, and becomes the detail.
fn refused(py: Python<'_>, result: &ToolResult) -> PyErr {
    let detail = result.structured_content.clone();
    let named = detail.as_ref().and_then(|detail| detail.get("kind")).and_then(Value::as_str);
    let kind = Kind::ALL.iter().copied().find(|kind| Some(kind.name()) == named).unwrap_or(Kind::ToolFailed);
    let texts = result.content.iter().filter_map(|block| match block {
        Content::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    let mut error = Error::new(kind, texts.collect::<Vec<_>>().join("\n"));
    if let Some(detail) = detail {
        let wait = detail.get("retry_after_seconds").and_then(Value::as_f64);
        if let Some(Ok(wait)) = wait.map(Duration::try_from_secs_f64) {
            error = error.with_retry_after(wait);
        }
        error = error.with_detail(detail);
    }
    errors::foreign(py, &error)
}

/// Opens a connector for a script. `allow` is the most that its calls may do.
#[pyfunction]
#[pyo3(signature = (name, /, *, allow, config, config_path, base, auth, practice))]
#[allow(clippy::too_many_arguments, reason = "each is a keyword of bartizan.connect")]
#[allow(clippy::needless_pass_by_value, reason = "pyo3 hands arguments over")]
pub(super) fn connect(
    py: Python<'_>,
    name: &str,
    allow: &str,
    config: Option<&Bound<'_, PyDict>>,
    config_path: Option<std::path::PathBuf>,
    base: Option<String>,
    auth: Option<String>,
    practice: bool,
) -> PyResult<Connection> {
    let effect = match allow {
        "read" => Effect::Read,
        "write" => Effect::Write,
        "destroy" => Effect::Destroy,
        _ => return Err(PyAttributeError::new_err("allow is 'read', 'write' or 'destroy'")),
    };
    // A configuration that names a policy keeps it, read-only too.
    let says_policy = match (&config_path, config) {
        (Some(path), _) => std::fs::read_to_string(path)
            .ok()
            .and_then(|text| text.parse::<toml::Table>().ok())
            .is_some_and(|table| table.contains_key("policy")),
        (None, Some(given)) => given.contains("policy")?,
        (None, None) => false,
    };
    let given = match (&config_path, config) {
        (Some(path), _) => Config::load(path),
        (None, Some(given)) => plan::configuration(&convert::from_python(given)?),
        (None, None) => Ok(Config::default()),
    };
    let mut config = given.map_err(|error| errors::raised(py, &error))?;
    if !says_policy && effect > Effect::Read {
        // `allow` is the caller's own decision, and caps every call below
        config.policy = crate::policy::Config::of("admin");
    }
    config.practice |= practice;
    // what is said here wins over what the configuration says of the same connector
    for entry in config.connector.iter_mut().filter(|entry| entry.name == name) {
        entry.base = base.clone().or(entry.base.take());
        entry.auth = auth.clone().or(entry.auth.take());
    }
    if !config.connector.iter().any(|entry| entry.name == name) {
        config.connector.push(ConnectorEntry {
            name: name.to_owned(),
            base,
            auth,
            ..ConnectorEntry::default()
        });
    }
    let app = runtime::wait(py, App::build(config, Extra::default()))?;
    let context = Context { within: Some(effect), ..app.context() };
    let connection = Connection::within(app, &context, CancellationToken::new(), name)
        .map_err(|error| errors::raised(py, &error))?;
    Ok(Connection { owned: true, ..connection })
}
