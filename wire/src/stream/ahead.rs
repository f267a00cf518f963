//! Bytes that were taken out of QUIC before their reader had room for them.
//!
//! quinn keeps unread chunks in a heap whose room it never gives back, not even to the streams that come after: a
//! session that is read slowly left its room to one after another, until each had it. Here they wait in a queue that goes
//! with the session. A chunk keeps its whole datagram alive, so that small ones are copied together: the queue holds no more
//! than about twice its bytes, whatever pieces they came in. How many bytes may wait is `credit.rs`' business.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use tokio::io::ReadBuf;

/// The queue of one session.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    chunks: VecDeque<Bytes>,
    /// Small chunks behind the last of those, copied together.
    small: BytesMut,
    /// The peer's own end follows the last chunk.
    pub(super) finished: bool,
}

impl Ahead {
    /// Puts chunks in, whose places are left empty.
    pub(super) fn put(&mut self, chunks: &mut [Bytes]) {
        for chunk in chunks {
            let chunk = std::mem::take(chunk);
            if chunk.len() < SMALL {
                self.small.extend_from_slice(&chunk);
                if self.small.len() >= BLOCK {
                    self.flush();
                }
            } else {
                self.flush();
                self.chunks.push_back(chunk);
            }
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push_back(std::mem::take(&mut self.small).freeze());
        }
    }

    /// Takes the first chunks out into `into`, and says how many. An empty queue keeps no memory.
    pub(super) fn take(&mut self, into: &mut [Bytes]) -> usize {
        let mut count = 0;
        while let Some(place) = into.get_mut(count) {
            if self.chunks.is_empty() {
                self.flush();
            }
            let Some(chunk) = self.chunks.pop_front() else {
                break;
            };
            *place = chunk;
            count += 1;
        }
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
        count
    }

    /// Copies the first chunk, or what there is room for of it.
    pub(super) fn copy(&mut self, into: &mut ReadBuf<'_>) {
        let mut first = [Bytes::new()];
        self.take(&mut first);
        let [mut first] = first;
        into.put_slice(&first.split_to(first.len().min(into.remaining())));
        if !first.is_empty() {
            self.chunks.push_front(first);
        }
    }
}

/// A smaller chunk would keep more than twice its bytes: the largest datagram that an endpoint takes has 1472.
const SMALL: usize = 736;
/// Small chunks are copied together into blocks of this size.
const BLOCK: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(texts: &[&'static str]) -> Vec<Bytes> {
        texts
            .iter()
            .map(|text| Bytes::from_static(text.as_bytes()))
            .collect()
    }

    fn taken(ahead: &mut Ahead) -> Vec<u8> {
        let mut into = [const { Bytes::new() }; 4];
        let count = ahead.take(&mut into);
        into[..count].concat()
    }

    #[test]
    fn what_was_put_in_comes_out_in_order_and_leaves_nothing() {
        let mut ahead = Ahead::default();
        let large = Bytes::from(vec![7; SMALL]);
        ahead.put(&mut chunks(&["a", "bc"]));
        ahead.put(&mut [large.clone()]);
        ahead.put(&mut chunks(&["d"]));
        let mut into = [const { Bytes::new() }; 2];
        assert_eq!(ahead.take(&mut into), 2);
        assert_eq!(into, [Bytes::from_static(b"abc"), large]);
        ahead.put(&mut chunks(&["e"]));
        assert_eq!(taken(&mut ahead), b"de");
        assert_eq!(
            (
                ahead.take(&mut into),
                ahead.chunks.capacity(),
                ahead.small.capacity()
            ),
            (0, 0, 0)
        );
    }

    #[test]
    fn a_queue_smaller_than_what_it_goes_to_loses_nothing() {
        let mut ahead = Ahead::default();
        for _ in 0..3 {
            ahead.put(&mut chunks(&["a"]));
            let mut into = [const { Bytes::new() }; 4];
            assert_eq!(ahead.take(&mut into), 1);
            assert_eq!(into.first(), chunks(&["a"]).first());
        }
    }

    #[test]
    fn many_small_chunks_hold_about_their_bytes_and_not_their_datagrams() {
        let mut ahead = Ahead::default();
        let datagram = Bytes::from(vec![7; 1472]);
        for _ in 0..3 * BLOCK {
            ahead.put(&mut [datagram.slice(..1)]);
        }
        assert!(datagram.is_unique(), "no datagram is kept");
        assert_eq!(ahead.chunks.len(), 3);
        let mut count = 0;
        while let read @ 1.. = taken(&mut ahead).len() {
            count += read;
        }
        assert_eq!(count, 3 * BLOCK);
    }

    #[test]
    fn what_is_copied_in_parts_is_whole() {
        let mut ahead = Ahead::default();
        ahead.put(&mut chunks(&["abc", "d"]));
        let mut whole = Vec::new();
        for _ in 0..3 {
            let mut two = [0; 2];
            let mut part = ReadBuf::new(&mut two);
            ahead.copy(&mut part);
            whole.extend_from_slice(part.filled());
        }
        assert_eq!(whole.as_slice(), b"abcd");
    }
}
