//! Settings under the names that they have now.
//!
//! Owns [`migrated`]. The idea: a table that moves as a whole is renamed where it stands; a setting that moves takes the
//! comments around it along, and one that finds no place there is kept at the end, so that nothing that somebody wrote
//! for the next reader is lost.
//!
//! Must not: read or write a file.

use toml_edit::{DocumentMut, Item, Key, RawString, Table};

use crate::config::RENAMED;
use crate::error::{Error, Kind, Result};

/// An old name and the new one.
pub(super) type Pair = (&'static str, &'static str);

/// The text with new names, and which were renamed. Line ends and the mark of an encoding stay as they are.
pub(super) fn migrated(text: &str, place: &str) -> Result<(String, Vec<Pair>)> {
    let (mark, plain) = text.strip_prefix('\u{feff}').map_or(("", text), |rest| ("\u{feff}", rest));
    let windows = plain.split_once('\n').is_some_and(|(first, _)| first.ends_with('\r'));
    let plain = plain.replace("\r\n", "\n");
    let (mut fresh, done) = renamed(&plain, place)?;
    if done.is_empty() {
        return Ok((text.to_owned(), done));
    }
    // what could not go along with its setting is kept at the end
    let mut left = comments(&plain);
    for kept in comments(&fresh) {
        if let Some(at) = left.iter().position(|one| *one == kept) {
            left.remove(at);
        }
    }
    if !left.is_empty() && !fresh.ends_with('\n') {
        fresh.push('\n');
    }
    fresh.extend(left.iter().flat_map(|one| [one.as_str(), "\n"]));
    if windows {
        fresh = fresh.replace('\n', "\r\n");
    }
    Ok((format!("{mark}{fresh}"), done))
}

fn renamed(text: &str, place: &str) -> Result<(String, Vec<Pair>)> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let line = error
            .span()
            .map_or(1, |span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
        Error::new(
            Kind::BadConfig,
            format!(
                "{place}, line {line}: this is not valid TOML; check quotes, brackets and the equals sign."
            ),
        )
    })?;
    let mut done = Vec::new();
    whole_tables(&mut document, &mut done);
    for (old, new) in RENAMED {
        if done.contains(&(*old, *new)) {
            continue;
        }
        let twice = || {
            Error::new(
                Kind::BadConfig,
                format!("{place}: `{old}` is called `{new}` now, and both are there; remove one of them."),
            )
        };
        let moved = match (old.split_once('.'), new.split_once('.')) {
            (Some((from, old_key)), Some((to, new_key))) => {
                entry(&mut document, (from, old_key), (to, new_key)).ok_or_else(twice)?
            }
            _ => section(document.as_table_mut(), old, new).ok_or_else(twice)?,
        };
        if moved {
            done.push((*old, *new));
        }
    }
    Ok((document.to_string(), done))
}

/// Tables of which every setting moves to one other table that is not there yet: the table is renamed where it stands.
fn whole_tables(document: &mut DocumentMut, done: &mut Vec<Pair>) {
    let mut tables: Vec<(&str, &str)> = RENAMED
        .iter()
        .filter_map(|(old, new)| Some((old.split_once('.')?.0, new.split_once('.')?.0)))
        .filter(|(from, to)| from != to)
        .collect();
    tables.dedup();
    for (from, to) in tables {
        let moves = |key: &str| {
            let (old, new) = (format!("{from}.{key}"), format!("{to}.{key}"));
            RENAMED.iter().find(|(known, other)| *known == old && *other == new)
        };
        let Some(table) = document.get(from).and_then(Item::as_table_like) else { continue };
        let pairs: Option<Vec<Pair>> = table.iter().map(|(key, _)| moves(key).copied()).collect();
        let Some(pairs) = pairs.filter(|pairs| !pairs.is_empty() && !document.contains_key(to)) else {
            continue;
        };
        if section(document.as_table_mut(), from, to) == Some(true) {
            done.extend(pairs);
        }
    }
}

/// Renames a table in its place, or puts what is in it to what is there under the new name. None if a setting is in both.
fn section(root: &mut Table, old: &str, new: &str) -> Option<bool> {
    let Some((key, mut item)) = root.remove_entry(old) else { return Some(false) };
    if !root.contains_key(new) {
        root.insert_formatted(&named(new, &key), item);
        return Some(true);
    }
    let mut above = remarks_of(&key, &item);
    let from = item.as_table_like_mut()?;
    let keys: Vec<String> = from.iter().map(|(key, _)| key.to_owned()).collect();
    for name in keys {
        let key = from.get_key_value(&name).map(|(key, _)| key.clone())?;
        put(root, new, key, from.remove(&name)?, &mut above)?;
    }
    Some(true)
}

/// Moves one setting. None if it is in both places.
fn entry(document: &mut DocumentMut, (from, old): (&str, &str), (to, new): (&str, &str)) -> Option<bool> {
    let Some(table) = document.get_mut(from).and_then(Item::as_table_like_mut) else { return Some(false) };
    if !table.contains_key(old) {
        return Some(false);
    }
    let formatted = table.get_key_value(old).map(|(key, _)| key.clone());
    let item = table.remove(old)?;
    let key = formatted.map_or_else(|| Key::new(new), |key| named(new, &key));
    let emptied = table.is_empty() && from != to;
    let gone = if emptied { document.remove_entry(from) } else { None };
    let mut above = gone.map_or_else(String::new, |(key, item)| remarks_of(&key, &item));
    document.entry(to).or_insert_with(|| Item::Table(Table::new()));
    put(document.as_table_mut(), to, key, item, &mut above)?;
    Some(true)
}

/// Puts a setting into a table, with the comments that stood above it. None if it is there already.
fn put(root: &mut Table, to: &str, mut key: Key, mut item: Item, above: &mut String) -> Option<()> {
    let target = root.get_mut(to)?;
    let inline = target.is_inline_table();
    let target = target.as_table_like_mut()?;
    if target.contains_key(key.get()) {
        return None;
    }
    if inline {
        // within braces there is no room for a comment
        above.push_str(&remarks_of(&key, &item));
        key = Key::new(key.get());
        if let Some(value) = item.as_value_mut() {
            value.decor_mut().clear();
        }
        target.entry_format(&key).or_insert(item);
        let mut outer = root.key_mut(to)?;
        let decor = outer.leaf_decor_mut();
        let prefix = text_of(decor.prefix());
        decor.set_prefix(format!("{prefix}{}", std::mem::take(above)));
        return Some(());
    }
    if !above.is_empty() {
        let decor = key.leaf_decor_mut();
        let prefix = text_of(decor.prefix());
        decor.set_prefix(format!("{}{prefix}", std::mem::take(above)));
    }
    target.entry_format(&key).or_insert(item);
    Some(())
}

/// A key of another name with the spaces and comments of the old one.
fn named(name: &str, like: &Key) -> Key {
    Key::new(name).with_leaf_decor(like.leaf_decor().clone()).with_dotted_decor(like.dotted_decor().clone())
}

/// The comments around a key and what it stands for, each on a line.
fn remarks_of(key: &Key, item: &Item) -> String {
    let own = match item {
        Item::Table(table) => Some(table.decor()),
        Item::Value(value) => Some(value.decor()),
        _ => None,
    };
    let decors = [Some(key.dotted_decor()), Some(key.leaf_decor()), own].into_iter().flatten();
    let texts = decors.flat_map(|decor| [decor.prefix(), decor.suffix()]).map(text_of);
    texts.flat_map(|text| comments(&text)).map(|one| one + "\n").collect()
}

fn text_of(raw: Option<&RawString>) -> String {
    raw.and_then(RawString::as_str).unwrap_or_default().to_owned()
}

/// Every comment of a text, in order.
fn comments(text: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['#', '"', '\'']) {
        rest = &rest[at..];
        if rest.starts_with('#') {
            let end = rest.find('\n').unwrap_or(rest.len());
            found.push(rest[..end].trim_end().to_owned());
            rest = &rest[end..];
            continue;
        }
        // a string: to its end, which an escaped quote is not
        let quote = &rest[..1];
        let long = quote.repeat(3);
        let mark = if rest.starts_with(&long) { long.as_str() } else { quote };
        rest = &rest[mark.len()..];
        while !rest.is_empty() && !rest.starts_with(mark) {
            let escaped = quote == "\"" && rest.starts_with('\\');
            let step = rest.char_indices().nth(if escaped { 2 } else { 1 });
            rest = &rest[step.map_or(rest.len(), |(at, _)| at)..];
        }
        rest = rest.get(mark.len()..).unwrap_or_default();
        if mark.len() == 3 {
            // up to two quotes may stand before the three that end it
            rest = rest.trim_start_matches(quote);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn fresh(text: &str) -> String {
        let (fresh, renamed) = migrated(text, "x.toml").unwrap();
        assert!(!renamed.is_empty());
        Config::parse(&fresh, "x.toml").unwrap_or_else(|error| panic!("{error}\n{fresh}"));
        assert!(migrated(&fresh, "x.toml").unwrap().1.is_empty(), "once is enough");
        fresh
    }

    #[test]
    fn comments_order_and_spaces_stay() {
        let text = "# ours\nprofile = \"staging\"   # for now\n\n# how we introduce ourselves\n[server]   # one\nname = \"ours\"  # two\n\
                    \n# deadlines\n[line]\ntimeout_seconds  =  7\n\n[audit]\nkeep = 3\n";
        let expected = text.replace("[server]", "[introduction]").replace("[line]", "[calls]");
        assert_eq!(fresh(text), expected);
    }

    #[test]
    fn settings_move_one_by_one_where_others_stay() {
        let text = "[server]\n# who we are\nname = \"ours\"\npage_size = 7\n\n[approvals]\nexpires_after = 600  # ten minutes\n";
        let done = fresh(text);
        for kept in
            ["# who we are", "page_size = 7", "expires_seconds = 600  # ten minutes", "name = \"ours\""]
        {
            assert!(done.contains(kept), "{kept}:\n{done}");
        }
        let config = Config::parse(&done, "x.toml").unwrap();
        assert_eq!((config.introduction.name.as_str(), config.server.page_size), ("ours", 7));
        assert_eq!(config.approvals.expires_seconds, 600);
    }

    #[test]
    fn every_form_of_a_table_is_read() {
        for text in [
            "line = { timeout_seconds = 7 }",
            "line.timeout_seconds = 7",
            "[line]\ntimeout_seconds = 7\n[calls]\ncoerce = false",
            "server = { name = 'ours' }",
            "server.name = 'ours'\nserver.page_size = 7",
            "[introduction]\ntitle = 'Ours'\n[server]\nname = 'ours'",
        ] {
            let config = Config::parse(&fresh(text), "x.toml").unwrap();
            let moved = config.calls.timeout_seconds == 7 || config.introduction.name == "ours";
            assert!(moved, "{text}");
        }
    }

    #[test]
    fn every_comment_stays_whatever_form_the_tables_have() {
        let olds = [
            "# a1\n[line] # a2\n# a3\ntimeout_seconds = 7 # a4\n# a5\n",
            "# a1\nline = { timeout_seconds = 7 } # a2\n",
            "# a1\nline.timeout_seconds = 7 # a2\n# a3\n",
            "# a1\n[line]# a2\n\n\n  # a3\n  timeout_seconds   =   7\n",
        ];
        let news = [
            "",
            "# b1\n[calls] # b2\n# b3 '#'\ncoerce = false # b4 \"\n# b5\n",
            "# b1\ncalls = { coerce = false } # b2\n",
            "# b1\ncalls.coerce = false # b2\n",
            "# b1\n[calls]\n# b2\n",
        ];
        let (top, end) = (
            "# top\nprofile = \"staging\" # it's one\n\n",
            "\n# end\n[log]\nlevel = 'info' # e1\n# e2\n[introduction]\ntitle = 'no # none'\n",
        );
        let mut tried = 0;
        for (old, new) in olds.iter().flat_map(|old| news.iter().map(move |new| (*old, *new))) {
            for [first, second] in [[old, new], [new, old]] {
                // what has no header stands before what has one
                if first.contains('[') && !second.is_empty() && !second.contains('[') {
                    continue;
                }
                let text = format!("{top}{first}\n{second}{end}");
                let done = fresh(&text);
                let (mut before, mut after) = (comments(&text), comments(&done));
                before.sort();
                after.sort();
                assert_eq!(before, after, "{text}\n-----\n{done}");
                assert_eq!(Config::parse(&done, "x").unwrap().calls.timeout_seconds, 7, "{done}");
                tried += 1;
            }
        }
        assert!(tried > 25, "{tried}");
        for text in [
            "# s1\n[server] # s2\n# s3\nname = 'ours' # s4\n# s5\n[introduction] # i1\n# i2\ntitle = 'T' # i3\n",
            "# s1\nserver = { name = 'ours' } # s2\n# i1\nintroduction = { title = 'T' } # i2\n",
            "# s1\n[server] # s2\n# s3\npage_size = 7 # s4\n# s5\nname = 'ours' # s6\n",
            "[approvals] # a1\n# a2\nexpires_after = 600 # a3\n",
        ] {
            let done = fresh(text);
            assert!(comments(text).iter().all(|one| done.contains(one)), "{text}\n-----\n{done}");
        }
        // near to what they are about
        let done = fresh("[calls]\ncoerce = false\n# why\n[line]\n# ten\ntimeout_seconds = 7\n");
        assert_eq!(done, "[calls]\ncoerce = false\n# why\n# ten\ntimeout_seconds = 7\n");
    }

    #[test]
    fn line_ends_and_the_mark_of_the_encoding_stay() {
        let text = "\u{feff}# ours\r\n[line] # one\r\ntimeout_seconds = 7\r\n\r\n[audit]\r\nkeep = 3\r\n";
        assert_eq!(migrated(text, "x.toml").unwrap().0, text.replace("[line]", "[calls]"));
        Config::parse(&migrated(text, "x.toml").unwrap().0, "x.toml").unwrap();
        let text = "\u{feff}[calls]\r\ntimeout_seconds = 7\r\n";
        assert_eq!(migrated(text, "x.toml").unwrap(), (String::from(text), Vec::new()));
    }

    #[test]
    fn a_comment_is_told_from_what_only_looks_like_one() {
        let text = "a = '#no' # 1\nb = \"\\\"#no\" # 2\nc = \"\"\"\n#no \"\" \\\"\"\"\"\" # 3\nd = '''#no''''' # 4\n\
                    # it's \"5\n#6";
        assert_eq!(comments(text), ["# 1", "# 2", "# 3", "# 4", "# it's \"5", "#6"]);
    }

    #[test]
    fn what_is_said_twice_is_refused_and_what_is_up_to_date_is_left_alone() {
        let error = migrated("[line]\ncoerce = true\n[calls]\ncoerce = false", "x.toml").unwrap_err();
        assert!(error.message().contains("`line`") && error.message().contains("`calls`"), "{error}");
        let error = migrated("[approvals]\nexpires_after = 1\nexpires_seconds = 2", "x.toml").unwrap_err();
        assert!(error.message().contains("both"), "{error}");
        let text = "[calls]\ntimeout_seconds = 7\n[server]\npage_size = 7\n";
        assert_eq!(migrated(text, "x.toml").unwrap(), (String::from(text), Vec::new()));
        assert!(migrated("x = = hunter2", "x.toml").unwrap_err().message().contains("line 1"));
    }
}
