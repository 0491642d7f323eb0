//! Finds a TLS ServerHello in captured bytes and reads what was chosen (RFC 8446, section 4.1.3).

/// What a server chose.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ServerHello {
    /// `supported_versions`; 0x0304 is TLS 1.3.
    pub version: Option<u16>,
    /// Group of `key_share`; 0x11ec is X25519MLKEM768.
    pub group: Option<u16>,
}

const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// The first ServerHello among `bytes`.
pub fn find(bytes: &[u8]) -> Option<ServerHello> {
    // A handshake record of any length that holds a message of type 2 and legacy version 0x0303.
    (0..bytes.len().saturating_sub(11)).find_map(|at| {
        let record = &bytes[at..];
        let fits = record[0] == 22 && record[1] == 3 && record[5] == 2 && record[9..11] == [3, 3];
        if fits { read(&record[11..]) } else { None }
    })
}

fn read(after_version: &[u8]) -> Option<ServerHello> {
    let session = usize::from(*after_version.get(32)?);
    // Cipher suite and compression method follow the session.
    let mut rest = after_version.get(33 + session + 3..)?;
    let mut left = usize::from(word(rest)?);
    rest = &rest[2..];
    let mut hello = ServerHello::default();
    while left >= 4 {
        let (kind, length) = (word(rest)?, usize::from(word(rest.get(2..)?)?));
        let body = rest.get(4..)?;
        match kind {
            SUPPORTED_VERSIONS => hello.version = word(body),
            KEY_SHARE => hello.group = word(body),
            _ => {}
        }
        if length + 4 > left {
            return None;
        }
        left -= length + 4;
        // The key share of a large group may continue in the next packet; what was read so far stands.
        let Some(next) = rest.get(4 + length..) else {
            break;
        };
        rest = next;
    }
    (hello != ServerHello::default()).then_some(hello)
}

fn word(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut message = vec![1, 2, 3, 22, 3, 3, 0, 100, 2, 0, 0, 90, 3, 3];
        message.extend([7; 32]);
        message.extend([0, 0x13, 0x01, 0]);
        message.extend((extensions.len() as u16).to_be_bytes());
        message.extend(extensions);
        message
    }

    #[test]
    fn version_and_group_are_read() {
        let found = find(&hello(&[
            0, 51, 0, 6, 0x11, 0xec, 0, 2, 9, 9, 0, 43, 0, 2, 3, 4,
        ]));
        assert_eq!(
            found,
            Some(ServerHello {
                version: Some(0x0304),
                group: Some(0x11ec)
            })
        );
    }

    #[test]
    fn a_cut_one_and_noise_are_no_panic() {
        let whole = hello(&[0, 43, 0, 2, 3, 4]);
        for end in 0..whole.len() {
            let _ = find(&whole[..end]);
        }
        assert_eq!(find(&[22; 64]), None);
    }
}
