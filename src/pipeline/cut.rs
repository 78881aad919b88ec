//! Not too much at once.
//!
//! Owns the size of results. The idea: a result that is too large is cut to texts that fit, and says so, with a marker
//! that the line refuses to take back as an argument.
//!
//! Must not: cut quietly.

use super::Reply;
use crate::json::{Map, Value};
use crate::protocol::types::{Content, ResourceContents};

/// The `_meta` key that says that a result was cut.
pub(super) const CUT: &str = "bartizan/cut";
const MARKER: &str =
    "\n[redacted:cut] The rest was left out because the result is too large; ask for less at once.";

/// Cuts the reply to about `limit` bytes, and returns about how many it has.
pub(super) fn within(reply: &mut Reply, limit: usize) -> usize {
    let before = size(reply);
    if before <= limit {
        return before;
    }
    match reply {
        Reply::Tool(result) => {
            result.structured_content = None;
            let mut left = limit;
            for one in &mut result.content {
                content(one, &mut left);
            }
            result.meta.get_or_insert_with(Map::new).insert(CUT.to_owned(), Value::Bool(true));
        }
        Reply::Resource(all) => {
            let mut left = limit;
            for one in all {
                resource(one, &mut left);
                one.meta.get_or_insert_with(Map::new).insert(CUT.to_owned(), Value::Bool(true));
            }
        }
        Reply::Prompt(result) => {
            let mut left = limit;
            for message in &mut result.messages {
                content(&mut message.content, &mut left);
            }
        }
        Reply::Completion(result) => {
            let mut left = limit;
            result.values.retain(|one| {
                let fits = one.len() <= left;
                left = left.saturating_sub(one.len());
                fits
            });
            result.has_more = Some(true);
        }
    }
    size(reply)
}

fn content(one: &mut Content, left: &mut usize) {
    match one {
        Content::Text { text, .. } => shorten(text, left),
        Content::Image { data, .. } | Content::Audio { data, .. } => {
            if data.len() > *left {
                *one = Content::text(MARKER.trim_start());
            } else {
                *left -= data.len();
            }
        }
        Content::Resource { resource: inside, .. } => resource(inside, left),
        Content::ResourceLink { .. } => {}
    }
}

fn resource(one: &mut ResourceContents, left: &mut usize) {
    if let Some(text) = &mut one.text {
        shorten(text, left);
    }
    if let Some(blob) = &mut one.blob {
        if blob.len() > *left {
            one.blob = None;
            one.text = Some(MARKER.trim_start().to_owned());
            one.mime_type = Some(String::from("text/plain"));
        } else {
            *left -= blob.len();
        }
    }
}

fn shorten(text: &mut String, left: &mut usize) {
    if text.len() <= *left {
        *left -= text.len();
        return;
    }
    text.truncate(text.floor_char_boundary(*left));
    text.push_str(MARKER);
    *left = 0;
}

fn size(reply: &Reply) -> usize {
    let contents = |one: &ResourceContents| {
        one.uri.len() + one.text.as_ref().map_or(0, String::len) + one.blob.as_ref().map_or(0, String::len)
    };
    let content = |one: &Content| match one {
        Content::Text { text, .. } => text.len(),
        Content::Image { data, .. } | Content::Audio { data, .. } => data.len(),
        Content::ResourceLink { uri, name, title, description, .. } => {
            uri.len()
                + name.len()
                + title.as_ref().map_or(0, String::len)
                + description.as_ref().map_or(0, String::len)
        }
        Content::Resource { resource, .. } => contents(resource),
    };
    match reply {
        Reply::Tool(result) => {
            result.content.iter().map(content).sum::<usize>()
                + result.structured_content.as_ref().map_or(0, weigh)
        }
        Reply::Resource(all) => all.iter().map(contents).sum(),
        Reply::Prompt(result) => result.messages.iter().map(|message| content(&message.content)).sum(),
        Reply::Completion(result) => result.values.iter().map(String::len).sum(),
    }
}

/// About how long the value is as JSON.
fn weigh(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 3,
        Value::Array(items) => 2 + items.iter().map(weigh).sum::<usize>(),
        Value::Object(object) => {
            2 + object.iter().map(|(key, value)| key.len() + 4 + weigh(value)).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;
    use crate::protocol::types::ToolResult;

    #[test]
    fn what_is_too_large_is_cut_and_says_so() {
        let mut reply = Reply::Tool(ToolResult {
            content: vec![Content::text("é".repeat(100)), Content::text("more")],
            structured_content: Some(json!({"a": "b"})),
            ..ToolResult::default()
        });
        let bytes = within(&mut reply, 101);
        let Reply::Tool(result) = reply else { panic!("another kind of reply") };
        assert_eq!(result.structured_content, None);
        assert_eq!(result.meta.unwrap()[CUT], true);
        let Content::Text { text, .. } = &result.content[0] else { panic!("no text") };
        assert!(text.starts_with(&"é".repeat(50)) && text.contains("[redacted:cut]"));
        assert!(bytes < 101 + 2 * MARKER.len() + 1);
    }

    #[test]
    fn what_fits_is_left_alone() {
        let mut reply = Reply::Tool(ToolResult::structured(json!({"a": [1, null, "x"]})));
        let before = reply.clone();
        assert!(within(&mut reply, 1000) > 10);
        assert_eq!(reply, before);
    }
}
