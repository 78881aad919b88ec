//! Clients that read slowly, vanish, or just listen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use crate::Failure;
use crate::wire::{Connection, Target, holds};

/// The receive buffer of who reads slowly.
const WINDOW: u32 = 4096;
/// How much a slow reader reads at once, and how often.
const SIP: usize = 2048;
const PAUSE: Duration = Duration::from_millis(100);
/// How long a slow reader stays before it begins anew.
const STAY: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Counts {
    sipped: AtomicU64,
    vanished: AtomicU64,
    heard: AtomicU64,
    fewest_heard: AtomicU64,
    listening: AtomicU64,
    troubles: AtomicU64,
}

impl Counts {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// Has so many of each kind at work until the time is over.
pub async fn run(target: Target, time: Duration, slow: usize, vanishing: usize, listening: usize) -> Value {
    let counts = Arc::new(Counts { fewest_heard: u64::MAX.into(), ..Counts::default() });
    let end = Instant::now() + time;
    let mut running = Vec::new();
    for number in 0..slow + vanishing + listening {
        let (target, counts) = (target.clone(), counts.clone());
        running.push(tokio::spawn(async move {
            // Nobody begins at the same moment.
            sleep(Duration::from_millis(fastrand::u64(..1000))).await;
            while Instant::now() < end {
                let round = async {
                    if number < slow {
                        sip(&target, number % 2 == 0, &counts).await
                    } else if number < slow + vanishing {
                        vanish(&target, &counts).await
                    } else {
                        listen(&target, end, &counts).await
                    }
                };
                match timeout_at(end, round).await {
                    Err(_) => {}
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => {
                        Counts::add(&counts.troubles, 1);
                        sleep(PAUSE).await;
                    }
                }
            }
        }));
    }
    for client in running {
        let _ = client.await;
    }
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "sipped": read(&counts.sipped), "vanished": read(&counts.vanished), "listening": read(&counts.listening),
        "heard": read(&counts.heard), "fewest_heard": read(&counts.fewest_heard), "troubles": read(&counts.troubles),
    })
}

/// Reads a large answer, or a stream that never pauses, a little at a time.
async fn sip(target: &Target, large: bool, counts: &Counts) -> Result<(), Failure> {
    let mut connection = target.connect(Some(WINDOW)).await?;
    let call = if large {
        target.call("large", &json!({"kilobytes": 512}))
    } else {
        target.call("flood", &json!({"kilobytes": 16, "pause": 0.2}))
    };
    connection.send(&call).await?;
    let until = Instant::now() + STAY;
    while Instant::now() < until {
        match connection.waste(SIP).await? {
            Some(read) => Counts::add(&counts.sipped, read as u64),
            None => return Err("the stream ended".into()),
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Begins a call that would last, and goes: in order, with a reset, or before the request is whole.
async fn vanish(target: &Target, counts: &Counts) -> Result<(), Failure> {
    let mut connection = target.connect(None).await?;
    let call = target.call("hang", &json!({}));
    let how = fastrand::u8(..3);
    let part = if how == 0 { call.len() - 10 } else { call.len() };
    connection.send(&call[..part]).await?;
    sleep(Duration::from_millis(fastrand::u64(20..400))).await;
    if how == 1 {
        connection.reset_at_the_end()?;
    }
    drop(connection);
    Counts::add(&counts.vanished, 1);
    sleep(Duration::from_millis(fastrand::u64(200..800))).await;
    Ok(())
}

async fn open_listening(target: &Target) -> Result<Connection, Failure> {
    let mut connection = target.connect(None).await?;
    let wanted = json!({"notifications": {"resourceSubscriptions": ["load://watched"]}});
    connection.send(&target.request("subscriptions/listen", None, wanted)).await?;
    match connection.head().await? {
        (200, None) => Ok(connection),
        (status, _) => Err(format!("listening was answered with {status}").into()),
    }
}

/// Listens until the end, and counts what it hears.
async fn listen(target: &Target, end: Instant, counts: &Counts) -> Result<(), Failure> {
    let mut connection = open_listening(target).await?;
    Counts::add(&counts.listening, 1);
    let mut heard = 0;
    let ended = loop {
        match timeout_at(end - PAUSE, connection.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                if holds(&chunk, "notifications/resources/updated") {
                    heard += 1;
                }
            }
            Ok(Ok(None)) => break Err("the server ended the stream".into()),
            Ok(Err(error)) => break Err(error),
            Err(_) => break Ok(()),
        }
    };
    Counts::add(&counts.heard, heard);
    counts.fewest_heard.fetch_min(heard, Ordering::Relaxed);
    if ended.is_ok() {
        tokio::time::sleep_until(end).await;
    }
    ended
}

/// Opens streams that are flooded, and others that listen, and reads until it is stopped or the time is over.
pub async fn stall(target: Target, time: Duration, streams: usize) -> Value {
    let end = Instant::now() + time;
    let counts = Arc::new(Counts::default());
    let running: Vec<_> = (0..streams)
        .map(|number| {
            let (target, counts) = (target.clone(), counts.clone());
            tokio::spawn(async move {
                let opened = if number % 2 == 0 {
                    let mut connection = target.connect(Some(WINDOW)).await?;
                    connection.send(&target.call("flood", &json!({"kilobytes": 32, "pause": 0.01}))).await?;
                    connection
                } else {
                    open_listening(&target).await?
                };
                let mut connection = opened;
                while let Ok(Ok(Some(read))) = timeout_at(end, connection.waste(1 << 16)).await {
                    Counts::add(&counts.sipped, read as u64);
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    for stream in running {
        let _ = stream.await;
    }
    json!({"read": counts.sipped.load(Ordering::Relaxed)})
}
