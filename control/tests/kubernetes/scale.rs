//! Ten thousand pods of a real API server; the figures are printed.

use std::time::Instant;

use futures_util::{StreamExt, stream};

use crate::support::api::ApiServer;
use crate::support::controller::Controller;
use crate::support::eventually;
use crate::support::objects::{apply, delete, namespace, node, pod};

const NAMESPACES: usize = 20;
const PODS: usize = 500;
/// Twice what it takes: what is read comes in pages, and only what the mesh needs of an object is kept. In MiB.
const MEMORY: u64 = 180;

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver, and minutes"]
async fn ten_thousand_pods() {
    let (api, client) = ApiServer::installed(&["--max-requests-inflight=2000"]).await;
    let mut pods = Vec::new();
    for n in 0..NAMESPACES {
        let name = format!("ns-{n}");
        apply(
            &client,
            &[namespace(&name), node(&format!("node-{n}"))].concat(),
        )
        .await;
        for p in 0..PODS {
            let ip = format!("10.{n}.{}.{}", p / 250, p % 250 + 1);
            pods.push(pod(
                &name,
                &format!("pod-{p}"),
                &format!("app-{}", p % 20),
                &format!("node-{n}"),
                &ip,
            ));
        }
    }
    let started = Instant::now();
    stream::iter(&pods)
        .for_each_concurrent(32, |yaml| apply(&client, yaml))
        .await;
    println!("{} pods made in {:?}", pods.len(), started.elapsed());

    let started = Instant::now();
    let c = Controller::start(&api, api.port, &[]).await;
    let memory = c.memory().await;
    println!("ready after {:?} with {memory} MiB", started.elapsed());
    assert!(memory < MEMORY, "{memory} MiB");
    assert_eq!(c.workloads().await.len(), NAMESPACES * PODS);
    let one = &pods[0];
    let gone = "ns-0/pod-0".to_owned();
    let started = Instant::now();
    delete(&client, one).await;
    eventually("a deleted pod", async || {
        (!c.workloads().await.contains(&gone)).then_some(())
    })
    .await;
    println!(
        "one pod's end known (by way of a list of all) after {:?}",
        started.elapsed()
    );
    let summary = c.log();
    let change = summary
        .lines()
        .rev()
        .find(|l| l.contains("objects changed"));
    println!("{}", change.unwrap_or_default());
    let memory = c.memory().await;
    println!("{memory} MiB");
    assert!(memory < MEMORY, "{memory} MiB");
}
