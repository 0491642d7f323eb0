//! Requests and messages that the controller must refuse.

use std::time::Duration;

use anyhow::Result;
use rand::RngCore;

use super::{Course, Finding, Target, finish};
use crate::ads::{self, Request, Type};
use crate::error::WireError;
use crate::h2::Conn;
use crate::proto::Writer;

pub(super) const NAMES: &[&str] = &["bad-paths", "bad-tokens", "bad-messages"];

const CA: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// A call: what it is, fields in place of the usual ones, and the bytes of its body.
type Bad = (String, Vec<(String, String)>, Vec<u8>);

pub(super) async fn run(name: &str, target: &Target) -> Result<Vec<Finding>> {
    let calls = match name {
        "bad-paths" => paths(),
        "bad-tokens" => tokens(),
        _ => messages(),
    };
    let mut findings = Vec::new();
    for (what, fields, body) in calls {
        let how = match target.conn().await? {
            Ok(mut conn) => match call(&mut conn, target, &fields, &body).await {
                Ok(how) => how,
                Err(error) => error.outcome(),
            },
            Err(error) => format!("no connection: {}", error.outcome()),
        };
        let good = ["still open", "grpc:0", "end_stream"].contains(&how.as_str());
        let ok = !good && !how.starts_with("no connection") && !how.starts_with("status:200");
        findings.push(Finding::new(&what, how, ok));
    }
    Ok(findings)
}

async fn call(
    conn: &mut Conn,
    target: &Target,
    fields: &[(String, String)],
    body: &[u8],
) -> Result<String, WireError> {
    let mut all = target.request();
    for (name, value) in fields {
        match all.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => old.clone_from(value),
            None => all.push((name.clone(), value.clone())),
        }
    }
    let stream = conn.open();
    conn.headers(stream, &all, body.is_empty()).await?;
    let mut course = Course::of(Some(stream));
    if !body.is_empty() {
        let limit = Duration::from_secs(2);
        let sent = conn
            .send_all(stream, body, true, limit, |e| course.take(e))
            .await;
        // A refusal in the middle of the body is to be read, not an error of ours.
        if let Err(error) = sent
            && !error.is_end()
            && !matches!(error, WireError::TimedOut)
        {
            return Err(error);
        }
    }
    Ok(finish(conn, course, target.limit).await)
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn paths() -> Vec<Bad> {
    let mut list: Vec<Bad> = [
        "/",
        "",
        "*",
        "/nothing.Here/Call",
        "/../../etc/passwd",
        "//",
        "/istio.v1.auth.IstioCertificateService/",
    ]
    .iter()
    .map(|p| (format!("path {p:?}"), vec![field(":path", p)], framed(&[])))
    .collect();
    list.push(("GET".into(), vec![field(":method", "GET")], vec![]));
    list.push((
        "a content type of its own".into(),
        vec![field("content-type", "text/html")],
        framed(&[]),
    ));
    list.push((
        "a long path".into(),
        vec![field(":path", &format!("/{}", "p".repeat(12_000)))],
        framed(&[]),
    ));
    list
}

fn tokens() -> Vec<Bad> {
    // {"alg":"none"}.{"sub":"system:serviceaccount:warren-system:warren-ztunnel","aud":["istio-ca"],"exp":99999999999}
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6d2FycmVuLXN5c3RlbTp3YXJyZW4tenR1bm5lb\
                    CIsImF1ZCI6WyJpc3Rpby1jYSJdLCJleHAiOjk5OTk5OTk5OTk5fQ.";
    let long = format!("Bearer {}", "A".repeat(14_000));
    let texts = [
        "",
        "Bearer",
        "Bearer ",
        "Basic dTpw",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer ..",
        "bearer \u{e9}",
        &long,
    ];
    let mut values: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
    values.push(format!("Bearer {unsigned}"));
    let request = framed(Writer::default().string(1, "no request").bytes.as_slice());
    let mut list: Vec<Bad> = vec![("no token".into(), vec![], request.clone())];
    for path in [CA, ads::PATH] {
        for value in &values {
            let shown: String = value.chars().take(40).collect();
            let fields = vec![field(":path", path), field("authorization", value)];
            let body = match path {
                CA => request.clone(),
                _ => framed(&Request::default().encode(Type::Address)),
            };
            list.push((format!("token {shown:?} to {path}"), fields, body));
        }
    }
    list
}

fn messages() -> Vec<Bad> {
    let mut random = vec![0; 4096];
    rand::rng().fill_bytes(&mut random);
    let mut nested = Writer::default();
    for _ in 0..2000 {
        let inner = std::mem::take(&mut nested.bytes);
        nested.message(1, |entry| {
            entry.string(1, "k").message(2, |v| {
                v.bytes(5, &inner);
            });
        });
    }
    let mut deep = Writer::default();
    deep.bytes(4, &nested.bytes);
    let prefixed =
        |flag: u8, length: u32, body: &[u8]| [&[flag][..], &length.to_be_bytes(), body].concat();
    let bodies = [
        ("random bytes", random.clone()),
        ("a random message", framed(&random)),
        ("a length beyond the body", prefixed(0, 1000, b"x")),
        ("a length of 4 GiB", prefixed(0, u32::MAX, b"x")),
        ("compressed without an encoding", prefixed(1, 4, b"abcd")),
        ("a flag of 7", prefixed(7, 1, b"x")),
        ("three bytes", vec![0, 0, 0]),
        ("nesting of 2,000 levels", framed(&deep.bytes)),
        ("a message of 8 MiB", framed(&vec![0x0a; 8 << 20])),
    ];
    [CA, ads::PATH]
        .iter()
        .flat_map(|path| {
            bodies.iter().map(move |(what, body)| {
                (
                    format!("{what} to {path}"),
                    vec![field(":path", path), field("authorization", "Bearer x")],
                    body.clone(),
                )
            })
        })
        .collect()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    out
}
