//! Whether a file is still the one that was read.
//!
//! Owns [`Stamp`]. The idea: size, time and number of a file tell one content from another without reading it; a file
//! that is put in another's place may have its size and time, but not its number.
//!
//! Must not: be taken for a digest; whoever has to be sure reads.

use std::fs::Metadata;
use std::path::Path;
use std::time::SystemTime;

/// What changes when a file is changed or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    number: Number,
}

impl Stamp {
    /// The stamp of the file at this path; nothing where there is none, or none that can be seen.
    pub fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|facts| Self::of(&facts))
    }

    /// The stamp of a file whose facts are known.
    pub fn of(facts: &Metadata) -> Self {
        Self { length: facts.len(), modified: facts.modified().ok(), number: number(facts) }
    }
}

#[cfg(unix)]
type Number = (u64, i64, i64, u32);
#[cfg(not(unix))]
type Number = ();

#[cfg(unix)]
fn number(facts: &Metadata) -> Number {
    use std::os::unix::fs::MetadataExt as _;
    // a change of mode or owner is one too
    (facts.ino(), facts.ctime(), facts.ctime_nsec(), facts.mode())
}

#[cfg(not(unix))]
fn number(_facts: &Metadata) -> Number {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_of_the_same_size_and_time_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        assert_eq!(Stamp::at(&one), None);
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
        for path in [&one, &two] {
            std::fs::write(path, "x").unwrap();
            std::fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
        }
        let before = Stamp::at(&one).unwrap();
        assert_eq!(Stamp::at(&one), Some(before));
        std::fs::rename(&two, &one).unwrap();
        assert!(cfg!(not(unix)) || Stamp::at(&one) != Some(before));
    }
}
