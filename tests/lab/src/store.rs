//! The lab's API server: objects in memory, mirrored one file each into the directory that the controller watches.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::manifest::{Key, text};

/// Objects by key. Every change is written through by an atomic rename.
#[derive(Debug)]
pub struct Store {
    objects: BTreeMap<Key, Value>,
    dir: PathBuf,
    scratch: PathBuf,
    version: u64,
}

impl Store {
    /// An empty store that mirrors into `dir`; `scratch` is on the same file system.
    pub fn new(dir: PathBuf, scratch: PathBuf) -> Result<Self> {
        for path in [&dir, &scratch] {
            fs::create_dir_all(path)
                .with_context(|| format!("cannot create {}", path.display()))?;
        }
        Ok(Self {
            objects: BTreeMap::new(),
            dir,
            scratch,
            version: 0,
        })
    }

    /// The object called `key`.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// Every object of `kind` (of any group).
    pub fn kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects
            .iter()
            .filter(move |(k, _)| k.kind == kind)
            .map(|(_, v)| v)
    }

    /// Every object.
    pub fn all(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter()
    }

    /// Creates or replaces an object, filling what a server fills: uid, times, versions. Returns whether it changed.
    pub fn put(&mut self, mut object: Value) -> Result<bool> {
        let key = Key::of(&object);
        let old = self.objects.get(&key);
        let spec_changed = old.is_some_and(|o| o.get("spec") != object.get("spec"));
        let generation = old.map_or(1, |o| {
            o["metadata"]["generation"].as_u64().unwrap_or(1) + u64::from(spec_changed)
        });
        for (field, fresh) in [("uid", json!(uuid())), ("creationTimestamp", json!(now()))] {
            let known = old
                .map(|o| o["metadata"][field].clone())
                .filter(|v| !v.is_null());
            object["metadata"][field] = known.unwrap_or(fresh);
        }
        object["metadata"]["generation"] = json!(generation);
        if let Some(status) = old.and_then(|o| o.get("status"))
            && object.get("status").is_none()
        {
            object["status"] = status.clone();
        }
        object["metadata"]["resourceVersion"] =
            old.map_or(json!("0"), |o| o["metadata"]["resourceVersion"].clone());
        if old == Some(&object) {
            return Ok(false);
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.write(&key, &object)?;
        self.objects.insert(key, object);
        Ok(true)
    }

    /// Changes an object in place; nothing happens when there is none.
    pub fn update(&mut self, key: &Key, change: impl FnOnce(&mut Value)) -> Result<bool> {
        let Some(mut object) = self.objects.get(key).cloned() else {
            return Ok(false);
        };
        change(&mut object);
        self.put(object)
    }

    /// Deletes an object and returns it.
    pub fn remove(&mut self, key: &Key) -> Option<Value> {
        let object = self.objects.remove(key)?;
        let _ = fs::remove_file(self.dir.join(key.file_name()));
        Some(object)
    }

    /// Shows the controller what of a person's `file` is no object, so that it reports it under that file's name and lines; without a
    /// text, nothing any longer.
    pub fn leftover(&self, file: &str, text: Option<&str>) -> Result<()> {
        let path = Path::new(file);
        let mut name = PathBuf::from(path.file_name().unwrap_or_default());
        if !["yaml", "yml", "json"]
            .map(OsStr::new)
            .contains(&name.extension().unwrap_or_default())
        {
            name.as_mut_os_string().push(".yaml");
        }
        // The controller looks one level down, which leaves the name of one directory.
        let inside = path.parent().and_then(Path::file_name).unwrap_or_default();
        let dir = self.dir.join(inside);
        let Some(text) = text else {
            let _ = fs::remove_file(dir.join(&name));
            if !inside.is_empty() {
                let _ = fs::remove_dir(&dir);
            }
            return Ok(());
        };
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        self.place(text, &name, &dir.join(&name))
    }

    fn write(&self, key: &Key, object: &Value) -> Result<()> {
        let yaml = serde_saphyr::to_string(object)
            .with_context(|| format!("cannot write {key} as YAML"))?;
        let name = PathBuf::from(key.file_name());
        self.place(&yaml, &name, &self.dir.join(&name))
    }

    fn place(&self, yaml: &str, name: &Path, target: &Path) -> Result<()> {
        let scratch = self.scratch.join(name);
        fs::write(&scratch, yaml).with_context(|| format!("cannot write {}", scratch.display()))?;
        fs::rename(&scratch, target).with_context(|| format!("cannot write {}", target.display()))
    }
}

/// The uid of `object`.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// A random version 4 UUID.
pub fn uuid() -> String {
    let mut b: [u8; 16] = rand::random();
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex: String = b.iter().map(|x| format!("{x:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// The time now as Kubernetes writes it.
pub fn now() -> String {
    let now = time::OffsetDateTime::now_utc()
        .replace_nanosecond(0)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    now.format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        let dir = std::env::temp_dir().join(format!("warren-lab-store-{}", uuid()));
        Store::new(dir.join("api"), dir.join("scratch")).unwrap()
    }

    #[test]
    fn keeps_what_the_server_assigned() {
        let mut store = store();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"a": 1}});
        let key = Key::of(&pod);
        assert!(store.put(pod.clone()).unwrap());
        let uid = uid(store.get(&key).unwrap()).to_owned();
        assert!(
            !store.put(pod.clone()).unwrap(),
            "the same object again is no change"
        );
        let mut changed = pod;
        changed["spec"]["a"] = json!(2);
        assert!(store.put(changed).unwrap());
        let stored = store.get(&key).unwrap();
        assert_eq!(super::uid(stored), uid);
        assert_eq!(stored["metadata"]["generation"], json!(2));
        let file = store.dir.join(key.file_name());
        let back: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(&back, stored);
        store.remove(&key).unwrap();
        assert!(!file.exists());
        fs::remove_dir_all(store.dir.parent().unwrap()).unwrap();
    }
}
