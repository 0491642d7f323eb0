//! Frames that RFC 9113 forbids, one connection each.

use anyhow::Result;

use super::{Finding, Target, end};
use crate::h2::{Frame, flag, kind};
use crate::hpack;

/// Sends each; the connection or the stream must end.
pub(super) async fn run(target: &Target) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (what, bytes) in wrong(target) {
        let how = match target.conn().await? {
            Ok(mut conn) => match conn.raw(&bytes).await {
                Ok(()) => end(&mut conn, Some(1), target.limit).await,
                Err(error) => error.outcome(),
            },
            Err(error) => format!("no connection: {}", error.outcome()),
        };
        let ok = !["still open", "status:200", "held up"].contains(&how.as_str())
            && !how.starts_with("no connection");
        findings.push(Finding::new(what, how, ok));
    }
    Ok(findings)
}

fn wrong(target: &Target) -> Vec<(&'static str, Vec<u8>)> {
    let head = hpack::encode(&target.request());
    let mut list = wrong_headers(&head);
    list.extend(wrong_control(&head));
    list
}

fn headers(flags: u8, stream: u32, block: &[u8]) -> Frame {
    Frame::new(kind::HEADERS, flags, stream, block)
}

/// `frame` behind a good request on stream 1.
fn after(head: &[u8], frame: &Frame) -> Vec<u8> {
    [headers(flag::END_HEADERS, 1, head).bytes(), frame.bytes()].concat()
}

fn wrong_headers(head: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let ends = flag::END_HEADERS;
    vec![
        (
            "DATA on stream 0",
            Frame::new(kind::DATA, 0, 0, *b"x").bytes(),
        ),
        (
            "DATA on an idle stream",
            Frame::new(kind::DATA, 0, 7, *b"x").bytes(),
        ),
        ("HEADERS on stream 0", headers(ends, 0, head).bytes()),
        ("HEADERS on an even stream", headers(ends, 2, head).bytes()),
        (
            "PUSH_PROMISE by a client",
            after(
                head,
                &Frame::new(kind::PUSH_PROMISE, ends, 1, [0, 0, 0, 2, 0x82]),
            ),
        ),
        (
            "CONTINUATION out of place",
            Frame::new(kind::CONTINUATION, ends, 1, head).bytes(),
        ),
        (
            "a header block interrupted",
            [
                headers(0, 1, head).bytes(),
                Frame::new(kind::PING, 0, 0, [0; 8]).bytes(),
            ]
            .concat(),
        ),
        (
            "a header index outside the table",
            headers(ends, 1, &[0xff, 0xff, 0x7f]).bytes(),
        ),
        (
            "a wrong Huffman padding",
            headers(ends, 1, &[0x41, 0x82, 0, 0]).bytes(),
        ),
        (
            "a table size beyond the setting",
            headers(ends, 1, &[0x3f, 0xff, 0xff, 0xff, 0x07]).bytes(),
        ),
        (
            "padding longer than the frame",
            headers(ends | flag::PADDED, 1, &[250, 0x82]).bytes(),
        ),
    ]
}

fn wrong_control(head: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut huge = Frame::new(kind::DATA, 0, 1, []).bytes();
    huge[..3].copy_from_slice(&[0xff, 0xff, 0xff]);
    vec![
        (
            "SETTINGS of 5 bytes",
            Frame::new(kind::SETTINGS, 0, 0, [0; 5]).bytes(),
        ),
        (
            "SETTINGS on a stream",
            after(head, &Frame::new(kind::SETTINGS, 0, 1, [])),
        ),
        (
            "SETTINGS ACK with a payload",
            Frame::new(kind::SETTINGS, flag::ACK, 0, [0; 6]).bytes(),
        ),
        (
            "a frame size setting of 1",
            Frame::new(kind::SETTINGS, 0, 0, [0, 5, 0, 0, 0, 1]).bytes(),
        ),
        (
            "a window setting of 2^31",
            Frame::new(kind::SETTINGS, 0, 0, [0, 4, 0x80, 0, 0, 0]).bytes(),
        ),
        (
            "PING of 7 bytes",
            Frame::new(kind::PING, 0, 0, [0; 7]).bytes(),
        ),
        (
            "PING on a stream",
            after(head, &Frame::new(kind::PING, 0, 1, [0; 8])),
        ),
        ("WINDOW_UPDATE of 0", Frame::credit(0, 0).bytes()),
        (
            "a window beyond 2^31-1",
            [
                Frame::credit(0, 0x7fff_ffff).bytes(),
                Frame::credit(0, 0x7fff_ffff).bytes(),
            ]
            .concat(),
        ),
        (
            "RST_STREAM of 3 bytes",
            after(head, &Frame::new(kind::RST_STREAM, 0, 1, [0; 3])),
        ),
        ("RST_STREAM on an idle stream", Frame::reset(9, 8).bytes()),
        ("a frame of 16 MiB", huge),
    ]
}
