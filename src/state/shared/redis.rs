//! The way to a Redis server.
//!
//! Owns [`Link`] and the only use of the redis library. The idea: a thread of its own holds one connection on which all
//! calls are under way at once, and looks after it a few times a second: a connection that fails or a call that is not
//! answered in time takes the store away at once, so that nobody else waits for it, and it is asked again until it is
//! back. Each look compares the run of the server, its eviction policy and the mark (see `mod.rs`).
//!
//! Must not: use a server that evicts or that is not the one the mark speaks of, or try a script twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Value};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::config::Settings;
use super::{Place, Problem, Reply, Script};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::Digest;
use crate::secret::Secret;
use crate::state::StateDir;

/// How often the store is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// How long it is left alone after a failed attempt, at first and at most.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What each script begins with: nothing is done in a memory that is not the one its instance knows.
const PRELUDE: &str = "local mark = redis.call('HMGET', KEYS[1], 'id', 'since')\n\
                       if mark[1] ~= ARGV[1] then return {'!'} end\n\
                       local since = mark[2]\n";

/// Sets the mark, or agrees with the one that is there. A memory that somebody knew and that is not there any more, or
/// that is held by a server that was started again, is a new one that has forgotten.
const MARK: &str = r"
local id, run, since = unpack(redis.call('HMGET', KEYS[1], 'id', 'run', 'since'))
local known, now = ARGV[1], ARGV[4]
if not id then
  id, since = ARGV[3], known ~= '' and now or ''
elseif run ~= ARGV[2] then
  id, since = ARGV[3], now
elseif known ~= '' and known ~= id and since == '' then
  since = now
else
  return {id}
end
redis.call('HSET', KEYS[1], 'id', id, 'run', ARGV[2], 'since', since)
return {id}";

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
        password: Option<Secret>,
        state: StateDir,
        clock: SharedClock,
    ) -> Result<Self> {
        let client = client(&settings, password.as_ref())?;
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
        let live = self.inner.live()?;
        let keys: Vec<String> = names.iter().map(|name| self.inner.key(place, &live.memory, name)).collect();
        let inner = Arc::clone(&self.inner);
        // on the link's own thread: what is under way there does not end with whoever asked
        let work = self.handle.spawn(async move { inner.invoke(&live, script, &keys, &arguments).await });
        work.await.unwrap_or(Err(Problem::Unreachable))
    }
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
        }
    }

    fn mark(&self) -> String {
        format!("{{{}}}:mark", self.settings.prefix)
    }

    /// Where the name of the memory is remembered: one file for each store.
    fn file(&self) -> String {
        let Settings { host, port, database, prefix, .. } = &self.settings;
        let name = Digest::of(format!("{host} {port} {database} {prefix}").as_bytes()).hex();
        format!("store-{}.mark", &name[..16])
    }

    fn script(&self, script: &'static Script) -> Arc<redis::Script> {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(redis::Script::new(&format!("{PRELUDE}{}", script.text)));
        Arc::clone(scripts.entry(script.name).or_insert_with(made))
    }

    async fn invoke(
        &self,
        live: &Live,
        script: &'static Script,
        keys: &[String],
        arguments: &[Vec<u8>],
    ) -> Result<Vec<Reply>, Problem> {
        let ready = self.script(script);
        let mut invocation = ready.key(self.mark());
        for key in keys {
            invocation.key(key);
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

    /// Whether the server is still the one, and keeps what it is told.
    async fn look(&self, live: &Live, run: &str) -> Result<(), Problem> {
        let mut connection = live.connection.clone();
        let now = self.run_of(&mut connection).await?;
        let mut asked = redis::cmd("HGET");
        asked.arg(self.mark()).arg("id");
        let memory: Option<String> =
            asked.query_async(&mut connection).await.map_err(|error| self.judge("look", &error))?;
        let same = now == run && memory.as_deref() == Some(live.memory.as_str());
        if same { Ok(()) } else { Err(Problem::Forgot) }
    }

    /// Holds a connection for as long as it can be used.
    async fn hold(&self, live: Arc<Live>) -> Problem {
        let mut connection = live.connection.clone();
        let Ok(run) = self.run_of(&mut connection).await else { return Problem::Unreachable };
        loop {
            if let Err(problem) = self.look(&live, &run).await {
                return problem;
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
                inner.standing.store(Arc::new(Standing::Up(Arc::clone(&live))));
                inner.tried.send_replace(true);
                inner.warned.store(false, Ordering::Relaxed);
                if said.take().is_some() {
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
    let channel = format!("{{{}}}:news", inner.settings.prefix);
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

/// A line of INFO.
fn said<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// What a script answered; none if it found another memory.
fn replies(value: Value) -> Option<Vec<Reply>> {
    let Value::Array(all) = value else { return Some(Vec::new()) };
    if let [Value::BulkString(one)] = all.as_slice()
        && one == b"!"
    {
        return None;
    }
    let reply = |one: Value| match one {
        Value::Int(number) => Reply::Number(number),
        Value::BulkString(bytes) => Reply::Bytes(bytes),
        Value::SimpleString(text) => Reply::Bytes(text.into_bytes()),
        _ => Reply::Nil,
    };
    Some(all.into_iter().map(reply).collect())
}

fn client(settings: &Settings, password: Option<&Secret>) -> Result<Client> {
    let wrong = |cause: RedisError| {
        Error::new(Kind::BadConfig, "[store] cannot be used as it is; check `url` and `ca_file`.")
            .with_source(cause)
    };
    let (host, port) = (settings.host.clone(), settings.port);
    let address = if settings.encrypted {
        redis::ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        redis::ConnectionAddr::Tcp(host, port)
    };
    let mut who = redis::RedisConnectionInfo::default().set_db(settings.database);
    if let Some(user) = &settings.user {
        who = who.set_username(user);
    }
    if let Some(password) = password {
        who = who.set_password(password.expose());
    }
    let info =
        redis::IntoConnectionInfo::into_connection_info(address).map_err(wrong)?.set_redis_settings(who);
    if settings.encrypted {
        let authorities =
            redis::TlsCertificates { client_tls: None, root_cert: settings.authorities.clone() };
        return Client::build_with_tls(info, authorities).map_err(wrong);
    }
    Client::open(info).map_err(wrong)
}
