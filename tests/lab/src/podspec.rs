//! From a Pod's manifest to what the lab runs: commands, environments, probes.

mod probes;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec};
use serde_json::Value;

use probes::probe;
pub use probes::{Check, ProbePlan, Purpose};

/// A Pod as the lab runs it.
#[derive(Clone, Debug)]
pub struct PodPlan {
    /// Containers run one after the other before the rest.
    pub init: Vec<ContainerPlan>,
    /// Containers.
    pub containers: Vec<ContainerPlan>,
    /// Whether a container that ended is started again.
    pub restart: Restart,
    /// Seconds between SIGTERM and SIGKILL.
    pub grace: u64,
    /// Host name inside.
    pub hostname: String,
}

/// `restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Whatever happened.
    Always,
    /// After a failure.
    OnFailure,
    /// Not at all.
    Never,
}

/// A container as the lab runs it.
#[derive(Clone, Debug)]
pub struct ContainerPlan {
    /// Name within the pod.
    pub name: String,
    /// Command and arguments; empty when the manifest gives none.
    pub argv: Vec<String>,
    /// Environment, in addition to `PATH` and `HOME`.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: PathBuf,
    /// User and group to run as.
    pub user: (Option<u32>, Option<u32>),
    /// Probes by purpose.
    pub probes: Vec<ProbePlan>,
}

/// Keys and values of a ConfigMap or Secret.
pub type Entries = Vec<(String, String)>;

/// Values that `valueFrom` and `$(NAME)` may refer to.
pub struct References<'a> {
    /// The Pod's object, with its status.
    pub pod: &'a Value,
    /// Entries of a ConfigMap or Secret of the pod's namespace, by kind and name.
    pub entries: &'a dyn Fn(&str, &str) -> Option<Entries>,
}

/// Plans a pod; an error names the container and the field.
pub fn plan(context: &References<'_>) -> Result<PodPlan> {
    let pod: Pod = serde_json::from_value(context.pod.clone()).context("not a valid Pod")?;
    let spec = pod.spec.unwrap_or_default();
    let each = |list: &[Container]| -> Result<Vec<ContainerPlan>> {
        list.iter()
            .map(|c| container(c, &spec, context).with_context(|| format!("container {}", c.name)))
            .collect()
    };
    if spec.containers.is_empty() {
        bail!("spec.containers is empty");
    }
    let restart = match spec.restart_policy.as_deref() {
        None | Some("Always") => Restart::Always,
        Some("OnFailure") => Restart::OnFailure,
        Some("Never") => Restart::Never,
        Some(other) => bail!("restartPolicy {other:?} is not Always, OnFailure or Never"),
    };
    // An init container that is always restarted is a sidecar: it runs beside the others.
    let always = |c: &Container| c.restart_policy.as_deref() == Some("Always");
    let inits = spec.init_containers.clone().unwrap_or_default();
    let (sidecars, init): (Vec<Container>, Vec<Container>) = inits.into_iter().partition(always);
    Ok(PodPlan {
        init: each(&init)?,
        containers: each(&[spec.containers.clone(), sidecars].concat())?,
        restart,
        grace: u64::try_from(spec.termination_grace_period_seconds.unwrap_or(30)).unwrap_or(0),
        hostname: spec
            .hostname
            .clone()
            .or(pod.metadata.name)
            .unwrap_or_default(),
    })
}

fn container(c: &Container, spec: &PodSpec, context: &References<'_>) -> Result<ContainerPlan> {
    let env = environment(c, context)?;
    let known: BTreeMap<&str, &str> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let words = c.command.iter().flatten().chain(c.args.iter().flatten());
    let argv: Vec<String> = words.map(|w| expand(w, &known)).collect();
    if argv.is_empty() {
        bail!(
            "has no command: the lab runs programs of this machine and ignores images, so give it one"
        );
    }
    let own = c.security_context.as_ref();
    let shared = spec.security_context.as_ref();
    let user = own
        .and_then(|s| s.run_as_user)
        .or(shared.and_then(|s| s.run_as_user));
    let group = own
        .and_then(|s| s.run_as_group)
        .or(shared.and_then(|s| s.run_as_group));
    let id = |v: Option<i64>| {
        v.map(u32::try_from)
            .transpose()
            .context("a user or group id out of range")
    };
    let mut probes = Vec::new();
    for (purpose, p) in [
        (Purpose::Startup, &c.startup_probe),
        (Purpose::Readiness, &c.readiness_probe),
        (Purpose::Liveness, &c.liveness_probe),
    ] {
        if let Some(p) = p {
            probes.push(probe(purpose, p, c).with_context(|| format!("{purpose:?} probe"))?);
        }
    }
    Ok(ContainerPlan {
        name: c.name.clone(),
        argv,
        env,
        cwd: c.working_dir.clone().unwrap_or_else(|| "/".into()).into(),
        user: (id(user)?, id(group)?),
        probes,
    })
}

fn environment(c: &Container, context: &References<'_>) -> Result<Vec<(String, String)>> {
    let mut env = environment_from(c, context)?;
    for var in c.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (Some(value), _) => {
                let known = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                expand(value, &known)
            }
            (None, None) => String::new(),
            (None, Some(_)) => match value_from(var, context)? {
                Some(value) => value,
                None => continue,
            },
        };
        env.push((var.name.clone(), value));
    }
    Ok(env)
}

/// The variables of `envFrom`, which `env` may override and refer to.
fn environment_from(c: &Container, context: &References<'_>) -> Result<Vec<(String, String)>> {
    let mut env = Vec::new();
    for from in c.env_from.iter().flatten() {
        let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(r), _) => ("ConfigMap", &r.name, r.optional),
            (None, Some(r)) => ("Secret", &r.name, r.optional),
            (None, None) => bail!("envFrom names neither a ConfigMap nor a Secret"),
        };
        let prefix = from.prefix.as_deref().unwrap_or("");
        match (context.entries)(kind, name) {
            Some(entries) => env.extend(
                entries
                    .into_iter()
                    .map(|(k, v)| (format!("{prefix}{k}"), v)),
            ),
            None if optional == Some(true) => {}
            None => bail!("envFrom: there is no {kind} {name}"),
        }
    }
    Ok(env)
}

fn value_from(var: &EnvVar, context: &References<'_>) -> Result<Option<String>> {
    let Some(from) = &var.value_from else {
        return Ok(None);
    };
    let name = &var.name;
    if let Some(field) = &from.field_ref {
        return field_ref(&field.field_path, context.pod)
            .map(Some)
            .with_context(|| format!("env {name}"));
    }
    let (kind, object, key, optional) = match (&from.config_map_key_ref, &from.secret_key_ref) {
        (Some(r), _) => ("ConfigMap", &r.name, &r.key, r.optional),
        (None, Some(r)) => ("Secret", &r.name, &r.key, r.optional),
        (None, None) => {
            bail!("env {name}: the lab knows fieldRef, configMapKeyRef and secretKeyRef only")
        }
    };
    let entries = (context.entries)(kind, object).unwrap_or_default();
    match entries.into_iter().find(|(k, _)| k == key) {
        Some((_, value)) => Ok(Some(value)),
        None if optional == Some(true) => Ok(None),
        None => bail!("env {name}: {kind} {object} has no key {key}"),
    }
}

fn field_ref(path: &str, pod: &Value) -> Result<String> {
    if let Some((map, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let found = pod
            .pointer(&format!("/{}", map.replace('.', "/")))
            .and_then(|m| m.get(key));
        return Ok(found.and_then(Value::as_str).unwrap_or("").to_owned());
    }
    if path == "status.podIPs" {
        let list = pod["status"]["podIPs"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let addresses: Vec<&str> = list.iter().filter_map(|i| i["ip"].as_str()).collect();
        return Ok(addresses.join(","));
    }
    match pod.pointer(&format!("/{}", path.replace('.', "/"))) {
        Some(Value::String(value)) => Ok(value.clone()),
        _ => bail!("fieldRef {path} names nothing that a pod has"),
    }
}

/// Replaces `$(NAME)` by what the environment says; `$$` stands for a dollar sign.
fn expand(word: &str, known: &BTreeMap<&str, &str>) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let reference = tail.strip_prefix('(').and_then(|t| t.split_once(')'));
        if let Some(after) = tail.strip_prefix('$').filter(|a| a.starts_with('(')) {
            out.push('$');
            rest = after;
        } else if let Some((value, after)) =
            reference.and_then(|(name, after)| Some((known.get(name)?, after)))
        {
            out.push_str(value);
            rest = after;
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(container: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"containers": [container]},
            "status": {"podIP": "10.244.0.2", "podIPs": [{"ip": "10.244.0.2"}, {"ip": "fd00::2"}]}})
    }

    fn planned(container: Value) -> Result<PodPlan> {
        plan(&References {
            pod: &pod(container),
            entries: &|kind, name| {
                (kind == "ConfigMap" && name == "settings")
                    .then(|| vec![("MODE".into(), "fast".into())])
            },
        })
    }

    #[test]
    fn environment_refers_to_fields_and_to_itself() {
        let plan = planned(json!({"name": "c", "command": ["sh", "-c", "$(A) $$(A) $HOME"],
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                    {"name": "A", "value": "http://$(IP)/$(NOPE)"}]}))
        .unwrap();
        let c = &plan.containers[0];
        assert_eq!(c.env[1], ("APP".into(), "web".into()));
        assert_eq!(c.env[2].1, "http://10.244.0.2/$(NOPE)");
        assert_eq!(c.argv[2], "http://10.244.0.2/$(NOPE) $(A) $HOME");
    }

    #[test]
    fn environment_comes_from_config_maps() {
        let plan = planned(json!({"name": "c", "command": ["$(X_MODE)"],
            "envFrom": [{"prefix": "X_", "configMapRef": {"name": "settings"}}],
            "env": [{"name": "M", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "MODE"}}}]}))
        .unwrap();
        assert_eq!(plan.containers[0].argv, ["fast"]);
        assert_eq!(plan.containers[0].env[1], ("M".into(), "fast".into()));
        let missing = planned(
            json!({"name": "c", "command": ["x"], "envFrom": [{"secretRef": {"name": "no"}}]}),
        );
        assert!(format!("{:#}", missing.unwrap_err()).contains("there is no Secret no"));
    }

    #[test]
    fn probes_resolve_named_ports() {
        let plan = planned(json!({"name": "c", "command": ["x"], "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"port": "http", "path": "/healthz"}, "periodSeconds": 1}}))
        .unwrap();
        let probe = &plan.containers[0].probes[0];
        assert_eq!(probe.period, 1);
        assert!(matches!(&probe.check, Check::Http { port: 8080, path, .. } if path == "/healthz"));
    }

    #[test]
    fn errors_name_the_container() {
        let error = planned(json!({"name": "c", "image": "nginx"})).unwrap_err();
        assert!(format!("{error:#}").starts_with("container c: has no command"));
    }
}
