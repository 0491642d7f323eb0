//! The alias table gives each index its share, exactly.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const RANGE: f64 = 4_294_967_296.0;

/// The chance of each index, summed up from the slots.
fn chances(table: &AliasTable) -> Vec<f64> {
    let entries = table.entries();
    let mut chances = vec![0.0; entries.len()];
    for (slot, entry) in entries.iter().enumerate() {
        chances[slot] += f64::from(entry.threshold) / RANGE;
        chances[entry.alias as usize] += 1.0 - f64::from(entry.threshold) / RANGE;
    }
    chances.iter().map(|c| c / entries.len() as f64).collect()
}

fn check_chances(weights: &[u32]) {
    let table = AliasTable::new(weights);
    let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    for (i, (chance, weight)) in chances(&table).iter().zip(weights).enumerate() {
        let expected = f64::from(*weight) / total;
        assert!(
            (chance - expected).abs() < 1e-9,
            "{i} of {weights:?}: {chance}, not {expected}"
        );
    }
}

#[test]
fn special_weights() {
    for none in [&[][..], &[0], &[0, 0, 0]] {
        let table = AliasTable::new(none);
        assert!(table.is_empty());
        assert_eq!((table.entries().len(), table.at(1, 2)), (0, None));
    }
    for weights in [
        &[1][..],
        &[u32::MAX],
        &[1, 1, 1],
        &[0, 1],
        &[5, 0, 0],
        &[u32::MAX, 1],
        &[1; 1000],
    ] {
        check_chances(weights);
    }
    check_chances(&[u32::MAX; 300]);
}

#[test]
fn the_kernel_s_arithmetic() {
    let table = AliasTable::new(&[1, 3]);
    assert_eq!(
        table.entries()[0],
        AliasEntry {
            threshold: 1 << 31,
            alias: 1
        }
    );
    for (first, second, expected) in [
        (0, 0, 0),
        (2, (1 << 31) - 1, 0),
        (2, 1 << 31, 1),
        (1, 0, 1),
        (3, u32::MAX, 1),
        (u32::MAX, 7, 1),
    ] {
        assert_eq!(table.at(first, second), Some(expected), "{first} {second}");
    }
}

proptest! {
    #[test]
    fn each_index_has_its_share(weights in prop::collection::vec(prop_oneof![0u32..10, any::<u32>()], 1..50)) {
        prop_assume!(weights.iter().any(|w| *w > 0));
        check_chances(&weights);
    }

    #[test]
    fn a_weight_of_nothing_is_never_picked(weights in prop::collection::vec(0u32..3, 1..20), first: u32, second: u32) {
        prop_assume!(weights.iter().any(|w| *w > 0));
        let picked = AliasTable::new(&weights).at(first, second).expect("not empty");
        prop_assert!(weights[picked] > 0);
    }

    #[test]
    fn draws_follow_the_weights(weights in prop::collection::vec(0u32..100, 1..8), seed: u64) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let table = AliasTable::new(&weights);
        let mut rng = StdRng::seed_from_u64(seed);
        let rounds = 4_000;
        let mut counts = vec![0u32; weights.len()];
        for _ in 0..rounds {
            counts[table.pick(&mut rng).expect("not empty")] += 1;
        }
        for (count, weight) in counts.iter().zip(&weights) {
            let share = f64::from(*weight) / f64::from(total);
            let expected = f64::from(rounds) * share;
            // Six standard deviations, and room for small shares, which are skewed: once in a billion.
            let slack = 6.0 * (expected * (1.0 - share)).sqrt() + 10.0;
            prop_assert!((f64::from(*count) - expected).abs() <= slack, "{counts:?} of {weights:?}");
        }
    }
}
