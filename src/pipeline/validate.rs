//! Well formed?
//!
//! Owns the stamp [`Validated`]. The idea: policy and tools only ever see arguments that fit the schema and hold
//! nothing that was cut, redacted, or never meant to leave this process.
//!
//! Arguments that are nearly right are read as they were meant, where there is one way to, and judged again.
//!
//! Arguments that a handle of a next page stands for are judged like any others, and are the ones it was given for.
//!
//! Must not: repeat a value in an error.
//!
//! ```compile_fail
//! fn forge(call: bartizan::pipeline::Proposed) -> bartizan::pipeline::Validated {
//!     bartizan::pipeline::Validated { call }
//! }
//! ```

use super::onward::holds_handle;
use super::select::Paths;
use super::{Admitted, Aim, Config, Notes, Proposed, ToolSpec};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::redaction::Redactor;

/// A call whose arguments fit the schema.
pub struct Validated {
    call: Proposed,
}

impl Validated {
    pub(super) fn into_call(self) -> Proposed {
        self.call
    }
}

pub(super) fn validate(
    call: Admitted,
    aim: Aim,
    redactor: &Redactor,
    config: &Config,
    notes: &mut Notes,
) -> Result<Validated> {
    let Proposed { tool, arguments, method } = call.into_call();
    let mut arguments = Value::Object(arguments);
    match aim {
        Aim::Call => {
            let schema = tool.spec().input.compiled()?;
            if let Err(problems) = schema.check(&arguments) {
                let read = schema.coerce(&arguments).filter(|_| config.coerce).ok_or(problems)?;
                (arguments, notes.coerced) = read;
            }
        }
        Aim::Complete => completion(&arguments)?,
    }
    if let (Some(resumed), Some(argument)) = (&notes.resumed, &tool.spec().page) {
        resumed.same(&arguments, argument)?;
    }
    wants(tool.spec(), &arguments)?;
    if redactor.refuses(&arguments) {
        return Err(Error::new(
            Kind::BadArguments,
            "The arguments hold a redaction marker or a credential of this server, so they are not sent on; give the \
             real value, or leave the field out.",
        ));
    }
    if holds_handle(&arguments) {
        return Err(Error::new(
            Kind::BadArguments,
            "The arguments hold the handle of a next page where none belongs, so they are a part of a list and are not \
             sent on; a handle goes back to the tool that named it, as the argument for it.",
        ));
    }
    let arguments = match arguments {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    Ok(Validated { call: Proposed { tool, arguments, method } })
}

/// What is asked for of a result is there, as far as its schema tells.
fn wants(spec: &ToolSpec, arguments: &Value) -> Result<()> {
    let argument = spec.reading.as_ref().and_then(|reading| reading.fields.as_ref());
    let Some(asked) = argument.and_then(|name| arguments.get(name)) else { return Ok(()) };
    let paths = Paths::read(asked)?;
    spec.output.as_ref().map_or(Ok(()), |schema| paths.check(schema.source()))
}

/// What a completion asks for has a fixed shape; the arguments known so far need not be complete.
fn completion(arguments: &Value) -> Result<()> {
    let texts = |value: &Value| value.as_object().is_some_and(|known| known.values().all(Value::is_string));
    let argument = &arguments["argument"];
    if argument["name"].is_string()
        && argument["value"].is_string()
        && arguments.get("known").is_none_or(texts)
    {
        return Ok(());
    }
    Err(Error::new(
        Kind::BadArguments,
        "A completion wants an argument with a name and a value, and texts for the arguments known so far.",
    ))
}
