//! The head of a CONNECT request.

use http::{HeaderMap, HeaderValue};
use warren_hbone::Authority;
use warren_hbone::headers::{BAGGAGE, Baggage, FORWARDED, client_of, forwarded};

pub(super) fn authority(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse() {
        Ok(Authority::Socket(address)) => {
            let again = address.to_string().parse();
            assert_eq!(again, Ok(Authority::Socket(address)));
        }
        Ok(Authority::Host(host, port)) => {
            assert!(!host.is_empty() && host.len() <= 253, "not a name: {host}");
            let again = format!("{host}:{port}").parse();
            assert_eq!(again, Ok(Authority::Host(host, port)));
        }
        Err(()) => {}
    }
}

pub(super) fn headers(data: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(data) {
        let mut map = HeaderMap::new();
        map.insert(BAGGAGE, value.clone());
        map.insert(FORWARDED, value);
        if let Some(client) = client_of(&map) {
            map.insert(FORWARDED, forwarded(client, None));
            assert_eq!(client_of(&map), Some(client), "writing changed it");
        }
    }
    let text = String::from_utf8_lossy(data);
    let baggage = Baggage {
        workload: &text,
        kind: "pod",
        ..Baggage::default()
    };
    assert!(
        data.is_empty() || !baggage.to_value().is_empty(),
        "a name was lost in encoding"
    );
}
