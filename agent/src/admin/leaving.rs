//! When an agent that will not come back is ready: once nobody on its node needs it, so that whoever takes the mesh away waits for the pods.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::node::View;
use crate::pods::Stage;

/// How long the controller's word that lets the pods go is waited for: without a controller the agent has to end all the same.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `GET /healthz/ready` says.
#[derive(Clone, Debug)]
pub(super) struct Readiness {
    /// None: this agent does not leave, and is ready as long as it runs.
    leaves_since: Option<Instant>,
    waits_for: Arc<Mutex<Option<String>>>,
}

impl Readiness {
    /// Of an agent that starts now.
    pub(super) fn new(leaves: bool) -> Self {
        let waits_for = leaves.then(|| "a first look at its pods".to_owned());
        Self {
            leaves_since: leaves.then(Instant::now),
            waits_for: Arc::new(Mutex::new(waits_for)),
        }
    }

    /// Err: what is waited for.
    pub(super) fn check(&self) -> Result<(), String> {
        self.waits_for.lock().clone().map_or(Ok(()), Err)
    }

    /// Takes a newer state into account.
    pub(super) fn look(&self, view: &View, now: Instant) {
        if let Some(since) = self.leaves_since {
            let patient = now.saturating_duration_since(since) < PATIENCE;
            *self.waits_for.lock() = staying(view).filter(|_| patient);
        }
    }
}

/// Who is still in the mesh, as far as it is known.
fn staying(view: &View) -> Option<String> {
    if !view.addresses_synced {
        return Some("the controller's first answer".to_owned());
    }
    let in_the_mesh = |stage| !matches!(stage, Stage::Opening | Stage::Idle);
    let count = view
        .pods
        .iter()
        .filter(|pod| pod.wanted == Some(true) || in_the_mesh(pod.stage))
        .count();
    (count > 0).then(|| format!("pods that are still in the mesh: {count}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::PodView;

    fn view(synced: bool, pods: &[(Stage, Option<bool>)]) -> View {
        let pod = |&(stage, wanted): &(Stage, Option<bool>)| PodView {
            stage,
            wanted,
            ..PodView::default()
        };
        View {
            addresses_synced: synced,
            pods: pods.iter().map(pod).collect(),
            ..View::default()
        }
    }

    #[test]
    fn one_that_leaves_waits_for_its_pods_but_not_for_ever() {
        let leaves = Readiness::new(true);
        let now = Instant::now();
        assert!(leaves.check().is_err(), "nothing is known yet");
        let gone = (Stage::Idle, Some(false));
        for (view, ready) in [
            (view(false, &[]), false),
            (view(true, &[(Stage::Idle, Some(true))]), false),
            (view(true, &[gone, (Stage::Leaving, Some(false))]), false),
            (view(true, &[(Stage::Enrolled, None)]), false),
            (view(true, &[gone, (Stage::Idle, None)]), true),
        ] {
            leaves.look(&view, now);
            assert_eq!(leaves.check().is_ok(), ready, "{view:?}");
            leaves.look(&view, now + PATIENCE + Duration::from_secs(1));
            assert_eq!(
                leaves.check(),
                Ok(()),
                "without a controller it ends all the same"
            );
        }
    }

    #[test]
    fn one_that_stays_is_ready_at_once() {
        let stays = Readiness::new(false);
        stays.look(
            &view(true, &[(Stage::Enrolled, Some(true))]),
            Instant::now(),
        );
        assert_eq!(stays.check(), Ok(()));
    }
}
