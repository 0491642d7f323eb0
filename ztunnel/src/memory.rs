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
