//! Where in a WebSocket's frames the client is, so that a lost tunnel can still be told with a Close (RFC 6455 §5.2).
//!
//! Looks at lengths only; payloads pass verbatim, compressed or not. A Close may stand between any two frames, also
//! between the fragments of a message (§5.4), but never inside one: there the socket is reset.

use bytes::{Bytes, BytesMut};
use fluidity_wire::ResetCode;
use fluidity_wire::relay::{RelayEnd, Tap};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Follows the frames that go to the client.
#[derive(Debug, Default)]
pub(super) struct Frames {
    at: At,
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a frame's head: its bytes so far.
    Head { bytes: [u8; LONGEST_HEAD], have: usize },
    /// In a payload.
    Payload { left: u64 },
}

impl Default for At {
    fn default() -> Self {
        Self::Head {
            bytes: [0; LONGEST_HEAD],
            have: 0,
        }
    }
}

impl Frames {
    /// Follows bytes on their way to the client.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            match &mut self.at {
                At::Payload { left } => {
                    let here = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= u64::try_from(here).unwrap_or(*left);
                    if *left == 0 {
                        self.at = At::default();
                    }
                    bytes = bytes.get(here..).unwrap_or_default();
                }
                At::Head { bytes: head, have } => {
                    if let Some(place) = head.get_mut(*have) {
                        *place = *first;
                    }
                    *have += 1;
                    bytes = rest;
                    if let Some(length) = payload_length(head.get(..*have).unwrap_or_default()) {
                        self.closed |= head.first().is_some_and(|first| first & 0x0f == CLOSE);
                        self.at = match length {
                            0 => At::default(),
                            left => At::Payload { left },
                        };
                    }
                }
            }
        }
    }

    fn between_frames(&self) -> bool {
        matches!(self.at, At::Head { have: 0, .. })
    }
}

impl Tap for Frames {
    fn pass(&mut self, chunks: &[Bytes]) {
        for chunk in chunks {
            self.follow(chunk);
        }
    }

    fn last_words(&mut self, end: RelayEnd) -> Option<Bytes> {
        if !self.between_frames() {
            return None;
        }
        if self.closed {
            // The origin's own Close is out: all that is left is the end.
            return Some(Bytes::new());
        }
        let (code, reason) = match end {
            RelayEnd::Cancelled | RelayEnd::PeerReset(Some(ResetCode::ShuttingDown)) => {
                (CloseCode::Restart, "the proxy is stopping")
            }
            RelayEnd::ConnectionLost
            | RelayEnd::PeerReset(
                None | Some(ResetCode::Abandoned | ResetCode::Internal | ResetCode::Protocol),
            ) => (CloseCode::from(BAD_GATEWAY), "the tunnel was lost"),
            // The origin or the client broke it off, or it slept for too long: that is for the reset to tell.
            _ => return None,
        };
        let close = CloseFrame {
            code,
            reason: reason.into(),
        };
        let mut bytes = Vec::new();
        Frame::close(Some(close)).format(&mut bytes).ok()?;
        Some(BytesMut::from(bytes.as_slice()).freeze())
    }
}

/// The payload's length, once the head is whole.
fn payload_length(head: &[u8]) -> Option<u64> {
    let (_, second, rest) = match head {
        [first, second, rest @ ..] => (first, second, rest),
        _ => return None,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (length, extended) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
        length => (u64::from(length), 0),
    };
    (rest.len() == extended + mask).then_some(length)
}

/// Two bytes, eight of length, four of mask.
const LONGEST_HEAD: usize = 14;
/// The opcode of a Close.
const CLOSE: u8 = 0x8;
/// Bad gateway, of the IANA registry of close codes.
const BAD_GATEWAY: u16 = 1014;

#[cfg(test)]
mod tests {
    use super::*;

    fn after(bytes: &[u8], step: usize) -> Frames {
        let mut frames = Frames::default();
        for part in bytes.chunks(step) {
            frames.pass(&[Bytes::copy_from_slice(part)]);
        }
        frames
    }

    #[test]
    fn a_close_is_said_between_frames_and_only_there() {
        let mut stream = vec![0x82, 126, 1, 0];
        stream.extend([7; 256]);
        stream.extend([0x89, 0]);
        stream.extend([0x01, 0x83, 1, 2, 3, 4, 9, 9, 9]);
        stream.extend([0x80, 127, 0, 0, 0, 0, 0, 0, 0, 2, 5, 5]);
        let boundaries = [0, 260, 262, 271, stream.len()];
        for length in 0..=stream.len() {
            for step in [1, 3, 1000] {
                let words = after(&stream[..length], step).last_words(RelayEnd::ConnectionLost);
                assert_eq!(
                    words.is_some(),
                    boundaries.contains(&length),
                    "after {length} bytes"
                );
            }
        }
    }

    #[test]
    fn the_close_says_why() {
        for (end, code) in [
            (RelayEnd::ConnectionLost, 1014),
            (RelayEnd::Cancelled, 1012),
            (RelayEnd::PeerReset(Some(ResetCode::ShuttingDown)), 1012),
        ] {
            let words = Frames::default().last_words(end).unwrap();
            assert_eq!(words[0], 0x88);
            assert_eq!(usize::from(words[1]), words.len() - 2, "whole and unmasked");
            assert_eq!(u16::from_be_bytes([words[2], words[3]]), code);
        }
        for end in [
            RelayEnd::PeerReset(Some(ResetCode::UpstreamReset)),
            RelayEnd::TcpReset,
            RelayEnd::IdleTimeout,
        ] {
            assert_eq!(Frames::default().last_words(end), None, "{end}");
        }
    }

    #[test]
    fn after_the_origins_own_close_there_is_nothing_to_say() {
        let mut frames = after(&[0x88, 2, 3, 0xe8], 1);
        assert_eq!(frames.last_words(RelayEnd::ConnectionLost), Some(Bytes::new()));
    }
}
