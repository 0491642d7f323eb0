//! The CNI plugin where things are not as they should be: nonsense, twice, a pod that is gone, an agent that is away or hangs.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::world::{Namespace, World};
use crate::commands::node;
use crate::mesh::SYSTEM;

const NODE: &str = "b";
const PLUGIN: &str = "/opt/cni/bin/warren-cni";
/// Longer than the plugin itself waits: 20 s for ADD, 5 s for DEL.
const ADD_LIMIT: Duration = Duration::from_secs(30);
const DEL_LIMIT: Duration = Duration::from_secs(10);

/// Asked by hand, with the agent at work.
pub(super) fn by_hand(world: &World) -> Result<String> {
    let space = world.strict("byhand")?;
    space.web("web", 1, Some(NODE))?;
    let pod = space.pods("app=web")?.swap_remove(0);
    let real = Call::of(&pod, netns(world, &pod)?);
    let gone = Call {
        netns: "/var/run/netns/cni-gone".to_owned(),
        ..Call::of(
            &json!({"metadata": {"namespace": "byhand", "name": "gone"}}),
            String::new(),
        )
    };
    for nonsense in [
        "",
        "nonsense",
        "{\"cniVersion\": 7}",
        "[1, 2",
        "\0\u{fffd}{",
    ] {
        let (output, took) = call(world, "ADD", &real, nonsense)?;
        let error: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("ADD with {nonsense:?} printed {output:?}"))?;
        ensure!(
            !output.status.success() && error["code"].is_u64(),
            "ADD with {nonsense:?}: {output:?}"
        );
        ensure!(took < DEL_LIMIT, "ADD with {nonsense:?} took {took:?}");
        succeeds(world, "DEL", &real_but_gone(), nonsense)?;
    }
    let config = configuration(&pod);
    succeeds(world, "ADD", &real, &config)?;
    let again = succeeds(world, "ADD", &real, &config)?;
    still_served(&space)?;
    let (output, took) = call(world, "ADD", &gone, &config)?;
    ensure!(
        !output.status.success(),
        "ADD of a pod that is gone: {output:?}"
    );
    ensure!(took < ADD_LIMIT, "ADD of a pod that is gone took {took:?}");
    let message: Value = serde_json::from_slice(&output.stdout)?;
    for _ in 0..2 {
        succeeds(world, "DEL", &gone, &config)?;
    }
    still_served(&space)?;
    Ok(format!(
        "ADD again: {} ms; ADD of a pod that is gone: {} after {:.1} s; DEL always succeeds",
        again.as_millis(),
        message["msg"],
        took.as_secs_f64()
    ))
}

/// Pods start and end on a node whose agent is away, then on one whose agent hangs.
pub(super) fn without_agent(world: &World) -> Result<String> {
    let space = world.strict("noagent")?;
    space.web("web", 1, Some(NODE))?;
    let away = "{\"spec\":{\"template\":{\"spec\":{\"nodeSelector\":{\"kubernetes.io/hostname\":\"a\"}}}}}";
    patch(world, away)?;
    let result = world
        .rolled_out(SYSTEM, "daemonset/warren-agent")
        .and_then(|()| stuck(&space, "away"));
    let back =
        "{\"spec\":{\"template\":{\"spec\":{\"nodeSelector\":{\"kubernetes.io/hostname\":null}}}}}";
    patch(world, back)?;
    world.rolled_out(SYSTEM, "daemonset/warren-agent")?;
    let away = result?;
    space.wait("pod/away", "condition=Ready")?;
    signal(world, "STOP")?;
    let result = stuck(&space, "hung");
    signal(world, "CONT")?;
    let hung = result?;
    space.wait("pod/hung", "condition=Ready")?;
    Ok(format!(
        "away: {away}; hung: {hung}; both pods started when it was back"
    ))
}

/// A pod that starts waits, and its event says for whom; one that ends does so in time. Returns the event's gist.
fn stuck(space: &Namespace<'_>, name: &'static str) -> Result<String> {
    let words = [
        ("NAME", name),
        ("NODE", NODE),
        ("TARGETS", "['new:web=http://web/']"),
    ];
    space.apply(include_str!("load.yaml"), &words)?;
    let field =
        format!("--field-selector=involvedObject.name={name},reason=FailedCreatePodSandBox");
    let mut event = String::new();
    space.until("an event that says why", || {
        event = space.kubectl(&["get", "events", &field, "-o=jsonpath={.items[-1:].message}"])?;
        Ok(!event.is_empty())
    })?;
    ensure!(event.contains("Warren agent"), "the event says {event:?}");
    let began = Instant::now();
    space.world.kubectl.patient(&[
        "delete",
        "pod",
        "--selector=app=web",
        "--namespace",
        space.name,
        "--timeout=60s",
    ])?;
    let gist = event
        .find("plugin type=")
        .map_or(&*event, |at| &event[at..]);
    Ok(format!(
        "{gist:?}; a pod ended within {:.1} s",
        began.elapsed().as_secs_f64()
    ))
}

/// Who is asked about, in the words of the CNI.
struct Call {
    namespace: String,
    name: String,
    uid: String,
    netns: String,
}

impl Call {
    fn of(pod: &Value, netns: String) -> Self {
        let word = |name: &str| {
            pod["metadata"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            namespace: word("namespace"),
            name: word("name"),
            uid: word("uid"),
            netns,
        }
    }
}

fn real_but_gone() -> Call {
    Call {
        namespace: "byhand".to_owned(),
        name: "never".to_owned(),
        uid: String::new(),
        netns: String::new(),
    }
}

/// What the plugin before ours would have said of the pod.
fn configuration(pod: &Value) -> String {
    let ips: Vec<Value> = pod["status"]["podIPs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|address| address["ip"].as_str())
        .map(|ip| json!({"address": format!("{ip}/{}", if ip.contains(':') { 64 } else { 24 })}))
        .collect();
    json!({
        "cniVersion": "1.0.0",
        "name": "cluster",
        "type": "warren-cni",
        "socket": "/run/warren/cni.sock",
        "prevResult": {"cniVersion": "1.0.0", "ips": ips},
    })
    .to_string()
}

/// The pod's network namespace as the runtime names it: the one that has the pod's address.
fn netns(world: &World, pod: &Value) -> Result<String> {
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    let script = format!(
        "for n in /var/run/netns/*; do nsenter --net=$n ip -o addr | grep -qF ' {address}/' && echo $n; done"
    );
    let output = world.on_node(NODE, &["sh", "-c", &script])?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(!text.is_empty(), "no network namespace has {address}");
    Ok(text)
}

fn call(world: &World, command: &str, pod: &Call, input: &str) -> Result<(Output, Duration)> {
    use std::io::Write as _;
    let mut enter = node::enter(&world.layout, NODE)?;
    let arguments = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID={};K8S_POD_INFRA_CONTAINER_ID=byhand",
        pod.namespace, pod.name, pod.uid
    );
    enter
        .arg(PLUGIN)
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", "byhand")
        .env("CNI_NETNS", &pod.netns)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/opt/cni/bin")
        .env("CNI_ARGS", arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = enter.spawn().context("start nsenter")?;
    let mut stdin = child.stdin.take().context("its standard input")?;
    // A plugin that refuses early may have closed its end.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    Ok((child.wait_with_output()?, began.elapsed()))
}

fn succeeds(world: &World, command: &str, pod: &Call, input: &str) -> Result<Duration> {
    let (output, took) = call(world, command, pod, input)?;
    ensure!(
        output.status.success(),
        "{command} with {input:?}: {output:?}"
    );
    ensure!(took < DEL_LIMIT, "{command} took {took:?}");
    Ok(took)
}

fn still_served(space: &Namespace<'_>) -> Result<()> {
    space.fetch("deployment/web", "http://web/").map(drop)
}

fn patch(world: &World, patch: &str) -> Result<()> {
    let command = [
        "patch",
        "daemonset",
        "warren-agent",
        "--namespace",
        SYSTEM,
        "--patch",
        patch,
    ];
    world.kubectl.run(&command).map(drop)
}

fn signal(world: &World, signal: &str) -> Result<()> {
    let output = world.on_node(
        NODE,
        &["pkill", &format!("-{signal}"), "-x", "warren-agent"],
    )?;
    ensure!(
        output.status.success(),
        "no agent runs on {NODE}: {output:?}"
    );
    Ok(())
}
