//! Edge counters of a build with `-sanitizer-coverage-inline-8bit-counters` (LLVM's SanitizerCoverage). Other builds have
//! none, and mutation goes on without guidance.
#![allow(unsafe_code)]

use std::sync::Mutex;

/// Where the counters of each object lie: address and length.
static REGIONS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Called by the constructors of instrumented objects, before `main`.
///
/// # Safety
/// `start..stop` are counters that stay for as long as the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    let region = (
        start as usize,
        (stop as usize).saturating_sub(start as usize),
    );
    if let Ok(mut regions) = REGIONS.lock()
        && !regions.contains(&region)
    {
        regions.push(region);
    }
}

/// Counters that are looked at together.
const CHUNK: usize = 64;

/// Which edges were ever taken, and roughly how often.
#[derive(Debug, Default)]
pub struct Coverage {
    seen: Vec<u8>,
}

impl Coverage {
    /// Edges that this build counts; 0 in builds without counters.
    pub fn edges() -> usize {
        REGIONS
            .lock()
            .map_or(0, |regions| regions.iter().map(|(_, length)| length).sum())
    }

    /// Adds what was counted since the last call, and sets the counters back; true where an edge was taken for the first
    /// time, or much more often.
    pub fn add(&mut self) -> bool {
        self.seen.resize(Self::edges(), 0);
        let (mut seen, mut new) = (self.seen.as_mut_slice(), false);
        each(|counters| {
            let (here, rest) = std::mem::take(&mut seen).split_at_mut(counters.len());
            seen = rest;
            for (seen, counts) in here.chunks_mut(CHUNK).zip(counters.chunks_mut(CHUNK)) {
                // Of a million counters an input touches a thousand.
                if counts.iter().fold(0, |all, count| all | count) > 0 {
                    new |= take(seen, counts);
                }
            }
        });
        new
    }

    /// Edges taken so far.
    pub fn taken(&self) -> usize {
        self.seen.iter().filter(|seen| **seen > 0).count()
    }
}

/// Moves counts over; true where one of them is new.
fn take(seen: &mut [u8], counts: &mut [u8]) -> bool {
    let mut new = false;
    for (seen, count) in seen.iter_mut().zip(counts).filter(|(_, count)| **count > 0) {
        let bit = 1 << bucket(*count);
        new |= *seen & bit == 0;
        *seen |= bit;
        *count = 0;
    }
    new
}

/// Counts that differ by little are the same.
fn bucket(count: u8) -> u8 {
    match count {
        0..=3 => count.saturating_sub(1),
        4..=7 => 3,
        8..=15 => 4,
        16..=31 => 5,
        32..=127 => 6,
        128.. => 7,
    }
}

fn each(mut use_counters: impl FnMut(&mut [u8])) {
    let Ok(regions) = REGIONS.lock() else { return };
    for (start, length) in regions.iter() {
        // SAFETY: registered by the object's constructor as counters of this length, which are never freed. Only
        // instrumented code writes them, and a lost count is harmless.
        use_counters(unsafe { std::slice::from_raw_parts_mut(*start as *mut u8, *length) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_edges_and_new_magnitudes_are_new() {
        let counters = Box::leak(vec![0u8; 4].into_boxed_slice());
        let start = counters.as_mut_ptr();
        // SAFETY: leaked above.
        unsafe { __sanitizer_cov_8bit_counters_init(start, start.add(4)) };
        let mut coverage = Coverage::default();
        let mut hit = |count: u8| {
            // SAFETY: within the four counters.
            unsafe { start.add(2).write(count) };
            coverage.add()
        };
        assert!(hit(1));
        assert!(!hit(1));
        assert!(hit(200));
        assert!(!hit(255));
    }
}
