//! The way to a Redis server.
//!
//! Owns [`Link`]; how it speaks is in `speech.rs`, and nothing else uses the redis library. The idea: a thread of its own holds one connection on which all
//! calls are under way at once, and looks after it a few times a second: a connection that fails or a call that is not
//! answered in time takes the store away at once, so that nobody else waits for it, and it is asked again until it is
//! back. Each look compares the run of the server, its eviction policy and the mark (see `mod.rs`).
//!
//! Must not: use a server that evicts or that is not the one the mark speaks of, or run a script twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Value};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::config::Settings;
use super::speech::{MARK, PRELUDE, client, replies, said};
use super::{Heard, News, Place, Problem, Reply, Script};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::Digest;
use crate::secret::Secret;
use crate::state::StateDir;

/// How long a new memory is waited for at a time.
const MOMENT: Duration = Duration::from_millis(3);
/// How often the store is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// How long it is left alone after a failed attempt, at first and at most.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a name is heard of that was said once.
const STAYS: Duration = Duration::from_secs(15);

/// Where things stand.
enum Standing {
    Up(Arc<Live>),
    Down(Problem),
}

/// A connection that may be used.
struct Live {
    connection: MultiplexedConnection,
    memory: String,
    generation: u64,
}

struct Inner {
    client: Client,
    settings: Settings,
    state: StateDir,
    clock: SharedClock,
    standing: ArcSwap<Standing>,
    scripts: Mutex<HashMap<&'static str, Arc<redis::Script>>>,
    generation: AtomicU64,
    /// Wakes whoever looks after the connection.
    nudge: Notify,
    tried: watch::Sender<bool>,
    warned: AtomicBool,
    /// Names that are said again for as long as their holders live.
    stays: Mutex<Vec<(String, String)>>,
    /// Counts what may have changed.
    changed: watch::Sender<u64>,
    /// When the store was last found to be there again (monotonic, in milliseconds).
    since: AtomicU64,
    heard: Heard,
}

/// The way to the store.
pub(super) struct Link {
    inner: Arc<Inner>,
    handle: Handle,
    stop: CancellationToken,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Link {
    pub(super) fn start(
        settings: Settings,
        password: Option<&Secret>,
        state: StateDir,
        clock: SharedClock,
        heard: Heard,
    ) -> Result<Self> {
        let client = client(&settings, password)?;
        let inner = Arc::new(Inner {
            client,
            settings,
            state,
            clock,
            standing: ArcSwap::from_pointee(Standing::Down(Problem::Untried)),
            scripts: Mutex::default(),
            generation: AtomicU64::new(0),
            nudge: Notify::new(),
            tried: watch::Sender::new(false),
            warned: AtomicBool::new(false),
            stays: Mutex::default(),
            changed: watch::Sender::new(0),
            since: AtomicU64::new(0),
            heard,
        });
        let failed = |cause: std::io::Error| {
            Error::new(Kind::Internal, "The operating system gave no thread for the shared store.")
                .with_source(cause)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
        let (kept, stopped) = (Arc::clone(&inner), stop.clone());
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = keep(&kept) => {}
                    () = listen(&kept) => {}
                }
            });
        };
        std::thread::Builder::new().name(String::from("bartizan-store")).spawn(work).map_err(failed)?;
        Ok(Self { inner, handle, stop })
    }

    /// Waits until the first attempt has ended.
    pub(super) async fn tried(&self) {
        let _ = self.inner.tried.subscribe().wait_for(|tried| *tried).await;
    }

    pub(super) fn problem(&self) -> Option<Problem> {
        match &**self.inner.standing.load() {
            Standing::Up(_) => None,
            Standing::Down(problem) => Some(*problem),
        }
    }

    pub(super) async fn run(
        &self,
        script: &'static Script,
        place: Place,
        names: &[&str],
        arguments: Vec<Vec<u8>>,
    ) -> Result<Vec<Reply>, Problem> {
        self.inner.live()?;
        let (inner, names) = (Arc::clone(&self.inner), owned(names));
        // on the link's own thread: what is under way there does not end with whoever asked
        let work = self.handle.spawn(async move { inner.ask(script, place, &names, &arguments).await });
        work.await.unwrap_or(Err(Problem::Unreachable))
    }

    pub(super) fn run_now(
        &self,
        script: &'static Script,
        place: Place,
        names: &[&str],
        arguments: Vec<Vec<u8>>,
    ) -> Result<Vec<Reply>, Problem> {
        self.inner.live()?;
        let (inner, names, (answer, answered)) = (Arc::clone(&self.inner), owned(names), sync_channel(1));
        self.handle.spawn(async move {
            let _ = answer.send(inner.ask(script, place, &names, &arguments).await);
        });
        answered.recv_timeout(self.inner.settings.timeout * 4).unwrap_or(Err(Problem::Unreachable))
    }

    /// Runs a script and waits for nothing.
    pub(super) fn tell(
        &self,
        script: &'static Script,
        place: Place,
        names: &[&str],
        arguments: Vec<Vec<u8>>,
    ) {
        let (inner, names) = (Arc::clone(&self.inner), owned(names));
        self.handle.spawn(async move { inner.ask(script, place, &names, &arguments).await });
    }

    /// Says a name (which does not lie in the memory) again and again until it leaves.
    pub(super) fn stay(&self, place: Place, name: &str, token: &str) {
        let key = self.inner.key(place, "", name);
        lock(&self.inner.stays).push((key, token.to_owned()));
        self.inner.nudge.notify_one();
    }

    pub(super) fn leave(&self, name: &str) {
        lock(&self.inner.stays).retain(|(key, _)| !key.ends_with(name));
    }

    /// Whether others may not have had the time to say their names again.
    pub(super) fn is_fresh(&self) -> bool {
        let since = Duration::from_millis(self.inner.since.load(Ordering::Relaxed));
        self.inner.clock.monotonic() < since + STAYS
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn live(&self) -> Result<Arc<Live>, Problem> {
        match &**self.standing.load() {
            Standing::Up(live) => Ok(Arc::clone(live)),
            Standing::Down(problem) => Err(*problem),
        }
    }

    /// All keys have one tag, so that a cluster keeps them in one place.
    fn key(&self, place: Place, memory: &str, name: &str) -> String {
        let prefix = &self.settings.prefix;
        match place {
            Place::Memory => format!("{{{prefix}}}:{memory}:{name}"),
            Place::Beside => format!("{{{prefix}}}:{name}"),
        }
    }

    fn mark(&self) -> String {
        format!("{{{}}}:mark", self.settings.prefix)
    }

    /// Where it is counted, and called out, that something has changed.
    fn news(&self) -> String {
        self.key(Place::Beside, "", super::NEWS)
    }

    /// Where the name of the memory is remembered: one file for each store.
    fn file(&self) -> String {
        let Settings { host, port, database, prefix, .. } = &self.settings;
        let name = Digest::of(format!("{host} {port} {database} {prefix}").as_bytes()).hex();
        format!("store-{}.mark", &name[..16])
    }

    fn script(&self, script: &'static Script) -> Arc<redis::Script> {
        let mut scripts = lock(&self.scripts);
        let made = || Arc::new(redis::Script::new(&format!("{PRELUDE}{}", script.text)));
        Arc::clone(scripts.entry(script.name).or_insert_with(made))
    }

    /// Runs a script; once more in the new memory where the old one was gone, because then nothing was done.
    async fn ask(
        &self,
        script: &'static Script,
        place: Place,
        names: &[String],
        arguments: &[Vec<u8>],
    ) -> Result<Vec<Reply>, Problem> {
        let live = self.live()?;
        match self.invoke(&live, script, (place, names), arguments).await {
            Err(Problem::Forgot) => {}
            done => return done,
        }
        let again = async {
            loop {
                match self.live() {
                    Ok(now) if now.generation != live.generation => return now,
                    _ => tokio::time::sleep(MOMENT).await,
                }
            }
        };
        let live = tokio::time::timeout(self.settings.timeout, again).await.map_err(|_| Problem::Forgot)?;
        self.invoke(&live, script, (place, names), arguments).await
    }

    async fn invoke(
        &self,
        live: &Live,
        script: &'static Script,
        (place, names): (Place, &[String]),
        arguments: &[Vec<u8>],
    ) -> Result<Vec<Reply>, Problem> {
        let ready = self.script(script);
        let mut invocation = ready.key(self.mark());
        for name in names {
            invocation.key(self.key(place, &live.memory, name));
        }
        invocation.arg(&live.memory);
        for argument in arguments {
            invocation.arg(argument.as_slice());
        }
        let mut connection = live.connection.clone();
        let asked = invocation.invoke_async::<Value>(&mut connection);
        let answered = tokio::time::timeout(self.settings.timeout, asked).await;
        let problem = match answered {
            Ok(Ok(value)) => match replies(value) {
                Some(replies) => return Ok(replies),
                None => Problem::Forgot,
            },
            Ok(Err(error)) => self.judge(script.name, &error),
            Err(_) => Problem::Unreachable,
        };
        self.lose(live.generation, problem);
        Err(problem)
    }

    fn judge(&self, what: &'static str, error: &RedisError) -> Problem {
        let refused = matches!(error.code(), Some("NOPERM" | "NOAUTH" | "WRONGPASS"))
            || error.kind() == redis::ErrorKind::AuthenticationFailed;
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = %error, what, "the store that instances share could not be asked");
        }
        if refused { Problem::Refused } else { Problem::Unreachable }
    }

    fn tell(&self, news: News) {
        if let Some(heard) = self.heard.get() {
            heard(news);
        }
    }

    /// The store is away for everybody, unless another connection has taken the place of that one.
    fn lose(&self, generation: u64, problem: Problem) {
        let lost = Arc::new(Standing::Down(problem));
        self.standing.rcu(|now| match &**now {
            Standing::Up(live) if live.generation == generation => Arc::clone(&lost),
            _ => Arc::clone(now),
        });
        self.nudge.notify_one();
    }

    /// Connects, and agrees about the mark.
    async fn connect(&self) -> Result<Live, Problem> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.connect_timeout))
            .set_response_timeout(Some(self.settings.timeout));
        let made = self.client.get_multiplexed_async_connection_with_config(&settings);
        let longest = self.settings.connect_timeout + self.settings.timeout;
        let mut connection = match tokio::time::timeout(longest, made).await {
            Ok(made) => made.map_err(|error| self.judge("connect", &error))?,
            Err(_) => return Err(Problem::Unreachable),
        };
        let run = self.run_of(&mut connection).await?;
        let memory = self.agree(&mut connection, &run).await?;
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        Ok(Live { connection, memory, generation })
    }

    /// The run of the server, if it is one that keeps what it is told.
    async fn run_of(&self, connection: &mut MultiplexedConnection) -> Result<String, Problem> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("INFO").arg("server").cmd("INFO").arg("memory");
        let (server, memory): (String, String) =
            pipeline.query_async(connection).await.map_err(|error| self.judge("INFO", &error))?;
        if said(&memory, "maxmemory_policy") != Some("noeviction") {
            return Err(Problem::Evicting);
        }
        said(&server, "run_id").map(String::from).ok_or(Problem::Unreachable)
    }

    async fn agree(&self, connection: &mut MultiplexedConnection, run: &str) -> Result<String, Problem> {
        let known = self.state.read(&self.file()).ok().flatten();
        let known = known.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let now = self.clock.wall();
        let fresh = format!("{:032x}", rand::random::<u128>());
        let script = redis::Script::new(MARK);
        let mut invocation = script.key(self.mark());
        invocation.arg(known.as_str()).arg(run).arg(fresh);
        invocation.arg(format!("{} {}", now.as_secs(), now.subsec_nanos()));
        let agreed: Vec<String> =
            invocation.invoke_async(connection).await.map_err(|error| self.judge("mark", &error))?;
        let memory = agreed.into_iter().next().ok_or(Problem::Unreachable)?;
        if memory != known
            && let Err(error) = self.state.write(&self.file(), memory.as_bytes())
        {
            // without it the next start would not notice a loss
            tracing::error!(error = %error, "which memory of the store is known could not be written down");
            return Err(Problem::Unreachable);
        }
        Ok(memory)
    }

    /// Whether the server is still the one, and keeps what it is told; what has changed, as a number.
    async fn look(&self, live: &Live, run: &str) -> Result<u64, Problem> {
        let mut connection = live.connection.clone();
        let now = self.run_of(&mut connection).await?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(self.mark()).arg("id").cmd("GET").arg(self.news());
        for (key, token) in lock(&self.stays).iter() {
            pipeline.cmd("SET").arg(key).arg(token).arg("PX").arg(STAYS.as_secs() * 1000).ignore();
        }
        let (memory, news): (Option<String>, Option<u64>) =
            pipeline.query_async(&mut connection).await.map_err(|error| self.judge("look", &error))?;
        let same = now == run && memory.as_deref() == Some(live.memory.as_str());
        if same { Ok(news.unwrap_or_default()) } else { Err(Problem::Forgot) }
    }

    /// Holds a connection for as long as it can be used.
    async fn hold(&self, live: Arc<Live>) -> Problem {
        let mut connection = live.connection.clone();
        let Ok(run) = self.run_of(&mut connection).await else { return Problem::Unreachable };
        let mut known = None;
        loop {
            match self.look(&live, &run).await {
                Err(problem) => return problem,
                Ok(news) if known != Some(news) => {
                    known = Some(news);
                    self.changed.send_modify(|count| *count += 1);
                }
                Ok(_) => {}
            }
            let _ = tokio::time::timeout(LOOK, self.nudge.notified()).await;
            match &**self.standing.load() {
                Standing::Up(now) if now.generation == live.generation => {}
                Standing::Up(_) => return Problem::Unreachable,
                Standing::Down(problem) => return *problem,
            }
        }
    }
}

/// Looks after the connection, for ever.
async fn keep(inner: &Inner) {
    let mut pause = PAUSE;
    let mut said: Option<Problem> = None;
    loop {
        let problem = match inner.connect().await {
            Ok(live) => {
                let live = Arc::new(live);
                let now = u64::try_from(inner.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
                inner.since.store(now, Ordering::Relaxed);
                inner.standing.store(Arc::new(Standing::Up(Arc::clone(&live))));
                inner.tried.send_replace(true);
                inner.warned.store(false, Ordering::Relaxed);
                if said.take().is_some() {
                    inner.tell(News::Back);
                    tracing::info!("the store that instances share can be asked again");
                }
                pause = PAUSE;
                inner.hold(live).await
            }
            Err(problem) => problem,
        };
        inner.standing.store(Arc::new(Standing::Down(problem)));
        inner.tried.send_replace(true);
        if said != Some(problem) {
            tracing::warn!(reason = problem.sentence(), "the store that instances share cannot be asked");
            inner.tell(News::Lost(problem));
            said = Some(problem);
        }
        if problem != Problem::Forgot {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Hears what other instances call out, so that looking need not wait for its turn.
async fn listen(inner: &Inner) {
    let channel = inner.news();
    loop {
        let longest = inner.settings.connect_timeout + inner.settings.timeout;
        if let Ok(Ok(mut heard)) = tokio::time::timeout(longest, inner.client.get_async_pubsub()).await
            && let Ok(Ok(())) = tokio::time::timeout(longest, heard.subscribe(&channel)).await
        {
            let mut messages = heard.into_on_message();
            while messages.next().await.is_some() {
                inner.nudge.notify_one();
            }
        }
        tokio::time::sleep(LONGEST_PAUSE).await;
    }
}
