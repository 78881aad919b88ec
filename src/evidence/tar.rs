//! Several files in one, in one strict form.
//!
//! Owns [`Writer`] and [`Reader`]: the plain (`ustar`) form of tar, which every tool can unpack. The idea: a bundle holds
//! files and nothing else, all with the same owner, mode and time, so the same content is the same bytes; what differs
//! from that in a single bit of a header is none of ours.
//!
//! Must not: write to the disk, or follow what a header says beyond a name and a size.

use std::io::{self, Read, Write};

use crate::error::{Error, Kind, Result};

const BLOCK: usize = 512;
/// Longest name.
const NAME: usize = 100;

/// Writes a bundle.
pub(super) struct Writer<W> {
    out: W,
    /// The time of every file, in seconds of the epoch.
    time: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W, time: u64) -> Self {
        Self { out, time }
    }

    /// Adds a file of that many bytes.
    pub(super) fn file(&mut self, name: &str, size: u64, from: &mut impl Read) -> io::Result<()> {
        let head =
            header(name, size, self.time).ok_or_else(|| io::Error::other("a name that does not fit"))?;
        self.out.write_all(&head)?;
        let written = io::copy(&mut from.take(size), &mut self.out)?;
        if written != size {
            return Err(io::Error::other("a file that became shorter"));
        }
        self.out.write_all(&[0; BLOCK][..padding_of(size)])
    }

    /// Ends the bundle.
    pub(super) fn end(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads a bundle, file by file.
pub(super) struct Reader<R> {
    from: R,
    /// Bytes of the present file and its padding that were not read.
    left: u64,
    padding: usize,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, left: 0, padding: 0 }
    }

    /// The next file: its name, its size and the bundle's time. None at the end.
    pub(super) fn next(&mut self) -> Result<Option<(String, u64, u64)>> {
        if self.left > 0 {
            return Err(broken("a file in it was not read to its end"));
        }
        let mut rest = [0; BLOCK];
        let padding = rest.get_mut(..self.padding).unwrap_or_default();
        self.from.read_exact(padding).map_err(cut_off)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(broken("there is something between its files"));
        }
        self.padding = 0;
        let mut head = [0; BLOCK];
        self.from.read_exact(&mut head).map_err(cut_off)?;
        if head == [0; BLOCK] {
            self.from.read_exact(&mut head).map_err(cut_off)?;
            let mut more = [0];
            let nothing = head == [0; BLOCK] && matches!(self.from.read(&mut more), Ok(0));
            return if nothing { Ok(None) } else { Err(broken("there is something after its end")) };
        }
        let found = parse(&head).ok_or_else(|| broken("a header in it is not one of ours"))?;
        (self.left, self.padding) = (found.1, padding_of(found.1));
        Ok(Some(found))
    }

    /// The bytes of the present file.
    pub(super) fn file(&mut self) -> impl Read + '_ {
        Present(self)
    }
}

struct Present<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Present<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.0.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.0.from.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.left -= read as u64;
        Ok(read)
    }
}

fn broken(what: &str) -> Error {
    Error::new(Kind::BadConfig, format!("This is no bundle of evidence as bartizan writes it: {what}."))
}

fn cut_off(cause: io::Error) -> Error {
    broken("it was cut off").with_source(cause)
}

fn padding_of(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    if over == 0 { 0 } else { BLOCK - over }
}

/// The one header that a file of that name, size and time has.
fn header(name: &str, size: u64, time: u64) -> Option<[u8; BLOCK]> {
    let plain = !name.is_empty()
        && name.len() < NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !name.starts_with('.');
    if !plain || size >= 1 << 33 || time >= 1 << 33 {
        return None;
    }
    let mut head = [0; BLOCK];
    let mut put = |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, &format!("{time:011o}\0"));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    head[148..156].copy_from_slice(sum.as_bytes());
    Some(head)
}

/// Name, size and time of a header that is exactly as we write it.
fn parse(head: &[u8; BLOCK]) -> Option<(String, u64, u64)> {
    let field = |from: usize, to: usize| std::str::from_utf8(head.get(from..to)?).ok();
    let octal = |from: usize, to: usize| u64::from_str_radix(field(from, to)?.trim_end_matches('\0'), 8).ok();
    let name = field(0, NAME)?.trim_end_matches('\0').to_owned();
    let (size, time) = (octal(124, 136)?, octal(136, 148)?);
    (header(&name, size, time)? == *head).then_some((name, size, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), 1_800_000_000);
        for (name, bytes) in files {
            writer.file(name, bytes.len() as u64, &mut &**bytes).unwrap();
        }
        writer.end().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut reader = Reader::new(bytes);
        let mut found = Vec::new();
        while let Some((name, _, _)) = reader.next()? {
            let mut content = Vec::new();
            reader.file().read_to_end(&mut content).map_err(cut_off)?;
            found.push((name, content));
        }
        Ok(found)
    }

    #[test]
    fn what_was_packed_is_unpacked_and_a_changed_bit_of_a_header_or_a_lost_byte_shows() {
        let long = vec![7_u8; 1500];
        let files: [(&str, &[u8]); 4] = [("a.json", b"{}"), ("b", b""), ("c.bin", &long), ("d", &[1; 512])];
        let bytes = packed(&files);
        assert_eq!(bytes, packed(&files), "the same content is the same bytes");
        let found = unpacked(&bytes).unwrap();
        assert!(files.iter().zip(&found).all(|(file, found)| file.0 == found.0 && file.1 == found.1));
        assert_eq!(found.len(), 4);
        for end in 0..bytes.len() {
            assert!(unpacked(&bytes[..end]).is_err(), "cut off at {end}");
        }
        for at in 0..BLOCK {
            let mut other = bytes.clone();
            other[at] ^= 1;
            let same = unpacked(&other).is_ok_and(|other| other == found);
            assert!(!same, "byte {at} of the first header");
        }
        let more = [bytes.as_slice(), b"x"].concat();
        assert!(unpacked(&more).is_err());
        assert!(unpacked(b"").is_err() && unpacked(&[0; 100]).is_err());
        for name in ["", ".hidden", "a/b", "../x", "ü"] {
            assert!(Writer::new(Vec::new(), 0).file(name, 0, &mut &b""[..]).is_err(), "{name}");
        }
    }

    #[test]
    fn a_tar_that_is_there_lists_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        std::fs::write(&path, packed(&[("a.json", b"{}"), ("b", b"bb")])).unwrap();
        let Ok(done) = std::process::Command::new("tar").arg("-tvf").arg(&path).output() else {
            eprintln!("there is no tar here");
            return;
        };
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success() && said.contains("a.json") && said.contains("-rw-------"), "{said}");
    }
}
