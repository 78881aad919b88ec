//! The `Link` header (RFC 8288).
//!
//! Owns [`next`]. The idea: of all links the first that leads to the next page of this very answer.
//!
//! Must not: follow it, or read more than a few thousand bytes.

use crate::http::HeaderMap;

/// Bytes of a header that are read.
const LONGEST: usize = 16 << 10;

/// The address of the next page, as it stands in the header.
pub(super) fn next(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all("link");
    all.iter().filter_map(|value| value.to_str().ok()).filter(|text| text.len() <= LONGEST).find_map(of)
}

fn of(text: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (address, after) = rest.strip_prefix('<')?.split_once('>')?;
        let (parameters, after) = parameters(after);
        rest = after;
        let of = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let leads = of("rel")
            .is_some_and(|rel| rel.split_ascii_whitespace().any(|one| one.eq_ignore_ascii_case("next")));
        // a link with an anchor is about something else
        if leads && of("anchor").is_none() {
            return Some(address.trim().to_owned());
        }
    }
}

/// The parameters of a link, and what comes after its comma.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(after) = rest.strip_prefix(';') {
        let after = after.trim_start();
        let end = after.find(['=', ';', ',']).unwrap_or(after.len());
        let name = after[..end].trim().to_ascii_lowercase();
        rest = &after[end..];
        let mut value = String::new();
        if let Some(given) = rest.strip_prefix('=') {
            (value, rest) = given.trim_start().strip_prefix('"').map_or_else(|| token(given), quoted);
        }
        found.push((name, value));
        rest = rest.trim_start();
    }
    let after = rest.find(',').map_or("", |at| &rest[at..]);
    (found, after)
}

fn token(text: &str) -> (String, &str) {
    let text = text.trim_start();
    let end = text.find([';', ',']).unwrap_or(text.len());
    (text[..end].trim().to_owned(), &text[end..])
}

fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_is_found_among_others() {
        for (text, wanted) in [
            (
                "<https://a.example/x?page=2>; rel=\"next\", <https://a.example/x?page=9>; rel=\"last\"",
                Some("https://a.example/x?page=2"),
            ),
            ("</x?page=1>; rel=prev, </x?page=3>;rel=next", Some("/x?page=3")),
            ("<?a=1,2&b=x;y>; title=\"one, two; <three>\"; rel=\"alternate Next\"", Some("?a=1,2&b=x;y")),
            ("<https://a.example/a>; rel=\"next\"; anchor=\"#other\"", None),
            ("<https://a.example/a>; title=\"rel=next\"", None),
            ("<https://a.example/a>; rel=\"nextish\"", None),
            ("https://a.example/a; rel=next", None),
            ("<https://a.example/a", None),
            ("", None),
        ] {
            assert_eq!(of(text).as_deref(), wanted, "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.append("link", "</a>; rel=first".parse().unwrap());
        headers.append("link", "</b>; rel=next".parse().unwrap());
        assert_eq!(next(&headers).as_deref(), Some("/b"));
    }
}
