//! A byte stream that both ends can compute: no byte can be lost, repeated or reordered unnoticed.

/// An endless stream of bytes, addressed by position, different for each seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    seed: u64,
}

impl Pattern {
    /// The stream of this seed.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed: seed.wrapping_mul(0xa076_1d64_78bd_642f),
        }
    }

    /// Writes the bytes from position `offset` on into `out`.
    pub fn fill(self, offset: u64, out: &mut [u8]) {
        let mut word_at = offset / 8;
        let skip = (offset % 8) as usize;
        let mut rest = out;
        if skip > 0 {
            let bytes = self.word(word_at);
            let take = (8 - skip).min(rest.len());
            rest[..take].copy_from_slice(&bytes[skip..skip + take]);
            rest = &mut rest[take..];
            word_at += 1;
        }
        let mut chunks = rest.chunks_exact_mut(8);
        for chunk in &mut chunks {
            chunk.copy_from_slice(&self.word(word_at));
            word_at += 1;
        }
        let tail = chunks.into_remainder();
        let len = tail.len();
        tail.copy_from_slice(&self.word(word_at)[..len]);
    }

    /// The first `len` bytes.
    pub fn bytes(self, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.fill(0, &mut out);
        out
    }

    /// splitmix64 of the position: any word can be had without those before it.
    const fn word(self, index: u64) -> [u8; 8] {
        let mut z = self.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }
}

/// Compares what arrives with the pattern.
#[derive(Debug)]
pub struct Checker {
    pattern: Pattern,
    offset: u64,
    scratch: Vec<u8>,
}

impl Checker {
    /// Expects `pattern` from its beginning.
    pub const fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            offset: 0,
            scratch: Vec::new(),
        }
    }

    /// Takes the next bytes.
    ///
    /// # Panics
    /// At the first byte that differs.
    pub fn take(&mut self, bytes: &[u8]) {
        self.scratch.resize(bytes.len(), 0);
        self.pattern.fill(self.offset, &mut self.scratch);
        if bytes != self.scratch {
            let at = bytes
                .iter()
                .zip(&self.scratch)
                .position(|(a, b)| a != b)
                .unwrap_or_default();
            panic!("byte {} differs from what was sent", self.offset + at as u64);
        }
        self.offset += bytes.len() as u64;
    }

    /// How many bytes were right so far.
    pub const fn received(&self) -> u64 {
        self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_of_the_pattern_is_the_same_stream() {
        let pattern = Pattern::new(7);
        let whole = pattern.bytes(1000);
        for (from, to) in [(0, 1000), (3, 9), (8, 16), (5, 6), (7, 999)] {
            let mut part = vec![0; to - from];
            pattern.fill(from as u64, &mut part);
            assert_eq!(part, whole[from..to]);
        }
    }

    #[test]
    #[should_panic(expected = "byte 500 differs")]
    fn a_changed_byte_is_found() {
        let mut bytes = Pattern::new(1).bytes(1000);
        bytes[500] ^= 1;
        let mut checker = Checker::new(Pattern::new(1));
        checker.take(&bytes[..400]);
        checker.take(&bytes[400..]);
    }
}
