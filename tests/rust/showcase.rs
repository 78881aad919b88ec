//! Tools, resources and prompts that use every corner of the newest vocabulary.

use std::sync::Arc;

use bartizan::json::{Value, json};
use bartizan::pipeline::{Family, Halt, Reply, Tool, ToolSpec};
use bartizan::protocol::types::{
    Annotations, Ask, Asks, Content, Icon, PromptArgument, PromptMessage, PromptResult, ResourceContents,
    ToolAnnotations, ToolResult,
};
use bartizan::schema::LazySchema;

use crate::stage::{played, spec, text};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

fn icons() -> Vec<Icon> {
    let src = "https://example.com/icon.png".into();
    vec![Icon { src, mime_type: Some("image/png".into()), sizes: vec!["48x48".into()], theme: None }]
}

fn meta() -> Option<bartizan::json::Map<String, Value>> {
    json!({"example.com/kept": true}).as_object().cloned()
}

fn hints() -> Option<Annotations> {
    Some(Annotations {
        audience: vec!["user".into()],
        priority: Some(0.5),
        last_modified: Some("2026-01-02T03:04:05Z".into()),
    })
}

fn decorated(spec: ToolSpec) -> ToolSpec {
    ToolSpec { title: Some("Shown to people".into()), icons: icons(), meta: meta(), ..spec }
}

fn contents() -> ResourceContents {
    ResourceContents {
        uri: "shown://one".into(),
        mime_type: Some("text/plain".into()),
        text: Some("One.".into()),
        blob: None,
        meta: meta(),
    }
}

fn sound() -> Content {
    Content::Audio { data: "AAEC".into(), mime_type: "audio/wav".into(), annotations: hints(), meta: meta() }
}

/// A tool whose entry and result hold everything at once.
pub fn rich() -> Arc<dyn Tool> {
    let schema = |properties: Value| {
        LazySchema::new(json!({
            "$schema": DIALECT, "type": "object", "properties": properties, "additionalProperties": false
        }))
    };
    let annotations = ToolAnnotations { read_only_hint: Some(true), ..ToolAnnotations::default() };
    let output = Some(schema(json!({"a": {"type": "integer"}})));
    let input = schema(json!({"anything": true}));
    let spec = ToolSpec { annotations, output, input, ..decorated(spec("rich", json!({}))) };
    played(spec, |_, _| {
        let link = Content::ResourceLink {
            uri: "shown://one".into(),
            name: "one".into(),
            title: Some("The one".into()),
            description: None,
            mime_type: Some("text/plain".into()),
            size: Some(4),
            annotations: hints(),
        };
        let words = Content::Text { text: "Rich.".into(), annotations: hints(), meta: meta(), most: None };
        let image = Content::Image {
            data: "AAEC".into(),
            mime_type: "image/png".into(),
            annotations: None,
            meta: meta(),
        };
        let inside = Content::Resource { resource: contents(), annotations: hints() };
        Ok(Reply::Tool(ToolResult {
            content: vec![words, image, sound(), link, inside],
            structured_content: Some(json!({"a": 1})),
            is_error: false,
            meta: meta(),
        }))
    })
}

/// A resource with a title, hints and data of its own.
pub fn note() -> Arc<dyn Tool> {
    let family =
        Family::Resource { uri: "shown://one".into(), mime_type: Some("text/plain".into()), size: Some(4) };
    let spec = ToolSpec { family, resource_annotations: hints(), ..decorated(spec("one", json!({}))) };
    played(spec, |_, _| Ok(Reply::Resource(vec![contents()])))
}

/// The same as a template.
pub fn template() -> Arc<dyn Tool> {
    let family = Family::Template { uri_template: "more://{name}".into(), mime_type: None };
    let spec = ToolSpec {
        family,
        resource_annotations: hints(),
        ..decorated(spec("more", json!({"name": {"type": "string"}})))
    };
    played(spec, |_, _| Ok(Reply::Resource(vec![contents()])))
}

/// A prompt with a title, and a sound in what it says.
pub fn prompt() -> Arc<dyn Tool> {
    let argument = PromptArgument {
        name: "who".into(),
        title: Some("For whom".into()),
        description: None,
        required: false,
    };
    let family = Family::Prompt { arguments: vec![argument] };
    let spec = ToolSpec { family, ..decorated(spec("sung", json!({"who": {"type": "string"}}))) };
    played(spec, |_, _| {
        let messages = vec![PromptMessage { role: "user".into(), content: sound() }];
        Ok(Reply::Prompt(PromptResult { description: None, messages }))
    })
}

fn asks(context: &bartizan::pipeline::Context, ask: Ask) -> Result<Reply, Halt> {
    match context.answers.to("q", &ask)? {
        None => Err(Halt::Ask(Asks::from_iter([(String::from("q"), ask)]))),
        Some(_) => text("Answered."),
    }
}

/// Sends a person to an address.
pub fn asking_there() -> Arc<dyn Tool> {
    played(spec("asking_there", json!({})), |_, context| {
        asks(context, Ask::Url { message: "Sign in.".into(), url: "https://example.com/in".into() })
    })
}

/// Lets a person choose one of several by title.
pub fn asking_choice() -> Arc<dyn Tool> {
    played(spec("asking_choice", json!({})), |_, context| {
        let names = json!({"type": "string", "default": "Ann", "oneOf": [
            {"const": "Ann", "title": "Ann A."}, {"const": "Bob", "title": "Bob B."}
        ]});
        let schema = json!({"type": "object", "properties": {"name": names}, "required": ["name"]});
        asks(context, Ask::Form { message: "Who?".into(), schema })
    })
}

/// Lets a person choose several.
pub fn asking_several() -> Arc<dyn Tool> {
    played(spec("asking_several", json!({})), |_, context| {
        let names = json!({"type": "array", "items": {"type": "string", "enum": ["Ann", "Bob"]}});
        let schema = json!({"type": "object", "properties": {"names": names}, "required": ["names"]});
        asks(context, Ask::Form { message: "Who?".into(), schema })
    })
}

/// Asks a model.
pub fn asking_model() -> Arc<dyn Tool> {
    played(spec("asking_model", json!({})), |_, context| {
        let words = |text: &str| json!({"type": "text", "text": text});
        let message = json!({"role": "user", "content": words("Greet.")});
        asks(context, Ask::Sample(json!({"messages": [message], "maxTokens": 50})))
    })
}

/// Asks a model that may call a tool.
pub fn asking_model_with_tools() -> Arc<dyn Tool> {
    played(spec("asking_model_with_tools", json!({})), |_, context| {
        let message = json!({"role": "user", "content": [{"type": "text", "text": "Greet."}]});
        let tool = json!({"name": "look", "inputSchema": {"type": "object"}});
        asks(context, Ask::Sample(json!({"messages": [message], "maxTokens": 50, "tools": [tool]})))
    })
}

/// One of each.
pub fn all() -> Vec<Arc<dyn Tool>> {
    vec![
        rich(),
        note(),
        template(),
        prompt(),
        asking_there(),
        asking_choice(),
        asking_several(),
        asking_model(),
        asking_model_with_tools(),
    ]
}
