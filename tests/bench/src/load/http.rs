//! As much of HTTP/1.1 as a load generator needs: requests `GET /SIZE`, answers with `Content-Length`.

/// Largest answer that a path may ask for, in bytes.
pub const MAX_SIZE: usize = 1 << 20;

/// One complete request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Bytes that it takes.
    pub length: usize,
    /// Bytes of the answer's body.
    pub size: usize,
    /// The client wants the connection closed afterwards.
    pub close: bool,
}

/// The first request in `input`; None where it is not complete. Bodies of requests are not supported.
pub fn request(input: &[u8]) -> Option<RequestHead> {
    let length = end_of_head(input)?;
    let head = &input[..length];
    let path = head.split(|b| *b == b' ').nth(1).unwrap_or_default();
    let digits = path.iter().filter(|b| b.is_ascii_digit()).take(7);
    let size = digits
        .fold(0, |n, b| n * 10 + usize::from(b - b'0'))
        .min(MAX_SIZE);
    Some(RequestHead {
        length,
        size,
        close: header(head, "connection").is_some_and(|v| v.eq_ignore_ascii_case(b"close")),
    })
}

/// Appends an answer with a body of `size` bytes.
pub fn respond(output: &mut Vec<u8>, size: usize, close: bool) {
    let connection = if close { "Connection: close\r\n" } else { "" };
    output.extend(
        format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n{connection}\r\n").into_bytes(),
    );
    output.resize(output.len() + size, b'x');
}

/// A request for an answer of `size` bytes.
pub fn get(size: usize, close: bool) -> Vec<u8> {
    let connection = if close { "Connection: close\r\n" } else { "" };
    format!("GET /{size} HTTP/1.1\r\nHost: bench\r\n{connection}\r\n").into_bytes()
}

/// Bytes of the first answer in `input`, head and body; None where the head is not complete.
pub fn response_length(input: &[u8]) -> Option<usize> {
    let head = end_of_head(input)?;
    let value = header(&input[..head], "content-length")?;
    let body: usize = std::str::from_utf8(value).ok()?.parse().ok()?;
    head.checked_add(body)
}

fn end_of_head(input: &[u8]) -> Option<usize> {
    input
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map(|at| at + 4)
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|b| *b == b'\n').skip(1).find_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        line[..colon]
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| line[colon + 1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_answered_in_full() {
        let asked = get(1024, true);
        let parsed = request(&asked).unwrap();
        assert_eq!(
            parsed,
            RequestHead {
                length: asked.len(),
                size: 1024,
                close: true
            }
        );
        let mut answer = Vec::new();
        respond(&mut answer, parsed.size, parsed.close);
        assert_eq!(response_length(&answer), Some(answer.len()));
    }

    #[test]
    fn half_a_head_is_no_request() {
        let asked = get(1, false);
        for cut in 0..asked.len() {
            assert_eq!(request(&asked[..cut]), None);
        }
        assert!(!request(&asked).unwrap().close);
    }

    #[test]
    fn a_huge_size_is_capped() {
        assert_eq!(
            request(b"GET /99999999999999999999 HTTP/1.1\r\n\r\n")
                .unwrap()
                .size,
            MAX_SIZE
        );
    }
}
