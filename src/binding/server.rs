//! A Python server, running.
//!
//! Owns `Running` and [`serve`]. The idea: the plan becomes an `App`; whoever runs it, this object is what Python keeps
//! to add, remove and notify.
//!
//! Must not: know how a transport works.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tokio_util::sync::CancellationToken;

use super::loader::{Host, HostLoader};
use super::plan::{self, Plan};
use super::runtime::{self, Cancel};
use super::tool::Home;
use super::{client, errors};
use crate::app::{App, Source};
use crate::catalog::List;
use crate::error::{Error, Kind};

/// A server that runs, or is about to.
#[pyclass(frozen, name = "Running", module = "bartizan._core")]
pub(super) struct PyRunning {
    pub(super) app: Arc<App>,
    home: Home,
    stop: CancellationToken,
    http: bool,
    source: Mutex<Option<Source>>,
}

impl PyRunning {
    pub(super) fn of(app: Arc<App>, home: Home) -> Self {
        home.settle(&app);
        Self { app, home, stop: CancellationToken::new(), http: false, source: Mutex::default() }
    }
}

#[pymethods]
impl PyRunning {
    /// Makes everything the plan names; nothing is served yet.
    #[new]
    fn new(py: Python<'_>, plan: &Bound<'_, PyDict>) -> PyResult<Self> {
        let plan = Plan::read(plan)?;
        let source = plan.source().map_err(|error| errors::raised(py, &error))?;
        let config = plan.config.unwrap_or_default();
        let http = config.http.listen.is_some();
        let app = runtime::wait(py, App::build(config, plan.extra))?;
        Ok(Self { http, source: Mutex::new(source), ..Self::of(app, plan.home) })
    }

    /// Serves over HTTP if the plan has an address, else over standard input and output, until it ends or is stopped.
    /// `ready(url, key_file)` and `done(None, error)` are called from another thread.
    #[pyo3(signature = (ready, done, /, *, no_auth=false))]
    fn serve(&self, py: Python<'_>, ready: Py<PyAny>, done: Py<PyAny>, no_auth: bool) -> PyResult<()> {
        let (app, stop, http) = (self.app.clone(), self.stop.clone(), self.http);
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
        let work = async move {
            let following = stop.child_token().drop_guard();
            if let Some(source) = source {
                tokio::spawn(app.follow(source, following.token().clone()));
            }
            let served = if http {
                app.serve_http(no_auth, stop, |reachable| {
                    let url = reachable.url();
                    let key = reachable.key_file.clone();
                    super::pool::Pool::brief().send(move |py| {
                        let _ = ready.call1(py, (url, key));
                    });
                })
                .await
            } else {
                match crate::transport::wire::take() {
                    Ok(wire) => app.serve_stdio(wire, stop).await,
                    Err(error) => Err(error),
                }
            };
            drop(following);
            let closed = app.close().await;
            served.and(closed)
        };
        runtime::tell(py, done, work, |py, served| match served {
            Ok(()) => Ok(py.None()),
            Err(error) => Err(errors::raised(py, &error)),
        })
        .map(drop)
    }

    /// Stops serving; requests under way are given a moment.
    fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends what was started without serving.
    fn close(&self, py: Python<'_>, done: Py<PyAny>) -> PyResult<()> {
        self.stop.cancel();
        let app = self.app.clone();
        runtime::tell(py, done, async move { app.close().await }, |py, closed| match closed {
            Ok(()) => Ok(py.None()),
            Err(error) => Err(errors::raised(py, &error)),
        })
        .map(drop)
    }

    /// Adds entries; clients are told.
    fn add(&self, py: Python<'_>, entries: &Bound<'_, PyList>) -> PyResult<()> {
        let tools = plan::tools(entries, &self.home)?;
        let catalog = self.app.catalog().clone();
        py.detach(move || catalog.add(tools)).map_err(|error| errors::raised(py, &error))
    }

    /// Removes a tool, resource, template or prompt; clients are told. False if there is none of that name.
    fn remove(&self, py: Python<'_>, family: &str, name: &str) -> PyResult<bool> {
        let list = match family {
            "tool" => List::Tools,
            "resource" => List::Resources,
            "template" => List::Templates,
            "prompt" => List::Prompts,
            _ => return Err(errors::raised(py, &Error::new(Kind::Internal, "There is no such list."))),
        };
        let catalog = self.app.catalog().clone();
        Ok(py.detach(move || catalog.remove(list, name)))
    }

    /// Tells whoever watches it that a resource has changed.
    fn resource_updated(&self, py: Python<'_>, uri: &str) {
        py.detach(|| self.app.server().resource_updated(uri));
    }

    /// Opens a client in memory; `done(client, error)` is called from another thread.
    #[pyo3(signature = (options, done, /))]
    fn connect(&self, py: Python<'_>, options: &Bound<'_, PyDict>, done: Py<PyAny>) -> PyResult<Cancel> {
        client::open(py, self.app.clone(), self.stop.child_token(), options, done)
    }
}

/// Forgets a Ctrl-C that has ended the server already: Python saw it too, and would raise it now.
pub(super) fn heard(py: Python<'_>) {
    let _ = py.check_signals();
}

/// Serves a Python server as `bartizan serve ARGUMENTS` would, and returns the exit code. `enter()` enters its lifespan,
/// once the wire is out of reach; `leave(seconds)` leaves it.
#[pyfunction]
#[pyo3(signature = (plan, arguments, attach, enter, leave, /))]
pub(super) fn serve(
    py: Python<'_>,
    plan: &Bound<'_, PyDict>,
    arguments: Vec<OsString>,
    attach: Py<PyAny>,
    enter: Py<PyAny>,
    leave: Py<PyAny>,
) -> PyResult<u8> {
    let plan = Plan::read(plan)?;
    let (base, path) = (plan.config.unwrap_or_default(), plan.path);
    let loader = HostLoader::new(plan.extra, plan.home, Host { attach, enter, leave });
    let code = py.detach(move || crate::cli::serve(arguments, base, path, &loader));
    heard(py);
    Ok(code)
}
