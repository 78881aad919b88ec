//! Bytes to lines.
//!
//! Owns [`Lines`]. The idea: a line that fits in what was just read is handed out without a copy; a line longer than
//! the limit is reported once, when it passes the limit, and the rest of it is skipped.
//!
//! Must not: hold more than one line, or look into one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

const CHUNK: usize = 64 << 10;

/// What the input holds next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// One line, without its end.
    Text(&'a [u8]),
    /// A line that is longer than the limit.
    TooLong,
    /// Nothing more until more is read.
    Incomplete,
}

/// Splits an input into lines.
pub(super) struct Lines {
    chunk: Box<[u8]>,
    from: usize,
    to: usize,
    partial: Vec<u8>,
    partial_done: bool,
    skipping: bool,
    limit: usize,
}

impl Lines {
    /// Lines of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        let chunk = vec![0; CHUNK].into_boxed_slice();
        Self { chunk, from: 0, to: 0, partial: Vec::new(), partial_done: false, skipping: false, limit }
    }

    /// Whether everything that was read has been handed out.
    pub(super) fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Reads once; false at the end of the input. To be called when [`Lines::is_empty`].
    pub(super) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut R,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut space = ReadBuf::new(&mut self.chunk);
        ready!(Pin::new(reader).poll_read(context, &mut space))?;
        let read = space.filled().len();
        self.from = 0;
        self.to = read;
        Poll::Ready(Ok(read > 0))
    }

    /// The next line of what was read.
    pub(super) fn next(&mut self) -> Line<'_> {
        if self.partial_done {
            self.partial_done = false;
            self.partial.clear();
            if self.partial.capacity() > 4 * CHUNK {
                self.partial = Vec::new();
            }
        }
        loop {
            let rest = &self.chunk[self.from..self.to];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                if !self.skipping && self.partial.len() + rest.len() > self.limit {
                    self.skipping = true;
                    self.partial = Vec::new();
                    self.from = self.to;
                    return Line::TooLong;
                }
                if !self.skipping {
                    self.partial.extend_from_slice(rest);
                }
                self.from = self.to;
                return Line::Incomplete;
            };
            let (from, to) = (self.from, self.from + end);
            self.from = to + 1;
            if self.skipping {
                self.skipping = false;
                continue;
            }
            if self.partial.len() + end > self.limit {
                self.partial = Vec::new();
                return Line::TooLong;
            }
            if self.partial.is_empty() {
                return Line::Text(&self.chunk[from..to]);
            }
            self.partial.extend_from_slice(&self.chunk[from..to]);
            self.partial_done = true;
            return Line::Text(&self.partial);
        }
    }

    /// What is left at the end of the input: a last line without an end.
    pub(super) fn last(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(input: &[u8], limit: usize, step: usize) -> Vec<String> {
        let mut lines = Lines::new(limit);
        let mut seen = Vec::new();
        for mut piece in input.chunks(step) {
            let mut context = Context::from_waker(std::task::Waker::noop());
            let _ = lines.poll_read(&mut piece, &mut context);
            loop {
                match lines.next() {
                    Line::Text(text) => seen.push(String::from_utf8_lossy(text).into_owned()),
                    Line::TooLong => seen.push("!".into()),
                    Line::Incomplete => break,
                }
            }
        }
        let last = lines.last();
        if !last.is_empty() {
            seen.push(String::from_utf8(last).unwrap());
        }
        seen
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        for step in 1..20 {
            assert_eq!(split(b"one\ntwo\n\nthree", 10, step), ["one", "two", "", "three"]);
            assert_eq!(split(b"12345\n123456\n1234567890123\nok\n", 5, step), ["12345", "!", "!", "ok"]);
        }
    }
}
