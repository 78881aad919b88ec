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
