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

/// A name that nothing leaves would be a promise that nobody keeps.
#[test]
fn every_security_event_is_left_by_something() {
    let mut text = String::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs")
                && !path.ends_with("audit/events.rs")
            {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    for event in bartizan::audit::Event::ALL {
        let named = [format!("Event::{event:?}"), format!("\"{}\"", event.name())];
        assert!(named.iter().any(|name| text.contains(name)), "{event:?}");
    }
}

#[test]
fn every_security_event_is_documented() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/audit.md"));
    for event in bartizan::audit::Event::ALL {
        assert!(page.contains(&format!("`{}`", event.name())), "{}", event.name());
    }
}
