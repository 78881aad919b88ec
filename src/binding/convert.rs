//! Value to Python objects and back, depth-bounded.
//!
//! Owns both directions. The idea: what goes out was bounded when it was parsed; what comes in is bounded here.
//!
//! Must not: guess; a value JSON cannot say is an error.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::json::{Bounds, Map, Number, Value};

/// The same as plain Python data.
pub(super) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    pythonize::pythonize(py, value).map_err(PyErr::from)
}

/// Arguments as a fresh dict.
pub(super) fn arguments<'py>(
    py: Python<'py>,
    arguments: &Map<String, Value>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in arguments {
        match value {
            Value::String(text) => dict.set_item(name, text)?,
            Value::Bool(truth) => dict.set_item(name, truth)?,
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                dict.set_item(name, to_python(py, value)?)?;
            }
        }
    }
    Ok(dict)
}

/// Plain Python data as a value.
pub(super) fn from_python(data: &Bound<'_, PyAny>) -> PyResult<Value> {
    inner(data, 0)
}

/// Bytes beyond which nothing is converted are the line's business; depth is ours, since a list may hold itself.
fn inner(data: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    if depth > Bounds::default().depth {
        return Err(PyTypeError::new_err("data is nested too deeply, or within itself"));
    }
    if data.is_none() {
        Ok(Value::Null)
    } else if let Ok(text) = data.cast::<PyString>() {
        Ok(Value::String(text.to_str()?.to_owned()))
    } else if let Ok(truth) = data.cast::<PyBool>() {
        Ok(Value::Bool(truth.is_true()))
    } else if let Ok(number) = data.cast::<PyInt>() {
        number
            .extract::<i64>()
            .map(Number::from)
            .or_else(|_| number.extract::<u64>().map(Number::from))
            .map(Value::Number)
            .map_err(|_| PyTypeError::new_err("an integer does not fit 64 bits"))
    } else if let Ok(number) = data.cast::<PyFloat>() {
        Number::from_f64(number.value())
            .map(Value::Number)
            .ok_or_else(|| PyTypeError::new_err("a number is not finite"))
    } else if let Ok(dict) = data.cast::<PyDict>() {
        let mut map = Map::with_capacity(dict.len());
        for (key, item) in dict.iter() {
            let key = key.cast::<PyString>().map_err(|_| PyTypeError::new_err("a key is not text"))?;
            map.insert(key.to_str()?.to_owned(), inner(&item, depth + 1)?);
        }
        Ok(Value::Object(map))
    } else if let Ok(list) = data.cast::<PyList>() {
        list.iter().map(|item| inner(&item, depth + 1)).collect::<PyResult<_>>().map(Value::Array)
    } else if let Ok(tuple) = data.cast::<PyTuple>() {
        tuple.iter().map(|item| inner(&item, depth + 1)).collect::<PyResult<_>>().map(Value::Array)
    } else {
        Err(PyTypeError::new_err("a value that JSON cannot say"))
    }
}

/// Plain Python data as one of our types.
pub(super) fn typed<T: serde::de::DeserializeOwned>(data: &Bound<'_, PyAny>) -> PyResult<T> {
    serde_json::from_value(from_python(data)?)
        .map_err(|_| PyTypeError::new_err("the data does not have the shape that is expected"))
}
