//! trafficDistribution, from what Kubernetes says to the endpoints that are taken.

use warren_core::Mesh;
use warren_core::balance::{Origin, Request, Selection, candidates};

use crate::support::model::{World, pod};

/// Endpoints of the Service that a client on node a takes. Nodes a and b are in zone z1, c is in z2; `labels` puts a
/// label's name before the zone, or leaves it out.
fn taken(distribution: &str, labels: impl Fn(&str) -> String) -> String {
    let mut text = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: shop}}, spec: {{clusterIP: 10.96.0.1, \
         selector: {{app: web}}, ports: [{{port: 80}}], trafficDistribution: {distribution}}}}}\n---\n"
    );
    for (n, (node, zone)) in [("a", "z1"), ("b", "z1"), ("c", "z2")]
        .into_iter()
        .enumerate()
    {
        let labels = labels(zone);
        text += &format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: {node}, labels: {{{labels}}}}}}}\n---\n"
        );
        let pod = pod("shop", node, "web", &format!("10.0.0.{n}"), 80);
        text += &pod.replace("nodeName: a", &format!("nodeName: {node}"));
    }
    let world = World::new(&text);
    let mut mesh = Mesh::default();
    for w in world.workloads.values() {
        mesh.upsert_workload(w.clone());
    }
    let client = world.pod("shop/a");
    let request = Request {
        origin: Origin::from(client),
        port: 80,
        family: None,
    };
    let service = world.services.values().next().expect("the Service");
    match candidates(service, &mesh, &request) {
        Ok(Selection::OneOf(found)) => found.iter().map(|c| c.workload.name.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

fn none(_: &str) -> String {
    String::new()
}

fn zone(zone: &str) -> String {
    format!("topology.kubernetes.io/zone: {zone}")
}

fn both(zone: &str) -> String {
    format!("topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: {zone}")
}

#[test]
fn the_same_node_counts_whatever_labels_nodes_have() {
    for labels in [none, zone, both] {
        assert_eq!(taken("PreferSameNode", labels), "a");
    }
}

#[test]
fn the_zone_counts_without_a_region() {
    for distribution in ["PreferClose", "PreferSameZone"] {
        assert_eq!(taken(distribution, zone), "ab");
        assert_eq!(taken(distribution, both), "ab");
        // A node of an unknown zone is not near itself: all of the mesh may be as near.
        assert_eq!(taken(distribution, none), "abc");
    }
}
