//! Which process wrote a line.
//!
//! Owns the name of this process in audit lines, `PID-RANDOM`, and the question whether another is still there. The
//! idea: the random half tells a process from an earlier one of the same number.
//!
//! Must not: be trusted for anything but telling crashed calls from running ones.

use std::sync::LazyLock;

static NAME: LazyLock<String> =
    LazyLock::new(|| format!("{}-{:08x}", std::process::id(), rand::random::<u32>()));

/// This process.
pub(super) fn name() -> &'static str {
    &NAME
}

/// Whether the process of that name may still be running. In doubt it is.
pub(super) fn is_alive(process: &str) -> bool {
    if process == name() {
        return true;
    }
    let Some(number) = process.split('-').next().and_then(|number| number.parse::<u32>().ok()) else {
        return true;
    };
    number != std::process::id() && exists(number)
}

#[cfg(unix)]
fn exists(number: u32) -> bool {
    let Some(pid) = i32::try_from(number).ok().and_then(rustix::process::Pid::from_raw) else { return true };
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

#[cfg(not(unix))]
fn exists(_number: u32) -> bool {
    true
}
