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

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    #[cfg(unix)]
    return rustix::process::geteuid().is_root();
    #[cfg(not(unix))]
    return false;
}

/// What a file has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// Nobody else may read it or put another in its place.
    Secret,
    /// Nobody else may change it or put another in its place.
    Trusted,
}

/// The source of an error that is about who could read or change a file.
#[derive(Debug)]
pub(crate) struct Exposed;

impl std::fmt::Display for Exposed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a file is not its owner's alone")
    }
}

impl std::error::Error for Exposed {}

impl Exposed {
    /// Whether that is what an error is about.
    pub(crate) fn is_why(error: &dyn std::error::Error) -> bool {
        let mut next = error.source();
        while let Some(source) = next {
            if source.is::<Self>() {
                return true;
            }
            next = source.source();
        }
        false
    }
}

/// Why a file is not relied on.
#[derive(Debug)]
pub(crate) enum Flaw {
    /// It is not there, or cannot be opened.
    Io(io::Error),
    /// What is wrong with it, and the way to mend it, as the end of a sentence that begins with the file.
    Said(String),
}

/// Where containers are handed their secrets: these belong to root and are often readable by every user inside, of whom
/// there is one.
pub(crate) const CONTAINER: &str = "/run/secrets";

/// Opens a file that nobody else can have put there. What is checked is what was opened.
pub(crate) fn open(path: &Path, care: Care) -> Result<File, Flaw> {
    let name = path.file_name().ok_or_else(|| Flaw::Said(String::from("is not a file")))?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(Flaw::Io)?;
    let whole = folder.join(name);
    let linked = std::fs::symlink_metadata(&whole).map_err(Flaw::Io)?.is_symlink();
    let target = if linked { whole.canonicalize().map_err(Flaw::Io)? } else { whole.clone() };
    // An orchestrator changes all files of a folder at once by way of a link that stays inside it.
    if linked && care == Care::Secret && !target.starts_with(&folder) {
        return Err(Flaw::Said(format!(
            "is a symbolic link that leads out of its folder; name the file itself, {}",
            target.display()
        )));
    }
    let mut options = OpenOptions::new();
    options.read(true);
    no_follow(&mut options);
    let file = options.open(&target).map_err(Flaw::Io)?;
    let facts = file.metadata().map_err(Flaw::Io)?;
    if !facts.is_file() {
        return Err(Flaw::Said(String::from("is not a regular file")));
    }
    let contained = target.starts_with(CONTAINER);
    judge(&facts, &target, care, contained)?;
    for place in [Some(folder.as_path()), target.parent().filter(|_| linked)].into_iter().flatten() {
        surrounded(place)?;
    }
    Ok(file)
}

#[cfg(unix)]
fn no_follow(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt as _;
    // nor wait for somebody to write into a pipe
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
}

#[cfg(not(unix))]
fn no_follow(_options: &mut OpenOptions) {}

#[cfg(unix)]
fn judge(facts: &Metadata, path: &Path, care: Care, contained: bool) -> Result<(), Flaw> {
    use std::os::unix::fs::MetadataExt as _;
    let (owner, mode, shown) = (facts.uid(), facts.mode() & 0o777, path.display());
    let ours = owner == rustix::process::geteuid().as_raw();
    let said = if !ours && !(owner == 0 && (contained || care == Care::Trusted)) {
        format!("belongs to another user; it is not used (chown it to the user that runs bartizan: {shown})")
    } else if care == Care::Secret && !contained && mode & 0o077 != 0 {
        format!("can be read by others; run chmod 600 {shown}")
    } else if mode & 0o022 != 0 {
        format!("can be changed by others; run chmod go-w {shown}")
    } else {
        return Ok(());
    };
    Err(Flaw::Said(said))
}

#[cfg(not(unix))]
fn judge(_facts: &Metadata, _path: &Path, care: Care, _contained: bool) -> Result<(), Flaw> {
    match care {
        Care::Secret => Err(Flaw::Said(unknown("it"))),
        Care::Trusted => Ok(()),
    }
}

/// Refuses a folder that others have put there, as a link, or could put another in place of.
pub(crate) fn settled(path: &Path) -> Result<(), Flaw> {
    let link = std::fs::symlink_metadata(path).map_err(Flaw::Io)?;
    if link.is_symlink() && is_foreign(&link) {
        return Err(Flaw::Said(String::from("is a link that belongs to another user; name another place")));
    }
    let target = path.canonicalize().map_err(Flaw::Io)?;
    for place in [path, target.as_path()] {
        let Some(folder) = place.parent() else { continue };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        surrounded(&folder.canonicalize().map_err(Flaw::Io)?)?;
    }
    Ok(())
}

/// Whether something belongs neither to this user nor to root.
#[cfg(unix)]
fn is_foreign(facts: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    facts.uid() != 0 && facts.uid() != rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn is_foreign(_facts: &Metadata) -> bool {
    false
}

/// Sets the mode of a folder, or of a file that has no other name. True if it worked. What is a link, or belongs to
/// another user, is left as it is.
#[cfg(unix)]
pub(crate) fn set_mode(path: &Path, mode: u32) -> bool {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let mut options = OpenOptions::new();
    options.read(true);
    no_follow(&mut options);
    let set = options.open(path).and_then(|file| {
        let facts = file.metadata()?;
        let ours = facts.uid() == rustix::process::geteuid().as_raw();
        let plain = facts.is_dir() || (facts.is_file() && facts.nlink() == 1);
        if ours && plain {
            file.set_permissions(std::fs::Permissions::from_mode(mode)).map(|()| true)
        } else {
            Ok(false)
        }
    });
    set.unwrap_or(false)
}

#[cfg(not(unix))]
pub(crate) fn set_mode(_path: &Path, _mode: u32) -> bool {
    false
}

/// Refuses a file in a place where others could put another one.
#[cfg(unix)]
fn surrounded(folder: &Path) -> Result<(), Flaw> {
    use std::os::unix::fs::MetadataExt as _;
    let us = rustix::process::geteuid().as_raw();
    for (height, place) in folder.ancestors().enumerate() {
        let facts = std::fs::metadata(place).map_err(Flaw::Io)?;
        let shown = place.display();
        if height == 0 && facts.uid() != us && facts.uid() != 0 {
            return Err(Flaw::Said(format!(
                "is in a folder of another user, who could replace it; move it out of {shown}"
            )));
        }
        if open_to_others((facts.gid(), facts.mode()), (us, rustix::process::getegid().as_raw())) {
            return Err(Flaw::Said(format!(
                "is in a place where others could replace it; run chmod go-w {shown}"
            )));
        }
    }
    Ok(())
}

/// Whether somebody else can replace what is in a folder of this group and mode; `us` are a user and a group.
#[cfg(unix)]
fn open_to_others((group, mode): (u32, u32), us: (u32, u32)) -> bool {
    // Many systems give each user a group of the same number that is theirs alone, and let it write.
    let own_group = us.0 != 0 && us.0 == us.1 && group == us.1;
    let others = if own_group { 0o002 } else { 0o022 };
    // where the sticky bit is set, nobody can replace what is not theirs
    mode & others != 0 && mode & 0o1000 == 0
}

#[cfg(not(unix))]
fn surrounded(_folder: &Path) -> Result<(), Flaw> {
    Ok(())
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

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

    #[test]
    fn a_folder_may_be_open_to_a_group_that_is_this_users_alone() {
        let us = (1000, 1000);
        assert!(!open_to_others((1000, 0o40755), us) && !open_to_others((1000, 0o40775), us));
        assert!(open_to_others((1000, 0o40777), us), "all can write");
        assert!(open_to_others((100, 0o40775), us), "a group of several");
        assert!(open_to_others((100, 0o40775), (1000, 100)), "whose first group it is");
        assert!(open_to_others((0, 0o40775), (0, 0)), "the group of root may have more");
        assert!(!open_to_others((0, 0o41777), us), "what is not theirs nobody can replace");
    }

    fn said(path: &Path, care: Care) -> Option<String> {
        match open(path, care) {
            Ok(_) => None,
            Err(Flaw::Said(said)) => Some(said),
            Err(Flaw::Io(error)) => Some(error.kind().to_string()),
        }
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_secret_is_its_owners_alone_and_what_is_trusted_is_written_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "x").unwrap();
        for (mode, secret, trusted) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o644, false, true),
            (0o640, false, true),
            (0o604, false, true),
            (0o660, false, false),
            (0o602, false, false),
            (0o666, false, false),
        ] {
            set(&path, mode);
            assert_eq!(said(&path, Care::Secret).is_none(), secret, "{mode:o}");
            assert_eq!(said(&path, Care::Trusted).is_none(), trusted, "{mode:o}");
            for said in [said(&path, Care::Secret), said(&path, Care::Trusted)].into_iter().flatten() {
                assert!(said.contains("run chmod") && said.contains("file"), "{said}");
            }
        }
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused_however_high_it_is() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let path = inner.join("file");
        fs::write(&path, "x").unwrap();
        set(&path, 0o600);
        for care in [Care::Secret, Care::Trusted] {
            for place in [&inner, outer.path()] {
                for mode in [0o770, 0o707, 0o720] {
                    set(place, mode);
                    let said = said(&path, care).unwrap();
                    assert!(said.contains("chmod go-w"), "{mode:o}: {said}");
                }
                set(place, 0o1777);
                assert_eq!(said(&path, care), None, "sticky");
                set(place, 0o750);
                assert_eq!(said(&path, care), None);
            }
        }
    }

    #[test]
    fn links_stay_in_their_folder() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let outside = elsewhere.path().join("secret");
        fs::write(&outside, "x").unwrap();
        set(&outside, 0o600);
        let link = folder.path().join("link");
        symlink(&outside, &link).unwrap();
        assert!(said(&link, Care::Secret).unwrap().contains("symbolic link"));
        assert_eq!(said(&link, Care::Trusted), None);
        set(elsewhere.path(), 0o777);
        assert!(said(&link, Care::Trusted).unwrap().contains("chmod go-w"), "both places count");
        // as an orchestrator mounts secrets
        let version = folder.path().join("..v1");
        fs::create_dir(&version).unwrap();
        fs::write(version.join("token"), "x").unwrap();
        set(&version.join("token"), 0o400);
        symlink("..v1", folder.path().join("..data")).unwrap();
        symlink("..data/token", folder.path().join("token")).unwrap();
        assert_eq!(said(&folder.path().join("token"), Care::Secret), None);
        assert!(said(folder.path(), Care::Secret).is_some(), "a folder is no file");
        assert!(said(&folder.path().join("none"), Care::Secret).is_some());
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "x").unwrap();
        set(&path, 0o600);
        let facts = fs::metadata(&path).unwrap();
        // who is not root cannot give a file away, and then finds one of root's
        if rustix::process::geteuid().is_root() {
            let owner = Some(rustix::fs::Uid::from_raw(12345));
            rustix::fs::chown(&path, owner, None).unwrap();
            for care in [Care::Secret, Care::Trusted] {
                assert!(said(&path, care).unwrap().contains("another user"));
            }
        } else {
            assert!(facts.is_file());
            assert_eq!(said(Path::new("/etc/hostname"), Care::Trusted), None, "root's are trusted");
        }
    }

    #[test]
    fn in_a_container_what_root_hands_over_may_be_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "x").unwrap();
        set(&path, 0o444);
        let facts = fs::metadata(&path).unwrap();
        assert!(judge(&facts, &path, Care::Secret, true).is_ok());
        assert!(judge(&facts, &path, Care::Secret, false).is_err());
        set(&path, 0o446);
        assert!(judge(&fs::metadata(&path).unwrap(), &path, Care::Secret, true).is_err(), "nor written");
    }
}
