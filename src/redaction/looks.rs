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
        b'<' if bytes.ends_with(b">") => return true,
        b'{' if bytes.ends_with(b"}") => return !is_random(&text[1..text.len() - 1], 12),
        b'$' if bytes
            .get(1)
            .is_some_and(|next| matches!(next, b'{' | b'(' | b'_') || next.is_ascii_alphabetic())
            && bytes
                .iter()
                .skip(1)
                .all(|byte| byte.is_ascii_alphanumeric() || b"_{}().:-/$".contains(byte))
            && !bytes.get(1..3).is_some_and(|hash| hash[0].is_ascii_digit() || hash[1] == b'$') =>
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
    has_run(bytes)
        || (variety(bytes) < 5 && bytes.len() >= 8)
        || is_filler(bytes)
        || is_repeated(bytes)
        || is_partly_hidden(text)
        || is_asked_for(text)
}

/// Two fifths of the text repeat the character before.
fn is_repeated(bytes: &[u8]) -> bool {
    let same = bytes.windows(2).filter(|pair| pair[0] == pair[1]).count();
    bytes.len() >= 16 && same * 5 > (bytes.len() - 1) * 2
}

/// Half of the text counts on from the character before (`abcdef`, `123456`): written by hand, which many do for want of
/// a secret; so it counts only where nothing but looks says that there is one.
pub(super) fn is_counted(text: &str) -> bool {
    let on = |pair: &&[u8]| pair[0].wrapping_add(1) == pair[1] && pair[0].is_ascii_alphanumeric();
    text.len() >= 16 && text.as_bytes().windows(2).filter(on).count() * 2 > text.len() - 1
}

/// Somebody has hidden a part already.
fn is_partly_hidden(text: &str) -> bool {
    text.contains("...")
        || text.contains('\u{2026}')
        || text.contains('\u{2022}')
        || text.len() >= 10
            && text.as_bytes().windows(10).any(|part| part.eq_ignore_ascii_case(b"[redacted]"))
        || text.len() >= 10 && text.to_ascii_lowercase().contains("[redacted")
}

/// `YOUR_API_KEY`, `your-token`, `PUT_TOKEN_HERE`.
fn is_asked_for(text: &str) -> bool {
    let bytes = text.as_bytes();
    let begins =
        |word: &str| bytes.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()));
    let ends = |word: &str| {
        bytes.len() >= word.len() && bytes[bytes.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes())
    };
    (begins("your")
        && (bytes.get(4).is_some_and(|byte| !byte.is_ascii_lowercase())
            || !bytes.iter().any(u8::is_ascii_digit)))
        || begins("insert_")
        || begins("insert-")
        || begins("replace_")
        || begins("replace-")
        || begins("enter_")
        || ends("_here")
        || ends("-here")
        || bytes.len() >= 12 && (text.contains("PLACEHOLDER") || text.contains("placeholder"))
}

/// A UUID, which names a thing far more often than it opens one.
pub(super) fn is_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Letters, and digits or signs among them: no word.
pub(super) fn is_odd(text: &str, least: usize) -> bool {
    let bytes = text.as_bytes();
    let letters = bytes.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let signs = bytes.iter().filter(|byte| {
        matches!(byte, b'!' | b'@' | b'#' | b'$' | b'%' | b'^' | b'&' | b'*' | b'+' | b'?' | b'~')
    });
    bytes.len() >= least && letters >= 1 && (digits >= 1 || signs.count() >= 1) || is_random(text, 12)
}

/// Words for people: a label, a sentence, in any language.
pub(super) fn is_prose(text: &str, kind: &str) -> bool {
    let bytes = text.as_bytes();
    if !bytes.iter().any(u8::is_ascii_alphanumeric) {
        return true;
    }
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    if !text.contains(' ') {
        // `Contrase\u{f1}a`: a word with letters beyond ASCII, and nothing else.
        return !text.is_ascii() && digits == 0 && text.chars().all(char::is_alphabetic);
    }
    let is_word = |word: &str| {
        let word = word.trim_matches(|c: char| c.is_ascii_punctuation());
        word.chars().all(|c| c.is_alphabetic() || matches!(c, '\'' | '-' | '/')) || word.len() < 3
    };
    let words = text.split(' ').filter(|word| !word.is_empty()).count();
    let plain = text.split(' ').filter(|word| is_word(word)).count();
    // A passphrase is small letters only, and says nothing.
    let says = text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii())
        || text.ends_with(['.', '?', '!', ':'])
        || text.split(' ').any(|word| {
            [
                "your", "the", "a", "an", "is", "to", "must", "enter", "please", "password", "token", "key",
                "secret", "new", "for", "of", "and", "or", "with", "not", "you", "be", "has", "are", "in",
                "at", "no", "it", "was",
            ]
            .contains(&word)
        });
    if kind == "password" && words >= 3 && plain == words && !says {
        return false;
    }
    plain * 4 >= words * 3 && (digits <= 3 || words > 6)
}

/// The name of something that holds the secret: an identifier, a path, an anchor.
pub(super) fn is_reference(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let named = |from: usize| {
        bytes.len() > from
            && digits == 0
            && bytes[from..]
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':'))
    };
    match bytes.first() {
        // A YAML anchor or tag, an address in C.
        Some(b'*' | b'&' | b'!') if named(1) && !bytes[1..].iter().any(u8::is_ascii_uppercase) => {
            return true;
        }
        Some(b'!') if bytes.get(1).is_some_and(u8::is_ascii_uppercase) && named(1) => return true,
        Some(b'/' | b'~' | b'.') if text.contains('/') && !is_random(text, 24) => return true,
        _ => {}
    }
    // `default/my-app-tls`, `prod/database/main`
    if text.contains('/') && !text.contains('=') && !bytes.iter().any(u8::is_ascii_uppercase) {
        let words = text.split(['/', '-', '_', '.']).all(|part| {
            part.bytes().all(|byte| byte.is_ascii_lowercase())
                || part.len() < 5 && part.bytes().all(|b| b.is_ascii_digit())
        });
        if words {
            return true;
        }
    }
    // `api_key`, `self.token`, `expectedToken`, `ACCESS_TOKEN`: a name that tells in its turn.
    let path = text.contains(['_', '-', '.'])
        || bytes.windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
    named(0) && path && super::names::telling(text) != super::names::Telling::No
        || [
            "var.",
            "local.",
            "module.",
            "data.",
            "secrets.",
            "env.",
            "vault:",
            "arn:",
            "ssm:",
            "op://",
            "vault://",
            "file://",
            "projects/",
        ]
        .iter()
        .any(|begin| text.starts_with(begin))
            && !is_random(text.rsplit(['.', ':', '/']).next().unwrap_or_default(), 20)
}

/// One of our own markers, perhaps without its closing bracket, and nothing more.
pub(super) fn is_marker(text: &str) -> bool {
    text.strip_prefix(super::MARKER).is_some_and(|rest| {
        rest.trim_end_matches(']')
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'#'))
    })
}

/// Five or more fill characters in a row.
fn has_run(bytes: &[u8]) -> bool {
    bytes.windows(5).any(|window| {
        matches!(window[0], b'x' | b'X' | b'*' | b'.' | b'#') && window.iter().all(|byte| *byte == window[0])
    })
}

/// Said to be left out: nothing but fill characters, or a name in angle brackets.
pub(super) fn is_blank(text: &str) -> bool {
    let named = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    text.len() >= 5 && is_filler(text.as_bytes())
        || named.is_some_and(|name| {
            name.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_' | b' '))
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
        "user",
        "username",
        "apikey",
        "oauth",
        "oauth2",
        "header",
        "query",
        "cookie",
        "admin",
        "anonymous",
        "incorrect",
        "correct",
        "wrong",
        "expires",
        "passwort",
        "kennwort",
        "contrasena",
        "senha",
        "wachtwoord",
        "parola",
        "haslo",
        "never",
        "always",
        "manual",
        "auto",
        "not",
        "new",
        "old",
        "set",
        "get",
        "ref",
        "const",
        "function",
        "var",
        "let",
        "void",
        "final",
        "static",
        "class",
        "uuid",
        "int",
        "float",
        "date",
        "char",
        "varchar",
        "await",
        "return",
        "typeof",
        "async",
        "import",
        "require",
        "select",
        "textarea",
        "input",
    ];
    let text = text.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '|']);
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
    // Small letters alone, in no order that can be spoken.
    let unspeakable = digits < 2 && upper == 0 && lower >= 12 && is_unspeakable(text);
    variety(bytes) >= 7.min(least) && (mixed || jumbled || unspeakable) && !is_repeated(bytes)
}

/// Six consonants in a row.
pub(super) fn is_unspeakable(text: &str) -> bool {
    let consonant = |byte: &u8| {
        byte.is_ascii_alphabetic()
            && !matches!(byte.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u' | b'y')
    };
    text.as_bytes().windows(6).any(|six| six.iter().all(consonant))
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
    // `data["key"]`
    let indexed = text.find(['[', '{']).is_some_and(|at| {
        at > 1
            && bytes[..at].iter().all(|byte| is_name_byte(*byte))
            && !bytes[..at].iter().any(u8::is_ascii_digit)
            && (at + 1 == bytes.len() || matches!(bytes[at + 1], b'"' | b'\'' | b':' | b'$'))
    });
    // `data.vault_generic_secret.x.data[`
    let path = dotted || bytes.ends_with(b"[") && is_code(&text[..text.len() - 1]);
    called || path || indexed || text.starts_with("os.environ") || text.starts_with("process.env")
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'$')
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
