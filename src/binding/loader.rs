//! Python servers for the command line.
//!
//! Owns both [`Loader`]s: `--tools FILE_OR_MODULE`, and a server that runs itself (`server.run()`). The idea: a server
//! is loaded as its plan, and told about the `App` once that is there.
//!
//! Must not: keep a server that failed to load.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors;
use super::plan::Plan;
use super::server::PyRunning;
use super::tool::Home;
use crate::app::{App, Extra, Loader};
use crate::error::{Error, Kind, Result};

/// Longest time a lifespan has to end.
const CLOSE: Duration = Duration::from_secs(5);

/// Loads servers from files and modules.
#[derive(Default)]
struct FileLoader {
    loaded: Mutex<Vec<(Py<PyAny>, Home)>>,
}

impl FileLoader {
    fn read(&self, py: Python<'_>, source: &str) -> PyResult<Extra> {
        let hosted = py.import("bartizan._load")?.call_method1("hosted", (source,))?;
        let plan = Plan::read(hosted.getattr("plan")?.cast::<PyDict>()?)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.push((hosted.unbind(), plan.home));
        Ok(plan.extra)
    }

    fn each(&self, step: impl Fn(Python<'_>, &Bound<'_, PyAny>, &Home) -> PyResult<()>) {
        let _ = Python::try_attach(|py| {
            super::server::heard(py);
            let loaded = std::mem::take(&mut *self.loaded.lock().unwrap_or_else(PoisonError::into_inner));
            for (hosted, home) in &loaded {
                if let Err(raised) = step(py, hosted.bind(py), home) {
                    raised.write_unraisable(py, None);
                }
            }
            self.loaded.lock().unwrap_or_else(PoisonError::into_inner).extend(loaded);
        });
    }
}

impl Loader for FileLoader {
    fn load(&self, source: &str) -> Result<Extra> {
        Python::try_attach(|py| self.read(py, source).map_err(|raised| errors::at_start(py, &raised)))
            .unwrap_or_else(|| Err(gone()))
    }

    fn started(&self, app: &Arc<App>) {
        self.each(|py, hosted, home| {
            let running = Py::new(py, PyRunning::of(app.clone(), home.clone()))?;
            hosted.call_method1("attach", (running,)).map(drop)
        });
    }

    fn ended(&self, within: Duration) {
        self.each(|_py, hosted, _home| hosted.call_method1("close", (within.as_secs_f64(),)).map(drop));
    }
}

/// What Python gives of a server that runs itself: to be told of the `App`, to enter its lifespan, to leave it.
pub(super) struct Host {
    pub(super) attach: Py<PyAny>,
    pub(super) enter: Py<PyAny>,
    pub(super) leave: Py<PyAny>,
}

/// Hands over one server that is there already.
pub(super) struct HostLoader {
    extra: Mutex<Option<Extra>>,
    home: Home,
    host: Host,
    files: FileLoader,
}

impl HostLoader {
    pub(super) fn new(extra: Extra, home: Home, host: Host) -> Self {
        Self { extra: Mutex::new(Some(extra)), home, host, files: FileLoader::default() }
    }
}

impl Loader for HostLoader {
    fn own(&self) -> Result<Option<Extra>> {
        let opened = Python::try_attach(|py| {
            self.host.enter.call0(py).map(drop).map_err(|raised| errors::at_start(py, &raised))
        });
        opened.unwrap_or_else(|| Err(gone()))?;
        Ok(self.extra.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    fn load(&self, source: &str) -> Result<Extra> {
        self.files.load(source)
    }

    fn started(&self, app: &Arc<App>) {
        self.files.started(app);
        let _ = Python::try_attach(|py| -> PyResult<()> {
            let running = Py::new(py, PyRunning::of(app.clone(), self.home.clone()))?;
            self.host.attach.call1(py, (running,)).map(drop)
        });
    }

    fn ended(&self, within: Duration) {
        self.files.ended(within);
        let _ = Python::try_attach(|py| {
            // the Ctrl-C that ended the server must not be raised in the middle of its end
            super::server::heard(py);
            if let Err(raised) = self.host.leave.call1(py, (within.as_secs_f64(),)) {
                raised.write_unraisable(py, None);
            }
        });
    }
}

fn gone() -> Error {
    Error::new(Kind::BadConfig, "Python is shutting down.")
}

/// Runs the command line and returns its exit code.
#[pyfunction]
#[pyo3(signature = (arguments, /))]
pub(super) fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    let code = py.detach(|| {
        let loader = FileLoader::default();
        let code = crate::cli::main(arguments, Some(&loader));
        // What ended without serving has nobody else to put its things away.
        loader.ended(CLOSE);
        code
    });
    super::server::heard(py);
    code
}
