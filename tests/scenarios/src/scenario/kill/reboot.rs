//! A node restarts while the controller is away: all that the mesh had in the kernel and below /run is gone, and every pod of the
//! node comes anew, as a container runtime would bring it: by its name, without labels.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::down::Stopped;
use super::recovered;
use crate::capture::Capture;
use crate::cri::ContainerRuntime;
use crate::scenario::Registry;
use crate::scenario::wire::MARKER;
use crate::world::{
    CLIENT_A, Ip, OTHER_A, PLAIN_A, PLAIN_B, SERVER_A, SERVER_B, World, eventually, port, told,
};

/// How long an ADD may take without controller and tunnel.
const ADD_LIMIT: Duration = Duration::from_secs(6);

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.one("node-restarts-without-the-controller", restarts);
}

/// A pod as the agent remembered it.
#[derive(Clone, Debug, Deserialize)]
struct Pod {
    namespace: String,
    name: String,
    uid: String,
    netns: PathBuf,
    addresses: Vec<IpAddr>,
}

#[derive(Debug, Deserialize)]
struct Remembered {
    pods: Vec<Pod>,
}

fn restarts(world: &World) -> Result<()> {
    recovered(world)?;
    let node = world.lab.dir().join("nodes/a");
    eventually(Duration::from_secs(5), || remembers(&node))?;
    let mut control = Stopped::new(world, "control")?;
    let mut agent = Stopped::new(world, "agent")?;
    let mut tunnel = Stopped::new(world, "ztunnel")?;
    let pods = wipe(world, &node)?;
    let runtime = ContainerRuntime::serve(&node.join("cri.sock"))?;
    agent.start()?;
    let capture = Capture::on_link(world, "a", SERVER_B)?;
    let brought_back = bring_back(&node.join("run/cni.sock"), pods, &runtime);
    // Whatever became of it, the lab gets its pods back.
    let checked = brought_back.and_then(|()| closed_and_open(world));
    let clear = capture.stop()?.occurrences(MARKER)?;
    // A tunnel is not up before it has heard the controller.
    control.start()?;
    tunnel.start()?;
    checked?;
    ensure!(
        clear == 0,
        "the payload was on the link {clear} times in the clear"
    );
    recovered(world)
}

/// What the agent needs after the restart is on disk.
fn remembers(node: &Path) -> Result<()> {
    let file = node.join("state/namespaces.json");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("no {} yet", file.display()))?;
    let content: Value = serde_json::from_str(&text)?;
    for (namespace, enrolled) in [("shop", true), ("plain", false)] {
        ensure!(
            content["namespaces"][namespace] == enrolled,
            "{namespace} is remembered otherwise: {text}"
        );
    }
    Ok(())
}

/// Takes away what a restart of the node takes away; returns the pods that were there.
fn wipe(world: &World, node: &Path) -> Result<Vec<Pod>> {
    let file = node.join("run/pods.json");
    let remembered: Remembered = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    std::fs::remove_file(&file)?;
    let agent = world.lab.program("warren-agent");
    world
        .lab
        .node("a", &[agent.as_str(), "cleanup", "--node", "a"])?
        .ok()?;
    Ok(remembered.pods)
}

/// All at once, as a kubelet does. Each is listed once its ADD has ended, and not before.
fn bring_back(socket: &Path, pods: Vec<Pod>, runtime: &ContainerRuntime) -> Result<()> {
    std::thread::scope(|scope| {
        let adds: Vec<_> = pods
            .iter()
            .map(|pod| scope.spawn(move || bring_one_back(socket, pod, runtime)))
            .collect();
        for add in adds {
            match add.join() {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })
}

fn bring_one_back(socket: &Path, pod: &Pod, runtime: &ContainerRuntime) -> Result<()> {
    let begin = Instant::now();
    let question = json!({"op": "add", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid,
        "netns": pod.netns, "addresses": pod.addresses});
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer: Value = serde_json::from_str(&line)?;
    ensure!(
        answer["ok"] == true && begin.elapsed() < ADD_LIMIT,
        "ADD of {}/{} after {:?}: {line}",
        pod.namespace,
        pod.name,
        begin.elapsed()
    );
    runtime.list(&pod.namespace, &pod.name, &pod.uid, labels_of(pod));
    Ok(())
}

/// One pod of an enrolled namespace opts out by a label.
fn labels_of(pod: &Pod) -> BTreeMap<String, String> {
    let out = (pod.namespace.as_str(), pod.name.as_str()) == (OTHER_A.namespace, OTHER_A.name);
    out.then(|| ("warren.dev/mesh".to_owned(), "disabled".to_owned()))
        .into_iter()
        .collect()
}

/// Pods of the mesh are closed in every direction, others are as ever.
fn closed_and_open(world: &World) -> Result<()> {
    let at = |pod, ip| -> Result<String> { Ok(world.at(pod, ip, port::ECHO)?.to_string()) };
    for ip in [Ip::V4, Ip::V6] {
        for outside in [PLAIN_A, OTHER_A] {
            eventually(Duration::from_secs(3), || {
                world.connect(outside, &at(PLAIN_B, ip)?, &["--timeout-ms", "1000"])
            })?;
        }
        let options = ["--text", MARKER, "--timeout-ms", "1500"];
        for (from, to) in [
            (CLIENT_A, SERVER_B),
            (CLIENT_A, PLAIN_B),
            (CLIENT_A, SERVER_A),
            (PLAIN_A, SERVER_A),
        ] {
            let outcome = world.try_connect(from, &at(to, ip)?, &options)?;
            ensure!(
                !outcome.ok,
                "{from} to {to} without tunnel and controller: {}",
                told(&outcome)
            );
        }
    }
    Ok(())
}
