//! Engines that scripts may use on their own: the redactor and the limiter.
//!
//! Owns `Redactor` and `RateLimiter` as Python sees them. The idea: the same code that guards the line, one call each.
//!
//! Must not: add rules of their own.

use std::sync::Arc;

use futures_util::FutureExt;
use pyo3::prelude::*;

use super::{convert, errors};
use crate::clock::SystemClock;
use crate::error::{Error, Kind};
use crate::limits::{self, Limiter, Quota};
use crate::redaction::{self, Redactor};
use crate::secret::Secret;

/// Removes secrets from text and data.
#[pyclass(frozen, name = "Redactor", module = "bartizan._core")]
pub(super) struct PyRedactor(Redactor);

#[pymethods]
impl PyRedactor {
    #[new]
    #[pyo3(signature = (*, keys=Vec::new(), keep=Vec::new(), patterns=Vec::new(), pii=Vec::new()))]
    #[allow(clippy::needless_pass_by_value, reason = "Python hands over what it made")]
    fn new(
        py: Python<'_>,
        keys: Vec<String>,
        keep: Vec<String>,
        patterns: Vec<String>,
        pii: Vec<String>,
    ) -> PyResult<Self> {
        let unknown = || {
            let error =
                Error::new(Kind::BadConfig, "pii holds email, phone, iban, card and ip, and nothing else.");
            errors::raised(py, &error)
        };
        let pii = pii.iter().map(|name| redaction::Pii::named(name).ok_or_else(unknown));
        let pii = pii.collect::<PyResult<_>>()?;
        let config = redaction::Config { keys, keep, patterns, pii, ..redaction::Config::default() };
        Redactor::new(&config).map(Self).map_err(|error| errors::raised(py, &error))
    }

    #[pyo3(signature = (secret, /))]
    fn learn(&self, secret: &str) {
        self.0.learn(&Secret::new(secret), "secret");
    }

    #[pyo3(signature = (text, /))]
    fn text<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        self.0.text(text)
    }

    #[pyo3(signature = (text, /))]
    #[allow(clippy::unused_self, reason = "a method of the redactor, for those who look for it there")]
    fn labels(&self, text: &str) -> Vec<&'static str> {
        let mut labels = redaction::Labels::default();
        labels.read(text);
        labels.names().collect()
    }

    #[pyo3(signature = (data, /))]
    fn data<'py>(&self, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let mut value = convert::from_python(data)?;
        self.0.value(&mut value);
        convert::to_python(data.py(), &value)
    }
}

/// Counts calls by key.
#[pyclass(frozen, name = "RateLimiter", module = "bartizan._core")]
pub(super) struct PyRateLimiter(Arc<Limiter>);

#[pymethods]
impl PyRateLimiter {
    #[new]
    #[pyo3(signature = (per_minute, burst=None))]
    fn new(per_minute: u32, burst: Option<u32>) -> Self {
        let quota = Quota::new(per_minute, burst.unwrap_or(per_minute));
        let config = limits::Config { read: quota, ..limits::Config::default() };
        Self(Arc::new(Limiter::new(&config, SystemClock::shared())))
    }

    #[pyo3(signature = (key, cost=1))]
    fn take(&self, py: Python<'_>, key: &str, cost: u32) -> PyResult<()> {
        // counting in memory never waits
        match self.0.take(key, "read", cost).now_or_never() {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(errors::raised(py, &error)),
            None => Err(errors::raised(py, &Error::new(Kind::Internal, "The limiter had to wait."))),
        }
    }

    #[pyo3(signature = (key, /))]
    fn left(&self, key: &str) -> u32 {
        self.0.left(key, "read")
    }
}
