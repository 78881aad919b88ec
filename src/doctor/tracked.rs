//! Credentials among the files that git tracks.
//!
//! Owns the look at a working tree. The idea: what is tracked is listed in git's index, which is read here as its format
//! says, without running git (whose configuration may be somebody else's); names that credentials have and contents that
//! the redactor would take for one are told, by file and kind.
//!
//! Must not: run anything, or repeat what it found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Finding, Patient, Severity};
use crate::redaction::Redactor;

/// Longest file that is looked into, and how much in all.
const LONGEST: u64 = 1 << 20;
const MOST: u64 = 128 << 20;
/// Longest index.
const INDEX: u64 = 256 << 20;
/// Findings of one look.
const SAID: usize = 50;

pub(super) fn look(patient: &Patient<'_>) -> Vec<Finding> {
    let Some((root, index)) = repository(patient.folder) else {
        return vec![Finding::new("git", Severity::Good, "not in a git working tree")];
    };
    let unknown = |what: &str| {
        vec![Finding::new("git", Severity::Warning, format!("git's index {what}; tracked files are unknown"))]
    };
    let bytes = match std::fs::metadata(&index) {
        Err(_) => return vec![Finding::new("git", Severity::Good, "git tracks nothing here yet")],
        Ok(facts) if facts.len() > INDEX => return unknown("is too large"),
        Ok(_) => match std::fs::read(&index) {
            Ok(bytes) => bytes,
            Err(_) => return unknown("cannot be read"),
        },
    };
    let Some(names) = names(&bytes) else { return unknown("has a form that is not known here") };
    let mut found = Vec::new();
    let mut looked = 0;
    for name in &names {
        if found.len() >= SAID {
            found.push(Finding::new("git", Severity::Warning, "and more; mend these first"));
            break;
        }
        if is_credential_file(name) {
            found.push(
                Finding::new(
                    "git",
                    Severity::Error,
                    format!("git tracks {name}, which is named like a credential file"),
                )
                .mend(format!("git rm --cached '{name}', add it to .gitignore, and replace what was in it")),
            );
            continue;
        }
        let path = root.join(name);
        let Ok(facts) = path.symlink_metadata() else { continue };
        if !facts.is_file() || facts.len() > LONGEST || looked + facts.len() > MOST {
            continue;
        }
        looked += facts.len();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let kinds = kinds(patient.redactor, &text);
        if !kinds.is_empty() {
            let kinds: Vec<String> = kinds.into_iter().collect();
            found.push(
                Finding::new(
                    "git",
                    Severity::Warning,
                    format!("git tracks {name}, which holds what looks like: {}", kinds.join(", ")),
                )
                .mend("if it is real, replace it: what was committed once is known"),
            );
        }
    }
    if found.is_empty() {
        found.push(Finding::new(
            "git",
            Severity::Good,
            format!("{} tracked files hold no credential", names.len()),
        ));
    }
    found
}

/// The kinds of secrets in a text.
fn kinds(redactor: &Redactor, text: &str) -> BTreeSet<String> {
    const OPEN: &str = "[redacted:";
    let mut kinds = BTreeSet::new();
    let before: BTreeSet<&str> =
        text.match_indices(OPEN).map(|(at, _)| kind_at(text, at + OPEN.len())).collect();
    if let std::borrow::Cow::Owned(clean) = redactor.text(text) {
        for (at, _) in clean.match_indices(OPEN) {
            let kind = kind_at(&clean, at + OPEN.len());
            // a text about markers is no secret
            if !before.contains(kind) {
                kinds.insert(kind.to_owned());
            }
        }
    }
    kinds
}

fn kind_at(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or_default();
    rest.split([']', ' ']).next().unwrap_or_default()
}

/// Whether a file of that name is there to hold credentials. Samples are not.
fn is_credential_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let sample = ["example", "sample", "template", "dist"].iter().any(|word| name.contains(word));
    let whole = [
        ".env",
        ".edgerc",
        ".netrc",
        "_netrc",
        ".pgpass",
        ".git-credentials",
        ".pypirc",
        "credentials.json",
        "credentials",
        "id_rsa",
        "id_dsa",
        "id_ecdsa",
        "id_ed25519",
        "token_cache.json",
        "token_cache.bin",
        "http.key",
        "instance.key",
        "fingerprint.key",
        "sealing.key",
    ];
    let endings =
        [".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".edgerc", ".env", ".token", ".tfstate", ".ppk"];
    !sample
        && (whole.contains(&name.as_str())
            || name.starts_with(".env.")
            || endings.iter().any(|ending| name.ends_with(ending)))
}

/// The working tree that a folder is in, and its index.
fn repository(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let folder = folder.canonicalize().ok()?;
    for place in folder.ancestors() {
        let git = place.join(".git");
        let Ok(facts) = git.symlink_metadata() else { continue };
        if facts.is_dir() {
            return Some((place.to_path_buf(), git.join("index")));
        }
        // a linked working tree: the file names the folder
        let text = std::fs::read_to_string(&git).ok()?;
        let named = text.strip_prefix("gitdir:")?.trim();
        return Some((place.to_path_buf(), place.join(named).join("index")));
    }
    None
}

/// The names in an index of version 2, 3 or 4.
fn names(bytes: &[u8]) -> Option<Vec<String>> {
    const FIXED: usize = 62;
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    (bytes.get(..4)? == b"DIRC").then_some(())?;
    let (version, count) = (number(4)?, number(8)?);
    (2..=4).contains(&version).then_some(())?;
    let (mut at, mut names) = (12, Vec::new());
    let mut last: Vec<u8> = Vec::new();
    for _ in 0..count {
        let start = at;
        let flags = u16::from_be_bytes(bytes.get(at + 60..at + FIXED)?.try_into().ok()?);
        at += FIXED;
        if flags & 0x4000 != 0 {
            (version >= 3).then_some(())?;
            at += 2;
        }
        if version == 4 {
            let (strip, read) = offset(bytes.get(at..)?)?;
            at += read;
            last.truncate(last.len().checked_sub(strip)?);
        } else {
            last.clear();
        }
        let rest = bytes.get(at..)?;
        let length = rest.iter().position(|byte| *byte == 0)?;
        last.extend_from_slice(&rest[..length]);
        at += length + 1;
        if version < 4 {
            // entries are padded to eight bytes, with one to eight zeros
            at = start + (at - 1 - start) / 8 * 8 + 8;
        }
        names.push(String::from_utf8_lossy(&last).into_owned());
    }
    Some(names)
}

/// A number as git writes how much of the name before is dropped.
fn offset(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0usize;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        let low = usize::from(byte & 0x7f);
        value = if index == 0 { low } else { ((value + 1) << 7) | low };
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index as git writes it.
    fn index(version: u32, files: &[&str]) -> Vec<u8> {
        let mut bytes = b"DIRC".to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend(u32::try_from(files.len()).unwrap().to_be_bytes());
        let mut last = "";
        for file in files {
            let start = bytes.len();
            bytes.extend([0; 60]);
            bytes.extend(u16::try_from(file.len()).unwrap().to_be_bytes());
            if version == 4 {
                let common = last.bytes().zip(file.bytes()).take_while(|(one, other)| one == other).count();
                bytes.push(u8::try_from(last.len() - common).unwrap());
                bytes.extend(file[common..].bytes());
                bytes.push(0);
            } else {
                bytes.extend(file.bytes());
                let length = bytes.len() - start;
                bytes.extend(vec![0; 8 - length % 8]);
            }
            last = file;
        }
        bytes.extend([0; 20]);
        bytes
    }

    #[test]
    fn an_index_is_read_in_every_version_and_cut_off_anywhere() {
        let files = [".env", "a/b.txt", "a/bc.txt", "deep/er/and/deeper/file-with-a-long-name.rs", "z"];
        for version in [2, 3, 4] {
            let bytes = index(version, &files);
            assert_eq!(names(&bytes).unwrap(), files, "{version}");
            for length in 0..bytes.len() - 30 {
                let _ = names(&bytes[..length]);
            }
        }
        assert!(names(&index(5, &files)).is_none() && names(b"DIRC").is_none() && names(b"").is_none());
        let mut lying = index(2, &files);
        lying[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(names(&lying).is_none());
        assert_eq!(offset(&[0x80, 0x00]), Some((128, 2)));
    }

    #[test]
    fn names_of_credential_files_are_known_and_samples_are_not() {
        for name in [
            ".env",
            "config/.env.production",
            "x/.edgerc",
            "id_rsa",
            "certs/client.p12",
            "a/token_cache.json",
        ] {
            assert!(is_credential_file(name), "{name}");
        }
        for name in
            [".env.example", "env.rs", "docs/edgerc.md", "id_rsa.pub", "src/token.rs", "credentials.rs"]
        {
            assert!(!is_credential_file(name), "{name}");
        }
    }
}
