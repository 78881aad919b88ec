//! Policy: whatever the arguments are, nothing panics, a remembered verdict is the fresh one, and leaving an argument out
//! or giving it as nothing never makes the verdict milder.

#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bartizan::json::{Bounds, Map, Value, parse};
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
        let mut nothing = arguments.clone();
        nothing.insert(name.clone(), Value::Null);
        assert!(judge(&nothing) >= before, "{name} is null");
    }
});
