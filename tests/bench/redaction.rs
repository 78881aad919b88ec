//! How fast the redactor is, on one core.
//!
//! `cargo run --release --example redaction-bench`: bytes a second on logs without secrets, on logs with one every two
//! thousand bytes, with labels, and with eight credentials held; then what texts made to hurt cost, and what four times as much
//! of each costs beside it. Time is that of this thread on a processor, so that others on the machine do not count.

#![expect(clippy::print_stdout, reason = "what it is for")]
#![allow(clippy::unwrap_used, reason = "a program to measure with")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod logs;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use bartizan::redaction::{Config, Labels, Redactor};
use bartizan::secret::Secret;

/// Megabytes a second that are promised.
const CLEAN: f64 = 400.0;
const LEAKING: f64 = 100.0;
/// Four times the text may cost at most so many times the time: linear, and caches.
const GROWTH: f64 = 8.0;

/// The time this thread has had on a processor.
fn spent() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
}

fn best(times: usize, mut work: impl FnMut()) -> f64 {
    (0..times)
        .map(|_| {
            let begun = spent();
            work();
            spent().saturating_sub(begun).as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() -> ExitCode {
    let bare = Redactor::new(&Config::default()).unwrap();
    let holding = Redactor::new(&Config::default()).unwrap();
    let _held: Vec<_> = (0..8)
        .map(|number| holding.hold(&Secret::new(format!("a-held-credential-{number}-7f3kQz")), "held"))
        .collect();
    let (clean, (leaking, secrets)) = (logs::clean(1, 32 << 20), logs::leaking(2, 32 << 20));
    let mut missed = false;
    let mut row = |name: &str, bytes: usize, seconds: f64, wanted: f64| {
        let speed = bytes as f64 / 1e6 / seconds;
        missed |= speed < wanted;
        println!(
            "{} {name}: {speed:.0} MB/s (wanted {wanted:.0})",
            if speed < wanted { "MISS" } else { "ok  " }
        );
    };
    for (who, redactor) in [("", &bare), (", eight credentials held", &holding)] {
        let time = best(5, || drop(black_box(redactor.text(&clean))));
        row(&format!("clean JSON logs{who}"), clean.len(), time, CLEAN);
        let time = best(5, || drop(black_box(redactor.text(&leaking))));
        row(&format!("a secret every 2 kB{who}"), leaking.len(), time, LEAKING);
    }
    let time = best(5, || {
        let mut labels = Labels::default();
        clean.lines().for_each(|line| labels.read(line));
        drop(black_box((labels, bare.text(&clean))));
    });
    row("clean JSON logs, labels too", clean.len(), time, CLEAN / 2.0);
    let out = bare.text(&leaking);
    let left = secrets.chunks(64).take(8).flatten().filter(|secret| out.contains(secret.as_str())).count();
    println!("{left} of the first {} secrets are left", secrets.len().min(512));
    let (small, large) = (logs::hostile(1 << 18), logs::hostile(1 << 20));
    for ((name, small), (_, large)) in small.iter().zip(&large) {
        let (once, four) =
            (best(3, || drop(black_box(bare.text(small)))), best(3, || drop(black_box(bare.text(large)))));
        let growth = if once < 0.002 { 4.0 } else { four / once };
        let verdict = if growth > GROWTH { "MISS" } else { "ok  " };
        missed |= growth > GROWTH;
        println!(
            "{verdict} {name:?}: {:.1} ns a byte, four times the text {growth:.1} times",
            four * 1e9 / large.len() as f64
        );
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
