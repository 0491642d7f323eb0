//! Every committed input through its target, and a fixed handful of mutations of each corpus.

use warren_fuzz::mutate::Mutator;
use warren_fuzz::{TARGETS, corpus, runner};

const MUTATIONS: usize = 1_500;

#[test]
fn committed_inputs_break_nothing() {
    for target in TARGETS {
        let inputs = corpus::load(&corpus::root().join(target.name)).unwrap();
        assert!(!inputs.is_empty(), "target {} has no corpus", target.name);
        for (path, input) in inputs {
            if let Err(message) = runner::once(target, &input) {
                panic!("{}: {message}", path.display());
            }
        }
    }
}

#[test]
fn mutations_break_nothing() {
    for target in TARGETS {
        let inputs: Vec<Vec<u8>> = corpus::load(&corpus::root().join(target.name))
            .unwrap()
            .into_iter()
            .map(|(_, i)| i)
            .collect();
        let mut mutator = Mutator::new(20_261_121, target.words, target.max_len);
        for _ in 0..MUTATIONS {
            let input = mutator.next(&inputs);
            if let Err(message) = runner::once(target, &input) {
                panic!(
                    "{}: {message}\ninput: {}",
                    target.name,
                    input.escape_ascii()
                );
            }
        }
    }
}

#[test]
fn every_corpus_belongs_to_a_target() {
    for entry in std::fs::read_dir(corpus::root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            warren_fuzz::find(&name).is_some(),
            "corpus/{name} is of no target"
        );
    }
}
