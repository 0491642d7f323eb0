//! ClientIP affinity.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(60);

struct Bench {
    table: AffinityTable,
    start: Instant,
    rng: StdRng,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        let rng = StdRng::seed_from_u64(7);
        Self {
            table: AffinityTable::new(capacity),
            start: Instant::now(),
            rng,
        }
    }

    /// The endpoint that `client` is given `seconds` after the start.
    fn pick(
        &mut self,
        client: &str,
        port: u16,
        names: &[Candidate],
        seconds: u64,
    ) -> Option<String> {
        let now = self.start + Duration::from_secs(seconds);
        let who = (ip(client), &web(), port);
        let picked = self.table.pick(who, TIMEOUT, names, now, &mut self.rng)?;
        Some(picked.workload.uid.to_string())
    }
}

/// Many endpoints, so that the same one twice is no accident.
fn crowd() -> Vec<Candidate> {
    (0..10_000)
        .map(|i| candidate(&format!("w{i}"), 1))
        .collect()
}

#[test]
fn a_client_keeps_its_endpoint_while_it_comes_back_in_time() {
    let (mut bench, crowd) = (Bench::new(100), crowd());
    let first = bench.pick("10.0.0.1", 80, &crowd, 0);
    assert_eq!(bench.pick("10.0.0.1", 80, &crowd, 60), first);
    assert_eq!(
        bench.pick("10.0.0.1", 80, &crowd, 120),
        first,
        "each use starts the time-out anew"
    );
    assert_eq!(bench.pick("::ffff:10.0.0.1", 80, &crowd, 121), first);
    assert_ne!(bench.pick("10.0.0.1", 80, &crowd, 182), first, "too late");
    assert_eq!(bench.table.len(), 1);
}

#[test]
fn clients_and_ports_are_apart() {
    let (mut bench, crowd) = (Bench::new(100), crowd());
    let first = bench.pick("10.0.0.1", 80, &crowd, 0);
    assert_ne!(bench.pick("10.0.0.2", 80, &crowd, 0), first);
    assert_ne!(bench.pick("10.0.0.1", 443, &crowd, 0), first);
    assert_eq!(bench.table.len(), 3);
}

#[test]
fn an_endpoint_that_is_gone_is_replaced_for_good() {
    let (mut bench, crowd) = (Bench::new(100), crowd());
    let first = bench
        .pick("10.0.0.1", 80, &crowd, 0)
        .expect("one of the crowd");
    let others: Vec<_> = crowd
        .iter()
        .filter(|c| *c.workload.uid.0 != *first)
        .cloned()
        .collect();
    let second = bench.pick("10.0.0.1", 80, &others, 1);
    assert_ne!(second.as_ref(), Some(&first));
    assert_eq!(
        bench.pick("10.0.0.1", 80, &crowd, 2),
        second,
        "the first one's return changes nothing"
    );
    assert_eq!(bench.pick("10.0.0.1", 80, &[], 3), None);
    assert!(bench.table.is_empty(), "nobody to keep");
}

#[test]
fn the_one_not_used_for_longest_goes_first() {
    let (mut bench, crowd) = (Bench::new(2), crowd());
    let one = bench.pick("10.0.0.1", 80, &crowd, 0);
    let two = bench.pick("10.0.0.2", 80, &crowd, 1);
    assert_eq!(bench.pick("10.0.0.1", 80, &crowd, 2), one);
    bench.pick("10.0.0.3", 80, &crowd, 3);
    assert_eq!(bench.pick("10.0.0.1", 80, &crowd, 4), one);
    assert_ne!(bench.pick("10.0.0.2", 80, &crowd, 5), two);
}

#[test]
fn without_room_there_is_a_choice_but_no_affinity() {
    let (mut bench, crowd) = (Bench::new(0), crowd());
    let first = bench.pick("10.0.0.1", 80, &crowd, 0);
    assert!(first.is_some() && bench.table.is_empty());
    assert_ne!(bench.pick("10.0.0.1", 80, &crowd, 0), first);
}

proptest! {
    #[test]
    fn it_never_outgrows_its_capacity(
        capacity in 0usize..5,
        uses in prop::collection::vec((0u8..10, 0u64..200, 0usize..4), 1..60),
    ) {
        let mut bench = Bench::new(capacity);
        let all: Vec<_> = ["a", "b", "c"].map(|n| candidate(n, 1)).into();
        for (client, seconds, endpoints) in uses {
            let client = format!("10.0.0.{client}");
            let picked = bench.pick(&client, 80, &all[..endpoints.min(3)], seconds);
            prop_assert_eq!(picked.is_some(), endpoints > 0);
            prop_assert!(bench.table.len() <= capacity);
        }
    }
}
