//! Files that nobody else can read.
//!
//! Owns who may read a file: making one private, and telling one that is not. The idea: owner and mode are asked in one
//! place; where the system has no answer that we understand (other than Unix), the answer is no, and nothing secret is
//! kept or read there.
//!
//! Must not: know what is in a file.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// Why a file or folder is not its owner's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(unix), allow(dead_code, reason = "only Unix can tell these apart"))]
pub(crate) enum Exposure {
    /// It belongs to another user.
    Foreign,
    /// Others can read or write it.
    Open,
    /// This system cannot say.
    #[cfg_attr(unix, allow(dead_code, reason = "Unix always can"))]
    Unknown,
}

/// What is said of [`Exposure::Unknown`].
pub(crate) fn unknown(what: &str) -> String {
    format!(
        "Who can read {what} cannot be checked on this system; bartizan keeps secrets on Unix systems only."
    )
}

/// Nothing for what is ours alone.
#[cfg(unix)]
pub(crate) fn exposure(facts: &Metadata) -> Option<Exposure> {
    use std::os::unix::fs::MetadataExt as _;
    if facts.uid() != rustix::process::geteuid().as_raw() {
        return Some(Exposure::Foreign);
    }
    (facts.mode() & 0o077 != 0).then_some(Exposure::Open)
}

#[cfg(not(unix))]
pub(crate) fn exposure(_facts: &Metadata) -> Option<Exposure> {
    Some(Exposure::Unknown)
}

/// Options for a new file that only its owner can read.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes an existing file readable by its owner alone.
#[cfg(unix)]
pub(crate) fn make_private(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn make_private(_file: &File) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, unknown("the file")))
}

/// Makes a folder, and those above it, for its owner alone.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Whether a folder and all those above it belong to other users, who alone can change them.
#[cfg(unix)]
pub(crate) fn is_apart(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let own = rustix::process::geteuid().as_raw();
    let theirs = |facts: &Metadata| is_theirs((facts.uid(), facts.mode()), own);
    let Ok(path) = path.canonicalize() else { return false };
    path.ancestors().all(|folder| std::fs::symlink_metadata(folder).is_ok_and(|facts| theirs(&facts)))
}

#[cfg(unix)]
fn is_theirs((owner, mode): (u32, u32), own: u32) -> bool {
    own != 0 && owner != own && mode & 0o022 == 0
}

#[cfg(not(unix))]
pub(crate) fn is_apart(_path: &Path) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_this_user_could_change_is_not_apart() {
        assert!(is_theirs((0, 0o40755), 1000));
        assert!(!is_theirs((1000, 0o40555), 1000), "its own");
        assert!(!is_theirs((0, 0o41777), 1000), "open to all");
        assert!(!is_theirs((7, 0o40755), 0), "root can change everything");
        let own = tempfile::tempdir().unwrap();
        assert!(!is_apart(own.path()) && !is_apart(Path::new("/there/is/no/such/folder")));
    }
}
