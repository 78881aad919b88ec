//! What a server asks of its client, and how.

use bartizan::json::{Value, json};
use bartizan::protocol::Door;

use super::{Case, Check, table};
use crate::talk::{Talk, Told};

pub(super) const TABLE: &[(&str, Check)] = table! {
    "asked-on-the-stream" => on_the_stream,
    "asked-in-the-result" => in_the_result,
    "asked-only-what-was-declared" => only_what_was_declared,
    "missing-capability-error" => missing_capability,
    "elicitation" => elicitation,
    "elicitation-mode" => elicitation_mode,
    "elicitation-url" => elicitation_url,
    "elicitation-id" => elicitation_id,
    "elicitation-titled-choices" => titled_choices,
    "elicitation-several-choices" => several_choices,
    "sampling" => sampling,
    "sampling-tools" => sampling_tools,
    "roots" => roots,
};

/// What a call asks, all of it with that method; where nothing is asked, the call has failed.
async fn question(case: &Case, tool: &str, method: &str) -> Option<Value> {
    let told = case.open().await.call(tool, json!({})).await;
    let asked = told.asked();
    let Some((asked, params)) = asked.into_iter().next() else {
        assert_eq!(told.result()["isError"], true, "it could not go on, and says so");
        return None;
    };
    assert_eq!(asked, method);
    Some(params)
}

async fn on_the_stream(case: &Case) -> bool {
    let told = case.open().await.call("asking_roots", json!({})).await;
    let asked = told.said.iter().any(|one| one["method"] == "roots/list" && one["id"].is_u64());
    assert_eq!(asked, told.body["result"].get("inputRequests").is_none());
    asked && told.result()["content"][0]["text"] == "file:///home"
}

async fn in_the_result(case: &Case) -> bool {
    let talk = case.open().await;
    let told = talk.call("asking_roots", json!({})).await;
    if told.result()["resultType"] != "input_required" {
        return false;
    }
    let key = told.result()["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let mut params = json!({"name": "asking_roots", "arguments": {}});
    params["inputResponses"] = json!({key: {"roots": [{"uri": "file:///home"}]}});
    params["requestState"] = told.result()["requestState"].clone();
    let mut tampered = params.clone();
    let state = params["requestState"].as_str().unwrap();
    tampered["requestState"] = state.chars().rev().collect::<String>().into();
    assert_eq!(talk.ask("tools/call", tampered).await.code(), Some(-32602));
    talk.ask("tools/call", params).await.result()["content"][0]["text"] == "file:///home"
}

async fn undeclared(case: &Case) -> Vec<Told> {
    let talk = Talk::able(&case.place, case.channel, case.revision, json!({})).await;
    let mut all = Vec::new();
    for tool in ["asking", "asking_there", "asking_model", "asking_roots"] {
        all.push(talk.call(tool, json!({})).await);
    }
    all
}

async fn only_what_was_declared(case: &Case) -> bool {
    undeclared(case).await.iter().all(|told| told.asked().is_empty())
}

async fn missing_capability(case: &Case) -> bool {
    let all = undeclared(case).await;
    let coded = |told: &Told| told.code() == Some(-32021) && told.is(400);
    let count = all.iter().filter(|told| coded(told)).count();
    assert!(count == all.len() || all.iter().all(|told| told.result()["isError"] == true));
    count > 0
}

async fn elicitation(case: &Case) -> bool {
    let Some(params) = question(case, "asking", "elicitation/create").await else { return false };
    params["message"].is_string() && params["requestedSchema"]["properties"]["name"]["type"] == "string"
}

async fn elicitation_mode(case: &Case) -> bool {
    let params = question(case, "asking", "elicitation/create").await;
    params.is_some_and(|params| params["mode"] == "form")
}

async fn elicitation_url(case: &Case) -> bool {
    let params = question(case, "asking_there", "elicitation/create").await;
    params.is_some_and(|params| params["mode"] == "url" && params["url"] == "https://example.com/in")
}

async fn elicitation_id(case: &Case) -> bool {
    let params = question(case, "asking_there", "elicitation/create").await;
    params.is_some_and(|params| params["elicitationId"].is_string())
}

async fn titled_choices(case: &Case) -> bool {
    let Some(params) = question(case, "asking_choice", "elicitation/create").await else { return false };
    let name = &params["requestedSchema"]["properties"]["name"];
    let older = name["enum"] == json!(["Ann", "Bob"])
        && name["enumNames"] == json!(["Ann A.", "Bob B."])
        && name.get("default").is_none();
    let newer = name["oneOf"][1]["title"] == "Bob B." && name["default"] == "Ann";
    assert!(older != newer, "in the words of one time: {name}");
    newer
}

async fn several_choices(case: &Case) -> bool {
    let params = question(case, "asking_several", "elicitation/create").await;
    params.is_some_and(|params| params["requestedSchema"]["properties"]["names"]["type"] == "array")
}

async fn sampling(case: &Case) -> bool {
    let params = question(case, "asking_model", "sampling/createMessage").await;
    params.is_some_and(|params| params["messages"][0]["content"]["text"] == "Greet.")
}

async fn sampling_tools(case: &Case) -> bool {
    let params = question(case, "asking_model_with_tools", "sampling/createMessage").await;
    params.is_some_and(|params| params["tools"][0]["name"] == "look")
}

async fn roots(case: &Case) -> bool {
    let params = question(case, "asking_roots", "roots/list").await;
    // the answer goes on
    if case.revision.door() == Door::Handshake { params.is_some() } else { params == Some(json!({})) }
}
