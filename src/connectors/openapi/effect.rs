//! What an operation does to the world, as far as its document shows.
//!
//! Owns [`effect`]. The idea: the method decides, unless a word in the path or the id says that something is lost; a
//! word is a word (`presets` and `deletedItems` say nothing), and template variables are no words. Where a parameter
//! chooses what is done (`?action=`), what it can say counts as the path does.
//!
//! Must not: believe a description.

use crate::connectors::document::Parameter;
use crate::json::Value;
use crate::policy::Effect;

/// Words that say something is removed or cannot be undone.
const DESTROYING: [&str; 6] = ["delete", "wipe", "revoke", "terminate", "reset", "purge"];
/// First words of what only looks.
pub(in crate::connectors) const LOOKING: [&str; 18] = [
    "get",
    "list",
    "search",
    "query",
    "find",
    "fetch",
    "lookup",
    "count",
    "preview",
    "describe",
    "validate",
    "check",
    "calculate",
    "estimate",
    "read",
    "verify",
    "compare",
    "filter",
];
/// What may be looked at is looked at too where one word says no more than that: `?action=status`.
const NOUNS: [&str; 12] = [
    "status", "info", "show", "view", "help", "ping", "version", "health", "download", "export", "head",
    "stat",
];
/// Names of parameters that choose what is done.
const SELECTORS: [&str; 11] = [
    "action",
    "act",
    "op",
    "operation",
    "cmd",
    "command",
    "do",
    "method",
    "function",
    "soapaction",
    "xamztarget",
];

/// The effect of an operation; `fragment` is what its path key has behind `#`.
pub(super) fn effect(method: &str, path: &str, fragment: &str, id: &str, parameters: &[Parameter]) -> Effect {
    let choices: Vec<(bool, Vec<String>)> = parameters
        .iter()
        .map(|it| (selects(&it.name), said(it)))
        .chain(
            fragment
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (selects(name), vec![value.to_owned()])),
        )
        .collect();
    let loses = |(selects, values): &(bool, Vec<String>)| {
        (*selects || values.len() == 1) && values.iter().any(|value| destroys(value))
    };
    if method == "DELETE"
        || destroys(&without_variables(path))
        || destroys(id)
        || destroys(&without_variables(fragment))
        || choices.iter().any(loses)
    {
        Effect::Destroy
    } else if !matches!(method, "GET" | "HEAD")
        || choices.iter().any(|(selects, values)| *selects && !values.iter().all(|value| looks(value)))
    {
        Effect::Write
    } else {
        Effect::Read
    }
}

fn destroys(text: &str) -> bool {
    let plain = |word: &str| word.trim_matches(|c: char| c.is_ascii_digit()).to_owned();
    words(text).iter().any(|word| DESTROYING.contains(&plain(word).as_str()))
}

/// Whether a value of a parameter that chooses says that it only looks.
fn looks(value: &str) -> bool {
    // `Service.GetThing`: the verb comes after the name of the service.
    let last = value.rsplit(['.', '/', '#', ':']).next().unwrap_or(value);
    let words = words(last);
    let first = words.first().map(String::as_str).unwrap_or_default();
    LOOKING.contains(&first) || (words.len() == 1 && NOUNS.contains(&first))
}

fn selects(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    SELECTORS.contains(&name.to_ascii_lowercase().as_str())
}

/// What a parameter can say, where it must be given and its document lists it; nothing if anything.
fn said(parameter: &Parameter) -> Vec<String> {
    if let Some(fixed) = &parameter.fixed {
        return vec![fixed.clone()];
    }
    if !parameter.required {
        return Vec::new();
    }
    let schema = parameter.schema.root();
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    listed.chain(schema.get("const")).filter_map(Value::as_str).map(str::to_owned).collect()
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
    use crate::json::json;

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
            assert_eq!(effect(method, path, "", id, &[]), expected, "{method} {path} {id}");
        }
    }

    #[test]
    fn what_chooses_what_is_done_counts_as_the_path_does() {
        let document = |key: &str, schema: Value| {
            let parameter = json!({"name": "level", "in": "query", "required": true, "schema": schema});
            let operation = json!({"parameters": [parameter], "responses": {"200": {"description": "ok"}}});
            let text = json!({
                "openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": {key: {"get": operation}}
            });
            let read = crate::connectors::openapi::load(text.to_string().as_bytes(), None).unwrap();
            read.operations[0].effect
        };
        let plain = json!({"type": "string"});
        for (key, expected) in [
            ("/rpc?action=deleteUser", Effect::Destroy),
            ("/rpc?method=purge", Effect::Destroy),
            ("/rpc?action=wipe_all", Effect::Destroy),
            ("/rpc?op=restart", Effect::Write),
            ("/rpc#Action=AttachUserPolicy", Effect::Write),
            ("/rpc#Action=DescribeInstances", Effect::Read),
            ("/rpc?X-Amz-Target=Service_1.ListThings", Effect::Read),
            ("/rpc?action=status", Effect::Read),
            ("/rpc?version=2", Effect::Read),
            ("/rpc#delete", Effect::Destroy),
            ("/rpc#variant", Effect::Read),
        ] {
            assert_eq!(document(key, plain.clone()), expected, "{key}");
        }
        let one = json!({"type": "string", "enum": ["deleteAll"]});
        assert_eq!(document("/x", one), Effect::Destroy);
        // a filter of what was done does nothing
        let many = json!({"type": "string", "enum": ["created", "delete"]});
        assert_eq!(document("/x", many), Effect::Read);
    }

    #[test]
    fn names_fall_into_words() {
        assert_eq!(words("getXMLPortByUUID2Name"), ["get", "xml", "port", "by", "uuid2", "name"]);
        assert_eq!(words("a.b_c-d/e"), ["a", "b", "c", "d", "e"]);
    }
}
