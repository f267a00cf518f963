//! Chunks that were taken out of QUIC before their reader had room for them.
//!
//! quinn keeps unread chunks in a heap whose room it never gives back, not even to the streams that come after: a
//! session that is read slowly left its room to one after another, until each had it. Above some thousand chunks it
//! copies them together as well. Here they wait in a queue that goes with the session. It holds no more than the peer
//! was granted; what a peer sends beyond that stays with quinn, which bounds it.

use bytes::Bytes;
use std::collections::VecDeque;

/// The queue of one session.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    chunks: VecDeque<Bytes>,
    bytes: u64,
    /// The peer's own end follows the last chunk.
    pub(super) finished: bool,
}

impl Ahead {
    /// Whether another chunk may be put in, of a peer that may have `granted` bytes unread.
    pub(super) fn has_room(&self, granted: u64) -> bool {
        self.chunks.len() < MOST_CHUNKS && self.bytes < granted
    }

    /// Puts chunks in, whose places are left empty.
    pub(super) fn put(&mut self, chunks: &mut [Bytes]) {
        for chunk in chunks {
            self.bytes += length(chunk);
            self.chunks.push_back(std::mem::take(chunk));
        }
    }

    /// Takes the first chunks out into `into`, and says how many. An empty queue keeps no memory.
    pub(super) fn take(&mut self, into: &mut [Bytes]) -> usize {
        let mut count = 0;
        for (place, chunk) in into
            .iter_mut()
            .zip(std::iter::from_fn(|| self.chunks.pop_front()))
        {
            self.bytes -= length(&chunk);
            *place = chunk;
            count += 1;
        }
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
        count
    }
}

fn length(chunk: &Bytes) -> u64 {
    u64::try_from(chunk.len()).unwrap_or(u64::MAX)
}

/// The widest window in datagrams of the smallest size; a peer that sends less in each has to wait for its reader.
const MOST_CHUNKS: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(texts: &[&'static str]) -> Vec<Bytes> {
        texts
            .iter()
            .map(|text| Bytes::from_static(text.as_bytes()))
            .collect()
    }

    #[test]
    fn what_was_put_in_comes_out_in_order_and_leaves_nothing() {
        let mut ahead = Ahead::default();
        ahead.put(&mut chunks(&["a", "bc"]));
        ahead.put(&mut chunks(&["d"]));
        let mut into = [const { Bytes::new() }; 2];
        assert_eq!(ahead.take(&mut into), 2);
        assert_eq!(into.as_slice(), chunks(&["a", "bc"]));
        ahead.put(&mut chunks(&["e"]));
        assert_eq!(ahead.take(&mut into), 2);
        assert_eq!(into.as_slice(), chunks(&["d", "e"]));
        assert_eq!(
            (ahead.take(&mut into), ahead.chunks.capacity(), ahead.bytes),
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
    fn it_is_bounded_in_bytes_and_in_chunks() {
        let mut ahead = Ahead::default();
        ahead.put(&mut chunks(&["abc"]));
        assert!(ahead.has_room(4));
        assert!(!ahead.has_room(3));
        ahead.put(&mut vec![Bytes::from_static(b"a"); MOST_CHUNKS - 1]);
        assert!(!ahead.has_room(u64::MAX));
    }
}
