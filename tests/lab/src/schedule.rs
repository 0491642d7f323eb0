//! The scheduler: which node a pod runs on.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::manifest::{labels, text};

/// Chooses a node for `pod` among `nodes` (Node objects). `turn` advances the round robin.
pub fn choose(pod: &Value, nodes: &[&Value], turn: &mut usize) -> Result<String> {
    let named = text(pod, "/spec/nodeName");
    if !named.is_empty() {
        if nodes.iter().any(|n| text(n, "/metadata/name") == named) {
            return Ok(named.to_owned());
        }
        bail!("nodeName {named:?} is not a node of this lab: `up --nodes` names them");
    }
    let selector = pod["spec"]["nodeSelector"].as_object();
    let fits = |node: &&&Value| {
        let labels = labels(node);
        selector.is_none_or(|s| s.iter().all(|(k, v)| labels.get(k) == Some(v)))
    };
    let fitting: Vec<&&Value> = nodes.iter().filter(fits).collect();
    if fitting.is_empty() {
        bail!(
            "no node matches the nodeSelector {}",
            pod["spec"]["nodeSelector"]
        );
    }
    let chosen = fitting[*turn % fitting.len()];
    *turn += 1;
    Ok(text(chosen, "/metadata/name").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})
    }

    #[test]
    fn honours_names_and_selectors_and_else_takes_turns() {
        let (a, b) = (node("a"), node("b"));
        let nodes = [&a, &b];
        let mut turn = 0;
        let mut pick = |spec: Value| choose(&json!({"spec": spec}), &nodes, &mut turn);
        assert_eq!(pick(json!({})).unwrap(), "a");
        assert_eq!(pick(json!({})).unwrap(), "b");
        assert_eq!(pick(json!({"nodeName": "b"})).unwrap(), "b");
        assert_eq!(
            pick(json!({"nodeSelector": {"kubernetes.io/hostname": "b"}})).unwrap(),
            "b"
        );
        assert!(pick(json!({"nodeName": "c"})).is_err());
        assert!(pick(json!({"nodeSelector": {"disk": "ssd"}})).is_err());
    }
}
