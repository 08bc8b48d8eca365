//! The allocator's way with large blocks.

/// Size from which a block is mapped by itself, in bytes, so that it goes back to the system when it
/// is freed. This is the value that glibc begins with.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES: libc::c_int = 128 * 1024;

/// Makes the allocator give large blocks back to the system, also after many of them. Left to
/// itself, glibc raises the threshold to the size of the blocks that it sees freed, up to 32 MiB, and
/// then keeps what a burst of large messages took.
pub fn give_back_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the allocator has no other way to be told")]
    // SAFETY: the call has no requirements, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
    }
}
