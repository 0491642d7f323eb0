//! The documents of one file.

use serde_json::Value;

/// One document, or one item of a List.
#[derive(Debug, PartialEq)]
pub struct Document {
    /// First line, from 1.
    pub line: u32,
    /// Its content.
    pub value: Value,
}

/// A document that is not well-formed.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line of the error, from 1.
    pub line: u32,
    /// What is wrong.
    pub reason: String,
}

/// The text of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its first line, from 1.
    pub line: u32,
    /// The text.
    pub text: &'a str,
}

/// Parses the documents of a file, each on its own; `json` says which language.
pub fn parse(text: &str, json: bool) -> (Vec<Document>, Vec<Malformed>) {
    let mut documents = Vec::new();
    let mut malformed = Vec::new();
    for Part { line, text } in parts(text, json) {
        match read(text, json) {
            Ok(values) => {
                documents.extend(values.into_iter().map(|value| Document { line, value }));
            }
            Err(bad) => malformed.push(Malformed {
                line: line + bad.line - 1,
                reason: bad.reason,
            }),
        }
    }
    (documents, malformed)
}

/// The documents of a file; JSON has but one.
pub fn parts(text: &str, json: bool) -> Vec<Part<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parts = if json { vec![(1, text)] } else { split(text) };
    let parts = parts.into_iter();
    parts.map(|(line, text)| Part { line, text }).collect()
}

/// Parses one document; a `List` stands for its items.
///
/// # Errors
/// It is not well-formed; the line is counted from that of the document, which is 1.
pub fn read(text: &str, json: bool) -> Result<Vec<Value>, Malformed> {
    let value = if json {
        parse_json(text)
    } else {
        parse_yaml(text)
    }?;
    Ok(match value {
        Value::Null => Vec::new(),
        value => expand(value),
    })
}

/// Splits at `---` and ends at `...`: YAML allows neither at the start of a line inside of a document (§9.1.2).
fn split(text: &str) -> Vec<(u32, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut line, mut offset, mut number) = (0, 1, 0, 1);
    for raw in text.split_inclusive('\n') {
        let marker = raw.trim_end();
        if marker == "---" || raw.starts_with("--- ") || marker == "..." {
            parts.push((line, &text[start..offset]));
            // What follows `--- ` on the line belongs to the next document.
            start = offset + 3;
            line = number;
        }
        offset += raw.len();
        number += 1;
    }
    parts.push((line, &text[start..]));
    parts
        .into_iter()
        .map(|(line, part)| skip_blank(line, part))
        .filter(|(_, p)| !p.is_empty())
        .collect()
}

/// Leaves out leading blank lines and comments, so that the line is that of the object.
fn skip_blank(mut line: u32, mut part: &str) -> (u32, &str) {
    while let Some(end) = part.find('\n') {
        let first = part[..end].trim();
        if !(first.is_empty() || first.starts_with('#') || first.starts_with('%')) {
            return (line, part);
        }
        part = &part[end + 1..];
        line += 1;
    }
    let rest = part.trim();
    (
        line,
        if rest.is_empty() || rest.starts_with('#') {
            ""
        } else {
            part
        },
    )
}

fn parse_json(text: &str) -> Result<Value, Malformed> {
    serde_json::from_str(text).map_err(|e| Malformed {
        line: u32::try_from(e.line()).unwrap_or(u32::MAX).max(1),
        reason: e.to_string(),
    })
}

fn parse_yaml(text: &str) -> Result<Value, Malformed> {
    // A List of a whole cluster is one document, so the limits on size are wide and the one on aliases is not.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: 20_000_000,
            max_events: 40_000_000,
            max_total_scalar_bytes: 512 << 20,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| {
        let within = e.location().map_or(1, |l| l.line()).max(1);
        let reason = e.without_snippet().to_string();
        // The library counts lines from the document's start, which would contradict ours.
        let reason = reason
            .rfind(" at line ")
            .map_or(&*reason, |at| &reason[..at])
            .to_owned();
        Malformed {
            line: u32::try_from(within).unwrap_or(u32::MAX),
            reason,
        }
    })
}

fn expand(value: Value) -> Vec<Value> {
    let kind = value.get("kind").and_then(Value::as_str);
    let is_list = kind.is_some_and(|k| k.ends_with("List"));
    match value {
        Value::Object(mut map) if is_list && map.get("items").is_some_and(Value::is_array) => {
            match map.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        value => vec![value],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_objects() {
        let text = "# comment\n---\na: 1\n---\n\n# more\nb: 2\n---\n--- \nc: 3\n...\n";
        let (documents, malformed) = parse(text, false);
        assert_eq!(malformed, []);
        assert_eq!(
            documents.iter().map(|d| d.line).collect::<Vec<_>>(),
            [3, 7, 10]
        );
    }

    #[test]
    fn one_bad_document_leaves_the_others() {
        let (documents, malformed) = parse("a: 1\n---\nb: [1\n---\nc: 3\n", false);
        assert_eq!(documents.len(), 2);
        assert_eq!(malformed.len(), 1);
        assert!((3..=4).contains(&malformed[0].line), "{malformed:?}");
    }

    #[test]
    fn lists_are_expanded() {
        let text =
            r#"{"kind": "List", "apiVersion": "v1", "items": [{"kind": "A"}, {"kind": "B"}]}"#;
        assert_eq!(parse(text, true).0.len(), 2);
        assert_eq!(
            parse("kind: PodList\nitems:\n- kind: A\n", false).0[0].value["kind"],
            "A"
        );
    }

    #[test]
    fn a_block_scalar_may_hold_indented_markers() {
        let (documents, malformed) = parse("a: |\n  ---\n  b\nc: 1\n", false);
        assert_eq!((documents.len(), malformed.len()), (1, 0));
    }

    #[test]
    fn number_keys_become_strings() {
        let (documents, _) = parse("a:\n  8080: {mode: STRICT}\n", false);
        assert_eq!(documents[0].value["a"]["8080"]["mode"], "STRICT");
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let list = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{list}]\n"));
        }
        assert_eq!(parse(&text, false).1.len(), 1);
    }
}
