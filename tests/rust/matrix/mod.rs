//! The wire's requirements, each over every revision and transport.
//!
//! Owns the driver. The idea: `tests/requirements.toml` says which behaviour exists from which revision on, or through
//! which; here each has a check that says whether a server shows it. It has to where it exists, and must not where it
//! does not; whatever is sent in these conversations is checked against the protocol's own schema on the way.

mod asked;
mod lists;
mod results;
mod wire;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use bartizan::pipeline::Tool;
use bartizan::protocol::Revision;
use bartizan::transport::Channel;
use futures_util::FutureExt as _;

use crate::requirements::{Requirement, requirements};
use crate::showcase;
use crate::stage::{self, Hanging};
use crate::talk::{Place, Talk};

/// One revision over one transport.
struct Case {
    place: Place,
    channel: Channel,
    revision: Revision,
    hanging: Arc<Hanging>,
}

impl Case {
    async fn new(channel: Channel, revision: Revision) -> Self {
        let hanging = Hanging::new();
        let mut tools = stage::all();
        tools.extend(showcase::all());
        tools.push(stage::asking_roots());
        tools.push(hanging.clone() as Arc<dyn Tool>);
        Self { place: Place::of(tools).await, channel, revision, hanging }
    }

    /// A client of that revision, its door open.
    async fn open(&self) -> Talk {
        Talk::open(&self.place, self.channel, self.revision).await
    }

    /// A client that said nothing yet.
    fn closed(&self) -> Talk {
        Talk::closed(&self.place, self.channel, self.revision)
    }
}

/// Whether the behaviour shows.
type Check = for<'a> fn(&'a Case) -> Pin<Box<dyn Future<Output = bool> + 'a>>;

/// The requirement and the check that proves it.
macro_rules! table {
    ($($id:literal => $check:path),* $(,)?) => {
        &[$(($id, |case| Box::pin($check(case)))),*]
    };
}
use table;

const TABLES: &[&[(&str, Check)]] = &[wire::TABLE, lists::TABLE, results::TABLE, asked::TABLE];

fn checks() -> impl Iterator<Item = &'static (&'static str, Check)> {
    TABLES.iter().copied().flatten()
}

/// What this matrix proves.
pub fn proved() -> BTreeSet<&'static str> {
    checks().map(|(id, _)| *id).collect()
}

async fn run(channel: Channel, revision: Revision) -> Vec<String> {
    let case = Case::new(channel, revision).await;
    let mut wrong = Vec::new();
    for Requirement { id, since, until, over, .. } in requirements() {
        let Some((_, check)) = checks().find(|(known, _)| *known == id) else { continue };
        if over.as_deref().is_some_and(|over| over != channel.name()) {
            continue;
        }
        let since = since.as_deref().is_none_or(|since| since <= revision.name());
        let until = until.as_deref().is_none_or(|until| revision.name() <= until);
        let at = format!("{id} over {} in {revision}", channel.name());
        match AssertUnwindSafe(check(&case)).catch_unwind().await {
            Ok(shows) if shows == (since && until) => {}
            Ok(true) => wrong.push(format!("{at}: is there and must not be")),
            Ok(false) => wrong.push(format!("{at}: is not there")),
            Err(panic) => {
                let said = panic.downcast::<String>().map_or_else(|_| "panicked".into(), |said| *said);
                wrong.push(format!("{at}: {said}"));
            }
        }
    }
    wrong
}

async fn holds(channel: Channel) {
    let mut wrong = Vec::new();
    for revision in Revision::ALL {
        wrong.extend(run(channel, *revision).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_requirement_holds_in_its_revisions_over_a_pipe() {
    holds(Channel::Stdio).await;
}

#[tokio::test]
async fn every_requirement_holds_in_its_revisions_over_http() {
    holds(Channel::Http).await;
}

#[test]
fn every_behaviour_of_some_revisions_is_in_the_matrix_and_the_reverse() {
    let dated: BTreeSet<_> = requirements()
        .iter()
        .filter(|one| one.since.is_some() || one.until.is_some())
        .map(|one| one.id.clone())
        .collect();
    let driven: BTreeSet<_> = proved().into_iter().map(str::to_owned).collect();
    assert_eq!(dated, driven, "since or until in requirements.toml, against the tables of the matrix");
    for requirement in requirements() {
        for date in [&requirement.since, &requirement.until].into_iter().flatten() {
            assert!(Revision::parse(date).is_some(), "{}: {date} is no revision", requirement.id);
        }
    }
}
