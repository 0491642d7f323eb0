//! Connections as a peer opens them (RFC 9113), and TLS hellos (RFC 8446).

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(super) fn connections() -> Vec<Vec<u8>> {
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 64, 0, 0, 0, 3, 0, 0, 0, 100]);
    let open = [PREFACE, &settings, &frame(SETTINGS, 1, 0, &[])].concat();
    let head = connect_head(
        "10.0.0.2:8080",
        &[
            ("forwarded", "for=\"10.0.0.1:4000\""),
            ("baggage", "k8s.pod.name=web"),
        ],
    );
    let half = head.len() / 2;
    let bodies = [
        [
            frame(HEADERS, END_HEADERS, 1, &head),
            frame(0, 0, 1, b"hello"),
            frame(0, END_STREAM, 1, b""),
        ]
        .concat(),
        [
            frame(HEADERS, 0, 1, &head[..half]),
            frame(CONTINUATION, END_HEADERS, 1, &head[half..]),
        ]
        .concat(),
        [
            frame(HEADERS, END_HEADERS, 1, &head),
            frame(RESET, 0, 1, &[0, 0, 0, 8]),
        ]
        .concat(),
        frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &connect_head("not an authority", &[]),
        ),
        [
            frame(PING, 0, 0, &[7; 8]),
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        ]
        .concat(),
    ];
    let mut seeds: Vec<Vec<u8>> = bodies
        .iter()
        .map(|body| [&open[..], body].concat())
        .collect();
    seeds.push(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec());
    seeds
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// An HPACK block of literals without indexing and without Huffman coding (RFC 7541 §6.2.2).
fn connect_head(authority: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in [(":method", "CONNECT"), (":authority", authority)]
        .iter()
        .chain(more)
    {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).unwrap_or(0) & 0x7f);
            out.extend(text.bytes());
        }
    }
    out
}

pub(super) fn hellos() -> Vec<Vec<u8>> {
    let alert = vec![21, 3, 3, 0, 2, 2, 40];
    let plaintext = b"SSH-2.0-OpenSSH_9.2\r\n".to_vec();
    vec![
        record(&hello(b"\x02h2")),
        record(&hello(b"\x08http/1.1")),
        record(&hello(b"")),
        alert,
        plaintext,
    ]
}

fn record(handshake: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &length16(handshake), handshake].concat()
}

/// A ClientHello with TLS 1.3, X25519 and, where given, ALPN.
fn hello(protocols: &[u8]) -> Vec<u8> {
    let mut extensions = [
        extension(43, &[2, 3, 4]),
        extension(10, &[0, 2, 0, 29]),
        extension(13, &[0, 4, 4, 3, 8, 4]),
        extension(51, &[&[0, 36, 0, 29, 0, 32][..], &[9; 32]].concat()),
    ]
    .concat();
    if !protocols.is_empty() {
        extensions.extend(extension(16, &[&length16(protocols), protocols].concat()));
    }
    let body = [
        &[3, 3][..],
        &[5; 32],
        &[0],
        &[0, 2, 0x13, 1],
        &[1, 0],
        &length16(&extensions),
        &extensions,
    ]
    .concat();
    [&[1, 0][..], &length16(&body), &body].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &length16(data), data].concat()
}

fn length16(data: &[u8]) -> [u8; 2] {
    u16::try_from(data.len()).unwrap_or(0).to_be_bytes()
}
