//! A regular expression, turned into a text that it matches.
//!
//! Owns [`sample`]. The idea: the expression is parsed by the library that also matches it, and walked once; each
//! class gives a plain character, each repetition its least count.
//!
//! Must not: match anything.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Longest text that is made.
const LONGEST: usize = 256;

/// A text that matches `pattern`, or nothing when the expression is not understood. `variant` changes the characters
/// where the expression leaves a choice.
pub(super) fn sample(pattern: &str, variant: usize) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut text = String::new();
    write(&hir, variant, &mut text)?;
    let check = regex::Regex::new(pattern).ok()?;
    check.is_match(&text).then_some(text)
}

/// The word, when the expression matches it, else a text that it matches.
pub(super) fn word_or_sample(pattern: &str, word: &str, variant: usize) -> Option<String> {
    let fits = regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(word));
    if fits { Some(word.to_owned()) } else { sample(pattern, variant) }
}

fn write(hir: &Hir, variant: usize, text: &mut String) -> Option<()> {
    if text.len() > LONGEST {
        return None;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(class) => text.push(pick(class, variant + text.len())?),
        HirKind::Repetition(repetition) => {
            // an unanchored `.*` gives nothing; `+` and `{2,5}` give the least
            for _ in 0..repetition.min.min(64) {
                write(&repetition.sub, variant, text)?;
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, variant, text)?,
        HirKind::Concat(parts) => {
            for part in parts {
                write(part, variant, text)?;
            }
        }
        HirKind::Alternation(parts) => write(parts.first()?, variant, text)?,
    }
    Some(())
}

/// A plain character of the class: letters and digits are preferred.
fn pick(class: &Class, variant: usize) -> Option<char> {
    const PLAIN: &str = "1234567890abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let holds = |letter: char| match class {
        Class::Unicode(class) => {
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&letter))
        }
        Class::Bytes(class) => u8::try_from(letter).is_ok_and(|byte| {
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&byte))
        }),
    };
    let plain: Vec<char> = PLAIN.chars().filter(|letter| holds(*letter)).collect();
    if !plain.is_empty() {
        return plain.get(variant % plain.len()).copied();
    }
    match class {
        Class::Unicode(class) => class.ranges().first().map(regex_syntax::hir::ClassUnicodeRange::start),
        Class::Bytes(class) => class.ranges().first().map(|range| char::from(range.start())),
    }
}

#[cfg(test)]
mod tests {
    use super::sample;

    #[test]
    fn what_is_made_matches() {
        for pattern in [
            r"^EQ-\d{7}$",
            r"^[A-Z]{2}$",
            r"^/",
            r"^(?:(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)\.){3}(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)$",
            r"^(\/bandwidth|\/order)$",
            "",
        ] {
            for variant in 0..3 {
                let text = sample(pattern, variant).expect(pattern);
                assert!(regex::Regex::new(pattern).unwrap().is_match(&text), "{pattern}");
            }
        }
        assert_ne!(sample("^[0-9]{4}$", 0), sample("^[0-9]{4}$", 1));
        assert_eq!(sample("(?=x)", 0), None, "look-around is not understood");
    }
}
