//! The wire format of DNS (RFC 1035), as much as a cluster's stub resolvers need.

use std::net::IpAddr;

/// Type of an IPv4 address record.
pub const A: u16 = 1;
/// Type of an alias record.
pub const CNAME: u16 = 5;
/// Type of an IPv6 address record (RFC 3596).
pub const AAAA: u16 = 28;
/// Type of a service record (RFC 2782).
pub const SRV: u16 = 33;
/// Any type.
pub const ANY: u16 = 255;

/// Seconds that answers may be kept.
const TTL: u32 = 5;
/// Size of a UDP answer without EDNS(0).
const UDP_LIMIT: usize = 512;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Identifier.
    pub id: u16,
    /// Whether recursion was asked for.
    pub recursion: bool,
    /// Name in lower case, without the final dot.
    pub name: String,
    /// Type.
    pub kind: u16,
    /// Largest UDP answer that the client takes.
    pub limit: usize,
    raw: Vec<u8>,
}

/// Data of an answer record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An address.
    Address(IpAddr),
    /// An alias.
    Alias(String),
    /// A service: port and target.
    Service(u16, String),
}

/// Result codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The name exists.
    NoError = 0,
    /// The name does not exist.
    NxDomain = 3,
}

/// Reads a query with one question; `None` when it is anything else.
pub fn decode(packet: &[u8]) -> Option<Question> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let flags = word(2)?;
    // Responses and opcodes other than QUERY are not for us.
    if flags & 0xf800 != 0 || word(4)? != 1 {
        return None;
    }
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if length > 63 {
            return None;
        }
        let label = packet.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
    let kind = word(at)?;
    let end = at + 4;
    let raw = packet.get(12..end)?.to_vec();
    let limit = edns_limit(packet, end).unwrap_or(UDP_LIMIT);
    Some(Question {
        id: word(0)?,
        recursion: flags & 0x0100 != 0,
        name: labels.join("."),
        kind,
        limit,
        raw,
    })
}

fn edns_limit(packet: &[u8], end: usize) -> Option<usize> {
    let additional = u16::from_be_bytes([packet[10], packet[11]]);
    let opt = packet.get(end..end + 5)?;
    let is_opt = additional > 0 && opt[0] == 0 && opt[1..3] == [0, 41];
    is_opt.then(|| usize::from(u16::from_be_bytes([opt[3], opt[4]])).clamp(UDP_LIMIT, 4096))
}

/// Writes an answer. With a `limit` too small the answer is cut and marked so; the client then asks by TCP.
pub fn encode(
    question: &Question,
    code: Code,
    answers: &[(String, Data)],
    limit: usize,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend(question.id.to_be_bytes());
    let flags = 0x8400 | if question.recursion { 0x0180 } else { 0 } | code as u16;
    out.extend(flags.to_be_bytes());
    out.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend(&question.raw);
    let mut count = 0u16;
    for (name, data) in answers {
        let before = out.len();
        record(&mut out, name, data);
        if out.len() > limit {
            out.truncate(before);
            out[2] |= 0x02;
            break;
        }
        count += 1;
    }
    out[6..8].copy_from_slice(&count.to_be_bytes());
    out
}

fn record(out: &mut Vec<u8>, name: &str, data: &Data) {
    put_name(out, name);
    let (kind, bytes) = match data {
        Data::Address(IpAddr::V4(a)) => (A, a.octets().to_vec()),
        Data::Address(IpAddr::V6(a)) => (AAAA, a.octets().to_vec()),
        Data::Alias(target) => {
            let mut bytes = Vec::new();
            put_name(&mut bytes, target);
            (CNAME, bytes)
        }
        Data::Service(port, target) => {
            let mut bytes = vec![0, 0, 0, 100];
            bytes.extend(port.to_be_bytes());
            put_name(&mut bytes, target);
            (SRV, bytes)
        }
    };
    out.extend(kind.to_be_bytes());
    out.extend(1u16.to_be_bytes());
    out.extend(TTL.to_be_bytes());
    out.extend(u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
    out.extend(bytes);
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|l| !l.is_empty()) {
        let bytes = &label.as_bytes()[..label.len().min(63)];
        out.push(u8::try_from(bytes.len()).unwrap_or(0));
        out.extend(bytes);
    }
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut packet = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        put_name(&mut packet, name);
        packet.extend(kind.to_be_bytes());
        packet.extend([0, 1]);
        packet
    }

    #[test]
    fn reads_questions() {
        let question = decode(&query("Web.Shop.svc.cluster.local", AAAA)).unwrap();
        assert_eq!((question.id, question.kind), (0x1234, AAAA));
        assert_eq!(question.name, "web.shop.svc.cluster.local");
        assert_eq!(question.limit, 512);
    }

    #[test]
    fn garbage_is_no_question() {
        let good = query("web.shop", A);
        for length in 0..good.len() {
            assert_eq!(decode(&good[..length]), None, "cut at {length}");
        }
        let mut response = good.clone();
        response[2] |= 0x80;
        assert_eq!(decode(&response), None);
        let mut pointer = good;
        pointer[12] = 0xc0;
        assert_eq!(decode(&pointer), None);
    }

    #[test]
    fn writes_answers_and_cuts_them() {
        let question = decode(&query("web.shop", A)).unwrap();
        let one = (
            "web.shop".to_owned(),
            Data::Address("10.96.0.21".parse().unwrap()),
        );
        let out = encode(&question, Code::NoError, std::slice::from_ref(&one), 512);
        assert_eq!(out[..12], [0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(out[out.len() - 4..], [10, 96, 0, 21]);
        let many = vec![one; 100];
        let cut = encode(&question, Code::NoError, &many, 512);
        assert!(cut.len() <= 512 && cut[2] & 0x02 != 0);
        assert_eq!(encode(&question, Code::NxDomain, &[], 512)[3] & 0x0f, 3);
    }
}
