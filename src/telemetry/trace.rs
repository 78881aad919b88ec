//! Which trace something belongs to.
//!
//! Owns [`TraceContext`] (W3C Trace Context, version 00). The idea: what comes from outside is read strictly or not at
//! all; a caller may name the trace, and nothing else.
//!
//! Must not: pass on baggage or anything else a caller made up.

use std::fmt;

/// A trace, and a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: [u8; 16],
    /// The span that is the parent of what follows.
    pub span: [u8; 8],
    /// Whether somebody keeps it.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("00-")?;
        let (trace, rest) = rest.split_once('-')?;
        let (span, flags) = rest.split_once('-')?;
        let (trace, span, [flags]) = (bytes::<16>(trace)?, bytes::<8>(span)?, bytes::<1>(flags)?);
        let real = trace != [0; 16] && span != [0; 8];
        real.then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }

    /// The trace's id, as logs and audit lines carry it.
    pub fn trace_id(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.trace)
    }
}

/// Lower-case hexadecimal digits of exactly so many bytes.
fn bytes<const COUNT: usize>(text: &str) -> Option<[u8; COUNT]> {
    if text.len() != 2 * COUNT {
        return None;
    }
    data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

impl fmt::Display for TraceContext {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = data_encoding::HEXLOWER.encode(&self.span);
        write!(out, "00-{}-{span}-0{}", self.trace_id(), u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::TraceContext;

    #[test]
    fn a_parent_is_read_strictly() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = TraceContext::parse(good).unwrap();
        assert_eq!(read.to_string(), good);
        assert_eq!(read.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7\r\nx: y",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad:?}");
        }
    }
}
