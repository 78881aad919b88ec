//! A state directory that is gone when its process is.
//!
//! Owns [`Fleeting`]. The idea: where nothing may be written to the disk, what a process has to remember lies in a file
//! system that is memory, under a name that nobody can guess; it goes with the process, and what a killed one left goes
//! when the next one starts.
//!
//! Must not: be anywhere that is not known to be memory.

use std::fs;
use std::path::Path;

use super::{Lock, StateDir};
use crate::error::{Error, Kind, Result};

/// Where Linux has a file system in memory.
const MEMORY: &str = "/dev/shm";
/// How the names of these directories begin.
const PREFIX: &str = "bartizan-";
/// The lock that the process of a directory holds for as long as it lives.
const ALIVE: &str = "alive";
/// How often a directory is made anew that somebody else cleared away before it was locked.
const MOST_TRIES: usize = 8;

/// A state directory in memory. Dropped, it is removed.
#[derive(Debug)]
pub struct Fleeting {
    state: StateDir,
    _alive: Lock,
}

impl Fleeting {
    /// Makes one, and removes those of processes that are no more.
    pub fn make() -> Result<Self> {
        let memory = Path::new(MEMORY);
        if !is_memory(memory) {
            return Err(Error::new(
                Kind::BadConfig,
                format!(
                    "A stateless server remembers in {MEMORY}, and here that is no memory; leave `stateless` out, or \
                     mount a tmpfs there."
                ),
            ));
        }
        sweep(memory);
        for _ in 0..MOST_TRIES {
            let path = memory.join(format!("{PREFIX}{:032x}", rand::random::<u128>()));
            let state = StateDir::open(&path)?;
            // another process that sweeps may have come between the two
            if let Ok(Some(alive)) = state.try_lock(ALIVE) {
                return Ok(Self { state, _alive: alive });
            }
        }
        Err(Error::new(Kind::Internal, format!("No folder in {MEMORY} could be made and kept; try again.")))
    }

    /// The directory.
    pub fn state(&self) -> &StateDir {
        &self.state
    }
}

impl Drop for Fleeting {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.state.path());
    }
}

/// Removes our own directories whose process is no more. Those of others, and those that are just being made, stay.
fn sweep(memory: &Path) {
    let Ok(entries) = fs::read_dir(memory) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(state) = StateDir::open(entry.path()) else { continue };
        if let Ok(Some(_nobodys)) = state.attempt(ALIVE, false) {
            let _ = fs::remove_dir_all(state.path());
        }
    }
}

/// Whether what is written there stays in memory.
#[cfg(target_os = "linux")]
fn is_memory(path: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    rustix::fs::statfs(path)
        .is_ok_and(|facts| u64::try_from(facts.f_type).is_ok_and(|kind| [TMPFS, RAMFS].contains(&kind)))
}

#[cfg(not(target_os = "linux"))]
fn is_memory(_path: &Path) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_process_and_what_a_killed_one_left_goes_with_the_next() {
        assert!(!is_memory(Path::new("/proc")));
        let first = Fleeting::make().unwrap();
        let left = Path::new(MEMORY).join(format!("{PREFIX}{:032x}", rand::random::<u128>()));
        let dead = StateDir::open(&left).unwrap();
        drop(dead.try_lock(ALIVE).unwrap().unwrap());
        dead.write("sealing.key", b"x").unwrap();
        let second = Fleeting::make().unwrap();
        assert!(!left.exists(), "what a killed process left is cleared away");
        assert!(first.state().path().is_dir(), "what a living one has is not");
        let path = second.state().path().to_path_buf();
        assert!(path.is_dir());
        drop(second);
        assert!(!path.exists());
    }
}
