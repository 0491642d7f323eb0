//! The condition that an object of ours should have. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::Observation;
use crate::warning::Warning;

/// The type of our condition.
pub const ACCEPTED: &str = "Accepted";
/// Kubernetes allows 32,768 bytes; people read less.
const MESSAGE: usize = 4_096;

/// The condition that is due, or None where it stands there already.
pub fn due(observation: &Observation, warnings: &[Warning], now: Timestamp) -> Option<Condition> {
    let (status, reason) = match (observation.rejected, warnings.is_empty()) {
        (true, _) => ("False", "Invalid"),
        (false, true) => ("True", "Accepted"),
        (false, false) => ("True", "PartlyInEffect"),
    };
    let old = observation.conditions.iter().find(|c| c.type_ == ACCEPTED);
    let mut condition = Condition {
        type_: ACCEPTED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message(warnings),
        observed_generation: Some(observation.generation),
        last_transition_time: Time(now),
    };
    if let Some(old) = old.filter(|old| old.status == condition.status) {
        condition.last_transition_time = old.last_transition_time.clone();
    }
    (old != Some(&condition)).then_some(condition)
}

fn message(warnings: &[Warning]) -> String {
    if warnings.is_empty() {
        return "in force as written".to_owned();
    }
    let mut lines: Vec<String> = warnings
        .iter()
        .map(|w| format!("{}; {}", w.reason, w.next_step))
        .collect();
    lines.sort();
    let mut text = lines.join("\n");
    if text.len() > MESSAGE {
        let end = text.floor_char_boundary(MESSAGE);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Id, Kind, ObjectKey};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn warning(reason: &str) -> Warning {
        let key = ObjectKey {
            kind: Kind::AuthorizationPolicy,
            id: Id::new("shop", "p"),
        };
        Warning::object(key, None, reason, "correct it")
    }

    #[test]
    fn a_condition_is_written_once() {
        let mut seen = Observation {
            generation: 3,
            ..Observation::default()
        };
        let first = due(&seen, &[], at(10)).expect("none yet");
        assert_eq!(
            (&*first.status, &*first.reason, first.observed_generation),
            ("True", "Accepted", Some(3))
        );
        seen.conditions = vec![first];
        assert_eq!(due(&seen, &[], at(20)), None);
        seen.generation = 4;
        assert!(due(&seen, &[], at(20)).is_some(), "a new generation");
    }

    #[test]
    fn its_time_is_that_of_the_transition() {
        let mut seen = Observation::default();
        seen.conditions = vec![due(&seen, &[], at(10)).expect("none yet")];
        let partly = due(&seen, &[warning("b"), warning("a")], at(20)).expect("another message");
        assert_eq!(partly.last_transition_time, Time(at(10)));
        assert_eq!(partly.reason, "PartlyInEffect");
        assert_eq!(partly.message, "a; correct it\nb; correct it");
        seen.conditions = vec![partly];
        seen.rejected = true;
        let invalid = due(&seen, &[warning("a")], at(30)).expect("another status");
        assert_eq!(
            (&*invalid.status, invalid.last_transition_time),
            ("False", Time(at(30)))
        );
    }

    #[test]
    fn a_message_has_an_end() {
        let many: Vec<Warning> = (0..999).map(|i| warning(&format!("ä{i}"))).collect();
        let condition = due(&Observation::default(), &many, at(1)).expect("none yet");
        assert!(condition.message.len() <= MESSAGE + 3);
    }
}
