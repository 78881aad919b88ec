//! `bartizan import`, overlays and toolsets, from outside: what is typed, what it leaves behind, what is then offered.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use bartizan::app::{App, Extra};
use bartizan::catalog::List;
use bartizan::config::Config;
use bartizan::connectors::import::{Import, Options};
use bartizan::connectors::manifest::{Access, Manifest, Way};
use bartizan::error::Kind;
use bartizan::json::{Map, Value, json};
use bartizan::pipeline::Outcome;

use crate::connectors::documents::{contents, shared};
use crate::connectors::rig::Rig;
use crate::loopback::answer;

/// A folder with a document and a configuration.
struct Place(tempfile::TempDir);

fn house() -> Value {
    let answer =
        json!({"200": {"description": "", "content": {"application/json": {"schema": {"type": "object"}}}}});
    let mut paths = json!({
        "/keys": {"get": {"operationId": "listKeys", "tags": ["API Keys"], "responses": answer}},
        "/status": {"get": {"operationId": "getStatus", "tags": ["Meta"], "responses": answer}},
        "/rooms/{id}": {"delete": {"operationId": "deleteRoom", "tags": ["Rooms"], "responses": {"204": {"description": ""}}}},
    });
    for at in 0..12 {
        paths[format!("/doors/{at}")] =
            json!({"get": {"operationId": format!("getDoor{at}"), "tags": ["Doors"], "responses": answer}});
    }
    json!({"openapi": "3.1.0", "info": {"title": "House", "version": "2"}, "paths": paths,
        "servers": [{"url": "https://evil.example"}]})
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("house.json"), house().to_string()).unwrap();
        let place = Self(folder);
        place.write("bartizan.toml", "state_dir = 'state'\n");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Types a command whose words that begin with `@` are files here, and returns its exit code.
    fn run(&self, words: &[&str]) -> u8 {
        let word = |word: &&str| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => OsString::from(word),
        };
        bartizan::cli::main([OsString::from("bartizan")].into_iter().chain(words.iter().map(word)), None)
    }

    /// Everything that is in the folder.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    async fn app(&self, more: &str) -> bartizan::error::Result<Arc<App>> {
        self.write("bartizan.toml", &format!("state_dir = 'state'\n{more}"));
        Box::pin(App::build(Config::load(&self.path("bartizan.toml"))?, Extra::default())).await
    }
}

fn tools(app: &App) -> Vec<String> {
    let now = app.catalog().now();
    now.list(List::Tools).iter().map(|entry| entry.spec().name.clone()).collect()
}

#[test]
fn a_folder_is_written_whole_and_nothing_that_is_there_is_touched_unasked() {
    let place = Place::new();
    assert_eq!(place.run(&["import", "@house.json", "--into", "@made/house", "--json"]), 0);
    let manifest = Manifest::read(&place.path("made/house")).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.base), ("house", None));
    assert_eq!(std::fs::read(place.path("made/house/house.json")).unwrap(), house().to_string().into_bytes());
    place.write("made/house/connector.toml", "name = 'mine'");
    place.write("made/house/notes.txt", "keep");
    assert_eq!(place.run(&["import", "@house.json", "--into", "@made/house"]), 2);
    assert_eq!(std::fs::read_to_string(place.path("made/house/connector.toml")).unwrap(), "name = 'mine'");
    let again = ["import", "@house.json", "--into", "@made/house", "--name", "home", "--force"];
    assert_eq!(place.run(&again), 0);
    assert_eq!(Manifest::read(&place.path("made/house")).unwrap().name, "home");
    assert_eq!(std::fs::read_to_string(place.path("made/house/notes.txt")).unwrap(), "keep");
    std::fs::create_dir(place.path("empty")).unwrap();
    assert_eq!(place.run(&["import", "@house.json", "--into", "@empty"]), 0, "an empty folder holds nothing");

    let before = place.names();
    place.write("broken.json", "{");
    place.write("none.json", &json!({"openapi": "3.1.0", "info": {}, "paths": {}}).to_string());
    place.write("wrong.yaml", "overlay: 1.0.0");
    for words in [
        &["import", "@nowhere.json", "--into", "@x"][..],
        &["import", "@broken.json", "--into", "@x"],
        &["import", "@none.json", "--into", "@x"],
        &["import", "https://a.example/x.json", "--into", "@x"],
        &["import", "@house.json", "--into", "@x", "--base-url", "http://a.example"],
        &["import", "@house.json", "--into", "@x", "--base-url", "nonsense"],
        &["import", "@house.json", "--into", "@x", "--overlay", "@wrong.yaml"],
        &["import", "@house.json", "--into", "@house.json"],
    ] {
        assert_eq!(place.run(words), 2, "{words:?}");
    }
    let after: Vec<String> = place.names().into_iter().filter(|name| !name.contains('.')).collect();
    let before: Vec<String> = before.into_iter().filter(|name| !name.contains('.')).collect();
    assert_eq!(after, before, "what failed leaves nothing behind");
}

#[test]
fn what_was_imported_is_proven_without_a_network_and_tried_against_a_stand_in() {
    let place = Place::new();
    assert_eq!(place.run(&["import", "@house.json", "--into", "@house"]), 0);
    let check = |more: &[&str]| {
        place.run(&[&["check", "--connector", "@house", "--config", "@bartizan.toml"], more].concat())
    };
    assert_eq!(check(&[]), 2, "where requests go was not said, and the document does not say it");
    assert_eq!(check(&["--practice", "--health"]), 0);
    let base = ["import", "@house.json", "--into", "@house", "--force", "--base-url", "https://a.example/v1"];
    assert_eq!(place.run(&base), 0);
    assert_eq!(check(&[]), 0);
    assert_eq!(
        check(&["--practice", "--health", "--toolsets", "house.doors"]),
        2,
        "no health check is offered"
    );
    assert_eq!(place.run(&["tools", "--connector", "@house", "--config", "@bartizan.toml"]), 0);
}

#[tokio::test]
async fn toolsets_part_a_connector_and_the_whole_stands_for_its_parts() {
    let place = Place::new();
    let base = ["import", "@house.json", "--into", "@house", "--base-url", "https://a.example"];
    assert_eq!(place.run(&base), 0);
    let connector = "[[connector]]\npath = 'house'\n";
    let with = |sets: &str| format!("policy = 'admin'\n[offer]\ntoolsets = [{sets}]\n{connector}");
    let app = place.app(connector).await.unwrap();
    assert_eq!(tools(&app).len(), 14, "all but those of keys");
    assert_eq!(app.unasked().iter().collect::<Vec<_>>(), [(&String::from("house.api-keys"), &1)]);
    let now = app.catalog().now();
    assert_eq!(now.tool("get_door0").unwrap().spec().toolset, "house.doors");
    for (sets, expected) in [
        ("'house.api-keys'", &["list_keys"][..]),
        ("'house.api-keys', 'house.rooms'", &["list_keys", "delete_room"]),
    ] {
        let app = place.app(&with(sets)).await.unwrap();
        let seen: Vec<String> = tools(&app)
            .into_iter()
            .filter(|name| {
                let now = app.catalog().now();
                app.line().visible(&app.process_principal(), now.tool(name).unwrap().spec())
            })
            .collect();
        assert_eq!(seen, expected, "{sets}");
    }
    for whole in ["'house'", "'all'"] {
        assert_eq!(tools(&place.app(&with(whole)).await.unwrap()).len(), 15, "{whole}");
    }
    let refused = place.app(&with("'house.dors'")).await.err().unwrap();
    assert!(refused.message().contains("house.doors") && refused.message().contains("house.api-keys"));

    // a rule for the whole holds for its parts
    place.write(
        "ours.cedar",
        "permit(principal, action, resource);\nforbid(principal, action, resource in Toolset::\"house\");",
    );
    let app = place.app(&format!("policy = 'ours.cedar'\n{connector}")).await.unwrap();
    let refused = app.call("get_status", Map::new(), &app.context()).await.err().unwrap();
    assert_eq!(refused.kind(), Kind::NoSuchTool, "{refused}");

    // a reload builds what is asked for then
    let app = place.app(&with("'house.rooms'")).await.unwrap();
    place.write("bartizan.toml", &format!("state_dir = 'state'\n{}", with("'house.api-keys'")));
    app.reload(Config::load(&place.path("bartizan.toml"))).await.unwrap();
    assert!(tools(&app).contains(&String::from("list_keys")));
    assert!(app.unasked().is_empty());
}

#[tokio::test]
async fn overlays_are_applied_whenever_a_document_is_loaded_and_choose_nothing_that_it_may_not() {
    let place = Place::new();
    place.write(
        "ours.yaml",
        "overlay: 1.0.0\ninfo: {title: ours, version: 1}\nactions:\n\
         - target: $.paths['/status'].get\n  update: {operationId: how, summary: How it is., x-effect: read}\n\
         - target: $.paths['/rooms/{id}'].delete\n  update: {x-effect: read, operationId: readRoom}\n\
         - target: $.paths['/keys']\n  remove: true\n\
         - target: $.nothing.here\n  remove: true\n\
         - target: $.servers\n  update: {url: 'https://evil.example/v2'}\n",
    );
    let document =
        "[[openapi]]\nfile = 'house.json'\noverlays = ['ours.yaml']\nbase_url = 'https://a.example'\n";
    let app = place.app(document).await.unwrap();
    let names = tools(&app);
    assert!(names.contains(&String::from("how")) && !names.contains(&String::from("list_keys")), "{names:?}");
    let now = app.catalog().now();
    let room = now.tool("read_room").unwrap().spec();
    assert_eq!(room.effect, bartizan::policy::Effect::Destroy, "the method still decides");
    assert_eq!(room.target.as_deref(), Some("DELETE https://a.example/rooms/{id}"));
    let refused = bartizan::app::refusals(&app.config()).unwrap();
    let said: Vec<String> = refused[0].1.iter().map(|one| format!("{}: {}", one.place, one.reason)).collect();
    assert_eq!(said, ["overlay ours.yaml, action 4 ($.nothing.here): It matches nothing."]);

    // an overlay that changes is read again
    let overlay = std::fs::read_to_string(place.path("ours.yaml")).unwrap();
    place.write("ours.yaml", &overlay.replace("operationId: how", "operationId: howIsIt"));
    app.reload(Config::load(&place.path("bartizan.toml"))).await.unwrap();
    assert!(tools(&app).contains(&String::from("how_is_it")));

    // the same in a folder, which import fills
    let line = "import @house.json --into @house --overlay @ours.yaml --base-url https://a.example";
    assert_eq!(place.run(&line.split(' ').collect::<Vec<_>>()), 0);
    std::fs::remove_file(place.path("ours.yaml")).unwrap();
    let app = place.app("[[connector]]\npath = 'house'").await.unwrap();
    assert!(tools(&app).contains(&String::from("how_is_it")));
    place.write("house/ours.yaml", "overlay: 1.0.0");
    let refused = place.app("[[connector]]\npath = 'house'").await.err().unwrap();
    assert!(refused.message().contains("ours.yaml"), "{refused}");
}

#[tokio::test]
async fn the_health_check_is_a_call_like_any_other() {
    let place = Place::new();
    let words = ["import", "@house.json", "--into", "@house", "--base-url", "https://a.example"];
    assert_eq!(place.run(&words), 0);
    let app = place.app("practice = true\n[[connector]]\npath = 'house'").await.unwrap();
    let now = app.catalog().now();
    let probes: Vec<&str> = now
        .list(List::Tools)
        .iter()
        .filter(|entry| entry.spec().probe)
        .map(|entry| entry.spec().name.as_str())
        .collect();
    assert_eq!(probes, ["get_status"]);
    assert!(matches!(app.call(probes[0], Map::new(), &app.context()).await, Ok(Outcome::Done(_))));
    app.close().await.unwrap();
    let text = std::fs::read_to_string(place.path("house/connector.toml")).unwrap();
    for wrong in ["deleteRoom", "nothing"] {
        place.write("house/connector.toml", &text.replace("\"getStatus\"", &format!("\"{wrong}\"")));
        let refused = place.app("[[connector]]\npath = 'house'").await.err().unwrap();
        assert!(refused.message().contains("`health`"), "{refused}");
    }
}

/// A document of things with links of HAL and annotations of OData, whose pages a next address leads through.
fn linked() -> Value {
    let text = json!({"type": "string"});
    let thing = json!({"type": "object", "properties": {"id": text, "name": text, "@odata.etag": text,
        "_links": {"type": "object", "properties": {"self": {"type": "object", "properties": {"href": text}}}}}});
    let page = json!({"type": "object", "properties": {"@odata.nextLink": text,
        "value": {"type": "array", "items": thing}}});
    let get = |id: &str, schema: &Value, parameters: Value| {
        json!({"get": {"operationId": id, "parameters": parameters, "responses":
            {"200": {"description": "", "content": {"application/json": {"schema": schema}}}}}})
    };
    let id = json!([{"name": "id", "in": "path", "required": true, "schema": text}]);
    json!({"openapi": "3.1.0", "info": {"title": "Linked", "version": "1"}, "paths": {
        "/things": get("listThings", &page, json!([])),
        "/things/{id}": get("getThing", &thing, id),
        "/sheet": {"get": {"operationId": "getSheet", "responses": {"200": {"description": "", "content": {"text/csv": {}}}}}}}})
}

#[tokio::test]
async fn noise_that_a_document_shows_is_left_out_pages_go_on_and_the_rest_is_there_for_who_asks() {
    let place = Place::new();
    place.write("linked.json", &linked().to_string());
    assert_eq!(place.run(&["import", "@linked.json", "--into", "@linked"]), 0);
    let text = std::fs::read_to_string(place.path("linked/connector.toml")).unwrap();
    let manifest = Manifest::read(&place.path("linked")).unwrap();
    let mut dropped = manifest.response.drop;
    dropped.sort();
    assert_eq!(dropped, ["**._links", "**/@odata.context", "**/@odata.etag"], "{text}");
    assert_eq!(place.run(&["import", "@linked.json", "--into", "@again"]), 0);
    assert_eq!(text, std::fs::read_to_string(place.path("again/connector.toml")).unwrap());
    let report = Import::of(&place.path("linked.json"), &Options::default()).unwrap().report;
    assert_eq!((report.answers.json, report.answers.media["text/csv"]), (2, 1));
    assert!(report.noise.iter().all(|one| one.left_out && one.answers == 2), "{:?}", report.noise);

    let thing = |id: u64| {
        json!({"id": id.to_string(), "name": "a", "@odata.etag": "v1", "@odata.context": "x",
            "_links": {"self": {"href": format!("/things/{id}")}}})
    };
    let rig = Rig::new(
        linked(),
        &text.lines().filter(|line| !line.starts_with("name = ")).collect::<Vec<_>>().join("\n"),
        move |seen, _| match seen.target.as_str() {
            "/things" => answer(
                200,
                json!({"@odata.context": "x", "value": [thing(1), thing(2)],
                "@odata.nextLink": "/things?skiptoken=2"}),
            ),
            "/things?skiptoken=2" => answer(200, json!({"@odata.context": "x", "value": [thing(3)]})),
            _ => answer(200, thing(4)),
        },
    )
    .await;
    let bare = |id: u64| json!({"id": id.to_string(), "name": "a"});
    let first = rig.call("list_things", json!({})).await.unwrap();
    let shown = first.structured_content.unwrap();
    assert_eq!(shown["value"], json!([bare(1), bare(2)]));
    let said = shown["[redacted:cut]"].as_str().unwrap();
    assert!(said.contains("without noise"), "{said}");
    let next = &first.meta.unwrap()["bartizan/next"];
    let onward = json!({next["argument"].as_str().unwrap(): next["handle"]});
    let second = rig.call("list_things", onward).await.unwrap().structured_content.unwrap();
    assert_eq!((&second["value"], second.get("@odata.context")), (&json!([bare(3)]), None));
    let one = rig.call("get_thing", json!({"id": "4"})).await.unwrap().structured_content.unwrap();
    assert!(one["id"] == "4" && one.get("_links").is_none(), "{one}");
    let asked = json!({"id": "4", "fields": ["_links.self.href", "/@odata.etag"]});
    let asked = rig.call("get_thing", asked).await.unwrap().structured_content.unwrap();
    assert_eq!(
        (&asked["_links"]["self"]["href"], &asked["@odata.etag"]),
        (&json!("/things/4"), &json!("v1"))
    );
}

#[test]
fn a_recipe_that_was_begun_signs_nothing_until_a_person_has_completed_it() {
    let place = Place::new();
    let header =
        |name: &str, says: &str| json!({"type": "apiKey", "in": "header", "name": name, "description": says});
    let mut document = house();
    document["components"]["securitySchemes"] = json!({
        "signature": header("X-Signature", "HMAC-SHA256 of the request, as hexadecimal digits"),
        "stamp": header("X-Timestamp", "Unix time in seconds"), "key": header("X-Key", "your key")});
    document["security"] = json!([{"signature": [], "stamp": [], "key": []}]);
    place.write("signed.json", &document.to_string());
    let words = ["import", "@signed.json", "--into", "@signed", "--base-url", "https://a.example"];
    assert_eq!(place.run(&words), 0);
    let text = std::fs::read_to_string(place.path("signed/connector.toml")).unwrap();
    assert_eq!(Manifest::parse(&text, "x").unwrap().credentials, Access::None);
    let source = "[[connector]]\npath = 'signed'\n";
    place.write("bartizan.toml", &format!("state_dir = 'state'\n{source}"));
    let unsigned = || bartizan::app::unsigned(&Config::load(&place.path("bartizan.toml")).unwrap()).unwrap();
    assert_eq!(unsigned(), ["house"]);
    let said = Import::of(&place.path("signed.json"), &Options::default()).unwrap().report.credentials;
    assert!(
        said.len() == 1 && said[0].contains("X-Signature") && said[0].contains("has to be completed"),
        "{said:?}"
    );

    // the # alone is not enough
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| *line == "# [credentials]").unwrap();
    let block: Vec<&str> = lines[at..]
        .iter()
        .take_while(|line| !line.is_empty())
        .map(|line| line.trim_start_matches("# "))
        .collect();
    let begun = format!("{text}\n{}\n", block.join("\n"));
    place.write("signed/connector.toml", &begun);
    let refused = Manifest::read(&place.path("signed")).unwrap_err();
    assert!(refused.kind() == Kind::BadConfig && refused.message().contains("`sign`"), "{refused}");
    assert_eq!(place.run(&["check", "--config", "@bartizan.toml"]), 2);
    let done = begun.replace("\"TO BE COMPLETED\"", "\"{method}\\n{path}\\n{timestamp}\"");
    let manifest = Manifest::parse(&done, "x").unwrap();
    let Access::One(Way::Hmac { headers, key_id, .. }) = manifest.credentials else { panic!("{done}") };
    assert_eq!(headers["X-Signature"], "{signature}");
    assert_eq!((headers["X-Timestamp"].as_str(), key_id.is_some()), ("{timestamp}", true));
    place.write("signed/connector.toml", &done);
    assert!(unsigned().is_empty());
}

#[test]
fn vendors_documents_become_connectors_that_hold() {
    let Some(shared) = shared() else { return };
    let place = Place::new();
    for (file, many, exact) in [
        ("equinix/fabricv4.patched.yaml", 194, true),
        ("equinix/accesstokenv1.fetched.yaml", 2, true),
        ("akamai/edgeworkers-v1.json", 40, true),
        ("akamai/identity-management-v3.json", 80, false),
        ("msgraph/v1.0.deviceappmanagement.json.gz", 100, false),
    ] {
        let ending = if file.ends_with("yaml") { "yaml" } else { "json" };
        let name = format!("vendor.{ending}");
        std::fs::write(place.path(&name), contents(&shared.join("specs").join(file))).unwrap();
        let line = format!("import @{name} --into @vendor --force --base-url https://a.example");
        assert_eq!(place.run(&line.split(' ').collect::<Vec<_>>()), 0, "{file}");
        let manifest = Manifest::read(&place.path("vendor")).unwrap();
        let document = bartizan::connectors::document_in(&place.path("vendor"), &manifest).unwrap();
        let count = document.operations.len();
        assert!(if exact { count == many } else { count >= many }, "{file}: {count}");
        println!(
            "{file}: {} operations, {} toolsets, {} opinions, {} with pages, {} with secrets, health {:?}",
            count,
            manifest.toolsets.len(),
            manifest.operations.len(),
            manifest.operations.iter().filter(|one| one.pages.is_some()).count(),
            manifest.operations.iter().filter(|one| !one.redact.is_empty()).count(),
            manifest.health,
        );
        assert!(manifest.toolsets.len() <= 31);
        assert_eq!(
            place.run(&["check", "--connector", "@vendor", "--config", "@bartizan.toml"]),
            0,
            "{file}"
        );
    }
}

#[test]
fn only_what_operations_are_made_of_is_copied_and_it_stays_as_private_as_it_was() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let write = |name: &str, content: &Value, mode: u32| {
        std::fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
        place.write(name, &content.to_string());
        std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let secret = json!({"key": "hunter2"});
    for name in ["in/notes.json", "in/.env.json", "in/.git/config.json", "in/other/.hidden.json"] {
        write(name, &secret, 0o600);
    }
    std::os::unix::fs::symlink(place.path("in/.env.json"), place.path("in/link.json")).unwrap();
    write("in/parts/room.json", &json!({"Room": {"type": "object"}}), 0o600);
    write("in/parts/door.json", &json!({"Door": {"type": "object"}}), 0o666);
    let answer = |reference: &str| {
        json!({"operationId": format!("get{}", reference.len()), "responses": {"200": {"description": "", "content":
            {"application/json": {"schema": {"$ref": reference}}}}}})
    };
    let document = json!({"openapi": "3.1.0", "info": {"title": "House", "version": "2", "x-more": {"$ref": "notes.json"}},
        "paths": {"/rooms": {"get": answer("parts/room.json#/Room")}, "/doors": {"get": answer("./parts/door.json#/Door")},
            "/a": {"get": answer(".env.json")}, "/b": {"get": answer(".git/config.json#/key")},
            "/c": {"get": answer("other/%2ehidden.json#/key")}, "/d": {"get": answer("link.json#/key")}},
        "components": {"examples": {"x": {"value": {"$ref": "notes.json#/key"}}}}});
    write("in/api.json", &document, 0o640);
    assert_eq!(place.run(&["import", "@in/api.json", "--into", "@out"]), 0);
    let mut found = Vec::new();
    let mut folders = vec![place.path("out")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let name = entry.path().strip_prefix(place.path("out")).unwrap().display().to_string();
            found.push((name, entry.metadata().unwrap().permissions().mode() & 0o777));
        }
    }
    found.sort();
    let expected = [
        ("api.json", 0o640),
        ("connector.toml", 0o640),
        ("parts/door.json", 0o644),
        ("parts/room.json", 0o600),
    ];
    assert_eq!(found, expected.map(|(name, mode)| (name.to_owned(), mode)));
    let import =
        bartizan::connectors::import::Import::of(&place.path("in/api.json"), &Default::default()).unwrap();
    let left: Vec<&str> = import.report.unmapped.iter().map(|one| one.reason.as_str()).collect();
    assert!(left.len() == 4 && left.iter().all(|why| why.contains("hidden")), "{left:?}");
}

#[test]
fn no_connector_has_a_name_that_opens_the_filter_and_read_only_hides_every_write() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let place = Place::new();
    let document = json!({"openapi": "3.1.0", "info": {"title": "Search", "version": "1"}, "paths": {"/wipe": {"post":
        {"operationId": "wipe", "responses": {"204": {"description": ""}}}}}});
    std::fs::create_dir(place.path("api")).unwrap();
    place.write("api/openapi.json", &document.to_string());
    let settings = "[policy]\nset = 'admin'\n[offer]\nread_only = true\n";
    let connector = format!("{settings}[[connector]]\npath = 'api'");
    let toolset = "[[operation]]\nid = 'wipe'\ntoolset = 'search'";
    for (name, more) in [
        ("builtin", toolset),
        ("builtin", ""),
        ("python", ""),
        ("openapi", ""),
        ("search", ""),
        ("x", toolset),
    ] {
        place.write("api/connector.toml", &format!("name = '{name}'\nbase = 'https://a.example'\n{more}"));
        let said = runtime
            .block_on(place.app(&connector))
            .err()
            .map(|error| error.message().to_owned())
            .unwrap_or_default();
        assert!(said.contains("bartizan"), "{name}: {said}");
        assert_eq!(place.run(&["check", "--config", "@bartizan.toml"]), 2, "{name}");
    }
    let entry = "[[openapi]]\nfile = 'api/openapi.json'\nbase_url = 'https://a.example'\n";
    assert!(runtime.block_on(place.app(&format!("{entry}name = 'search'"))).is_err());
    place.write(
        "api/connector.toml",
        "name = 'x'\nbase = 'https://a.example'\n[[toolset]]\nname = 'search'\npaths = ['/']",
    );
    for source in [connector.clone(), format!("{settings}{entry}")] {
        let app = runtime.block_on(place.app(&source)).unwrap();
        let (now, context) = (app.catalog().now(), app.context());
        assert_eq!(now.list(List::Tools).len(), 1);
        let refused = runtime.block_on(app.call("wipe", Map::new(), &context)).map(drop).unwrap_err();
        assert_eq!(refused.kind(), Kind::NoSuchTool);
        runtime.block_on(app.close()).unwrap();
        assert_eq!(place.run(&["check", "--config", "@bartizan.toml"]), 0, "a note, and no error");
    }
}
