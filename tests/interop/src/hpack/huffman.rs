//! Decoding of HPACK's Huffman code (RFC 7541 appendix B). The code is canonical: codes of one length follow each other
//! in the order of their symbols, so that the lengths alone give it.

use std::sync::LazyLock;

use crate::error::WireError;

const END: u16 = 256;

/// Length in bits of each symbol's code; the last is the end of string.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// For each length: the first code, and its symbols in order.
static CODES: LazyLock<Vec<(u32, Vec<u16>)>> = LazyLock::new(|| {
    let mut next = 0_u32;
    (0..=30_u8)
        .map(|length| {
            next <<= 1;
            let first = next;
            let symbols: Vec<u16> = (0..=END)
                .filter(|s| LENGTHS[usize::from(*s)] == length)
                .collect();
            next += symbols.len() as u32;
            (first, symbols)
        })
        .collect()
});

/// Decodes a Huffman-coded string; padding must be fewer than 8 bits, all ones (§5.2).
pub(super) fn decode(coded: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(coded.len() * 2);
    let (mut code, mut length) = (0_u32, 0_usize);
    for byte in coded {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            length += 1;
            let Some((first, symbols)) = CODES.get(length) else {
                return Err(WireError::Hpack("a Huffman code that does not exist"));
            };
            let Some(at) = code.checked_sub(*first) else {
                continue;
            };
            match symbols.get(at as usize) {
                Some(&END) => return Err(WireError::Hpack("an end of string inside a string")),
                Some(symbol) => {
                    out.push(*symbol as u8);
                    (code, length) = (0, 0);
                }
                None => {}
            }
        }
    }
    if length >= 8 || code != (1 << length) - 1 {
        return Err(WireError::Hpack("a wrong padding"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_complete() {
        let total: u64 = LENGTHS.iter().map(|l| 1_u64 << (30 - l)).sum();
        assert_eq!(total, 1 << 30);
    }

    #[test]
    fn padding_is_checked() {
        assert_eq!(decode(&[0x1f]).unwrap(), b"a");
        assert!(decode(&[0x18]).is_err());
        assert!(decode(&[0x1f, 0xff]).is_err());
        assert!(decode(&[0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
