//! Broken manifests: whatever they hold, the reader neither panics nor loses what it can read.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use warren_control::source::decode::decode;
use warren_control::source::dir::document::parse;

use crate::policy_compile::{peer, policy};
use crate::support::model::{meshed, pod};

const ROUNDS: usize = 3_000;

fn seed() -> String {
    meshed("shop")
        + &pod("shop", "web", "web", "10.0.0.1", 8080)
        + &policy(
            "shop",
            "p",
            "rules: [{from: [{source: {ipBlocks: [10.0.0.0/8], principals: [\"*/sa/a\"]}}], to: [{operation: {ports: [\"80\"]}}]}]",
        )
        + &peer(
            "shop",
            "q",
            "selector: {matchLabels: {app: web}}, portLevelMtls: {\"80\": {mode: STRICT}}",
        )
        + "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, targetPort: http}]}}\n"
}

fn read(text: &str) -> usize {
    [false, true]
        .into_iter()
        .map(|json| {
            let (documents, _) = parse(text, json);
            documents
                .into_iter()
                .filter_map(|d| decode(d.value).ok()?.object)
                .count()
        })
        .sum()
}

#[test]
fn mutated_manifests_never_panic() {
    let mut random = StdRng::seed_from_u64(7);
    let seed = seed();
    assert_eq!(read(&seed), 5);
    let pieces = [
        "---\n",
        "\t",
        "{",
        "]",
        ": ",
        "null",
        "-1",
        "99999999999999999999",
        "&a ",
        "*a",
        "!!binary ",
        "\u{0}",
        "é",
        "\"",
        "'",
        "#",
    ];
    for _ in 0..ROUNDS {
        let mut text: Vec<char> = seed.chars().collect();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..text.len());
            match random.random_range(0..4) {
                0 if text.len() > 1 => drop(text.remove(at)),
                0 => {}
                1 => text[at] = char::from(random.random_range(32..127_u8)),
                2 => text.truncate(at.max(1)),
                _ => {
                    let piece = pieces[random.random_range(0..pieces.len())];
                    drop(text.splice(at..at, piece.chars()));
                }
            }
        }
        let text: String = text.into_iter().collect();
        assert!(read(&text) <= 10);
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    for open in ["[", "{a: ", "- "] {
        let (documents, malformed) = parse(&open.repeat(100_000), false);
        assert_eq!((documents.len(), malformed.len()), (0, 1), "{open}");
    }
    let (documents, malformed) = parse(&"[".repeat(100_000), true);
    assert_eq!((documents.len(), malformed.len()), (0, 1));
}
