//! API servers that behave as real ones do on bad days: answers are made up, and asked for through the real client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use warren_control::metrics::Metrics;
use warren_control::model::Event;
use warren_control::source::kubernetes::KubeSource;
use warren_control::source::{Batch, Source};
use warren_control::warning::WarningStore;

type Answer = Box<dyn FnMut(&str) -> Option<(u16, Value)> + Send>;

pub struct Watched {
    pub batches: mpsc::Receiver<Batch>,
    pub warnings: WarningStore,
    stop: CancellationToken,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A source whose API server answers what `answer` says of a path with its query; where that says nothing, lists are
/// empty and watches silent.
pub fn source(answer: impl FnMut(&str) -> Option<(u16, Value)> + Send + 'static) -> Watched {
    let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(answer)));
    let service = tower::service_fn(move |request: Request<Body>| {
        let asked = request.uri().to_string();
        let answer = (answer.lock().expect("unpoisoned"))(&asked);
        async move { Ok::<_, std::convert::Infallible>(respond(&asked, answer)) }
    });
    let (sender, batches) = mpsc::channel(16);
    let (warnings, stop) = (WarningStore::default(), CancellationToken::new());
    let source = KubeSource {
        client: kube::Client::new(service, "default"),
        warnings: warnings.clone(),
        metrics: Metrics::new().0,
    };
    tokio::spawn(source.run(sender, stop.clone()));
    Watched {
        batches,
        warnings,
        stop,
    }
}

fn respond(
    asked: &str,
    answer: Option<(u16, Value)>,
) -> Response<BoxBody<Bytes, std::convert::Infallible>> {
    let (code, value) = match answer {
        Some(answer) => answer,
        None if asked.contains("watch=true") => {
            let silent = futures_util::stream::pending::<Result<Frame<Bytes>, _>>();
            return Response::new(http_body_util::StreamBody::new(silent).boxed());
        }
        None => (200, list(&[], None)),
    };
    let mut response = Response::new(Full::from(value.to_string()).boxed());
    *response.status_mut() = StatusCode::from_u16(code).expect("a code");
    response
}

pub fn list(items: &[Value], next: Option<&str>) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "7", "continue": next}, "items": items})
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    let value = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": reason, "code": code});
    (code, value)
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "5"},
        "spec": {"nodeName": "a", "containers": []},
        "status": {"podIP": "10.0.0.1"},
    })
}

impl Watched {
    /// The next batch that says something, as `+name` and `-name`.
    async fn next(&mut self) -> Vec<String> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(30), self.batches.recv());
            let batch = next.await.expect("in time").expect("the source runs");
            if !batch.events.is_empty() {
                return batch.events.iter().map(word).collect();
            }
        }
    }
}

fn word(event: &Event) -> String {
    match event {
        Event::Apply(object, _) => format!("+{}", object.meta().id.name),
        Event::Delete(key) => format!("-{}", key.id.name),
    }
}

/// A list of pods, and not a watch of them.
fn lists_pods(asked: &str) -> bool {
    asked.starts_with("/api/v1/pods") && !asked.contains("watch=true")
}

#[tokio::test]
async fn a_list_that_breaks_off_is_no_half_model() {
    let mut failed = false;
    let mut watched = source(move |asked| {
        if !lists_pods(asked) {
            return None;
        }
        if !asked.contains("continue=") {
            return Some((200, list(&[pod("a")], Some("next"))));
        }
        // The page that was to come has expired.
        if !std::mem::replace(&mut failed, true) {
            return Some(status(410, "Expired"));
        }
        Some((200, list(&[pod("b")], None)))
    });
    assert_eq!(watched.next().await, ["+a", "+b"]);
}

/// A server that answers the first watch with this, where the second list differs from the first.
async fn is_listed_anew_after(code: u16, reason: &'static str) {
    let mut lists = 0;
    let mut watched = source(move |asked| {
        if lists_pods(asked) {
            lists += 1;
            let pods = if lists == 1 { pod("old") } else { pod("new") };
            return Some((200, list(&[pods], None)));
        }
        (asked.starts_with("/api/v1/pods") && lists == 1).then(|| status(code, reason))
    });
    assert_eq!(watched.next().await, ["+old"]);
    assert_eq!(watched.next().await, ["-old", "+new"]);
}

/// As after etcd was restored from a copy: the version that we know lies in the future, for ever.
#[tokio::test]
async fn a_server_that_never_goes_on_with_the_watch_is_listed_anew() {
    is_listed_anew_after(504, "Too large resource version").await;
}

#[tokio::test]
async fn a_watch_that_expired_is_listed_anew() {
    is_listed_anew_after(410, "Gone").await;
}

/// How often pods are listed within eight seconds by a server that answers every watch of them with this.
async fn lists_after(code: u16, reason: &'static str) -> u32 {
    let lists = Arc::new(Mutex::new(0_u32));
    let counted = lists.clone();
    let mut watched = source(move |asked| {
        if lists_pods(asked) {
            *counted.lock().expect("unpoisoned") += 1;
            return Some((200, list(&[pod("a")], None)));
        }
        (asked.starts_with("/api/v1/pods")).then(|| status(code, reason))
    });
    assert_eq!(watched.next().await, ["+a"]);
    tokio::time::sleep(Duration::from_secs(8)).await;
    *lists.lock().expect("unpoisoned")
}

/// A list of everything is the last thing that a server with too much to do should be asked for.
#[tokio::test]
async fn a_server_with_too_much_to_do_is_not_asked_for_lists() {
    let lists = tokio::join!(
        lists_after(429, "TooManyRequests"),
        lists_after(503, "ServiceUnavailable"),
        lists_after(504, "Timeout"),
    );
    assert_eq!(lists, (1, 1, 1));
}

/// A watch that is not there is asked for less and less often, and so is the list before it.
#[tokio::test]
async fn a_watch_that_is_not_there_is_no_busy_loop() {
    let (missing, gone) = tokio::join!(
        custom_lists_after(404, "NotFound"),
        custom_lists_after(410, "Gone"),
    );
    assert!((2..=8).contains(&missing), "404: {missing}");
    assert!((2..=8).contains(&gone), "410: {gone}");
}

/// The same for a kind that need not be installed.
async fn custom_lists_after(code: u16, reason: &'static str) -> u32 {
    let lists = Arc::new(Mutex::new(0));
    let counted = lists.clone();
    let _watched = source(move |asked| {
        if !asked.starts_with("/apis/warren.dev/v1alpha1/peerauthentications?") {
            return None;
        }
        if asked.contains("watch=true") {
            return Some(status(code, reason));
        }
        *counted.lock().expect("unpoisoned") += 1;
        Some((200, list(&[], None)))
    });
    tokio::time::sleep(Duration::from_secs(4)).await;
    *lists.lock().expect("unpoisoned")
}

#[tokio::test]
async fn one_bad_object_stops_no_other() {
    let policy = |name: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "shop", "resourceVersion": "5"}, "spec": spec});
    let items = [
        policy("bad", json!(5)),
        policy("later", json!({"newField": true})),
        policy("good", json!({"mtls": {"mode": "STRICT"}})),
    ];
    let mut watched = source(move |asked| {
        let asks = asked.starts_with("/apis/warren.dev/v1alpha1/peerauthentications?")
            && !asked.contains("watch=true");
        asks.then(|| (200, list(&items, None)))
    });
    assert_eq!(watched.next().await, ["+good"]);
    let warnings: Vec<String> = watched
        .warnings
        .all()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].starts_with("PeerAuthentication shop/bad: "),
        "{warnings:?}"
    );
    assert!(
        warnings[1].contains("unknown field spec.newField"),
        "{warnings:?}"
    );
}

/// A kind that is not installed holds nothing up; one that the server only fails to serve does.
#[tokio::test]
async fn only_a_missing_kind_counts_as_empty() {
    let mut asked_for_policies = 0;
    let mut watched = source(move |asked| {
        if lists_pods(asked) {
            return Some((200, list(&[pod("a")], None)));
        }
        if asked.contains("customresourcedefinitions/peerauthentications")
            || asked.contains("v1alpha1/peerauthentications")
        {
            return Some(status(404, "NotFound"));
        }
        if asked.contains("authorizationpolicies") && !asked.contains("watch=true") {
            asked_for_policies += 1;
            if asked_for_policies <= 3 {
                return Some(status(503, "ServiceUnavailable"));
            }
            let deny = json!({"metadata": {"name": "deny", "namespace": "shop", "resourceVersion": "5"}, "spec": {"action": "DENY", "rules": [{}]}});
            return Some((200, list(&[deny], None)));
        }
        None
    });
    let mut first = watched.next().await;
    first.sort();
    assert_eq!(
        first,
        ["+a", "+deny"],
        "the policy came with the pod, not after it"
    );
}
