//! Python servers for the command line.
//!
//! Owns both [`Loader`]s: `--tools FILE_OR_MODULE`, and a server that runs itself (`server.run()`). The idea: a server
//! is loaded as its plan, and told about the `App` once that is there.
//!
//! Must not: keep a server that failed to load.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors;
use super::plan::Plan;
use super::server::PyRunning;
use super::tool::Home;
use crate::app::{App, Extra, Loader};
use crate::error::{Error, Kind, Result};

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
            .unwrap_or_else(|| Err(Error::new(Kind::BadConfig, "Python is shutting down.")))
    }

    fn started(&self, app: &Arc<App>) {
        self.each(|py, hosted, home| {
            let running = Py::new(py, PyRunning::of(app.clone(), home.clone()))?;
            hosted.call_method1("attach", (running,)).map(drop)
        });
    }
}

/// Hands over one server that is there already.
pub(super) struct HostLoader {
    extra: Mutex<Option<Extra>>,
    home: Home,
    attach: Py<PyAny>,
    files: FileLoader,
}

impl HostLoader {
    pub(super) fn new(extra: Extra, home: Home, attach: Py<PyAny>) -> Self {
        Self { extra: Mutex::new(Some(extra)), home, attach, files: FileLoader::default() }
    }
}

impl Loader for HostLoader {
    fn own(&self) -> Option<Extra> {
        self.extra.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn load(&self, source: &str) -> Result<Extra> {
        self.files.load(source)
    }

    fn started(&self, app: &Arc<App>) {
        self.files.started(app);
        let _ = Python::try_attach(|py| -> PyResult<()> {
            let running = Py::new(py, PyRunning::of(app.clone(), self.home.clone()))?;
            self.attach.call1(py, (running,)).map(drop)
        });
    }
}

/// Runs the command line and returns its exit code.
#[pyfunction]
#[pyo3(signature = (arguments, /))]
pub(super) fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    let code = py.detach(|| {
        let loader = FileLoader::default();
        let code = crate::cli::main(arguments, Some(&loader));
        loader.each(|_py, hosted, _home| hosted.call_method0("close").map(drop));
        code
    });
    super::server::heard(py);
    code
}
