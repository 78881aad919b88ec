//! Akamai's `.edgerc`: sections of four values.
//!
//! Owns [`Edgerc`], [`parse`] and where the file and the section come from. The idea: the format is an INI file that
//! people edit by hand, so it is read leniently where nothing is lost (byte order mark, line ends, spaces, comments)
//! and refused where two readers could see two things (a key or a section twice, a line without a sign).
//!
//! Must not: name a section that was not asked for, or repeat a value.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// Longest file.
pub const LONGEST: usize = 256 * 1024;
/// Longest line.
const LINE: usize = 8 * 1024;
/// Most sections, and most keys in one.
const MOST: usize = 1000;

/// A value of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// `host`.
    Host,
    /// `client_token`.
    ClientToken,
    /// `client_secret`.
    ClientSecret,
    /// `access_token`.
    AccessToken,
}

impl Field {
    /// Every field.
    pub const ALL: &'static [Self] = &[Self::Host, Self::ClientToken, Self::ClientSecret, Self::AccessToken];

    /// Its key in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ClientToken => "client_token",
            Self::ClientSecret => "client_secret",
            Self::AccessToken => "access_token",
        }
    }

    /// The field of that key.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }
}

/// A file, read. Its values are wiped with it.
#[derive(Debug, Default)]
pub struct Edgerc {
    sections: BTreeMap<String, BTreeMap<String, Secret>>,
}

fn wrong(line: usize, what: &str) -> Error {
    Error::new(Kind::BadConfig, format!("line {line} of the .edgerc file {what}"))
}

/// Reads a file. Errors name the line.
pub fn parse(bytes: &[u8]) -> Result<Edgerc> {
    if bytes.len() > LONGEST {
        return Err(Error::new(
            Kind::BadConfig,
            format!("the .edgerc file is longer than {LONGEST} bytes; is it the right one?"),
        ));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut sections: BTreeMap<String, BTreeMap<String, Secret>> = BTreeMap::new();
    let mut current: Option<String> = None;
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        if line.len() > LINE {
            return Err(wrong(number, "is too long"));
        }
        let line = std::str::from_utf8(line).map_err(|_| wrong(number, "is not text"))?.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.contains(char::is_control) {
            return Err(wrong(number, "holds a control character; remove it"));
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.strip_suffix(']').map(str::trim).filter(|name| is_section(name));
            let name = name.ok_or_else(|| wrong(number, "is no section; write [name]"))?;
            if sections.len() >= MOST {
                return Err(wrong(number, "is one section too many"));
            }
            if sections.insert(name.to_owned(), BTreeMap::new()).is_some() {
                return Err(wrong(number, "begins a section that is there already; keep one of the two"));
            }
            current = Some(name.to_owned());
            continue;
        }
        let sign =
            line.find(['=', ':']).ok_or_else(|| wrong(number, "is neither `key = value` nor [section]"))?;
        let (key, value) = (line[..sign].trim().to_ascii_lowercase(), line[sign + 1..].trim());
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)) {
            return Err(wrong(number, "has a key that is none"));
        }
        let Some(section) = current.as_ref().and_then(|name| sections.get_mut(name)) else {
            return Err(wrong(number, "stands before the first [section]"));
        };
        if section.len() >= MOST {
            return Err(wrong(number, "is one key too many for its section"));
        }
        if section.insert(key, Secret::new(value)).is_some() {
            return Err(wrong(number, "sets a key that its section has set already; keep one of the two"));
        }
    }
    Ok(Edgerc { sections })
}

/// Whether a section can be called that.
pub(super) fn is_section(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.contains(['[', ']', '#', '/'])
        && !name.contains(char::is_control)
}

impl Edgerc {
    /// A value. A section that is not there is told apart from nothing else: no other section is named.
    pub fn get(&self, section: &str, field: Field) -> Result<Secret> {
        let Some(values) = self.sections.get(section) else {
            return Err(Error::new(
                Kind::BadConfig,
                format!("the .edgerc file has no section [{section}]; check EDGERC_SECTION or the reference"),
            ));
        };
        values.get(field.name()).filter(|value| !value.is_empty()).cloned().ok_or_else(|| {
            Error::new(
                Kind::BadConfig,
                format!("the section [{section}] of the .edgerc file has no `{}`", field.name()),
            )
        })
    }

    /// How many sections there are.
    pub fn len(&self) -> usize {
        self.sections.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }
}

/// The file: what is said, else what the environment says, else the one in the home directory.
pub(super) fn place(said: Option<&PathBuf>, named: Option<String>, home: Option<String>) -> Option<PathBuf> {
    let home = home.map(PathBuf::from);
    let path = match (said, named) {
        (Some(said), _) => said.clone(),
        (None, Some(named)) => PathBuf::from(named),
        (None, None) => return home.map(|home| home.join(".edgerc")),
    };
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => Some(home.join(rest)),
        _ => Some(path),
    }
}

/// The section: what is said, else what the environment says, else `default`.
pub(super) fn section(said: Option<&str>, named: Option<String>) -> String {
    said.map(str::to_owned).or(named).unwrap_or_else(|| String::from("default"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\u{feff}# made by hand\r\n[default]\r\nhost = akab-x.luna.akamaiapis.net/\r\n\
        Client_Token=akab-t\r\n  client_secret = abc/+=;#x=\r\naccess_token: akab-a\r\n\r\n; other\n[ second ]\nhost=h\n";

    #[test]
    fn what_people_write_is_read() {
        let file = parse(FILE.as_bytes()).unwrap();
        let get = |section: &str, field| file.get(section, field).map(|value| value.expose().to_owned());
        assert_eq!(get("default", Field::Host).unwrap(), "akab-x.luna.akamaiapis.net/");
        assert_eq!(get("default", Field::ClientToken).unwrap(), "akab-t");
        assert_eq!(get("default", Field::ClientSecret).unwrap(), "abc/+=;#x=");
        assert_eq!(get("default", Field::AccessToken).unwrap(), "akab-a");
        assert_eq!(get("second", Field::Host).unwrap(), "h");
        assert_eq!(file.len(), 2);
        assert!(get("second", Field::ClientSecret).unwrap_err().message().contains("`client_secret`"));
        let unknown = get("third", Field::Host).unwrap_err();
        assert!(unknown.message().contains("[third]"), "{unknown}");
        assert!(!unknown.message().contains("second") && !unknown.message().contains("default"), "{unknown}");
        assert!(parse(b"").unwrap().is_empty());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused_with_its_line() {
        for (text, line) in [
            ("[a]\nhost=x\nhost=y", 3),
            ("[a]\nhost=x\nHOST=y", 3),
            ("[a]\n[b]\n[a]", 3),
            ("host=x", 1),
            ("[a]\nhunter2hunter2", 2),
            ("[a", 1),
            ("[]", 1),
            ("[a]\n=x", 2),
            ("[a]\nho st=x", 2),
            ("[a]\nhost=x\u{0}y", 2),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.message().contains(&format!("line {line} ")), "{text:?}: {error}");
            assert!(!error.message().contains("hunter2"));
        }
        assert!(parse(b"[a]\nhost=\xff\xfe").unwrap_err().message().contains("line 2"));
        assert!(parse(&vec![b'#'; LONGEST + 1]).is_err());
        let long = format!("[a]\nhost={}", "x".repeat(LINE));
        assert!(parse(long.as_bytes()).is_err());
        assert!(parse("[a]\nx=\n".repeat(2).as_bytes()).is_err());
    }

    #[test]
    fn what_is_said_wins_over_the_environment_and_that_over_the_default() {
        let some = |text: &str| Some(text.to_owned());
        let said = PathBuf::from("/etc/edgerc");
        assert_eq!(place(Some(&said), some("/env"), some("/home/a")), Some("/etc/edgerc".into()));
        assert_eq!(place(None, some("/env"), some("/home/a")), Some("/env".into()));
        assert_eq!(place(None, some("~/x"), some("/home/a")), Some("/home/a/x".into()));
        assert_eq!(place(None, None, some("/home/a")), Some("/home/a/.edgerc".into()));
        assert_eq!(place(None, None, None), None);
        assert_eq!(section(Some("a"), some("b")), "a");
        assert_eq!(section(None, some("b")), "b");
        assert_eq!(section(None, None), "default");
    }
}
