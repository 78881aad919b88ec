//! Reading an audit file.
//!
//! Owns [`tail`] and [`query`]. The idea: lines are shown as they are; a question is a few members that have to agree.
//!
//! Must not: judge whether a line is genuine; that is `verify.rs`.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::segments;
use crate::error::{Error, Kind, Result};
use crate::json::Value;

/// What a line has to say to be shown. What is not set is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `intent`, `outcome`, `event`, `checkpoint` or `recovery`.
    pub kind: Option<String>,
    /// The caller.
    pub principal: Option<String>,
    /// The tool, resource or prompt.
    pub tool: Option<String>,
    /// How it ended: a result, or the security event that the end is; small and large letters are the same.
    pub result: Option<String>,
    /// The security event.
    pub event: Option<String>,
    /// `read`, `write` or `destroy`.
    pub effect: Option<String>,
    /// The id of a call.
    pub id: Option<String>,
    /// Not before this time (RFC 3339, UTC).
    pub since: Option<String>,
    /// Before this time.
    pub until: Option<String>,
}

impl Filter {
    /// Whether a line is wanted.
    pub fn wants(&self, line: &Value) -> bool {
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        let same =
            |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == text(name));
        same(&self.kind, "kind")
            && same(&self.principal, "principal")
            && same(&self.tool, "tool")
            && same(&self.event, "event")
            && same(&self.effect, "effect")
            && self.result.as_deref().is_none_or(|wanted| {
                [text("result"), text("event")].iter().any(|said| said.eq_ignore_ascii_case(wanted))
            })
            && same(&self.id, "id")
            && self.since.as_deref().is_none_or(|since| text("time") >= since)
            && self.until.as_deref().is_none_or(|until| text("time") < until)
    }
}

/// The last `count` lines that are wanted, oldest first; from full files too, where the last one has not so many.
pub fn tail(path: &Path, count: usize, filter: &Filter) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for file in segments::all(path).map_err(|cause| unreadable(path, cause))?.iter().rev() {
        let mut more = tail_of(file, count - found.len(), filter)?;
        more.append(&mut found);
        found = more;
        if found.len() >= count {
            break;
        }
    }
    Ok(found)
}

fn tail_of(path: &Path, count: usize, filter: &Filter) -> Result<Vec<Value>> {
    const STEP: u64 = 1 << 16;
    let mut file = File::open(path).map_err(|cause| unreadable(path, cause))?;
    let mut from = file.metadata().map_err(|cause| unreadable(path, cause))?.len();
    let (mut found, mut rest) = (Vec::new(), Vec::new());
    while from > 0 && found.len() < count {
        let size = STEP.min(from);
        from -= size;
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(from)).map_err(|cause| unreadable(path, cause))?;
        file.by_ref().take(size).read_to_end(&mut block).map_err(|cause| unreadable(path, cause))?;
        block.append(&mut rest);
        // The first piece may be half a line, unless the file begins here.
        let first = if from == 0 {
            0
        } else {
            block.iter().position(|byte| *byte == b'\n').map_or(block.len(), |at| at + 1)
        };
        let lines: Vec<&[u8]> = block[first..].split(|byte| *byte == b'\n').collect();
        for line in lines.into_iter().rev() {
            if let Ok(line) = serde_json::from_slice::<Value>(line)
                && filter.wants(&line)
                && found.len() < count
            {
                found.push(line);
            }
        }
        block.truncate(first);
        rest = block;
    }
    found.reverse();
    Ok(found)
}

/// Shows every line that is wanted, oldest first, until `show` says enough (false).
pub fn query(path: &Path, filter: &Filter, mut show: impl FnMut(Value) -> bool) -> Result<()> {
    each_raw(path, |line| match serde_json::from_slice::<Value>(line) {
        Ok(line) if filter.wants(&line) => show(line),
        _ => true,
    })
}

/// Shows every line as it is, without its end, until `show` says enough.
pub(super) fn each_raw(path: &Path, mut show: impl FnMut(&[u8]) -> bool) -> Result<()> {
    let mut line = Vec::new();
    for file in segments::all(path).map_err(|cause| unreadable(path, cause))? {
        let opened = File::open(&file).map_err(|cause| unreadable(&file, cause))?;
        let mut reader = BufReader::with_capacity(1 << 16, opened);
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(|cause| unreadable(&file, cause))? == 0 {
                break;
            }
            line.pop_if(|last| *last == b'\n');
            if !show(&line) {
                return Ok(());
            }
        }
    }
    Ok(())
}

pub(super) fn unreadable(path: &Path, cause: std::io::Error) -> Error {
    let shown = path.display();
    let said = match cause.kind() {
        std::io::ErrorKind::NotFound => format!(
            "There is no file {shown}. If that is the audit, nothing has happened here yet, or it is elsewhere: name it \
             with --file, or the configuration with --config."
        ),
        std::io::ErrorKind::PermissionDenied => {
            format!("{shown} may not be read by this user; the audit is its owner's alone.")
        }
        _ => format!("{shown} cannot be read."),
    };
    Error::new(Kind::BadConfig, said).with_source(cause)
}
