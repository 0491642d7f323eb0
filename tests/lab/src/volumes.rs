//! Volumes of a pod: emptyDir, hostPath, configMap, secret, as bind mounts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::container::Bind;
use crate::manifest::text;

/// Keys and contents of a ConfigMap or Secret.
pub fn entries(object: &Value) -> Vec<(String, Vec<u8>)> {
    let secret = text(object, "/kind") == "Secret";
    let map = |field: &str, encoded: bool| -> Vec<(String, Vec<u8>)> {
        let map = object[field].as_object().cloned().unwrap_or_default();
        let value = |v: &Value| {
            let raw = v.as_str().unwrap_or("");
            if encoded {
                STANDARD.decode(raw).unwrap_or_default()
            } else {
                raw.as_bytes().to_vec()
            }
        };
        map.iter().map(|(k, v)| (k.clone(), value(v))).collect()
    };
    let mut all = map("data", secret);
    all.extend(map("stringData", false));
    all.extend(map("binaryData", true));
    all
}

/// Makes the pod's volumes below `dir` and returns the mounts of all containers. The lab mounts a pod's
/// volumes once, for all its containers.
pub fn prepare(
    pod: &Value,
    dir: &Path,
    lookup: &dyn Fn(&str, &str) -> Option<Value>,
) -> Result<Vec<Bind>> {
    let mut binds = Vec::new();
    let containers = ["containers", "initContainers"]
        .iter()
        .filter_map(|f| pod["spec"][*f].as_array())
        .flatten();
    for mount in containers
        .filter_map(|c| c["volumeMounts"].as_array())
        .flatten()
    {
        let name = text(mount, "/name");
        let volumes = pod["spec"]["volumes"].as_array();
        let volume = volumes.and_then(|v| v.iter().find(|v| v["name"] == name));
        let volume = volume.with_context(|| format!("volumeMounts names no volume: {name:?}"))?;
        let mut source = materialise(volume, &dir.join(name), lookup)
            .with_context(|| format!("volume {name}"))?;
        let sub = text(mount, "/subPath");
        if !sub.is_empty() {
            source = source.join(sub);
        }
        let bind = Bind {
            source,
            target: text(mount, "/mountPath").into(),
            read_only: mount["readOnly"].as_bool().unwrap_or(false),
        };
        if !binds.contains(&bind) {
            binds.push(bind);
        }
    }
    Ok(binds)
}

fn materialise(
    volume: &Value,
    dir: &Path,
    lookup: &dyn Fn(&str, &str) -> Option<Value>,
) -> Result<PathBuf> {
    if let Some(host) = volume.get("hostPath") {
        return Ok(PathBuf::from(text(host, "/path")));
    }
    fs::create_dir_all(dir)?;
    if volume.get("emptyDir").is_some() {
        return Ok(dir.to_owned());
    }
    let (kind, name) = match (volume.get("configMap"), volume.get("secret")) {
        (Some(map), _) => ("ConfigMap", text(map, "/name")),
        (None, Some(secret)) => ("Secret", text(secret, "/secretName")),
        (None, None) => bail!("the lab knows emptyDir, hostPath, configMap and secret only"),
    };
    let object = lookup(kind, name).with_context(|| format!("there is no {kind} {name}"))?;
    for (key, content) in entries(&object) {
        if key.contains('/') {
            bail!("{kind} {name}: the key {key:?} is not a file name");
        }
        fs::write(dir.join(key), content)?;
    }
    Ok(dir.to_owned())
}
