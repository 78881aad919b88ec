//! What the documentation says about this program.

use bartizan::config::Config;

#[test]
fn the_documented_defaults_are_the_defaults() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md"));
    let (_, rest) = page.split_once("```toml title=bartizan.toml\n").unwrap();
    let (code, _) = rest.split_once("```").unwrap();
    let documented = Config::parse(code, "docs/configuration.md").unwrap();
    assert_eq!(serde_json::to_value(documented).unwrap(), serde_json::to_value(Config::default()).unwrap());
}

#[test]
fn every_security_event_is_documented() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/audit.md"));
    for event in bartizan::audit::Event::ALL {
        assert!(page.contains(&format!("`{}`", event.name())), "{}", event.name());
    }
}
