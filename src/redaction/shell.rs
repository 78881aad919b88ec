//! Secrets in commands.
//!
//! Owns [`COMMANDS`] and [`Command`]. The idea: `-p x` means a password to `sshpass` and a port to `ssh`, so a command
//! is known by name, with the flags that take its secret; the line is read word by word, as a shell reads it.
//!
//! Must not: read beyond the command's line.

use super::looks::{is_code, is_odd, is_placeholder, is_plain_word, is_random};
use super::scan::Found;

/// A command that takes a secret.
pub(super) struct Command {
    /// How it begins, with a space at its end.
    pub(super) name: &'static str,
    takes: Takes,
}

enum Takes {
    /// The word after one of these flags, or the rest of the flag's own word.
    Flag(&'static [&'static str]),
    /// The same, and only right after the flag: `mysql -px`, while in `mysql -p x` it is the name of a database.
    Stuck(&'static str),
    /// `user:password`, or what else stands between the two, after one of these flags.
    Pair(&'static [&'static str], char),
    /// The first word that is no flag.
    First,
    /// The last word.
    Last,
}

const fn command(name: &'static str, takes: Takes) -> Command {
    Command { name, takes }
}

/// Which commands take a secret, and how.
pub(super) const COMMANDS: &[Command] = &[
    command("curl ", Takes::Pair(&["-u", "--user", "-U", "--proxy-user"], ':')),
    command("mysql ", Takes::Stuck("-p")),
    command("mysqldump ", Takes::Stuck("-p")),
    command("mysqladmin ", Takes::Stuck("-p")),
    command("mariadb ", Takes::Stuck("-p")),
    command("sshpass ", Takes::Flag(&["-p"])),
    command("docker login ", Takes::Flag(&["-p"])),
    command("podman login ", Takes::Flag(&["-p"])),
    command("helm registry login ", Takes::Flag(&["-p"])),
    command("oc login ", Takes::Flag(&["-p"])),
    command("az login ", Takes::Flag(&["-p"])),
    command("cf login ", Takes::Flag(&["-p"])),
    command("mongo ", Takes::Flag(&["-p"])),
    command("mongosh ", Takes::Flag(&["-p"])),
    command("mongodump ", Takes::Flag(&["-p"])),
    command("twine upload ", Takes::Flag(&["-p"])),
    command("redis-cli ", Takes::Flag(&["-a"])),
    command("ldapsearch ", Takes::Flag(&["-w"])),
    command("ldapmodify ", Takes::Flag(&["-w"])),
    command("ldapadd ", Takes::Flag(&["-w"])),
    command("ldapwhoami ", Takes::Flag(&["-w"])),
    command("sqlcmd ", Takes::Flag(&["-P"])),
    command("bcp ", Takes::Flag(&["-P"])),
    command("ipmitool ", Takes::Flag(&["-P"])),
    command("mosquitto_pub ", Takes::Flag(&["-P"])),
    command("mosquitto_sub ", Takes::Flag(&["-P"])),
    command("unzip ", Takes::Flag(&["-P"])),
    command("plink ", Takes::Flag(&["-pw"])),
    command("pscp ", Takes::Flag(&["-pw"])),
    command("doctl auth init ", Takes::Flag(&["-t"])),
    command("smbclient ", Takes::Pair(&["-U", "--user"], '%')),
    command("lftp ", Takes::Pair(&["-u"], ',')),
    command("vault login ", Takes::First),
    command("snyk auth ", Takes::First),
    command("htpasswd -b", Takes::Last),
    command("net use ", Takes::Last),
];

/// How much of a line is read.
const LONGEST: usize = 1024;

/// One word of a line: its place, and what it says without quotes.
struct Word {
    start: usize,
    end: usize,
    said: String,
}

impl Command {
    /// The secret on the line that begins where the command's name ends.
    pub(super) fn secret(&self, text: &str, from: usize) -> Option<Found> {
        let words = words(text, from);
        let given = |flags: &[&str]| {
            words.iter().enumerate().find_map(|(at, word)| {
                let flag = flags.iter().find(|flag| word.said.starts_with(**flag))?;
                if word.said.len() == flag.len() {
                    return words.get(at + 1).map(|next| (next.start, next.end, next.said.clone()));
                }
                // `--user=x`, and `-px` of one letter
                let rest = &word.said[flag.len()..];
                let rest = rest.strip_prefix('=').or((flag.len() == 2).then_some(rest))?;
                let start = word.end.checked_sub(rest.len())?;
                text.get(start..word.end)
                    .filter(|said| *said == rest)
                    .map(|_| (start, word.end, rest.to_owned()))
                    .or(Some((word.start, word.end, rest.to_owned())))
            })
        };
        let (start, end, said) = match &self.takes {
            Takes::Flag(flags) => given(flags)?,
            Takes::Stuck(flag) => {
                let word =
                    words.iter().find(|word| word.said.starts_with(flag) && word.said.len() > flag.len())?;
                if word.said.starts_with("-port") || word.said.starts_with("-proto") {
                    return None;
                }
                (word.start + flag.len(), word.end, word.said[flag.len()..].to_owned())
            }
            Takes::Pair(flags, between) => {
                let (start, end, said) = given(flags)?;
                let (user, password) = said.split_once(*between)?;
                let secret = if password.is_empty() { user } else { password };
                return (is_password(secret) && (is_odd(secret, 6) || is_random(secret, 10)))
                    .then_some(Found { start, end, kind: "password" });
            }
            Takes::First => {
                let word =
                    words.iter().find(|word| !word.said.starts_with('-') && !word.said.contains('='))?;
                if !is_random(&word.said, 16) {
                    return None;
                }
                (word.start, word.end, word.said.clone())
            }
            Takes::Last => {
                let word = words.get(2..)?.last()?;
                if !is_odd(&word.said, 5)
                    || word.said.starts_with(['/', '-', '\\'])
                    || word.said.contains(':')
                {
                    return None;
                }
                (word.start, word.end, word.said.clone())
            }
        };
        is_password(&said).then_some(Found { start, end, kind: "password" })
    }
}

fn is_password(said: &str) -> bool {
    said.len() >= 4
        && !said.starts_with('-')
        && !said.starts_with('$')
        && !is_placeholder(said)
        && !is_plain_word(said)
        && !is_code(said)
        && (!said.bytes().all(|byte| byte.is_ascii_digit()) || said.len() > 5)
        && !said.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// The words of a line; a backslash at its end joins the next.
fn words(text: &str, from: usize) -> Vec<Word> {
    let bytes = text.as_bytes();
    let most = text.floor_char_boundary(from + LONGEST);
    let mut found = Vec::new();
    let (mut at, mut start, mut said, mut quote): (usize, Option<usize>, Vec<u8>, Option<u8>) =
        (from, None, Vec::new(), None);
    while at <= most {
        let byte = if at == most { b'\n' } else { bytes[at] };
        let next = bytes.get(at + 1).copied();
        match (quote, byte) {
            (None, b'\\') if next == Some(b'\n') => at += 1,
            // A line in a JSON text goes on after `\\n` as well.
            (None, b'\\') if next == Some(b'\\') && bytes.get(at + 2) == Some(&b'n') => at += 2,
            (None, b' ' | b'\t' | b'\n' | b'\r' | b';' | b'|' | b'`') => {
                if let Some(start) = start.take() {
                    let said = String::from_utf8_lossy(&std::mem::take(&mut said)).into_owned();
                    found.push(Word { start, end: at, said });
                }
                if !matches!(byte, b' ' | b'\t') {
                    break;
                }
            }
            (None, b'"' | b'\'') => {
                start.get_or_insert(at);
                quote = Some(byte);
            }
            (Some(open), byte) if open == byte => quote = None,
            _ => {
                start.get_or_insert(at);
                said.push(byte);
            }
        }
        at += 1;
    }
    found
}
