//! Choice of an endpoint for a service: candidates by health and locality, then weighted random, kept by client address
//! where the service asks for affinity.
//!
//! ```text
//! Service + Mesh + Origin + port --candidates--> Selection --pick / AliasTable / AffinityTable--> one Candidate
//! ```

mod affinity;
mod alias;
mod candidates;
mod failure;
mod origin;
#[cfg(test)]
mod tests;

pub use affinity::AffinityTable;
pub use alias::{AliasEntry, AliasTable};
pub use candidates::{Candidate, Request, Selection, candidates};
pub use failure::NoEndpoint;
pub use origin::Origin;

use rand::Rng;

/// Picks one candidate at random, by weight. None if there is none, or if all weigh 0.
pub fn pick<'c>(candidates: &'c [Candidate], rng: &mut impl Rng) -> Option<&'c Candidate> {
    let total: u64 = candidates.iter().map(|c| u64::from(c.weight)).sum();
    if total == 0 {
        return None;
    }
    let mut left = rng.random_range(0..total);
    candidates.iter().find(|c| {
        let here = left < u64::from(c.weight);
        left = left.saturating_sub(u64::from(c.weight));
        here
    })
}
