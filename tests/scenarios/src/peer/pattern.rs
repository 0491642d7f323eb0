//! Bytes that both ends can make from a seed, and a checksum that depends on their order.

/// Makes the same bytes from the same seed.
pub(crate) struct Pattern {
    state: u64,
    text: Option<Vec<u8>>,
}

impl Pattern {
    /// Bytes of a SplitMix64 generator.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: seed,
            text: None,
        }
    }

    /// A text over and over.
    pub(crate) fn text(text: &str) -> Self {
        let mut line = text.as_bytes().to_vec();
        line.push(b'\n');
        Self {
            state: 0,
            text: Some(line),
        }
    }

    /// Fills all of `buffer`; its length must be a multiple of 8 but for the last one.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        if let Some(text) = &self.text {
            for byte in buffer {
                *byte = text[self.state as usize % text.len()];
                self.state += 1;
            }
            return;
        }
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A checksum over a stream, whatever pieces it comes in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checksum {
    sum: u64,
    count: u64,
    rest: [u8; 8],
}

impl Checksum {
    /// Adds the next bytes.
    pub(crate) fn add(&mut self, mut bytes: &[u8]) {
        let held = (self.count % 8) as usize;
        self.count += bytes.len() as u64;
        if held > 0 {
            let take = bytes.len().min(8 - held);
            self.rest[held..held + take].copy_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if held + take < 8 {
                return;
            }
            self.mix(u64::from_le_bytes(self.rest));
        }
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        self.rest[..tail.len()].copy_from_slice(tail);
    }

    /// Bytes so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The sum so far.
    pub(crate) fn value(&self) -> u64 {
        let mut last = self.clone();
        let held = (self.count % 8) as usize;
        last.rest[held..].fill(0);
        last.mix(u64::from_le_bytes(last.rest));
        last.mix(self.count);
        last.sum
    }

    fn mix(&mut self, word: u64) {
        self.sum = (self.sum.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> u64 {
        let mut sum = Checksum::default();
        sum.add(bytes);
        sum.value()
    }

    #[test]
    fn pieces_do_not_matter() {
        let mut bytes = vec![0; 1003];
        Pattern::new(5).fill(&mut bytes);
        for size in [1, 3, 7, 8, 9, 64, 1000] {
            let mut sum = Checksum::default();
            for piece in bytes.chunks(size) {
                sum.add(piece);
            }
            assert_eq!(sum.value(), whole(&bytes), "pieces of {size}");
            assert_eq!(sum.count(), 1003);
        }
    }

    #[test]
    fn order_and_length_matter() {
        assert_ne!(whole(b"abcdefgh01234567"), whole(b"01234567abcdefgh"));
        assert_ne!(whole(b"a"), whole(b"a\0"));
        assert_ne!(whole(b""), whole(b"\0"));
    }
}
