//! `bartizan check`.
//!
//! Owns the findings. The idea: everything that a start would refuse, and everything it would only mention, without a
//! network and without serving.
//!
//! Must not: change anything.

use super::args::Check;
use super::screen::{Screen, Tone};
use super::settings;
use crate::app::{App, Extra, Loader, refusals};
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};
use crate::vault::Reference;

pub(super) async fn run(typed: &Check, loader: Option<&dyn Loader>, screen: Screen) -> Result<()> {
    let config = settings::configuration(&typed.source)?;
    let mut findings: Vec<(bool, String)> = Vec::new();
    for (source, refused) in refusals(&config)? {
        for one in refused {
            findings.push((false, format!("{source}: {} is left out: {}", one.place, one.reason)));
        }
    }
    for reference in config.references() {
        if let Err(error) = Reference::parse(&reference).and_then(|reference| reference.resolve()) {
            findings.push((!config.practice, error.message().to_owned()));
        }
    }
    let mut extra = Extra::default();
    if let Some(loader) = loader {
        for source in &config.tools {
            extra.tools.extend(loader.load(source)?.tools);
        }
    }
    let app = App::build(config, extra).await?;
    let tools = app.catalog().now().list(crate::catalog::List::Tools).len();
    app.close().await?;

    let wrong = findings.iter().filter(|(fatal, _)| *fatal).count();
    if typed.json {
        let rows: Vec<Value> = findings
            .iter()
            .map(|(fatal, text)| json!({"severity": if *fatal { "error" } else { "note" }, "message": text}))
            .collect();
        screen.json(&json!({"ok": wrong == 0, "tools": tools, "findings": rows}));
    } else {
        for (fatal, text) in &findings {
            let label =
                if *fatal { screen.paint(Tone::Bad, "error") } else { screen.paint(Tone::Note, "note ") };
            screen.line(&format!("{label} {text}"));
        }
        if wrong == 0 {
            screen.line(&screen.paint(Tone::Good, &format!("All is well: {tools} tools would be served.")));
        }
    }
    if wrong == 0 {
        return Ok(());
    }
    let what = if wrong == 1 { "One thing is" } else { "Several things are" };
    Err(Error::new(Kind::BadConfig, format!("{what} wrong; mend what is marked `error` above.")))
}
