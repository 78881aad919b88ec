//! What may be in a catalog.
//!
//! Owns [`check`]. The idea: names, schemas and addresses are looked at when something is registered, so that no list and
//! no call meets one that cannot be; names and toolsets of our own are nobody else's.
//!
//! Must not: know what else is registered.

use super::mirror::{self, Mirror};
use super::template::{self, Template};
use crate::error::{Error, Kind, Result};
use crate::json::Value;
use crate::pipeline::{Family, ToolSpec};
use crate::policy::{FINDERS, is_own_toolset};
use crate::schema::{LazySchema, Schema};

/// What is wrong with one, as an error.
pub(super) fn bad(spec: &ToolSpec, what: &str) -> Error {
    let thing = match spec.family {
        Family::Tool => "tool",
        Family::Resource { .. } => "resource",
        Family::Template { .. } => "resource template",
        Family::Prompt { .. } => "prompt",
    };
    // a name that is illegal is cut, so that nothing long or odd is repeated
    let name: String = spec.name.chars().filter(|letter| !letter.is_control()).take(64).collect();
    Error::new(Kind::BadConfig, format!("The {thing} `{name}` {what}."))
}

/// Where something comes from, for people.
pub(super) fn whose(spec: &ToolSpec) -> String {
    match spec.source.as_str() {
        "builtin" => String::from("bartizan itself"),
        "python" => String::from("Python"),
        "openapi" => format!("the API document `{}`", spec.toolset),
        connector => format!("the connector `{connector}`"),
    }
}

/// What of it is known by its name and address, if it may be in a catalog at all.
pub(super) fn check(spec: &ToolSpec) -> Result<(Vec<Mirror>, Option<Template>)> {
    let strict = matches!(spec.family, Family::Tool | Family::Prompt { .. });
    let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if spec.name.is_empty() || spec.name.chars().count() > 64 {
        return Err(bad(spec, "needs a name of 1 to 64 characters"));
    }
    if strict && !spec.name.chars().all(legal) {
        return Err(bad(spec, "may only have A-Z, a-z, 0-9, `_`, `-` and `.` in its name"));
    }
    if spec.name.chars().any(char::is_control) {
        return Err(bad(spec, "has a control character in its name"));
    }
    if spec.source != "builtin" {
        // whether the three are offered depends on settings and on how long a list is; their names do not
        if spec.family == Family::Tool && FINDERS.contains(&spec.name.as_str()) {
            let what = "has the name of one of bartizan's own tools; give it another";
            return Err(bad(spec, &format!("from {} {what}", whose(spec))));
        }
        if is_own_toolset(&spec.toolset) {
            return Err(bad(
                spec,
                "is in a toolset of bartizan's own (search, results); call its toolset otherwise",
            ));
        }
    }
    for icon in &spec.icons {
        if !["https://", "http://", "data:"].iter().any(|scheme| icon.src.starts_with(scheme)) {
            return Err(bad(spec, "has an icon whose address is neither https nor data"));
        }
    }
    let input = spec.input.given();
    if input.is_some_and(|input| input.get("type").and_then(Value::as_str) != Some("object")) {
        return Err(bad(spec, "needs an input schema of type object"));
    }
    let named = |error: Error| {
        let message = format!("{} (schema of `{}`)", error.message(), spec.name);
        Error::new(Kind::BadConfig, message)
    };
    for given in input.into_iter().chain(spec.output.as_ref().and_then(LazySchema::given)) {
        Schema::vet(given).map_err(named)?;
    }
    match &spec.family {
        Family::Tool => {
            // what is made of a document repeats nothing in headers
            let mirrors = input.map_or(Ok(Vec::new()), |input| mirror::collect(input));
            Ok((mirrors.map_err(|what| bad(spec, what))?, None))
        }
        Family::Prompt { .. } => Ok((Vec::new(), None)),
        Family::Resource { uri, .. } if template::is_uri(uri) => Ok((Vec::new(), None)),
        Family::Resource { .. } => Err(bad(spec, "needs an address with a scheme, such as `notes://today`")),
        Family::Template { uri_template, .. } => {
            let template = Template::parse(uri_template).map_err(|what| bad(spec, what))?;
            Ok((Vec::new(), Some(template)))
        }
    }
}
