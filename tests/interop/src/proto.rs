//! The protobuf wire format, written and read without generated code.

use crate::error::WireError;

/// Writes a message field by field; default values are left out by the caller.
#[derive(Debug, Default)]
pub struct Writer {
    /// The message so far.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// A varint field (wire type 0).
    pub fn varint(&mut self, field: u32, value: u64) -> &mut Self {
        self.raw_varint(u64::from(field) << 3);
        self.raw_varint(value);
        self
    }

    /// A length-delimited field (wire type 2).
    pub fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.raw_varint(u64::from(field) << 3 | 2);
        self.raw_varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    /// A string field, left out where empty.
    pub fn string(&mut self, field: u32, value: &str) -> &mut Self {
        if value.is_empty() {
            self
        } else {
            self.bytes(field, value.as_bytes())
        }
    }

    /// A message field.
    pub fn message(&mut self, field: u32, fill: impl FnOnce(&mut Writer)) -> &mut Self {
        let mut inner = Writer::default();
        fill(&mut inner);
        self.bytes(field, &inner.bytes)
    }

    /// A `google.protobuf.Struct` of strings.
    pub fn strings(&mut self, field: u32, entries: &[(&str, &str)]) -> &mut Self {
        self.message(field, |fields| {
            for (key, value) in entries {
                fields.message(1, |entry| {
                    entry.string(1, key).message(2, |v| {
                        v.bytes(3, value.as_bytes());
                    });
                });
            }
        })
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// A field's value as the wire has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The bytes of a length-delimited field.
    pub fn as_bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::Proto("a number where bytes belong")),
        }
    }

    /// The text of a length-delimited field.
    pub fn as_text(self) -> Result<String, WireError> {
        String::from_utf8(self.as_bytes()?.to_vec())
            .map_err(|_| WireError::Proto("a string that is not UTF-8"))
    }

    /// The number of a varint field.
    pub fn as_number(self) -> Result<u64, WireError> {
        match self {
            Self::Varint(number) => Ok(number),
            _ => Err(WireError::Proto("bytes where a number belongs")),
        }
    }
}

/// The fields of a message in their order.
pub fn fields(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, WireError> {
    let mut rest = message;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let number =
            u32::try_from(tag >> 3).map_err(|_| WireError::Proto("a wild field number"))?;
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut rest)?),
            1 => Value::Fixed64(u64::from_le_bytes(fixed(&mut rest)?)),
            2 => {
                let length = varint(&mut rest)? as usize;
                let (bytes, behind) = rest
                    .split_at_checked(length)
                    .ok_or(WireError::Proto("a field longer than its message"))?;
                rest = behind;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(fixed(&mut rest)?)),
            _ => return Err(WireError::Proto("an unknown wire type")),
        };
        fields.push((number, value));
    }
    Ok(fields)
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (bytes, behind) = rest
        .split_first_chunk::<N>()
        .ok_or(WireError::Proto("a message that ends too early"))?;
    *rest = behind;
    Ok(*bytes)
}

/// Takes a varint off the front.
pub fn varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest
            .split_first()
            .ok_or(WireError::Proto("a message that ends too early"))?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(WireError::Proto("a varint that is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_examples() {
        let mut writer = Writer::default();
        writer.varint(1, 150).string(2, "testing");
        assert_eq!(writer.bytes, b"\x08\x96\x01\x12\x07testing");
        let read = fields(&writer.bytes).unwrap();
        assert_eq!(
            read,
            [(1, Value::Varint(150)), (2, Value::Bytes(b"testing"))]
        );
    }

    #[test]
    fn garbage_is_an_error() {
        for bytes in [
            &b"\x08"[..],
            b"\x12\x05ab",
            b"\x0b",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert!(fields(bytes).is_err(), "{bytes:?}");
        }
    }
}
