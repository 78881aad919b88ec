//! A server with the tools of the tests, for targets that talk to one.

#![allow(dead_code, unreachable_pub)]

#[path = "../../rust/stage.rs"]
pub mod stage;
#[path = "../../rust/support.rs"]
pub mod support;

use std::cell::RefCell;
use std::time::Duration;

use support::{World, world};
use tokio::runtime::Runtime;

/// Rounds before everything is made anew, so that neither memory nor the audit file grows for ever.
const ROUNDS: u32 = 10_000;

thread_local! {
    static ROOM: RefCell<Option<(World, Runtime, u32)>> = const { RefCell::new(None) };
}

/// Runs one round in the room. Time passes between rounds, so that limits are no obstacle.
pub fn round(play: impl AsyncFnOnce(&World)) {
    ROOM.with_borrow_mut(|room| {
        if room.as_ref().is_none_or(|(_, _, rounds)| *rounds >= ROUNDS) {
            *room = None;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let world = runtime.block_on(async { world(stage::all()) });
            *room = Some((world, runtime, 0));
        }
        let Some((world, runtime, rounds)) = room else { return };
        *rounds += 1;
        world.clock.advance(Duration::from_secs(60));
        runtime.block_on(play(world));
    });
}
