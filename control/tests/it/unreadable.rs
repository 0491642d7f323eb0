//! Policies that cannot be read and never could: whom they name is closed, by either source; what names nobody takes nothing down.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use warren_control::source::dir::DirSource;
use warren_control::source::dir::document::parse;
use warren_control::source::{Batch, Source};
use warren_control::warning::WarningStore;

use crate::kube_odd::{list, source};
use crate::policy_compile::{allowed, peer, policy};
use crate::support::model::{World, meshed, pod};

const BAD: &str = "rules: [{from: [{source: {ipBlocks: [nonsense]}}]}]";
/// Pods and ports that may be asked for.
const ALL: [(&str, u16); 4] = [
    ("shop/web", 8080),
    ("shop/web", 7000),
    ("shop/db", 5432),
    ("bank/web", 8080),
];

fn base() -> World {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}}\n---\n";
    World::new(
        &(meshed("shop")
            + &meshed("bank")
            + service
            + &pod("shop", "web", "web", "10.0.0.1", 8080)
            + &pod("shop", "db", "db", "10.0.0.2", 5432)
            + &pod("bank", "web", "web", "10.0.0.3", 8080)),
    )
}

/// A policy that cannot be read, which of [`ALL`] stay open, and what its warning says.
fn cases() -> Vec<(String, &'static [usize], &'static str)> {
    let shop = |spec: &str| policy("shop", "p", spec);
    let web = "selector: {matchLabels: {app: web}}";
    let target = "targetRefs: [{kind: Service, name: web}]";
    let dry = shop(BAD).replace(
        "namespace: shop",
        "namespace: shop, annotations: {warren.dev/dry-run: \"true\"}",
    );
    let perhaps = shop(web).replace(
        "namespace: shop",
        "namespace: shop, annotations: {warren.dev/dry-run: perhaps}",
    );
    vec![
        (shop(BAD), &[0, 1, 2, 3], "it has no effect"),
        (
            shop(&format!("{web}, {BAD}")),
            &[2, 3],
            "matches nothing, for pods labelled app=web",
        ),
        (
            shop(&format!("{target}, {BAD}")),
            &[1, 2, 3],
            "matches nothing, for the ports of web",
        ),
        (
            shop("selector: {matchLables: {app: web}}, rules: [{}]"),
            &[0, 1, 2, 3],
            "it has no effect",
        ),
        (
            shop("selector: {matchLabels: {app: 7}}, rules: [{}]"),
            &[0, 1, 2, 3],
            "it has no effect",
        ),
        (
            shop(&format!("{web}, {target}, rules: [{{}}]")),
            &[0, 1, 2, 3],
            "it has no effect",
        ),
        (
            shop("targetRefs: [{knd: Service, name: web}], rules: [{}]"),
            &[0, 1, 2, 3],
            "it has no effect",
        ),
        (
            shop(&format!("action: PERMIT, {web}, rules: [{{}}]")),
            &[2, 3],
            "app=web",
        ),
        (
            shop(&format!("action: [ALLOW], {web}, rules: [{{}}]")),
            &[2, 3],
            "app=web",
        ),
        (
            shop(&format!("action: DENY, {web}, {BAD}")),
            &[2, 3],
            "every connection to pods labelled app=web is refused",
        ),
        (
            shop(&format!("action: DENY, {target}, {BAD}")),
            &[1, 2, 3],
            "the ports of web",
        ),
        (
            policy("warren-system", "p", BAD),
            &[0, 1, 2, 3],
            "it has no effect",
        ),
        (perhaps, &[2, 3], "app=web"),
        (dry, &[0, 1, 2, 3], "it has no effect"),
        (
            shop(&format!("action: AUDIT, {BAD}")),
            &[0, 1, 2, 3],
            "it has no effect",
        ),
        (
            peer(
                "shop",
                "p",
                &format!("{web}, portLevelMtls: {{http: {{mode: STRICT}}}}"),
            ),
            &[2, 3],
            "plaintext to pods labelled app=web is refused",
        ),
        (
            peer("shop", "p", "mtls: {mode: PERMISSIVE, more: 1}"),
            &[0, 1, 2, 3],
            "it has no effect",
        ),
        (
            peer(
                "shop",
                "p",
                &format!("{web}, portLevelMtls: {{http: {{mode: PERMISSIVE}}}}"),
            ),
            &[0, 1, 2, 3],
            "it has no effect",
        ),
    ]
}

fn check(world: &World, warnings: &WarningStore, case: &(String, &[usize], &str)) {
    let (text, open, said) = case;
    let reached: Vec<usize> = (0..ALL.len())
        .filter(|i| allowed(world, ALL[*i].0, "", ALL[*i].1))
        .collect();
    assert_eq!(reached, *open, "{text}");
    let warned: String = warnings.all().iter().map(|w| format!("{w}\n")).collect();
    assert_eq!(warned.lines().count(), 1, "{text}: {warned}");
    assert!(
        warned.contains("; until then ") && warned.contains(said),
        "{text}: {warned}"
    );
}

async fn next(batches: &mut mpsc::Receiver<Batch>, world: &mut World) {
    let batch = tokio::time::timeout(Duration::from_secs(30), batches.recv()).await;
    world.events(batch.expect("in time").expect("the source runs").events);
}

struct Dir {
    dir: TempDir,
    warnings: WarningStore,
    batches: mpsc::Receiver<Batch>,
    stop: CancellationToken,
}

impl Dir {
    fn start(files: &[(&str, &str)]) -> Self {
        let (dir, warnings) = (TempDir::new().expect("directory"), WarningStore::default());
        let (sender, batches) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let watched = Self {
            dir,
            warnings: warnings.clone(),
            batches,
            stop: stop.clone(),
        };
        for (name, text) in files {
            watched.write(name, text);
        }
        let path = watched.dir.path().to_owned();
        tokio::spawn(async move { DirSource { path, warnings }.run(sender, stop).await });
        watched
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("file");
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_directory_with_a_policy_that_cannot_be_read() {
    for case in cases() {
        let mut world = base();
        let mut dir = Dir::start(&[("p.yaml", &case.0)]);
        next(&mut dir.batches, &mut world).await;
        check(&world, &dir.warnings, &case);
    }
}

#[tokio::test]
async fn an_api_server_with_a_policy_that_cannot_be_read() {
    for case in cases() {
        let mut world = base();
        let mut object: Value = parse(&case.0, false).0.remove(0).value;
        object["metadata"]["resourceVersion"] = "5".into();
        let kind = match object["kind"].as_str() {
            Some("PeerAuthentication") => "peerauthentications",
            _ => "authorizationpolicies",
        };
        let mut watched = source(move |asked| {
            let asks = asked.starts_with(&format!("/apis/warren.dev/v1alpha1/{kind}?"));
            (asks && !asked.contains("watch=true"))
                .then(|| (200, list(std::slice::from_ref(&object), None)))
        });
        next(&mut watched.batches, &mut world).await;
        check(&world, &watched.warnings, &case);
    }
}

/// Who else allows something goes on allowing it; a DENY refuses that as well.
#[tokio::test]
async fn an_allow_beside_it() {
    for (action, expected) in [("ALLOW", true), ("DENY", false)] {
        let mut world = base();
        let named = format!("action: {action}, selector: {{matchLabels: {{app: web}}}}, {BAD}");
        let bad = policy("shop", "p", &named);
        let good = policy(
            "shop",
            "q",
            "rules: [{from: [{source: {namespaces: [shop]}}]}]",
        );
        let mut dir = Dir::start(&[("p.yaml", &(bad + &good))]);
        next(&mut dir.batches, &mut world).await;
        assert_eq!(
            allowed(&world, "shop/web", "shop/a", 80),
            expected,
            "{action}"
        );
        assert!(!allowed(&world, "shop/web", "bank/a", 80), "{action}");
    }
}

#[tokio::test]
async fn it_gives_way_to_what_can_be_read() {
    let spec = |rest: &str| policy("shop", "p", rest);
    let mut world = base();
    let web = format!("selector: {{matchLabels: {{app: web}}}}, {BAD}");
    let mut dir = Dir::start(&[("b.yaml", &spec(&web))]);
    let open = |world: &World| allowed(world, "shop/web", "", 8080);
    next(&mut dir.batches, &mut world).await;
    assert!(!open(&world));
    // Another version that cannot be read: its scope is the one that counts.
    let db = spec(&format!("selector: {{matchLabels: {{app: db}}}}, {BAD}"));
    dir.write("b.yaml", &db);
    next(&mut dir.batches, &mut world).await;
    assert!(open(&world) && !allowed(&world, "shop/db", "", 80));
    // Of two files with this object, the one that can be read is in force, whatever their order.
    dir.write("c.yaml", &spec("rules: [{}]"));
    next(&mut dir.batches, &mut world).await;
    assert!(open(&world) && allowed(&world, "shop/db", "", 80));
    fs::remove_file(dir.dir.path().join("c.yaml")).expect("remove");
    next(&mut dir.batches, &mut world).await;
    assert!(!allowed(&world, "shop/db", "", 80));
    dir.write("b.yaml", &spec("rules: [{}]"));
    next(&mut dir.batches, &mut world).await;
    assert!(allowed(&world, "shop/db", "", 80));
    // It was good once: that version stays.
    dir.write("b.yaml", &spec(BAD));
    let changed = tokio::time::timeout(Duration::from_millis(500), dir.batches.recv()).await;
    assert!(changed.map_or(true, |b| b.is_some_and(|b| b.events.is_empty())));
    let warned = dir.warnings.all()[0].to_string();
    assert!(
        warned.contains("the version before stays in force"),
        "{warned}"
    );
    // Only malformed, it is missing, not gone.
    dir.write("b.yaml", "kind: [\n");
    let changed = tokio::time::timeout(Duration::from_millis(500), dir.batches.recv()).await;
    assert!(changed.map_or(true, |b| b.is_some_and(|b| b.events.is_empty())));
}
