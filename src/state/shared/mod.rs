//! What several instances share: one store, asked in small atomic steps.
//!
//! Owns [`Shared`], its [`Config`] and the settling of what a lost store means. The idea: everything that must agree
//! between instances is one script in the store, run with the time of whoever asks; what is kept is sealed under the
//! key ring of the installation or is a digest, and a name is a digest or was made by us at random.
//!
//! A store can be away, and it can forget (flushed, restarted, evicting, another one in its place). So it carries a mark:
//! a random name for its memory, the run of the server that holds it, and since when it may have forgotten. Every script
//! begins by comparing the mark with the one its instance knows, and does nothing when they differ. A server that was
//! started again counts as one that forgot, whatever it has kept, because what it kept may be old. What that means:
//!
//! ```text
//! buckets    start empty, not full: nobody gets a second burst because the first was forgotten
//! grants     are gone: who was agreed to is asked for again; nothing can be taken twice
//! used ids   what was made before the loss stays refused until it has ended by itself; what is made later is new
//! counts of refused logins   are gone; each instance still counts its own
//! keys taken back, freeze    every instance remembers what it knew, and says it again
//! tasks, sessions            instances that run them write them again; what nobody runs is unknown
//! tokens     are fetched again
//! ```
//!
//! The first kinds lie under the name of the memory, so that an old memory that comes back is not even looked at; the
//! last ones lie beside it. A store that evicts is not used at all. An instance remembers the name in its state
//! directory, so that a loss is noticed by one that was down meanwhile.
//!
//! Must not: keep anything in the clear, or let a call wait longer than the settings say.

mod config;
mod directory;
#[cfg(not(feature = "redis"))]
#[path = "none.rs"]
mod link;
#[cfg(feature = "redis")]
#[path = "redis.rs"]
mod link;
mod moved;
mod notes;
mod once;
#[cfg(feature = "redis")]
mod speech;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use config::Config;
pub use directory::{Directory, Turn};
pub(crate) use notes::Guard;
pub use once::{Dated, Once};

use super::seal::KeyRing;
use super::{Folder, StateDir};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::Digest;
use crate::secret::Secret;
use link::Link;
use moved::Moved;

/// Where it is counted, and called out, that something has changed.
const NEWS: &str = "news";
/// When to come back to a store that is away.
const AGAIN: Duration = Duration::from_secs(1);

/// A step in the store. `name` is unique; the text begins after the comparison of the mark, with `since` (when the store
/// may have forgotten, or empty), keys from `KEYS[2]` and arguments from `ARGV[2]`.
pub(crate) struct Script {
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "nothing runs it"))]
    pub(crate) name: &'static str,
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "nothing runs it"))]
    pub(crate) text: &'static str,
}

/// Takes a lock that nobody holds, for a while and under a token of one's own.
static LOCK: Script = Script {
    name: "lock",
    text: "if redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return {1} end return {0}",
};
/// Gives a lock back, if it is still one's own.
static UNLOCK: Script = Script {
    name: "unlock",
    text: "if redis.call('GET', KEYS[2]) == ARGV[2] then redis.call('DEL', KEYS[2]) end return {1}",
};

/// Whether a key is forgotten with the memory it was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// What must not come back once it may have been lost.
    Memory,
    /// What may.
    Beside,
}

/// What a script answers.
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "nothing answers"))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing.
    Nil,
    /// A number.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Reply {
    /// The number, where it is one.
    pub(crate) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Nil | Self::Bytes(_) => None,
        }
    }

    /// The text, where it is one.
    pub(crate) fn text(self) -> Option<String> {
        match self {
            Self::Bytes(bytes) => String::from_utf8(bytes).ok(),
            Self::Nil | Self::Number(_) => None,
        }
    }
}

/// Why the store cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// No attempt has ended yet.
    Untried,
    /// No connection, or no answer in time.
    Unreachable,
    /// User or password are wrong, or may not do what is needed.
    Refused,
    /// It throws away what it has been told when memory is short.
    Evicting,
    /// It forgot; this lasts for a moment.
    Forgot,
}

impl Problem {
    /// A sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Untried => "The store that instances share was not asked yet.",
            Self::Unreachable => {
                "The store that instances share cannot be reached; check [store] url and whether it runs."
            }
            Self::Refused => {
                "The store that instances share refuses us; check [store] user and password, and that the user may run \
                 scripts and INFO."
            }
            Self::Evicting => {
                "The store that instances share throws keys away when its memory is short, so nothing it says can be \
                 relied on; set its maxmemory-policy to noeviction."
            }
            Self::Forgot => "The store that instances share has lost what it knew; it is being set up again.",
        }
    }

    /// Whether waiting cannot mend it.
    pub const fn is_lasting(self) -> bool {
        matches!(self, Self::Refused | Self::Evicting)
    }
}

/// What becomes of the store, for whoever wants to hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It cannot be asked.
    Lost(Problem),
    /// It can be asked again.
    Back,
    /// It says something that no key of ours sealed.
    Doubted,
}

/// Who hears of it.
type Heard = Arc<OnceLock<Box<dyn Fn(News) + Send + Sync>>>;

/// The store, as this instance sees it.
pub struct Shared {
    link: Link,
    keys: KeyRing,
    clock: SharedClock,
    moved: Moved,
    /// Whether something was found that no key of ours sealed.
    doubted: AtomicBool,
    heard: Heard,
}

impl Shared {
    /// Opens the store and waits until the first attempt to reach it has ended. One that is away is asked again for as
    /// long as this lives; one that can never be used is refused.
    pub async fn open(
        config: &Config,
        password: Option<Secret>,
        keys: KeyRing,
        state: StateDir,
        clock: SharedClock,
    ) -> Result<Arc<Self>> {
        let shared = Self::begin(config, password.as_ref(), keys, state, clock)?;
        shared.link.tried().await;
        shared.usable()
    }

    /// The same for a thread without a runtime.
    #[allow(clippy::needless_pass_by_value, reason = "it takes what `open` takes")]
    pub fn open_now(
        config: &Config,
        password: Option<Secret>,
        keys: KeyRing,
        state: StateDir,
        clock: SharedClock,
    ) -> Result<Arc<Self>> {
        let shared = Self::begin(config, password.as_ref(), keys, state, clock)?;
        shared.tried_now();
        shared.usable()
    }

    fn begin(
        config: &Config,
        password: Option<&Secret>,
        keys: KeyRing,
        state: StateDir,
        clock: SharedClock,
    ) -> Result<Arc<Self>> {
        let moved = Moved::open(&state)?;
        let heard = Heard::default();
        let link = Link::start(config.settings()?, password, state, clock.clone(), heard.clone())?;
        Ok(Arc::new(Self { link, keys, clock, moved, doubted: AtomicBool::new(false), heard }))
    }

    fn usable(self: Arc<Self>) -> Result<Arc<Self>> {
        match self.problem() {
            Some(problem) if problem.is_lasting() => Err(Error::new(Kind::BadConfig, problem.sentence())),
            Some(problem) => {
                tracing::warn!(reason = problem.sentence(), "calls that need the store are refused");
                Ok(self)
            }
            None => Ok(self),
        }
    }

    /// Why the store cannot be asked just now; none if it can.
    pub fn problem(&self) -> Option<Problem> {
        self.link.problem()
    }

    /// Tells of what becomes of the store from here on, and of a loss that is there already. Once.
    pub fn on_news(&self, hear: impl Fn(News) + Send + Sync + 'static) {
        let known = self.problem();
        if self.heard.set(Box::new(hear)).is_ok()
            && let Some(problem) = known
        {
            self.tell(News::Lost(problem));
        }
    }

    fn tell(&self, news: News) {
        if let Some(heard) = self.heard.get() {
            heard(news);
        }
    }

    /// The clock.
    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// A name that says nothing: the digest of its parts.
    pub(crate) fn digest(parts: &[&str]) -> String {
        let mut text = Vec::new();
        for part in parts {
            text.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
        let mut name = Digest::of(&text).hex();
        name.truncate(40);
        name
    }

    /// A folder whose files are gone once they may have been lost.
    pub fn folder(self: &Arc<Self>, name: &str) -> Folder {
        Folder::Shared(Directory::new(self, Place::Memory, name))
    }

    /// A folder of which nothing is worse for being old.
    pub fn lasting(self: &Arc<Self>, name: &str) -> Folder {
        Folder::Shared(Directory::new(self, Place::Beside, name))
    }

    /// A key that all instances derive alike.
    pub(crate) fn key(&self, purpose: &str) -> [u8; 32] {
        self.keys.derive(purpose)
    }

    /// Seals what the store keeps under that name.
    pub(crate) fn seal(&self, plain: &[u8], name: &str) -> Result<Vec<u8>> {
        self.keys.wrap(plain, format!("store {name}").as_bytes())
    }

    /// Opens what the store keeps under that name; what was changed or moved there is nothing.
    pub(crate) fn unseal(&self, bytes: &[u8], name: &str) -> Option<Vec<u8>> {
        self.keys.unwrap(bytes, format!("store {name}").as_bytes())
    }

    /// Runs a script. An error means that nothing is known of what it did.
    pub(crate) async fn run(
        &self,
        script: &'static Script,
        place: Place,
        names: &[&str],
        arguments: Vec<Vec<u8>>,
    ) -> Result<Vec<Reply>> {
        self.link.run(script, place, names, arguments).await.map_err(away)
    }

    /// The same for a thread that may wait.
    pub(crate) fn run_now(
        &self,
        script: &'static Script,
        place: Place,
        names: &[&str],
        arguments: Vec<Vec<u8>>,
    ) -> Result<Vec<Reply>> {
        self.link.run_now(script, place, names, arguments).map_err(away)
    }

    /// The same for a thread without a runtime, until the first attempt to reach the store has ended.
    fn tried_now(&self) {
        let end = self.clock.monotonic() + Duration::from_secs(60);
        while self.problem() == Some(Problem::Untried) && self.clock.monotonic() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Hears of everything that may have changed in the store: after a while away, and when somebody called it out.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.link.changes()
    }
}

fn away(problem: Problem) -> Error {
    Error::new(Kind::RateLimited, problem.sentence()).with_retry_after(AGAIN)
}
