//! Weighted random choice in constant time: Vose's alias method (Vose 1991, "A linear algorithm for generating random
//! numbers with a given distribution"), in whole numbers, so that the kernel can do the same with the same table.

use rand::Rng;

/// One slot of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AliasEntry {
    /// A second random number below this means the slot itself.
    pub threshold: u32,
    /// Otherwise this index.
    pub alias: u32,
}

/// A table that picks an index in proportion to its weight, from two random numbers of 32 bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AliasTable(Vec<AliasEntry>);

impl AliasTable {
    /// Builds the table; weights that are all 0, or none at all, make an empty one.
    pub fn new(weights: &[u32]) -> Self {
        let total: u128 = weights.iter().map(|w| u128::from(*w)).sum();
        if total == 0 {
            return Self::default();
        }
        // In units of 1/total of a slot: a slot is full at `total`.
        let n = weights.len() as u128;
        let mut share: Vec<u128> = weights.iter().map(|w| u128::from(*w) * n).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|i| share[*i] < total);
        let full = |i: usize| AliasEntry {
            threshold: u32::MAX,
            alias: index(i),
        };
        let mut entries: Vec<AliasEntry> = (0..weights.len()).map(full).collect();
        while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
            entries[poor] = AliasEntry {
                threshold: fraction(share[poor], total),
                alias: index(rich),
            };
            share[rich] -= total - share[poor];
            if share[rich] < total {
                large.pop();
                small.push(rich);
            }
        }
        Self(entries)
    }

    /// The slots, for a table elsewhere.
    pub fn entries(&self) -> &[AliasEntry] {
        &self.0
    }

    /// Whether there is nothing to pick.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The index that two random numbers, each uniform over all of u32, stand for. None if the table is empty.
    pub fn at(&self, first: u32, second: u32) -> Option<usize> {
        let slot = first.checked_rem(index(self.0.len()))?;
        let entry = self.0[slot as usize];
        Some(if second < entry.threshold {
            slot
        } else {
            entry.alias
        } as usize)
    }

    /// Picks an index at random.
    pub fn pick(&self, rng: &mut impl Rng) -> Option<usize> {
        self.at(rng.random(), rng.random())
    }
}

/// `part / whole` of the range of u32; `part < whole`.
fn fraction(part: u128, whole: u128) -> u32 {
    u32::try_from((part << 32) / whole).unwrap_or(u32::MAX)
}

/// Tables of more than 2³² slots do not fit in memory.
fn index(i: usize) -> u32 {
    u32::try_from(i).unwrap_or(u32::MAX)
}
