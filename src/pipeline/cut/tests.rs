//! What becomes of results that are too large, and of those that are not.

use super::*;
use crate::json::json;
use crate::pipeline::{Pattern, Reading};
use crate::redaction;
use std::cell::RefCell;

/// A tool's result, shaped; and what was kept of it.
fn shaped(
    result: &mut ToolResult,
    reading: Option<Reading>,
    wanted: &[&str],
    limit: usize,
) -> (Shaped, Vec<(String, bool)>) {
    let kept = RefCell::new(Vec::new());
    let keep = |whole: Whole<'_>| {
        kept.borrow_mut().push((whole.text, whole.binary));
        Some(Content::ResourceLink {
            uri: String::from("bartizan://results/one"),
            name: String::from("whole"),
            title: None,
            description: None,
            mime_type: None,
            size: None,
            annotations: None,
        })
    };
    let spec = ToolSpec { reading, ..ToolSpec::new("look") };
    let shaping = Shaping {
        spec: &spec,
        redactor: &Redactor::new(&redaction::Config::default()).unwrap(),
        wanted: &Paths::read(&json!(wanted)).unwrap(),
        quiet: true,
        limit,
        most: 1 << 20,
        way: None,
        keep: &keep,
    };
    let shaped = shaping.shape(result);
    (shaped, kept.into_inner())
}

fn reading() -> Reading {
    Reading { fields: Some(String::from("fields")), ..Reading::default() }
}

fn text(result: &ToolResult, index: usize) -> &str {
    let Content::Text { text, .. } = &result.content[index] else { panic!("no text") };
    text
}

#[test]
fn what_has_no_room_to_be_shaped_is_cut_and_says_so() {
    let mut result = ToolResult {
        content: vec![Content::text("é".repeat(100)), Content::text("more")],
        structured_content: Some(json!({"a": "b"})),
        ..ToolResult::default()
    };
    let (shaped, _) = shaped(&mut result, None, &[], 101);
    assert!(text(&result, 0).starts_with(&"é".repeat(40)) && text(&result, 0).contains(MARK));
    assert_eq!(shaped.told, Some(json!(true)));
    assert!(shaped.bytes < 101 + 2 * MARKER.len() + 20, "{}", shaped.bytes);
}

#[test]
fn what_fits_is_left_alone() {
    let mut result = ToolResult::structured(json!({"a": [1, null, "x"]}));
    let before = result.clone();
    let (shaped, kept) = shaped(&mut result, Some(reading()), &[], 1_000);
    assert!(shaped.bytes > 10 && shaped.told.is_none() && kept.is_empty());
    assert_eq!(result, before);
}

#[test]
fn a_long_list_is_shown_in_whole_items_with_how_many_there_are() {
    let items: Vec<Value> = (0..5_000).map(|id| json!({"id": id, "name": format!("thing “{id}”")})).collect();
    let mut result = ToolResult::structured(json!({"data": items, "kind": "list"}));
    let (shaped, kept) = shaped(&mut result, Some(reading()), &[], 16_000);
    let value = result.structured_content.as_ref().unwrap();
    let shown = value["data"].as_array().unwrap();
    assert_eq!(shown[..], items[..shown.len()]);
    assert!(shown.len() > 200, "{}", shown.len());
    assert_eq!(shaped.list, Some((String::from("/data"), shown.len())));
    assert_eq!(shaped.told, Some(json!({"list": "/data", "shown": shown.len(), "total": 5_000})));
    assert_eq!(
        value[MARK],
        format!("{} of 5000 items; the whole result: bartizan://results/one", shown.len())
    );
    assert_eq!(text(&result, 0), value.to_string());
    assert!(text(&result, 0).len() <= 16_000);
    assert!(matches!(result.content.last(), Some(Content::ResourceLink { .. })));
    assert_eq!(serde_json::from_str::<Value>(&kept[0].0).unwrap()["data"].as_array().unwrap().len(), 5_000);
}

#[test]
fn a_bare_list_has_its_marker_at_its_end() {
    let mut result = ToolResult::structured(json!(vec!["x".repeat(99); 900]));
    let (shaped, _) = shaped(&mut result, Some(reading()), &[], 4_000);
    let items = result.structured_content.as_ref().unwrap().as_array().unwrap();
    assert!(items.last().unwrap().as_str().unwrap().starts_with(MARK));
    assert_eq!(shaped.list, Some((String::new(), items.len() - 1)));
}

#[test]
fn fields_come_before_the_size_and_noise_only_without_them() {
    let noisy =
        || Some(Reading { noise: vec![Pattern::parse("**.href").unwrap()], prune: true, ..reading() });
    let value = json!({"data": [{"id": 1, "href": "https://x", "note": null}], "href": "y"});
    let mut plain = ToolResult::structured(value.clone());
    shaped(&mut plain, noisy(), &[], 1_000);
    assert_eq!(plain.structured_content, Some(json!({"data": [{"id": 1}], MARK: "without noise (3)"})));
    assert_eq!(text(&plain, 0), r#"{"data":[{"id":1}],"[redacted:cut]":"without noise (3)"}"#);
    assert_eq!(plain.meta.unwrap()[NOISE], 3);
    let mut asked = ToolResult::structured(value.clone());
    shaped(&mut asked, noisy(), &["data.href"], 1_000);
    assert_eq!(
        asked.structured_content,
        Some(json!({"data": [{"href": "https://x"}], MARK: "only what was asked for"}))
    );
    let mut all = ToolResult::structured(json!({"data": []}));
    shaped(&mut all, noisy(), &["data"], 1_000);
    assert_eq!(all.structured_content, Some(json!({"data": []})), "nothing went");
    let mut wrong = ToolResult::structured(value);
    shaped(&mut wrong, noisy(), &["data.idd"], 1_000);
    assert!(wrong.is_error && text(&wrong, 0).contains("data.id"), "{}", text(&wrong, 0));
}

#[test]
fn a_long_text_ends_early_and_pictures_are_no_words() {
    let mut result = ToolResult::text("é".repeat(20_000));
    let (shaped, kept) = shaped(&mut result, Some(reading()), &[], 16_000);
    assert!(
        text(&result, 0).len() <= 16_000
            && text(&result, 0).ends_with("the whole result: bartizan://results/one")
    );
    assert!(shaped.told.is_some() && kept[0].0.len() == 40_000);
    let picture = |size: usize| Content::Image {
        data: "A".repeat(size),
        mime_type: String::from("image/png"),
        annotations: None,
        meta: None,
    };
    let mut result = ToolResult { content: vec![picture(300_000)], ..ToolResult::default() };
    let before = result.clone();
    let (shown, _) = self::shaped(&mut result, Some(reading()), &[], 16_000);
    assert!(shown.told.is_none());
    assert_eq!(result, before);
    let mut result = ToolResult { content: vec![picture(2 << 20)], ..ToolResult::default() };
    let (shown, kept) = self::shaped(&mut result, Some(reading()), &[], 16_000);
    assert!(shown.told.is_some() && kept == [("A".repeat(2 << 20), true)]);
    assert!(text(&result, 0).starts_with(MARK) && matches!(result.content[1], Content::ResourceLink { .. }));
}

#[test]
fn a_failure_says_what_it_says_and_its_long_answer_loses_parts() {
    let mut result = ToolResult::failure("acme refused the request (HTTP 422).");
    result.structured_content =
        Some(json!({"kind": "UpstreamRefused", "status": 422, "answer": {"errors": vec!["wrong"; 9_000]}}));
    let (shaped, _) = shaped(&mut result, Some(reading()), &["data"], 4_000);
    assert!(result.is_error && text(&result, 0) == "acme refused the request (HTTP 422).");
    let value = result.structured_content.unwrap();
    assert_eq!((&value["status"], &value["answer"]["errors"][0]), (&json!(422), &json!("wrong")));
    assert!(length(&value) <= 4_000 && shaped.list.is_none() && !value.to_string().contains("ask with"));
}

#[test]
fn what_was_cut_cannot_be_sent_back() {
    let redactor = Redactor::new(&redaction::Config::default()).unwrap();
    let rules: Vec<Value> = (0..2_000).map(|id| json!({"id": id, "allow": "10.0.0.0/8"})).collect();
    for value in [
        json!({"firewall": {"rules": rules, "name": "edge"}}),
        json!(rules),
        json!({"rules": {"text": "x".repeat(50_000)}, "name": "edge"}),
    ] {
        let mut result = ToolResult::structured(value);
        shaped(&mut result, Some(reading()), &[], 16_000);
        let shown = result.structured_content.unwrap();
        assert!(redactor.refuses(&json!({ "body": shown.get("firewall").unwrap_or(&shown) })), "{shown}");
    }
}
