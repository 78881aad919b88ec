//! A build without a store.
//!
//! Owns a [`Link`] that cannot be made. The idea: a configuration that asks for a store in a build that has none is
//! refused at the start, never passed over.
//!
//! Must not: do anything.

use super::config::Settings;
use super::{Heard, Place, Problem, Reply, Script};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::state::StateDir;

/// There is none of these.
pub(super) enum Link {}

impl Link {
    pub(super) fn start(
        _: Settings,
        _: Option<&Secret>,
        _: StateDir,
        _: SharedClock,
        _: Heard,
    ) -> Result<Self> {
        Err(Error::new(
            Kind::BadConfig,
            "[store] needs a build with the feature `redis`; this one was made without it.",
        ))
    }

    #[allow(clippy::unused_async, reason = "the other one waits")]
    pub(super) async fn tried(&self) {
        match *self {}
    }

    pub(super) fn problem(&self) -> Option<Problem> {
        match *self {}
    }

    #[allow(clippy::unused_async, reason = "the other one waits")]
    pub(super) async fn run(
        &self,
        _: &'static Script,
        _: Place,
        _: &[&str],
        _: Vec<Vec<u8>>,
    ) -> Result<Vec<Reply>, Problem> {
        match *self {}
    }

    pub(super) fn run_now(
        &self,
        _: &'static Script,
        _: Place,
        _: &[&str],
        _: Vec<Vec<u8>>,
    ) -> Result<Vec<Reply>, Problem> {
        match *self {}
    }

    pub(super) fn tell(&self, _: &'static Script, _: Place, _: &[&str], _: Vec<Vec<u8>>) {
        match *self {}
    }

    pub(super) fn stay(&self, _: Place, _: &str, _: &str) {
        match *self {}
    }

    pub(super) fn leave(&self, _: &str) {
        match *self {}
    }

    pub(super) fn is_fresh(&self) -> bool {
        match *self {}
    }

    pub(super) fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        match *self {}
    }
}
