//! Small pieces of a session's bytes, counted until the peer has acknowledged them.
//!
//! QUIC bounds what it keeps for the peer by bytes, but a piece costs some hundred more: of a target that says a byte at a
//! time, to a peer that acknowledges none, a mebibyte would take a hundred. So each piece frees its own memory when QUIC
//! lets it go, and a session that has many of them out waits for more bytes before it takes another.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The small pieces of one session.
#[derive(Debug, Default)]
pub(super) struct Pieces(Arc<AtomicUsize>);

impl Pieces {
    /// The same bytes in memory of just their size.
    pub(super) fn copy(&self, bytes: &[u8]) -> Bytes {
        if bytes.len() >= SMALL {
            return Bytes::copy_from_slice(bytes);
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Piece {
            bytes: bytes.into(),
            out: self.0.clone(),
        })
    }

    /// Whether as many are out as may be.
    pub(super) fn many(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MOST
    }
}

/// A piece that QUIC has.
struct Piece {
    bytes: Box<[u8]>,
    out: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.out.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is larger costs little more than its bytes.
const SMALL: usize = 1024;
/// Small pieces that may be out: at a round trip of 150 ms still some hundred in a second.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_count_until_they_are_let_go() {
        let pieces = Pieces::default();
        let mut out: Vec<_> = (0..MOST).map(|_| pieces.copy(b"x")).collect();
        assert_eq!(out.first().map(|piece| &piece[..]), Some(&b"x"[..]));
        assert!(pieces.many());
        let clone = out.pop();
        assert!(pieces.many());
        drop(clone);
        assert!(!pieces.many());
        out.extend((0..MOST).map(|_| pieces.copy(&[0; SMALL])));
        assert!(!pieces.many(), "large ones do not count");
    }
}
