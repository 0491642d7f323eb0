//! The list of targets.

mod cert;
mod cni;
mod controller;
mod dns;
mod hbone;
mod http2;
mod kernel;
mod node;
mod wire;

/// One parser, and what it is fed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, also that of its corpus.
    pub name: &'static str,
    /// Whose bytes it reads.
    pub about: &'static str,
    /// Parses the bytes; panics where a promise is broken.
    pub run: fn(&[u8]),
    /// Words that mean something to it.
    pub words: &'static [&'static str],
    /// Longest input that makes sense, in bytes.
    pub max_len: usize,
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    Target {
        name: "address",
        about: "workloads and services from the controller (protobuf, xDS)",
        run: wire::address,
        words: &["cluster.local", "*", "\u{1a}", "\u{12}"],
        max_len: 16 << 10,
    },
    Target {
        name: "admission",
        about: "what an API server asks the admission webhook about objects (JSON)",
        run: controller::admission,
        words: &[
            "\"request\"",
            "\"object\"",
            "\"operation\":\"UPDATE\"",
            "\"targetRefs\"",
            "null",
            "{}",
            "[]",
        ],
        max_len: 16 << 10,
    },
    Target {
        name: "authorization",
        about: "policies from the controller (protobuf, xDS)",
        run: wire::authorization,
        words: &["spiffe://", "*", "\u{1a}", "\u{12}"],
        max_len: 16 << 10,
    },
    Target {
        name: "authority",
        about: "the :authority of a CONNECT request from a peer",
        run: hbone::authority,
        words: &[
            "[::1]:80",
            "10.0.0.1",
            ":",
            "::ffff:",
            "%",
            ".svc.cluster.local",
            "65535",
            "[",
            "]",
        ],
        max_len: 1 << 10,
    },
    Target {
        name: "certificate",
        about: "a peer's certificate and the identity in it (X.509, SPIFFE)",
        run: cert::certificate,
        words: &["spiffe://", "/ns/", "/sa/"],
        max_len: 8 << 10,
    },
    Target {
        name: "cni_config",
        about: "the configuration that the container runtime gives the CNI plugin (JSON)",
        run: cni::config,
        words: &[
            "\"cniVersion\"",
            "\"prevResult\"",
            "\"ips\"",
            "\"address\"",
            "/24",
            "null",
            "[]",
            "{}",
        ],
        max_len: 8 << 10,
    },
    Target {
        name: "cni_network",
        about: "the networks that other CNI plugins' makers write (JSON)",
        run: cni::network,
        words: &[
            "\"cniVersion\"",
            "\"1.0.0\"",
            "\"plugins\"",
            "\"type\"",
            "\"warren-cni\"",
            "\"name\"",
            "null",
            "[]",
            "{}",
        ],
        max_len: 8 << 10,
    },
    Target {
        name: "headers",
        about: "forwarded and baggage headers of a CONNECT request from a peer",
        run: hbone::headers,
        words: &[
            "for=",
            "\"[::1]:1\"",
            ";host=",
            ",",
            "=",
            "\"",
            "for=unknown",
        ],
        max_len: 4 << 10,
    },
    Target {
        name: "http2",
        about: "an HTTP/2 connection from a peer, after TLS",
        run: http2::server,
        words: &["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "CONNECT", ":authority"],
        max_len: 32 << 10,
    },
    Target {
        name: "identity",
        about: "SPIFFE IDs, from certificates and from callers of the certificate authority",
        run: cert::identity,
        words: &["spiffe://", "/ns/", "/sa/", "//", "%2f"],
        max_len: 1 << 10,
    },
    Target {
        name: "node_agent",
        about: "messages of the tunnel to the agent (JSON on the node socket)",
        run: node::to_agent,
        words: &[
            "\"type\"",
            "\"hello\"",
            "\"listeners\"",
            "\"uid\"",
            "\"kind\"",
            "\"v6\"",
            "null",
        ],
        max_len: 64 << 10,
    },
    Target {
        name: "node_tunnel",
        about: "messages of the agent to the tunnel (JSON on the node socket)",
        run: node::to_tunnel,
        words: &[
            "\"type\"",
            "\"add_pod\"",
            "\"netns_cookie\"",
            "\"addresses\"",
            "18446744073709551615",
            "null",
        ],
        max_len: 64 << 10,
    },
    Target {
        name: "tls",
        about: "a TLS ClientHello and what follows, from anybody who reaches port 15008",
        run: http2::tls,
        words: &["\u{16}\u{3}\u{1}", "h2"],
        max_len: 16 << 10,
    },
    Target {
        name: "cni_request",
        about: "questions to the agent on cni.sock (JSON lines)",
        run: kernel::cni_request,
        words: &[
            "\"op\"",
            "\"add\"",
            "\"netns\"",
            "\"addresses\"",
            "\"pod_labels\"",
            "\"warren.dev/mesh\"",
            "null",
        ],
        max_len: 64 << 10,
    },
    Target {
        name: "csr",
        about: "certificate signing requests of tunnels (PKCS#10 in PEM)",
        run: controller::csr,
        words: &[
            "-----BEGIN CERTIFICATE REQUEST-----",
            "-----END CERTIFICATE REQUEST-----",
            "\n",
        ],
        max_len: 8 << 10,
    },
    Target {
        name: "dns",
        about: "questions to the lab's DNS server",
        run: dns::question,
        words: &["\u{0}\u{0}\u{29}", "\u{3}web", "\u{0}\u{1}\u{0}\u{1}"],
        max_len: 4 << 10,
    },
    Target {
        name: "event",
        about: "records of the kernel programs' ring buffer",
        run: kernel::event,
        words: &[],
        max_len: 256,
    },
    Target {
        name: "manifest",
        about: "files of the directory source: YAML, objects, index (Kubernetes and warren.dev kinds)",
        run: controller::manifest,
        words: MANIFEST_WORDS,
        max_len: 32 << 10,
    },
    Target {
        name: "sock_diag",
        about: "netlink answers about sockets",
        run: kernel::sock_diag,
        words: &["\u{14}\u{0}", "\u{3}\u{0}", "\u{58}\u{0}\u{0}\u{0}"],
        max_len: 16 << 10,
    },
    Target {
        name: "token",
        about: "bearer tokens, and the claims in them (JWT)",
        run: controller::token,
        words: &[
            "\"kubernetes.io\"",
            "\"exp\"",
            "\"aud\"",
            ".",
            "eyJhbGciOiJub25lIn0",
            "null",
            "{}",
            "[]",
        ],
        max_len: 8 << 10,
    },
    Target {
        name: "xds_requests",
        about: "requests on an xDS stream, one after the other (protobuf)",
        run: controller::xds_requests,
        words: &[
            "*",
            "/10.0.1.2",
            "type.googleapis.com/istio.workload.Address",
            "\u{1a}\u{1}*",
        ],
        max_len: 16 << 10,
    },
];

const MANIFEST_WORDS: &[&str] = &[
    "\n---\n",
    "kind: Pod",
    "kind: Service",
    "kind: Namespace",
    "kind: AuthorizationPolicy",
    "kind: PeerAuthentication",
    "kind: EndpointSlice",
    "kind: List",
    "apiVersion: v1",
    "apiVersion: warren.dev/v1alpha1",
    "metadata:",
    "spec:",
    "warren.dev/mesh: enabled",
    "clusterIP: None",
    "targetPort: http",
    "selector: {}",
    "rules: []",
    "- from:",
    "&a",
    "*a",
    "<<: *a",
    "!!binary ",
    "null",
    "{}",
    "[]",
    "1e999",
    "0x7fffffffffffffff",
    "  ",
    "\t",
    "mode: STRICT",
    "action: DENY",
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}
