//! Where in a text something may be.
//!
//! Owns [`Sieve`]. The idea: four bytes of a needle, hashed, are enough to pass over nearly all of a text, and hashing
//! four bytes at each place depends on nothing before it, so that a processor reads many places at once; an automaton
//! would wait for each byte in turn. Only where the four bytes are those of a needle does anything else look.
//!
//! Must not: judge; what it names is a place to look at, and no more.

/// Four bytes of every needle in a set, and which needles they belong to.
#[derive(Clone)]
pub(super) struct Sieve {
    bits: Box<[u64; WORDS]>,
    entries: Vec<Entry>,
    /// By the low bits of a hash: where its entries begin. Empty until [`Sieve::close`].
    begins: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Entry {
    window: u32,
    needle: u32,
    /// How far behind the beginning of the needle the window begins (before it, if negative).
    offset: i32,
}

const BITS: u32 = 17;
const WORDS: usize = 1 << (BITS - 6);
const BUCKETS: u32 = 4096;
/// Makes small letters of capitals (and other signs of other signs, which does no harm here).
const FOLD: u32 = 0x2020_2020;
const FOLD_EIGHT: u64 = 0x2020_2020_2020_2020;
/// How many places are looked at before anything is decided.
const STEP: usize = 8;

/// Which bytes may stand beside a needle.
pub(super) type Fits = fn(u8) -> bool;

const fn hash(window: u32) -> u32 {
    window.wrapping_mul(0x9E37_79B1) >> (32 - BITS)
}

impl Sieve {
    pub(super) fn new() -> Self {
        Self { bits: Box::new([0; WORDS]), entries: Vec::new(), begins: Vec::new() }
    }

    /// Adds a needle (in any case of letters). One of fewer than four bytes is looked for with what may stand before it
    /// or, without that, behind it.
    pub(super) fn add(&mut self, needle: usize, text: &[u8], before: Option<Fits>, after: Fits) {
        let windows = match (text, before) {
            ([_, _, _, _, ..], _) => vec![rarest(text)],
            ([a, b, c], None) => bytes(after).map(|d| ([*a, *b, *c, d], 0)).collect(),
            ([b, c, d], Some(before)) => bytes(before).map(|a| ([a, *b, *c, *d], -1)).collect(),
            ([a, b], None) => {
                bytes(after).flat_map(|c| bytes(after).map(move |d| ([*a, *b, c, d], 0))).collect()
            }
            ([b, c], Some(before)) => {
                bytes(before).flat_map(|a| bytes(after).map(move |d| ([a, *b, *c, d], -1))).collect()
            }
            _ => Vec::new(),
        };
        let mut windows: Vec<_> =
            windows.into_iter().map(|(window, offset)| (u32::from_le_bytes(window) | FOLD, offset)).collect();
        windows.sort_unstable();
        windows.dedup();
        for (window, offset) in windows {
            self.bits[(hash(window) >> 6) as usize] |= 1 << (hash(window) & 63);
            let needle = u32::try_from(needle).unwrap_or(u32::MAX);
            self.entries.push(Entry { window, needle, offset });
        }
        self.begins.clear();
    }

    /// To be called when all needles are in.
    pub(super) fn close(&mut self) {
        let bucket = |entry: &Entry| hash(entry.window) % BUCKETS;
        self.entries.sort_by_key(|entry| (bucket(entry), entry.needle));
        let mut begins = vec![0; BUCKETS as usize + 1];
        for entry in &self.entries {
            begins[bucket(entry) as usize + 1] += 1;
        }
        for at in 1..begins.len() {
            begins[at] += begins[at - 1];
        }
        self.begins = begins;
    }

    /// Calls `look` with each needle whose four bytes were seen and the place where the needle would begin: in the order
    /// of those four bytes.
    pub(super) fn each(&self, text: &[u8], mut look: impl FnMut(usize, usize)) {
        let mut at = 0;
        while let Some(block) = text.get(at..at + STEP + 4).and_then(<[u8]>::first_chunk::<{ STEP + 4 }>) {
            let mut places = self.places(block);
            while places != 0 {
                let offset = places.trailing_zeros() as usize;
                places &= places - 1;
                self.look(&block[offset..], at + offset, &mut look);
            }
            at += STEP;
        }
        // What is left, and nothing behind it: a window may reach over the end.
        let mut rest = [0; 2 * STEP + 4];
        let left = text.len().saturating_sub(at);
        rest[..left].copy_from_slice(&text[at..]);
        for offset in 0..left {
            self.look(&rest[offset..offset + 4], at + offset, &mut look);
        }
    }

    /// Which of the first eight places have bytes that hash as a needle's do, a bit for each.
    #[inline]
    fn places(&self, block: &[u8; STEP + 4]) -> u64 {
        let eight = |from: usize| {
            let eight = block[from..].first_chunk::<8>();
            eight.map_or(0, |eight| u64::from_le_bytes(*eight)) | FOLD_EIGHT
        };
        let (first, second) = (eight(0), eight(4));
        let mut places = 0;
        for offset in 0..4 {
            for (eight, offset) in [(first, offset), (second, offset + 4)] {
                #[expect(clippy::cast_possible_truncation, reason = "the low four bytes are wanted")]
                let place = hash((eight >> (8 * (offset & 3))) as u32);
                places |= (self.bits[(place >> 6) as usize] >> (place & 63) & 1) << offset;
            }
        }
        places
    }

    #[inline]
    fn look(&self, window: &[u8], at: usize, look: &mut impl FnMut(usize, usize)) {
        let Some(window) = window.first_chunk().map(|four| u32::from_le_bytes(*four) | FOLD) else { return };
        let place = hash(window);
        if self.bits[(place >> 6) as usize] >> (place & 63) & 1 == 0 {
            return;
        }
        let bucket = (place % BUCKETS) as usize;
        let Some([from, to]) = self.begins.get(bucket..bucket + 2) else { return };
        for entry in &self.entries[*from as usize..*to as usize] {
            if entry.window == window
                && let Ok(at) = isize::try_from(at)
                && let Ok(begin) = usize::try_from(at - entry.offset as isize)
            {
                look(entry.needle as usize, begin);
            }
        }
    }
}

fn bytes(fits: Fits) -> impl Iterator<Item = u8> {
    (0..=u8::MAX).filter(move |byte| fits(*byte))
}

/// The four bytes of a needle that are seldom seen elsewhere, and where they begin.
fn rarest(text: &[u8]) -> ([u8; 4], i32) {
    let often = |byte: &u8| match byte.to_ascii_lowercase() {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' | b' ' | b'"' | b':' => 4,
        b'q' | b'x' | b'z' | b'j' | b'k' | b'w' | b'v' | b'y' | b'_' | b'$' | b'~' | 0x80.. => 1,
        _ => 2,
    };
    let mut best = ([0; 4], 0, usize::MAX);
    for (offset, window) in text.windows(4).take(64).enumerate() {
        let score = window.iter().map(often).sum();
        if score < best.2
            && let Some(four) = window.first_chunk()
        {
            best = (*four, i32::try_from(offset).unwrap_or(0), score);
        }
    }
    (best.0, best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(needles: &[&str], text: &str) -> Vec<(usize, usize)> {
        let mut sieve = Sieve::new();
        for (number, needle) in needles.iter().enumerate() {
            sieve.add(number, needle.as_bytes(), None, |_| true);
        }
        sieve.close();
        let mut found = Vec::new();
        sieve.each(text.as_bytes(), |needle, at| {
            let whole = text.as_bytes().get(at..at + needles[needle].len());
            if whole.is_some_and(|whole| whole.eq_ignore_ascii_case(needles[needle].as_bytes())) {
                found.push((needle, at));
            }
        });
        found.sort_unstable();
        found.dedup();
        found
    }

    proptest! {
        #[test]
        fn every_place_is_seen(text in "(token|TOKEN|key|é|ab|[a-e]{1,9}| ){0,20}") {
            let needles = ["token", "key", "abcd", "cde", "ab", "eab", "é"];
            let mut all = Vec::new();
            for (number, needle) in needles.iter().enumerate().filter(|(_, needle)| **needle != "é") {
                let found = text.to_lowercase().match_indices(needle).map(|(at, _)| (number, at)).collect::<Vec<_>>();
                // Matches that overlap one another count too.
                all.extend(found);
            }
            let got = seen(&needles, &text);
            for place in all {
                prop_assert!(got.contains(&place), "{place:?} in {text:?}: {got:?}");
            }
        }
    }
}
