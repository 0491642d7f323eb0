//! One AdmissionReview, judged. No I/O.

use serde::Deserialize;
use serde_json::{Value, json};

use super::AdmissionError;
use crate::model::ObjectKey;
use crate::model::labels::{DRY_RUN, GROUP};
use crate::pipeline::SharedIndex;
use crate::source::decode::{Note, decode};

/// The API server cuts warnings off at 4,096 bytes in all.
const WARNINGS: usize = 16;
const WARNING: usize = 1_024;

/// What the API server asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Request,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    operation: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

/// What it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why the object is refused; None: it is taken.
    pub refused: Option<String>,
    /// What of it is weaker than it seems.
    pub warnings: Vec<String>,
}

/// Judges the body of a request, and returns that of the answer with whether the object is taken.
///
/// # Errors
/// It is no AdmissionReview.
pub fn answer(body: &[u8], index: &SharedIndex) -> Result<(Value, bool), AdmissionError> {
    let review: Review =
        serde_json::from_slice(body).map_err(|e| AdmissionError::Garbage(e.to_string()))?;
    let kind = (&*review.api_version, &*review.kind);
    if kind != ("admission.k8s.io/v1", "AdmissionReview") {
        let kind = format!("it is {} of {}", kind.1, kind.0);
        return Err(AdmissionError::Garbage(kind));
    }
    let request = review.request;
    let is_write = matches!(&*request.operation, "CREATE" | "UPDATE");
    if request.uid.is_empty() || (is_write && !request.object.is_object()) {
        let lacks = "the request lacks its uid or its object".to_owned();
        return Err(AdmissionError::Garbage(lacks));
    }
    let verdict = match is_write {
        true => judge(request.object, &request.old_object, index),
        false => Verdict::default(),
    };
    let allowed = verdict.refused.is_none();
    let mut response = json!({
        "uid": request.uid,
        "allowed": allowed,
        "warnings": verdict.warnings,
    });
    if let Some(message) = verdict.refused {
        response["status"] = json!({"code": 422, "reason": "Invalid", "message": message});
    }
    let answer = json!({
        "apiVersion": review.api_version,
        "kind": review.kind,
        "response": response,
    });
    Ok((answer, allowed))
}

/// Judges an object that is to be stored in the place of another one, which is null where there is none.
pub fn judge(object: Value, old: &Value, index: &SharedIndex) -> Verdict {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let ours = version.split_once('/').is_some_and(|(g, _)| g == GROUP);
    let leaving = object.pointer("/metadata/deletionTimestamp");
    if !ours || leaving.is_some_and(|t| !t.is_null()) {
        return Verdict::default();
    }
    let stands_already = same_meaning(&object, old);
    let (refused, notes) = match decode(object) {
        Ok(decoded) => {
            let object = decoded.object;
            let mut notes = decoded.notes;
            let preview = object.as_ref().map(|o| index.read().preview(o));
            notes.extend(
                preview
                    .into_iter()
                    .flatten()
                    .map(|(reason, next_step)| Note { reason, next_step }),
            );
            let key = object.map(|o| o.key());
            (None, notes.iter().map(|n| line(key.as_ref(), n)).collect())
        }
        Err(rejected) => {
            let refused = line(rejected.object.as_ref(), &rejected.note);
            (Some(refused), Vec::new())
        }
    };
    match refused {
        // What does not make it worse, such as taking a finalizer away, has to go on.
        Some(refused) if stands_already => Verdict {
            refused: None,
            warnings: printable(vec![refused]),
        },
        refused => Verdict {
            refused,
            warnings: printable(notes),
        },
    }
}

fn line(key: Option<&ObjectKey>, note: &Note) -> String {
    let Note { reason, next_step } = note;
    match key {
        Some(key) => format!("{key}: {reason}; {next_step}"),
        None => format!("{reason}; {next_step}"),
    }
}

/// Whether an update leaves everything that decides as it is.
fn same_meaning(object: &Value, old: &Value) -> bool {
    let dry_run = |v: &Value| v["metadata"]["annotations"][DRY_RUN].clone();
    // A field beside `spec` that does not belong there decides, too: it makes the object one that cannot be read.
    let rest = |v: &Value| {
        let mut fields = v.as_object().cloned()?;
        fields.retain(|name, _| name != "metadata" && name != "status");
        Some(fields)
    };
    old.is_object() && rest(object) == rest(old) && dry_run(object) == dry_run(old)
}

/// They travel in HTTP headers.
fn printable(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(WARNINGS);
    lines.truncate(WARNINGS);
    for line in &mut lines {
        line.truncate(line.floor_char_boundary(WARNING));
        *line = line.replace(char::is_control, " ");
    }
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}
