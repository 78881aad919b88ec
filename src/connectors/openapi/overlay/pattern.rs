//! `match()` and `search()` of a filter (RFC 9535), with I-Regexp (RFC 9485).
//!
//! Owns [`counted`] and the two functions. The idea: a pattern is read by the rules of I-Regexp, which many dialects
//! share, and only then becomes one of ours, so nothing else gets through; what is none matches nothing, as the RFC
//! says. Each pattern is compiled once for all queries of an import, and what they cost together is bounded: the text
//! that is looked through, times how many parts the pattern has.
//!
//! Must not: let a document's own pattern cost more than an overlay's.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::str::Chars;
use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};
use serde_json_path::functions::{
    Evaluator, Function, FunctionArgType, FunctionExprArg, FunctionValidationError, JsonPathType,
    JsonPathValue, LogicalType, Validator,
};

use crate::json::Value;

/// Bytes of a pattern, and of what it compiles to or learns while it looks (a category of Unicode is large).
const LENGTH: usize = 1_000;
const SIZE: usize = 256 << 10;
/// Parts of a pattern, those that are repeated as often as they may be: what a byte of a text costs at most.
const PARTS: usize = 500;
/// Groups in groups.
const NESTED: usize = 50;
/// Patterns of all queries, and what they look through: each byte as often as the pattern has parts.
const PATTERNS: usize = 100;
const LOOKED: usize = 512 << 20;
/// Bytes that every look costs beside the text's.
const LOOK: usize = 32;

/// What queries have cost so far.
#[derive(Debug, Default)]
pub(super) struct Cost {
    /// Each pattern and whether it begins and ends where the text does; nothing for what is no I-Regexp.
    known: HashMap<(String, bool), Option<Compiled>>,
    looked: usize,
    /// Why a query goes no further.
    over: Option<String>,
    /// Whether there was a pattern that is none.
    odd: bool,
}

#[derive(Debug, Clone)]
struct Compiled {
    regex: Regex,
    parts: usize,
}

/// What is said of a pattern that would cost too much.
struct TooLarge;

thread_local! {
    static COST: RefCell<Cost> = RefCell::default();
}

/// Runs a query at a cost. Says of its patterns what made it stop, or whether one was no I-Regexp.
pub(super) fn counted<T>(cost: &mut Cost, query: impl FnOnce() -> T) -> Result<(T, bool), String> {
    COST.set(std::mem::take(cost));
    let found = query();
    *cost = COST.take();
    let odd = std::mem::take(&mut cost.odd);
    cost.over.take().map_or(Ok((found, odd)), Err)
}

impl Cost {
    fn is_match(&mut self, text: &str, pattern: &str, whole: bool) -> bool {
        if self.over.is_some() {
            return false;
        }
        let key = (pattern.to_owned(), whole);
        if !self.known.contains_key(&key) {
            if pattern.len() > LENGTH || self.known.len() >= PATTERNS {
                self.over = Some(format!(
                    "It has a pattern of more than {LENGTH} characters, or there are more than {PATTERNS} patterns in \
                     all: use fewer or shorter ones."
                ));
                return false;
            }
            let Ok(compiled) = compiled(pattern, whole) else {
                self.over = Some(String::from(
                    "It has a pattern that becomes too large: repeat less, or fewer characters.",
                ));
                return false;
            };
            self.known.insert(key.clone(), compiled);
        }
        let Some(Some(Compiled { regex, parts })) = self.known.get(&key) else {
            self.odd = true;
            return false;
        };
        self.looked = self.looked.saturating_add((text.len() + LOOK).saturating_mul(*parts));
        if self.looked > LOOKED {
            self.over = Some(String::from(
                "Its patterns, or those of the actions before it too, would look through too much text: use smaller \
                 patterns, or look at fewer places.",
            ));
            return false;
        }
        regex.is_match(text)
    }
}

/// A pattern, ready; nothing for what is no I-Regexp, an error for what is too large.
fn compiled(pattern: &str, whole: bool) -> Result<Option<Compiled>, TooLarge> {
    let Some((inner, parts)) = translated(pattern) else { return Ok(None) };
    if parts > PARTS {
        return Err(TooLarge);
    }
    let text = if whole { format!(r"\A(?:{inner})\z") } else { inner };
    match RegexBuilder::new(&text).size_limit(SIZE).dfa_size_limit(SIZE).build() {
        Ok(regex) => Ok(Some(Compiled { regex, parts })),
        Err(regex::Error::CompiledTooBig(_)) => Err(TooLarge),
        Err(_) => Ok(None),
    }
}

/// An I-Regexp as one of ours, and how many parts it has; nothing if it is none. `^` and `$` are the ends of the text, as
/// in every dialect that the RFC maps to.
fn translated(pattern: &str) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut rest = pattern.chars();
    // parts of what is around each group that is open, of the group, and of what a quantifier would be for
    let mut groups = Vec::new();
    let (mut parts, mut last) = (1_usize, 1_usize);
    // whether there is something that a quantifier could be for
    let mut atom = false;
    while let Some(character) = rest.next() {
        let before = std::mem::replace(&mut atom, true);
        let mut own = 1;
        match character {
            '(' => {
                groups.push(std::mem::replace(&mut parts, 0));
                atom = false;
                out.push_str("(?:");
                if groups.len() > NESTED {
                    return None;
                }
            }
            ')' => {
                own = parts;
                parts = groups.pop()?;
                out.push(')');
            }
            '|' => {
                atom = false;
                out.push('|');
            }
            '*' | '+' | '?' if before => {
                atom = false;
                out.push(character);
            }
            '{' if before => {
                atom = false;
                own = last.saturating_mul(quantity(&mut rest, &mut out)?);
            }
            '.' => out.push_str(r"[^\n\r]"),
            '^' | '$' => {
                atom = false;
                out.push_str(if character == '^' { r"\A" } else { r"\z" });
            }
            '[' => class(&mut rest, &mut out)?,
            '\\' => escape(&mut rest, &mut out)?,
            '*' | '+' | '?' | '{' | '}' | ']' => return None,
            plain => literal(plain, &mut out),
        }
        parts = parts.saturating_add(own);
        last = own;
    }
    groups.is_empty().then_some((out, parts))
}

/// A character as itself.
fn literal(character: char, out: &mut String) {
    // A String takes whatever is written to it.
    let _ = write!(out, r"\x{{{:X}}}", u32::from(character));
}

/// What is in braces: a number, a number and more, or two numbers. Says the largest.
fn quantity(rest: &mut Chars<'_>, out: &mut String) -> Option<usize> {
    let (inside, after) = rest.as_str().split_once('}')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    if !number(least) || !(most.is_empty() || number(most)) {
        return None;
    }
    // A String takes whatever is written to it.
    let _ = write!(out, "{{{inside}}}");
    *rest = after.chars();
    let large = |text: &str| if text.is_empty() { 0 } else { text.parse().unwrap_or(usize::MAX) };
    Some(large(least).max(large(most)))
}

/// What comes after a backslash.
fn escape(rest: &mut Chars<'_>, out: &mut String) -> Option<()> {
    match rest.next()? {
        negated @ ('p' | 'P') => category(negated, rest, out)?,
        other => literal(single(other)?, out),
    }
    Some(())
}

/// The one character that stands behind a backslash.
fn single(character: char) -> Option<char> {
    Some(match character {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '(' | ')' | '*' | '+' | '-' | '.' | '?' | '[' | '\\' | ']' | '^' | '{' | '|' | '}' => character,
        _ => return None,
    })
}

/// A general category of Unicode: no scripts, no blocks, no other properties.
fn category(kind: char, rest: &mut Chars<'_>, out: &mut String) -> Option<()> {
    let (name, after) = rest.as_str().strip_prefix('{')?.split_once('}')?;
    let parts = match name.chars().next()? {
        'L' => "lmotu",
        'M' => "cen",
        'N' => "dlo",
        'P' => "cdefios",
        'S' => "ckmo",
        'Z' => "lps",
        'C' => "cfno",
        _ => return None,
    };
    let known = match &name[1..] {
        "" => true,
        part => part.len() == 1 && parts.contains(part),
    };
    if !known {
        return None;
    }
    // A String takes whatever is written to it.
    let _ = write!(out, r"\{kind}{{{name}}}");
    *rest = after.chars();
    Some(())
}

/// A class, behind its bracket: a `-` for itself is first or last, and nothing is in it that is not one of its
/// characters, a range or a category.
fn class(rest: &mut Chars<'_>, out: &mut String) -> Option<()> {
    out.push('[');
    if let Some(after) = rest.as_str().strip_prefix('^') {
        out.push('^');
        *rest = after.chars();
    }
    let begin = out.len();
    loop {
        match rest.next()? {
            ']' if out.len() > begin => break,
            '-' if out.len() == begin || rest.as_str().starts_with(']') => literal('-', out),
            '-' | '[' | ']' => return None,
            '\\' if rest.as_str().starts_with(['p', 'P']) => escape(rest, out)?,
            character => {
                let from = if character == '\\' { single(rest.next()?)? } else { character };
                literal(from, out);
                let ranges = rest.as_str().strip_prefix('-').filter(|after| !after.starts_with(']'));
                if let Some(after) = ranges {
                    *rest = after.chars();
                    let to = match rest.next()? {
                        '\\' => single(rest.next()?)?,
                        '[' | '-' => return None,
                        other => other,
                    };
                    if to < from {
                        return None;
                    }
                    out.push('-');
                    literal(to, out);
                }
            }
        }
    }
    out.push(']');
    Some(())
}

/// Whether a text fits a pattern; what is neither fits nothing.
fn fits(mut arguments: VecDeque<JsonPathValue<'_>>, whole: bool) -> bool {
    let (text, pattern) = (arguments.pop_front(), arguments.pop_front());
    let (Some(text), Some(pattern)) = (text.as_ref().and_then(words), pattern.as_ref().and_then(words))
    else {
        return false;
    };
    COST.with_borrow_mut(|cost| cost.is_match(text, pattern, whole))
}

fn words<'a>(value: &'a JsonPathValue<'_>) -> Option<&'a str> {
    match value {
        JsonPathValue::Value(Value::String(text)) | JsonPathValue::Node(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Two arguments that are values.
fn check(name: &str, arguments: &[FunctionExprArg]) -> Result<(), FunctionValidationError> {
    if arguments.len() != 2 {
        let received = arguments.len();
        return Err(FunctionValidationError::NumberOfArgsMismatch { expected: 2, received });
    }
    for (position, argument) in arguments.iter().enumerate() {
        let (received, expected) = (argument.as_type_kind()?, JsonPathType::Value);
        if !received.converts_to(expected) {
            let name = name.to_owned();
            return Err(FunctionValidationError::MismatchTypeKind { name, expected, received, position });
        }
    }
    Ok(())
}

static MATCH: Validator = LazyLock::new(|| Box::new(|arguments| check("match", arguments)));
static SEARCH: Validator = LazyLock::new(|| Box::new(|arguments| check("search", arguments)));
static MATCHES: Evaluator =
    LazyLock::new(|| Box::new(|given| JsonPathValue::Logical(LogicalType::from(fits(given, true)))));
static SEARCHES: Evaluator =
    LazyLock::new(|| Box::new(|given| JsonPathValue::Logical(LogicalType::from(fits(given, false)))));

inventory::submit! { Function::new("match", FunctionArgType::Logical, &MATCHES, &MATCH) }
inventory::submit! { Function::new("search", FunctionArgType::Logical, &SEARCHES, &SEARCH) }

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(text: &str, pattern: &str, whole: bool) -> bool {
        Cost::default().is_match(text, pattern, whole)
    }

    #[test]
    fn a_pattern_means_what_the_rfc_says() {
        for (pattern, yes, no) in [
            ("a|bc", &["a", "bc"][..], &["abc", "b", ""][..]),
            ("", &[""], &["a"]),
            ("a.c", &["abc", "a\u{2028}c", "a𐄁c"], &["a\nc", "a\rc", "ac"]),
            ("a[.]c|a\\.c", &["a.c"], &["abc"]),
            ("[^a-c]+", &["xyz", "\n"], &["xaz", ""]),
            ("[-a]{2}", &["-a", "--"], &["b-", "-"]),
            ("[a-]{2,3}", &["-a", "a-a"], &["a", "aaaa"]),
            ("[a-c-]x{2,}", &["bxx", "-xxxx"], &["dxx", "bx"]),
            ("[\\]\\[\\-\\^]+", &["][-^"], &["\\"]),
            ("[&&~~]", &["&", "~"], &["a"]),
            ("\\p{Lu}\\p{L}*", &["Été", "A"], &["été", "A1"]),
            ("[\\p{Nd}\\P{L}]", &["7", "-"], &["a"]),
            ("(ab?)+(c|d)", &["aabc", "aad"], &["abe", "c"]),
            ("\\n\\r\\t", &["\n\r\t"], &["nrt"]),
            ("^a$", &["a"], &["^a$"]),
            ("#/a b", &["#/a b"], &["#/ab"]),
            ("ü+", &["üü"], &["u"]),
        ] {
            for text in yes {
                assert!(fits(text, pattern, true), "{pattern} is {text:?}");
            }
            for text in no {
                assert!(!fits(text, pattern, true), "{pattern} is not {text:?}");
            }
        }
        assert!(fits("xx ab yy", "a[b]", false) && !fits("xx ab yy", "^a[b]", false));
    }

    #[test]
    fn what_other_dialects_have_is_no_pattern_and_fits_nothing() {
        for pattern in [
            "\\d",
            "\\w+",
            "\\s",
            "\\b",
            "\\A",
            "\\u0061",
            "(?i)a",
            "(?:a)",
            "(?=a)",
            "a*?",
            "a**",
            "a{1}{2}",
            "a{,2}",
            "a{x}",
            "a{1",
            "{1}",
            "*a",
            "|*",
            "(",
            ")",
            "a)|(a",
            "[]",
            "[^]",
            "[a",
            "[a-\\d]",
            "[b-a]",
            "[a--]",
            "[[a]]",
            "[[:alpha:]]",
            "a]",
            "a}",
            "\\",
            "\\p{Greek}",
            "\\p{Cs}",
            "\\p{Ll",
            "\\pL",
            "\\p{}",
            "\\p{é}",
            "\\p{Lé}",
            "^*",
        ] {
            let mut cost = Cost::default();
            for text in ["a", "1", "", "aa", pattern] {
                assert!(
                    !cost.is_match(text, pattern, true) && !cost.is_match(text, pattern, false),
                    "{pattern}"
                );
            }
            assert!(cost.odd && cost.over.is_none(), "{pattern}");
        }
    }

    #[test]
    fn what_patterns_cost_is_bounded() {
        let over = |calls: &mut dyn FnMut(&mut Cost)| {
            let mut cost = Cost::default();
            calls(&mut cost);
            cost.over.unwrap_or_default()
        };
        assert!(
            over(&mut |cost| assert!(!cost.is_match("a", "((a{1000}){1000}){1000}", true)))
                .contains("too large")
        );
        assert!(
            over(&mut |cost| assert!(!cost.is_match("a", &"a".repeat(1_001), true)))
                .contains("1000 characters")
        );
        let many = over(&mut |cost| {
            for number in 0..=PATTERNS {
                let text = format!("a{number}");
                assert_eq!(cost.is_match(&text, &text, true), number < PATTERNS);
            }
        });
        assert!(many.contains("more than 100 patterns in all"), "{many}");
        // a pattern that no machine of states is small enough for: a byte costs as much as the pattern has parts
        let text = "ab".repeat(1 << 10);
        let mut cost = Cost { looked: LOOKED - (1 << 20), ..Cost::default() };
        let calls = (0..100).take_while(|_| {
            assert!(!cost.is_match(&text, "[ab]*a[ab]{50}c", false));
            cost.over.is_none()
        });
        assert_eq!(calls.count(), 9, "of 2080 bytes and 56 parts");
        assert!(cost.over.as_ref().is_some_and(|why| why.contains("too much text")), "{:?}", cost.over);
        for large in
            ["[ab]*a[ab]{4000}[^ab]", "(){4000000000}", "((a){100}){100}", "(a|b{99}){9}", "(\\p{L}){40}"]
        {
            let refused = over(&mut |cost| assert!(!cost.is_match("a", large, false)));
            assert!(refused.contains("too large"), "{large}: {refused}");
        }
        // queries share what they may, and what stopped one does not stop the next that costs nothing
        let mut cost = Cost { looked: LOOKED, ..Cost::default() };
        let search =
            |cost: &mut Cost| counted(cost, || COST.with_borrow_mut(|cost| cost.is_match("a", "a", true)));
        for _ in 0..2 {
            assert!(search(&mut cost).unwrap_err().contains("too much text"));
        }
        assert_eq!(counted(&mut cost, || 7), Ok((7, false)));
        assert_eq!(search(&mut Cost::default()), Ok((true, false)));
    }
}
