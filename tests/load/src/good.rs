//! Clients that behave well, at a fixed rate.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::Failure;
use crate::wire::{Target, holds};

/// Later than this behind the schedule, a call is timed from when it should have been made.
const TOLERANCE: Duration = Duration::from_millis(5);

/// What one client saw: how long after the beginning each call was due, and how long it took.
struct Seen {
    took: Vec<(Duration, u32)>,
    failed: Option<String>,
}

/// Has `clients` make `rate` calls a second between them, and prints every latency, by tenths of the time.
pub async fn run(target: Target, time: Duration, rate: f64, clients: usize) -> Value {
    let every = Duration::from_secs_f64(clients as f64 / rate);
    // Connecting is not what is measured: the schedule begins when everybody has had the time to.
    let begin = Instant::now() + Duration::from_secs(2);
    let running: Vec<_> = (0..clients)
        .map(|number| {
            let first = begin + every.mul_f64(number as f64 / clients as f64);
            let target = target.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                let failed = client(&target, (begin, first, begin + time), every, &mut took).await.err();
                Seen { took, failed: failed.map(|error| error.to_string()) }
            })
        })
        .collect();
    let mut tenths = vec![Vec::new(); 10];
    let mut failures = Vec::new();
    let mut fewest = usize::MAX;
    for client in running {
        match client.await {
            Ok(seen) => {
                fewest = fewest.min(seen.took.len());
                for (due, took) in seen.took {
                    tenths[((due.as_secs_f64() / time.as_secs_f64() * 10.0) as usize).min(9)].push(took);
                }
                failures.extend(seen.failed);
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    let wanted = (time.as_secs_f64() / every.as_secs_f64()).floor();
    json!({
        "took_us": tenths, "failed": failures.len(), "failures": failures.iter().take(3).collect::<Vec<_>>(),
        "fewest": fewest, "wanted": wanted,
    })
}

async fn client(
    target: &Target,
    (begin, first, end): (Instant, Instant, Instant),
    every: Duration,
    took: &mut Vec<(Duration, u32)>,
) -> Result<(), Failure> {
    let call = target.call("echo", &json!({"message": "hello world, this is a message"}));
    let mut connection = target.connect(None).await?;
    let mut due = first;
    while due < end {
        sleep_until(due).await;
        let now = Instant::now();
        let from = if now > due + TOLERANCE { due } else { now };
        connection.send(&call).await?;
        let (status, body) = connection.answer().await?;
        if status != 200 || !holds(&body, "hello world") {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
        }
        took.push((due - begin, u32::try_from(from.elapsed().as_micros()).unwrap_or(u32::MAX)));
        due += every;
    }
    Ok(())
}
