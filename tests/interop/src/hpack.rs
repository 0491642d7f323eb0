//! HPACK (RFC 7541): an encoder that writes literals without Huffman coding, and a full decoder.

mod huffman;
mod table;

use self::table::Table;
use crate::error::WireError;

/// Header fields in order; names as they were on the wire.
pub type Fields = Vec<(String, String)>;

const DEFAULT_TABLE: usize = 4096;

/// Appends a field as a literal without indexing (§6.2.2).
pub fn encode_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    encode_string(out, name);
    encode_string(out, value);
}

/// A header block of literals.
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        encode_field(&mut out, name.as_ref(), value.as_ref());
    }
    out
}

/// Appends an integer with a prefix of `bits` bits (§5.1); `first` holds the bits above the prefix.
pub fn encode_integer(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let max = (1_usize << bits) - 1;
    if value < max {
        out.push(first | value as u8);
        return;
    }
    out.push(first | max as u8);
    let mut rest = value - max;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    out.push(rest as u8);
}

fn encode_string(out: &mut Vec<u8>, text: &[u8]) {
    encode_integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// Decoder of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            table: Table::new(DEFAULT_TABLE),
        }
    }
}

impl Decoder {
    /// Decodes a whole header block.
    pub fn decode(&mut self, block: &[u8]) -> Result<Fields, WireError> {
        let mut input = Input { rest: block };
        let mut fields = Fields::new();
        while let Some(first) = input.peek() {
            match first {
                0x80.. => {
                    let index = input.integer(7)?;
                    fields.push(self.table.get(index)?.clone());
                }
                0x40..=0x7f => {
                    let field = self.literal(&mut input, 6)?;
                    self.table.insert(field.clone());
                    fields.push(field);
                }
                0x20..=0x3f => {
                    let size = input.integer(5)?;
                    if size > DEFAULT_TABLE {
                        return Err(WireError::Hpack("a table size above the limit"));
                    }
                    self.table.resize(size);
                }
                _ => fields.push(self.literal(&mut input, 4)?),
            }
        }
        Ok(fields)
    }

    fn literal(&self, input: &mut Input<'_>, prefix: u32) -> Result<(String, String), WireError> {
        let index = input.integer(prefix)?;
        let name = if index == 0 {
            input.string()?
        } else {
            self.table.get(index)?.0.clone()
        };
        Ok((name, input.string()?))
    }
}

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        let (first, rest) = self
            .rest
            .split_first()
            .ok_or(WireError::Hpack("a header block that ends too early"))?;
        self.rest = rest;
        Ok(*first)
    }

    fn integer(&mut self, bits: u32) -> Result<usize, WireError> {
        let max = (1_usize << bits) - 1;
        let mut value = usize::from(self.byte()?) & max;
        if value < max {
            return Ok(value);
        }
        for shift in [0_u32, 7, 14, 21] {
            let byte = usize::from(self.byte()?);
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Hpack("an integer that is too long"))
    }

    fn string(&mut self) -> Result<String, WireError> {
        let huffman = self.peek().is_some_and(|b| b & 0x80 != 0);
        let length = self.integer(7)?;
        if length > self.rest.len() {
            return Err(WireError::Hpack("a string longer than its block"));
        }
        let (text, rest): (&'a [u8], _) = self.rest.split_at(length);
        self.rest = rest;
        let bytes = if huffman {
            huffman::decode(text)?
        } else {
            text.to_vec()
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests;
