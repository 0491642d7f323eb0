//! The control plane: etcd, API server, controller manager and scheduler, one of each.

use anyhow::Result;

use crate::binaries::Binaries;
use crate::layout::{CONTROL, Layout};
use crate::machine::{Component, Machine};
use crate::plan::{PODS, Plan, SERVICES};

const ETCD: &str = "http://127.0.0.1:2379";

/// The machine that runs it.
///
/// # Errors
/// A program is missing.
pub fn machine(layout: &Layout, plan: &Plan, binaries: &Binaries) -> Result<Machine> {
    let ready = ready(layout, binaries, "kube-scheduler")?;
    let client = |name: &str, more: &[String]| -> Result<Component> {
        let config = layout.pki().join(format!("{name}.kubeconfig"));
        let config = config.display();
        let mut flags = vec![
            format!("--kubeconfig={config}"),
            format!("--authentication-kubeconfig={config}"),
            format!("--authorization-kubeconfig={config}"),
            "--bind-address=127.0.0.1".into(),
            "--leader-elect=false".into(),
            "--kube-api-qps=500".into(),
            "--kube-api-burst=1000".into(),
        ];
        flags.extend_from_slice(more);
        Ok(Component {
            first: vec![ready.clone()],
            ..component(binaries, name, flags)?
        })
    };
    Ok(Machine {
        cluster: plan.name.clone(),
        name: CONTROL.into(),
        node: false,
        path: binaries.folders().to_vec(),
        components: vec![
            component(binaries, "etcd", etcd(layout))?,
            component(binaries, "kube-apiserver", api_server(layout, plan))?,
            client("kube-controller-manager", &controllers(layout))?,
            client("kube-scheduler", &[])?,
        ],
    })
}

/// A command that succeeds once the API server is ready, with the rights of `user`.
///
/// # Errors
/// kubectl is missing.
pub fn ready(layout: &Layout, binaries: &Binaries, user: &str) -> Result<Vec<String>> {
    let config = layout.pki().join(format!("{user}.kubeconfig"));
    Ok(vec![
        binaries.program("kubectl")?.display().to_string(),
        format!("--kubeconfig={}", config.display()),
        "--request-timeout=5s".into(),
        "get".into(),
        "--raw=/readyz".into(),
    ])
}

/// A component whose program is called like it.
///
/// # Errors
/// The program is missing.
pub fn component(binaries: &Binaries, name: &str, flags: Vec<String>) -> Result<Component> {
    let mut command = vec![binaries.program(name)?.display().to_string()];
    command.extend(flags);
    Ok(Component {
        name: name.into(),
        command,
        first: Vec::new(),
    })
}

fn etcd(layout: &Layout) -> Vec<String> {
    let data = layout.machine(CONTROL).join("etcd");
    let peers = "http://127.0.0.1:2380";
    vec![
        "--name=one".into(),
        format!("--data-dir={}", data.display()),
        // What a power cut would lose is worth nothing here.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=one={peers}"),
    ]
}

fn api_server(layout: &Layout, plan: &Plan) -> Vec<String> {
    let pki = |flag: &str, file: &str| format!("--{flag}={}", layout.pki().join(file).display());
    vec![
        format!("--etcd-servers={ETCD}"),
        "--bind-address=::".into(),
        "--secure-port=6443".into(),
        format!("--advertise-address={}", plan.control().0),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        pki("client-ca-file", "ca.crt"),
        pki("tls-cert-file", "apiserver.crt"),
        pki("tls-private-key-file", "apiserver.key"),
        pki("kubelet-certificate-authority", "ca.crt"),
        pki("kubelet-client-certificate", "kubelet-client.crt"),
        pki("kubelet-client-key", "kubelet-client.key"),
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        pki("service-account-key-file", "service-accounts.pub"),
        pki("service-account-signing-key-file", "service-accounts.key"),
        // The API server reaches webhooks and aggregated APIs at the pods' addresses: no kube-proxy runs beside it.
        "--enable-aggregator-routing=true".into(),
        pki("requestheader-client-ca-file", "front-proxy-ca.crt"),
        pki("proxy-client-cert-file", "front-proxy-client.crt"),
        pki("proxy-client-key-file", "front-proxy-client.key"),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
    ]
}

fn controllers(layout: &Layout) -> Vec<String> {
    let pki = |flag: &str, file: &str| format!("--{flag}={}", layout.pki().join(file).display());
    vec![
        "--use-service-account-credentials=true".into(),
        format!("--service-cluster-ip-range={SERVICES}"),
        format!("--cluster-cidr={PODS}"),
        "--allocate-node-cidrs=false".into(),
        pki("root-ca-file", "ca.crt"),
        pki("service-account-private-key-file", "service-accounts.key"),
        pki("cluster-signing-cert-file", "ca.crt"),
        pki("cluster-signing-key-file", "ca.key"),
    ]
}
