//! What the charts take and refuse.

use crate::support::{deploy, helm, warren};

#[test]
#[ignore = "needs the test cluster's programs"]
fn helm_finds_nothing_to_complain_about() {
    for chart in ["crds", "mesh"] {
        let path = deploy().join("charts").join(chart);
        let done = helm(&["lint", "--strict", path.to_str().expect("UTF-8")]).ok();
        assert!(!done.out.contains("WARNING"), "{}", done.out);
    }
}

#[test]
#[ignore = "needs the test cluster's programs"]
fn misspelt_and_mistyped_settings_are_refused() {
    for (setting, part) in [
        ("contro.replicas=2", "contro"),
        ("control.replica=2", "replica"),
        ("control.replicas=two", "/control/replicas"),
        ("control.replicas=0", "/control/replicas"),
        ("control.certTtl=1 day", "/control/certTtl"),
        ("agent.directFlows=maybe", "/agent/directFlows"),
        ("agent.metricsPort=70000", "/agent/metricsPort"),
        ("ztunnel.workers=0", "/ztunnel/workers"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("node.cgroupRoot=relative", "/node/cgroupRoot"),
        ("mesh.trustDomain=A/b", "/mesh/trustDomain"),
        ("leave=perhaps", "/leave"),
        ("accessLog=xml", "/accessLog"),
        ("podMonitor.enabled=1", "/podMonitor/enabled"),
        ("dashboards.enable=true", "enable"),
        ("webhook.failurePolicy=Perhaps", "/webhook/failurePolicy"),
        ("node.criSocket=containerd.sock", "/node/criSocket"),
    ] {
        warren(&["render", "--set", setting]).fails(2, &["the settings are not good", part]);
    }
}

#[test]
#[ignore = "needs the test cluster's programs"]
fn settings_are_looked_at_before_the_cluster() {
    for command in ["install", "upgrade"] {
        let words = [command, "--kubeconfig", "/nowhere", "--set", "contro=1"];
        warren(&words).fails(2, &["contro"]);
        let words = [command, "--kubeconfig", "/nowhere", "--values", "/nowhere"];
        warren(&words).fails(2, &["/nowhere"]);
    }
    warren(&["install", "--kubeconfig", "/nowhere"]).fails(
        1,
        &["no cluster can be reached", "/nowhere", "--kubeconfig"],
    );
}

#[test]
#[ignore = "needs the test cluster's programs"]
fn a_helm_that_is_none_is_told() {
    let missing = warren(&["render", "--helm", "/no/helm"]);
    missing.fails(
        1,
        &["/no/helm", "install Helm 3.14 or newer", "WARREN_HELM"],
    );
    warren(&["render", "--helm", "/bin/true"]).fails(1, &["is version ``", "3.14"]);
}
