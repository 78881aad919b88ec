//! `match()` and `search()` of a filter (RFC 9535), with I-Regexp (RFC 9485).
//!
//! Owns [`counted`] and the two functions. The idea: a pattern is read by the rules of I-Regexp, which many dialects
//! share, and only then becomes one of ours, so nothing else gets through; what is none matches nothing, as the RFC
//! says. A query compiles each pattern once, and what all of them cost together is bounded.
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

/// Bytes of a pattern, and of what it compiles to.
const LENGTH: usize = 1_000;
const SIZE: usize = 256 << 10;
/// Groups in groups.
const NESTED: usize = 50;
/// Patterns that one query compiles, and bytes that it looks through.
const PATTERNS: usize = 100;
const LOOKED: usize = 32 << 20;

/// What one query has cost so far.
#[derive(Default)]
struct Cost {
    /// Each pattern and whether it begins and ends where the text does; nothing for what is no I-Regexp.
    known: HashMap<(String, bool), Option<Regex>>,
    looked: usize,
    /// Why it goes no further.
    over: Option<String>,
    /// Whether there was a pattern that is none.
    odd: bool,
}

thread_local! {
    static COST: RefCell<Cost> = RefCell::default();
}

/// Runs a query. Says of its patterns what made it stop, or whether one was no I-Regexp.
pub(super) fn counted<T>(query: impl FnOnce() -> T) -> Result<(T, bool), String> {
    COST.take();
    let found = query();
    let Cost { over, odd, .. } = COST.take();
    over.map_or(Ok((found, odd)), Err)
}

impl Cost {
    fn is_match(&mut self, text: &str, pattern: &str, whole: bool) -> bool {
        if self.over.is_some() {
            return false;
        }
        self.looked = self.looked.saturating_add(text.len());
        if self.looked > LOOKED {
            self.over = Some(format!("Its patterns would look through more than {} MiB.", LOOKED >> 20));
            return false;
        }
        let key = (pattern.to_owned(), whole);
        if !self.known.contains_key(&key) {
            if pattern.len() > LENGTH || self.known.len() >= PATTERNS {
                self.over = Some(format!(
                    "It has more than {PATTERNS} patterns, or one of more than {LENGTH} characters."
                ));
                return false;
            }
            let compiled = translated(pattern).map(|inner| {
                let text = if whole { format!(r"\A(?:{inner})\z") } else { inner };
                RegexBuilder::new(&text).size_limit(SIZE).dfa_size_limit(SIZE).build()
            });
            let compiled = match compiled {
                Some(Ok(regex)) => Some(regex),
                Some(Err(regex::Error::CompiledTooBig(_))) => {
                    self.over = Some(String::from("It has a pattern that becomes too large."));
                    return false;
                }
                Some(Err(_)) | None => {
                    self.odd = true;
                    None
                }
            };
            self.known.insert(key.clone(), compiled);
        }
        self.known.get(&key).and_then(Option::as_ref).is_some_and(|regex| regex.is_match(text))
    }
}

/// An I-Regexp as one of ours; nothing if it is none. `^` and `$` are the ends of the text, as in every dialect that the
/// RFC maps to.
fn translated(pattern: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = pattern.chars();
    let mut groups = 0_usize;
    // whether there is something that a quantifier could be for
    let mut atom = false;
    while let Some(character) = rest.next() {
        let before = std::mem::replace(&mut atom, true);
        match character {
            '(' => {
                groups += 1;
                atom = false;
                out.push_str("(?:");
                if groups > NESTED {
                    return None;
                }
            }
            ')' => {
                groups = groups.checked_sub(1)?;
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
                quantity(&mut rest, &mut out)?;
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
    }
    (groups == 0).then_some(out)
}

/// A character as itself.
fn literal(character: char, out: &mut String) {
    // A String takes whatever is written to it.
    let _ = write!(out, r"\x{{{:X}}}", u32::from(character));
}

/// What is in braces: a number, a number and more, or two numbers.
fn quantity(rest: &mut Chars<'_>, out: &mut String) -> Option<()> {
    let (inside, after) = rest.as_str().split_once('}')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    if !number(least) || !(most.is_empty() || number(most)) {
        return None;
    }
    // A String takes whatever is written to it.
    let _ = write!(out, "{{{inside}}}");
    *rest = after.chars();
    Some(())
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
            ("(ab?)+(c|d)", &["aabc", "abd"], &["abe", "c"]),
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
        assert!(many.contains("more than 100 patterns"), "{many}");
        let text = "b".repeat(1 << 20);
        let looked = over(&mut |cost| (0..100).for_each(|_| assert!(!cost.is_match(&text, "a", false))));
        assert!(looked.contains("32 MiB"), "{looked}");
        // and a query that costs nothing begins anew
        assert_eq!(counted(|| 7), Ok((7, false)));
    }
}
