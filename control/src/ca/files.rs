//! The CA's key and certificates on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use warren_admin::types::CertView;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::parts::{Parts, assemble};
use super::{Authority, CaError};

const KEY: &str = "ca-key.pem";
const ROOT: &str = "root-cert.pem";

/// A CA that the operator brings.
#[derive(Clone, Debug)]
pub struct Given {
    /// PEM: the issuing certificate, then those up to the root, without the root.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: the root, or several.
    pub root: PathBuf,
}

/// Reads the CA of the state directory, or makes it there.
///
/// # Errors
/// The files cannot be read or written, or do not fit together.
pub fn own(state: &Path, trust_domain: &str) -> Result<Authority, CaError> {
    fs::create_dir_all(state).map_err(|e| file_error(state, e))?;
    let (key_path, root_path) = (state.join(KEY), state.join(ROOT));
    match (key_path.exists(), root_path.exists()) {
        (true, true) => {
            let given = Given {
                cert: root_path.clone(),
                key: key_path,
                root: root_path,
            };
            load(&given)
        }
        (false, true) => Err(problem(
            &key_path,
            "missing, though the root certificate is there; restore it, or remove the root certificate to start anew, which every workload will notice",
        )),
        (key_exists, false) => {
            let key = if key_exists {
                KeyPair::from_pem(&read(&key_path)?)
                    .map_err(|e| problem(&key_path, &e.to_string()))?
            } else {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                write_atomic(&key_path, key.serialize_pem().as_bytes(), 0o600)
                    .map_err(|e| file_error(&key_path, e))?;
                key
            };
            let authority = Authority::self_signed(key, trust_domain)?;
            write_atomic(&root_path, authority.root().as_bytes(), 0o644)
                .map_err(|e| file_error(&root_path, e))?;
            tracing::info!(path = %root_path.display(), "made a new root certificate");
            Ok(authority)
        }
    }
}

/// Reads a CA that the operator brings.
///
/// # Errors
/// The files cannot be read or do not fit together.
pub fn load(given: &Given) -> Result<Authority, CaError> {
    assemble(&Parts {
        cert: &read(&given.cert)?,
        key: &read(&given.key)?,
        root: &read(&given.root)?,
        cert_name: &given.cert.display().to_string(),
        key_name: &given.key.display().to_string(),
        root_name: &given.root.display().to_string(),
    })
}

/// The CA's own certificates, for `/certs`.
pub fn views(authority: &Authority) -> Vec<CertView> {
    let intermediates = authority
        .intermediates()
        .iter()
        .map(|pem| ("valid", pem.as_str()));
    let all = intermediates.chain([("root", authority.root())]);
    let parsed = all.flat_map(|(state, pem)| {
        let ders = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok);
        ders.filter_map(move |der| view(state, &der))
    });
    parsed.collect()
}

fn view(state: &str, der: &CertificateDer<'_>) -> Option<CertView> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    let at = |t: x509_parser::time::ASN1Time| SystemTime::from(t.to_datetime()).into();
    Some(CertView {
        identity: cert.subject().to_string(),
        state: state.to_owned(),
        serial: cert
            .raw_serial()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect(),
        not_before: Some(at(cert.validity().not_before)),
        not_after: Some(at(cert.validity().not_after)),
        renew_at: None,
        error: None,
    })
}

/// Writes a file so that readers see the old content or the new, never a part.
///
/// # Errors
/// The directory is missing or cannot be written to.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

fn read(path: &Path) -> Result<String, CaError> {
    fs::read_to_string(path).map_err(|e| file_error(path, e))
}

fn file_error(path: &Path, error: io::Error) -> CaError {
    problem(path, &error.to_string())
}

fn problem(path: &Path, problem: &str) -> CaError {
    CaError::File {
        path: path.display().to_string(),
        problem: problem.to_owned(),
    }
}
