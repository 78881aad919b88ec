//! Checked arguments -> one outbound request.
//!
//! Owns [`Plan`]. The idea: scheme, host, port and the literal part of a path come from configuration and document;
//! arguments only fill gaps, encoded. When the address is put together it is parsed again and compared with what was
//! meant, segment by segment, so that whatever the encoding missed is refused and not sent.
//!
//! Must not: send anything.

mod body;
mod path;
mod style;

use std::sync::Arc;

use url::Url;

use self::path::Template;
use crate::connectors::document::{BodySpec, Encoding, Operation, Parameter, Place};
use crate::connectors::openapi::overrides;
use crate::error::{Error, Kind, Result};
use crate::http::{HeaderName, HeaderValue, Method, Request};
use crate::json::{Digest, Map, Value, digest, json};
use crate::policy::Effect;

/// Where requests of a connector go.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// Scheme, host and port.
    origin: Url,
    /// Segments that every path begins with.
    prefix: Vec<String>,
}

impl Base {
    /// Why an address can be no base, in words that follow its name.
    pub(super) fn flaw(address: &Url) -> Option<&'static str> {
        if !matches!(address.scheme(), "http" | "https") || address.host_str().is_none() {
            return Some("must be an address that begins with https:// and names a host");
        }
        if !address.username().is_empty() || address.password().is_some() {
            return Some(
                "must hold no user name and no password; name a credential with --auth or [credentials]",
            );
        }
        let ends = address.query().is_none() && address.fragment().is_none();
        (!ends).then_some("must end with its path, without ? and #")
    }

    /// From the configured address; the document's own prefix counts when that has no path.
    pub(super) fn new(address: &Url, base_path: &str) -> Result<Self> {
        if let Some(flaw) = Self::flaw(address) {
            return Err(Error::new(Kind::BadConfig, format!("The base address {flaw}.")));
        }
        let own = address.path().trim_matches('/');
        let path = if own.is_empty() { base_path.trim_matches('/') } else { own };
        let prefix = path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let mut origin = address.clone();
        origin.set_path("/");
        Ok(Self { origin, prefix })
    }

    /// The address with a path template, for people.
    pub(super) fn target(&self, method: &str, path: &str) -> String {
        let origin = self.origin.as_str().trim_end_matches('/');
        let prefix = self.prefix.join("/");
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{method} {origin}{slash}{prefix}{path}")
    }
}

/// Everything about an operation that its requests need.
#[derive(Debug)]
pub(super) struct Plan {
    base: Arc<Base>,
    method: Method,
    template: Template,
    operation: Arc<Operation>,
    /// Headers every request has.
    headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) idempotent: bool,
    /// Parameters of the query that signing sets.
    pub(super) signed: Vec<String>,
}

impl Plan {
    /// The plan of an operation; what cannot be a request is `BadConfig`.
    pub(super) fn new(
        operation: Arc<Operation>,
        base: Arc<Base>,
        mut headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Self> {
        let bad = |what: &str| Error::new(Kind::BadConfig, format!("An operation {what}."));
        let method =
            Method::from_bytes(operation.method.as_bytes()).map_err(|_| bad("has a method that is none"))?;
        let template =
            Template::parse(&operation.path).ok_or_else(|| bad("has a path that is no template"))?;
        if !headers.iter().any(|(name, _)| name == "accept")
            && let Ok(value) = HeaderValue::from_str(&accepted(&operation))
        {
            headers.push((HeaderName::from_static("accept"), value));
        }
        let idempotent = method.is_idempotent();
        Ok(Self { base, method, template, operation, headers, idempotent, signed: Vec::new() })
    }

    /// The operation.
    pub(super) fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The digest of everything that makes its requests what they are and that the arguments do not show, with what
    /// else the connector adds.
    ///
    /// Every field is named here, so that a new one cannot be forgotten.
    pub(super) fn wire(&self, more: &Value) -> Digest {
        let Self { base: _, method, template: _, operation, headers, idempotent, signed: _ } = self;
        let Operation {
            id: _,
            tool: _,
            method: _,
            path,
            summary: _,
            description: _,
            tags: _,
            parameters,
            body,
            responses: _,
            effect,
            deprecated: _,
            permissions: _,
        } = &**operation;
        // made of text, so nothing is lost
        let header = |(name, value): &(HeaderName, HeaderValue)| {
            json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
        };
        let headers: Vec<Value> = headers.iter().map(header).collect();
        let parameters: Vec<Value> = parameters.iter().map(sent_as).collect();
        let body = body.as_ref().map(body_as);
        digest(&json!([method.as_str(), path, effect, headers, parameters, body, idempotent, more]))
    }

    /// The request for these arguments, which fit the tool's schema.
    pub(super) fn request(&self, arguments: &Map<String, Value>) -> Result<Request> {
        let mut segments = self.base.prefix.clone();
        segments.extend(self.template.fill(&self.operation, arguments)?);
        let (mut query, mut cookies) = (Vec::new(), Vec::new());
        let mut headers = self.headers.clone();
        for parameter in &self.operation.parameters {
            let given;
            let value = match &parameter.fixed {
                Some(fixed) => {
                    given = Value::String(fixed.clone());
                    &given
                }
                None => match arguments.get(&parameter.argument) {
                    None | Some(Value::Null) => continue,
                    Some(value) => value,
                },
            };
            match parameter.place {
                Place::Path => {}
                Place::Query => style::query(parameter, value, &self.operation, &mut query)?,
                Place::Header => headers.push(header(parameter, value)?),
                Place::Cookie => cookies.extend(style::cookie(parameter, value, &self.operation)?),
            }
        }
        if !cookies.is_empty() {
            let value = HeaderValue::from_str(&cookies.join("; ")).map_err(|_| refused("a cookie"))?;
            headers.push((HeaderName::from_static("cookie"), value));
        }
        let url = self.address(&segments, &query)?;
        let mut request = Request::new(self.method.clone(), url);
        request.headers = headers;
        request.idempotent = self.idempotent;
        if let Some(spec) = &self.operation.body
            && let Some(value) = arguments.get(&spec.argument)
        {
            // A field that the document names was thought of when the effect was judged.
            if self.operation.effect != Effect::Destroy
                && spec.media_type.contains("form")
                && value.as_object().is_some_and(|fields| fields.keys().any(|name| overrides(name)))
            {
                return Err(overriding(&spec.argument));
            }
            request.body = body::body(spec, value)?;
        }
        Ok(request)
    }

    /// Puts the address together, parses it, and compares.
    fn address(&self, segments: &[String], query: &[String]) -> Result<Url> {
        let mut text = self.base.origin.as_str().trim_end_matches('/').to_owned();
        for segment in segments {
            text.push('/');
            text.push_str(segment);
        }
        if segments.is_empty() {
            text.push('/');
        }
        let query = query.join("&");
        if !query.is_empty() {
            text.push('?');
            text.push_str(&query);
        }
        let elsewhere = || {
            Error::new(
                Kind::BadArguments,
                "The arguments do not make an address of this operation; check the path arguments for characters \
                 that mean something in an address.",
            )
        };
        let url = Url::parse(&text).map_err(|_| elsewhere())?;
        let origin = &self.base.origin;
        let same_origin = url.scheme() == origin.scheme()
            && url.host() == origin.host()
            && url.port() == origin.port()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none();
        let got: Vec<&str> = url.path_segments().map(Iterator::collect).unwrap_or_default();
        let meant: Vec<&str> = segments.iter().map(String::as_str).collect();
        let same_path = got == meant || (meant.is_empty() && got == [""]);
        let same_query = url.query().unwrap_or_default() == query;
        if same_origin && same_path && same_query { Ok(url) } else { Err(elsewhere()) }
    }
}

/// How a parameter is sent.
fn sent_as(parameter: &Parameter) -> Value {
    let Parameter {
        name,
        argument,
        place,
        required: _,
        description: _,
        schema: _,
        fixed,
        style,
        explode,
        allow_reserved,
        content_type,
    } = parameter;
    json!([name, argument, place, fixed, style, explode, allow_reserved, content_type])
}

/// How a body is sent.
fn body_as(body: &BodySpec) -> Value {
    let BodySpec {
        required: _,
        description: _,
        media_type,
        schema: _,
        binary,
        offered: _,
        encoding,
        argument,
    } = body;
    let fields: Map<String, Value> = encoding
        .iter()
        .map(|(field, how)| {
            let Encoding { content_type, style, explode, allow_reserved, binary } = how;
            (field.clone(), json!([content_type, style, explode, allow_reserved, binary]))
        })
        .collect();
    json!([media_type, binary, fields, argument])
}

fn accepted(operation: &Operation) -> String {
    let mut types: Vec<&str> = Vec::new();
    for (status, response) in &operation.responses {
        if let Some(media) = response.media_type.as_deref()
            && (status.starts_with('2') || status == "default")
            && !types.contains(&media)
        {
            types.push(media);
        }
    }
    if !types.iter().any(|media| super::openapi::is_json(media)) {
        types.push("application/json;q=0.9");
    }
    types.truncate(4);
    types.join(", ")
}

/// Arguments by a name that is ours to say: it comes from the document's own parameters.
pub(super) fn refused(name: &str) -> Error {
    Error::new(Kind::BadArguments, format!("The argument {name} has a value that cannot be sent there."))
}

/// An argument by which the request would do something else than its effect was judged by.
fn overriding(name: &str) -> Error {
    Error::new(
        Kind::BadArguments,
        format!(
            "The argument {name} has a property that would make another method of the request; leave it out, and call \
             the tool that does what you mean."
        ),
    )
}

fn header(parameter: &Parameter, value: &Value) -> Result<(HeaderName, HeaderValue)> {
    let refused = || {
        Error::new(
            Kind::BadArguments,
            format!(
                "The argument {} must be one line of plain ASCII, because it is sent as a header.",
                parameter.argument
            ),
        )
    };
    let text = style::header(parameter, value)?;
    if !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err(refused());
    }
    let name = HeaderName::from_bytes(parameter.name.as_bytes()).map_err(|_| refused())?;
    Ok((name, HeaderValue::from_str(&text).map_err(|_| refused())?))
}

#[cfg(test)]
mod tests;
