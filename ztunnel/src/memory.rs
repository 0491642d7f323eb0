//! How the C library's allocator deals with buffers.
#![allow(unsafe_code)]

/// Buffers of up to this many bytes come from the heap rather than from a mapping of their own.
const LARGEST_ON_HEAP: libc::c_int = 4 << 20;
/// Free memory at the heap's end that is kept. More goes back to the system.
const KEPT: libc::c_int = 8 << 20;

/// Keeps the memory of freed buffers for the next ones: a mapping made and undone for each costs more than the copy into it.
pub(crate) fn keep_freed_memory() {
    // SAFETY: mallopt sets parameters of the allocator; called before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_ON_HEAP);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Decides when freed memory goes back to the system: once most of many connections have ended.
#[derive(Debug, Default)]
pub(crate) struct Tide {
    high: usize,
}

/// Fewer connections than this leave nothing worth giving back.
const WORTH: usize = 500;

impl Tide {
    /// Takes the number of live connections; true where memory should go back now.
    pub(crate) fn has_fallen(&mut self, live: usize) -> bool {
        self.high = self.high.max(live);
        let fallen = self.high >= WORTH && live < self.high / 2;
        if fallen {
            self.high = live;
        }
        fallen
    }
}

/// Gives freed memory back to the system. Takes milliseconds, in which other threads may have to wait for memory.
pub(crate) fn give_back() {
    // SAFETY: malloc_trim only releases pages that are free, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_back_once_after_many_have_ended() {
        let mut tide = Tide::default();
        let at = [0, 100, 10, 800, 700, 401, 399, 300, 100, 0];
        let fallen: Vec<_> = at
            .into_iter()
            .filter(|live| tide.has_fallen(*live))
            .collect();
        assert_eq!(fallen, [399]);
        assert!(!tide.has_fallen(5000));
        assert!(tide.has_fallen(0));
    }
}
