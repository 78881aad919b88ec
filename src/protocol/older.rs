//! What an older revision cannot carry, said in its own words.
//!
//! Owns the way back from the newest vocabulary. The idea: nothing is lost without a word and nothing is sent that a
//! client of that age would refuse: data becomes text, a link becomes a sentence, a sound an attachment; only what is
//! decoration (titles, icons, hints) is left out. What needs no change is borrowed.
//!
//! Must not: be asked by anything but `shape.rs`.

use std::borrow::Cow;

use super::Revision;
use super::meta::CUT;
use super::shape::Takes;
use super::types::{
    Annotations, Content, Implementation, PromptArgument, PromptMessage, ResourceContents, ToolResult,
};
use crate::json::{Map, Value, json};

/// Stands where a text would repeat the data.
const SEE_DATA: &str = "The result is in structuredContent.";
/// The member of data that holds what other texts say.
const NOTES: &str = "notes";
/// Where a sound lies that is sent as an attachment.
const SOUND: &str = "attachment:audio";

/// Whether every kind of content is there.
fn knows_all_content(revision: Revision) -> bool {
    revision.audio() && revision.resource_links() && revision.inner_meta() && revision.last_modified()
}

/// Blocks of content.
pub(super) fn content(revision: Revision, blocks: &[Content]) -> Cow<'_, [Content]> {
    if knows_all_content(revision) {
        Cow::Borrowed(blocks)
    } else {
        Cow::Owned(blocks.iter().map(|block| self::block(revision, block)).collect())
    }
}

fn block(revision: Revision, block: &Content) -> Content {
    let meta = |meta: &Option<Map<String, Value>>| meta.clone().filter(|_| revision.inner_meta());
    let hints = |hints: &Option<Annotations>| hints.as_ref().and_then(|hints| annotations(revision, hints));
    match block {
        Content::Text { text, annotations, meta: own, most } => Content::Text {
            text: text.clone(),
            annotations: hints(annotations),
            meta: meta(own),
            most: *most,
        },
        Content::Image { data, mime_type, annotations, meta: own } => Content::Image {
            data: data.clone(),
            mime_type: mime_type.clone(),
            annotations: hints(annotations),
            meta: meta(own),
        },
        Content::Audio { data, mime_type, annotations, meta: own } if revision.audio() => Content::Audio {
            data: data.clone(),
            mime_type: mime_type.clone(),
            annotations: hints(annotations),
            meta: meta(own),
        },
        Content::Audio { data, mime_type, annotations, .. } => {
            let resource = ResourceContents {
                uri: SOUND.into(),
                mime_type: Some(mime_type.clone()),
                text: None,
                blob: Some(data.clone()),
                meta: None,
            };
            Content::Resource { resource, annotations: hints(annotations) }
        }
        Content::ResourceLink { annotations, .. } if !revision.resource_links() => {
            Content::Text { text: link(block), annotations: hints(annotations), meta: None, most: None }
        }
        Content::ResourceLink { .. } => block.clone(),
        Content::Resource { resource, annotations } => {
            Content::Resource { resource: contents(revision, resource), annotations: hints(annotations) }
        }
    }
}

/// A link, as a sentence that leads to the same place.
fn link(block: &Content) -> String {
    let Content::ResourceLink { uri, name, title, description, mime_type, size, .. } = block else {
        return String::new();
    };
    let mut text = format!("Resource {:?}: {uri}", title.as_ref().unwrap_or(name));
    let facts = [mime_type.clone(), size.map(|size| format!("{size} bytes"))];
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    if !facts.is_empty() {
        text.push_str(" (");
        text.push_str(&facts.join(", "));
        text.push(')');
    }
    if let Some(description) = description {
        text.push('\n');
        text.push_str(description);
    }
    text
}

fn contents(revision: Revision, contents: &ResourceContents) -> ResourceContents {
    let mut contents = contents.clone();
    contents.meta = contents.meta.filter(|_| revision.inner_meta());
    contents
}

/// Hints about who content is for; nothing if nothing is left of them.
pub(super) fn annotations(revision: Revision, hints: &Annotations) -> Option<Annotations> {
    let mut hints = hints.clone();
    hints.last_modified = hints.last_modified.filter(|_| revision.last_modified());
    (hints != Annotations::default()).then_some(hints)
}

/// Contents of resources.
pub(super) fn all_contents(revision: Revision, all: &[ResourceContents]) -> Cow<'_, [ResourceContents]> {
    if revision.inner_meta() {
        Cow::Borrowed(all)
    } else {
        Cow::Owned(all.iter().map(|one| contents(revision, one)).collect())
    }
}

/// Messages of a prompt.
pub(super) fn messages(revision: Revision, messages: &[PromptMessage]) -> Cow<'_, [PromptMessage]> {
    if knows_all_content(revision) {
        return Cow::Borrowed(messages);
    }
    let message = |message: &PromptMessage| PromptMessage {
        role: message.role.clone(),
        content: block(revision, &message.content),
    };
    Cow::Owned(messages.iter().map(message).collect())
}

/// Arguments of a prompt.
pub(super) fn prompt_arguments(
    revision: Revision,
    arguments: &[PromptArgument],
) -> Cow<'_, [PromptArgument]> {
    if revision.titles() {
        return Cow::Borrowed(arguments);
    }
    Cow::Owned(arguments.iter().map(|one| PromptArgument { title: None, ..one.clone() }).collect())
}

/// A tool's result: its content, and its data where that may be shown. Data that may not is given as text, unless a
/// text says it already. Where it may, a text says the same once more for clients that read texts alone; not for one
/// that reads data, and not where it is long.
pub(super) fn result(
    revision: Revision,
    result: &ToolResult,
    takes: Takes,
) -> (Cow<'_, [Content]>, Option<Cow<'_, Value>>) {
    let mut content = content(revision, &result.content);
    let Some(data) = &result.structured_content else { return (content, None) };
    let says = |block: &Content| match block {
        Content::Text { text, .. } => serde_json::from_str::<Value>(text).is_ok_and(|said| said == *data),
        Content::Image { .. }
        | Content::Audio { .. }
        | Content::ResourceLink { .. }
        | Content::Resource { .. } => false,
    };
    if revision.any_structured_content() || (revision.structured_content() && data.is_object()) {
        if takes.data && !result.is_error {
            return once(content, data, says, takes.declared);
        }
        let cut = result.meta.as_ref().is_some_and(|meta| meta.contains_key(CUT));
        if cut && !takes.declared && content.iter().any(says) {
            return (content, None);
        }
        return (content, Some(Cow::Borrowed(data)));
    }
    if !content.iter().any(says) {
        content.to_mut().push(Content::text(data.to_string()));
    }
    (content, None)
}

/// A result for a client that reads data, and may then read nothing else: the text that says the same only points to
/// it, and what other texts say is there, too.
fn once<'a>(
    mut content: Cow<'a, [Content]>,
    data: &'a Value,
    says: impl Fn(&Content) -> bool,
    declared: bool,
) -> (Cow<'a, [Content]>, Option<Cow<'a, Value>>) {
    let Some(twin) = content.iter().position(says) else { return (content, Some(Cow::Borrowed(data))) };
    content.to_mut()[twin] = Content::text(SEE_DATA);
    let others = content.iter().enumerate().filter_map(|(index, block)| match block {
        Content::Text { text, .. } if index != twin => Some(Value::from(text.as_str())),
        _ => None,
    });
    let notes: Vec<Value> = others.collect();
    let mut data = Cow::Borrowed(data);
    if !notes.is_empty()
        && !declared
        && data.get(NOTES).is_none()
        && let Value::Object(members) = data.to_mut()
    {
        members.insert(NOTES.to_owned(), Value::Array(notes));
    }
    (content, Some(data))
}

/// How the server describes itself.
pub(super) fn implementation(revision: Revision, whole: &Implementation) -> Implementation {
    let mut described = whole.clone();
    described.title = described.title.filter(|_| revision.titles());
    if !revision.icons() {
        (described.description, described.website_url) = (None, None);
        described.icons.clear();
    }
    described
}

/// The schema of a tool's arguments or results.
pub(super) fn schema(revision: Revision, schema: &Value) -> Cow<'_, Value> {
    let dialect = !revision.schema_dialect() && schema.get("$schema").is_some();
    let properties = schema.get("properties").and_then(Value::as_object);
    let booleans = properties.is_some_and(|properties| properties.values().any(Value::is_boolean));
    if !dialect && (revision.boolean_schemas() || !booleans) {
        return Cow::Borrowed(schema);
    }
    let mut schema = schema.clone();
    if let Some(object) = schema.as_object_mut()
        && dialect
    {
        object.remove("$schema");
    }
    if !revision.boolean_schemas()
        && let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut)
    {
        for property in properties.values_mut() {
            match property {
                Value::Bool(true) => *property = json!({}),
                Value::Bool(false) => *property = json!({"not": {}}),
                _ => {}
            }
        }
    }
    Cow::Owned(schema)
}

/// Whether a form can be put in the older words: they have no choice of several.
pub(super) fn can_be_a_form(schema: &Value) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.is_none_or(|properties| properties.values().all(|property| property["type"] != "array"))
}

/// A form in the older words: only a yes or no has a default, and choices have their titles beside them.
pub(super) fn form(schema: &Value) -> Value {
    let mut form = schema.clone();
    if let Some(form) = form.as_object_mut() {
        form.remove("$schema");
    }
    for property in form.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        let Some(property) = property.1.as_object_mut() else { continue };
        if property.get("type").and_then(Value::as_str) != Some("boolean") {
            property.remove("default");
        }
        if let Some(Value::Array(choices)) = property.remove("oneOf") {
            let all = |key: &str| choices.iter().map(|choice| choice[key].clone()).collect::<Vec<_>>();
            property.insert("enum".into(), all("const").into());
            property.insert("enumNames".into(), all("title").into());
        }
    }
    form
}

fn blocks_of(message: &Value) -> &[Value] {
    match &message["content"] {
        Value::Array(blocks) => blocks,
        one => std::slice::from_ref(one),
    }
}

/// Whether a model can be asked that in this revision: what it is to hear cannot be replaced by something else.
pub(super) fn can_be_sampled(revision: Revision, params: &Value) -> bool {
    let fits = |block: &Value| match block["type"].as_str() {
        Some("text" | "image") => true,
        Some("audio") => revision.audio(),
        _ => revision.sampling_tools(),
    };
    let mut messages = params["messages"].as_array().into_iter().flatten();
    messages.all(|message| blocks_of(message).iter().all(fits))
}

/// A question to a model in the older words: one block in a message.
pub(super) fn sample(revision: Revision, params: &Value) -> Value {
    let mut params = params.clone();
    if revision.sampling_tools() {
        return params;
    }
    if let Some(messages) = params["messages"].as_array() {
        let mut single = Vec::with_capacity(messages.len());
        for message in messages {
            for block in blocks_of(message) {
                let mut block = block.clone();
                if !revision.inner_meta()
                    && let Some(block) = block.as_object_mut()
                {
                    block.remove("_meta");
                }
                single.push(json!({"role": message["role"], "content": block}));
            }
        }
        params["messages"] = single.into();
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Revision {
        Revision::parse(name).unwrap()
    }

    #[test]
    fn data_becomes_text_once() {
        let (first, later) = (of("2025-03-26"), of("2025-06-18"));
        let spoken = ToolResult::structured(json!({"a": 1}));
        let (content, data) = result(first, &spoken, Takes::default());
        assert_eq!((content.len(), data), (1, None), "the text says it already");
        assert_eq!(result(later, &spoken, Takes::default()).1, Some(Cow::Owned(json!({"a": 1}))));
        let silent = ToolResult { content: vec![Content::text("Done.")], ..spoken };
        let (content, _) = result(first, &silent, Takes::default());
        assert_eq!(content[1], Content::text(r#"{"a":1}"#));
        assert!(matches!(result(later, &silent, Takes::default()).0, Cow::Borrowed(_)));
    }

    #[test]
    fn sounds_and_links_reach_the_first_revision_by_other_means() {
        let sound = Content::Audio {
            data: "AAEC".into(),
            mime_type: "audio/wav".into(),
            annotations: Some(Annotations { last_modified: Some("2025".into()), ..Annotations::default() }),
            meta: Some(Map::new()),
        };
        let link = Content::ResourceLink {
            uri: "note://today".into(),
            name: "today".into(),
            title: Some("Today".into()),
            description: Some("What is to do.".into()),
            mime_type: Some("text/plain".into()),
            size: Some(4),
            annotations: None,
        };
        let shown = content(of("2024-11-05"), &[sound.clone(), link.clone()]).into_owned();
        assert_eq!(
            serde_json::to_value(&shown).unwrap(),
            json!([
                {"type": "resource",
                 "resource": {"uri": SOUND, "mimeType": "audio/wav", "blob": "AAEC"}},
                {"type": "text",
                 "text": "Resource \"Today\": note://today (text/plain, 4 bytes)\nWhat is to do."},
            ])
        );
        let shown = content(of("2025-03-26"), std::slice::from_ref(&sound)).into_owned();
        assert_eq!(
            serde_json::to_value(&shown).unwrap(),
            json!([{"type": "audio", "data": "AAEC", "mimeType": "audio/wav"}])
        );
        assert_eq!(&*content(of("2025-06-18"), &[sound.clone(), link.clone()]), &[sound, link]);
    }

    #[test]
    fn forms_say_the_same_in_older_words() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "size": {"type": "string", "default": "s",
                         "oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]},
                "gift": {"type": "boolean", "default": true},
            },
        });
        assert_eq!(
            form(&schema),
            json!({
                "type": "object",
                "properties": {
                    "size": {"type": "string", "enum": ["s", "l"], "enumNames": ["Small", "Large"]},
                    "gift": {"type": "boolean", "default": true},
                },
            })
        );
        assert!(can_be_a_form(&schema));
        assert!(!can_be_a_form(&json!({"properties": {"many": {"type": "array"}}})));
    }

    #[test]
    fn a_model_hears_one_block_at_a_time() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let params = json!({"maxTokens": 1, "messages": [
            {"role": "user", "content": [text("a"), text("b")]}, {"role": "assistant", "content": text("c")},
        ]});
        let older = of("2025-06-18");
        assert!(can_be_sampled(older, &params));
        assert_eq!(
            sample(older, &params)["messages"],
            json!([
                {"role": "user", "content": text("a")}, {"role": "user", "content": text("b")},
                {"role": "assistant", "content": text("c")},
            ])
        );
        assert_eq!(sample(of("2025-11-25"), &params), params);
        let sound = json!({"messages": [{"role": "user", "content": {"type": "audio"}}]});
        assert!(can_be_sampled(older, &sound) && !can_be_sampled(of("2024-11-05"), &sound));
    }

    #[test]
    fn schemas_lose_what_a_client_would_stumble_over() {
        let whole = json!({"$schema": "x", "type": "object", "properties": {"a": true, "b": false, "c": {}}});
        let shown = schema(of("2025-06-18"), &whole);
        let properties = json!({"a": {}, "b": {"not": {}}, "c": {}});
        assert_eq!(*shown, json!({"type": "object", "properties": properties}));
        assert!(matches!(schema(Revision::NEWEST, &whole), Cow::Borrowed(_)));
        let plain = json!({"type": "object", "properties": {"c": {}}});
        assert!(matches!(schema(of("2024-11-05"), &plain), Cow::Borrowed(_)));
    }
}
