//! The tables: number, name and type of every field.

use super::{Field, Kind, Message};

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field {
        number,
        name,
        kind,
        many: false,
    }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field {
        number,
        name,
        kind,
        many: true,
    }
}

/// `istio.workload.Address`.
pub static ADDRESS: Message = Message {
    fields: &[
        one(1, "workload", Kind::Message(&WORKLOAD)),
        one(2, "service", Kind::Message(&SERVICE)),
    ],
};

/// `istio.security.Authorization`.
pub static AUTHORIZATION: Message = Message {
    fields: &[
        one(1, "name", Kind::Text),
        one(2, "namespace", Kind::Text),
        one(
            3,
            "scope",
            Kind::Enum(&["GLOBAL", "NAMESPACE", "WORKLOAD_SELECTOR"]),
        ),
        one(4, "action", Kind::Enum(&["ALLOW", "DENY"])),
        many(5, "rules", Kind::Message(&RULE)),
        one(6, "dry_run", Kind::Bool),
        many(7, "extensions", Kind::Message(&EXTENSION)),
    ],
};

static RULE: Message = Message {
    fields: &[many(1, "clauses", Kind::Message(&CLAUSE))],
};
static CLAUSE: Message = Message {
    fields: &[many(1, "matches", Kind::Message(&MATCH))],
};

static MATCH: Message = Message {
    fields: &[
        many(1, "namespaces", Kind::Message(&STRING_MATCH)),
        many(2, "not_namespaces", Kind::Message(&STRING_MATCH)),
        many(3, "principals", Kind::Message(&STRING_MATCH)),
        many(4, "not_principals", Kind::Message(&STRING_MATCH)),
        many(5, "source_ips", Kind::Message(&CIDR)),
        many(6, "not_source_ips", Kind::Message(&CIDR)),
        many(7, "destination_ips", Kind::Message(&CIDR)),
        many(8, "not_destination_ips", Kind::Message(&CIDR)),
        many(9, "destination_ports", Kind::Number),
        many(10, "not_destination_ports", Kind::Number),
        many(11, "service_accounts", Kind::Message(&SERVICE_ACCOUNT)),
        many(12, "not_service_accounts", Kind::Message(&SERVICE_ACCOUNT)),
        many(13, "extensions", Kind::Message(&EXTENSION)),
    ],
};

static CIDR: Message = Message {
    fields: &[one(1, "address", Kind::Ip), one(2, "length", Kind::Number)],
};
static SERVICE_ACCOUNT: Message = Message {
    fields: &[
        one(1, "namespace", Kind::Text),
        one(2, "service_account", Kind::Text),
    ],
};
static EMPTY: Message = Message { fields: &[] };
static EXTENSION: Message = Message {
    fields: &[one(1, "name", Kind::Text), one(2, "config", Kind::Any)],
};

static STRING_MATCH: Message = Message {
    fields: &[
        one(1, "exact", Kind::Text),
        one(2, "prefix", Kind::Text),
        one(3, "suffix", Kind::Text),
        one(4, "presence", Kind::Message(&EMPTY)),
    ],
};

static WORKLOAD: Message = Message {
    fields: &[
        one(20, "uid", Kind::Text),
        one(1, "name", Kind::Text),
        one(2, "namespace", Kind::Text),
        many(3, "addresses", Kind::Ip),
        one(21, "hostname", Kind::Text),
        one(4, "network", Kind::Text),
        one(
            5,
            "tunnel_protocol",
            Kind::Enum(&["NONE", "HBONE", "LEGACY_ISTIO_MTLS"]),
        ),
        one(6, "trust_domain", Kind::Text),
        one(7, "service_account", Kind::Text),
        one(8, "waypoint", Kind::Message(&GATEWAY)),
        one(19, "network_gateway", Kind::Message(&GATEWAY)),
        one(9, "node", Kind::Text),
        one(10, "canonical_name", Kind::Text),
        one(11, "canonical_revision", Kind::Text),
        one(
            12,
            "workload_type",
            Kind::Enum(&["DEPLOYMENT", "CRONJOB", "POD", "JOB"]),
        ),
        one(13, "workload_name", Kind::Text),
        one(14, "native_tunnel", Kind::Bool),
        one(23, "application_tunnel", Kind::Message(&APPLICATION_TUNNEL)),
        many(22, "services", Kind::Map(&PORT_LIST)),
        many(16, "authorization_policies", Kind::Text),
        one(17, "status", Kind::Enum(&["HEALTHY", "UNHEALTHY"])),
        one(18, "cluster_id", Kind::Text),
        one(24, "locality", Kind::Message(&LOCALITY)),
        one(
            25,
            "network_mode",
            Kind::Enum(&["STANDARD", "HOST_NETWORK"]),
        ),
        many(26, "extensions", Kind::Message(&EXTENSION)),
        one(27, "capacity", Kind::Message(&UINT32)),
    ],
};

static SERVICE: Message = Message {
    fields: &[
        one(1, "name", Kind::Text),
        one(2, "namespace", Kind::Text),
        one(3, "hostname", Kind::Text),
        many(4, "addresses", Kind::Message(&NETWORK_ADDRESS)),
        many(5, "ports", Kind::Message(&PORT)),
        many(6, "subject_alt_names", Kind::Text),
        one(7, "waypoint", Kind::Message(&GATEWAY)),
        one(8, "load_balancing", Kind::Message(&LOAD_BALANCING)),
        one(
            9,
            "ip_families",
            Kind::Enum(&["AUTOMATIC", "IPV4_ONLY", "IPV6_ONLY", "DUAL"]),
        ),
        many(10, "extensions", Kind::Message(&EXTENSION)),
    ],
};

static PORT_LIST: Message = Message {
    fields: &[many(1, "ports", Kind::Message(&PORT))],
};

static PORT: Message = Message {
    fields: &[
        one(1, "service_port", Kind::Number),
        one(2, "target_port", Kind::Number),
        one(
            3,
            "app_protocol",
            Kind::Enum(&["UNKNOWN", "HTTP11", "HTTP2", "GRPC"]),
        ),
    ],
};

static LOAD_BALANCING: Message = Message {
    fields: &[
        many(
            1,
            "routing_preference",
            Kind::Enum(&[
                "UNSPECIFIED_SCOPE",
                "REGION",
                "ZONE",
                "SUBZONE",
                "NODE",
                "CLUSTER",
                "NETWORK",
            ]),
        ),
        one(
            2,
            "mode",
            Kind::Enum(&["UNSPECIFIED_MODE", "STRICT", "FAILOVER", "PASSTHROUGH"]),
        ),
        one(
            3,
            "health_policy",
            Kind::Enum(&["ONLY_HEALTHY", "ALLOW_ALL"]),
        ),
    ],
};

static GATEWAY: Message = Message {
    fields: &[
        one(1, "hostname", Kind::Message(&NAMESPACED_HOSTNAME)),
        one(2, "address", Kind::Message(&NETWORK_ADDRESS)),
        one(3, "hbone_mtls_port", Kind::Number),
    ],
};

static NETWORK_ADDRESS: Message = Message {
    fields: &[one(1, "network", Kind::Text), one(2, "address", Kind::Ip)],
};
static NAMESPACED_HOSTNAME: Message = Message {
    fields: &[
        one(1, "namespace", Kind::Text),
        one(2, "hostname", Kind::Text),
    ],
};
static APPLICATION_TUNNEL: Message = Message {
    fields: &[
        one(1, "protocol", Kind::Enum(&["NONE", "PROXY"])),
        one(2, "port", Kind::Number),
    ],
};
static LOCALITY: Message = Message {
    fields: &[
        one(1, "region", Kind::Text),
        one(2, "zone", Kind::Text),
        one(3, "subzone", Kind::Text),
    ],
};
static UINT32: Message = Message {
    fields: &[one(1, "value", Kind::Number)],
};
