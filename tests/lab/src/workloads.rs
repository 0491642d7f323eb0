//! The controllers of Deployments, StatefulSets, DaemonSets and ReplicaSets: which pods there should be.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};
use warren_control::model::labels::ORIGIN;

use crate::manifest::{Key, text};
use crate::store::Store;

/// What has to happen so that the pods are as their owners want them.
#[derive(Debug, Default)]
pub struct Changes {
    /// Objects to create: Pods without a node (unless it is given), ReplicaSets.
    pub create: Vec<Value>,
    /// Pods to delete.
    pub delete: Vec<Key>,
}

/// Compares every owner with the pods that exist. `nodes` are the names of the lab's nodes.
pub fn changes(store: &Store, nodes: &[String]) -> Changes {
    let mut changes = Changes::default();
    for (key, owner) in store.all() {
        match key.kind.as_str() {
            "Deployment" => deployment(owner, store, &mut changes),
            "ReplicaSet" if owner["metadata"].get("ownerReferences").is_none() => {
                replicas(owner, owner, store, &mut changes);
            }
            "StatefulSet" => stateful_set(owner, store, &mut changes),
            "DaemonSet" => daemon_set(owner, nodes, store, &mut changes),
            _ => {}
        }
    }
    orphans(store, &mut changes);
    changes
}

/// Ten characters that change with the template.
pub fn template_hash(owner: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    owner["spec"]["template"].to_string().hash(&mut hasher);
    safe_word(hasher.finish(), 10)
}

fn safe_word(mut number: u64, length: usize) -> String {
    // Kubernetes leaves vowels and look-alikes out, so that no words come about by chance.
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut word = String::new();
    for _ in 0..length {
        word.push(char::from(
            LETTERS[usize::try_from(number % 27).unwrap_or(0)],
        ));
        number /= 27;
    }
    word
}

fn wanted(owner: &Value) -> usize {
    owner["spec"]["replicas"]
        .as_u64()
        .map_or(1, |n| usize::try_from(n).unwrap_or(usize::MAX))
        .min(500)
}

fn pods_of<'a>(owner: &str, store: &'a Store) -> Vec<&'a Value> {
    let owned = |p: &&Value| {
        let owners = p["metadata"]["ownerReferences"].as_array();
        !owner.is_empty() && owners.is_some_and(|o| o.iter().any(|o| o["uid"] == owner))
    };
    store
        .kind("Pod")
        .filter(owned)
        .filter(|p| p["metadata"].get("deletionTimestamp").is_none())
        .collect()
}

fn deployment(owner: &Value, store: &Store, changes: &mut Changes) {
    let namespace = text(owner, "/metadata/namespace");
    let name = text(owner, "/metadata/name");
    let hash = template_hash(owner);
    let set_name = format!("{name}-{hash}");
    let set = store
        .all()
        .find(|(k, _)| k.kind == "ReplicaSet" && k.namespace == namespace && k.name == set_name);
    for (key, old) in store
        .all()
        .filter(|(k, _)| k.kind == "ReplicaSet" && k.namespace == namespace)
    {
        let mine = old["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"];
        if mine && key.name != set_name {
            changes.delete.extend(
                pods_of(text(old, "/metadata/uid"), store)
                    .into_iter()
                    .map(Key::of),
            );
            changes.delete.push(key.clone());
        }
    }
    let Some((_, set)) = set else {
        let mut template = owner["spec"]["template"].clone();
        template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
        let mut spec =
            json!({"replicas": owner["spec"]["replicas"], "selector": owner["spec"]["selector"]});
        spec["template"] = template.clone();
        changes.create.push(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": set_name, "namespace": namespace, "labels": template["metadata"]["labels"],
                "annotations": owner["metadata"]["annotations"],
                "ownerReferences": [reference(owner)]}, "spec": spec}));
        return;
    };
    replicas(set, owner, store, changes);
}

/// Brings the pods of `set` to the number that `counted` asks for.
fn replicas(set: &Value, counted: &Value, store: &Store, changes: &mut Changes) {
    let pods = pods_of(text(set, "/metadata/uid"), store);
    let want = wanted(counted);
    for _ in pods.len()..want {
        let name = format!(
            "{}-{}",
            text(set, "/metadata/name"),
            safe_word(rand::random(), 5)
        );
        changes.create.push(pod(set, &name));
    }
    changes
        .delete
        .extend(pods.into_iter().skip(want).map(Key::of));
}

fn stateful_set(owner: &Value, store: &Store, changes: &mut Changes) {
    let pods = pods_of(text(owner, "/metadata/uid"), store);
    let hash = template_hash(owner);
    let name = text(owner, "/metadata/name");
    let names: Vec<String> = (0..wanted(owner)).map(|i| format!("{name}-{i}")).collect();
    for pod_name in &names {
        let exists = store
            .get(&Key::core(
                "Pod",
                text(owner, "/metadata/namespace"),
                pod_name,
            ))
            .is_some();
        if !exists {
            let mut pod = pod(owner, pod_name);
            pod["metadata"]["labels"]["controller-revision-hash"] = json!(hash);
            pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = json!(pod_name);
            pod["spec"]["hostname"] = json!(pod_name);
            pod["spec"]["subdomain"] = owner["spec"]["serviceName"].clone();
            changes.create.push(pod);
        }
    }
    let stale = |p: &&Value| {
        !names.iter().any(|n| n == text(p, "/metadata/name"))
            || text(p, "/metadata/labels/controller-revision-hash") != hash
    };
    changes
        .delete
        .extend(pods.into_iter().filter(stale).map(Key::of));
}

fn daemon_set(owner: &Value, nodes: &[String], store: &Store, changes: &mut Changes) {
    let pods = pods_of(text(owner, "/metadata/uid"), store);
    let hash = template_hash(owner);
    let allowed = |node: &&String| {
        let wanted = text(
            owner,
            "/spec/template/spec/nodeSelector/kubernetes.io~1hostname",
        );
        wanted.is_empty() || wanted == node.as_str()
    };
    for node in nodes.iter().filter(allowed) {
        if !pods.iter().any(|p| text(p, "/spec/nodeName") == node) {
            let name = format!(
                "{}-{}",
                text(owner, "/metadata/name"),
                safe_word(rand::random(), 5)
            );
            let mut pod = pod(owner, &name);
            pod["metadata"]["labels"]["controller-revision-hash"] = json!(hash);
            pod["spec"]["nodeName"] = json!(node);
            changes.create.push(pod);
        }
    }
    let stale = |p: &&Value| text(p, "/metadata/labels/controller-revision-hash") != hash;
    changes
        .delete
        .extend(pods.into_iter().filter(stale).map(Key::of));
}

/// Pods and ReplicaSets whose owner is gone.
fn orphans(store: &Store, changes: &mut Changes) {
    for (key, object) in store.all() {
        if !["Pod", "ReplicaSet"].contains(&key.kind.as_str())
            || object["metadata"].get("deletionTimestamp").is_some()
        {
            continue;
        }
        let owner = &object["metadata"]["ownerReferences"][0]["uid"];
        if owner.is_string()
            && !store.all().any(|(_, o)| &o["metadata"]["uid"] == owner)
            && !changes.delete.contains(key)
        {
            changes.delete.push(key.clone());
        }
    }
}

fn reference(owner: &Value) -> Value {
    json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true})
}

fn pod(owner: &Value, name: &str) -> Value {
    let template = &owner["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    if !metadata.is_object() {
        metadata = json!({});
    }
    metadata["name"] = json!(name);
    metadata["namespace"] = owner["metadata"]["namespace"].clone();
    metadata["ownerReferences"] = json!([reference(owner)]);
    // Warnings about the pod name the place where a person wrote its template.
    if let Some(origin) = owner["metadata"]["annotations"].get(ORIGIN) {
        metadata["annotations"][ORIGIN] = origin.clone();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        let dir =
            std::env::temp_dir().join(format!("warren-lab-workloads-{}", crate::store::uuid()));
        Store::new(dir.join("api"), dir.join("scratch")).unwrap()
    }

    fn owner(kind: &str, replicas: u64) -> Value {
        json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": replicas, "serviceName": "web",
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}}})
    }

    fn settle(store: &mut Store, nodes: &[String]) {
        for _ in 0..5 {
            let changes = changes(store, nodes);
            for key in changes.delete {
                store.remove(&key);
            }
            for object in changes.create {
                store.put(object).unwrap();
            }
        }
    }

    fn pods(store: &Store) -> Vec<String> {
        store
            .kind("Pod")
            .map(|p| text(p, "/metadata/name").to_owned())
            .collect()
    }

    #[test]
    fn deployments_scale_and_roll() {
        let mut store = store();
        store.put(owner("Deployment", 3)).unwrap();
        settle(&mut store, &[]);
        let first = pods(&store);
        assert_eq!(first.len(), 3);
        assert!(
            store
                .kind("Pod")
                .all(|p| p["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet")
        );
        store.put(owner("Deployment", 1)).unwrap();
        settle(&mut store, &[]);
        assert_eq!(pods(&store).len(), 1);
        assert!(
            first.contains(&pods(&store)[0]),
            "scaling does not replace pods"
        );
        let mut rolled = owner("Deployment", 1);
        rolled["spec"]["template"]["spec"]["x"] = json!(1);
        store.put(rolled).unwrap();
        settle(&mut store, &[]);
        assert_eq!(pods(&store).len(), 1);
        assert!(
            !first.contains(&pods(&store)[0]),
            "a new template makes new pods"
        );
        store.remove(&Key {
            group: "apps".into(),
            ..Key::core("Deployment", "shop", "web")
        });
        settle(&mut store, &[]);
        assert!(pods(&store).is_empty());
    }

    #[test]
    fn stateful_sets_number_their_pods_and_daemon_sets_cover_nodes() {
        let mut store = store();
        store.put(owner("StatefulSet", 2)).unwrap();
        settle(&mut store, &[]);
        assert_eq!(pods(&store), ["web-0", "web-1"]);
        let mut daemons = owner("DaemonSet", 0);
        daemons["metadata"]["name"] = json!("each");
        store.put(daemons).unwrap();
        settle(&mut store, &["a".into(), "b".into()]);
        assert_eq!(pods(&store).len(), 4);
    }
}
