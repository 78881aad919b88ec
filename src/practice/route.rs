//! Which operation a path means.
//!
//! Owns [`Template`] and [`Routes`]. The idea: a template is a row of segments; the most specific one that matches
//! wins, whatever the document's order, and segments are decoded before they are compared.
//!
//! Must not: look at anything but method and path.

use std::cmp::Ordering;

use crate::connectors::document::Document;
use crate::json::{Map, Value};

/// One piece of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name(String),
}

/// One segment: text, a parameter, or both mixed (`name='{name}'`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment(Vec<Piece>);

/// A path template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(pub Vec<Segment>);

impl Segment {
    fn parse(mut rest: &str) -> Self {
        let mut pieces = Vec::new();
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Name(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Self(pieces)
    }

    /// The text, when there is no parameter in it.
    pub(super) fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The parameter, when there is nothing else in it.
    pub(super) fn parameter(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Name(name)] => Some(name),
            _ => None,
        }
    }

    fn rank(&self) -> u8 {
        if self.literal().is_some() { 0 } else { u8::from(self.parameter().is_some()) + 1 }
    }

    fn matches(&self, text: &str, found: &mut Vec<(String, String)>) -> bool {
        let mut rest = text;
        let mut pieces = self.0.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Text(fixed) => match rest.strip_prefix(fixed.as_str()) {
                    Some(after) => rest = after,
                    None => return false,
                },
                Piece::Name(name) => {
                    let end = match pieces.peek() {
                        Some(Piece::Text(fixed)) => match rest.find(fixed.as_str()) {
                            Some(end) => end,
                            None => return false,
                        },
                        _ => rest.len(),
                    };
                    if end == 0 {
                        return false;
                    }
                    found.push((name.clone(), rest[..end].to_owned()));
                    rest = &rest[end..];
                }
            }
        }
        rest.is_empty()
    }

    /// The segment with values in it.
    pub(super) fn fill(&self, value: impl Fn(&str) -> String) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Name(name) => value(name),
            })
            .collect()
    }
}

impl Template {
    /// Reads a template: `/widgets/{id}`.
    pub(super) fn parse(path: &str) -> Self {
        Self(path.trim_start_matches('/').split('/').map(Segment::parse).collect())
    }

    /// The parameters' values, when the decoded segments match.
    pub(super) fn matches(&self, segments: &[String]) -> Option<Vec<(String, String)>> {
        if self.0.len() != segments.len() {
            return None;
        }
        let mut found = Vec::new();
        let all = self.0.iter().zip(segments).all(|(segment, text)| segment.matches(text, &mut found));
        all.then_some(found)
    }

    /// Most specific first: a literal before a mixed segment before a parameter, from left to right.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.0.iter().map(Segment::rank).cmp(other.0.iter().map(Segment::rank))
    }

    /// The template without its last segment.
    pub(super) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// The last segment.
    pub(super) fn last(&self) -> Option<&Segment> {
        self.0.last()
    }

    /// Equal but for the names of parameters.
    pub(super) fn same_shape(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(one, two)| match (one.literal(), two.literal()) {
                (Some(one), Some(two)) => one == two,
                (None, None) => one.rank() == two.rank(),
                _ => false,
            })
    }
}

/// A path, decoded into segments, or nothing when a segment is empty, `.`, `..`, or hides a slash.
pub(super) fn segments(path: &str) -> Option<Vec<String>> {
    path.trim_start_matches('/')
        .split('/')
        .map(|segment| {
            let text = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
            let sound = !text.is_empty() && text != "." && text != ".." && !text.contains(['/', '\\', '\0']);
            sound.then(|| text.into_owned())
        })
        .collect()
}

/// Every operation's path, most specific first.
pub(super) struct Routes {
    rows: Vec<(Template, usize)>,
}

/// What a path turned out to be.
pub(super) enum Found {
    /// Operations of this method and path, and the path's parameters.
    Operations(Vec<usize>, Map<String, Value>),
    /// The path exists with other methods.
    OtherMethods(Vec<String>),
    /// No such path.
    Nothing,
}

impl Routes {
    /// The routes of a document.
    pub(super) fn new(document: &Document) -> Self {
        let mut rows: Vec<(Template, usize)> = document
            .operations
            .iter()
            .enumerate()
            .map(|(index, operation)| (Template::parse(&operation.path), index))
            .collect();
        rows.sort_by(|one, other| one.0.order(&other.0));
        Self { rows }
    }

    /// The operations that a request means; several when they differ in the query only.
    pub(super) fn find(&self, document: &Document, method: &str, segments: &[String]) -> Found {
        let mut others: Vec<String> = Vec::new();
        let mut winner: Option<(&Template, Vec<usize>, Map<String, Value>)> = None;
        for (template, index) in &self.rows {
            let Some(values) = template.matches(segments) else { continue };
            let offered = &document.operations[*index].method;
            if offered != method {
                others.push(offered.clone());
                continue;
            }
            match &mut winner {
                None => {
                    let values = values.into_iter().map(|(name, value)| (name, value.into())).collect();
                    winner = Some((template, vec![*index], values));
                }
                Some((first, indexes, _)) if first.same_shape(template) => indexes.push(*index),
                Some(_) => {}
            }
        }
        match winner {
            Some((_, indexes, values)) => Found::Operations(indexes, values),
            None if others.is_empty() => Found::Nothing,
            None => {
                others.sort();
                others.dedup();
                Found::OtherMethods(others)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        segments(text).unwrap()
    }

    #[test]
    fn segments_match_whole_mixed_and_decoded() {
        let template = Template::parse("/apps(id='{id}')/{name}.{kind}");
        let found = template.matches(&path("/apps(id='a%20b')/report.json")).unwrap();
        assert_eq!(found[0], ("id".into(), "a b".into()));
        assert_eq!(found[2], ("kind".into(), "json".into()));
        assert!(template.matches(&path("/apps/report.json")).is_none());
    }

    #[test]
    fn the_literal_wins() {
        assert_eq!(Template::parse("/x/search").order(&Template::parse("/x/{id}")), Ordering::Less);
    }

    #[test]
    fn a_segment_that_hides_a_slash_is_no_path() {
        for hidden in ["/a/%2e%2e", "/a/..", "/a//b", "/a/b%2Fc", "/a/%00"] {
            assert!(segments(hidden).is_none(), "{hidden}");
        }
    }
}
