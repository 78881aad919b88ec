//! What an operation does to the world, as far as its document shows.
//!
//! Owns [`effect`]. The idea: the method decides, unless a word in the path or the id says that something is lost; a
//! word is a word (`presets` and `deletedItems` say nothing), and template variables are no words.
//!
//! Must not: believe a description.

use crate::policy::Effect;

/// Words that say something is removed or cannot be undone.
const DESTROYING: [&str; 6] = ["delete", "wipe", "revoke", "terminate", "reset", "purge"];

/// The effect of an operation.
pub(super) fn effect(method: &str, path: &str, id: &str) -> Effect {
    let plain = |word: &str| word.trim_matches(|c: char| c.is_ascii_digit()).to_owned();
    let says = |text: &str| words(text).iter().any(|word| DESTROYING.contains(&plain(word).as_str()));
    if method == "DELETE" || says(&without_variables(path)) || says(id) {
        Effect::Destroy
    } else if matches!(method, "GET" | "HEAD") {
        Effect::Read
    } else {
        Effect::Write
    }
}

/// The words of a name: `resetPasscode`, `XMLReset2`, `bulk-delete`.
pub(in crate::connectors) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let characters: Vec<char> = text.chars().collect();
    for (at, character) in characters.iter().enumerate() {
        if !character.is_ascii_alphanumeric() {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| characters.get(at)).copied().unwrap_or(' ');
        let after = characters.get(at + 1).copied().unwrap_or(' ');
        let begins = character.is_ascii_uppercase()
            && (before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || (before.is_ascii_uppercase() && after.is_ascii_lowercase()));
        if begins && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        word.push(character.to_ascii_lowercase());
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn without_variables(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut depth = 0_usize;
    for character in path.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            character if depth == 0 => out.push(character),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_words_decide() {
        for (method, path, id, expected) in [
            ("GET", "/widgets", "listWidgets", Effect::Read),
            ("HEAD", "/widgets", "headWidgets", Effect::Read),
            ("GET", "/directory/deletedItems/{resetId}", "listDeletedItems", Effect::Read),
            ("GET", "/presets", "getPresets", Effect::Read),
            ("POST", "/widgets/search", "searchWidgets", Effect::Write),
            ("DELETE", "/widgets/{id}", "x", Effect::Destroy),
            ("POST", "/devices/{id}/microsoft.graph.wipe", "a", Effect::Destroy),
            ("POST", "/users/{id}/revokeSignInSessions", "a", Effect::Destroy),
            ("POST", "/users/{id}", "user_reset-password", Effect::Destroy),
            ("PATCH", "/x", "bulkDELETEThings", Effect::Destroy),
            ("POST", "/x/purge_all", "x", Effect::Destroy),
            ("GET", "/x/delete", "x", Effect::Destroy),
            ("POST", "/sessions/terminate2", "x", Effect::Destroy),
            ("PUT", "/asset/{delete}", "x", Effect::Write),
        ] {
            assert_eq!(effect(method, path, id), expected, "{method} {path} {id}");
        }
    }

    #[test]
    fn names_fall_into_words() {
        assert_eq!(words("getXMLPortByUUID2Name"), ["get", "xml", "port", "by", "uuid2", "name"]);
        assert_eq!(words("a.b_c-d/e"), ["a", "b", "c", "d", "e"]);
    }
}
