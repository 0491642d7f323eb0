//! The plugin in folders of a host that the test plays.

use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

const FLANNEL: &str = r#"{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    { "type": "flannel", "delegate": { "hairpinMode": true, "mtu": 1450 } },
    { "type": "portmap", "capabilities": { "portMappings": true } }
  ]
}
"#;
const BRIDGE: &str = r#"{ "cniVersion": "1.0.0", "name": "pods", "type": "bridge", "ipam": { "type": "host-local" } }"#;

struct Host {
    dir: TempDir,
    plugin: Plugin,
}

impl Host {
    fn new(networks: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["bin", "net.d"] {
            fs::create_dir(at(folder)).unwrap();
        }
        fs::write(at("source"), b"#!program").unwrap();
        let plugin = Plugin {
            source: at("source"),
            bin_dir: at("bin"),
            conf_dir: at("net.d"),
            entry: json!({ "type": NAME, "socket": "/run/warren/cni.sock" }),
            run_dir: at("run"),
            unwanted_here: Arc::default(),
        };
        let host = Self { dir, plugin };
        networks
            .iter()
            .for_each(|(name, text)| host.write(name, text));
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("net.d").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Types of a network's plugins.
    fn types(&self, name: &str) -> Vec<String> {
        let list: Value = serde_json::from_str(&self.text(name)).unwrap();
        let plugins = list["plugins"].as_array().unwrap();
        plugins
            .iter()
            .map(|p| p["type"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Names of all files in the folder of networks.
    fn names(&self) -> Vec<String> {
        let all = fs::read_dir(self.path("")).unwrap();
        let mut all: Vec<_> = all
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        all.sort();
        all
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("bin").join(NAME)
    }

    fn install(&self) -> Vec<PathBuf> {
        self.plugin.install().unwrap().networks
    }
}

#[test]
fn a_list_gets_the_entry_last_and_is_given_back_as_it_was() {
    let host = Host::new(&[("10-flannel.conflist", FLANNEL)]);
    fs::set_permissions(
        host.path("10-flannel.conflist"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let done = host.plugin.install().unwrap();
    assert!(done.program);
    assert_eq!(done.networks, [host.path("10-flannel.conflist")]);
    assert_eq!(
        host.types("10-flannel.conflist"),
        ["flannel", "portmap", NAME]
    );
    let list: Value = serde_json::from_str(&host.text("10-flannel.conflist")).unwrap();
    assert_eq!(list["plugins"][0]["delegate"]["mtu"], 1450);
    assert_eq!(
        (list["name"].as_str(), list["cniVersion"].as_str()),
        (Some("cbr0"), Some("0.3.1"))
    );
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(host.program()), mode(host.path("10-flannel.conflist"))),
        (0o755, 0o600)
    );

    assert!(!host.plugin.install().unwrap().any(), "already installed");
    assert_eq!(host.types("10-flannel.conflist").len(), 3);

    let removed = host.plugin.remove().unwrap();
    assert!(removed.program && removed.networks.len() == 1);
    assert_eq!(host.text("10-flannel.conflist"), FLANNEL, "to the byte");
    assert_eq!(host.names(), ["10-flannel.conflist"]);
    assert!(!host.program().exists());
    assert!(!host.plugin.remove().unwrap().any(), "a second time");
}

#[test]
fn a_single_plugin_becomes_a_list_and_is_given_back() {
    let host = Host::new(&[("05-bridge.conf", BRIDGE)]);
    assert_eq!(host.install(), [host.path("05-bridge.conflist")]);
    assert_eq!(host.types("05-bridge.conflist"), ["bridge", NAME]);
    assert!(
        !host.path("05-bridge.conf").exists(),
        "it would still come first"
    );
    assert!(!host.plugin.install().unwrap().any());

    // Its owner writes it again.
    host.write("05-bridge.conf", &BRIDGE.replace("pods", "other"));
    assert_eq!(host.install(), [host.path("05-bridge.conflist")]);
    assert!(host.text("05-bridge.conflist").contains("other"));

    host.plugin.remove().unwrap();
    assert_eq!(host.names(), ["05-bridge.conf"]);
    assert_eq!(host.text("05-bridge.conf"), BRIDGE.replace("pods", "other"));
}

#[test]
fn the_first_file_by_name_is_the_one() {
    let host = Host::new(&[
        ("20-b.conflist", FLANNEL),
        ("10-a.conflist.bak", "not read"),
        ("99-loopback.conf", BRIDGE),
        ("10-b.conflist", FLANNEL),
    ]);
    fs::create_dir(host.path("00.conflist")).unwrap();
    assert_eq!(host.install(), [host.path("10-b.conflist")]);
    assert_eq!(host.text("20-b.conflist"), FLANNEL);
    // Another CNI takes over; the entry in the old network hurts nobody and goes in the end.
    host.write("00-new.conflist", FLANNEL);
    assert_eq!(host.install(), [host.path("00-new.conflist")]);
    assert_eq!(host.plugin.remove().unwrap().networks.len(), 2);
    for name in ["00-new.conflist", "10-b.conflist", "20-b.conflist"] {
        assert_eq!(host.text(name), FLANNEL, "{name}");
    }
}

#[test]
fn what_somebody_rewrote_or_removed_is_repaired() {
    let host = Host::new(&[("10-flannel.conflist", FLANNEL)]);
    host.install();
    let newer = FLANNEL.replace("1450", "1400");
    host.write("10-flannel.conflist", &newer);
    fs::write(host.program(), b"broken").unwrap();
    let done = host.plugin.install().unwrap();
    assert!(done.program && done.networks.len() == 1);
    assert_eq!(
        host.types("10-flannel.conflist"),
        ["flannel", "portmap", NAME]
    );
    assert_eq!(fs::read(host.program()).unwrap(), b"#!program");
    fs::remove_file(host.program()).unwrap();
    assert!(host.plugin.install().unwrap().program);
    host.plugin.remove().unwrap();
    assert_eq!(
        host.text("10-flannel.conflist"),
        newer,
        "the newer one is given back"
    );
}

#[test]
fn an_entry_that_is_older_or_not_the_last_is_put_right() {
    let older = FLANNEL.replace(
        "    { \"type\": \"flannel\"",
        "    { \"type\": \"warren-cni\" }, { \"type\": \"flannel\"",
    );
    let host = Host::new(&[("10-flannel.conflist", &older)]);
    assert_eq!(host.install().len(), 1);
    assert_eq!(
        host.types("10-flannel.conflist"),
        ["flannel", "portmap", NAME]
    );
    host.plugin.remove().unwrap();
    assert_eq!(host.types("10-flannel.conflist"), ["flannel", "portmap"]);
    assert_eq!(host.names().len(), 1);
}

#[test]
fn others_changes_to_a_chained_list_are_kept() {
    let host = Host::new(&[("10-flannel.conflist", FLANNEL)]);
    host.install();
    let edited = host.text("10-flannel.conflist").replace("1450", "9000");
    host.write("10-flannel.conflist", &edited);
    assert!(host.install().is_empty());
    host.plugin.remove().unwrap();
    assert_eq!(host.types("10-flannel.conflist"), ["flannel", "portmap"]);
    assert!(host.text("10-flannel.conflist").contains("9000"));
    assert_eq!(host.names().len(), 1);
}

#[test]
fn files_that_are_no_network_are_left_alone_and_named() {
    let ours_only = r#"{"name":"x","plugins":[{"type":"warren-cni"}]}"#;
    for (name, text, word) in [
        ("10.conflist", "{ \"name\": \"x\", \"plug", "valid JSON"),
        ("10.conflist", "", "valid JSON"),
        ("10.conflist", "[]", "object"),
        ("10.conflist", r#"{"name":"x","plugins":[]}"#, "plugins"),
        (
            "10.conflist",
            r#"{"name":"x","plugins":[{"typo":"bridge"}]}"#,
            "type",
        ),
        ("10.conflist", ours_only, "addresses"),
        (
            "10.conflist",
            r#"{"name":"x","cniVersion":"0.2.0","plugins":[{"type":"bridge"}]}"#,
            "0.2.0",
        ),
        ("10.conf", "\u{0}\u{1}", "valid JSON"),
        ("10.conf", r#"{"name":"x"}"#, "type"),
        ("10.conf", r#"{"type":"bridge"}"#, "name"),
        (
            "10.json",
            r#"{"type":"warren-cni","name":"x"}"#,
            "only plugin",
        ),
    ] {
        let host = Host::new(&[(name, text)]);
        let error = host.plugin.install().unwrap_err().to_string();
        let path = host.path(name).display().to_string();
        assert!(
            error.contains(&path) && error.contains(word),
            "{text}: {error}"
        );
        host.plugin.remove().unwrap();
        assert_eq!(
            (host.text(name).as_str(), host.names().len()),
            (text, 1),
            "{text}"
        );
    }
}

#[test]
fn missing_networks_and_folders_are_told_with_the_next_step() {
    let host = Host::new(&[]);
    let none = host.plugin.install().unwrap_err().to_string();
    assert!(
        none.contains("net.d has no CNI network") && none.contains("--cni-conf-dir"),
        "{none}"
    );
    fs::remove_dir(host.path("")).unwrap();
    let missing = host.plugin.install().unwrap_err().to_string();
    assert!(
        missing.contains("net.d") && missing.contains("mounted"),
        "{missing}"
    );
    let mut host = Host::new(&[("10.conflist", FLANNEL)]);
    host.plugin.source = "/no/such/program".into();
    let missing = host.plugin.install().unwrap_err().to_string();
    assert!(missing.contains("/no/such/program"), "{missing}");
    assert_eq!(
        host.text("10.conflist"),
        FLANNEL,
        "no entry without a program"
    );
}

#[test]
fn a_link_and_a_list_beside_a_single_plugin_are_left_alone() {
    let host = Host::new(&[("target", FLANNEL)]);
    symlink(host.path("target"), host.path("10.conflist")).unwrap();
    let error = host.plugin.install().unwrap_err().to_string();
    assert!(error.contains("symbolic link"), "{error}");
    let host = Host::new(&[("10.conf", BRIDGE), ("10.conflist", FLANNEL)]);
    let error = host.plugin.install().unwrap_err().to_string();
    assert!(
        error.contains("10.conflist") && error.contains("remove"),
        "{error}"
    );
    assert_eq!(
        (
            host.text("10.conf").as_str(),
            host.text("10.conflist").as_str()
        ),
        (BRIDGE, FLANNEL)
    );
}

#[test]
fn what_was_written_meanwhile_is_not_lost() {
    let host = Host::new(&[("10.conflist", "newer")]);
    let path = host.path("10.conflist");
    assert!(!files::replace(&path, b"older", b"ours").unwrap());
    assert_eq!(
        (host.text("10.conflist").as_str(), host.names().len()),
        ("newer", 1)
    );
    assert!(files::replace(&path, b"newer", b"ours").unwrap());
    assert_eq!(
        (host.text("10.conflist").as_str(), host.names().len()),
        ("ours", 1)
    );
}

#[test]
fn after_an_uninstall_nothing_is_repaired_until_it_is_wanted_again() {
    let host = Host::new(&[("10.conflist", FLANNEL)]);
    host.install();
    host.plugin.uninstall().unwrap();
    assert!(!host.plugin.install().unwrap().any());
    assert_eq!(host.text("10.conflist"), FLANNEL);
    host.plugin.want().unwrap();
    assert!(host.plugin.install().unwrap().program);
}

#[test]
fn an_agent_that_leaves_puts_nothing_back_when_its_files_are_gone() {
    let host = Host::new(&[("10.conflist", FLANNEL)]);
    host.install();
    let keeper = host.plugin.clone();
    host.plugin.uninstall().unwrap();
    fs::remove_dir_all(&host.plugin.run_dir).unwrap();
    assert!(!keeper.install().unwrap().any());
    assert_eq!(host.text("10.conflist"), FLANNEL);
    assert!(!host.plugin.run_dir.exists());
}

#[tokio::test]
async fn a_rewritten_network_is_repaired_at_once() {
    let host = Host::new(&[("10.conflist", FLANNEL)]);
    let repaired = std::sync::Arc::new(tokio::sync::Notify::new());
    let keeper = tokio::spawn(keep(host.plugin.clone(), repaired.clone()));
    let soon = || tokio::time::timeout(std::time::Duration::from_secs(4), repaired.notified());
    soon().await.expect("installed");
    assert_eq!(host.types("10.conflist").len(), 3);
    // An installer's way: another file, renamed over it.
    fs::write(host.path("new"), FLANNEL).unwrap();
    fs::rename(host.path("new"), host.path("10.conflist")).unwrap();
    soon().await.expect("repaired before the regular look");
    assert_eq!(host.types("10.conflist").len(), 3);
    keeper.abort();
}
