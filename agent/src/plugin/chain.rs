//! Our entry in a CNI network: JSON in, JSON out. A text that is no network is never changed.

use serde_json::{Value, json};
use warren_cni::config::VERSIONS;

/// Name of the program, and the `type` of our entry.
pub const NAME: &str = "warren-cni";

/// The list with `entry` as its last plugin; None where it is so already.
///
/// # Errors
/// Why the text is no list that can be joined.
pub fn chained(text: &[u8], entry: &Value) -> Result<Option<Vec<u8>>, String> {
    let mut list = parse(text)?;
    let plugins = plugins(&mut list)?;
    let before = plugins.clone();
    plugins.retain(|p| !is_ours(p));
    if plugins.is_empty() {
        return Err(format!(
            "`plugins` has no plugin that gives pods their addresses, which has to come before {NAME}; install the cluster's CNI"
        ));
    }
    plugins.push(entry.clone());
    let same = *plugins == before;
    check_version(&list)?;
    Ok((!same).then(|| write(&list)))
}

/// The list without our entry; None where it has none.
///
/// # Errors
/// Why the text is no list.
pub fn unchained(text: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut list = parse(text)?;
    let plugins = plugins(&mut list)?;
    let before = plugins.len();
    plugins.retain(|p| !is_ours(p));
    let changed = plugins.len() != before;
    if plugins.is_empty() {
        return Err(format!("it has no plugin but {NAME}; remove this file"));
    }
    Ok(changed.then(|| write(&list)))
}

/// A single plugin's configuration as a list with `entry` as its second plugin.
///
/// # Errors
/// Why the text is no such configuration.
pub fn listed(text: &[u8], entry: &Value) -> Result<Vec<u8>, String> {
    let single = parse(text)?;
    check_plugin(&single)?;
    if is_ours(&single) {
        return Err(format!(
            "{NAME} cannot be the only plugin of a network; remove this file"
        ));
    }
    check_version(&single)?;
    let name = single
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if name.is_empty() {
        return Err("it has no `name`; give the network one".into());
    }
    let mut list = json!({ "name": name });
    if let Some(version) = single.get("cniVersion") {
        list["cniVersion"] = version.clone();
    }
    list["plugins"] = json!([single, entry]);
    Ok(write(&list))
}

/// Whether two texts are the same JSON.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    matches!((parse(a), parse(b)), (Ok(a), Ok(b)) if a == b)
}

fn parse(text: &[u8]) -> Result<Value, String> {
    let value: Value = serde_json::from_slice(text).map_err(|e| {
        format!("it is not valid JSON ({e}); repair or remove it: the container runtime cannot read it either")
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err("it is no JSON object; repair or remove it".into())
    }
}

fn plugins(list: &mut Value) -> Result<&mut Vec<Value>, String> {
    let plugins = list
        .get_mut("plugins")
        .and_then(Value::as_array_mut)
        .filter(|p| !p.is_empty())
        .ok_or("it has no `plugins`, a list with at least one plugin; repair or remove it")?;
    plugins.iter().try_for_each(check_plugin)?;
    Ok(plugins)
}

fn check_plugin(plugin: &Value) -> Result<(), String> {
    match plugin.get("type").and_then(Value::as_str) {
        Some(name) if !name.is_empty() => Ok(()),
        _ => Err("it has a plugin without a `type`; repair or remove it".into()),
    }
}

/// Plugins are chained since version 0.3.0 of the specification.
fn check_version(network: &Value) -> Result<(), String> {
    match network.get("cniVersion") {
        None => Ok(()),
        Some(Value::String(version)) if VERSIONS.contains(&version.as_str()) => Ok(()),
        Some(other) => Err(format!(
            "its `cniVersion` {other} is none that {NAME} speaks; set one of {}",
            VERSIONS.join(", ")
        )),
    }
}

fn is_ours(plugin: &Value) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some(NAME)
}

fn write(list: &Value) -> Vec<u8> {
    format!("{list:#}\n").into_bytes()
}
