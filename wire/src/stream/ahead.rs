//! Chunks that were taken out of QUIC before their reader had room for them.
//!
//! quinn keeps unread chunks in a heap whose room it never gives back, not even to the streams that come after: a
//! session that is read slowly left its room to one after another, until each had it. Above some thousand chunks it
//! copies them together as well. Here they wait in a queue that goes with the session. A chunk keeps its whole datagram
//! alive and counts as one, so that the queue holds no more memory than the peer was granted bytes; what a peer sends
//! beyond that, or in pieces, stays with quinn, which copies pieces together.

use bytes::Bytes;
use std::collections::VecDeque;
use tokio::io::ReadBuf;

/// The queue of one session.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    chunks: VecDeque<Bytes>,
    /// What the chunks hold.
    held: u64,
    /// The peer's own end follows the last chunk.
    pub(super) finished: bool,
}

impl Ahead {
    /// Whether another chunk may be put in, of a peer that may have `granted` bytes unread.
    pub(super) fn has_room(&self, granted: u64) -> bool {
        self.held < granted
    }

    /// Puts chunks in, whose places are left empty.
    pub(super) fn put(&mut self, chunks: &mut [Bytes]) {
        for chunk in chunks {
            self.held += held(chunk);
            self.chunks.push_back(std::mem::take(chunk));
        }
    }

    /// Takes the first chunks out into `into`, and says how many. An empty queue keeps no memory.
    pub(super) fn take(&mut self, into: &mut [Bytes]) -> usize {
        let mut count = 0;
        while let Some(place) = into.get_mut(count)
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.held -= held(&chunk);
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
            self.held += held(&first);
            self.chunks.push_front(first);
        }
    }
}

/// What a chunk costs: it keeps its datagram.
fn held(chunk: &Bytes) -> u64 {
    u64::try_from(chunk.len()).unwrap_or(u64::MAX).max(DATAGRAM)
}

/// The largest datagram that an endpoint takes.
const DATAGRAM: u64 = 1472;

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
            (ahead.take(&mut into), ahead.chunks.capacity(), ahead.held),
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
    fn a_chunk_counts_as_the_datagram_that_it_keeps() {
        let mut ahead = Ahead::default();
        ahead.put(&mut chunks(&["a", "b"]));
        assert!(ahead.has_room(2 * DATAGRAM + 1));
        assert!(!ahead.has_room(2 * DATAGRAM));
        let mut into = [Bytes::new()];
        ahead.take(&mut into);
        assert!(ahead.has_room(2 * DATAGRAM));
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
        assert_eq!((whole.as_slice(), ahead.held), (b"abcd".as_slice(), 0));
    }
}
