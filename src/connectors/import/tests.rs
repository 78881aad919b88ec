//! What a document becomes, and what its words cannot do.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::json::{Value, json};

fn imported(document: &Value, options: &Options) -> Result<Import> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.json");
    std::fs::write(&path, document.to_string()).unwrap();
    Import::of(&path, options)
}

fn document() -> Value {
    let list = json!({"type": "object", "properties": {
        "data": {"type": "array", "items": {"type": "object", "properties": {
            "id": {"type": "string"}, "wifi_code": {"type": "string", "format": "password"}}}},
        "next_cursor": {"type": "string"}}});
    let answer = |schema: &Value| json!({"200": {"description": "", "content": {"application/json": {"schema": schema}}}});
    let cursor = json!({"name": "cursor", "in": "query", "schema": {"type": "string"}});
    let mut paths = json!({
        "/rooms": {"get": {"operationId": "listRooms", "tags": ["Rooms"], "parameters": [cursor], "responses": answer(&list)},
            "post": {"operationId": "createRoom", "tags": ["Rooms"], "responses": {"204": {"description": ""}}}},
        "/rooms/{id}": {"delete": {"operationId": "deleteRoom", "tags": ["Rooms"], "responses": {"204": {"description": ""}}}},
        "/rooms/search": {"post": {"operationId": "searchRooms", "tags": ["Rooms"], "responses": answer(&json!({}))}},
        "/keys": {"post": {"operationId": "createKey", "tags": ["API Keys"], "responses": {"204": {"description": ""}}}},
        "/status": {"get": {"operationId": "getStatus", "tags": ["Meta"], "responses": answer(&json!({"type": "object"}))}},
    });
    for at in 0..12 {
        paths[format!("/doors/{at}")] = json!({"get": {"operationId": format!("getDoor{at}"), "tags": ["Doors"], "responses": answer(&json!({}))}});
    }
    json!({
        "openapi": "3.1.0", "info": {"title": "House", "version": "2"}, "paths": paths,
        "servers": [{"url": "https://api.house.example/v1"}],
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}, "security": [{"token": []}],
    })
}

#[test]
fn what_a_document_shows_becomes_settings_and_what_it_claims_becomes_remarks() {
    let import = imported(&document(), &Options::default()).unwrap();
    let manifest = &import.manifest;
    assert_eq!((manifest.name.as_str(), manifest.document.as_deref()), ("house", Some("api.json")));
    assert_eq!(manifest.base, None, "a document never decides where requests go");
    assert_eq!(manifest.credentials, crate::connectors::manifest::Access::None);
    assert_eq!(manifest.health.as_deref(), Some("getStatus"));
    let sets: Vec<(&str, bool)> =
        manifest.toolsets.iter().map(|set| (set.name.as_str(), set.default)).collect();
    assert_eq!(sets, [("rooms", true), ("api-keys", false), ("meta", true), ("doors", true)]);
    let list = manifest.about("listRooms").unwrap();
    let pages = list.pages.as_ref().unwrap();
    assert_eq!((pages.cursor.as_deref(), pages.send.as_deref()), (Some("/next_cursor"), Some("cursor")));
    assert_eq!(list.redact, ["/data/*/wifi_code"]);
    assert_eq!(manifest.about("deleteRoom").unwrap().effect, Some(Effect::Destroy));
    assert_eq!(manifest.about("searchRooms").unwrap().effect, None);
    assert!(manifest.about("createRoom").is_none());
    for line in [
        "# The document names https://api.house.example/v1",
        "# base = \"https://api.house.example/v1\"",
        "# from = \"env:HOUSE_TOKEN\"",
        "# DELETE /rooms/{id}: destroys",
    ] {
        assert!(import.text.lines().any(|own| own == line), "{line}\n{}", import.text);
    }
    let report = &import.report;
    assert_eq!((report.operations, report.effects.destroy, report.effects.write), (18, 1, 3));
    assert_eq!(report.named, ["https://api.house.example/v1"]);
    assert_eq!(report.toolsets.iter().map(|set| set.tools).sum::<usize>(), 18);
}

#[test]
fn what_is_proposed_holds_when_somebody_takes_the_hash_away() {
    let mut document = document();
    document["components"]["securitySchemes"] = json!({
        "a": {"type": "http", "scheme": "bearer"}, "b": {"type": "http", "scheme": "basic"},
        "c": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "d": {"type": "apiKey", "in": "query", "name": "key"},
        "f": {"type": "oauth2", "flows": {"authorizationCode": {"tokenUrl": "https://api.house.example/token"}}},
        "g": {"type": "mutualTLS"},
        "e": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "https://api.house.example/token",
            "scopes": {"read": "", "write": ""}}}},
    });
    let text = imported(&document, &Options::default()).unwrap().text;
    let blocks: Vec<&str> = text.split("# [credentials]\n").skip(1).collect();
    assert_eq!(blocks.len(), 7);
    for block in blocks {
        let keys = block.lines().take_while(|line| line.contains(" = ")).map(|line| &line[2..]);
        let keys = keys.collect::<Vec<_>>().join("\n");
        let whole = format!("name = 'x'\nbase = 'https://api.house.example'\n[credentials]\n{keys}");
        Manifest::parse(&whole, "x").unwrap();
    }
    let base = text.lines().find_map(|line| line.strip_prefix("# base = ")).unwrap();
    Manifest::parse(&format!("name = 'x'\nbase = {base}"), "x").unwrap();
}

#[test]
fn plain_http_and_odd_names_are_refused_unless_meant() {
    let at = |base: &str, plain_http: bool| Options {
        base: Some(Url::parse(base).unwrap()),
        plain_http,
        ..Options::default()
    };
    for (base, plain, fits) in [
        ("https://a.example/v1", false, true),
        ("http://a.example", false, false),
        ("http://a.example", true, true),
        ("http://127.0.0.1:8080", false, true),
        ("http://localhost:8080", false, true),
        ("http://localhost.a.example", false, false),
        ("ftp://a.example", false, false),
        ("https://u:p@a.example", false, false),
        ("https://a.example/?x=1", false, false),
    ] {
        assert_eq!(imported(&document(), &at(base, plain)).is_ok(), fits, "{base}");
    }
    for name in ["", "a b", "../x", "equinix", &"a".repeat(33)] {
        let options = Options { name: Some(name.to_owned()), ..Options::default() };
        assert!(imported(&document(), &options).is_err(), "{name}");
    }
}

#[test]
fn files_that_a_document_consists_of_come_along_and_none_takes_the_manifests_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("parts")).unwrap();
    let main = json!({"openapi": "3.1.0", "info": {"title": "", "version": "1"},
        "paths": {"/a": {"$ref": "parts/a.yaml"}, "/b": {"$ref": "../out.yaml"}}});
    std::fs::write(folder.path().join("main.json"), main.to_string()).unwrap();
    std::fs::write(folder.path().join("parts/a.yaml"), "get: {operationId: a, responses: {}}").unwrap();
    let import = Import::of(&folder.path().join("main.json"), &Options::default()).unwrap();
    assert_eq!(import.manifest.name, "main");
    let names: Vec<&Path> = import.files.iter().map(|(_, to)| to.as_path()).collect();
    assert_eq!(names, [Path::new("main.json"), Path::new("parts/a.yaml")]);
    assert!(import.report.unmapped[0].reason.contains("outside"));
    std::fs::rename(folder.path().join("main.json"), folder.path().join("connector.toml")).unwrap();
    let refused = Import::of(&folder.path().join("connector.toml"), &Options::default()).unwrap_err();
    assert!(refused.message().contains("same name"));
}

#[test]
fn media_types_are_told_apart_up_to_a_bound_and_one_without_a_name_is_not_told() {
    let get = |at: usize| {
        let media = if at == 0 { String::new() } else { format!("text/x-{at}") };
        let answer = json!({"200": {"description": "", "content": {media: {}}}});
        (format!("/f{at}"), json!({"get": {"operationId": format!("f{at}"), "responses": answer}}))
    };
    let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"},
        "paths": Value::Object((0..MEDIA + 50).map(get).collect())});
    let answers = imported(&document, &Options::default()).unwrap().report.answers;
    assert_eq!((answers.other, answers.media.len()), (MEDIA + 50, MEDIA));
    assert!(!answers.media.contains_key(""));
}

/// Words that try to leave their place.
fn words() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "\n",
        "\r\n",
        "\"",
        "\"\"\"",
        "'''",
        "\\",
        "]",
        "[[operation]]\nid = \"x\"",
        "\nbase = \"https://evil.example\"\n",
        "#",
        "\u{2028}",
        "\u{85}",
        "\u{202e}",
        "\u{0}",
        "\t",
        "=",
        ".",
        "{",
        "\\u000a",
        "delete",
        "é",
        "\u{1f600}",
        "[credentials]\nkind = \"none\"",
        "hidden = true",
    ]);
    prop::collection::vec(prop_oneof![odd.prop_map(str::to_owned), "[ -~]{0,8}"], 1..6)
        .prop_map(|parts| parts.concat())
}

#[test]
fn each_reason_is_named_where_nothing_can_be_used_and_the_flag_where_it_is_to_blame() {
    let operation =
        |method: &str| json!({method: {"operationId": method, "parameters": [{"$ref": "#/nowhere"}]}});
    let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"},
        "paths": {"/a": operation("get"), "/b": operation("delete")}});
    let said = imported(&document, &Options::default()).unwrap_err().message().to_owned();
    assert!(said.contains("\n  GET /a: ") && said.contains("\n  DELETE /b: "), "{said}");
    for base in ["https://u:hunter2@a.example", "https://a.example/?x=1", "ftp://a.example"] {
        let options = Options { base: Some(Url::parse(base).unwrap()), ..Options::default() };
        let said = imported(&self::document(), &options).unwrap_err().message().to_owned();
        assert!(said.starts_with("--base-url") && !said.contains("hunter2"), "{said}");
    }
    let named = Options { name: Some(String::from("builtin")), ..Options::default() };
    assert!(imported(&self::document(), &named).unwrap_err().message().contains("--name"));
    let mut titled = self::document();
    titled["info"]["title"] = json!("Search");
    assert_eq!(imported(&titled, &Options::default()).unwrap().manifest.name, "search-api");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    // `Import::of` compares what it wrote with what it meant; here nothing that a document says may make them differ.
    #[test]
    fn no_words_of_a_document_become_a_setting(
        title in words(), id in words(), tag in words(), path in words(), server in words(), scheme in words(),
        member in words(), parameter in words(), rate in words(),
    ) {
        let mut document = document();
        document["info"] = json!({"title": title, "version": title, format!("x-rate-limit{rate}"): 7});
        document["servers"] = json!([{"url": server}, {"url": format!("https://a.example/{server}")}]);
        document["components"]["securitySchemes"] = json!({
            scheme.clone(): {"type": "apiKey", "in": "query", "name": scheme},
            format!("{scheme}2"): {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": server, "scopes": {title.clone(): ""}}}},
        });
        document["tags"] = json!([{"name": tag, "description": title}]);
        let schema = json!({"type": "object", "properties": {
            member.clone(): {"type": "array", "items": {"properties": {member.clone(): {"format": "password"}}}},
            "next_cursor": {"type": "string"}}});
        document["paths"][format!("/odd/{path}")] = json!({"get": {"operationId": id, "tags": [tag],
            "parameters": [{"name": parameter, "in": "query"}, {"name": "cursor", "in": "query"}],
            "responses": {"200": {"content": {"application/json": {"schema": schema}}}}}});
        let import = imported(&document, &Options::default()).unwrap();
        prop_assert_eq!(import.manifest.base, None);
        prop_assert!(import.manifest.operations.iter().all(|one| !one.hidden));
        for line in import.text.lines() {
            let known = line.is_empty() || line.starts_with("# ") || line == "#"
                || ["[quota]", "[[toolset]]", "[[operation]]", "[response]", "drop = [", "]"].contains(&line)
                || line.starts_with("    # ") || line.starts_with("    \"**") || line.starts_with("    \"*.**.")
                || ["name", "title", "document", "health", "per_minute", "burst", "description", "tags", "paths", "default",
                    "id", "effect", "pages", "redact"].iter().any(|key| line.starts_with(&format!("{key} = ")));
            prop_assert!(known, "{line:?}");
        }
    }
}
