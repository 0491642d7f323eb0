//! Certificates, keys and kubeconfigs of a cluster that lives for hours.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::layout::Layout;
use crate::plan::{KUBERNETES, Plan};

/// Long enough for a cluster that somebody forgot.
const LIFETIME: Duration = Duration::days(365);

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

struct Leaf {
    certificate: String,
    key: String,
}

/// Writes everything that control plane, nodes and administrator need.
///
/// # Errors
/// A file cannot be written.
pub fn make(layout: &Layout, plan: &Plan) -> Result<()> {
    let dir = layout.pki();
    fs::create_dir_all(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
    let cluster = Authority::new("kubernetes", &dir, "ca")?;
    let front = Authority::new("front-proxy", &dir, "front-proxy-ca")?;
    front
        .issue("front-proxy-client", &[], &[])?
        .save(&dir, "front-proxy-client")?;
    cluster
        .issue("kube-apiserver", &[], &server_names(plan)?)?
        .save(&dir, "apiserver")?;
    cluster
        .issue("kube-apiserver-kubelet-client", &["system:masters"], &[])?
        .save(&dir, "kubelet-client")?;
    service_accounts(&dir)?;
    let user = |path: PathBuf, name: &str, groups: &[&str]| {
        let leaf = cluster.issue(name, groups, &[])?;
        write(&path, &kubeconfig(plan, &cluster, &leaf))
    };
    user(layout.kubeconfig(), "kubernetes-admin", &["system:masters"])?;
    for name in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
        let path = dir.join(format!("{name}.kubeconfig"));
        user(path, &format!("system:{name}"), &[])?;
    }
    for (index, node) in plan.nodes.iter().enumerate() {
        let (name, groups) = (format!("system:node:{node}"), ["system:nodes"]);
        user(dir.join(format!("{node}.kubeconfig")), &name, &groups)?;
        let (v4, v6) = plan.node(index);
        let names = [
            dns(node)?,
            SanType::IpAddress(v4.into()),
            SanType::IpAddress(v6.into()),
        ];
        cluster.issue(&name, &groups, &names)?.save(&dir, node)?;
    }
    Ok(())
}

fn server_names(plan: &Plan) -> Result<Vec<SanType>> {
    let mut names = Vec::new();
    let service = "kubernetes.default.svc.cluster.local";
    for (end, _) in service.match_indices('.').chain([(service.len(), "")]) {
        names.push(dns(&service[..end])?);
    }
    names.push(dns("localhost")?);
    let (v4, v6) = plan.control();
    let addresses: [IpAddr; 4] = [
        v4.into(),
        v6.into(),
        KUBERNETES.into(),
        Ipv4Addr::LOCALHOST.into(),
    ];
    names.extend(addresses.map(SanType::IpAddress));
    Ok(names)
}

fn dns(name: &str) -> Result<SanType> {
    Ok(SanType::DnsName(name.try_into()?))
}

/// The key pair that signs service accounts' tokens; no certificate.
fn service_accounts(dir: &Path) -> Result<()> {
    let key = KeyPair::generate()?;
    write(&dir.join("service-accounts.key"), &key.serialize_pem())?;
    write(&dir.join("service-accounts.pub"), &key.public_key_pem())
}

impl Authority {
    fn new(name: &str, dir: &Path, file: &str) -> Result<Self> {
        let mut params = parameters(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        write(&dir.join(format!("{file}.crt")), &pem)?;
        write(&dir.join(format!("{file}.key")), &key.serialize_pem())?;
        let issuer = Issuer::new(params, key);
        Ok(Self { pem, issuer })
    }

    fn issue(&self, name: &str, groups: &[&str], names: &[SanType]) -> Result<Leaf> {
        let mut params = parameters(name, groups);
        params.subject_alt_names = names.to_vec();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let key = key.serialize_pem();
        Ok(Leaf { certificate, key })
    }
}

impl Leaf {
    fn save(&self, dir: &Path, file: &str) -> Result<()> {
        write(&dir.join(format!("{file}.crt")), &self.certificate)?;
        write(&dir.join(format!("{file}.key")), &self.key)
    }
}

fn parameters(name: &str, groups: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    for group in groups {
        params
            .distinguished_name
            .push(DnType::OrganizationName, *group);
    }
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + LIFETIME;
    params
}

fn kubeconfig(plan: &Plan, authority: &Authority, leaf: &Leaf) -> String {
    let data = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
    let (name, server) = (&plan.name, plan.server());
    let (ca, certificate, key) = (
        data(&authority.pem),
        data(&leaf.certificate),
        data(&leaf.key),
    );
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": ca}}],
        "users": [{"name": name, "user": {"client-certificate-data": certificate, "client-key-data": key}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    })
    .to_string()
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
