//! A Python callable as a [`Tool`], sync or async.
//!
//! Owns [`PyTool`]. The idea: whatever Python does for a call happens on the pool's threads; a coroutine is started
//! there too, on the server's own loop, and hands its result over through a [`Sink`]. Giving the call up cancels it.
//!
//! Must not: hold the interpreter's lock on a thread of the runtime.

use std::sync::{Arc, OnceLock, Weak};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use serde::Deserialize;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::context::CallContext;
use super::pool::Pool;
use super::{convert, coroutine, errors, spec};
use crate::app::App;
use crate::error::{Error, Kind};
use crate::json::{Map, Value};

use crate::pipeline::{Approved, BoxFuture, Context, Family, Halt, Reply, Tool, ToolSpec};
use crate::protocol::types::{Completion, ResourceContents, ToolResult};

type Answered = Result<Reply, Halt>;

/// A Python function that can be called.
pub(super) struct PyTool(Arc<Inner>);

/// The server a tool belongs to, once there is one.
#[derive(Clone, Default)]
pub(super) struct Home(Arc<OnceLock<Weak<App>>>);

impl Home {
    /// Says which one.
    pub(super) fn settle(&self, app: &Arc<App>) {
        let _ = self.0.set(Arc::downgrade(app));
    }

    /// The server, while it is there.
    pub(super) fn app(&self) -> Option<Arc<App>> {
        self.0.get()?.upgrade()
    }
}

struct Inner {
    spec: ToolSpec,
    home: Home,
    call: Py<PyAny>,
    is_async: bool,
    wants_context: bool,
    complete: Option<Py<PyAny>>,
    complete_is_async: bool,
}

impl PyTool {
    /// Reads a `bartizan.tool.Entry`.
    pub(super) fn read(entry: &Bound<'_, PyAny>, home: &Home) -> PyResult<Self> {
        let complete = entry.getattr("complete")?;
        Ok(Self(Arc::new(Inner {
            spec: spec::read(&entry.getattr("spec")?)?,
            home: home.clone(),
            call: entry.getattr("call")?.unbind(),
            is_async: entry.getattr("is_async")?.extract()?,
            wants_context: entry.getattr("wants_context")?.extract()?,
            complete: (!complete.is_none()).then(|| complete.unbind()),
            complete_is_async: entry.getattr("complete_is_async")?.extract()?,
        })))
    }
}

impl Tool for PyTool {
    fn spec(&self) -> &ToolSpec {
        &self.0.spec
    }

    fn call<'a>(&'a self, call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Answered> {
        let inner = Arc::clone(&self.0);
        let given = call.arguments().clone();
        let owner = &context.principal.id;
        Box::pin(async move {
            let (over, _guard) = ending();
            let core = inner.wants_context.then(|| CallContext::new(context, over, inner.home.clone()));
            if inner.is_async {
                let tool = Arc::clone(&inner);
                let begin = move |py: Python<'_>, sink| {
                    tool.call.call1(py, (convert::arguments(py, &given)?, core, sink))
                };
                return coroutine::start(owner, begin, move |py, returned| inner.answered(py, returned))
                    .await?;
            }
            Pool::global()
                .run(owner, move |py| {
                    let returned =
                        convert::arguments(py, &given).and_then(|given| inner.call.call1(py, (given, core)));
                    inner.answered(py, returned)
                })
                .await?
        })
    }

    fn complete<'a>(&'a self, call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Answered> {
        let inner = Arc::clone(&self.0);
        let owner = &context.principal.id;
        let asked = Wanted::read(call.arguments());
        Box::pin(async move {
            if inner.complete.is_none() {
                return Ok(Reply::Completion(Completion::default()));
            }
            let asked = asked?;
            if inner.complete_is_async {
                let tool = Arc::clone(&inner);
                let begin = move |py: Python<'_>, sink| {
                    let known = convert::arguments(py, &asked.known)?;
                    tool.completer(py)?
                        .call1((asked.argument.name, asked.argument.value, known, sink))
                        .map(Bound::unbind)
                };
                return coroutine::start(owner, begin, move |py, returned| inner.answered(py, returned))
                    .await?;
            }
            Pool::global()
                .run(owner, move |py| {
                    let returned = convert::arguments(py, &asked.known).and_then(|known| {
                        let given = (asked.argument.name, asked.argument.value, known);
                        inner.completer(py)?.call1(given).map(Bound::unbind)
                    });
                    match returned.and_then(|returned| convert::typed(returned.bind(py))) {
                        Ok(completion) => Ok(Reply::Completion(completion)),
                        Err(raised) => errors::outcome(py, &raised, &inner.spec),
                    }
                })
                .await?
        })
    }
}

impl Inner {
    fn completer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.complete {
            Some(complete) => Ok(complete.bind(py).clone()),
            None => Err(pyo3::exceptions::PyTypeError::new_err("nothing completes here")),
        }
    }

    fn answered(&self, py: Python<'_>, returned: PyResult<Py<PyAny>>) -> Answered {
        match returned.and_then(|returned| self.reply(returned.bind(py))) {
            Ok(reply) => Ok(reply),
            Err(raised) => errors::outcome(py, &raised, &self.spec),
        }
    }

    /// What the Python side hands over: bare text (the quick way for tools), or a result in the protocol's words.
    fn reply(&self, returned: &Bound<'_, PyAny>) -> PyResult<Reply> {
        #[derive(Deserialize)]
        struct Contents {
            contents: Vec<ResourceContents>,
        }
        if returned.cast::<PyDict>().is_ok_and(|dict| dict.contains("values").unwrap_or(false)) {
            return convert::typed(returned).map(Reply::Completion);
        }
        match self.spec.family {
            Family::Tool => {
                if let Ok(text) = returned.cast::<PyString>() {
                    return Ok(Reply::Tool(ToolResult::text(text.to_str()?)));
                }
                convert::typed(returned).map(Reply::Tool)
            }
            Family::Resource { .. } | Family::Template { .. } => {
                convert::typed(returned).map(|found: Contents| Reply::Resource(found.contents))
            }
            Family::Prompt { .. } => convert::typed(returned).map(Reply::Prompt),
        }
    }
}

/// What `completion/complete` asks.
#[derive(Deserialize)]
struct Wanted {
    argument: Argument,
    #[serde(default)]
    known: Map<String, Value>,
}

#[derive(Deserialize)]
struct Argument {
    name: String,
    value: String,
}

impl Wanted {
    fn read(arguments: &Map<String, Value>) -> Result<Self, Error> {
        serde_json::from_value(Value::Object(arguments.clone())).map_err(|_| {
            Error::new(Kind::BadParams, "A completion needs an argument with `name` and `value`.")
        })
    }
}

/// A token that fires when the call is over, however it ends.
fn ending() -> (CancellationToken, DropGuard) {
    let over = CancellationToken::new();
    (over.clone(), over.drop_guard())
}
