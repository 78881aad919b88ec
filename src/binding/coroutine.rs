//! A coroutine of Python's as a future.
//!
//! Owns [`start`] and [`Sink`]. The idea: a coroutine is started from the pool, on the server's own loop, and hands its
//! result over through a sink; giving the future up cancels it.
//!
//! Must not: know what a result means.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use tokio::sync::oneshot;

use super::pool::Pool;
use crate::error::{Error, Kind, Result};

type Handover = Box<dyn FnOnce(Python<'_>, PyResult<Py<PyAny>>) + Send>;

/// Where a coroutine's result goes; Python calls exactly one of the two, once.
#[pyclass(frozen, module = "bartizan._core")]
pub(super) struct Sink(Arc<Mutex<Option<Handover>>>);

#[pymethods]
impl Sink {
    #[pyo3(signature = (result, /))]
    fn done(&self, py: Python<'_>, result: Py<PyAny>) {
        hand_over(&self.0, py, Ok(result));
    }

    #[pyo3(signature = (error, /))]
    fn failed(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        hand_over(&self.0, py, Err(PyErr::from_value(error)));
    }
}

fn hand_over(to: &Mutex<Option<Handover>>, py: Python<'_>, result: PyResult<Py<PyAny>>) {
    let taken = to.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(handover) = taken {
        handover(py, result);
    }
}

/// Starts a coroutine and waits for what it hands over, as `read` reads it. Dropping the future cancels it.
///
/// `begin` gets the sink and returns what cancels the coroutine; `owner` is whose turn it is on the pool.
pub(super) async fn start<T: Send + 'static>(
    owner: &Arc<str>,
    begin: impl FnOnce(Python<'_>, Sink) -> PyResult<Py<PyAny>> + Send + 'static,
    read: impl FnOnce(Python<'_>, PyResult<Py<PyAny>>) -> T + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = oneshot::channel();
    let handover: Handover = Box::new(move |py, result| {
        let _ = sender.send(read(py, result));
    });
    let to = Arc::new(Mutex::new(Some(handover)));
    let stopper = Arc::new(Stopper::default());
    let guard = StopOnDrop(Arc::clone(&stopper));
    Pool::brief()
        .run(owner, move |py| match begin(py, Sink(Arc::clone(&to))) {
            Ok(stop) => stopper.set(py, stop),
            Err(raised) => hand_over(&to, py, Err(raised)),
        })
        .await?;
    let answered = receiver.await;
    guard.0.disarm();
    answered.map_err(|_| Error::new(Kind::Cancelled, "The coroutine was cancelled."))
}

/// What cancels a coroutine, once it is known; a call given up before that is cancelled as soon as it is.
#[derive(Default)]
struct Stopper(Mutex<Stop>);

#[derive(Default)]
enum Stop {
    #[default]
    NotYet,
    Ready(Py<PyAny>),
    Over,
}

impl Stopper {
    fn set(&self, py: Python<'_>, stop: Py<PyAny>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, Stop::Over) {
            drop(state);
            let _ = stop.call0(py);
        } else {
            *state = Stop::Ready(stop);
        }
    }

    fn disarm(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Stop::Over;
    }
}

struct StopOnDrop(Arc<Stopper>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stop::Ready(stop) = std::mem::replace(&mut *state, Stop::Over) {
            drop(state);
            Pool::brief().send(move |py| {
                let _ = stop.call0(py);
            });
        }
    }
}
