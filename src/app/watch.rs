//! When to reload.
//!
//! Owns [`Source`] and the watching of its files. The idea: whatever an editor, a package manager or an orchestrator does
//! to a file ends with other content under the same name; so a glance at sizes and times, a few times a second, only
//! says when to look, and what is looked at is content. It works on every file system, and what else is written into
//! the same folder (an audit, say) costs nothing. Several changes in a row are one. SIGHUP reloads whether anything
//! changed or not.
//!
//! Must not: reload by itself; `reload.rs` does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::App;
use crate::config::{Config, Reload};
use crate::error::Result;
use crate::json::Digest;
use crate::state::Stamp;

/// How often files are glanced at, and how long nothing more may happen before they are read.
const QUIET: Duration = Duration::from_millis(250);
/// When they are looked at although it never becomes quiet.
const PATIENCE: Duration = Duration::from_secs(2);

type Read = Box<dyn Fn() -> Result<Config> + Send + Sync>;

/// Where a configuration comes from, so that it can be read again.
pub struct Source {
    file: Option<PathBuf>,
    read: Read,
    signal: bool,
    seen: Seen,
}

/// Files, and what was in them.
#[derive(PartialEq, Eq)]
struct Seen {
    files: BTreeSet<PathBuf>,
    contents: Digest,
}

impl Source {
    /// A source and what it says now. `file` is the configuration's own, if there is one; `read` reads it, flags
    /// included; `signal` says whether this process reloads on SIGHUP (not where the process is somebody else's).
    pub fn open(file: Option<PathBuf>, read: Read, signal: bool) -> Result<(Self, Config)> {
        let seen = Seen::of(files(file.as_deref(), &read()?));
        // read after it was looked at: what changes from here on is noticed
        let config = read()?;
        Ok((Self { file, read, signal, seen }, config))
    }

    /// What it says now. What was in the files is noted before they are read.
    fn again(&mut self) -> Result<Config> {
        self.seen = Seen::of(std::mem::take(&mut self.seen.files));
        let first = (self.read)()?;
        self.seen = Seen::of(files(self.file.as_deref(), &first));
        (self.read)()
    }
}

impl Seen {
    fn of(files: BTreeSet<PathBuf>) -> Self {
        let contents = Digest::of(describe(&files).as_bytes());
        Self { files, contents }
    }

    fn is_current(&self) -> bool {
        Digest::of(describe(&self.files).as_bytes()) == self.contents
    }
}

fn files(own: Option<&Path>, config: &Config) -> BTreeSet<PathBuf> {
    let mut files: BTreeSet<PathBuf> = own.map(Path::to_path_buf).into_iter().chain(named(config)).collect();
    // what was not accepted a moment ago may be now
    if let (false, Ok(state)) = (files.is_empty(), config.state_folder()) {
        files.insert(state.join(super::accepted::file(config.profile.name())));
    }
    files
}

/// The files and folders that a configuration names and a reload reads again.
fn named(config: &Config) -> BTreeSet<PathBuf> {
    let mut files: BTreeSet<PathBuf> = config.policy.files.iter().cloned().collect();
    let set = Path::new(&config.policy.set);
    if set.extension().is_some_and(|ending| ending == "cedar") {
        files.insert(set.to_path_buf());
    }
    files.extend(config.openapi.iter().flat_map(crate::config::OpenApiEntry::files));
    files.extend(config.connector.iter().filter_map(|entry| entry.path.clone()));
    files.extend(config.egress.ca_file.clone());
    files.extend(config.lock.clone());
    files
}

impl App {
    /// Reloads whenever the files change or a signal asks for it, until `stop` fires.
    pub fn follow(
        self: &Arc<Self>,
        source: Source,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let app = (!source.seen.files.is_empty()).then(|| Arc::clone(self));
        // from here on a signal reloads, whenever the future is first polled
        let hangups = Hangups::new(source.signal && app.is_some());
        async move {
            let Some(app) = app else { return };
            tokio::select! {
                () = stop.cancelled() => {}
                () = app.keep_up(source, hangups) => {}
            }
        }
    }

    async fn keep_up(&self, mut source: Source, mut hangups: Hangups) {
        loop {
            let watching = self.config().reload == Reload::Changes;
            let asked = loop {
                // before the look: what changes meanwhile is seen at the next glance
                let before = watching.then(|| tokio::task::block_in_place(|| Glance::at(&source.seen.files)));
                if watching && !tokio::task::block_in_place(|| source.seen.is_current()) {
                    break false;
                }
                tokio::select! {
                    () = hangups.next() => break true,
                    () = stirred(&source.seen.files, before) => {}
                }
            };
            if !asked {
                still(&source.seen.files).await;
            }
            let config = tokio::task::block_in_place(|| source.again());
            // what is wrong is in the log and in the audit already
            let _ = Box::pin(self.reload(config)).await;
        }
    }
}

/// What can be said of files without reading them.
#[derive(PartialEq, Eq)]
struct Glance(Vec<Option<Stamp>>);

impl Glance {
    /// A glance at these files, and at what is in these folders.
    fn at(files: &BTreeSet<PathBuf>) -> Self {
        Self(each(files).map(|path| Stamp::at(&path)).collect())
    }
}

/// Returns when a glance shows something else than `before`; never without one.
async fn stirred(files: &BTreeSet<PathBuf>, before: Option<Glance>) {
    let Some(before) = before else { return std::future::pending().await };
    loop {
        tokio::time::sleep(QUIET).await;
        if tokio::task::block_in_place(|| Glance::at(files)) != before {
            return;
        }
    }
}

/// Returns when the files stay as they are for a moment: what is half written is not read.
async fn still(files: &BTreeSet<PathBuf>) {
    let look = || tokio::task::block_in_place(|| describe(files));
    let wait = async {
        let mut before = look();
        loop {
            tokio::time::sleep(QUIET).await;
            let now = look();
            if now == before {
                return;
            }
            before = now;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, wait).await;
}

/// Names and digests of files; of what is in folders, one level deep.
pub(super) fn describe(files: &BTreeSet<PathBuf>) -> String {
    let mut text = String::new();
    for path in each(files) {
        let digest = std::fs::read(&path).map(|bytes| Digest::of(&bytes).hex()).unwrap_or_default();
        text.push_str(&path.display().to_string());
        text.push('\0');
        text.push_str(&digest);
        text.push('\0');
    }
    text
}

/// Files and folders, and the files in the folders.
fn each(files: &BTreeSet<PathBuf>) -> impl Iterator<Item = PathBuf> {
    files.iter().flat_map(|file| {
        let inside = std::fs::read_dir(file).into_iter().flatten().flatten().map(|entry| entry.path());
        inside.filter(|path| path.is_file()).chain([file.clone()]).collect::<BTreeSet<_>>()
    })
}

/// SIGHUP, where there is such a thing.
struct Hangups {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangups {
    #[cfg(unix)]
    fn new(wanted: bool) -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self { signal: wanted.then(|| signal(SignalKind::hangup()).ok()).flatten() }
    }

    #[cfg(not(unix))]
    fn new(_wanted: bool) -> Self {
        Self {}
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        let came = match &mut self.signal {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if came.is_none() {
            std::future::pending::<()>().await;
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}
