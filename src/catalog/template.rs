//! Addresses with `{variables}` (RFC 6570, level 1), read backwards.
//!
//! Owns [`Template`]. The idea: literals anchor the variables, a variable never spans a `/`, and what it holds is
//! decoded once. An address whose decoded parts would climb (`.` or `..`) matches nothing.
//!
//! Must not: fetch anything.

use percent_encoding::percent_decode_str;

use crate::json::{Map, Value};

/// A parsed template: literal, variable, literal, variable, …, literal.
#[derive(Debug)]
pub(super) struct Template {
    first: String,
    rest: Vec<(String, String)>,
}

const MOST_VARIABLES: usize = 16;

/// Whether a text starts with a scheme.
pub(super) fn is_uri(text: &str) -> bool {
    let scheme = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.');
    text.split_once(':').is_some_and(|(name, rest)| {
        name.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && name.chars().all(scheme)
            && !rest.is_empty()
    }) && !text.chars().any(|letter| letter.is_control() || letter == ' ')
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if !is_uri(text) {
            return Err("needs an address with a scheme, such as `notes://{day}`");
        }
        let mut pieces = text.split('{');
        let first = pieces.next().unwrap_or_default().to_owned();
        let mut rest: Vec<(String, String)> = Vec::new();
        for piece in pieces {
            let (name, literal) = piece.split_once('}').ok_or("has a `{` without a `}` in its address")?;
            let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
            if name.is_empty() || !name.chars().all(legal) {
                return Err("may only have plain `{names}` in its address");
            }
            if rest.iter().any(|(other, _)| other == name) {
                return Err("names one variable twice in its address");
            }
            if rest.last().is_some_and(|(_, literal)| literal.is_empty()) {
                return Err("needs something between two variables of its address");
            }
            rest.push((name.to_owned(), literal.to_owned()));
        }
        if first.contains('}') || rest.iter().any(|(_, literal)| literal.contains('}')) {
            return Err("has a `}` without a `{` in its address");
        }
        match rest.len() {
            0 => Err("needs at least one `{variable}` in its address"),
            1..=MOST_VARIABLES => Ok(Self { first, rest }),
            _ => Err("has too many variables in its address"),
        }
    }

    /// The variables of an address, if it fits.
    pub(super) fn matches(&self, uri: &str) -> Option<Map<String, Value>> {
        let mut left = uri.strip_prefix(self.first.as_str())?;
        let mut values = Map::new();
        for (index, (name, literal)) in self.rest.iter().enumerate() {
            let last = index + 1 == self.rest.len();
            let end = if last {
                left.strip_suffix(literal.as_str())?.len()
            } else {
                // the literal between two variables is never empty: parse() saw to it
                let skip = left.chars().next()?.len_utf8();
                left[skip..].find(literal.as_str())? + skip
            };
            let (raw, after) = left.split_at_checked(end)?;
            values.insert(name.clone(), Value::String(decoded(raw)?));
            left = &after[literal.len()..];
        }
        Some(values)
    }
}

fn decoded(raw: &str) -> Option<String> {
    if raw.is_empty() || raw.contains('/') {
        return None;
    }
    let text = percent_decode_str(raw).decode_utf8().ok()?;
    let climbs = text.split(['/', '\\']).any(|part| part == "." || part == "..");
    (!climbs && !text.contains('\0')).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    fn read(template: &str, uri: &str) -> Option<Value> {
        Template::parse(template).unwrap().matches(uri).map(Value::Object)
    }

    #[test]
    fn variables_are_found_and_decoded() {
        assert_eq!(read("a://{x}", "a://1"), Some(json!({"x": "1"})));
        assert_eq!(read("a://{x}/data", "a://123/data"), Some(json!({"x": "123"})));
        assert_eq!(read("a://{x}-{y}.json", "a://1-2-3.json"), Some(json!({"x": "1", "y": "2-3"})));
        assert_eq!(read("a://{x}", "a://caf%C3%A9%2Fb"), Some(json!({"x": "café/b"})));
        assert_eq!(read("a://{x}", "a://é"), Some(json!({"x": "é"})));
    }

    #[test]
    fn what_does_not_fit_or_climbs_matches_nothing() {
        for uri in
            ["a://", "a://1/2", "b://1", "a://..", "a://%2e%2e", "a://x%2F..%2Fy", "a://%ff", "a://a%00"]
        {
            assert_eq!(read("a://{x}", uri), None, "{uri}");
        }
        assert_eq!(read("a://{x}/data", "a://1/date"), None);
        assert_eq!(read("a://{x}-{y}", "a://é"), None);
    }

    #[test]
    fn templates_are_checked() {
        for text in ["{x}", "a://b", "a://{", "a://{}", "a://{+x}", "a://{x}{y}", "a://{x}/{x}", "a://x}{y}"]
        {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
