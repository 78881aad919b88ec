//! Lines as they come.
//!
//! Owns [`Follow`]. The idea: it reads on where it stopped; when the file that has the name is another one, the one it
//! reads is read to its end first, and then every full file that came in between.
//!
//! Must not: lose a line while files change places, or show half of one.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use super::place::id;
use super::query::unreadable;
use super::segments;
use crate::error::Result;
use crate::json::Value;

/// A reader that goes on.
pub struct Follow {
    path: PathBuf,
    file: BufReader<File>,
    id: (u64, u64),
    /// Half of a line.
    rest: Vec<u8>,
}

impl Follow {
    /// Begins after what is there now.
    pub fn from_end(path: &Path) -> Result<Self> {
        let mut follow = Self::open(path, path)?;
        while follow.line()?.is_some() {}
        follow.rest.clear();
        Ok(follow)
    }

    fn open(path: &Path, one: &Path) -> Result<Self> {
        let file = File::open(one).map_err(|cause| unreadable(one, cause))?;
        let id = id(&file.metadata().map_err(|cause| unreadable(one, cause))?);
        Ok(Self { path: path.to_path_buf(), file: BufReader::new(file), id, rest: Vec::new() })
    }

    /// What came since the last time.
    pub fn more(&mut self) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        loop {
            self.drain(&mut found)?;
            let Some(next) = self.next()? else { return Ok(found) };
            // It may have been written to between the last look and its being left.
            self.drain(&mut found)?;
            *self = Self::open(&self.path, &next)?;
        }
    }

    fn drain(&mut self, found: &mut Vec<Value>) -> Result<()> {
        while let Some(line) = self.line()? {
            found.extend(serde_json::from_slice::<Value>(&line).ok());
        }
        Ok(())
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let read = self.file.read_until(b'\n', &mut self.rest);
        read.map_err(|cause| unreadable(&self.path, cause))?;
        Ok(self.rest.ends_with(b"\n").then(|| std::mem::take(&mut self.rest)))
    }

    /// The file after the one that is read, if there is one already.
    fn next(&self) -> Result<Option<PathBuf>> {
        let all = segments::all(&self.path).map_err(|cause| unreadable(&self.path, cause))?;
        let at = all.iter().position(|one| std::fs::metadata(one).is_ok_and(|facts| id(&facts) == self.id));
        match at {
            Some(at) => Ok(all.get(at + 1).cloned()),
            // It was deleted, or moved elsewhere: on with the oldest that is there.
            None => Ok(all.first().filter(|one| one.exists()).cloned()),
        }
    }
}
