//! Who hears what changes.
//!
//! Owns the listen streams and the notices. The idea: a stream hears only what it asked for and may see; the queue
//! behind it belongs to the transport and is bounded, and a stream that cannot keep up is ended, in order, so that its
//! client asks again.
//!
//! Must not: send anything on a stream before its acknowledgement.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::dispatch::Visit;
use super::session::lock;
use super::{Server, faults};
use crate::catalog::List;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::principal::Principal;
use crate::protocol::message::{self, Id};
use crate::protocol::meta::SUBSCRIPTION_ID;
use crate::protocol::shape::{self, Nothing};
use crate::transport::Outlet;

/// What changed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    /// A list.
    List(List),
    /// A resource's contents: its address, and the same as it may be said.
    Resource(&'a str, &'a str),
    /// Where a task stands: its id, and all about it.
    Task(&'a str, &'a Map<String, Value>),
}

impl Change<'_> {
    fn method(self) -> &'static str {
        match self {
            Self::List(List::Tools) => "notifications/tools/list_changed",
            Self::List(List::Prompts) => "notifications/prompts/list_changed",
            Self::List(List::Resources | List::Templates) => "notifications/resources/list_changed",
            Self::Resource(..) => "notifications/resources/updated",
            Self::Task(..) => "notifications/tasks",
        }
    }

    fn params(self) -> Map<String, Value> {
        match self {
            Self::List(_) => Map::new(),
            Self::Resource(_, said) => [(String::from("uri"), said.into())].into_iter().collect(),
            Self::Task(_, task) => task.clone(),
        }
    }
}

#[derive(Default)]
struct Filter {
    tools: bool,
    prompts: bool,
    resources: bool,
    addresses: BTreeSet<String>,
    tasks: BTreeSet<String>,
}

impl Filter {
    fn wants(&self, change: Change<'_>) -> bool {
        match change {
            Change::List(List::Tools) => self.tools,
            Change::List(List::Prompts) => self.prompts,
            Change::List(List::Resources | List::Templates) => self.resources,
            Change::Resource(uri, _) => self.addresses.contains(uri),
            Change::Task(id, _) => self.tasks.contains(id),
        }
    }

    fn shown(&self) -> Value {
        let mut shown = Map::new();
        for (name, wanted) in [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ] {
            if wanted {
                shown.insert(String::from(name), true.into());
            }
        }
        if !self.addresses.is_empty() {
            shown.insert(String::from("resourceSubscriptions"), json!(self.addresses));
        }
        if !self.tasks.is_empty() {
            shown.insert(String::from("taskIds"), json!(self.tasks));
        }
        Value::Object(shown)
    }
}

struct Stream {
    number: u64,
    id: Id,
    owner: Arc<Principal>,
    filter: Filter,
    outlet: Arc<dyn Outlet>,
    lagging: CancellationToken,
}

/// The open listen streams.
#[derive(Default)]
pub(super) struct Streams {
    next: AtomicU64,
    open: Mutex<Vec<Stream>>,
}

impl Streams {
    /// Tells every stream that asked, and whose caller may hear of it.
    pub(super) fn tell(&self, change: Change<'_>, may: impl Fn(&Principal) -> bool) {
        let hears = |stream: &&Stream| stream.filter.wants(change) && may(&stream.owner);
        for stream in lock(&self.open).iter().filter(hears) {
            let mut params = change.params();
            params.insert(String::from("_meta"), json!({SUBSCRIPTION_ID: stream.id}));
            if !stream.outlet.send(message::notification(change.method(), Some(params))) {
                stream.lagging.cancel();
            }
        }
    }
}

impl Streams {
    /// How many are open.
    pub(super) fn count(&self) -> usize {
        lock(&self.open).len()
    }
}

/// Takes a stream off the list, whatever ended it.
struct Closing<'a>(&'a Streams, u64);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        lock(&self.0.open).retain(|stream| stream.number != self.1);
    }
}

impl Server {
    /// Tells everybody who asked to hear of it.
    pub(super) fn tell(&self, change: Change<'_>) {
        let now = self.catalog.now();
        let known = match change {
            Change::Resource(uri, _) => now.resource(uri).map(|(entry, _)| entry),
            Change::List(_) | Change::Task(..) => None,
        };
        // what could be seen when somebody asked need not be there for them by now
        let may = |principal: &Principal| match change {
            Change::Resource(..) => {
                known.is_some_and(|entry| self.line(&now).visible(principal, entry.spec()))
            }
            Change::List(_) | Change::Task(..) => true,
        };
        self.streams.tell(change, may);
        for talk in self.conversations.all() {
            let heard = match change {
                Change::List(_) => true,
                Change::Resource(uri, _) => talk.watches(uri, may),
                // the older revisions have none
                Change::Task(..) => false,
            };
            if heard {
                talk.tell(|| {
                    let params = change.params();
                    message::notification(change.method(), Some(params).filter(|params| !params.is_empty()))
                });
            }
        }
    }

    /// `subscriptions/listen`: runs until the client ends it, or ends it in order.
    pub(super) async fn listen_stream(&self, visit: &Visit, params: &Map<String, Value>) -> Result<String> {
        let wanted = params
            .get("notifications")
            .and_then(Value::as_object)
            .ok_or_else(|| faults::bad_params("`subscriptions/listen` needs `notifications`, an object."))?;
        let mut filter = self.filter(visit, wanted)?;
        filter.tasks = self.watched_tasks(visit, wanted.get("taskIds")).await?;
        let tasks = filter.tasks.clone();
        let number = self.streams.next.fetch_add(1, Ordering::Relaxed);
        let lagging = CancellationToken::new();
        {
            let mut open = lock(&self.streams.open);
            let own = open.iter().filter(|stream| stream.owner.is(&visit.principal)).count();
            if own >= self.config.subscriptions_each || open.len() >= self.config.subscriptions {
                let message = "There are as many open subscriptions as are allowed; end one first.";
                return Err(Error::new(Kind::RateLimited, message));
            }
            // acknowledged under the lock: no change can be told before it
            let acknowledged = json!({"_meta": {SUBSCRIPTION_ID: visit.id}, "notifications": filter.shown()});
            let method = "notifications/subscriptions/acknowledged";
            if !visit.outlet.send(message::notification(method, Some(acknowledged))) {
                return Err(faults::cancelled());
            }
            open.push(Stream {
                number,
                id: visit.id.clone(),
                owner: Arc::clone(&visit.principal),
                filter,
                outlet: Arc::clone(&visit.outlet),
                lagging: lagging.clone(),
            });
        }
        let closing = Closing(&self.streams, number);
        self.retell(visit, &tasks).await;
        let over = visit.connection.as_ref().map(|talk| talk.ended.clone()).unwrap_or_default();
        tokio::select! {
            biased;
            () = visit.cancel.cancelled() => return Err(faults::cancelled()),
            () = lagging.cancelled() => {}
            () = over.cancelled() => {}
            () = self.closes() => {}
        }
        drop(closing);
        let reason = json!({
            "_meta": {SUBSCRIPTION_ID: visit.id}, "requestId": visit.id, "reason": "The server ends this subscription."
        });
        visit.outlet.send(message::notification("notifications/cancelled", Some(reason)));
        let own = json!({SUBSCRIPTION_ID: visit.id});
        Ok(message::result(
            &visit.id,
            shape::complete(self.frame(visit.revision), Nothing {}, None, own.as_object()),
        ))
    }

    /// Resolves when open streams have to end: the server stops, or an operator freezes everything.
    pub(super) async fn closes(&self) {
        let halt = self.line(&self.catalog.now()).halt(false);
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = halt.cancelled() => {}
        }
    }

    /// What is asked for, less what does not exist for this caller.
    fn filter(&self, visit: &Visit, wanted: &Map<String, Value>) -> Result<Filter> {
        let flag = |name: &str| match wanted.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => {
                Err(faults::bad_params("The members of `notifications` that end in Changed are booleans."))
            }
        };
        let mut filter = Filter {
            tools: flag("toolsListChanged")?,
            prompts: flag("promptsListChanged")?,
            resources: flag("resourcesListChanged")?,
            addresses: BTreeSet::new(),
            tasks: BTreeSet::new(),
        };
        let wrong = || faults::bad_params("`resourceSubscriptions` has to be a list of addresses.");
        let addresses = match wanted.get("resourceSubscriptions") {
            None => return Ok(filter),
            Some(list) => list.as_array().ok_or_else(wrong)?,
        };
        if addresses.len() > self.config.watched_each {
            return Err(faults::bad_params(
                "`resourceSubscriptions` has more addresses than one caller may watch.",
            ));
        }
        let now = self.catalog.now();
        for address in addresses {
            let address = address.as_str().ok_or_else(wrong)?;
            let known = now.resource(address);
            if known.is_some_and(|(entry, _)| self.line(&now).visible(&visit.principal, entry.spec())) {
                filter.addresses.insert(address.to_owned());
            }
        }
        Ok(filter)
    }

    /// `resources/subscribe` of the older door.
    pub(super) fn subscribe(&self, visit: &Visit, params: &Map<String, Value>) -> Result<()> {
        let (talk, uri) = watching(visit, params)?;
        let now = self.catalog.now();
        let known =
            now.resource(uri).filter(|(entry, _)| self.line(&now).visible(&visit.principal, entry.spec()));
        if known.is_none() {
            return Err(self.no_such_resource(uri));
        }
        if talk.watch(uri.to_owned(), self.config.watched_each) {
            Ok(())
        } else {
            Err(Error::new(Kind::RateLimited, "This session watches as many resources as it may."))
        }
    }

    /// `resources/unsubscribe` of the older door.
    pub(super) fn unsubscribe(visit: &Visit, params: &Map<String, Value>) -> Result<()> {
        let (talk, uri) = watching(visit, params)?;
        talk.unwatch(uri);
        Ok(())
    }
}

/// Who watches, and what.
fn watching<'a>(
    visit: &'a Visit,
    params: &'a Map<String, Value>,
) -> Result<(&'a super::session::Conversation, &'a str)> {
    let uri = params
        .get("uri")
        .and_then(Value::as_str)
        .ok_or_else(|| faults::bad_params("The parameters need `uri`, a string."))?;
    let talk =
        visit.session.as_deref().ok_or_else(|| Error::new(Kind::Internal, "There is no conversation."))?;
    Ok((talk, uri))
}
