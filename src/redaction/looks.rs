//! Does a text look like a secret?
//!
//! Owns the judgements about single values: placeholders, diversity, randomness. The idea: what people write in
//! examples (`<token>`, `${TOKEN}`, `xxxxxxxx`) stays readable, and what is drawn at random does not.
//!
//! Must not: look around a value; that is `context.rs`.

/// How many different characters there are, counted up to sixteen.
pub(super) fn variety(text: &[u8]) -> usize {
    let mut seen = [false; 256];
    let mut count = 0;
    for byte in text {
        if !std::mem::replace(&mut seen[usize::from(*byte)], true) {
            count += 1;
            if count == 16 {
                break;
            }
        }
    }
    count
}

/// Whether somebody wrote this in place of a secret.
pub(super) fn is_placeholder(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some(first) = bytes.first() else { return true };
    match first {
        b'<' | b'{' if bytes.ends_with(if *first == b'<' { b">" } else { b"}" }) => return true,
        b'$' if bytes
            .get(1)
            .is_some_and(|next| matches!(next, b'{' | b'(' | b'_') || next.is_ascii_alphabetic())
            && bytes
                .iter()
                .skip(1)
                .all(|byte| byte.is_ascii_alphanumeric() || b"_{}().:-".contains(byte)) =>
        {
            return true;
        }
        b'%' if bytes.len() <= 3 || bytes.ends_with(b"%") => return true,
        b'[' if is_marker(text) || text.eq_ignore_ascii_case("[redacted]") => return true,
        _ => {}
    }
    if text.contains("${") || text.contains("{{") || text.contains("$(") {
        return true;
    }
    has_run(bytes) || (variety(bytes) < 5 && bytes.len() >= 8) || is_filler(bytes)
}

/// One of our own markers, perhaps without its closing bracket, and nothing more.
pub(super) fn is_marker(text: &str) -> bool {
    text.strip_prefix(super::MARKER).is_some_and(|rest| {
        rest.trim_end_matches(']').bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// Five or more fill characters in a row.
fn has_run(bytes: &[u8]) -> bool {
    bytes.windows(5).any(|window| {
        matches!(window[0], b'x' | b'X' | b'*' | b'.' | b'#') && window.iter().all(|byte| *byte == window[0])
    })
}

/// Nothing but stars, dots, dashes.
fn is_filler(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'*' | b'.' | b'-' | b'_' | b'#' | b'x' | b'X' | b'?' | b' '))
}

/// Words that are said about secrets and are none.
pub(super) fn is_plain_word(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "true",
        "false",
        "null",
        "nil",
        "none",
        "undefined",
        "string",
        "str",
        "number",
        "integer",
        "boolean",
        "bool",
        "object",
        "array",
        "any",
        "required",
        "optional",
        "invalid",
        "missing",
        "expired",
        "empty",
        "unset",
        "default",
        "unknown",
        "yes",
        "no",
        "on",
        "off",
        "redacted",
        "hidden",
        "masked",
        "removed",
        "secret",
        "token",
        "password",
        "passwd",
        "pass",
        "key",
        "bearer",
        "basic",
        "changed",
        "unchanged",
        "enabled",
        "disabled",
        "accepted",
        "rejected",
        "refused",
        "denied",
        "valid",
        "failed",
        "ok",
        "error",
        "self",
        "this",
        "value",
        "text",
        "type",
        "bytes",
        "env",
        "file",
        "keyring",
        "vault",
        "authentication",
        "authorization",
        "generated",
        "revoked",
        "rotated",
        "test",
    ];
    let text = text.trim_end_matches(['.', ',', ';', ':', '!', '?', ')']);
    text.len() <= 16 && WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Drawn at random, by its looks: long, varied, of token characters, and no word or number or date alone.
pub(super) fn is_random(text: &str, least: usize) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < least || !bytes.iter().all(u8::is_ascii_graphic) {
        return false;
    }
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let upper = bytes.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    let lower = bytes.iter().filter(|byte| byte.is_ascii_lowercase()).count();
    let mixed = digits >= 2 && upper + lower >= 2;
    // Words joined together change case seldom; random letters do often.
    let turns =
        bytes.windows(2).filter(|pair| pair[0].is_ascii_uppercase() != pair[1].is_ascii_uppercase()).count();
    let jumbled = upper >= 3 && lower >= 3 && turns * 3 > bytes.len();
    variety(bytes) >= 7.min(least) && (mixed || jumbled)
}

/// A call, a path through an object, or a piece of markup: code about a secret, not the secret.
pub(super) fn is_code(text: &str) -> bool {
    let bytes = text.as_bytes();
    let opens = text.find('(');
    let called = opens.is_some_and(|at| at > 0 && bytes[..at].iter().all(|byte| is_name_byte(*byte)));
    let dotted = text.contains('.')
        && text.split('.').count() >= 2
        && bytes.iter().all(|byte| is_name_byte(*byte))
        && text.split('.').all(|part| part.as_bytes().first().is_some_and(u8::is_ascii_alphabetic))
        && !bytes.iter().any(u8::is_ascii_digit)
        && !is_random(text, 24);
    called || dotted || text.starts_with("os.environ") || text.starts_with("process.env")
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_from_secrets() {
        for text in [
            "<token>",
            "${TOKEN}",
            "$TOKEN",
            "xxxxxxxx",
            "********",
            "{{ token }}",
            "%s",
            "[redacted:aws]",
            "...",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in ["hunter2", "P@ssw0rd$1", "$ecret99!", "d2LkV78zLx!t", "abcd"] {
            assert!(!is_placeholder(text), "{text}");
        }
    }

    #[test]
    fn random_looks_random_and_words_do_not() {
        for text in ["5eb4223e50084", "yqDVtkqPECriaLRi", "7k3jd83kd93kd"] {
            assert!(is_random(text, 12), "{text}");
        }
        for text in ["getUserPassword", "authentication", "application/json", "required"] {
            assert!(!is_random(text, 8), "{text}");
        }
        assert!(is_code("getToken()") && is_code("config.auth.token") && is_code("os.environ[\"X\"]"));
        assert!(!is_code("hunter2") && !is_code("abc.def1"));
    }
}
