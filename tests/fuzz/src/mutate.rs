//! Changes inputs at random: small and large edits, numbers at their limits, known words, pieces of other inputs.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Bytes at which parsers change their mind.
const EDGES: [u8; 12] = [
    0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'{', b'[', b':', b'/', b'0',
];
const NUMBERS: [&str; 8] = [
    "0",
    "-1",
    "65536",
    "4294967296",
    "18446744073709551616",
    "1e999",
    "-9223372036854775809",
    "00",
];
/// Longest piece that one edit inserts, doubles or removes.
const PIECE: usize = 64;

/// A source of inputs, the same ones for the same seed.
#[derive(Debug)]
pub struct Mutator {
    random: SmallRng,
    words: &'static [&'static str],
    max_len: usize,
}

impl Mutator {
    /// Starts from a seed.
    pub fn new(seed: u64, words: &'static [&'static str], max_len: usize) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            words,
            max_len,
        }
    }

    /// A changed copy of one of `corpus`; bytes at random where there is none.
    pub fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus.choose(&mut self.random).cloned().unwrap_or_default();
        // Mostly one or two edits: more leave nothing for the parser's later stages.
        let edits = 1 << self.random.random_range(0..5);
        for _ in 0..edits {
            self.edit(&mut input, corpus);
        }
        input.truncate(self.max_len);
        input
    }

    fn edit(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.random.random_range(0..=input.len());
        match self.random.random_range(0..12) {
            0 => self.flip_bit(input),
            1 => self.overwrite(input, at),
            2 => drop(input.splice(at..at, [self.random.random()])),
            3 => drop(input.drain(at..(at + self.random.random_range(0..PIECE)).min(input.len()))),
            4 => self.double(input, at),
            5 | 6 => {
                let word = self.words.choose(&mut self.random).copied().unwrap_or("\0");
                drop(input.splice(at..at, word.bytes()));
            }
            7 => self.number(input),
            8 => input.truncate(at),
            9 => self.arithmetic(input),
            10 => self.insert_noise(input, at),
            _ => self.splice(input, at, corpus),
        }
    }

    fn flip_bit(&mut self, input: &mut [u8]) {
        let bit = self.random.random_range(0..8);
        if let Some(byte) = self.any(input) {
            *byte ^= 1 << bit;
        }
    }

    fn arithmetic(&mut self, input: &mut [u8]) {
        let by = self.random.random_range(1..=16);
        if let Some(byte) = self.any(input) {
            *byte = if by % 2 == 0 {
                byte.wrapping_add(by)
            } else {
                byte.wrapping_sub(by)
            };
        }
    }

    fn any<'a>(&mut self, input: &'a mut [u8]) -> Option<&'a mut u8> {
        let length = input.len().max(1);
        input.get_mut(self.random.random_range(0..length))
    }

    fn overwrite(&mut self, input: &mut [u8], at: usize) {
        let end = (at + self.random.random_range(1..5)).min(input.len());
        let edge = *EDGES.choose(&mut self.random).unwrap_or(&0);
        input[at.min(end)..end].fill(edge);
    }

    fn double(&mut self, input: &mut Vec<u8>, at: usize) {
        let end = (at + self.random.random_range(1..=PIECE)).min(input.len());
        let piece = input[at..end].repeat(self.random.random_range(1..4));
        drop(input.splice(at..at, piece));
    }

    fn insert_noise(&mut self, input: &mut Vec<u8>, at: usize) {
        let noise: Vec<u8> = (0..self.random.random_range(1..PIECE))
            .map(|_| self.random.random())
            .collect();
        drop(input.splice(at..at, noise));
    }

    /// Puts another number where digits are.
    fn number(&mut self, input: &mut Vec<u8>) {
        let digits: Vec<usize> = (0..input.len())
            .filter(|i| input[*i].is_ascii_digit())
            .collect();
        let Some(&start) = digits.choose(&mut self.random) else {
            return;
        };
        let end = (start..input.len())
            .find(|i| !input[*i].is_ascii_digit())
            .unwrap_or(input.len());
        let number = NUMBERS.choose(&mut self.random).copied().unwrap_or("0");
        drop(input.splice(start..end, number.bytes()));
    }

    fn splice(&mut self, input: &mut Vec<u8>, at: usize, corpus: &[Vec<u8>]) {
        let Some(other) = corpus.choose(&mut self.random) else {
            return;
        };
        let from = self.random.random_range(0..=other.len());
        let to = self.random.random_range(from..=other.len());
        let end = (at + self.random.random_range(0..=to - from)).min(input.len());
        drop(input.splice(at..end, other[from..to].iter().copied()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_again() {
        let corpus = vec![b"GET /1 HTTP/1.1".to_vec(), b"{\"a\": 12}".to_vec()];
        let run = |seed| {
            let mut mutator = Mutator::new(seed, &["null"], 40);
            (0..500).map(|_| mutator.next(&corpus)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        assert!(run(7).iter().all(|input| input.len() <= 40));
    }

    #[test]
    fn an_empty_corpus_still_gives_inputs() {
        let mut mutator = Mutator::new(1, &[], 100);
        assert!((0..100).any(|_| mutator.next(&[]).len() > 3));
    }
}
