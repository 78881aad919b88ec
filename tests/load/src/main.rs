//! Load on an MCP server of revision 2026-07-28, from one thread, without an HTTP library.
//!
//! usage: load good|bad|stall URL KEY SECONDS [RATE CLIENTS]
//!
//! `good` has CLIENTS make RATE calls a second between them, at a fixed schedule, and measures each. `bad` has slow
//! readers, clients that vanish in the middle of a call, and streams that listen. `stall` opens streams that are
//! written to as fast as the server likes, and reads them, until it is stopped. Each prints one line of JSON.

mod bad;
mod good;
mod wire;

use std::time::Duration;

use wire::Target;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, url, key, seconds, rest @ ..] = arguments.as_slice() else {
        return Err("usage: load good|bad|stall URL KEY SECONDS [RATE CLIENTS]".into());
    };
    let target = Target::new(url, key)?;
    let time = Duration::from_secs_f64(seconds.parse()?);
    let report = match (what.as_str(), rest) {
        ("good", [rate, clients]) => good::run(target, time, rate.parse()?, clients.parse()?).await,
        ("bad", [slow, vanishing, listening]) => {
            bad::run(target, time, slow.parse()?, vanishing.parse()?, listening.parse()?).await
        }
        ("stall", [streams]) => bad::stall(target, time, streams.parse()?).await,
        _ => return Err("no such kind of load, or not its arguments".into()),
    };
    println!("{report}");
    Ok(())
}
