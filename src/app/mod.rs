//! The composition root: a configuration in, a running server out.
//!
//! Owns [`App`], and the [`Loader`] port through which tools come in that are not data. The idea: everything is made
//! once, here, in the order of the layers, and handed down; nothing below looks for what it needs.
//!
//! Must not: decide anything a setting should decide.

mod accepted;
mod brake;
mod chorus;
mod desk;
mod destinations;
mod door;
mod drill;
mod halt;
mod herald;
mod keeping;
mod observe;
mod permissions;
mod pins;
mod reload;
mod safety;
mod sources;
mod store;
mod suspicions;
mod tokens;
mod trust;
mod upstreams;
mod watch;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::approvals::Approvals;
use crate::audit::{Audit, Event, Sink};
use crate::catalog::{Catalog, List};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, Introduction, Profile, environment};
use crate::connectors::handles::Handles;
use crate::error::{Error, Kind, Result};
use crate::freeze::Freeze;
use crate::http::Traffic;
use crate::json::{Map, Value, json};
use crate::limits::Limiter;
use crate::pipeline::kept::Kept;
use crate::pipeline::{Context, Guard, Line, LineParts, Outcome, Proposed, Tool, ToolSpec};
use crate::policy::Policy;
use crate::principal::{Principal, PrincipalKind};
use crate::protocol::Revision;
use crate::protocol::types::Implementation;
use crate::redaction::Redactor;
use crate::search;
use crate::secret::Secret;
use crate::server::{Roll, Server, ServerParts};
use crate::state::{Fleeting, Shared, StateDir};
use crate::tasks::Store;
use crate::transport::Handler;
use crate::transport::wire::Wire;
use crate::vault::Keeper;

pub use accepted::{Terms, accept, accepted, unaccepted, waives_factor};
pub use chorus::say_revoked;
pub use destinations::{Target, destinations};
pub use door::Reachable;
pub use drill::{Outcome as DrillOutcome, Rehearsal, Rehearsed, Step as DrillStep, rehearse};
pub use keeping::credentials;
pub use permissions::{Reach, reaches};
pub use pins::{Pins, Standing};
pub use safety::{is_beyond, relaxations};
pub use sources::{Sources, Stand, accesses, inventory, practice_document, references, refusals, unsigned};
pub use store::{approvals, place, shared_now};
pub use suspicions::{Suspicion, suspicions};
pub use watch::Source;

/// How long a server that ends waits until what became of its tasks is written down.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long it waits for those who get copies of the audit.
const LAST_COPIES: Duration = Duration::from_secs(1);

/// What joins the configured tools: a Python server's.
#[derive(Default)]
pub struct Extra {
    /// Tools, resources and prompts.
    pub tools: Vec<Arc<dyn Tool>>,
    /// How the server introduces itself, unless the configuration says so.
    pub introduction: Option<Introduction>,
    /// Rules of the user's own; they can only tighten.
    pub guards: Vec<Arc<dyn Guard>>,
    /// Who gets a copy of each audit record.
    pub sinks: Vec<Arc<dyn Sink>>,
}

/// Turns `--tools FILE_OR_MODULE` into tools. The Python edge implements it; without Python there is none.
pub trait Loader: Send + Sync {
    /// Loads one source. Errors are `BadConfig`.
    fn load(&self, source: &str) -> Result<Extra>;

    /// What the loader brings whatever is configured: a Python server that runs itself.
    fn own(&self) -> Result<Option<Extra>> {
        Ok(None)
    }

    /// Called once the line is there, before the first call: gives loaded tools the way to other connectors.
    fn started(&self, _app: &Arc<App>) {}

    /// Called when nothing is served any more: what was loaded has so long to put its things away.
    fn ended(&self, _within: Duration) {}
}

/// A running composition.
pub struct App {
    config: ArcSwap<Config>,
    clock: SharedClock,
    state: StateDir,
    /// The state of a stateless server; removed when it ends.
    fleeting: Mutex<Option<Fleeting>>,
    shared: Option<Arc<Shared>>,
    /// The process's own: logs and audit hold it, and it follows the configuration.
    redactor: Redactor,
    audit: Arc<Audit>,
    witnesses: witness::Witnesses,
    observing: observe::Observing,
    first_line: Arc<Line>,
    catalog: Arc<Catalog>,
    server: Arc<Server>,
    handles: Handles,
    freeze: Arc<Freeze>,
    secrets: Arc<ArcSwap<Keeper>>,
    approvals: Arc<Approvals>,
    /// Ends with the server.
    _herald: Option<herald::Herald>,
    stands: ArcSwap<Vec<Arc<Stand>>>,
    /// Toolsets that nobody asked for, and how many operations each has.
    unasked: ArcSwap<BTreeMap<String, usize>>,
    reloading: tokio::sync::Mutex<reload::Former>,
    /// Held, since those it watches hold it weakly.
    _upstreams: Arc<dyn crate::http::Watch>,
}

impl App {
    /// Makes everything. Runs inside a tokio runtime. Errors are mostly `BadConfig`.
    pub async fn build(mut config: Config, extra: Extra) -> Result<Arc<Self>> {
        let clock = SystemClock::shared();
        let (state, fleeting) = store::place(&config)?;
        state.clear();
        settle(&mut config, &state)?;
        let redactor = Redactor::new(&config.redaction)?;
        let audit = if store::audits_nothing(&config) {
            if !extra.sinks.is_empty() {
                return Err(Error::new(
                    Kind::BadConfig,
                    "Audit sinks get copies of the audit, and a stateless server writes none; name a file with `path` \
                     under [audit], or leave one of them out.",
                ));
            }
            Audit::off(redactor.clone(), clock.clone())
        } else {
            Audit::open(&config.audit, redactor.clone(), clock.clone())?
        };
        extra.sinks.into_iter().for_each(|sink| audit.copy_to(sink));
        let upstreams: Arc<dyn crate::http::Watch> = Arc::new(upstreams::Upstreams(audit.clone()));
        config.egress.traffic.watched_by(&upstreams);
        // its own rules, so that a reload leaves calls that run with those they began under
        let own = redactor.renewed(&config.redaction)?;
        let secrets = keeping::keeper(&config, &own, &clock, (&audit, &state))?;
        let means = witness::means(&config, &redactor, &clock, &secrets);
        let witnesses = witness::Witnesses::open(&config, &audit, &means)?;
        let observing = observe::Observing::open(&config, &means)?;
        let keys = store::sealing(&config, &state, |named| secrets.resolve(named))?;
        let shared = store::shared(&config, &keys, &secrets, &state, &clock).await?;
        let approvals = Approvals::open_in(&config.approvals, state.path(), shared.as_ref(), clock.clone())?;
        let tasks = Store::open_in(&config.tasks, state.path(), shared.as_ref(), clock.clone())?;
        let freeze = Freeze::open(state.path(), approvals.clone(), clock.clone())?;
        if let Some(shared) = &shared {
            store::heard(&config, shared, &audit);
            chorus::listen(&freeze, shared).await;
        }
        let limiter = Arc::new(match &shared {
            Some(shared) => Limiter::instances(&config.limits, clock.clone(), shared),
            None => Limiter::across(&config.limits, clock.clone(), state.clone()),
        });
        let policy = Arc::new(Policy::load(&config.policy)?.in_profile(config.profile.name()));
        accepted::enforce(&config, &policy, &approvals, &state)?;
        let handles = Handles::new(state.key("handles.key")?);
        let logins = store::logins(shared.as_ref(), &state)?;
        let made = sources::open(&config, &own, &clock, handles.clone(), (&logins, &secrets)).await?;
        let former = reload::Former::of(&config, &made);
        let mut tools = made.tools;
        if config.diagnostics {
            tools.extend(crate::diagnostics::tools(&limiter));
        }
        let specs = tools.iter().chain(&extra.tools).map(|tool| tool.spec());
        known_toolsets(&config, specs.clone(), &made.toolsets)?;
        let finders = search::Handle::default();
        if search::needed(&config.offer, specs) {
            tools.extend(search::tools(&finders));
        }
        let kept = Kept::new(clock.clone());
        tools.extend(reader(&kept, &tools));
        let catalog = Arc::new(Catalog::build(tools)?);
        finders.set(&catalog);
        catalog.add(extra.tools)?;
        fit(&policy, &catalog)?;

        let herald = herald::Herald::begin(&config, &approvals, &audit, &redactor, &clock)?;
        let line = Line::new(LineParts {
            audit: audit.clone(),
            limiter,
            policy,
            filter: config.offer.clone(),
            guards: extra.guards,
            redactor: own,
            approvals: Some(approvals.clone()),
            clock: clock.clone(),
            profile: config.profile.name(),
            config: config.calls.clone(),
        });
        let line = line.frozen_by(freeze.clone()).observed_by(observing.observer.clone());
        let line = Arc::new(line.sealing_with(keys.clone()).keeping(kept));
        let named = extra.introduction.unwrap_or_else(|| config.introduction.clone());
        let server = Server::new(ServerParts {
            line: line.clone(),
            catalog: catalog.clone(),
            implementation: Implementation {
                name: named.name,
                title: named.title,
                version: named.version,
                description: safety::described(&config, named.description),
                website_url: named.website_url,
                icons: named.icons,
            },
            instructions: named.instructions,
            keys,
            spent: store::spent(&config, shared.as_ref(), &state)?,
            roll: shared.clone().map(|shared| Roll::new(shared, clock.clone())),
            tasks: Some(tasks),
            clock: clock.clone(),
            config: config.server.clone(),
        })?;
        let app = Arc::new(Self {
            config: ArcSwap::from_pointee(config),
            clock,
            state,
            fleeting: Mutex::new(fleeting),
            shared,
            redactor,
            audit,
            witnesses,
            observing,
            first_line: line,
            catalog,
            server,
            handles,
            freeze,
            secrets: Arc::new(ArcSwap::from_pointee(secrets)),
            approvals,
            _herald: herald,
            unasked: ArcSwap::from_pointee(made.unasked),
            stands: ArcSwap::from_pointee(made.stands.into_iter().map(Arc::new).collect()),
            reloading: tokio::sync::Mutex::new(former),
            _upstreams: upstreams,
        });
        app.observing.look_at(&app);
        app.note_relaxations(&app.config()).await?;
        halt::follow(&app);
        keeping::follow(&app);
        Ok(app)
    }

    /// The configuration that holds now.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// The store that instances share, if there is one.
    pub fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    /// What keeps secrets in.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The audit.
    pub fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }

    /// What is on its way to upstreams.
    pub fn traffic(&self) -> Traffic {
        self.config.load().egress.traffic.clone()
    }

    /// The line that calls walk now.
    pub fn line(&self) -> Arc<Line> {
        Arc::clone(self.catalog.now().line().unwrap_or(&self.first_line))
    }

    /// What can be called.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The switch that stops writes, or everything.
    pub fn freeze(&self) -> &Arc<Freeze> {
        &self.freeze
    }

    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The server as transports see it.
    pub fn handler(&self) -> Arc<dyn Handler> {
        self.server.clone()
    }

    /// The stand-in upstreams that practice mode started.
    pub fn stands(&self) -> Arc<Vec<Arc<Stand>>> {
        self.stands.load_full()
    }

    /// Toolsets that are not offered unless named, and were not: how many operations each has.
    pub fn unasked(&self) -> Arc<BTreeMap<String, usize>> {
        self.unasked.load_full()
    }

    /// Who calls over standard input and output: the user who started this process.
    pub fn local_principal(&self) -> Arc<Principal> {
        let crate::config::Local { scopes, roles, tenant } = self.config().principal.local.clone();
        let local = Principal::new(format!("local:{}", user()), PrincipalKind::Local);
        self.trusted(Principal { scopes, roles, tenant, ..local })
    }

    /// Who calls from inside this process: `bartizan call`, `bartizan.connect`.
    pub fn process_principal(&self) -> Arc<Principal> {
        self.trusted(Principal::new("process", PrincipalKind::Process))
    }

    fn trusted(&self, mut principal: Principal) -> Arc<Principal> {
        principal.may_approve =
            self.config.load().approvals.trust_clients.iter().any(|trusted| **trusted == *principal.id);
        Arc::new(principal)
    }

    /// Calls a tool by name along the line. An unknown name is `NoSuchTool`.
    pub async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        context: &Context,
    ) -> Result<Outcome> {
        let now = self.catalog.now();
        let (mut name, mut arguments) = (tool.to_owned(), arguments);
        if now.tool(tool).is_some_and(|entry| search::is_call(entry.spec())) {
            (name, arguments) = search::inner(arguments)?;
        }
        let Some(entry) = now.tool(&name) else {
            let error =
                Error::new(Kind::NoSuchTool, "There is no tool of that name; `bartizan tools` lists them.");
            return Err(self.line().unheard("tools/call", None, context, error).await);
        };
        let proposed = Proposed { tool: entry.tool().clone(), arguments, method: "tools/call" };
        now.line().unwrap_or(&self.first_line).run(proposed, context).await
    }

    /// A context for calls from this process itself.
    pub fn context(&self) -> Context {
        Context::new(Revision::NEWEST, self.process_principal(), "process")
    }

    /// Serves the process's standard input and output until the input ends or `shutdown` fires. The wire is taken
    /// before anything is loaded, so that nothing can touch it.
    pub async fn serve_stdio(&self, wire: Wire, shutdown: CancellationToken) -> Result<()> {
        self.open_metrics().await?;
        self.note_configuration().await?;
        self.serve_pipe(wire.input, wire.output, self.local_principal(), shutdown).await
    }

    /// Serves one peer over any pair of pipes.
    pub async fn serve_pipe<R, W>(
        &self,
        input: R,
        output: W,
        principal: Arc<Principal>,
        shutdown: CancellationToken,
    ) -> Result<()>
    where
        R: tokio::io::AsyncRead + Unpin + Send,
        W: tokio::io::AsyncWrite + Unpin + Send,
    {
        let settings = crate::transport::stdio::Settings {
            bounds: self.config.load().http.bounds(),
            ..crate::transport::stdio::Settings::default()
        };
        crate::transport::stdio::serve(input, output, self.handler(), &settings, shutdown, principal).await
    }

    /// Ends what was started: open streams, stand-ins, the audit.
    pub async fn close(&self) -> Result<()> {
        self.server.stop();
        self.server.settle(LAST_WORDS).await;
        for stand in self.stands.load().iter() {
            stand.shutdown().await;
        }
        self.reloading.lock().await.end(None).await;
        self.audit.close();
        self.audit.end_copies(LAST_COPIES).await;
        self.witnesses.end(LAST_COPIES).await;
        self.observing.end(LAST_COPIES).await;
        drop(self.fleeting.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    }

    /// With which configuration a server begins.
    async fn note_configuration(&self) -> Result<()> {
        if self.config().stateless {
            tracing::warn!(
                "STATELESS: nothing is written to the disk, no approval or freeze reaches this server from outside, and \
                 {}",
                if self.audit.is_off() { "NOTHING IS AUDITED" } else { "only the named audit file is kept" }
            );
        }
        let tools = self.catalog.now().list(List::Tools).len();
        let detail = json!({"policy": self.line().policy().version(), "tools": tools});
        self.audit.event(Event::ConfigurationLoaded, &detail).await
    }

    /// Each relaxation is an explicit setting, and is logged.
    async fn note_relaxations(&self, config: &Config) -> Result<()> {
        let found = relaxations(config);
        if found.is_empty() {
            return Ok(());
        }
        self.audit.event(Event::Relaxed, &json!({"settings": found})).await
    }
}

/// The user who started this process, as the environment names it.
fn user() -> String {
    environment("USER").or_else(|| environment("LOGNAME")).unwrap_or_else(|| String::from("user"))
}

/// What the program adds to what a configuration says, and what has to agree in it.
fn settle(config: &mut Config, state: &StateDir) -> Result<()> {
    config.trusted()?;
    safety::check(config)?;
    config.http.security_text = safety::security_text(config, SystemClock::shared().wall());
    config.redaction.fingerprint_key = Some(Secret::new(hex(&state.key("fingerprint.key")?)));
    // what is stateless writes where it was told to and nowhere else: the signing key lies beside the file
    config.audit.state = if config.stateless { PathBuf::new() } else { state.path().to_path_buf() };
    config.profile.name().clone_into(&mut config.approvals.profile);
    config.limits.check()?;
    config.http.check()?;
    let plain = config.http.insecure_plaintext && config.http.tls.is_none() && !config.http.tls_proxy;
    if plain && config.profile == Profile::Production {
        return Err(Error::new(
            Kind::BadConfig,
            "In production, plain HTTP beyond loopback needs a proxy that encrypts: say so with `tls_proxy = true` \
             beside `insecure_plaintext` under [http], name a certificate under [http.tls], or choose another profile.",
        ));
    }
    config.approvals.check()?;
    config.oauth.vet()?;
    if config.tasks.ttl_seconds <= config.calls.longest_task_seconds {
        return Err(Error::new(
            Kind::BadConfig,
            "[tasks] ttl_seconds has to be more than [calls] longest_task_seconds, or a result is gone before it is \
             read.",
        ));
    }
    Ok(())
}

/// Policies that cannot be meant for the tools that there are.
fn fit(policy: &Policy, catalog: &Catalog) -> Result<()> {
    let now = catalog.now();
    policy.fit(&mut List::ALL.iter().flat_map(|list| now.list(*list)).map(|entry| entry.spec().resource()))
}

/// What reads the whole of results that are cut, where anything is that may be.
fn reader(kept: &Arc<Kept>, tools: &[Arc<dyn Tool>]) -> Option<Arc<dyn Tool>> {
    tools.iter().any(|tool| tool.spec().reading.is_some()).then(|| kept.reader())
}

/// A toolset that is asked for and that nothing belongs to is a mistake, not an empty list.
fn known_toolsets<'a>(
    config: &Config,
    specs: impl Iterator<Item = &'a ToolSpec>,
    described: &'a BTreeSet<String>,
) -> Result<()> {
    let known: BTreeSet<&str> =
        specs.map(|spec| spec.toolset.as_str()).chain(described.iter().map(String::as_str)).collect();
    let mut asked = config.offer.toolsets.iter().flatten();
    let there = |name: &String| {
        ["diagnostics", crate::policy::ALL].contains(&name.as_str())
            || known.iter().any(|known| crate::policy::is_in(known, name))
    };
    let Some(name) = asked.find(|name| !there(name)) else { return Ok(()) };
    let known: Vec<&str> = known.into_iter().collect();
    let there = if known.is_empty() { String::from("there are none") } else { known.join(", ") };
    Err(Error::new(
        Kind::BadConfig,
        format!("No tool belongs to the toolset `{name}`; the toolsets here: {there}."),
    ))
}

fn hex(bytes: &[u8; 32]) -> String {
    crate::json::Digest(*bytes).hex()
}
