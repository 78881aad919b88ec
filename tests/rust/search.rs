//! Finding one tool among many.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use bartizan::app::{App, Extra};
use bartizan::catalog::List;
use bartizan::client::{CallOptions, Client, Options};
use bartizan::config::Config;
use bartizan::json::{Map, Value, json};
use bartizan::pipeline::{Outcome, ToolSpec};
use bartizan::principal::Principal;
use bartizan::search::Index;
use tokio_util::sync::CancellationToken;

/// A document of `many` small operations and a few that mean something.
fn document(many: usize) -> Value {
    let mut paths = Map::new();
    for number in 0..many {
        let get = json!({
            "operationId": format!("listThings{number}"), "summary": format!("List the things of shelf {number}."),
            "responses": {"200": {"description": "fine"}}
        });
        paths.insert(format!("/shelves/{number}/things"), json!({"get": get}));
    }
    let id = json!([{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}]);
    let ok = json!({"200": {"description": "fine"}});
    paths.insert(
        "/routers/{id}".into(),
        json!({
            "get": {"operationId": "getRouter", "summary": "Get a router.", "parameters": id, "responses": ok},
            "delete": {"operationId": "deleteRouter", "summary": "Delete a router.", "parameters": id, "responses": ok}
        }),
    );
    json!({"openapi": "3.1.0", "info": {"title": "acme", "version": "1"}, "paths": paths})
}

struct Site {
    _folder: tempfile::TempDir,
    app: Arc<App>,
}

impl Site {
    async fn new(many: usize, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("acme.json"), document(many).to_string()).unwrap();
        let text = format!(
            "state_dir = 'state'\npractice = true\n{text}\n[[openapi]]\nfile = 'acme.json'\nname = 'acme'\nbase_url = ''\n"
        );
        std::fs::write(folder.path().join("bartizan.toml"), text).unwrap();
        let config = Config::load(&folder.path().join("bartizan.toml")).unwrap();
        Self { app: App::build(config, Extra::default()).await.unwrap(), _folder: folder }
    }

    /// A client on its own connection.
    async fn client(&self) -> (Client, CancellationToken) {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (input, output) = tokio::io::split(theirs);
        let (app, stop) = (Arc::clone(&self.app), CancellationToken::new());
        let principal: Arc<Principal> = app.local_principal();
        let until = stop.clone();
        tokio::spawn(async move { app.serve_pipe(input, output, principal, until).await });
        let (input, output) = tokio::io::split(ours);
        (Client::over(input, output, Options::default()).await.unwrap(), stop)
    }

    async fn listed(&self) -> Vec<String> {
        let (client, stop) = self.client().await;
        let tools = client.list_tools().await.unwrap();
        stop.cancel();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let (client, stop) = self.client().await;
        let result = client.call_tool(tool, arguments, &CallOptions::default()).await.unwrap();
        stop.cancel();
        result
    }

    fn audited(&self) -> String {
        std::fs::read_to_string(self.app.audit().path()).unwrap()
    }
}

#[tokio::test]
async fn many_tools_become_three_and_few_stay_a_list() {
    let few = Site::new(3, "[policy]\nset = 'admin'").await;
    let listed = few.listed().await;
    assert!(listed.contains(&"get_router".into()) && !listed.contains(&"find_tools".into()), "{listed:?}");

    let many = Site::new(800, "[policy]\nset = 'admin'").await;
    assert_eq!(many.listed().await, ["find_tools", "describe_tool", "call_tool"]);

    let text = "[policy]\nset = 'admin'\n[offer]\nsearch = 'on'\nsearch_beside = ['get_router']";
    let beside = Site::new(3, text).await;
    let mut listed = beside.listed().await;
    listed.sort();
    assert_eq!(listed, ["call_tool", "describe_tool", "find_tools", "get_router"]);

    // the same few are too many where their list may be no longer than this, and the many are not where it may
    let short = Site::new(3, "[policy]\nset = 'admin'\n[offer]\nsearch_above = 900").await;
    assert_eq!(short.listed().await, ["find_tools", "describe_tool", "call_tool"]);
    let long = Site::new(800, "[policy]\nset = 'admin'\n[offer]\nsearch_above = 1_000_000").await;
    assert_eq!(long.listed().await.len(), 802);

    let off = Site::new(800, "[policy]\nset = 'admin'\n[offer]\nsearch = 'off'").await;
    assert_eq!(off.listed().await.len(), 802);
}

#[tokio::test]
async fn who_sees_few_of_many_gets_a_list() {
    let policy = "permit (principal, action, resource) when { resource.name like \"*router\" };";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("few.cedar");
    std::fs::write(&file, policy).unwrap();
    let site = Site::new(800, &format!("[policy]\nset = '{}'", file.display())).await;
    let mut listed = site.listed().await;
    listed.sort();
    assert_eq!(listed, ["delete_router", "get_router"]);
}

#[tokio::test]
async fn a_tool_is_found_described_and_called_along_its_own_line() {
    let site = Site::new(800, "[policy]\nset = 'read-only'").await;
    let found = site.call("find_tools", json!({"query": "show me one router", "limit": 3})).await;
    let tools = found["structuredContent"]["tools"].as_array().unwrap();
    assert_eq!(tools[0]["name"], "get_router");
    assert_eq!(tools[0]["arguments"], "id");
    assert!(!found.to_string().contains("delete_router"), "what policy hides is not found: {found}");
    let described = site.call("describe_tool", json!({"name": "get_router"})).await;
    assert_eq!(described["structuredContent"]["inputSchema"]["required"], json!(["id"]));
    // the schema it was shown holds
    let wrong = site.call("call_tool", json!({"name": "get_router", "arguments": {"no": 1}})).await;
    assert_eq!(wrong["isError"], true);
    let right = site.call("call_tool", json!({"name": "get_router", "arguments": {"id": "r1"}})).await;
    assert!(right["isError"] != true || right.to_string().contains("404"), "{right}");
    let audited = site.audited();
    assert!(audited.contains("\"get_router\"") && !audited.contains("\"tool\":\"call_tool\""), "{audited}");
}

#[tokio::test]
async fn what_policy_hides_is_hidden_here_too() {
    let site = Site::new(800, "[policy]\nset = 'read-only'").await;
    let (client, stop) = site.client().await;
    for tool in ["describe_tool", "call_tool"] {
        let mut said = Vec::new();
        for name in ["delete_router", "no_such_tool"] {
            let answer = client.call_tool(tool, json!({"name": name}), &CallOptions::default()).await;
            said.push(answer.unwrap_err().to_string());
        }
        assert_eq!(said[0], said[1]);
        assert!(said[0].contains("There is no tool of this name"), "{said:?}");
    }
    stop.cancel();
}

#[tokio::test]
async fn a_call_that_is_written_wrong_is_told_how_to_write_it() {
    let site = Site::new(800, "[policy]\nset = 'admin'").await;
    for (arguments, words) in [
        (json!({}), "needs `name`"),
        (json!({"name": "get_router", "arguments": "id"}), "an object"),
        (json!({"name": "get_router", "id": "r1"}), "goes into `arguments`"),
        (json!({"name": "call_tool"}), "cannot call itself"),
    ] {
        let answer = site.call("call_tool", arguments).await;
        assert!(answer["isError"] == true && answer.to_string().contains(words), "{answer}");
    }
    // from inside the process the same holds
    let arguments = json!({"name": "get_router", "arguments": {"id": "r1"}});
    let called =
        site.app.call("call_tool", arguments.as_object().unwrap().clone(), &site.app.context()).await;
    assert!(called.is_ok_and(|outcome| matches!(outcome, Outcome::Done(_))));
}

#[tokio::test]
async fn the_three_cost_few_tokens_whatever_is_loaded() {
    let site = Site::new(2000, "[policy]\nset = 'admin'").await;
    let (client, stop) = site.client().await;
    let listed = json!(client.list_tools().await.unwrap()).to_string();
    stop.cancel();
    // a token is more than three bytes of such text; the bench counts them exactly
    assert!(listed.len() < 4_500, "{}", listed.len());
}

/// The tools of a shared document.
async fn tools(file: &Path) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(file).unwrap();
    if file.extension().is_some_and(|ending| ending == "gz") {
        let packed = std::mem::take(&mut bytes);
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    }
    std::fs::write(folder.path().join("api"), bytes).unwrap();
    let text = "state_dir = 'state'\n[policy]\nset = 'admin'\n[offer]\nsearch = 'off'\n[[openapi]]\nfile = 'api'\nname = 'api'\nbase_url = 'https://api.example.com'\n";
    std::fs::write(folder.path().join("bartizan.toml"), text).unwrap();
    let config = Config::load(&folder.path().join("bartizan.toml")).unwrap();
    let app = App::build(config, Extra::default()).await.unwrap();
    let now = app.catalog().now();
    let specs: Vec<&ToolSpec> = now.list(List::Tools).iter().map(|entry| entry.spec()).collect();
    let index = Index::of(&specs);
    let asked = asked(file);
    let mut missed = Vec::new();
    for (ask, right) in &asked {
        let best: Vec<&str> =
            index.find(ask).into_iter().take(5).map(|hit| specs[hit.place].name.as_str()).collect();
        for name in right {
            assert!(specs.iter().any(|spec| spec.name == *name), "{name} is no tool of {}", file.display());
        }
        if !best.iter().any(|name| right.iter().any(|right| right == name)) {
            missed.push(format!("{ask}: {best:?}, not {right:?}"));
        }
    }
    missed
}

/// The tasks about one document, and the tools that answer each.
fn asked(file: &Path) -> Vec<(String, Vec<String>)> {
    let tasks: toml::Table = toml::from_str(include_str!("../search/tasks.toml")).unwrap();
    let tasks = tasks["task"].as_array().unwrap().iter();
    let strings = |value: &toml::Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    tasks
        .filter(|task| file.ends_with(task["document"].as_str().unwrap()))
        .map(|task| (task["ask"].as_str().unwrap().to_owned(), strings(&task["tools"])))
        .collect()
}

#[tokio::test]
async fn of_a_hundred_tasks_ninety_find_their_tool_among_the_first_five() {
    let Some(shared) = crate::connectors::documents::shared() else { return };
    let tasks: toml::Table = toml::from_str(include_str!("../search/tasks.toml")).unwrap();
    let tasks = tasks["task"].as_array().unwrap();
    let mut documents: Vec<&str> = tasks.iter().map(|task| task["document"].as_str().unwrap()).collect();
    documents.dedup();
    let mut missed = Vec::new();
    for document in documents {
        missed.extend(tools(&shared.join("specs").join(document)).await);
    }
    println!("{} of {} missed:\n{}", missed.len(), tasks.len(), missed.join("\n"));
    assert!(tasks.len() >= 100);
    assert!(missed.len() * 10 <= tasks.len(), "{} of {}: {missed:#?}", missed.len(), tasks.len());
}

#[test]
fn an_operation_that_is_called_as_one_of_the_three_has_another_name_whatever_the_mode() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ok = json!({"200": {"description": "fine"}});
    let mut paths = document(1)["paths"].clone();
    for id in ["findTools", "describe_tool", "call-tool"] {
        paths[format!("/{id}")] = json!({"get": {"operationId": id, "responses": ok}});
    }
    let document = json!({"openapi": "3.1.0", "info": {"title": "acme", "version": "1"}, "paths": paths});
    for mode in ["auto", "on", "off"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bartizan.toml");
        std::fs::write(folder.path().join("acme.json"), document.to_string()).unwrap();
        let settings = format!("state_dir = 'state'\n[offer]\nsearch = '{mode}'\n");
        let openapi = "[[openapi]]\nfile = 'acme.json'\nbase_url = 'https://a.example'\n";
        std::fs::write(&path, format!("{settings}{openapi}")).unwrap();
        let app = runtime.block_on(App::build(Config::load(&path).unwrap(), Extra::default())).unwrap();
        let now = app.catalog().now();
        let names: Vec<&str> = now.list(List::Tools).iter().map(|entry| entry.spec().name.as_str()).collect();
        for (name, id) in
            [("find_tools", "findTools"), ("describe_tool", "describe_tool"), ("call_tool", "call-tool")]
        {
            let other = |one: &&str| one.strip_prefix(name).is_some_and(|hash| hash.starts_with('_'));
            assert!(names.iter().any(other), "{mode}: {id}: {names:?}");
            assert_eq!(names.contains(&name), mode == "on", "{mode}");
        }
        runtime.block_on(app.close()).unwrap();
        // one that somebody calls so himself is refused, in every mode and by every command alike
        std::fs::create_dir(folder.path().join("api")).unwrap();
        std::fs::write(folder.path().join("api/openapi.json"), document.to_string()).unwrap();
        for opinion in ["tool = 'call_tool'", "tool = 'find_tools'"] {
            let manifest =
                format!("name = 'x'\nbase = 'https://a.example'\n[[operation]]\nid = 'getRouter'\n{opinion}");
            std::fs::write(folder.path().join("api/connector.toml"), manifest).unwrap();
            std::fs::write(&path, format!("{settings}[[connector]]\npath = 'api'\n")).unwrap();
            let refused = runtime
                .block_on(App::build(Config::load(&path).unwrap(), Extra::default()))
                .map(drop)
                .unwrap_err();
            assert!(refused.message().contains("bartizan's own tools"), "{refused}");
            for command in ["tools", "check"] {
                let words = ["bartizan", command, "--config"].map(std::ffi::OsString::from).into_iter();
                assert_eq!(
                    bartizan::cli::main(words.chain([path.clone().into_os_string()]), None),
                    2,
                    "{command}"
                );
            }
        }
    }
}
