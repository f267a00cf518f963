//! Buffers for large reads, used again as soon as QUIC is done with what they held.
//!
//! What is read from a socket stays in its buffer until the peer has acknowledged it. Given back to the allocator then,
//! such a buffer goes back to the system, and the next one costs a page fault for each of its pages. So a few are kept
//! for the whole process: a handle waits here, while QUIC still has the bytes, and is taken when no one else holds them.
//!
//! Bounded: [`KEPT`] buffers, however many sessions read; more than that the allocator makes and takes.

use bytes::BytesMut;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// The buffers of this process.
pub(crate) static BUFFERS: Buffers = Buffers(Mutex::new(VecDeque::new()));

/// Buffers that wait to be used again, the oldest first.
#[derive(Debug)]
pub(crate) struct Buffers(Mutex<VecDeque<BytesMut>>);

impl Buffers {
    /// An empty buffer with room for `size` bytes at least.
    pub(crate) fn take(&self, size: usize) -> BytesMut {
        if size < LARGE {
            return BytesMut::with_capacity(size);
        }
        let oldest = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(mut buffer) = oldest {
            if buffer.try_reclaim(size) {
                return buffer;
            }
            // Someone slow still has it: the others get their turn before it is tried again.
            self.put_back(buffer);
        }
        BytesMut::with_capacity(size)
    }

    /// Takes a buffer back of which parts were split off; for one made for less than [`LARGE`] there is no use.
    pub(crate) fn give(&self, buffer: BytesMut, size: usize) {
        if size >= LARGE {
            self.put_back(buffer);
        }
    }

    fn put_back(&self, buffer: BytesMut) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push_back(buffer);
        }
    }
}

/// From here on a buffer is worth to be kept, and all that are kept are of this size.
pub(crate) const LARGE: usize = 128 * 1024;
/// Buffers that are kept at most.
const KEPT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers() -> Buffers {
        Buffers(Mutex::new(VecDeque::new()))
    }

    fn used(buffers: &Buffers) -> (bytes::Bytes, *const u8) {
        let mut buffer = buffers.take(LARGE);
        buffer.extend_from_slice(b"read");
        let part = buffer.split().freeze();
        buffers.give(buffer, LARGE);
        let place = part.as_ptr();
        (part, place)
    }

    #[test]
    fn a_buffer_is_used_again_only_when_nobody_holds_a_part_of_it() {
        let buffers = buffers();
        let (held, first) = used(&buffers);
        let (again, second) = used(&buffers);
        assert_ne!(first, second);
        assert_eq!(&held[..], b"read");
        drop((held, again));
        let (third, fourth) = (used(&buffers).1, used(&buffers).1);
        assert!([first, second].contains(&third) && [first, second].contains(&fourth));
    }

    #[test]
    fn a_bounded_number_is_kept_and_small_ones_are_not() {
        let buffers = buffers();
        let held: Vec<_> = (0..3 * KEPT).map(|_| used(&buffers)).collect();
        buffers.give(buffers.take(LARGE / 2), LARGE / 2);
        drop(held);
        let kept = buffers.0.lock().unwrap();
        assert_eq!(kept.len(), KEPT);
    }
}
