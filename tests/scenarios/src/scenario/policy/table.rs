//! The table.

use super::Cell;
use crate::lab::Pod;
use crate::world::{CLIENT_A, CLIENT_B, OTHER_A, PLAIN_A, SERVER_A, SERVER_B, port};

/// Manifests applied together, and what holds then. Without them everything is allowed.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is shown.
    pub name: &'static str,
    /// Files below `manifests/`.
    pub manifests: Vec<&'static str>,
    /// The answers.
    pub cells: Vec<Cell>,
}

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut all = actions();
    all.extend(sources());
    all.extend(operations());
    all.extend(scopes());
    all.extend(peer_authentication());
    all
}

fn actions() -> Vec<Case> {
    vec![
        shop(
            "deny-by-namespace",
            &["policies/deny-other.yaml"],
            [true, false, true],
        ),
        shop(
            "allow-one-principal",
            &["policies/allow-client.yaml"],
            [true, false, false],
        ),
        shop(
            "allow-with-no-rules-allows-nothing",
            &["policies/allow-nothing.yaml"],
            [false; 3],
        ),
        shop(
            "an-empty-rule-allows-all",
            &["policies/allow-all.yaml"],
            [true; 3],
        ),
        shop(
            "deny-comes-before-allow",
            &["policies/allow-all.yaml", "policies/deny-other.yaml"],
            [true, false, true],
        ),
        shop(
            "audit-changes-nothing",
            &["policies/audit-all.yaml"],
            [true; 3],
        ),
        shop(
            "audit-is-no-allow",
            &["policies/audit-all.yaml", "policies/deny-other.yaml"],
            [true, false, true],
        ),
        shop(
            "http-only-allow-cannot-match",
            &["policies/allow-get.yaml"],
            [false; 3],
        ),
        shop(
            "http-only-deny-denies-its-scope",
            &["policies/deny-get.yaml"],
            [false; 3],
        ),
    ]
}

fn sources() -> Vec<Case> {
    vec![
        shop(
            "any-authenticated-principal",
            &["policies/allow-any-principal.yaml"],
            [true, true, false],
        ),
        shop(
            "allow-service-account",
            &["policies/allow-service-account.yaml"],
            [true, false, false],
        ),
        shop(
            "deny-not-namespaces",
            &["policies/deny-not-shop.yaml"],
            [true, false, false],
        ),
        shop(
            "deny-not-principals",
            &["policies/deny-not-client.yaml"],
            [true, false, false],
        ),
        shop(
            "when-source-namespace",
            &["policies/when-namespace.yaml"],
            [true, false, false],
        ),
        shop(
            "deny-not-service-accounts",
            &["policies/deny-not-account.yaml"],
            [true, false, false],
        ),
        shop(
            "principal-by-prefix",
            &["policies/allow-principal-prefix.yaml"],
            [true, false, false],
        ),
        shop(
            "principal-by-suffix",
            &["policies/allow-principal-suffix.yaml"],
            [false, true, false],
        ),
        shop(
            "when-not-source-principal",
            &["policies/when-principal.yaml"],
            [true, false, false],
        ),
        from_node_a("when-source-ip", "policies/when-source-ip.yaml"),
        from_node_a("deny-by-ip-block", "policies/deny-node-a.yaml"),
        Case {
            name: "deny-by-not-ip-block",
            manifests: vec!["policies/deny-not-node-a.yaml"],
            cells: vec![
                cell(CLIENT_A, SERVER_A, port::GREET, true),
                cell(CLIENT_A, SERVER_B, port::GREET, true),
                cell(CLIENT_B, SERVER_B, port::GREET, false),
                cell(CLIENT_B, SERVER_A, port::GREET, false),
            ],
        },
    ]
}

fn operations() -> Vec<Case> {
    let ports = |name, manifest, echo, greet| Case {
        name,
        manifests: vec![manifest],
        cells: [SERVER_A, SERVER_B]
            .into_iter()
            .flat_map(|to| {
                [
                    cell(CLIENT_A, to, port::ECHO, echo),
                    cell(CLIENT_A, to, port::GREET, greet),
                ]
            })
            .collect(),
    };
    vec![
        ports("deny-port", "policies/deny-echo-port.yaml", false, true),
        ports(
            "deny-not-ports",
            "policies/deny-not-greet-port.yaml",
            false,
            true,
        ),
        ports("allow-port", "policies/allow-echo-port.yaml", true, false),
        ports(
            "when-destination-port",
            "policies/when-port.yaml",
            false,
            true,
        ),
        Case {
            name: "when-destination-ip",
            manifests: vec!["policies/when-destination-ip.yaml"],
            cells: vec![
                cell(CLIENT_A, SERVER_A, port::GREET, false),
                cell(CLIENT_B, SERVER_A, port::GREET, false),
                cell(CLIENT_A, SERVER_B, port::GREET, true),
                cell(CLIENT_B, SERVER_B, port::GREET, true),
            ],
        },
    ]
}

fn scopes() -> Vec<Case> {
    let by_node = |name, manifest, number| Case {
        name,
        manifests: vec![manifest],
        cells: vec![
            cell(OTHER_A, SERVER_A, number, false),
            cell(CLIENT_A, SERVER_A, number, true),
            cell(OTHER_A, SERVER_B, number, true),
        ],
    };
    vec![
        by_node(
            "scope-selector",
            "policies/deny-other-on-node-a.yaml",
            port::GREET,
        ),
        by_node(
            "scope-service",
            "policies/deny-other-at-web-a.yaml",
            port::GREET,
        ),
        shop(
            "scope-mesh",
            &["policies/deny-other-mesh.yaml"],
            [true, false, true],
        ),
        shop(
            "scope-of-another-namespace",
            &["policies/allow-nothing-in-other.yaml"],
            [true; 3],
        ),
    ]
}

fn peer_authentication() -> Vec<Case> {
    vec![
        shop(
            "strict-namespace",
            &["policies/strict.yaml"],
            [true, true, false],
        ),
        shop(
            "strict-mesh",
            &["policies/strict-mesh.yaml"],
            [true, true, false],
        ),
        shop(
            "permissive-overrides-strict",
            &["policies/strict-mesh.yaml", "policies/permissive.yaml"],
            [true; 3],
        ),
        Case {
            name: "strict-with-a-port-exception",
            manifests: vec!["policies/strict-but-greet.yaml"],
            cells: vec![
                cell(PLAIN_A, SERVER_B, port::ECHO, false),
                cell(PLAIN_A, SERVER_B, port::GREET, true),
                cell(PLAIN_A, SERVER_A, port::ECHO, false),
                cell(PLAIN_A, SERVER_A, port::GREET, true),
                cell(CLIENT_A, SERVER_B, port::ECHO, true),
            ],
        },
    ]
}

/// Clients of node a are denied, those of node b are not.
fn from_node_a(name: &'static str, manifest: &'static str) -> Case {
    let cells = vec![
        cell(CLIENT_A, SERVER_A, port::GREET, false),
        cell(CLIENT_A, SERVER_B, port::GREET, false),
        cell(PLAIN_A, SERVER_B, port::GREET, false),
        cell(CLIENT_B, SERVER_B, port::GREET, true),
        cell(CLIENT_B, SERVER_A, port::GREET, true),
    ];
    Case {
        name,
        manifests: vec![manifest],
        cells,
    }
}

/// Both servers of `shop`, as seen by a client of `shop`, of `other`, and from outside the mesh.
fn shop(name: &'static str, manifests: &[&'static str], allowed: [bool; 3]) -> Case {
    let clients = [CLIENT_A, OTHER_A, PLAIN_A].into_iter().zip(allowed);
    let cells = clients
        .flat_map(|(from, ok)| [SERVER_A, SERVER_B].map(|to| cell(from, to, port::GREET, ok)))
        .collect();
    Case {
        name,
        manifests: manifests.to_vec(),
        cells,
    }
}

fn cell(from: Pod, to: Pod, port: u16, allowed: bool) -> Cell {
    Cell {
        from,
        to,
        port,
        allowed,
    }
}
