//! Reading an event stream.
//!
//! Owns [`Events`]. The idea: bytes in, the data of finished events out, whatever the pieces they come in.
//!
//! Must not: understand the data.

/// Collects events.
#[derive(Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: String,
    any: bool,
    after_return: bool,
}

impl Events {
    /// Takes more bytes; the data of every event that they finish.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut finished = Vec::new();
        for byte in bytes {
            let follows_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => self.end_line(&mut finished),
                _ => self.line.push(*byte),
            }
        }
        finished
    }

    fn end_line(&mut self, finished: &mut Vec<String>) {
        let line = String::from_utf8_lossy(&self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            if std::mem::take(&mut self.any) && !data.is_empty() {
                finished.push(data);
            }
        } else if let Some(rest) = line.strip_prefix("data:") {
            if std::mem::replace(&mut self.any, true) {
                self.data.push('\n');
            }
            self.data.push_str(rest.strip_prefix(' ').unwrap_or(rest));
        }
        self.line.clear();
    }

    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.line.len() + self.data.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_they_arrive() {
        let text = b":\n\nevent: message\ndata: {\"a\":1}\n\nid: 4\r\ndata:one\r\ndata: two\r\n\r\ndata:\n\n: x\n\ndata: z";
        for step in 1..text.len() {
            let mut events = Events::default();
            let seen: Vec<String> = text.chunks(step).flat_map(|piece| events.take(piece)).collect();
            assert_eq!(seen, ["{\"a\":1}", "one\ntwo"]);
        }
    }
}
