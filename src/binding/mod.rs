//! The Python edge: everything Python can see, in one list.
//!
//! Owns the module `bartizan._core`. The idea: this folder translates and never decides; what would still be needed
//! in a server without Python is in the wrong folder.
//!
//! Must not: hold policy, defaults or I/O of its own.

mod client;
mod context;
mod convert;
mod coroutine;
mod engines;
mod errors;
mod hooks;
mod loader;
mod plan;
mod pool;
mod runtime;
mod script;
mod server;
mod spec;
mod tool;

use pyo3::prelude::*;

/// The compiled core of bartizan.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::client::{AnswerSink, MemoryClient};
    #[pymodule_export]
    use super::context::CallContext;
    #[pymodule_export]
    use super::coroutine::Sink;
    #[pymodule_export]
    use super::engines::{PyRateLimiter, PyRedactor};
    #[pymodule_export]
    use super::loader::main;
    #[pymodule_export]
    use super::runtime::Cancel;
    #[pymodule_export]
    use super::script::{Connection, connect};
    #[pymodule_export]
    use super::server::{PyRunning, serve};
    #[pymodule_export]
    use super::{leave, stuck_threads};
    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let kinds = PyDict::new(module.py());
        for kind in crate::error::Kind::ALL {
            kinds.set_item(kind.name(), kind.exception())?;
        }
        module.add("ERROR_KINDS", kinds)?;
        let rest = wrap_pyfunction!(super::rest, module)?;
        module.py().import("atexit")?.call_method1("register", (rest,))?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

/// Lets go of the interpreter before it ends.
#[pyfunction]
fn rest(py: Python<'_>) {
    py.detach(|| {
        pool::Pool::global().rest();
        pool::Pool::brief().rest();
    });
}

/// How many threads are held by sync tools that did not return in time.
#[pyfunction]
fn stuck_threads() -> usize {
    pool::Pool::global().stuck()
}

/// Ends the process at once when a thread is stuck in a tool, which nothing could interrupt; else does nothing.
#[pyfunction]
fn leave(py: Python<'_>, code: i32) -> PyResult<()> {
    if stuck_threads() == 0 {
        return Ok(());
    }
    let sys = py.import("sys")?;
    for stream in ["stdout", "stderr"] {
        let _ = sys.getattr(stream).and_then(|stream| stream.call_method0("flush"));
    }
    py.import("os")?.call_method1("_exit", (code,))?;
    Ok(())
}
