//! A client in memory, for users' own tests.
//!
//! Owns `MemoryClient`. The idea: the small client of ours, over a pipe to the server, so a test speaks the real
//! protocol.
//!
//! Must not: look behind the protocol.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::pool::Pool;
use super::runtime::{self, Cancel};
use super::{convert, errors};
use crate::app::App;
use crate::client::{self, CallOptions, Client, Options, RpcError};
use crate::error::{Error, Kind};
use crate::json::{Value, json};
use crate::protocol::Revision;

/// Bytes that may be under way between the two.
const PIPE: usize = 1 << 16;

/// A conversation with a server in this process.
#[pyclass(frozen, module = "bartizan._core")]
pub(super) struct MemoryClient {
    client: Arc<Client>,
    stop: CancellationToken,
}

#[pymethods]
impl MemoryClient {
    /// What the server said of itself.
    #[getter]
    fn server<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &self.client.server())
    }

    /// Sends a request; `done(result, error)` and `progress(params)` are called from another thread.
    #[pyo3(signature = (method, params, done, /, *, progress=None, timeout=None))]
    #[allow(clippy::too_many_arguments, reason = "each is a keyword of the request")]
    fn request(
        &self,
        py: Python<'_>,
        method: String,
        params: &Bound<'_, PyDict>,
        done: Py<PyAny>,
        progress: Option<Py<PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Cancel> {
        let params = convert::from_python(params)?;
        let cancel = CancellationToken::new();
        let options = CallOptions {
            progress: progress.map(|hear| Arc::new(move |said| hears(&hear, said)) as _),
            cancel: Some(cancel.clone()),
            timeout: timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        };
        let client = self.client.clone();
        let work = async move {
            match (method.as_str(), params.get("name").and_then(Value::as_str)) {
                ("tools/call", Some(name)) if params.get("_meta").is_none() => {
                    let arguments = params.get("arguments").cloned().unwrap_or_else(|| json!({}));
                    client.call_tool(name, arguments, &options).await
                }
                _ => client.request(&method, params, &options).await,
            }
        };
        // cancelling goes through the client, which tells the server
        let token = runtime::tell(py, done, work, |py, answered| match answered {
            Ok(result) => convert::to_python(py, &result).map(Bound::unbind),
            Err(error) => Err(failed(py, &error)),
        })?;
        drop(token);
        Ok(Cancel(cancel))
    }

    /// Ends the conversation; `done(None, error)` is called from another thread.
    fn close(&self, py: Python<'_>, done: Py<PyAny>) -> PyResult<()> {
        let (client, stop) = (self.client.clone(), self.stop.clone());
        let work = async move {
            client.close().await;
            stop.cancel();
        };
        runtime::tell(py, done, work, |py, ()| Ok(py.None())).map(drop)
    }
}

/// Opens a conversation; `done(client, error)` is called from another thread.
pub(super) fn open(
    py: Python<'_>,
    app: Arc<App>,
    stop: CancellationToken,
    given: &Bound<'_, PyDict>,
    done: Py<PyAny>,
) -> PyResult<Cancel> {
    let options = options(given)?;
    let serving = stop.clone();
    let work = async move {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let (input, output) = tokio::io::split(theirs);
        tokio::spawn(async move {
            let principal = app.local_principal();
            let _ = app.serve_pipe(input, output, principal, serving).await;
        });
        let (reader, writer) = tokio::io::split(ours);
        Client::over(reader, writer, options).await
    };
    runtime::tell(py, done, work, |py, opened| match opened {
        Ok(client) => Py::new(py, MemoryClient { client: Arc::new(client), stop }).map(Py::into_any),
        Err(error) => Err(failed(py, &error)),
    })
}

fn options(given: &Bound<'_, PyDict>) -> PyResult<Options> {
    let text = |key: &str| -> PyResult<Option<String>> {
        given.get_item(key)?.map_or(Ok(None), |item| item.extract())
    };
    let callable = |key: &str| -> PyResult<Option<Py<PyAny>>> {
        Ok(given.get_item(key)?.filter(|item| !item.is_none()).map(Bound::unbind))
    };
    let mut options = Options { log_level: text("log_level")?, ..Options::default() };
    if let Some(name) = text("revision")? {
        options.revision = Revision::parse(&name).ok_or_else(|| {
            let error = Error::new(Kind::UnsupportedRevision, "That protocol revision is not spoken here.");
            errors::raised(given.py(), &error)
        })?;
    }
    if let Some(capabilities) = given.get_item("capabilities")?.filter(|item| !item.is_none()) {
        options.capabilities = Some(convert::from_python(&capabilities)?);
    }
    options.answers = callable("answers")?.map(|answers| {
        let answers = Arc::new(answers);
        Arc::new(move |method: String, params: Value| answer(&answers, method, params).boxed())
            as client::Answers
    });
    options.notices =
        callable("notices")?.map(|hear| Arc::new(move |notice| hears(&hear, notice)) as client::Notices);
    Ok(options)
}

fn hears(hear: &Py<PyAny>, said: Value) {
    let hear = Python::try_attach(|py| hear.clone_ref(py));
    let Some(hear) = hear else { return };
    Pool::brief().send(move |py| {
        if let Err(raised) = convert::to_python(py, &said).and_then(|said| hear.bind(py).call1((said,))) {
            raised.write_unraisable(py, None);
        }
    });
}

fn answer(
    answers: &Arc<Py<PyAny>>,
    method: String,
    params: Value,
) -> impl Future<Output = Result<Value, RpcError>> + Send + 'static {
    let answers = Arc::clone(answers);
    async move {
        let (sender, receiver) = oneshot::channel();
        let reply = AnswerSink(Mutex::new(Some(sender)));
        Pool::brief().send(move |py| {
            let asked =
                convert::to_python(py, &params).and_then(|params| answers.call1(py, (method, params, reply)));
            if let Err(raised) = asked {
                raised.write_unraisable(py, None);
            }
        });
        receiver.await.unwrap_or_else(|_| Err(RpcError::new(-32603, "The client's answer failed.")))
    }
}

/// Where the answer to a question goes.
#[pyclass(frozen, module = "bartizan._core")]
pub(super) struct AnswerSink(Mutex<Option<oneshot::Sender<Result<Value, RpcError>>>>);

#[pymethods]
impl AnswerSink {
    fn done(&self, result: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = convert::from_python(result)?;
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = sender.send(Ok(value));
        }
        Ok(())
    }
}

/// What the server or the pipe said, as an exception; the words are the server's.
fn failed(py: Python<'_>, error: &client::Error) -> PyErr {
    let (kind, detail) = match error {
        client::Error::Rpc(said) => {
            let known = Kind::ALL.iter().copied().find(|kind| i64::from(kind.code()) == said.code);
            (known.unwrap_or(Kind::BadRequest), Some(json!({"code": said.code, "data": said.data})))
        }
        client::Error::TimedOut => (Kind::TimedOut, None),
        client::Error::Cancelled => (Kind::Cancelled, None),
        _ => (Kind::Internal, None),
    };
    let words = match error {
        client::Error::Rpc(said) => said.message.clone(),
        other => other.to_string(),
    };
    let mut raised = Error::new(kind, words);
    if let Some(detail) = detail {
        raised = raised.with_detail(detail);
    }
    errors::foreign(py, &raised)
}
