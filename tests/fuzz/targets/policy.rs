//! Policy: whatever the arguments are, nothing panics, a remembered verdict is the fresh one, and leaving an argument out,
//! giving it as nothing or as another type never makes the verdict milder; nor does that one level down.

#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bartizan::json::{Bounds, Map, Value, json, parse};
use bartizan::policy::{Effect, Policy, Resource, Verdict};
use bartizan::principal::{Principal, PrincipalKind};
use libfuzzer_sys::fuzz_target;

/// Reads arguments of every type, in objects too.
const READS: &str = r#"
    permit (principal, action, resource) when { context.arguments has size && context.arguments.size <= 10 };
    permit (principal, action == Action::"call", resource)
    when { context.arguments has tags && context.arguments.tags.containsAny(["new", "old"]) };
    forbid (principal, action, resource) when { context.arguments has name && context.arguments.name like "prod*" };
    forbid (principal, action, resource) when { context.arguments has force && context.arguments.force };
    forbid (principal, action, resource)
    when { context.arguments has cost && context.arguments.cost.greaterThan(decimal("99.99")) };
    forbid (principal, action, resource)
    when { context.arguments has address && !context.arguments.address.isInRange(ip("10.0.0.0/8")) };
    forbid (principal, action, resource)
    when { context.arguments has until && context.arguments.until > datetime("2030-01-01") };
    forbid (principal, action, resource)
    when { context.arguments has order && context.arguments.order has term && context.arguments.order.term + 1 > 12 };
"#;

/// What is read, and what fits there.
const FITS: [(&str, fn(&Value) -> bool); 9] = [
    ("/size", Value::is_number),
    ("/tags", Value::is_array),
    ("/name", Value::is_string),
    ("/force", Value::is_boolean),
    ("/cost", |value| value.is_number() || value.is_string()),
    ("/address", Value::is_string),
    ("/until", Value::is_string),
    ("/order", Value::is_object),
    ("/order/term", Value::is_number),
];

static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::from_text("fuzz.cedar", READS).unwrap());
static CALLER: LazyLock<Principal> = LazyLock::new(|| Principal::new("key:fuzz", PrincipalKind::ApiKey));

fn judge(arguments: &Map<String, Value>) -> Verdict {
    let (scopes, input) = (BTreeSet::new(), Value::Bool(true));
    let resource = Resource {
        name: "thing_order",
        family: "tool",
        effect: Effect::Write,
        toolset: "fuzz",
        source: "fuzz",
        target: None,
        scopes: &scopes,
        input: &input,
    };
    let fresh = POLICY.explain(&CALLER, &resource, arguments);
    assert_eq!(*POLICY.judge(&CALLER, &resource, arguments), fresh);
    assert_eq!(POLICY.why(&CALLER, &resource, arguments).judgement, fresh);
    fresh.verdict
}

fuzz_target!(|data: &[u8]| {
    let Ok(Value::Object(arguments)) = parse(data, &Bounds::default()) else { return };
    let before = judge(&arguments);
    for name in arguments.keys() {
        let mut without = arguments.clone();
        without.remove(name);
        assert!(judge(&without) >= before, "without {name}");
    }
    let mut whole = Value::Object(arguments);
    let mut harder = |path: &str, other: Option<Value>| {
        let (inside, name) = path.rsplit_once('/').unwrap();
        let Some(Value::Object(inside)) = whole.pointer_mut(inside) else { return };
        let Some(former) = inside.remove(name) else { return };
        if let Some(other) = &other {
            inside.insert(name.to_owned(), other.clone());
        }
        assert!(judge(whole.as_object().unwrap()) >= before, "{path} is {other:?}");
        let inside = whole.pointer_mut(path.rsplit_once('/').unwrap().0).unwrap();
        inside.as_object_mut().unwrap().insert(name.to_owned(), former);
    };
    for (path, fits) in FITS {
        harder(path, None);
        let others = [json!(null), json!(true), json!(7), json!("7"), json!(["new"]), json!({"term": 1})];
        for other in others.into_iter().filter(|other| !fits(other)) {
            harder(path, Some(other));
        }
    }
});
