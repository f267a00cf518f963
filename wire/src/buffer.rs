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
    fn take(&self, size: usize) -> BytesMut {
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

    fn put_back(&self, buffer: BytesMut) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push_back(buffer);
        }
    }
}

/// What one session reads into. Released or dropped, a large one goes back to the others.
#[derive(Debug)]
pub(crate) struct ReadBuffer<'a> {
    buffers: &'a Buffers,
    bytes: BytesMut,
    /// What it was made for; 0 where there is none.
    size: usize,
}

impl<'a> ReadBuffer<'a> {
    /// Holds no memory yet.
    pub(crate) fn new(buffers: &'a Buffers) -> Self {
        Self {
            buffers,
            bytes: BytesMut::new(),
            size: 0,
        }
    }

    /// Empty, with room for half of `size` at least: what the last read left is used first.
    pub(crate) fn for_a_read_of(&mut self, size: usize) -> &mut BytesMut {
        if self.bytes.capacity() < size.div_ceil(2) {
            self.release();
            self.bytes = self.buffers.take(size);
            self.size = size;
        }
        &mut self.bytes
    }

    /// Holds no memory any more.
    pub(crate) fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if std::mem::take(&mut self.size) >= LARGE {
            self.buffers.put_back(bytes);
        }
    }
}

impl Drop for ReadBuffer<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// From here on a buffer is worth to be kept, and all that are kept are of this size.
pub(crate) const LARGE: usize = 128 * 1024;
/// Buffers that are kept at most.
const KEPT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn buffers() -> Buffers {
        Buffers(Mutex::new(VecDeque::new()))
    }

    /// What was read into a buffer that was released then.
    fn read(buffers: &Buffers, size: usize) -> Bytes {
        let mut buffer = ReadBuffer::new(buffers);
        let bytes = buffer.for_a_read_of(size);
        bytes.extend_from_slice(b"read");
        bytes.split().freeze()
    }

    #[test]
    fn a_buffer_is_used_again_only_when_nobody_holds_a_part_of_it() {
        let buffers = buffers();
        let (held, again) = (read(&buffers, LARGE), read(&buffers, LARGE));
        let places = [held.as_ptr(), again.as_ptr()];
        assert_ne!(places[0], places[1]);
        assert_eq!(&held[..], b"read");
        drop((held, again));
        for _ in 0..4 {
            assert!(places.contains(&read(&buffers, LARGE).as_ptr()));
        }
    }

    #[test]
    fn a_bounded_number_is_kept_and_small_ones_are_not() {
        let buffers = buffers();
        drop(read(&buffers, LARGE / 2));
        assert_eq!(buffers.0.lock().unwrap().len(), 0);
        let held: Vec<_> = (0..3 * KEPT).map(|_| read(&buffers, LARGE)).collect();
        drop(held);
        assert_eq!(buffers.0.lock().unwrap().len(), KEPT);
    }

    #[test]
    fn regression_a_session_that_pauses_leaves_one_buffer_and_not_an_empty_one_for_each_pause() {
        let buffers = buffers();
        let mut buffer = ReadBuffer::new(&buffers);
        for _ in 0..3 * KEPT {
            buffer.for_a_read_of(LARGE);
            buffer.release();
            buffer.release();
        }
        assert_eq!(buffers.0.lock().unwrap().len(), 1);
        assert!(buffers.0.lock().unwrap()[0].capacity() >= LARGE);
    }
}
