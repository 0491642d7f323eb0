//! Unknown fields: what a document holds and its type, written out again, does not.

use serde_json::Value;

/// Paths of fields in `given` that `known` lacks, such as `spec.rules[0].form`.
pub fn fields(given: &Value, known: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(given, known, &mut String::new(), &mut found);
    found
}

fn walk(given: &Value, known: &Value, path: &mut String, found: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                match known.get(key) {
                    Some(known) => walk(value, known, path, found),
                    None => found.push(path.clone()),
                }
                path.truncate(length);
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (i, (given, known)) in given.iter().zip(known).enumerate() {
                let length = path.len();
                path.push_str(&format!("[{i}]"));
                walk(given, known, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_the_path() {
        let given = json!({"spec": {"rules": [{"from": []}, {"form": 1}]}, "extra": {"a": 1}});
        let known = json!({"spec": {"rules": [{"from": [], "to": []}, {}], "action": "ALLOW"}});
        assert_eq!(fields(&given, &known), ["extra", "spec.rules[1].form"]);
    }
}
