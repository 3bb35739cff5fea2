//! Allocations: none for reads, writes and their deadlines on a warm connection.

use super::*;
use crate::{Stream, WriteRate};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::thread;

#[test]
fn a_warm_connection_reads_and_writes_without_allocating() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        let echo = thread::spawn(move || {
            let mut chunk = [0; 256];
            while let Ok(count @ 1..) = peer.read(&mut chunk) {
                peer.write_all(&chunk[..count]).unwrap();
            }
        });
        let mut buf = buf();
        let mut allocations = 0;
        for round in 0..200 {
            if round == 100 {
                allocations = ALLOCATIONS.get();
            }
            buf.clear();
            buf.extend_from_slice(b"ping");
            let (written, back) = stream.write_all(buf, WriteRate::stall(PATIENCE)).await;
            written.unwrap();
            stream.readable(soon()).await.unwrap();
            let (read, back) = stream.read(back, soon()).await;
            assert_eq!(read.unwrap(), 4);
            buf = back;
        }
        assert_eq!(ALLOCATIONS.get() - allocations, 0);
        drop(stream);
        joined(echo).await;
    });
}

/// Allocations of this thread.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// Bytes allocated and not freed by this thread.
pub(crate) fn live_bytes() -> i64 {
    LIVE_BYTES.get()
}

fn count(bytes: i64) {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    LIVE_BYTES.set(LIVE_BYTES.get() + bytes);
}

/// System allocator with counters per thread.
struct Counting;

// SAFETY: every call is handed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as for the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as for the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE_BYTES.set(LIVE_BYTES.get() - layout.size() as i64);
        // SAFETY: as for the caller.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: as for the caller.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}
