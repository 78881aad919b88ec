//! Whole results, for a while.
//!
//! Owns [`Kept`]: what was too large to be shown is kept here, redacted, and read as the resource `bartizan://results/ID`
//! in parts. The idea: an id is a hundred and twenty-eight random bits and opens for its own caller only: who came by another
//! key or token, or may do something else than when it was kept, is another; how much is kept is bounded for each caller and
//! for all, the oldest goes first, and nothing is kept for long.
//!
//! Must not: keep what has not been redacted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{Approved, BoxFuture, Context, Family, Halt, Reply, Tool, ToolSpec};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, json};
use crate::policy::Effect;
use crate::principal::Principal;
use crate::protocol::types::{Content, ResourceContents};
use crate::redaction::Labels;
use crate::schema::LazySchema;

/// How the address of every kept result begins.
pub const ADDRESS: &str = "bartizan://results/";
/// The toolset of what reads them.
pub const TOOLSET: &str = "results";
/// Bytes of one part; a multiple of four, so that base64 is never torn apart.
const PART: usize = 256 << 10;
/// The `_meta` key of a part: which it is, and where the next one is.
const META: &str = "bartizan/part";

/// The `[calls.kept]` table of the configuration: whole results of what was cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seconds a result is kept.
    pub seconds: u64,
    /// Results of one caller.
    pub each: usize,
    /// Bytes of the results of one caller.
    pub bytes_each: usize,
    /// Results of all callers together.
    pub total: usize,
    /// Bytes of all results together; 0: nothing is kept.
    pub bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { seconds: 600, each: 32, bytes_each: 16 << 20, total: 512, bytes: 64 << 20 }
    }
}

/// A result to be kept: redacted.
pub(super) struct Whole<'a> {
    pub(super) text: String,
    pub(super) media: &'a str,
    /// Whether the text is base64.
    pub(super) binary: bool,
    /// Where it came from, where that is outside.
    pub(super) source: Option<&'a str>,
    /// The most that a part may have.
    pub(super) part: usize,
}

struct Item {
    id: String,
    /// Who called, with what that caller could do.
    owner: Arc<Principal>,
    /// What the whole tried with whoever reads it.
    labels: Labels,
    ends: Duration,
    text: String,
    media: String,
    binary: bool,
    source: Option<String>,
    part: usize,
}

/// Those under the rules that hold now.
#[derive(Default)]
struct Items {
    /// Which rules these are.
    rules: u64,
    all: VecDeque<Arc<Item>>,
}

/// Whole results, by id, the oldest first.
pub struct Kept {
    clock: SharedClock,
    items: Mutex<Items>,
    /// Which rules hold, and how many there have been.
    rules: AtomicU64,
    made: AtomicU64,
    /// Whether something reads them: without it nothing is kept.
    read: AtomicBool,
    spec: ToolSpec,
}

impl Kept {
    /// Nothing yet.
    pub fn new(clock: SharedClock) -> Arc<Self> {
        let (rules, made) = (AtomicU64::new(0), AtomicU64::new(0));
        let read = AtomicBool::new(false);
        Arc::new(Self { clock, items: Mutex::default(), rules, made, read, spec: spec() })
    }

    /// What reads them, to be put among the resources.
    pub fn reader(self: &Arc<Self>) -> Arc<dyn Tool> {
        self.read.store(true, Ordering::Relaxed);
        Arc::new(Reader(Arc::clone(self)))
    }

    /// How the reader is described, for whoever asks whether a caller may use it; none while there is no reader.
    pub(super) fn offered(&self) -> Option<&ToolSpec> {
        self.read.load(Ordering::Relaxed).then_some(&self.spec)
    }

    /// A number for rules that may hold later on.
    pub(super) fn rules_to_come(&self) -> u64 {
        self.made.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of the rules that hold now.
    pub(super) fn rules(&self) -> u64 {
        self.rules.load(Ordering::Acquire)
    }

    /// Says under which rules a call begins. With the first call under new ones everything is forgotten: whoever could
    /// call before may not any more.
    pub(super) fn under(&self, rules: u64) {
        if rules <= self.rules() {
            return;
        }
        let mut items = self.lock();
        if rules > items.rules {
            items.all.clear();
            items.rules = rules;
            self.rules.store(rules, Ordering::Release);
        }
    }

    /// Keeps a result of a call under these rules, and returns a link to it. None if it is too large to be kept, or other
    /// rules hold by now.
    pub(super) fn keep(
        &self,
        bounds: &Config,
        (caller, rules): (&Arc<Principal>, u64),
        whole: Whole<'_>,
        labels: Labels,
    ) -> Option<Content> {
        let Whole { text, media, binary, source, part } = whole;
        let (size, now) = (text.len(), self.clock.monotonic());
        if size > bounds.bytes_each.min(bounds.bytes) || bounds.each == 0 || bounds.total == 0 {
            return None;
        }
        let id = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let uri = format!("{ADDRESS}{id}");
        let link = Content::ResourceLink {
            uri,
            name: String::from("the whole result"),
            title: None,
            description: None,
            mime_type: Some(media.to_owned()),
            size: u64::try_from(size).ok(),
            annotations: None,
        };
        let item = Arc::new(Item {
            id,
            owner: Arc::clone(caller),
            labels,
            ends: now + Duration::from_secs(bounds.seconds),
            text,
            media: media.to_owned(),
            binary,
            source: source.map(String::from),
            // base64 is cut at a multiple of four, and there is always some progress
            part: (part.min(PART) & !3).max(64),
        });
        let mut items = self.lock();
        if items.rules != rules {
            return None;
        }
        let items = &mut items.all;
        items.retain(|item| item.ends > now);
        let own = |known: &Arc<Item>| known.owner.is(caller);
        make_room(items, own, bounds.each, bounds.bytes_each - size);
        make_room(items, |_| true, bounds.total, bounds.bytes - size);
        items.push_back(item);
        Some(link)
    }

    /// A part of a result of that caller, if it is still there.
    fn part(&self, caller: &Principal, name: &str) -> Option<ResourceContents> {
        let (id, number) = match name.split_once('.') {
            Some((id, number)) => (id, number.parse::<usize>().ok().filter(|number| *number > 1)?),
            None => (name, 1),
        };
        let now = self.clock.monotonic();
        let item = {
            let items = self.lock();
            let found =
                items.all.iter().find(|item| item.id == id && *item.owner == *caller && item.ends > now);
            Arc::clone(found?)
        };
        let parts = item.text.len().div_ceil(item.part).max(1);
        let begin = |number: usize| item.text.floor_char_boundary((number - 1).saturating_mul(item.part));
        if number > parts {
            return None;
        }
        let text = item.text[begin(number)..begin(number + 1)].to_owned();
        let address = |number: usize| match number {
            1 => format!("{ADDRESS}{id}"),
            _ => format!("{ADDRESS}{id}.{number}"),
        };
        let mut told = json!({"part": number, "parts": parts, "bytes": item.text.len()});
        if number < parts {
            told["next"] = json!(address(number + 1));
        }
        let mut meta = Map::from_iter([(META.to_owned(), told)]);
        if item.source.is_some() || !item.labels.is_empty() {
            let labels: Vec<&str> = item.labels.names().collect();
            let mut said = json!({"labels": labels});
            if let Some(source) = &item.source {
                said["source"] = json!(source);
            }
            meta.insert(super::redact::UNTRUSTED.to_owned(), said);
        }
        let (text, blob) = if item.binary { (None, Some(text)) } else { (Some(text), None) };
        Some(ResourceContents {
            uri: address(number),
            mime_type: Some(item.media.clone()),
            text,
            blob,
            meta: Some(meta),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Items> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Kept(..)")
    }
}

/// Lets the oldest go until there is room for one more, and for its bytes.
fn make_room(
    items: &mut VecDeque<Arc<Item>>,
    counts: impl Fn(&Arc<Item>) -> bool,
    most: usize,
    bytes: usize,
) {
    let mut counted: Vec<usize> =
        items.iter().filter(|item| counts(item)).map(|item| item.text.len()).collect();
    let (mut count, mut size) = (counted.len(), counted.iter().sum::<usize>());
    let mut go = 0;
    counted.reverse();
    while count >= most || size > bytes {
        let Some(oldest) = counted.pop() else { break };
        (count, size, go) = (count - 1, size - oldest, go + 1);
    }
    items.retain(|item| {
        let goes = go > 0 && counts(item);
        go -= usize::from(goes);
        !goes
    });
}

fn spec() -> ToolSpec {
    ToolSpec {
        family: Family::Template { uri_template: format!("{ADDRESS}{{id}}"), mime_type: None },
        title: Some(String::from("Whole results")),
        description: Some(String::from(
            "A result that was too large to be shown whole: kept for some minutes, for whoever called. A result that was \
             cut links to it; a long one comes in parts, each naming the next.",
        )),
        input: LazySchema::new(json!({
            "type": "object", "properties": {"id": {"type": "string", "maxLength": 64}}, "required": ["id"],
            "additionalProperties": false
        })),
        effect: Effect::Read,
        toolset: String::from(TOOLSET),
        ..ToolSpec::new("kept_results")
    }
}

/// Reads what is kept.
struct Reader(Arc<Kept>);

impl Tool for Reader {
    fn spec(&self) -> &ToolSpec {
        &self.0.spec
    }

    fn call<'a>(&'a self, call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            let name = call.arguments().get("id").and_then(Value::as_str).unwrap_or_default();
            let found = self.0.part(&context.principal, name);
            let gone = || Error::new(Kind::NoSuchResource, "No such result is kept.");
            Ok(Reply::Resource(vec![found.ok_or_else(gone)?]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::principal::PrincipalKind;

    fn who(name: &str) -> Arc<Principal> {
        Arc::new(Principal::new(name, PrincipalKind::ApiKey))
    }

    fn keep(kept: &Kept, bounds: &Config, caller: &Arc<Principal>, text: &str) -> Option<Content> {
        kept.keep(bounds, (caller, kept.rules()), whole(text), Labels::default())
    }

    fn whole(text: &str) -> Whole<'static> {
        Whole { text: text.to_owned(), media: "application/json", binary: false, source: None, part: 64 }
    }

    fn id(link: Option<Content>) -> String {
        let Some(Content::ResourceLink { uri, .. }) = link else { panic!("no link") };
        uri.strip_prefix(ADDRESS).unwrap().to_owned()
    }

    #[test]
    fn parts_together_are_the_whole_and_only_for_whoever_called() {
        let kept = Kept::new(ManualClock::at(Duration::ZERO));
        let text = "aé漢🦀".repeat(50);
        let first = id(keep(&kept, &Config::default(), &who("anna"), &text));
        let (mut name, mut all) = (first.clone(), String::new());
        loop {
            let part = kept.part(&who("anna"), &name).unwrap();
            all.push_str(part.text.as_deref().unwrap());
            let Some(next) = part.meta.unwrap()[META]["next"].as_str().map(String::from) else { break };
            name = next.strip_prefix(ADDRESS).unwrap().to_owned();
        }
        assert_eq!(all, text);
        let anna = || Principal::clone(&who("anna"));
        for other in [
            Principal::clone(&who("bert")),
            Principal { tenant: Some(String::from("t")), ..anna() },
            Principal { bearer: Some(Arc::from("another key")), ..anna() },
            Principal { scopes: [String::from("read")].into(), ..anna() },
        ] {
            assert!(kept.part(&other, &first).is_none(), "{other:?}");
        }
        for odd in
            [format!("{first}.1"), format!("{first}.99"), format!("{first}.x"), String::from("nothing")]
        {
            assert!(kept.part(&who("anna"), &odd).is_none(), "{odd}");
        }
        // rules that never came into force change nothing
        let (before, _) = (kept.rules(), kept.rules_to_come());
        assert!(kept.part(&who("anna"), &first).is_some());
        kept.under(kept.rules_to_come());
        assert!(kept.part(&who("anna"), &first).is_none());
        // a call that began under the rules before
        kept.under(before);
        let late = kept.keep(&Config::default(), (&who("anna"), before), whole("x"), Labels::default());
        assert!(late.is_none());
    }

    #[test]
    fn it_is_bounded_for_each_and_for_all_and_ends() {
        let clock = ManualClock::at(Duration::ZERO);
        let kept = Kept::new(clock.clone());
        let bounds = Config { seconds: 60, each: 2, bytes_each: 100, total: 3, bytes: 150 };
        let keep = |name: &str, size: usize| keep(&kept, &bounds, &who(name), &"x".repeat(size));
        let large = keep("anna", 101);
        let keep = |name: &str, size: usize| id(keep(name, size));
        let there = |name: &str, id: &str| kept.part(&who(name), id).is_some();
        let (one, two, three) = (keep("anna", 10), keep("anna", 20), keep("anna", 30));
        assert!(!there("anna", &one) && there("anna", &two) && there("anna", &three), "two of one caller");
        let four = keep("anna", 60);
        assert!(!there("anna", &two) && there("anna", &three) && there("anna", &four), "a hundred bytes");
        let (five, six) = (keep("bert", 30), keep("carl", 40));
        assert!(!there("anna", &three) && there("anna", &four), "three of all");
        let seven = keep("dora", 90);
        assert!(
            !there("anna", &four) && !there("bert", &five) && there("carl", &six) && there("dora", &seven)
        );
        assert!(large.is_none(), "too large for any");
        clock.advance(Duration::from_secs(61));
        assert!(!there("dora", &seven), "a minute");
    }
}
