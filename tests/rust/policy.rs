//! What the preset policy sets mean, and what no policy can be made to do.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bartizan::json::{Map, Value, json};
use bartizan::policy::{Config, Effect, Policy, Resource, Verdict};
use bartizan::principal::{Principal, PrincipalKind};
use proptest::prelude::*;

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "size": {}, "name": {}, "force": {}, "tags": {}, "cost": {}, "address": {},
            "order": {"type": "object", "properties": {"term": {}}, "additionalProperties": false}
        },
        "additionalProperties": false
    })
}

struct Called {
    name: &'static str,
    effect: Effect,
    toolset: &'static str,
    scopes: BTreeSet<String>,
    input: Value,
}

impl Called {
    fn new(name: &'static str, effect: Effect) -> Self {
        Self { name, effect, toolset: "fabric", scopes: BTreeSet::new(), input: schema() }
    }

    fn resource(&self) -> Resource<'_> {
        Resource {
            name: self.name,
            family: "tool",
            effect: self.effect,
            toolset: self.toolset,
            source: "equinix",
            target: Some("POST https://api.example.com/x"),
            scopes: &self.scopes,
            input: &self.input,
        }
    }
}

fn caller(scopes: &[&str]) -> Principal {
    let mut principal = Principal::new("key:ci", PrincipalKind::ApiKey);
    principal.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    principal
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => panic!("arguments are an object"),
    }
}

fn own(text: &str) -> Policy {
    Policy::from_text("own.cedar", text).unwrap()
}

#[test]
fn presets_decide_as_documented() {
    use Effect::{Destroy, Read, Write};
    use Verdict::{Allow, Ask, Deny};
    let full = caller(&["read", "write", "admin"]);
    for (set, expected) in [
        ("read-only", [(Read, Allow), (Write, Deny), (Destroy, Deny)]),
        ("standard", [(Read, Allow), (Write, Ask), (Destroy, Deny)]), // in development: tiers.rs
        ("admin", [(Read, Allow), (Write, Allow), (Destroy, Ask)]),
    ] {
        let policy = Policy::load(&Config::of(set)).unwrap();
        for (effect, verdict) in expected {
            let called = Called::new("thing_do", effect);
            let judgement = policy.judge(&full, &called.resource(), &Map::new());
            assert_eq!(judgement.verdict, verdict, "{set} {effect:?}");
            assert_eq!(policy.lists(&full, &called.resource()), verdict != Deny, "{set} {effect:?}");
        }
    }
    assert_eq!(Config::default(), Config::of("read-only"));
}

#[test]
fn a_refused_destroy_is_said_where_the_policy_says_so() {
    let full = caller(&["read", "write", "admin"]);
    let destroy = Called::new("thing_delete", Effect::Destroy);
    let hidden = |set: &str| {
        Policy::load(&Config::of(set)).unwrap().judge(&full, &destroy.resource(), &Map::new()).hidden
    };
    assert!(hidden("read-only"));
    assert!(!hidden("standard"));
    let standard = Policy::load(&Config::of("standard")).unwrap();
    let judgement = standard.explain(&full, &destroy.resource(), &Map::new());
    assert_eq!(judgement.policies.iter().map(|id| &**id).collect::<Vec<_>>(), ["standard.no-destroying"]);
}

#[test]
fn scopes_stand_above_policies() {
    let policy = own("permit (principal, action, resource);");
    let verdict = |scopes: &[&str], called: &Called| {
        let judgement = policy.judge(&caller(scopes), &called.resource(), &Map::new());
        (judgement.verdict, judgement.hidden)
    };
    let (allow, hidden) = ((Verdict::Allow, false), (Verdict::Deny, true));
    let read = Called::new("a", Effect::Read);
    let write = Called::new("b", Effect::Write);
    let destroy = Called::new("c", Effect::Destroy);
    for scope in ["read", "write", "admin"] {
        assert_eq!(verdict(&[scope], &read), allow);
    }
    assert_eq!(verdict(&[], &read), hidden);
    assert_eq!(verdict(&["read"], &write), hidden);
    assert_eq!(verdict(&["read"], &destroy), hidden);
    assert_eq!(verdict(&["write"], &destroy), allow);
    let special = Called { scopes: BTreeSet::from(["billing".to_owned()]), ..Called::new("d", Effect::Read) };
    assert_eq!(verdict(&["admin"], &special), hidden);
    assert_eq!(verdict(&["admin", "billing"], &special), allow);

    let admin = Policy::load(&Config::of("admin")).unwrap();
    let judge = |scopes: &[&str]| admin.judge(&caller(scopes), &destroy.resource(), &Map::new()).verdict;
    assert_eq!(judge(&["write"]), Verdict::Deny);
    assert_eq!(judge(&["admin"]), Verdict::Ask);
}

#[test]
fn policies_see_roles_tenants_tools_and_toolsets() {
    let policy = own(r#"
        permit (principal in Role::"ops", action, resource in Toolset::"fabric");
        permit (principal == Principal::"key:ci", action, resource == Tool::"status_get");
        permit (principal in Tenant::"acme", action, resource in Connector::"equinix");
        permit (principal, action, resource) when { principal has tenant && principal.tenant == "umbrella" };
        permit (principal, action, resource)
        when { principal has owner && principal.owner == "ana" };
        permit (principal, action, resource)
        when { principal has issuer && principal has bearer && principal.issuer == "us" && principal.bearer == "bot" };
        forbid (principal, action, resource) when { resource has target && resource.target like "*evil*" };
        "#);
    let fabric = Called::new("ports_list", Effect::Read);
    let metal = Called { toolset: "metal", ..Called::new("servers_list", Effect::Read) };
    let status = Called { toolset: "metal", ..Called::new("status_get", Effect::Read) };
    let verdict = |principal: &Principal, called: &Called| {
        policy.judge(principal, &called.resource(), &Map::new()).verdict
    };
    let plain = caller(&["read"]);
    let mut ops = plain.clone();
    ops.roles.insert("ops".into());
    let mut acme = plain.clone();
    acme.tenant = Some("acme".into());
    assert_eq!(verdict(&plain, &fabric), Verdict::Deny);
    assert_eq!(verdict(&ops, &fabric), Verdict::Allow);
    assert_eq!(verdict(&ops, &metal), Verdict::Deny);
    assert_eq!(verdict(&plain, &status), Verdict::Allow);
    assert_eq!(verdict(&acme, &metal), Verdict::Allow);
    let elsewhere = Resource { source: "python", ..metal.resource() };
    assert_eq!(policy.judge(&acme, &elsewhere, &Map::new()).verdict, Verdict::Deny);
    let umbrella = Principal { tenant: Some("umbrella".into()), ..plain.clone() };
    assert_eq!(policy.judge(&umbrella, &elsewhere, &Map::new()).verdict, Verdict::Allow);
    let bot = Principal { issuer: Some("us".into()), bearer: Some("bot".into()), ..plain.clone() };
    assert_eq!(verdict(&bot, &metal), Verdict::Allow);
    let other = Principal { bearer: Some("another".into()), ..bot };
    let owned = Principal { owner: Some("ana".into()), ..other.clone() };
    assert_eq!(verdict(&owned, &metal), Verdict::Allow);
    assert_eq!(verdict(&other, &metal), Verdict::Deny, "what is remembered of one is not of the other");
    let evil = Resource { target: Some("GET https://evil.example"), ..metal.resource() };
    assert_eq!(policy.judge(&acme, &evil, &Map::new()).verdict, Verdict::Deny);
}

/// Reads arguments of every type.
const ARGUMENTS: &str = r#"
    @id("small") permit (principal, action, resource)
    when { context.arguments has size && context.arguments.size <= 10 };
    @id("prod") forbid (principal, action, resource)
    when { context.arguments has name && context.arguments.name == "prod" };
    @id("forced") forbid (principal, action, resource)
    when { context.arguments has force && context.arguments.force };
    @id("tagged") forbid (principal, action, resource)
    when { context.arguments has tags && context.arguments.tags.contains("keep") };
    @id("dear") forbid (principal, action, resource)
    when { context.arguments has cost && context.arguments.cost.greaterThan(decimal("99.99")) };
    @id("outside") forbid (principal, action, resource)
    when { context.arguments has address && !context.arguments.address.isInRange(ip("10.0.0.0/8")) };
    @id("long") forbid (principal, action, resource)
    when { context.arguments has order && context.arguments.order has term && context.arguments.order.term > 12 };
"#;

fn fitting() -> Value {
    json!({
        "size": 3, "name": "test", "force": false, "tags": ["new"], "cost": 12.5, "address": "10.1.2.3",
        "order": {"term": 12}
    })
}

#[test]
fn arguments_are_read_as_what_they_are() {
    let policy = own(ARGUMENTS);
    let called = Called::new("thing_order", Effect::Write);
    let verdict =
        |arguments: Value| policy.judge(&caller(&["write"]), &called.resource(), &map(arguments)).verdict;
    let with = |key: &str, value: Value| {
        let mut arguments = fitting();
        arguments[key] = value;
        verdict(arguments)
    };
    assert_eq!(verdict(fitting()), Verdict::Allow);
    for (key, value) in [
        ("size", json!(11)),
        ("name", json!("prod")),
        ("force", json!(true)),
        ("tags", json!(["keep"])),
        ("cost", json!(100)),
        ("address", json!("8.8.8.8")),
        ("order", json!({"term": 13})),
    ] {
        assert_eq!(with(key, value), Verdict::Deny, "{key}");
    }
    assert!(policy.lists(&caller(&["write"]), &called.resource()));
    assert!(!policy.judge(&caller(&["write"]), &called.resource(), &Map::new()).hidden);
    let explained = policy.explain(&caller(&["write"]), &called.resource(), &map(json!({"size": "3"})));
    assert_eq!(explained.policies.iter().map(|id| &**id).collect::<Vec<_>>(), ["arguments"]);
}

#[test]
fn an_argument_that_a_tool_does_not_take_is_not_wanted() {
    let policy = own(
        "permit (principal, action, resource);
         forbid (principal, action, resource) when { context.arguments has zone && context.arguments.zone == \"x\" };",
    );
    let called = Called::new("thing_get", Effect::Read);
    let verdict = |input: Value, arguments: Value| {
        let resource = Resource { input: &input, ..called.resource() };
        policy.judge(&caller(&["read"]), &resource, &map(arguments)).verdict
    };
    assert_eq!(verdict(schema(), json!({})), Verdict::Allow);
    let zoned =
        json!({"type": "object", "properties": {"zone": {"type": "string"}}, "additionalProperties": false});
    assert_eq!(verdict(zoned.clone(), json!({})), Verdict::Deny);
    assert_eq!(verdict(zoned.clone(), json!({"zone": "y"})), Verdict::Allow);
    assert_eq!(verdict(zoned, json!({"zone": "x"})), Verdict::Deny);
    assert_eq!(verdict(json!({"type": "object"}), json!({})), Verdict::Deny);
}

#[test]
fn a_policy_that_errs_denies() {
    // The sum overflows, which Cedar finds out only when it evaluates.
    let policy = own("permit (principal, action, resource);
         forbid (principal, action, resource)
         when { context.arguments has size && context.arguments.size + 9223372036854775807 < 0 };");
    let called = Called::new("thing_get", Effect::Read);
    let verdict =
        |size: i64| policy.judge(&caller(&["read"]), &called.resource(), &map(json!({"size": size}))).verdict;
    assert_eq!(verdict(0), Verdict::Allow);
    assert_eq!(verdict(1), Verdict::Deny);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-20i64..200).prop_map(Value::from),
        (-20.0f64..200.0).prop_map(Value::from),
        prop_oneof![Just("prod"), Just("test"), Just("keep"), Just("10.0.0.1"), Just("8.8.8.8"), Just("12")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("term|keep|x", inner, 0..3).prop_map(|object| json!(object)),
        ]
    })
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

const KEYS: [&str; 7] = ["size", "name", "force", "tags", "cost", "address", "order"];

fn arguments() -> impl Strategy<Value = Value> {
    (
        0i64..20,
        prop_oneof![Just("prod"), Just("test")],
        any::<bool>(),
        prop::collection::vec(prop_oneof![Just("keep"), Just("new")], 0..3),
        0i64..200,
        prop_oneof![Just("10.0.0.1"), Just("8.8.8.8")],
        0i64..24,
    )
        .prop_map(|(size, name, force, tags, cost, address, term)| {
            json!({
                "size": size, "name": name, "force": force, "tags": tags, "cost": cost, "address": address,
                "order": {"term": term}
            })
        })
}

fn principals() -> impl Strategy<Value = Principal> {
    let some = |names: &'static [&'static str]| {
        prop::sample::subsequence(names, 0..=names.len())
            .prop_map(|names| names.into_iter().map(String::from).collect::<BTreeSet<_>>())
    };
    (
        some(&["read", "write", "admin"]),
        some(&["ops", "dev"]),
        prop::option::of(prop_oneof![Just("acme"), Just("umbrella")]),
    )
        .prop_map(|(scopes, roles, tenant)| {
            let mut principal = Principal::new("key:ci", PrincipalKind::ApiKey);
            principal.scopes = scopes;
            principal.roles = roles;
            principal.tenant = tenant.map(String::from);
            principal
        })
}

static READS: LazyLock<Policy> = LazyLock::new(|| own(ARGUMENTS));

/// The presets and one that reads roles, tenants and, for some tools, arguments.
static ALL: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    let mixed = r#"
        permit (principal in Role::"ops", action, resource in Toolset::"metal");
        permit (principal, action == Action::"call", resource in Toolset::"metal")
        when { principal has tenant && resource.effect != "destroy" };
        forbid (principal in Tenant::"umbrella", action == Action::"callUnattended", resource);
        forbid (principal in Role::"dev", action, resource in Toolset::"metal") when { resource.effect == "write" };
        permit (principal in Role::"dev", action, resource in Toolset::"fabric")
        when { context.arguments has size && context.arguments.size < 10 };
    "#;
    let mut all = vec![own(mixed), own(ARGUMENTS)];
    all.extend(["read-only", "standard", "admin"].map(|set| Policy::load(&Config::of(set)).unwrap()));
    all
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_remembered_verdict_is_the_fresh_one(
        calls in prop::collection::vec((principals(), 0usize..3, 0usize..2, arguments()), 1..12)
    ) {
        for (principal, effect, toolset, arguments) in calls {
            let called = Called {
                toolset: ["fabric", "metal"][toolset],
                ..Called::new("thing_do", [Effect::Read, Effect::Write, Effect::Destroy][effect])
            };
            for policy in ALL.iter() {
                let arguments = map(arguments.clone());
                let fresh = policy.explain(&principal, &called.resource(), &arguments);
                let cached = policy.judge(&principal, &called.resource(), &arguments);
                prop_assert_eq!(&fresh, &*cached);
                let why = policy.why(&principal, &called.resource(), &arguments);
                prop_assert_eq!(&why.judgement, &fresh);
                let covered = called.effect.scopes().iter().any(|scope| principal.scopes.contains(*scope));
                prop_assert_eq!(covered, why.one_of.is_empty());
                prop_assert!(covered || (fresh.verdict == Verdict::Deny && fresh.hidden && !why.listed));
                // What is not listed is denied.
                if !policy.lists(&principal, &called.resource()) {
                    prop_assert_eq!(fresh.verdict, Verdict::Deny);
                }
            }
        }
    }

    #[test]
    fn dropping_or_retyping_never_softens_a_denial(
        arguments in arguments(), key in 0usize..KEYS.len(), other in any_json()
    ) {
        let called = Called::new("thing_order", Effect::Write);
        let verdict = |arguments: &Value| {
            READS.judge(&caller(&["write"]), &called.resource(), &map(arguments.clone())).verdict
        };
        let before = verdict(&arguments);
        let key = KEYS[key];
        // an argument, and what lies within one
        for path in [format!("/{key}"), String::from("/order/term")] {
            let (inside, name) = path.rsplit_once('/').unwrap();
            let mut dropped = arguments.clone();
            dropped.pointer_mut(inside).unwrap().as_object_mut().unwrap().remove(name);
            prop_assert!(verdict(&dropped) >= before, "{dropped}");
            // A decimal may be written as a text, which is a number in another spelling.
            let spelled = name == "cost" && other.as_str().is_some_and(|text| text.parse::<f64>().is_ok());
            if kind(&other) != kind(arguments.pointer(&path).unwrap()) && !spelled {
                let mut retyped = arguments.clone();
                *retyped.pointer_mut(&path).unwrap() = other.clone();
                prop_assert!(verdict(&retyped) >= before, "{retyped}");
            }
        }
    }
}

#[test]
fn policies_read_the_profile_and_an_unset_one_is_production() {
    let text = "permit (principal, action, resource);\n\
                @id(\"frozen\") forbid (principal, action, resource) when { context.profile == \"production\" }\n\
                unless { resource.effect == \"read\" };";
    let (principal, tool) = (caller(&["admin"]), Called::new("delete_it", Effect::Destroy));
    let judge = |policy: &Policy| policy.judge(&principal, &tool.resource(), &Map::new());
    let unset = Policy::from_text("own.cedar", text).unwrap();
    assert_eq!(judge(&unset).verdict, Verdict::Deny);
    assert!(
        !unset.lists(&principal, &tool.resource()),
        "it is denied for every argument, so it is not listed"
    );
    let staging = Policy::from_text("own.cedar", text).unwrap().in_profile("staging");
    assert_eq!(judge(&staging).verdict, Verdict::Allow);
    assert!(staging.lists(&principal, &tool.resource()));
    let typo = Policy::from_text(
        "own.cedar",
        "permit (principal, action, resource) when { context.stage == \"x\" };",
    );
    assert!(typo.err().unwrap().message().contains("context.profile"));
}

fn finds(policy: &str, tools: &[Called]) -> Vec<(bool, String)> {
    let found = own(policy).findings(&mut tools.iter().map(Called::resource));
    found.into_iter().map(|finding| (finding.fatal, finding.to_string())).collect()
}

#[test]
fn a_policy_that_reads_what_no_tool_takes_is_refused_with_the_name_that_was_meant() {
    let typed = |name, properties: Value| Called {
        input: json!({"type": "object", "properties": properties, "additionalProperties": false}),
        ..Called::new(name, Effect::Write)
    };
    let tools = [
        typed("ports_create", json!({"size": {"type": "integer"}, "metro": {"type": "string"}})),
        typed("vlans_create", json!({"size": {"type": "string"}, "vlan": {"type": "integer"}})),
        Called {
            toolset: "free",
            input: json!({"type": "object"}),
            ..Called::new("anything", Effect::Write)
        },
    ];
    let ports = "forbid (principal, action, resource == Tool::\"ports_create\") when";
    let one = |text: String| -> (bool, String) {
        let mut found = finds(&text, &tools);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        found.remove(0)
    };
    let (fatal, text) = one(format!(
        "permit (principal, action, resource);\n\n@id(\"small\")\n{ports} {{ context.arguments has sizee && context.arguments.sizee > 3 }};"
    ));
    assert!(fatal, "{text}");
    assert_eq!(
        text,
        "The policy small (own.cedar, line 3) reads the argument sizee, which does not exist: did you mean size?"
    );
    let (fatal, text) =
        one(format!("{ports} {{ context.arguments has metro && context.arguments.metro < 3 }};"));
    assert!(fatal && text.contains("a whole number, but in ports_create it is text"), "{text}");
    let fabric = "forbid (principal, action, resource in Toolset::\"fabric\") when";
    let (fatal, text) =
        one(format!("{fabric} {{ context.arguments has size && context.arguments.size > 3 }};"));
    assert!(!fatal && text.contains("in vlans_create it is text, so calls"), "{text}");
    let (fatal, text) = one("permit (principal, action, resource in Toolset::\"fabrik\");".into());
    assert!(!fatal && text.ends_with("did you mean Toolset::\"fabric\"?"), "{text}");
    let (fatal, text) = one("permit (principal, action, resource == Tool::\"unheard_of\");".into());
    assert!(!fatal && text.ends_with("nothing of that name is loaded."), "{text}");
    // A tool that takes anything may take this; one that is loaded later may too.
    assert!(
        finds("forbid (principal, action, resource) when { context.arguments has x };", &tools).is_empty()
    );
    let right = format!("{ports} {{ context.arguments has size && context.arguments.size > 3 }};");
    assert!(finds(&right, &tools).is_empty());
    assert!(own(&right).fit(&mut tools.iter().map(Called::resource)).is_ok());
    let wrong = format!("{ports} {{ context.arguments has sizee }};");
    let error = own(&wrong).fit(&mut tools.iter().map(Called::resource)).unwrap_err();
    assert_eq!(error.kind(), bartizan::error::Kind::BadConfig);
}

#[test]
fn why_names_what_decided_and_what_keeps_the_others() {
    use bartizan::policy::Holds;
    let policy = own(
        r#"@id("reads") permit (principal, action, resource) when { resource.effect == "read" };
@id("ops") permit (principal in Role::"ops", action == Action::"call", resource);
@id("metal") permit (principal, action, resource in Toolset::"metal");
@id("small") permit (principal, action, resource) when { context.arguments has size && context.arguments.size < 10 };
@id("big") forbid (principal, action, resource) when { context.arguments has size && context.arguments.size > 99 };"#,
    );
    let called = Called::new("ports_create", Effect::Write);
    let why =
        |principal: &Principal, arguments: Value| policy.why(principal, &called.resource(), &map(arguments));
    let plain = caller(&["write"]);
    let holds = |why: &bartizan::policy::Explanation| -> Vec<Holds> {
        why.considered.iter().map(|one| one.holds).collect()
    };
    let denied = why(&plain, json!({"size": 50}));
    assert_eq!((denied.judgement.verdict, denied.action), (Verdict::Deny, "call"));
    use Holds::{Arguments, Condition, OtherAction, OtherCaller, OtherTool, Yes};
    assert_eq!(holds(&denied), [Condition, OtherCaller, OtherTool, Condition, Condition]);
    assert_eq!(
        (denied.considered[2].place.line, denied.considered[2].place.file.as_str()),
        (Some(3), "own.cedar")
    );
    let untold = why(&plain, json!({}));
    assert_eq!(holds(&untold)[3..], [Arguments, Arguments]);
    assert_eq!(untold.troubles.len(), 2);
    assert!(untold.troubles[0].absent && untold.troubles[0].argument == "size");
    assert_eq!(untold.troubles[0].wanted, "a whole number");
    let mut ops = plain.clone();
    ops.roles.insert("ops".into());
    let asked = why(&ops, json!({"size": 50}));
    assert_eq!((asked.judgement.verdict, asked.action), (Verdict::Ask, "callUnattended"));
    assert_eq!(holds(&asked), [Condition, OtherAction, OtherTool, Condition, Condition]);
    assert_eq!(asked.deciding[0].id, "ops");
    let allowed = why(&plain, json!({"size": 5}));
    assert_eq!((allowed.judgement.verdict, holds(&allowed)[3]), (Verdict::Allow, Yes));
    let forbidden = why(&ops, json!({"size": 100}));
    assert_eq!(
        forbidden.deciding.iter().map(|place| (place.id.as_str(), place.permits)).collect::<Vec<_>>(),
        [("big", false)]
    );
    let bare = why(&caller(&["read"]), json!({"size": 5}));
    assert_eq!((bare.one_of, bare.judgement.verdict), (vec!["write", "admin"], Verdict::Deny));
}
