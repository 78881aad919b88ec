//! What was typed, as a configuration.
//!
//! Owns [`configuration`] and [`app`]: the flags that every command shares, laid over the file. The idea: a flag wins
//! over the file, and afterwards nobody knows which of the two said it.
//!
//! Must not: have defaults of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::Source;
use crate::app::{App, Loader};
use crate::config::{Config, ConnectorEntry, OpenApiEntry, environment};
use crate::error::{Error, Kind, Result};
use crate::pipeline::Guard;
use crate::policy::Search;

/// The configuration that the flags and the file make together.
pub(super) fn configuration(source: &Source) -> Result<Config> {
    configuration_over(source, None)
}

/// The same over a configuration that is there already; a file that is named takes its place.
pub(super) fn configuration_over(source: &Source, base: Option<Config>) -> Result<Config> {
    let mut config = match base {
        Some(base) if source.config.is_none() => base,
        _ => file(source.config.as_deref())?,
    };
    for name in &source.connectors {
        if config.connector.iter().any(|entry| entry.name == *name) {
            continue;
        }
        let folder = PathBuf::from(name);
        let is_folder = folder.components().count() > 1 || folder.join("connector.toml").is_file();
        config.connector.push(ConnectorEntry {
            name: if is_folder { String::new() } else { name.clone() },
            path: is_folder.then_some(folder),
            ..ConnectorEntry::default()
        });
    }
    if let Some(file) = &source.openapi {
        let base_url = match (&source.base_url, source.practice || config.practice) {
            (Some(url), _) => url.clone(),
            (None, true) => String::new(),
            (None, false) => {
                return Err(Error::new(
                    Kind::BadConfig,
                    "--openapi needs --base-url URL: a document never chooses where requests go.",
                ));
            }
        };
        config.openapi.push(OpenApiEntry {
            file: file.clone(),
            overlays: source.overlays.clone(),
            name: None,
            base_url,
            auth: source.auth.clone(),
            health: None,
        });
    }
    config.tools.extend(source.python.iter().cloned());
    if let Some(set) = &source.policy {
        config.policy.set.clone_from(set);
    }
    config.offer.read_only |= source.read_only;
    if !source.toolsets.is_empty() {
        config.diagnostics |= source.toolsets.iter().any(|name| name == "diagnostics");
        config.offer.toolsets = Some(source.toolsets.iter().cloned().collect());
    }
    config.offer.search = match source.search.as_deref() {
        Some("on") => Search::On,
        Some("off") => Search::Off,
        Some(_) => Search::Auto,
        None => config.offer.search,
    };
    config.practice |= source.practice;
    Ok(config)
}

/// The file's configuration: the one named, else `BARTIZAN_CONFIG`, else the defaults.
pub(super) fn file(path: Option<&Path>) -> Result<Config> {
    match path.map(Path::to_path_buf).or_else(named) {
        Some(path) => Config::load(&path),
        None => Ok(Config::default()),
    }
}

/// The file that the environment names.
pub(super) fn named() -> Option<PathBuf> {
    environment("BARTIZAN_CONFIG").map(PathBuf::from)
}

/// Everything the configuration names, made.
pub(super) async fn app(config: Config, loader: Option<&dyn Loader>) -> Result<Arc<App>> {
    app_with(config, loader, Vec::new()).await
}

/// The same, with rules of the command's own.
pub(super) async fn app_with(
    config: Config,
    loader: Option<&dyn Loader>,
    guards: Vec<Arc<dyn Guard>>,
) -> Result<Arc<App>> {
    let mut extra = loader.map_or(Ok(None), Loader::own)?.unwrap_or_default();
    extra.guards.extend(guards);
    for source in &config.tools {
        let Some(loader) = loader else {
            return Err(Error::new(
                Kind::BadConfig,
                "--tools needs Python: run bartizan as it was installed by pip, not as a bare program.",
            ));
        };
        let loaded = loader.load(source)?;
        extra.tools.extend(loaded.tools);
        extra.guards.extend(loaded.guards);
        extra.sinks.extend(loaded.sinks);
        extra.introduction = extra.introduction.or(loaded.introduction);
    }
    let app = Box::pin(App::build(config, extra)).await?;
    if let Some(loader) = loader {
        loader.started(&app);
    }
    Ok(app)
}
