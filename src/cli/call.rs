//! `bartizan call`.
//!
//! Owns one call from the shell. The idea: it walks the same line as any client's call; what changes something needs
//! an operator's agreement here whatever the policy says, since a model with a shell could type this too.
//!
//! Must not: know how a tool works.

use std::io::Read;
use std::sync::Arc;

use super::args::Call;
use super::screen::Screen;
use super::settings;
use super::stop::Stop;
use crate::app::Loader;
use crate::connectors::FAILURE;
use crate::error::{Error, Kind, Result};
use crate::json::{Bounds, Map, Value};
use crate::pipeline::{Context, Guarded, Outcome, Reply};
use crate::policy::{Effect, Verdict};
use crate::protocol::types::{Content, ToolResult};

pub(super) async fn run(typed: &Call, loader: Option<&dyn Loader>, screen: Screen) -> Result<()> {
    let arguments = arguments(&typed.arguments)?;
    let stop = Stop::at_once();
    let config = settings::configuration(&typed.source)?;
    let app = settings::app_with(config, loader, vec![Arc::new(ask_before_change)]).await?;
    let context = Context { cancel: stop.token().clone(), ..app.context() };
    let outcome = app.call(&typed.tool, arguments, &context).await;
    let closed = app.close().await;
    let shown = outcome.and_then(|outcome| show(outcome, typed.json, screen));
    closed?;
    shown
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of a guard")]
fn ask_before_change(call: Guarded<'_>) -> Result<Verdict> {
    let changes = call.spec.effect != Effect::Read;
    Ok(if changes { call.verdict.max(Verdict::Ask) } else { call.verdict })
}

/// The arguments that were typed, or those on standard input.
fn arguments(typed: &str) -> Result<Map<String, Value>> {
    let mut text = String::new();
    let bytes = if typed == "-" {
        let most = u64::try_from(Bounds::default().size).unwrap_or(u64::MAX) + 1;
        std::io::stdin().lock().take(most).read_to_string(&mut text).map_err(|error| {
            Error::new(
                Kind::BadArguments,
                "Standard input is not text; send the arguments as one JSON object.",
            )
            .with_source(error)
        })?;
        text.as_bytes()
    } else {
        typed.as_bytes()
    };
    match crate::json::parse(bytes, &Bounds::default()) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Error::new(
            Kind::BadArguments,
            "The arguments must be one JSON object, such as '{\"limit\": 5}'.",
        )),
        Err(error) => Err(Error::new(
            Kind::BadArguments,
            format!(
                "The arguments cannot be read: {} Put single quotes around them in the shell.",
                error.message()
            ),
        )),
    }
}

fn show(outcome: Outcome, as_json: bool, screen: Screen) -> Result<()> {
    let result = match outcome {
        Outcome::Done(redacted) => match redacted.into_reply() {
            Reply::Tool(result) => result,
            Reply::Resource(_) | Reply::Prompt(_) | Reply::Completion(_) => {
                return Err(Error::new(
                    Kind::Internal,
                    "A tool answered with something that is no tool result.",
                ));
            }
        },
        Outcome::Paused(_) => {
            return Err(Error::new(
                Kind::NeedsApproval,
                "This tool asks its user something, and a shell cannot answer; call it from an AI client.",
            ));
        }
    };
    if as_json {
        screen.json(&serde_json::to_value(&result).unwrap_or(Value::Null));
    } else {
        print(&result, screen);
    }
    if result.is_error {
        let failure =
            result.meta.as_ref().and_then(|meta| meta.get(FAILURE)).and_then(|it| it["kind"].as_str());
        let kind = Kind::ALL.iter().copied().find(|kind| failure == Some(kind.name()));
        return Err(Error::new(
            kind.unwrap_or(Kind::ToolFailed),
            "The tool answered with a failure; what it said is above.",
        ));
    }
    Ok(())
}

fn print(result: &ToolResult, screen: Screen) {
    if let Some(value) = &result.structured_content {
        screen.line(&serde_json::to_string_pretty(value).unwrap_or_default());
        return;
    }
    for block in &result.content {
        match block {
            Content::Text { text, .. } => match serde_json::from_str::<Value>(text) {
                Ok(value) if value.is_object() || value.is_array() => {
                    screen.line(&serde_json::to_string_pretty(&value).unwrap_or_default());
                }
                _ => screen.line(text),
            },
            Content::Image { mime_type, data, .. } | Content::Audio { mime_type, data, .. } => {
                screen
                    .line(&format!("[{mime_type}, {} characters of base64; --json prints them]", data.len()));
            }
            Content::ResourceLink { uri, .. } => screen.line(uri),
            Content::Resource { resource, .. } => match &resource.text {
                Some(text) => screen.line(text),
                None => screen.line(&resource.uri),
            },
        }
    }
}
