//! Which tools a question is about.
//!
//! Owns [`Index`]. The idea: BM25 over the words of names, titles, paths, parameters and descriptions, each field with
//! a weight of its own; what people say for the same act or thing counts too, and less; a word that no tool has is
//! taken for the nearest one that some tool has.
//!
//! Must not: know who asks.

use std::collections::HashMap;
use std::sync::Arc;

use super::words::{act, others, stem, words};
use crate::catalog::Entry;
use crate::pipeline::ToolSpec;
use crate::policy::Effect;

const K1: f32 = 1.2;
/// Bytes of a description that are read: its beginning says what a tool does.
const READ: usize = 600;
/// Words of a question that are looked for.
const ASKED: usize = 32;
/// How much a word counts that says what is done, and not to what.
const ACT: f32 = 0.6;
/// How much a word counts that is near one that no tool has.
const NEAR: f32 = 0.6;
/// What is left of a tool's score if it is about much that was not asked for.
const BROAD: f32 = 0.3;
/// What a tool gains that is about all that was asked for, and nothing else.
const EXACT: f32 = 5.0;

/// A part of a tool that is read: how much it counts, and how much that falls with its length.
struct Field {
    weight: f32,
    shrink: f32,
}

const FIELDS: [Field; 5] = [
    // its name
    Field { weight: 3.0, shrink: 0.6 },
    // its title, and the first sentence of its description
    Field { weight: 2.0, shrink: 0.5 },
    // the path of its address
    Field { weight: 1.5, shrink: 0.6 },
    // the rest of its description
    Field { weight: 0.5, shrink: 0.5 },
    // its arguments
    Field { weight: 0.5, shrink: 0.7 },
];

/// A tool that fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Its place among the entries the index was made of.
    pub place: usize,
    /// How well it fits; comparable within one question only.
    pub score: f32,
}

/// What one tool is about.
#[derive(Debug, Default)]
struct About {
    /// Things in its name and path.
    named: Vec<u32>,
    /// Things in its title and first sentence.
    said: Vec<u32>,
    /// What it does, where its effect or method says so: 0 reads, 1 creates, 2 updates, 3 deletes.
    act: Option<usize>,
    /// Whether its address ends with a name: a collection, or a search.
    many: bool,
}

/// The words of many tools.
#[derive(Debug, Default)]
pub struct Index {
    terms: HashMap<Box<str>, u32>,
    /// For each term, the tools that have it and its weight in each, already saturated.
    postings: Vec<Vec<(u32, f32)>>,
    tools: Vec<About>,
}

impl Index {
    /// Reads the entries.
    pub fn new(entries: &[Arc<Entry>]) -> Self {
        let specs: Vec<&ToolSpec> = entries.iter().map(|entry| entry.spec()).collect();
        Self::of(&specs)
    }

    /// Reads the tools.
    pub fn of(specs: &[&ToolSpec]) -> Self {
        let mut index = Self::default();
        let read: Vec<[Vec<u32>; 5]> = specs
            .iter()
            .map(|spec| fields(spec).map(|text| words(&text).iter().map(|word| index.term(word)).collect()))
            .collect();
        let mut acting = vec![false; index.postings.len()];
        for (word, term) in &index.terms {
            acting[*term as usize] = act(word).is_some();
        }
        let mut means = [1.0_f32; 5];
        for (at, mean) in means.iter_mut().enumerate() {
            let all: usize = read.iter().map(|fields| fields[at].len()).sum();
            *mean = (number(all) / number(read.len().max(1))).max(1.0);
        }
        for (place, (spec, fields)) in specs.iter().zip(read).enumerate() {
            let mut weights: HashMap<u32, f32> = HashMap::new();
            let mut about = About { act: acts(spec), many: many(spec), ..About::default() };
            for (at, (found, Field { weight, shrink })) in fields.iter().zip(FIELDS).enumerate() {
                let length = 1.0 - shrink + shrink * number(found.len()) / means[at];
                let mut counts: HashMap<u32, u8> = HashMap::new();
                for term in found.iter().copied() {
                    // what a name says three times it does not mean more
                    let count = counts.entry(term).or_default();
                    *count = (*count + 1).min(2);
                    if !acting[term as usize] {
                        match at {
                            0 | 2 => about.named.push(term),
                            1 => about.said.push(term),
                            _ => {}
                        }
                    }
                }
                for (term, count) in counts {
                    *weights.entry(term).or_default() += weight * f32::from(count) / length;
                }
            }
            for list in [&mut about.named, &mut about.said] {
                list.sort_unstable();
                list.dedup();
            }
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            for (term, weight) in weights {
                index.postings[term as usize].push((place, weight));
            }
            index.tools.push(about);
        }
        let all = number(index.tools.len());
        for posting in &mut index.postings {
            let many = number(posting.len());
            let rare = (1.0 + (all - many + 0.5) / (many + 0.5)).ln();
            for (_, weight) in posting {
                *weight = rare * *weight * (K1 + 1.0) / (*weight + K1);
            }
        }
        index
    }

    fn term(&mut self, word: &str) -> u32 {
        if let Some(term) = self.terms.get(word) {
            return *term;
        }
        let term = u32::try_from(self.postings.len()).unwrap_or(u32::MAX);
        self.terms.insert(word.into(), term);
        self.postings.push(Vec::new());
        term
    }

    /// The tools that fit, best first; those that fit equally in their own order.
    pub fn find(&self, question: &str) -> Vec<Hit> {
        let mut asked = words(question);
        asked.truncate(ASKED);
        let mut wanted: Vec<(u32, f32)> = Vec::new();
        let mut want = |term: u32, weight: f32| match wanted.iter_mut().find(|(known, _)| *known == term) {
            Some((_, known)) => *known = known.max(weight),
            None => wanted.push((term, weight)),
        };
        // for each term, which of the things that were asked for it stands for
        let mut meant = vec![0_u32; self.postings.len()];
        let mut things = 0_u32;
        for word in &asked {
            let is_act = act(word).is_some();
            let weight = if is_act { ACT } else { 1.0 };
            let bit = if is_act { 0 } else { 1 << things };
            things += u32::from(!is_act);
            let mut take = |term: u32, weight: f32| {
                want(term, weight);
                meant[term as usize] |= bit;
            };
            match self.terms.get(word.as_str()) {
                Some(term) => take(*term, weight),
                None => self.nearest(word).into_iter().for_each(|term| take(term, weight * NEAR)),
            }
            for (other, less) in others(word) {
                if let Some(term) = self.terms.get(other.as_str()) {
                    take(*term, weight * less);
                }
            }
        }
        let mut known = vec![false; self.postings.len()];
        let mut scores = vec![0.0_f32; self.tools.len()];
        for (term, weight) in wanted {
            known[term as usize] = true;
            for (place, score) in &self.postings[term as usize] {
                scores[*place as usize] += score * weight;
            }
        }
        let intent = Intent::of(question, &asked);
        let mut hits: Vec<Hit> = scores
            .into_iter()
            .enumerate()
            .filter(|(_, score)| *score > 0.0)
            .map(|(place, score)| {
                let about = &self.tools[place];
                let share = |terms: &[u32]| {
                    let fit = terms.iter().filter(|term| known[**term as usize]).count();
                    number(fit) / number(terms.len().max(1))
                };
                let exact = share(&about.named).max(share(&about.said) * 0.9);
                let met =
                    about.named.iter().chain(&about.said).fold(0, |met, term| met | meant[*term as usize]);
                let covered = number(met.count_ones() as usize) / number(things.max(1) as usize);
                let score = score * (BROAD + (1.0 - BROAD) * exact) + EXACT * covered * exact;
                Hit { place, score: score * intent.fits(about) }
            })
            .collect();
        hits.sort_by(|one, other| other.score.total_cmp(&one.score).then(one.place.cmp(&other.place)));
        hits
    }

    /// The terms that a word nobody has might be meant for.
    fn nearest(&self, word: &str) -> Vec<u32> {
        if word.len() < 4 {
            return Vec::new();
        }
        let start = |term: &str| term.len() >= 4 && (term.starts_with(word) || word.starts_with(term));
        let close = |term: &str| {
            term.len().abs_diff(word.len()) <= 1
                && term.as_bytes()[0] == word.as_bytes()[0]
                && strsim::osa_distance(term, word) <= 1
        };
        self.terms
            .iter()
            .filter(|(term, _)| start(term) || close(term))
            .map(|(_, term)| *term)
            .take(16)
            .collect()
    }
}

/// What somebody who asks wants done.
struct Intent {
    /// 0 reads, 1 creates, 2 updates, 3 deletes; none: anything that is not a read.
    act: Option<usize>,
    /// Whether it is about several things.
    many: bool,
}

impl Intent {
    /// A question wants to read; an order wants what its verb says, and one whose verb is unknown wants something done.
    fn of(question: &str, asked: &[String]) -> Self {
        let small = question.to_lowercase();
        let plain: Vec<&str> =
            small.split(|letter: char| !letter.is_alphanumeric()).filter(|it| !it.is_empty()).collect();
        let first = plain.first().copied().unwrap_or_default();
        let acts = || asked.iter().filter_map(|word| act(word));
        let act = if ASKING.contains(&first) {
            Some(0)
        } else if let Some(act) = act(&stem(first)) {
            Some(act)
        } else if ["i", "we", "please", "let", "someone", "somebody"].contains(&first) {
            acts().next()
        } else {
            acts().next().filter(|act| *act != 0)
        };
        let plural = |word: &&str| word.ends_with('s') && !words(word).is_empty();
        let many =
            plain.iter().any(plural) || ["all", "which", "what"].iter().any(|word| plain.contains(word));
        Self { act, many }
    }

    /// How well what a tool does fits.
    fn fits(&self, about: &About) -> f32 {
        let act = match (self.act, about.act) {
            // whether something is made or changed is often a matter of words
            (_, None) | (Some(1), Some(2)) | (Some(2), Some(1)) => 1.0,
            (None, Some(act)) => {
                if act == 0 {
                    0.8
                } else {
                    1.2
                }
            }
            (Some(wanted), Some(act)) if wanted == act => 1.3,
            (Some(_), Some(_)) => 0.75,
        };
        let many = match (self.act, about.act) {
            (Some(0), Some(0)) if self.many => {
                if about.many {
                    1.1
                } else {
                    0.9
                }
            }
            _ => 1.0,
        };
        act * many
    }
}

/// Words that questions begin with.
const ASKING: &[&str] = &[
    "which", "what", "who", "whose", "where", "when", "how", "is", "are", "do", "does", "did", "has", "have",
    "can", "why", "was", "were", "detail", "details", "status",
];

/// What is read of a tool, as [`FIELDS`] has it.
fn fields(spec: &ToolSpec) -> [String; 5] {
    let description = spec.description.as_deref().unwrap_or_default();
    let mut end = description.len().min(READ);
    while !description.is_char_boundary(end) {
        end -= 1;
    }
    let text = &description[..end];
    let first = text.find(['\n', '.']).map_or(text.len(), |end| end + 1);
    let head = format!("{} {}", spec.title.as_deref().unwrap_or_default(), &text[..first]);
    let names = spec.input.arguments().into_iter().map(|(name, _)| name);
    let names: Vec<String> = names.filter(|name| !spec.is_ours(name)).take(40).collect();
    let path = spec.target.as_deref().map(path).unwrap_or_default();
    [spec.name.clone(), head, path, text[first..].to_owned(), names.join(" ")]
}

#[allow(clippy::cast_precision_loss, reason = "numbers of tools and of words")]
const fn number(count: usize) -> f32 {
    count as f32
}

/// Whether a tool is about several things: its address ends with a name.
fn many(spec: &ToolSpec) -> bool {
    spec.target.as_deref().is_none_or(|target| !target.trim_end_matches('/').ends_with('}'))
}

/// The path of `GET https://api.example.com/v1/widgets/{id}`: what stands in braces is an argument.
fn path(target: &str) -> String {
    let after =
        target.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or(target, |(_, path)| path);
    let mut inside = false;
    after
        .chars()
        .map(|letter| {
            inside = (inside || letter == '{') && letter != '}';
            if inside || letter == '}' { ' ' } else { letter }
        })
        .collect()
}

/// What a tool does: 0 reads, 1 creates, 2 updates, 3 deletes.
fn acts(spec: &ToolSpec) -> Option<usize> {
    match (spec.effect, spec.target.as_deref().and_then(|target| target.split(' ').next())) {
        (Effect::Read, _) => Some(0),
        (_, Some("DELETE")) | (Effect::Destroy, None) => Some(3),
        (_, Some("PUT" | "PATCH")) => Some(2),
        (_, Some("POST")) => Some(1),
        _ => words(&spec.name).iter().find_map(|word| act(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, description: &str, target: &str, effect: Effect) -> ToolSpec {
        ToolSpec {
            description: Some(description.to_owned()),
            target: Some(target.to_owned()),
            effect,
            ..ToolSpec::new(name)
        }
    }

    fn best(question: &str) -> Vec<String> {
        let tools = [
            tool("ports_list", "Lists the ports.", "GET https://a.example/v1/ports", Effect::Read),
            tool("port_create", "Orders a port.", "POST https://a.example/v1/ports", Effect::Write),
            tool("port_delete", "Deletes a port.", "DELETE https://a.example/v1/ports/{id}", Effect::Destroy),
            tool(
                "prices_search",
                "What things cost.",
                "POST https://a.example/v1/prices/search",
                Effect::Read,
            ),
            tool(
                "device_restart",
                "Restarts a device.",
                "POST https://a.example/v1/devices/{id}/restart",
                Effect::Write,
            ),
        ];
        let specs: Vec<&ToolSpec> = tools.iter().collect();
        let index = Index::of(&specs);
        index.find(question).into_iter().map(|hit| tools[hit.place].name.clone()).collect()
    }

    #[test]
    fn what_is_asked_for_comes_first() {
        assert_eq!(best("show me our ports")[0], "ports_list");
        assert_eq!(best("I want to order a new port")[0], "port_create");
        assert_eq!(best("remove a port we do not need")[0], "port_delete");
        assert_eq!(best("how expensive is a port")[0], "prices_search");
        assert_eq!(best("reboot: restart the router device")[0], "device_restart");
    }

    #[test]
    fn tools_that_differ_in_a_parameter_or_a_path_alone_are_told_apart() {
        let takes = |name: &str, parameter: &str| {
            let mut spec = tool(name, "Lists things.", "GET https://a.example/v1/things", Effect::Read);
            spec.input = crate::schema::LazySchema::new(
                crate::json::json!({"type": "object", "properties": {parameter: {"type": "string"}}}),
            );
            spec
        };
        let at = |name: &str, path: &str| {
            tool(name, "Lists things.", &format!("GET https://a.example/v1/{path}"), Effect::Read)
        };
        for tools in [
            [takes("one", "colour"), takes("two", "weight")],
            [takes("one", "paintColour"), takes("two", "netWeight")],
            [at("one", "colours/things"), at("two", "weights/things")],
        ] {
            let index = Index::of(&tools.iter().collect::<Vec<_>>());
            for (question, name) in [("things by colour", "one"), ("things by weight", "two")] {
                assert_eq!(tools[index.find(question)[0].place].name, name, "{question}");
            }
        }
    }

    #[test]
    fn a_slip_of_the_keyboard_is_understood_and_nonsense_is_not() {
        assert_eq!(best("restart a devise")[0], "device_restart");
        assert!(best("quantum chromodynamics").is_empty());
        assert!(best("").is_empty());
    }
}
