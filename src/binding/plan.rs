//! A Python server's plan, read: its tools, how it introduces itself, its configuration.
//!
//! Owns [`Plan`]; `bartizan.server.Server` makes it. The idea: what Python says becomes what `app` takes.
//!
//! Must not: start anything.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::hooks::{PyGuard, PySink};
use super::tool::{Home, PyTool};
use super::{convert, errors};
use crate::app::{Extra, Source};
use crate::config::{Config, Introduction};
use crate::error::{Error, Kind, Result};
use crate::json::Value;
use crate::pipeline::Tool;

/// What a Python server wants to be.
pub(super) struct Plan {
    pub(super) extra: Extra,
    pub(super) config: Option<Config>,
    /// Where the configuration can be read again.
    pub(super) path: Option<PathBuf>,
    /// The address that wins over the configuration's.
    http: Option<String>,
    pub(super) home: Home,
}

impl Plan {
    pub(super) fn read(plan: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = plan.py();
        let home = Home::default();
        let entries = need(plan, "entries")?;
        let tools = tools(entries.cast::<PyList>()?, &home)?;
        let introduction = introduction(plan)?;
        let path: Option<PathBuf> = need(plan, "config_path")?.extract()?;
        let given = need(plan, "config")?;
        let mut config = match &path {
            Some(path) => Some(Config::load(path)),
            None if given.is_none() => None,
            None => Some(configuration(&convert::from_python(&given)?)),
        }
        .transpose()
        .map_err(|error| errors::raised(py, &error))?;
        let http: Option<String> = match plan.get_item("http")? {
            Some(address) => address.extract()?,
            None => None,
        };
        if http.is_some() {
            config.get_or_insert_default().http.listen.clone_from(&http);
        }
        let extra = Extra {
            tools,
            introduction: Some(introduction),
            guards: PyGuard::all(need(plan, "guards")?.cast::<PyList>()?)?,
            sinks: PySink::all(need(plan, "sinks")?.cast::<PyList>()?)?,
        };
        Ok(Self { extra, config, path, http, home })
    }
}

impl Plan {
    /// Where the configuration comes from, if from a file.
    pub(super) fn source(&self) -> Result<Option<Source>> {
        let Some(path) = self.path.clone() else { return Ok(None) };
        let (file, http) = (path.clone(), self.http.clone());
        let read = move || {
            let mut config = Config::load(&path)?;
            config.http.listen = http.clone().or(config.http.listen);
            Ok(config)
        };
        // signals belong to the program that we run in
        Source::open(Some(file), Box::new(read), false).map(|(source, _)| Some(source))
    }
}

/// Reads entries of `bartizan.tool`.
pub(super) fn tools(entries: &Bound<'_, PyList>, home: &Home) -> PyResult<Vec<Arc<dyn Tool>>> {
    entries
        .iter()
        .map(|entry| PyTool::read(&entry, home).map(|tool| Arc::new(tool) as Arc<dyn Tool>))
        .collect()
}

/// Reads a configuration given as a mapping; it is checked as a file would be.
pub(super) fn configuration(given: &Value) -> Result<Config> {
    let text = toml::to_string(given).map_err(|error| {
        Error::new(Kind::BadConfig, "The configuration holds something that TOML cannot say, such as None.")
            .with_source(error)
    })?;
    Config::parse(&text, "the configuration given in Python")
}

fn introduction(plan: &Bound<'_, PyDict>) -> PyResult<Introduction> {
    let named = Introduction::default();
    Ok(Introduction {
        name: need(plan, "name")?.extract()?,
        title: need(plan, "title")?.extract()?,
        version: need(plan, "version")?.extract::<Option<String>>()?.unwrap_or(named.version),
        instructions: need(plan, "instructions")?.extract()?,
        website_url: need(plan, "websiteUrl")?.extract()?,
        description: need(plan, "description")?.extract()?,
        icons: serde_json::from_value(convert::from_python(&need(plan, "icons")?)?)
            .map_err(|_| pyo3::exceptions::PyValueError::new_err("icons are addresses or bartizan.Icon"))?,
    })
}

fn need<'py>(plan: &Bound<'py, PyDict>, key: &str) -> PyResult<Bound<'py, PyAny>> {
    plan.get_item(key)?.ok_or_else(|| pyo3::exceptions::PyKeyError::new_err(key.to_owned()))
}
