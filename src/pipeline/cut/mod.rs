//! Not too much at once.
//!
//! Owns the size of what leaves. The idea: a tool's result loses what is noise and what nobody asked for; what is still
//! too large gives as many whole items of its list as fit, or loses its largest parts; a text ends early. Each says so,
//! with a marker that the line refuses to take back as an argument, and the whole is kept for its caller to read.
//! Everything here sees data that has been redacted. What is small pays for one look at its size.
//!
//! Must not: cut quietly.

mod pieces;

pub(super) use self::pieces::MARK;
use self::pieces::{Knife, Piece, length};
use super::kept::Whole;
use super::onward::Way;
use super::redact::clean;
use super::select::{self, Paths};
use super::{Reply, ToolSpec};
use crate::json::{Map, Value, json, pointer};
use crate::protocol::meta::CUT;
use crate::protocol::types::{Content, ResourceContents, ToolResult};
use crate::redaction::Redactor;

/// The `_meta` key that says how many members were left out as noise.
const NOISE: &str = "bartizan/noise";
/// Bytes for what is said of what was not asked for, or noise.
const SLIM: usize = 80;
const MARKER: &str =
    "\n[redacted:cut] The rest was left out because the result is too large; ask for less at once.";
/// Bytes for what is said of the rest: the marker, how to go on, the address of the whole. A handle comes on top.
const SAID: usize = 1_200;
/// Bytes for how to go on where nothing was cut.
const GOES_ON: usize = 250;
/// With less than that, nothing is shaped: texts end early, and data is left out.
const LEAST: usize = 1_000;

/// What becomes of a tool's result.
pub(super) struct Shaping<'a> {
    pub(super) spec: &'a ToolSpec,
    pub(super) redactor: &'a Redactor,
    /// What the caller asks for; empty means everything.
    pub(super) wanted: &'a Paths,
    /// Whether what the connector calls noise is left out.
    pub(super) quiet: bool,
    /// Bytes that are shown.
    pub(super) limit: usize,
    /// Bytes that a result may have whatever is in it: of pictures and sounds, too.
    pub(super) most: usize,
    /// What leads on from the result, and knows the list that the tool itself named.
    pub(super) way: Option<&'a Way<'a>>,
    /// Keeps a whole, and links to it.
    pub(super) keep: &'a dyn Fn(Whole<'_>) -> Option<Content>,
}

/// What has become of it.
#[derive(Debug, Default)]
pub(super) struct Shaped {
    /// About how many bytes it has.
    pub(super) bytes: usize,
    /// The list that was cut, as a JSON Pointer, and how many of its items are left.
    pub(super) list: Option<(String, usize)>,
    /// What `_meta` says of it, to be put there when nothing else is cut any more.
    pub(super) told: Option<Value>,
}

impl Shaped {
    /// Says in the result that it was cut.
    pub(super) fn tell(self, result: &mut ToolResult) {
        if let Some(told) = self.told {
            result.meta.get_or_insert_with(Map::new).insert(CUT.to_owned(), told);
        }
    }
}

impl Shaping<'_> {
    /// Shapes a tool's result.
    pub(super) fn shape(&self, result: &mut ToolResult) -> Shaped {
        let reading = self.spec.reading.as_ref();
        let noisy = self.quiet && reading.is_some_and(|it| it.prune || !it.noise.is_empty());
        let slims = !result.is_error && (noisy || !self.wanted.is_empty());
        let before = tool_size(result);
        if before <= self.limit && !slims {
            return Shaped { bytes: before, ..Shaped::default() };
        }
        let mut shaped = Shaped::default();
        let mut links = Vec::new();
        let twin = self.twin(result);
        let mut left = self.limit;
        if let Some(value) = result.structured_content.take() {
            // what is shown of a connector is counted once, also where a text repeats it
            let limit = if twin.is_some() && reading.is_none() { self.limit / 2 } else { self.limit };
            match self.data(value, result, (twin, limit), &mut shaped, &mut links) {
                Ok(value) => {
                    let text = value.to_string();
                    left = limit.saturating_sub(text.len()).max(limit / 4);
                    if let Some(Content::Text { text: words, .. }) =
                        twin.and_then(|index| result.content.get_mut(index))
                        && *words != text
                    {
                        *words = clean(&text, self.redactor).into_owned();
                    }
                    result.structured_content = Some(value);
                }
                Err(Lost::Fields(said)) => {
                    *result = ToolResult { meta: result.meta.take(), ..ToolResult::failure(said) };
                    return Shaped { bytes: tool_size(result), ..shaped };
                }
                Err(Lost::Room) => shaped.told = Some(Value::Bool(true)),
            }
        } else if !self.wanted.is_empty() && !result.is_error {
            result.content.push(Content::text("`fields` has no effect: this result is no data but a text."));
        }
        let (data, mut loud) = (result.structured_content.is_some(), self.most);
        for (index, block) in result.content.iter_mut().enumerate() {
            if !data || twin != Some(index) {
                let cut = self.block(block, &mut left, &mut loud, &mut links);
                if cut && shaped.told.is_none() {
                    shaped.told = Some(Value::Bool(true));
                }
            }
        }
        result.content.extend(links);
        shaped.bytes = tool_size(result);
        shaped
    }

    /// The text that says the same as the data.
    fn twin(&self, result: &ToolResult) -> Option<usize> {
        let value = result.structured_content.as_ref()?.to_string();
        let says = |words: &str| {
            words == value
                || (words.starts_with(['{', '[']) && words == clean(&value, self.redactor))
                || serde_json::from_str::<Value>(words)
                    .is_ok_and(|said| Some(&said) == result.structured_content.as_ref())
        };
        result.content.iter().position(|block| matches!(block, Content::Text { text, .. } if says(text)))
    }

    /// What is shown of data.
    fn data(
        &self,
        mut value: Value,
        result: &mut ToolResult,
        (twin, limit): (Option<usize>, usize),
        shaped: &mut Shaped,
        links: &mut Vec<Content>,
    ) -> Result<Value, Lost> {
        let size = length(&value);
        let whole = (size > limit).then(|| value.to_string());
        let slimmed = if result.is_error { None } else { self.slim(&mut value, result)? };
        let size = length(&value) + slimmed.as_ref().map_or(0, |_| SLIM);
        // failures come with texts of their own, which are not the same again
        let others = if twin.is_none() { tool_size(result).min(limit / 2) } else { 0 };
        let unasked = |value: &mut Value| {
            if let Some(said) = &slimmed {
                mark(value, Some(&[]), said);
            }
        };
        // what leads on is shown too
        let (end, handle) = self.way.filter(|_| !result.is_error).map_or((0, 0), Way::room);
        let end = if end > 0 { end + GOES_ON } else { 0 };
        if size + others + end <= limit {
            unasked(&mut value);
            return Ok(value);
        }
        if limit < LEAST {
            return Err(Lost::Room);
        }
        let link = whole.and_then(|text| self.kept(text, "application/json", false));
        let address = links_to(link.as_ref()).map(String::from);
        links.extend(link);
        let said = SAID.min(limit / 3) + handle.min(limit / 2);
        let room = limit.saturating_sub(others).saturating_sub(said);
        let ask = self.spec.reading.as_ref().and_then(|reading| reading.fields.as_deref());
        let knife = Knife { ask: ask.filter(|_| !result.is_error) };
        let Piece { mut value, list } = if result.is_error {
            Piece { value: knife.condense(value, room, &mut Vec::new()), list: None }
        } else {
            let named = self.way.and_then(Way::items).map(pointer::names);
            knife.take(value, named.as_deref(), room)
        };
        let cut = list.filter(|list| list.shown < list.total);
        let said = match &cut {
            Some(list) => format!("{} of {} items", list.shown, list.total),
            None => String::from("parts were left out"),
        };
        let said = match address {
            Some(address) => format!("{said}; the whole result: {address}"),
            None => said,
        };
        mark(&mut value, cut.as_ref().map(|list| list.path.as_slice()), &said);
        unasked(&mut value);
        shaped.told = Some(match cut {
            Some(list) => {
                let pointer = list
                    .path
                    .iter()
                    .fold(String::new(), |pointer, name| pointer + "/" + &pointer::escaped(name));
                let told = json!({"list": pointer, "shown": list.shown, "total": list.total});
                shaped.list = Some((pointer, list.shown));
                told
            }
            None => Value::Bool(true),
        });
        Ok(value)
    }

    /// Leaves what is asked for; where nothing is, what is not noise. Says what went, if anything did.
    fn slim(&self, value: &mut Value, result: &mut ToolResult) -> Result<Option<String>, Lost> {
        if !self.wanted.is_empty() {
            let before = select::weight(value);
            match self.wanted.apply(value) {
                None => {}
                Some((said, true)) => return Err(Lost::Fields(said)),
                Some((said, false)) => result.content.push(Content::text(said)),
            }
            let less = select::weight(value) < before;
            return Ok(less.then(|| String::from("only what was asked for")));
        }
        let Some(reading) = self.spec.reading.as_ref().filter(|_| self.quiet) else { return Ok(None) };
        let mut gone = select::drop(value, &reading.noise);
        if reading.prune {
            gone += select::prune(value);
        }
        if gone == 0 {
            return Ok(None);
        }
        result.meta.get_or_insert_default().insert(NOISE.to_owned(), json!(gone));
        Ok(Some(format!("without noise ({gone})")))
    }

    fn kept(&self, text: String, media: &str, binary: bool) -> Option<Content> {
        let source = self.spec.target.as_ref().map(|_| self.spec.source.as_str());
        (self.keep)(Whole { text, media, binary, source, part: self.most / 2 })
    }

    /// Cuts a block that is no data, and says whether it did.
    fn block(
        &self,
        block: &mut Content,
        left: &mut usize,
        loud: &mut usize,
        links: &mut Vec<Content>,
    ) -> bool {
        match block {
            Content::Text { text, .. } => {
                if text.len() <= *left {
                    *left -= text.len();
                    return false;
                }
                let link = self
                    .spec
                    .reading
                    .is_some()
                    .then(|| self.kept(text.clone(), "text/plain", false))
                    .flatten();
                let room = if link.is_some() { left.saturating_sub(SAID.min(*left / 3)) } else { *left };
                let total = text.len();
                text.truncate(text.floor_char_boundary(room));
                match links_to(link.as_ref()) {
                    Some(address) => {
                        let shown = text.len();
                        let said = format!(
                            "\n{MARK} The first {shown} of {total} bytes; the whole result: {address}"
                        );
                        text.push_str(&said);
                    }
                    None => text.push_str(MARKER),
                }
                links.extend(link);
                *left = 0;
                true
            }
            // a client shows these; they are no words in anybody's way
            Content::Image { data, mime_type, .. } | Content::Audio { data, mime_type, .. } => {
                if data.len() <= *loud {
                    *loud -= data.len();
                    return false;
                }
                let link = self.kept(std::mem::take(data), mime_type, true);
                *block = Content::text(instead(link.as_ref()));
                links.extend(link);
                true
            }
            Content::Resource { resource: inside, .. } => {
                let size = inside.text.as_ref().or(inside.blob.as_ref()).map_or(0, String::len);
                if size <= *left {
                    *left -= size;
                    return false;
                }
                let binary = inside.blob.is_some();
                let media = inside.mime_type.clone().unwrap_or_default();
                let whole = inside.blob.take().or_else(|| inside.text.take()).unwrap_or_default();
                let link = self.kept(whole, &media, binary);
                *block = Content::text(instead(link.as_ref()));
                links.extend(link);
                true
            }
            Content::ResourceLink { .. } => false,
        }
    }
}

/// Why there is nothing to show.
enum Lost {
    /// Nothing that is asked for is there.
    Fields(String),
    /// There is no room to show data in.
    Room,
}

/// The address that a link leads to.
fn links_to(link: Option<&Content>) -> Option<&str> {
    match link {
        Some(Content::ResourceLink { uri, .. }) => Some(uri),
        _ => None,
    }
}

/// What stands where bytes were.
fn instead(link: Option<&Content>) -> String {
    match links_to(link) {
        Some(address) => format!("{MARK} Too large to be shown; it is kept at {address}"),
        None => MARKER.trim_start().to_owned(),
    }
}

/// Puts the marker where whoever sends the thing back sends it along: beside the list, or at its end.
pub(super) fn mark(value: &mut Value, list: Option<&[String]>, said: &str) {
    let beside = list.map_or(&[][..], |path| path.split_last().map_or(&[], |(_, before)| before));
    let place = beside.iter().fold(value, |place, name| {
        let leads = place.get(name.as_str()).is_some_and(Value::is_object);
        if leads { &mut place[name.as_str()] } else { place }
    });
    match place {
        Value::Object(members) => {
            let before = members.get(MARK).and_then(Value::as_str).map(|before| format!("{before}; {said}"));
            members.insert(MARK.to_owned(), Value::String(before.unwrap_or_else(|| said.to_owned())));
        }
        Value::Array(items) => match items.last_mut() {
            Some(Value::String(last)) if last.starts_with(MARK) => {
                last.push_str("; ");
                last.push_str(said);
            }
            _ => items.push(Value::String(format!("{MARK} {said}"))),
        },
        // a text that was cut has its marker
        _ => {}
    }
}

/// Cuts a reply that is no tool's to about `limit` bytes, and returns about how many it has.
pub(super) fn within(reply: &mut Reply, limit: usize) -> usize {
    let before = size(reply);
    if before <= limit {
        return before;
    }
    match reply {
        Reply::Tool(_) => {}
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

fn contents_size(one: &ResourceContents) -> usize {
    one.uri.len() + one.text.as_ref().map_or(0, String::len) + one.blob.as_ref().map_or(0, String::len)
}

fn content_size(one: &Content) -> usize {
    match one {
        Content::Text { text, .. } => text.len(),
        Content::Image { data, .. } | Content::Audio { data, .. } => data.len(),
        Content::ResourceLink { uri, name, title, description, .. } => {
            uri.len()
                + name.len()
                + title.as_ref().map_or(0, String::len)
                + description.as_ref().map_or(0, String::len)
        }
        Content::Resource { resource, .. } => contents_size(resource),
    }
}

fn tool_size(result: &ToolResult) -> usize {
    result.content.iter().map(content_size).sum::<usize>()
        + result.structured_content.as_ref().map_or(0, length)
}

fn size(reply: &Reply) -> usize {
    match reply {
        Reply::Tool(result) => tool_size(result),
        Reply::Resource(all) => all.iter().map(contents_size).sum(),
        Reply::Prompt(result) => result.messages.iter().map(|message| content_size(&message.content)).sum(),
        Reply::Completion(result) => result.values.iter().map(String::len).sum(),
    }
}

#[cfg(test)]
mod tests;
