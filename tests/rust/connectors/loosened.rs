//! What cannot be checked here must never make a valid call impossible: a pruned schema accepts all that the whole
//! one accepts.

use bartizan::connectors::openapi::load;
use bartizan::error::Kind;
use bartizan::json::{Map, Value, json};
use bartizan::schema::Schema;
use proptest::prelude::*;

use super::rig::Rig;
use crate::loopback::answer;

/// A document whose one operation takes a body of this schema.
fn document(body: &Value, components: &Value) -> Value {
    json!({"openapi": "3.1.0", "info": {"title": "Acme", "version": "1"}, "components": {"schemas": components},
        "paths": {"/things": {"post": {"operationId": "add", "requestBody": {"required": true,
            "content": {"application/json": {"schema": body}}}, "responses": {"200": {"description": "ok"}}}}}})
}

/// What is checked of a body within that many bytes.
fn pruned(body: &Value, components: &Value, budget: usize) -> Schema {
    let document = load(document(body, components).to_string().as_bytes(), None).unwrap();
    assert!(document.refused.is_empty(), "{:?}", document.refused);
    let schema = document.operations[0].body.as_ref().unwrap().schema.value_within(budget);
    assert!(!schema.to_string().contains("x-bartizan"), "{schema}");
    Schema::compile(&schema).unwrap()
}

#[test]
fn a_branch_whose_pattern_cannot_be_matched_makes_the_others_no_less_valid() {
    let (ahead, text) = (json!({"pattern": "^(?=admin)"}), json!({"type": "string"}));
    let hello = json!({"x": "hello"});
    for (schema, fine) in [
        (json!({"oneOf": [{"type": "string", "enum": ["none", "alert"]}, ahead]}), json!("none")),
        (json!({"oneOf": [{"$ref": "#/components/schemas/Ahead"}, {"const": "none"}]}), json!("none")),
        (json!({"anyOf": [{"type": "null"}], "oneOf": [ahead, {"type": "null"}]}), json!(null)),
        (json!({"properties": {"x": {"not": ahead}}}), hello.clone()),
        (json!({"not": {"properties": {"x": {"$ref": "#/components/schemas/Ahead"}}}}), hello.clone()),
        (json!({"properties": {"x": {"if": ahead, "then": {"maxLength": 2}}}}), hello.clone()),
        (json!({"contains": ahead, "minContains": 0, "maxContains": 1}), json!(["a", "b", "c"])),
        (json!({"patternProperties": {"^(?=x)": text}, "unevaluatedProperties": false}), hello.clone()),
        (json!({"patternProperties": {"^(?=x)": text}, "additionalProperties": false}), hello.clone()),
        (
            json!({"properties": {"x\u{200b}": text}, "additionalProperties": false}),
            json!({"x\u{200b}": "a"}),
        ),
        (json!({"oneOf": [{"dependentRequired": {"x": ["y"]}}, {"required": ["x"]}]}), hello.clone()),
        (json!({"oneOf": [{"const": "y".repeat(400)}, {"type": "string", "maxLength": 9}]}), json!("none")),
    ] {
        let pruned = pruned(&schema, &json!({"Ahead": ahead}), 1 << 20);
        assert!(pruned.fits(&fine), "{schema} {fine}");
    }
}

#[test]
fn what_is_wholly_checked_stays_as_strict_as_it_is() {
    let schema = json!({"oneOf": [{"type": "integer"}, {"minimum": 5}], "properties": {"x": {"pattern": "^(?=a)"}},
        "not": {"const": 7}});
    let pruned = pruned(&schema, &json!({}), 1 << 20);
    assert!(pruned.fits(&json!(3)) && !pruned.fits(&json!(6)) && !pruned.fits(&json!(7)));
}

#[tokio::test]
async fn a_brace_that_repeats_nothing_is_a_brace() {
    let action = json!({"oneOf": [{"type": "string", "enum": ["alert", "none"]},
        {"type": "string", "pattern": r"deny_custom_{\d+}"}]});
    let body = json!({"type": "object", "properties": {"action": action}, "required": ["action"]});
    let rig = Rig::new(document(&body, &json!({})), "", |_, _| answer(200, "{}")).await;
    for fine in ["alert", "none", "deny_custom_{12}"] {
        let result = rig.call("add", json!({"body": {"action": fine}})).await.unwrap();
        assert!(!result.is_error, "{fine}");
    }
    let error = rig.call("add", json!({"body": {"action": "rubbish"}})).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadArguments);
}

#[tokio::test]
async fn alternatives_that_are_too_large_to_be_checked_can_be_sent() {
    let animal = |kind: &str| {
        let mut properties: Map<String, Value> = (0..600)
            .map(|at| (format!("{kind}{at}"), json!({"type": "string", "description": "x".repeat(80)})))
            .collect();
        properties.insert(String::from("kind"), json!({"const": kind}));
        json!({"type": "object", "properties": properties, "required": ["kind"]})
    };
    let both = json!([{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}]);
    let components = json!({"Cat": animal("cat"), "Dog": animal("dog"), "Pet": {"oneOf": both}});
    for body in [
        json!({"oneOf": both}),
        json!({"$ref": "#/components/schemas/Pet"}),
        json!({"allOf": [{"$ref": "#/components/schemas/Cat"}], "unevaluatedProperties": false}),
        json!({"not": {"$ref": "#/components/schemas/Dog"}}),
    ] {
        let rig = Rig::new(document(&body, &components), "", |_, _| answer(200, "{}")).await;
        let result = rig.call("add", json!({"body": {"kind": "cat", "cat7": "grey"}})).await.unwrap();
        assert!(!result.is_error, "{body}");
    }
}

#[test]
fn a_circle_that_is_cut_makes_nothing_impossible() {
    let components = json!({
        "Pet": {"oneOf": [{"$ref": "#/components/schemas/Cat"}, {"type": "object", "required": ["bark"]}]},
        "Cat": {"allOf": [{"$ref": "#/components/schemas/Pet"}, {"type": "object"}]},
        "Odd": {"not": {"allOf": [{"$ref": "#/components/schemas/Odd"}]}}});
    for name in ["Pet", "Cat", "Odd"] {
        let body = json!({"$ref": format!("#/components/schemas/{name}")});
        let pruned = pruned(&body, &components, 1 << 20);
        assert!(pruned.fits(&json!({"bark": 1})) && pruned.fits(&json!({})), "{name}");
    }
}

#[tokio::test]
async fn a_described_answer_fits_whatever_part_of_it_is_shown() {
    let one =
        |kind: &str| json!({"type": "object", "required": [kind], "properties": {kind: {"type": "string"}}});
    let schema = json!({"type": "object", "properties": {"pet": {"oneOf": [one("cat"), one("dog")]},
        "tags": {"type": "array", "contains": {"const": "last"}}, "x": {"not": one("cat")}}});
    let mut document = document(&json!({}), &json!({}));
    document["paths"]["/things"] = json!({"get": {"operationId": "one", "responses": {"200": {"description": "ok",
        "content": {"application/json": {"schema": schema}}}}}});
    let manifest = "[[operation]]\nid = 'one'\noutput = true";
    let rig = Rig::new(document, manifest, |_, _| answer(200, "{}")).await;
    let output = rig.tool("one").spec().output.as_ref().unwrap();
    for part in [json!({}), json!({"pet": {}}), json!({"tags": ["first"], "x": {}})] {
        assert!(output.compiled().unwrap().fits(&part), "{part}");
    }
    assert!(!output.compiled().unwrap().fits(&json!({"pet": 1, "tags": 2})));
}

/// Decisions, as a property test draws them; the same ones again when it shrinks.
struct Dice<'a>(std::slice::Iter<'a, u8>);

const PARTS: usize = 5;
const PATTERNS: [&str; 4] = ["^(?=a)", "^a", r"^(a)\1", "b$"];
const TYPES: [&str; 4] = ["string", "object", "array", "integer"];
const NAMES: [&str; 3] = ["a", "b", "aa"];

impl Dice<'_> {
    fn of(&mut self, sides: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or_default()) % sides
    }

    fn value(&mut self, levels: usize) -> Value {
        match self.of(if levels == 0 { 5 } else { 9 }) {
            0 => json!(null),
            1 => json!(self.of(4)),
            2 => json!("a"),
            3 => json!(["", "aa", "b", "ab"][self.of(4)]),
            4 => json!(true),
            5 | 6 => (0..self.of(4)).map(|_| self.value(levels - 1)).collect(),
            _ => (0..self.of(4)).map(|_| (NAMES[self.of(3)].to_owned(), self.value(levels - 1))).collect(),
        }
    }

    fn reference(&mut self, from: usize) -> Value {
        json!({"$ref": format!("#/components/schemas/P{}", from + self.of(PARTS - from))})
    }

    /// A schema; parts from `next` on may be meant for the same value without a circle.
    fn schema(&mut self, levels: usize, next: usize) -> Value {
        let Some(levels) = levels.checked_sub(1) else { return self.leaf(next) };
        let pattern = PATTERNS[self.of(4)];
        match self.of(13) {
            0 | 1 => self.leaf(next),
            2 => json!({"oneOf": self.several(levels, next)}),
            3 => json!({"anyOf": self.several(levels, next)}),
            4 => json!({"allOf": self.several(levels, next)}),
            5 => json!({"not": self.schema(levels, next)}),
            6 => json!({"if": self.schema(levels, next), "then": self.schema(levels, next),
                "else": self.schema(levels, next)}),
            7 => {
                json!({"contains": self.schema(levels, 0), "minContains": self.of(2), "maxContains": self.of(3)})
            }
            8 => json!({"properties": {"a": self.schema(levels, 0)}, "patternProperties": {
                pattern: self.schema(levels, 0)}, "additionalProperties": self.schema(levels, 0)}),
            9 => json!({"items": self.schema(levels, 0), "propertyNames": {"pattern": pattern}}),
            10 => json!({"allOf": self.several(levels, next), "unevaluatedProperties": false}),
            11 => json!({"anyOf": self.several(levels, next), "unevaluatedItems": self.schema(levels, 0),
                "prefixItems": [self.schema(levels, 0)]}),
            _ => json!({"properties": {"a": self.schema(levels, 0), "b": self.schema(levels, 0)},
                "required": ["a"], "dependentSchemas": {"b": self.schema(levels, next)}}),
        }
    }

    fn several(&mut self, levels: usize, next: usize) -> Vec<Value> {
        (0..=1 + self.of(2)).map(|_| self.schema(levels, next)).collect()
    }

    fn leaf(&mut self, next: usize) -> Value {
        match self.of(8) {
            0 | 1 if next < PARTS => self.reference(next),
            2 => json!({"properties": {"a": self.reference(0)}}),
            3 => json!({"items": self.reference(0)}),
            4 => json!({"pattern": PATTERNS[self.of(4)]}),
            5 => json!({"enum": [self.value(1), self.value(0), "y".repeat(250 + self.of(2) * 100)]}),
            6 => json!({"type": TYPES[self.of(4)]}),
            _ => json!({"maxLength": self.of(2), "maximum": 1, "maxItems": 1}),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_whole_schema_accepts_the_pruned_one_accepts(drawn in prop::collection::vec(any::<u8>(), 500)) {
        let mut dice = Dice(drawn.iter());
        let budget = [40, 300, 1_000, 1 << 20][dice.of(4)];
        let body = dice.schema(3, 0);
        let components: Map<String, Value> =
            (0..PARTS).map(|at| (format!("P{at}"), dice.schema(2, at + 1))).collect();
        let mut whole = body.clone();
        whole["components"] = json!({"schemas": components});
        let whole = jsonschema::draft202012::options().build(&whole).unwrap();
        let pruned = pruned(&body, &Value::Object(components), budget);
        for _ in 0..24 {
            let value = dice.value(3);
            if whole.is_valid(&value) {
                prop_assert!(pruned.fits(&value), "{body} with {budget}: {value}");
            }
        }
    }
}
