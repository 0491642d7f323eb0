//! `cert`: asks the CA for a certificate as a shared tunnel does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::dial::Controller;
use crate::error::WireError;
use crate::grpc::{Item, Status};
use crate::pki::facts;
use crate::proto::{Writer, fields};
use crate::report;

const PATH: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// Options of `cert`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    controller: Controller,
    /// Identity to ask for (`ImpersonatedIdentity`), `spiffe://…`; none: the metadata is left out.
    #[arg(long)]
    identity: Option<String>,
    /// URI name in the request instead of --identity; may be repeated; `none` leaves it out.
    #[arg(long)]
    csr_uri: Vec<String>,
    /// Kind of key.
    #[arg(long, value_enum, default_value_t = Key::P256)]
    key: Key,
    /// Life asked for in seconds.
    #[arg(long, default_value_t = 86_400)]
    ttl: u64,
    /// Send this text in place of the request.
    #[arg(long)]
    csr_text: Option<String>,
    /// Folder that takes chain.pem, key.pem and root.pem.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Outcome that must come: OK, or a gRPC status such as PERMISSION_DENIED; repeat for a choice.
    #[arg(long, default_values_t = ["OK".to_owned()])]
    expect: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Key {
    P256,
    P384,
    Ed25519,
}

/// Runs it.
pub async fn run(options: &Options) -> Result<bool> {
    let (csr, key) = csr(options)?;
    let mut request = Writer::default();
    request
        .string(1, options.csr_text.as_deref().unwrap_or(&csr))
        .varint(3, options.ttl);
    if let Some(identity) = &options.identity {
        request.strings(4, &[("ImpersonatedIdentity", identity)]);
    }
    let (message, status) = match ask(options, &request.bytes).await? {
        Ok(answer) => answer,
        Err(error) => return Ok(report::done(&error.outcome(), &options.expect, &[])),
    };
    let mut violations = Vec::new();
    let chain = match &message {
        Some(message) => chain(message)?,
        None => Vec::new(),
    };
    if status.code == Some(0) {
        violations = check(options, &chain, &key)?;
    }
    report::line(&json!({
        "event": "cert",
        "grpc_status": status.code,
        "grpc_name": status.name(),
        "grpc_message": status.message,
        "http_status": status.http,
        "chain": chain.iter().map(|pem| describe(pem)).collect::<Vec<_>>(),
    }));
    if let (Some(out), false) = (&options.out, chain.is_empty()) {
        save(out, &chain, &key)?;
    }
    Ok(report::done(&status.name(), &options.expect, &violations))
}

fn csr(options: &Options) -> Result<(String, KeyPair)> {
    let key = KeyPair::generate_for(match options.key {
        Key::P256 => &PKCS_ECDSA_P256_SHA256,
        Key::P384 => &PKCS_ECDSA_P384_SHA384,
        Key::Ed25519 => &PKCS_ED25519,
    })?;
    let mut uris = options.csr_uri.clone();
    if uris.is_empty() {
        uris.extend(options.identity.clone());
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for uri in uris.into_iter().filter(|u| u != "none") {
        params
            .subject_alt_names
            .push(SanType::URI(Ia5String::try_from(uri)?));
    }
    Ok((params.serialize_request(&key)?.pem()?, key))
}

type Answer = (Option<Vec<u8>>, Status);

async fn ask(options: &Options, request: &[u8]) -> Result<Result<Answer, WireError>> {
    let limit = options.controller.limit();
    let mut call = match options.controller.call(PATH).await? {
        Ok(call) => call,
        Err(error) => return Ok(Err(error)),
    };
    let exchange = async {
        call.send(request, true, limit).await?;
        let mut message = None;
        loop {
            match call.next(limit).await? {
                Item::Message(bytes) => message = Some(bytes),
                Item::End(status) => return Ok((message, status)),
            }
        }
    };
    Ok(exchange.await)
}

/// The elements of `cert_chain`, as PEM texts.
fn chain(message: &[u8]) -> Result<Vec<String>> {
    let mut chain = Vec::new();
    for (number, value) in fields(message)? {
        if number == 1 {
            chain.push(value.as_text()?);
        }
    }
    Ok(chain)
}

fn certs(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .context("an element of the chain is not PEM")
}

fn check(options: &Options, chain: &[String], key: &KeyPair) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    if chain.len() < 2 {
        wrong.push(format!(
            "{} elements in the chain, expected leaf and root",
            chain.len()
        ));
    }
    for (at, element) in chain.iter().enumerate() {
        let count = certs(element)?.len();
        if count != 1 && at + 1 < chain.len() {
            wrong.push(format!(
                "element {at} holds {count} certificates, expected one"
            ));
        }
    }
    let (Some(first), Some(last)) = (chain.first(), chain.last()) else {
        return Ok(wrong);
    };
    let leaf = certs(first)?.remove(0);
    let said = facts(&leaf)?;
    if let Some(identity) = &options.identity
        && said.uris != [identity.as_str()]
    {
        wrong.push(format!(
            "the leaf is for {:?}, asked for {identity}",
            said.uris
        ));
    }
    if said.ca {
        wrong.push("the leaf may sign others".into());
    }
    let (_, parsed) = X509Certificate::from_der(&leaf)?;
    if parsed.public_key().subject_public_key.data[..] != *key.public_key_raw() {
        wrong.push("the leaf is for another key".into());
    }
    let roots = crate::pki::read_certs(&options.controller.root_cert)?;
    if !certs(last)?.iter().any(|c| roots.contains(c)) {
        wrong.push("the last element does not hold the root".into());
    }
    Ok(wrong)
}

fn describe(pem: &str) -> serde_json::Value {
    let Some(cert) = certs(pem).ok().and_then(|c| c.into_iter().next()) else {
        return json!(null);
    };
    match facts(&cert) {
        Ok(f) => json!({
            "uris": f.uris,
            "names": f.names,
            "not_before": f.not_before,
            "not_after": f.not_after,
            "life_seconds": f.not_after - f.not_before,
            "key": f.key_algorithm,
            "ca": f.ca,
        }),
        Err(error) => json!({"error": error.to_string()}),
    }
}

fn save(out: &Path, chain: &[String], key: &KeyPair) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let (root, certs) = chain.split_last().context("an empty chain")?;
    let lines = |parts: &[String]| {
        parts
            .iter()
            .map(|p| format!("{}\n", p.trim_end()))
            .collect::<String>()
    };
    fs::write(out.join("chain.pem"), lines(certs))?;
    fs::write(out.join("root.pem"), root)?;
    fs::write(out.join("key.pem"), key.serialize_pem())?;
    Ok(())
}
