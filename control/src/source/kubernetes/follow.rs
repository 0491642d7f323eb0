//! One kind, listed and watched for as long as the controller runs.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kube::ResourceExt;
use kube::runtime::watcher::{Error, Event, Result as Watched};
use tokio::sync::mpsc;

use super::causes;
use super::convert::{self, Item};
use super::definition::Definition;
use super::gather::Message;
use super::known::{Known, Outcome};
use crate::metrics::Metrics;
use crate::model::Kind;

/// One page of a list may take this long.
const PAGE_LIMIT: Duration = Duration::from_secs(60);
/// Pauses after failures grow from the first to the second; the server is then asked again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Pauses before a list that a watch made necessary grow likewise; without one for that long they begin anew.
const CALM: Duration = Duration::from_secs(60);
/// How often to look whether a kind was installed.
const ABSENT_PAUSE: Duration = Duration::from_secs(5);
/// The server has refused to go on with the watch this often: list anew. After etcd was restored from a copy, it refuses
/// for ever.
const REFUSALS: u32 = 5;
/// What it says then.
const UNKNOWN_VERSION: &str = "Too large resource version";
/// A failure that goes on is reported this often.
const REPEAT: Duration = Duration::from_secs(30);

/// A stream of a watcher.
pub type Events<T> = BoxStream<'static, Watched<Event<T>>>;

/// What a task needs to follow a kind.
pub struct Follow<T> {
    /// The kind.
    pub kind: Kind,
    /// Starts a watcher, which begins with a list.
    pub start: Box<dyn Fn() -> Events<T> + Send + Sync>,
    /// Cuts an object down.
    pub convert: Box<dyn Fn(&T) -> Item + Send + Sync>,
    /// For a kind that need not be installed.
    pub definition: Option<Definition>,
    /// Counters.
    pub metrics: Metrics,
}

/// What comes after an event or a failure.
enum Next {
    /// The same watcher goes on.
    Go,
    /// A new one, hence a list.
    Restart,
    /// The receiver is gone.
    End,
}

#[derive(Default)]
struct State {
    known: Known,
    listing: bool,
    pause: Option<Duration>,
    refusals: u32,
    /// When the last watch ended in a list, and the pause before that.
    restarted: Option<(Instant, Duration)>,
    /// Whether the receiver was told that the kind is not installed.
    told_absent: bool,
    reported: Option<Instant>,
}

impl<T: ResourceExt + Debug + Send + 'static> Follow<T> {
    /// Runs until the receiver is gone.
    pub async fn run(self, sender: mpsc::Sender<Message>) {
        let mut state = State::default();
        loop {
            let mut events = (self.start)();
            state.listing = true;
            state.refusals = 0;
            loop {
                let event = match state.listing {
                    true => tokio::time::timeout(PAGE_LIMIT, events.next()).await,
                    false => Ok(events.next().await),
                };
                let next = match event {
                    Ok(Some(Ok(event))) => self.event(&mut state, event, &sender).await,
                    Ok(Some(Err(error))) => self.failed(&mut state, &error, &sender).await,
                    Ok(None) => Next::Restart,
                    Err(_) => {
                        let limit = PAGE_LIMIT.as_secs();
                        self.report(&mut state, &format!("no answer to a list within {limit} s"));
                        Next::Restart
                    }
                };
                match next {
                    Next::Go => {}
                    Next::Restart => break,
                    Next::End => return,
                }
            }
        }
    }

    async fn event(
        &self,
        state: &mut State,
        event: Event<T>,
        sender: &mpsc::Sender<Message>,
    ) -> Next {
        match &event {
            Event::Init => {
                state.listing = true;
                self.metrics.list(self.kind);
            }
            Event::InitApply(_) => {}
            Event::InitDone | Event::Apply(_) | Event::Delete(_) => self.recovered(state),
        }
        let entry = |o: T| (convert::id(o.meta()), Box::new((self.convert)(&o)));
        let event = match event {
            Event::Init => Event::Init,
            Event::InitApply(o) => Event::InitApply(entry(o)),
            Event::InitDone => Event::InitDone,
            Event::Apply(o) => Event::Apply(entry(o)),
            Event::Delete(o) => Event::Delete((convert::id(o.meta()), Box::default())),
        };
        let (changes, listed) = match state.known.take(event) {
            Outcome::Nothing => return Next::Go,
            Outcome::Changed(change) => (vec![change], false),
            Outcome::Listed(changes) => (changes, true),
        };
        self.send(sender, changes, listed).await
    }

    async fn send(
        &self,
        sender: &mpsc::Sender<Message>,
        changes: Vec<super::known::Change>,
        listed: bool,
    ) -> Next {
        let kind = self.kind;
        let message = Message {
            kind,
            changes,
            listed,
        };
        match sender.send(message).await {
            Ok(()) => Next::Go,
            Err(_) => Next::End,
        }
    }

    /// A failure deletes nothing: the list that comes next does.
    async fn failed(
        &self,
        state: &mut State,
        error: &Error,
        sender: &mpsc::Sender<Message>,
    ) -> Next {
        self.metrics.watch_failed(self.kind);
        let code = code(error);
        let at_start = matches!(error, Error::WatchStartFailed(_));
        if code == Some(410) {
            tracing::info!(kind = %self.kind, "the watch expired; listing anew");
            return self.anew(state).await;
        }
        if code == Some(404) && at_start && self.definition.is_some() {
            return self.anew(state).await;
        }
        let installed = match &self.definition {
            Some(definition) if code == Some(404) => definition.is_installed().await,
            _ => Ok(true),
        };
        match installed {
            Ok(false) => return self.absent(state, sender).await,
            Ok(true) => self.report(state, &text(error)),
            Err(problem) => self.report(state, &problem),
        }
        let pause = state.pause.unwrap_or(PAUSES.0);
        state.pause = Some((pause * 2).min(PAUSES.1));
        sleep(pause).await;
        if at_start && refuses(error) {
            state.refusals += 1;
            if state.refusals >= REFUSALS {
                return Next::Restart;
            }
        }
        Next::Go
    }

    /// The list that comes next succeeds and says nothing of the watch, so only time tells that all is well.
    async fn anew(&self, state: &mut State) -> Next {
        let last = state.restarted.filter(|(at, _)| at.elapsed() < CALM);
        let pause = last.map_or(PAUSES.0, |(_, pause)| (pause * 2).min(PAUSES.1));
        sleep(pause).await;
        state.restarted = Some((Instant::now(), pause));
        Next::Restart
    }

    /// There is no such kind, hence no object of it.
    async fn absent(&self, state: &mut State, sender: &mpsc::Sender<Message>) -> Next {
        if !std::mem::replace(&mut state.told_absent, true) {
            tracing::info!(kind = %self.kind, "not installed in this cluster; waiting for it");
            let changes = state.known.clear();
            if let Next::End = self.send(sender, changes, true).await {
                return Next::End;
            }
        }
        sleep(ABSENT_PAUSE).await;
        Next::Go
    }

    fn recovered(&self, state: &mut State) {
        state.listing = false;
        state.pause = None;
        state.refusals = 0;
        if std::mem::take(&mut state.told_absent) {
            tracing::info!(kind = %self.kind, "installed now");
        }
        if state.reported.take().is_some() {
            tracing::info!(kind = %self.kind, "watching again");
        }
    }

    fn report(&self, state: &mut State, problem: &str) {
        if state.reported.is_some_and(|at| at.elapsed() < REPEAT) {
            return;
        }
        state.reported = Some(Instant::now());
        tracing::warn!(
            kind = %self.kind,
            "cannot watch: {problem}; what is known stays in force; trying again"
        );
    }
}

/// Give or take a quarter: otherwise every controller and every kind would be back at the same moment.
async fn sleep(pause: Duration) {
    tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
}

/// Whether the server will not go on with this watch. One that has too much to do, or is not well, says nothing of the
/// watch, and lists of everything would make it worse; but it is with a timeout (504) that it says that it does not know
/// the version yet.
fn refuses(error: &Error) -> bool {
    match code(error) {
        Some(429) => false,
        Some(500..) => text(error).contains(UNKNOWN_VERSION),
        Some(_) => true,
        None => false,
    }
}

/// What the server answered, if it answered.
fn code(error: &Error) -> Option<u16> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status)) => Some(status.code),
        Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// The error with its causes, and what to do about the one that people make themselves.
fn text(error: &Error) -> String {
    let mut text = causes(error);
    if code(error) == Some(403) {
        text += " (give the controller's service account the ClusterRole of the chart)";
    }
    text
}
