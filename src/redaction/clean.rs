//! Characters that are not for reading.
//!
//! Owns [`clean`]. The idea: terminals obey escape sequences and control characters, and readers do not see
//! zero-width, bidirectional and tag characters; text from elsewhere may hold instructions in either, and has no need
//! of them.
//!
//! Must not: change anything that can be seen.

use std::borrow::Cow;

/// The text without ANSI sequences, control characters (but new lines and tabs), zero-width, bidirectional and tag
/// characters. Borrowed when nothing changes.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let Some(first) = first_bad(text) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    let mut left = text[first..].chars().peekable();
    while let Some(next) = left.next() {
        match next {
            '\u{1b}' => match left.peek() {
                Some('[') => {
                    left.next();
                    while left.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                    left.next_if(|c| matches!(c, '@'..='~'));
                }
                Some(']' | 'P' | '_' | '^' | 'X') => {
                    left.next();
                    // A string for the terminal, up to BEL or ESC \.
                    while let Some(inner) = left.next() {
                        if inner == '\u{7}' || inner == '\u{9c}' {
                            break;
                        }
                        if inner == '\u{1b}' {
                            left.next_if_eq(&'\\');
                            break;
                        }
                    }
                }
                Some(' '..='/') => {
                    while left.next_if(|c| matches!(c, ' '..='/')).is_some() {}
                    left.next_if(|c| matches!(c, '0'..='~'));
                }
                Some('0'..='~') => {
                    left.next();
                }
                _ => {}
            },
            '\u{9b}' => {
                while left.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                left.next_if(|c| matches!(c, '@'..='~'));
            }
            '\r' if left.peek() == Some(&'\n') => out.push('\r'),
            visible if is_bad(visible) => {}
            visible => out.push(visible),
        }
    }
    Cow::Owned(out)
}

/// Whether a text holds what no reader sees: zero-width, bidirectional or tag characters, or what terminals obey. Not a
/// mark at its beginning, nor the joiners of scripts and pictures.
pub(super) fn hides(text: &str) -> bool {
    let Some(first) = first_bad(text) else { return false };
    text[first..].chars().any(|c| {
        matches!(c, '\u{1b}' | '\u{8}' | '\u{9b}' | '\u{200b}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}')
    })
}

fn first_bad(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    let mut done = 0;
    // Without a way out inside a block this becomes a few instructions for all of it.
    while done < bytes.len() {
        let block = &bytes[done..bytes.len().min(done + 64)];
        if block.iter().fold(true, |plain, byte| plain & is_plain(byte)) {
            done += block.len();
            continue;
        }
        let end = done + block.len();
        while done < end {
            done += block[done + block.len() - end..].iter().take_while(|byte| is_plain(byte)).count();
            if done >= end {
                break;
            }
            let next = text.get(done..).and_then(|rest| rest.chars().next())?;
            if is_bad(next) && !(next == '\r' && bytes.get(done + 1) == Some(&b'\n')) {
                return Some(done);
            }
            done += next.len_utf8();
        }
    }
    None
}

const fn is_bad(c: char) -> bool {
    // Most of what is read, and none of it bad.
    if matches!(c, ' '..='~' | '\u{a0}'..='\u{ac}' | '\u{ae}'..='\u{34e}' | '\u{4e00}'..='\u{d7ff}') {
        return false;
    }
    matches!(c,
        '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}' // controls
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_can_be_seen_stays() {
        for text in ["plain", "line\nline\ttab", "naïve — “quoted” 日本語 🎉", "crlf\r\nline", ""]
        {
            assert!(matches!(clean(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn what_terminals_obey_and_readers_do_not_see_goes() {
        for (text, expected) in [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link", "link"),
            ("a\u{8}b\u{7}c\u{0}d", "abcd"),
            ("over\rwritten", "overwritten"),
            ("zero\u{200b}width\u{feff}", "zerowidth"),
            ("bidi\u{202e}txt\u{2066}x\u{2069}", "biditxtx"),
            ("tags\u{e0041}\u{e0042}", "tags"),
            ("\u{9b}31mred", "red"),
            ("cut\u{1b}", "cut"),
            ("cut\u{1b}[31", "cut"),
        ] {
            assert_eq!(clean(text), expected);
        }
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing(text in "\\PC*|[\\x00-\\x1f\\x1b\\[a-z0-9;]{0,40}|(.|[\u{200b}-\u{202e}\u{1b}]){0,40}") {
            let once = clean(&text).into_owned();
            let twice = clean(&once).into_owned();
            prop_assert_eq!(once, twice);
        }
    }
}
