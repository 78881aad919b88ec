//! What results hold, and what is said on the way to them.

use bartizan::json::{Value, json};
use bartizan::protocol::Door;

use super::{Case, Check, table};
use crate::talk::Told;

pub(super) const TABLE: &[(&str, Check)] = table! {
    "tool-called" => called,
    "tool-error" => tool_error,
    "tool-arguments" => tool_arguments,
    "result-meta" => result_meta,
    "content-text-image" => text_and_image,
    "content-audio" => audio,
    "content-links" => links,
    "content-embedded" => embedded,
    "content-meta" => content_meta,
    "content-last-modified" => last_modified,
    "structured-content" => structured,
    "structured-content-any" => structured_any,
    "resource-read" => resource_read,
    "resource-template" => resource_template,
    "resource-meta" => resource_meta,
    "prompt-got" => prompt_got,
    "prompt-audio" => prompt_audio,
    "completion" => completion,
    "completion-context" => completion_context,
    "progress" => progress,
    "progress-words" => progress_words,
    "logs" => logs,
};

async fn rich(case: &Case) -> Value {
    case.open().await.call("rich", json!({})).await.result().clone()
}

fn blocks(result: &Value) -> &[Value] {
    result["content"].as_array().unwrap()
}

async fn called(case: &Case) -> bool {
    let told = case.open().await.call("echo", json!({"text": "hi"})).await;
    assert!(told.is(200));
    told.result()["content"] == json!([{"type": "text", "text": "hi"}])
}

async fn tool_error(case: &Case) -> bool {
    let told = case.open().await.call("failing", json!({})).await;
    told.result()["isError"] == true && told.result()["content"][0]["text"] == "It did not work."
}

async fn tool_arguments(case: &Case) -> bool {
    // a model can mend them: they come back as a result, in every revision
    let told = case.open().await.call("echo", json!({"txet": "hunter2"})).await;
    let words = told.result().to_string();
    assert!(!words.contains("hunter2"));
    told.result()["isError"] == true && words.contains("BadArguments")
}

async fn result_meta(case: &Case) -> bool {
    rich(case).await["_meta"]["example.com/kept"] == true
}

async fn text_and_image(case: &Case) -> bool {
    let result = rich(case).await;
    assert_eq!(blocks(&result)[0]["annotations"]["audience"], json!(["user"]));
    blocks(&result)[0]["text"] == "Rich." && blocks(&result)[1]["data"] == "AAEC"
}

async fn audio(case: &Case) -> bool {
    let sound = blocks(&rich(case).await)[2].clone();
    let attached = sound["type"] == "resource"
        && sound["resource"]["blob"] == "AAEC"
        && sound["resource"]["mimeType"] == "audio/wav";
    let heard = sound["type"] == "audio" && sound["data"] == "AAEC";
    assert!(attached != heard, "one or the other: {sound}");
    heard
}

async fn links(case: &Case) -> bool {
    let link = blocks(&rich(case).await)[3].clone();
    let told = link["type"] == "text" && link["text"].as_str().unwrap().contains("shown://one");
    let linked = link["type"] == "resource_link" && link["uri"] == "shown://one";
    assert!(told != linked, "one or the other: {link}");
    linked
}

async fn embedded(case: &Case) -> bool {
    let inside = blocks(&rich(case).await)[4].clone();
    inside["type"] == "resource" && inside["resource"]["text"] == "One."
}

async fn content_meta(case: &Case) -> bool {
    let result = rich(case).await;
    let has = |block: &Value| block["_meta"]["example.com/kept"] == true;
    let shown = has(&blocks(&result)[0]);
    assert_eq!(shown, has(&blocks(&result)[1]));
    assert_eq!(shown, has(&blocks(&result)[2]));
    assert_eq!(shown, has(&blocks(&result)[4]["resource"]));
    shown
}

async fn last_modified(case: &Case) -> bool {
    let result = rich(case).await;
    let shown = blocks(&result)[0]["annotations"].get("lastModified").is_some();
    assert_eq!(shown, result["content"].to_string().contains("lastModified"));
    shown
}

async fn structured(case: &Case) -> bool {
    let result = rich(case).await;
    let told = blocks(&result).iter().any(|block| block["text"] == r#"{"a":1}"#);
    let shown = result["structuredContent"] == json!({"a": 1});
    assert!(told != shown, "as data, or else as text");
    shown
}

async fn structured_any(case: &Case) -> bool {
    let told = case.open().await.call("lister", json!({})).await;
    assert_eq!(told.result()["content"], json!([{"type": "text", "text": "[1,2]"}]));
    told.result()["structuredContent"] == json!([1, 2])
}

async fn resource_read(case: &Case) -> bool {
    let told = case.open().await.ask("resources/read", json!({"uri": "note://today"})).await;
    told.result()["contents"] == json!([{"uri": "note://today", "mimeType": "text/plain", "text": "Hey."}])
}

async fn resource_template(case: &Case) -> bool {
    let told = case.open().await.ask("resources/read", json!({"uri": "page://dune/12"})).await;
    told.result()["contents"] == json!([{"uri": "page://dune/12", "blob": "AAEC"}])
}

async fn resource_meta(case: &Case) -> bool {
    let told = case.open().await.ask("resources/read", json!({"uri": "shown://one"})).await;
    assert_eq!(told.result()["contents"][0]["text"], "One.");
    told.result()["contents"][0]["_meta"]["example.com/kept"] == true
}

async fn prompt_got(case: &Case) -> bool {
    let params = json!({"name": "greeting", "arguments": {"who": "Ann"}});
    let told = case.open().await.ask("prompts/get", params).await;
    told.result()["messages"] == json!([{"role": "user", "content": {"type": "text", "text": "Greet Ann."}}])
}

async fn prompt_audio(case: &Case) -> bool {
    let told = case.open().await.ask("prompts/get", json!({"name": "sung"})).await;
    let content = &told.result()["messages"][0]["content"];
    assert!(content["type"] == "audio" || content["resource"]["blob"] == "AAEC");
    content["type"] == "audio"
}

async fn complete(case: &Case) -> Told {
    let params = json!({
        "ref": {"type": "ref/prompt", "name": "greeting"},
        "argument": {"name": "who", "value": "A"},
        "context": {"arguments": {"city": "Rome"}},
    });
    case.open().await.ask("completion/complete", params).await
}

async fn completion(case: &Case) -> bool {
    let told = complete(case).await;
    let completion = &told.result()["completion"];
    let values = completion["values"].as_array().unwrap();
    assert!(values[0].as_str().unwrap().starts_with("A0"));
    values.len() == 100 && completion["total"] == 150 && completion["hasMore"] == true
}

async fn completion_context(case: &Case) -> bool {
    complete(case).await.result()["completion"]["values"][0] == "A0 Rome"
}

async fn report(case: &Case, meta: Value) -> Told {
    let told = case.open().await.ask("tools/call", json!({"name": "reporting", "_meta": meta})).await;
    told.result();
    told
}

async fn progress(case: &Case) -> bool {
    let told = report(case, json!({"progressToken": "p"})).await;
    // what the tool says once more, when it is done, may still come before the answer
    let heard = &told.noticed("notifications/progress")[..3];
    assert!(heard.iter().all(|one| one["progressToken"] == "p" && one["total"] == 100.0));
    let steps: Vec<_> = heard.iter().filter_map(|one| one["progress"].as_f64()).collect();
    assert!(report(case, json!({})).await.noticed("notifications/progress").is_empty(), "nobody asked");
    steps == [0.0, 50.0, 100.0]
}

async fn progress_words(case: &Case) -> bool {
    let level = json!({"progressToken": 7, "io.modelcontextprotocol/logLevel": "info"});
    let told = report(case, level).await;
    let worded = told.noticed("notifications/progress")[0]["message"] == "on the way";
    let logged = told
        .noticed("notifications/message")
        .iter()
        .any(|one| one["logger"] == "progress" && one["data"] == "on the way");
    assert!(worded != logged, "in one place or the other");
    worded
}

async fn logs(case: &Case) -> bool {
    let loud = |told: &Told| {
        told.noticed("notifications/message").iter().any(|one| one["data"] == json!({"loud": true}))
    };
    let quiet = |told: &Told| told.noticed("notifications/message").iter().any(|one| one["data"] == "quiet");
    let (less, more) = if case.revision.door() == Door::Envelope {
        let at = |level: &str| json!({"io.modelcontextprotocol/logLevel": level});
        (report(case, at("warning")).await, report(case, at("debug")).await)
    } else {
        let talk = case.open().await;
        let less = talk.call("reporting", json!({})).await;
        talk.ask("logging/setLevel", json!({"level": "debug"})).await.result();
        (less, talk.call("reporting", json!({})).await)
    };
    loud(&less) && !quiet(&less) && loud(&more) && quiet(&more)
}
