//! Puts the parts together and runs them until the process is asked to end, which leaves everything in the kernel as it is.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc, watch};
use warren_admin::LogHandle;
use warren_api::channel::Target;
use warren_api::cri::ContainerRuntime;
use warren_api::xds::{self, NodeInfo};
use warren_core::Mesh;
use warren_core::direct::DirectSettings;

use crate::accounting::{Accounting, LogWriter, MapCollector, Metrics, Names, Revoked};
use crate::admin::{self, Sources};
use crate::bpf::{self, Loaded, Maps, Pins, mount, requirements};
use crate::netns::{self, Netns};
use crate::node::{Input, Leftover, Node, Options};
use crate::plugin::Plugin;
use crate::pods::{memory, store};
use crate::settings::{Settings, Switch};
use crate::tunnel::{self, Outbox};
use crate::{cgroup, cni, leave, plugin, scan};

mod effects;

/// Inputs that may wait for the node.
const QUEUE: usize = 1024;
/// How often time goes by.
const TICK: Duration = Duration::from_millis(100);
/// After how many of these looks the kubelet is searched for, where its cgroup is not given.
const KUBELET_LOOK: u32 = 10;
/// Pause after events that nobody waits for; the ring buffer holds half a second of them at any rate that was seen.
const EVENT_PAUSE: Duration = Duration::from_millis(5);
/// How often cgroups are looked at again.
const CGROUP_CHECK: Duration = Duration::from_secs(1);

/// Runs the agent.
///
/// # Errors
/// Something that the agent cannot do without is missing.
pub async fn run(settings: Settings, log: LogHandle) -> anyhow::Result<()> {
    let started = warren_admin::types::Timestamp::now();
    tracing::info!(
        ?settings,
        version = warren_admin::VERSION,
        "warren-agent starts"
    );
    let leaves = settings.clone();
    let (loaded, pins) = prepare(&settings)?;
    let mut registry = Registry::default();
    warren_admin::process::register(&mut registry);
    let metrics = Metrics::new(&mut registry);
    registry.register_collector(Box::new(MapCollector::of(pins.clone())));
    let (mesh, names, revoked) = (
        Arc::new(RwLock::new(Mesh::on_network(settings.network.as_str()))),
        Arc::new(Names::default()),
        Arc::new(Revoked::default()),
    );
    let writer = LogWriter::start(settings.access_log)?;

    let (node, events) = start_node(&settings, loaded, &mesh, &names)?;
    let (inputs, inbox) = mpsc::channel(QUEUE);
    let outbox = Outbox::default();
    let tunnel_cgroup = serve_sockets(&settings, &inputs, &outbox)?;
    let client = start_xds(&settings, inputs.clone());
    let accounting = Accounting::new(
        names.clone(),
        metrics.clone(),
        writer.clone(),
        revoked.clone(),
    );
    tokio::spawn(read_events(
        events.into_async()?,
        accounting,
        inputs.clone(),
    ));
    tokio::spawn(watch_cgroups(
        settings.clone(),
        tunnel_cgroup,
        inputs.clone(),
    ));
    let plugin = keep_pods(&settings, &inputs)?;
    let sources = Sources {
        inputs: inputs.clone(),
        mesh,
        names,
        pins,
        client,
        settings: settings.clone(),
        started,
        writer,
    };
    admin::serve(sources, log, registry, metrics.clone()).await?;
    let hands = effects::Hands {
        inputs: inputs.clone(),
        outbox,
        store: settings.run_dir.join("pods.json"),
        memory: settings.memory(),
        runtime: settings
            .runtime_socket()
            .as_deref()
            .map(ContainerRuntime::at),
        revoked,
    };
    tokio::select! {
        () = drive(node, inbox, hands, metrics) => anyhow::bail!("the node's task has ended"),
        signal = warren_admin::shutdown::requested() => {
            tracing::info!(signal = signal?, "stopping; everything in the kernel stays as it is");
        }
    }
    if let Some(plugin) = plugin.filter(|_| leaves.cni_remove_on_exit) {
        remove(plugin).await?;
        tokio::task::spawn_blocking(move || leave::nothing_behind(&leaves)).await??;
        tracing::info!("nothing of the mesh is left on this node");
    }
    Ok(())
}

/// Keeps the CNI plugin in place and looks for pods that it did not tell of, where the settings want it.
fn keep_pods(settings: &Settings, inputs: &mpsc::Sender<Input>) -> anyhow::Result<Option<Plugin>> {
    let repaired = Arc::new(Notify::new());
    let plugin = Plugin::new(settings);
    if let Some(plugin) = &plugin {
        plugin.want()?;
        tokio::spawn(plugin::keep(plugin.clone(), repaired.clone()));
    }
    if let Some(logs) = &settings.pod_logs_dir {
        let scan = scan::Scan {
            logs: logs.clone(),
            host: settings.host_netns_path(),
            interval: settings.pod_scan_interval,
        };
        tokio::spawn(scan::run(scan, inputs.clone(), repaired));
    }
    Ok(plugin)
}

/// For good: the task that keeps it obeys, whatever becomes of the word on the disk.
async fn remove(plugin: Plugin) -> anyhow::Result<()> {
    let removed = tokio::task::spawn_blocking(move || plugin.uninstall()).await??;
    tracing::info!(networks = ?removed.networks, "the CNI plugin was taken away");
    Ok(())
}

/// What has to be there before anything runs: requirements, directories, limits, the loaded object.
fn prepare(settings: &Settings) -> anyhow::Result<(Loaded, Pins)> {
    if let Some(missing) = requirements::missing(&requirements::check(&settings.cgroup)) {
        anyhow::bail!("this machine lacks what the agent needs: {missing}");
    }
    let run_dir = &settings.run_dir;
    fs::create_dir_all(run_dir).with_context(|| format!("--run-dir {}", run_dir.display()))?;
    if let Some(dir) = &settings.state_dir {
        fs::create_dir_all(dir).with_context(|| format!("--state-dir {}", dir.display()))?;
    }
    mount::raise_limits();
    mount::ensure_bpffs(&settings.pins())?;
    let pins = Pins::create(&settings.pins())?;
    let mut loaded = bpf::load(&settings.object(), pins.clone())?;
    bpf::spawn_kernel_log(&mut loaded.ebpf);
    Ok((loaded, pins))
}

/// Serves the CNI socket and the node socket; returns where the cgroup of the connected tunnel is told.
fn serve_sockets(
    settings: &Settings,
    inputs: &mpsc::Sender<Input>,
    outbox: &Outbox,
) -> anyhow::Result<watch::Receiver<Option<PathBuf>>> {
    let (found, tunnel_cgroup) = watch::channel(None);
    let cni_sock = settings.run_dir.join("cni.sock");
    let serve = cni::serve(&cni_sock, inputs.clone());
    tokio::spawn(serve.with_context(|| cni_sock.display().to_string())?);
    let agent_sock = settings.run_dir.join("agent.sock");
    tokio::spawn(tunnel::serve(
        &agent_sock,
        inputs.clone(),
        outbox.clone(),
        tunnel_places(settings),
        found,
    )?);
    Ok(tunnel_cgroup)
}

fn start_node(
    settings: &Settings,
    mut loaded: Loaded,
    mesh: &Arc<RwLock<Mesh>>,
    names: &Arc<Names>,
) -> anyhow::Result<(Node<Maps>, bpf::EventReader)> {
    let options = Options {
        node: settings.node.as_str().into(),
        cluster: settings.cluster_id.as_str().into(),
        tunnel_wait: settings.tunnel_wait,
        add_wait: settings.add_wait,
        exempt: settings.exempt_namespaces.clone(),
        runtime: settings.runtime_socket().is_some(),
        port_reuse: settings.port_reuse(),
        direct: DirectSettings {
            off: settings.direct_flows == Switch::Off,
            namespaces_off: settings
                .direct_flows_off
                .iter()
                .map(|ns| ns.as_str().into())
                .collect(),
        },
    };
    let host_netns = match &settings.host_netns {
        Some(path) => {
            netns::cookie_of(path).with_context(|| format!("--host-netns {}", path.display()))?
        }
        None => netns::own_cookie().context("the cookie of the agent's own network namespace")?,
    };
    let left = Leftover {
        saved: store::load(&settings.run_dir.join("pods.json")),
        memory: settings
            .memory()
            .map(|path| memory::load(&path))
            .unwrap_or_default(),
        existing: loaded.maps.existing(),
        above_all: SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(1 << 60, |time| time.as_micros() as u64),
        host_netns,
        tunnel_cgroup: cgroup::id_of(settings.tunnel_cgroup.as_deref()),
        kubelet_cgroup: cgroup::id_of(settings.kubelet_cgroup.as_deref()),
    };
    // Maps are filled before programs that use them come into force.
    let (maps, events, attach) = loaded.split();
    let mut node = Node::new(options, maps, mesh.clone(), names.clone(), Instant::now());
    node.restore(left, |record| Netns::open(&record.netns), Instant::now());
    attach.attach(&settings.cgroup)?;
    tracing::info!(cgroup = %settings.cgroup.display(), pins = %settings.pins().display(), "kernel programs attached");
    Ok((node, events))
}

fn start_xds(settings: &Settings, inputs: mpsc::Sender<Input>) -> xds::Client {
    let pod = if settings.pod_name.is_empty() {
        format!("warren-agent-{}", settings.node)
    } else {
        settings.pod_name.clone()
    };
    let target = Target {
        address: settings.xds.clone(),
        root_cert: settings.roots(),
        token: settings.token.clone(),
        cluster_id: settings.cluster_id.clone(),
    };
    let node = NodeInfo {
        ip: settings.pod_ip,
        pod,
        namespace: settings.pod_namespace.clone(),
        node: settings.node.clone(),
        metadata: [("WARREN_COMPONENT".to_owned(), "agent".to_owned())].into(),
    };
    let (client, mut updates) = xds::Client::new(xds::Config::new(target, node));
    tokio::spawn(async move {
        while let Some(update) = updates.recv().await {
            if inputs.send(Input::Xds(Box::new(update))).await.is_err() {
                return;
            }
        }
    });
    client
}

async fn drive(
    mut node: Node<Maps>,
    mut inbox: mpsc::Receiver<Input>,
    hands: effects::Hands,
    metrics: Metrics,
) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        let input = tokio::select! {
            input = inbox.recv() => match input {
                Some(input) => input,
                None => return,
            },
            _ = ticks.tick() => {
                metrics.queue.set(inbox.len() as i64);
                Input::Tick
            }
        };
        node.handle(input, Instant::now());
        for effect in node.take_effects() {
            if let Some(file) = hands.carry_out(effect) {
                node.unwritten(file, Instant::now());
            }
        }
    }
}

async fn read_events(
    mut events: bpf::AsyncEvents,
    mut accounting: Accounting,
    inputs: mpsc::Sender<Input>,
) {
    loop {
        match events.next().await {
            Ok(batch) => {
                let wanted = accounting.take(&batch);
                if wanted.is_empty() {
                    // Nobody waits for accounts: a pause makes one wake-up of many events.
                    tokio::time::sleep(EVENT_PAUSE).await;
                } else if inputs.send(Input::Wanted(wanted)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                return tracing::error!(%error, "the kernel's events cannot be read any more");
            }
        }
    }
}

async fn watch_cgroups(
    settings: Settings,
    found: watch::Receiver<Option<PathBuf>>,
    inputs: mpsc::Sender<Input>,
) {
    let mut before = None;
    let mut kubelet = settings.kubelet_cgroup.clone();
    let mut looks = 0u32;
    let mut said = None;
    let places = tunnel_places(&settings);
    let mut interval = tokio::time::interval(CGROUP_CHECK);
    loop {
        interval.tick().await;
        if settings.kubelet_cgroup.is_none() && looks.is_multiple_of(KUBELET_LOOK) {
            // One that restarts is not seen for a moment.
            kubelet = look_for_kubelet(&settings, &mut said).or(kubelet);
        }
        looks = looks.wrapping_add(1);
        let tunnel = places.of(found.borrow().clone());
        let now = (
            cgroup::id_of(tunnel.as_deref()),
            cgroup::id_of(kubelet.as_deref()),
        );
        if before == Some(now) {
            continue;
        }
        before = Some(now);
        if inputs
            .send(Input::Cgroups {
                tunnel: now.0,
                kubelet: now.1,
            })
            .await
            .is_err()
        {
            return;
        }
    }
}

/// The kubelet's cgroup; what is in the way is said once.
fn look_for_kubelet(settings: &Settings, said: &mut Option<String>) -> Option<PathBuf> {
    match cgroup::find_kubelet(&settings.cgroup, &settings.host_netns_path()) {
        Ok(found) => {
            if said.as_deref() != found.to_str() {
                tracing::info!(cgroup = %found.display(), "the kubelet was found");
                *said = found.to_str().map(str::to_owned);
            }
            Some(found)
        }
        Err(why) => {
            if said.as_ref() != Some(&why) {
                tracing::warn!(
                    "the kubelet's cgroup is not known, so its probes of pods in the mesh count as plaintext: {why}"
                );
                *said = Some(why);
            }
            None
        }
    }
}

fn tunnel_places(settings: &Settings) -> tunnel::Places {
    tunnel::Places {
        anchor: settings.cgroup.clone(),
        given: settings.tunnel_cgroup.clone(),
    }
}

/// Binds a Unix socket with mode 0600, in place of one that an earlier process left.
///
/// # Errors
/// The path is taken by something else, or cannot be bound.
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} is no socket", path.display()),
            ));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}
