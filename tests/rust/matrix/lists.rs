//! What lists, and the server itself, say of themselves.

use bartizan::json::{Value, json};
use bartizan::protocol::Door;

use super::{Case, Check, table};

pub(super) const TABLE: &[(&str, Check)] = table! {
    "titles" => titles,
    "icons" => icons,
    "entry-meta" => entry_meta,
    "tool-annotations" => tool_annotations,
    "annotations" => annotations,
    "last-modified" => last_modified,
    "output-schema" => output_schema,
    "output-schema-any" => output_schema_any,
    "schema-dialect" => schema_dialect,
    "boolean-schemas" => boolean_schemas,
    "tool-list-stable" => stable,
    "server-title" => server_title,
    "server-described" => server_described,
    "completions-capability" => completions_capability,
    "cache-hints" => cache_hints,
    "result-type" => result_type,
    "server-in-meta" => server_in_meta,
};

const LISTS: [(&str, &str); 4] = [
    ("tools/list", "tools"),
    ("resources/list", "resources"),
    ("resources/templates/list", "resourceTemplates"),
    ("prompts/list", "prompts"),
];

/// The decorated entry of each list.
async fn entries(case: &Case) -> Vec<Value> {
    let talk = case.open().await;
    let mut found = Vec::new();
    for (method, member) in LISTS {
        let told = talk.ask(method, json!({})).await;
        let list = told.result()[member].as_array().unwrap();
        let named =
            |entry: &&Value| ["rich", "one", "more", "sung"].iter().any(|name| entry["name"] == *name);
        found.push(list.iter().find(named).unwrap().clone());
    }
    found
}

/// Whether all have it, where none or all have to.
fn all(entries: &[Value], has: impl Fn(&Value) -> bool) -> bool {
    let count = entries.iter().filter(|entry| has(entry)).count();
    assert!(count == 0 || count == entries.len(), "some have it and some do not");
    count > 0
}

async fn titles(case: &Case) -> bool {
    let entries = entries(case).await;
    let argument = entries[3]["arguments"][0].get("title").is_some();
    let shown = all(&entries, |entry| entry["title"] == "Shown to people");
    assert_eq!(argument, shown);
    shown
}

async fn icons(case: &Case) -> bool {
    all(&entries(case).await, |entry| entry["icons"][0]["src"].is_string())
}

async fn entry_meta(case: &Case) -> bool {
    all(&entries(case).await, |entry| entry["_meta"]["example.com/kept"] == true)
}

async fn tool_annotations(case: &Case) -> bool {
    entries(case).await[0]["annotations"]["readOnlyHint"] == true
}

async fn annotations(case: &Case) -> bool {
    all(&entries(case).await[1..3], |entry| entry["annotations"]["audience"] == json!(["user"]))
}

async fn last_modified(case: &Case) -> bool {
    all(&entries(case).await[1..3], |entry| entry["annotations"].get("lastModified").is_some())
}

async fn output_schema(case: &Case) -> bool {
    entries(case).await[0]["outputSchema"]["type"] == "object"
}

async fn output_schema_any(case: &Case) -> bool {
    let told = case.open().await.ask("tools/list", json!({})).await;
    let tools = told.result()["tools"].as_array().unwrap();
    let lister = tools.iter().find(|tool| tool["name"] == "lister").unwrap();
    lister["outputSchema"]["type"] == "array"
}

async fn schema_dialect(case: &Case) -> bool {
    let rich = &entries(case).await[0];
    assert_eq!(rich["inputSchema"]["additionalProperties"], false);
    rich["inputSchema"].get("$schema").is_some()
}

async fn boolean_schemas(case: &Case) -> bool {
    let anything = entries(case).await[0]["inputSchema"]["properties"]["anything"].clone();
    assert!(anything == true || anything == json!({}));
    anything == true
}

async fn stable(case: &Case) -> bool {
    let (one, other) = (case.open().await, case.open().await);
    let list = one.ask("tools/list", json!({})).await.result()["tools"].clone();
    list == other.ask("tools/list", json!({})).await.result()["tools"]
}

async fn server_info(case: &Case) -> Value {
    let opened = case.open().await.opened;
    if case.revision.door() == Door::Handshake {
        opened["serverInfo"].clone()
    } else {
        opened["_meta"]["io.modelcontextprotocol/serverInfo"].clone()
    }
}

async fn server_title(case: &Case) -> bool {
    server_info(case).await["title"] == "Test server"
}

async fn server_described(case: &Case) -> bool {
    let info = server_info(case).await;
    let described = info["description"].is_string();
    assert_eq!(described, info["websiteUrl"].is_string());
    assert_eq!(described, info["icons"].is_array());
    assert!(info["name"] == "test-server" && info["version"] == "1.2.3");
    described
}

async fn completions_capability(case: &Case) -> bool {
    let capabilities = case.open().await.opened["capabilities"].clone();
    for always in ["tools", "resources", "prompts", "logging"] {
        assert!(capabilities[always].is_object(), "{always}");
    }
    capabilities["completions"].is_object()
}

async fn results(case: &Case) -> Vec<Value> {
    let talk = case.open().await;
    let mut results = Vec::new();
    for (method, _) in LISTS {
        results.push(talk.ask(method, json!({})).await.result().clone());
    }
    results.push(talk.ask("resources/read", json!({"uri": "note://today"})).await.result().clone());
    results
}

async fn cache_hints(case: &Case) -> bool {
    let private = |result: &Value| result["ttlMs"].is_u64() && result["cacheScope"] == "private";
    all(&results(case).await, private)
}

async fn result_type(case: &Case) -> bool {
    let mut results = results(case).await;
    results.push(case.open().await.call("echo", json!({})).await.result().clone());
    all(&results, |result| result["resultType"] == "complete")
}

async fn server_in_meta(case: &Case) -> bool {
    all(&results(case).await, |result| {
        result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "test-server"
    })
}
