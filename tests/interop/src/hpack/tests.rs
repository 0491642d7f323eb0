//! The examples of RFC 7541 appendix C.

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks(2).map(|p| p[0] << 4 | p[1]).collect()
}

fn fields(expected: &[(&str, &str)]) -> Fields {
    expected
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect()
}

/// C.1
#[test]
fn integers() {
    for (bits, value, hex) in [(5, 10, "0a"), (5, 1337, "1f9a0a"), (8, 42, "2a")] {
        let mut out = Vec::new();
        encode_integer(&mut out, 0, bits, value);
        assert_eq!(out, bytes(hex));
        assert_eq!(Input { rest: &out }.integer(bits).unwrap(), value);
    }
    assert!(
        Input {
            rest: &[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 1]
        }
        .integer(5)
        .is_err()
    );
}

/// C.2
#[test]
fn representations() {
    let cases = [
        (
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            ("custom-key", "custom-header"),
            55,
        ),
        (
            "040c 2f73 616d 706c 652f 7061 7468",
            (":path", "/sample/path"),
            0,
        ),
        (
            "1008 7061 7373 776f 7264 0673 6563 7265 74",
            ("password", "secret"),
            0,
        ),
        ("82", (":method", "GET"), 0),
    ];
    for (hex, field, size) in cases {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&bytes(hex)).unwrap(), fields(&[field]));
        assert_eq!(decoder.table.size(), size);
    }
}

fn requests(blocks: [&str; 3]) {
    let mut decoder = Decoder::default();
    let base = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ];
    assert_eq!(decoder.decode(&bytes(blocks[0])).unwrap(), fields(&base));
    assert_eq!(decoder.table.size(), 57);
    let mut second = base.to_vec();
    second.push(("cache-control", "no-cache"));
    assert_eq!(decoder.decode(&bytes(blocks[1])).unwrap(), fields(&second));
    assert_eq!(decoder.table.size(), 110);
    let third = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    assert_eq!(decoder.decode(&bytes(blocks[2])).unwrap(), fields(&third));
    assert_eq!(decoder.table.size(), 164);
}

/// C.3
#[test]
fn requests_without_huffman() {
    requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
}

/// C.4
#[test]
fn requests_with_huffman() {
    requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

/// C.6, with the table of 256 bytes that evicts.
#[test]
fn responses_with_huffman_and_eviction() {
    let mut decoder = Decoder::default();
    decoder.table.resize(256);
    let first = [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    let block = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
        2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
    assert_eq!(decoder.decode(&bytes(block)).unwrap(), fields(&first));
    assert_eq!(decoder.table.size(), 222);
    let mut second = first;
    second[0].1 = "307";
    assert_eq!(
        decoder.decode(&bytes("4883 640e ffc1 c0bf")).unwrap(),
        fields(&second)
    );
    assert_eq!(decoder.table.size(), 222);
    let third = [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        (
            "set-cookie",
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ),
    ];
    let block = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
        77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160
        65c0 03ed 4ee5 b106 3d50 07";
    assert_eq!(decoder.decode(&bytes(block)).unwrap(), fields(&third));
    assert_eq!(decoder.table.size(), 215);
}

#[test]
fn what_is_encoded_is_decoded() {
    let long = "x".repeat(300);
    let sent = [
        (":method", "CONNECT"),
        (":authority", "[fd00::1]:80"),
        ("baggage", &long),
    ];
    assert_eq!(
        Decoder::default().decode(&encode(&sent)).unwrap(),
        fields(&sent)
    );
}

#[test]
fn garbage_is_an_error() {
    for hex in ["80", "ff", "be", "4182f1", "3fe120", "7fffffffffff01"] {
        assert!(Decoder::default().decode(&bytes(hex)).is_err(), "{hex}");
    }
}
