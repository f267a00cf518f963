//! Answers by tables, and by whatever bytes there are, in pieces of every size.

mod body;
mod head;

use super::AnswerError;
use super::reader::AnswerReader;
use super::turn::Turn;
use crate::inbound::head::HeadLimits;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, ReadBuf};

const LIMITS: HeadLimits = HeadLimits {
    size: 512,
    fields: 20,
};

/// An origin that sends these pieces, and ends.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    fn of(bytes: &[u8], step: usize) -> Self {
        Self(bytes.chunks(step.max(1)).map(<[u8]>::to_vec).collect())
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(piece) = self.0.front_mut() {
            let rest = piece.split_off(piece.len().min(out.remaining()));
            out.put_slice(piece);
            if rest.is_empty() {
                self.0.pop_front();
            } else {
                *piece = rest;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Sends nothing yet.
struct Silence;

impl AsyncRead for Silence {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// What hyper reads of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    bytes: Vec<u8>,
    end: End,
    fit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The answer is whole: hyper is left waiting.
    Whole,
    /// The session ended, which hyper understands by itself.
    Closed,
    Error(AnswerError),
}

/// Plays an origin that sends `bytes` in pieces, to a hyper that has room for `room` bytes at a time.
fn play(bytes: &[u8], to_head: bool, step: usize, room: usize) -> Seen {
    let turn = Arc::new(Turn::default());
    let mut reader = AnswerReader::new(LIMITS, turn.clone());
    let mut context = Context::from_waker(Waker::noop());
    turn.begin(to_head);
    reader.await_answer(&mut Silence, &mut context).unwrap();
    let mut origin = Pieces::of(bytes, step);
    let mut seen = Vec::new();
    let end = loop {
        let mut room = vec![0; room];
        let mut out = ReadBuf::new(&mut room);
        match reader.poll_read(&mut origin, &mut context, &mut out) {
            Poll::Ready(Ok(())) if out.filled().is_empty() => break End::Closed,
            Poll::Ready(Ok(())) => seen.extend_from_slice(out.filled()),
            Poll::Ready(Err(error)) => {
                break End::Error(*error.get_ref().unwrap().downcast_ref().unwrap());
            }
            Poll::Pending => break End::Whole,
        }
    };
    // The end of the session behind an answer spoils it, too: only what came before counts here.
    let fit = !turn.is_unfit()
        || (end == End::Whole && origin.0.is_empty() && {
            let turn = Arc::new(Turn::default());
            let mut reader = AnswerReader::new(LIMITS, turn.clone());
            turn.begin(to_head);
            reader.await_answer(&mut Silence, &mut context).unwrap();
            rests_fit(&mut reader, &turn, bytes)
        });
    Seen {
        bytes: seen,
        end,
        fit,
    }
}

/// Whether the session could be used again, were it still open.
fn rests_fit(reader: &mut AnswerReader, turn: &Turn, bytes: &[u8]) -> bool {
    struct Open(Pieces);
    impl AsyncRead for Open {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.0.0.is_empty() {
                return Poll::Pending;
            }
            Pin::new(&mut self.0).poll_read(context, out)
        }
    }
    let mut origin = Open(Pieces::of(bytes, bytes.len()));
    let mut context = Context::from_waker(Waker::noop());
    let mut room = [0; 4096];
    while let Poll::Ready(read) = reader.poll_read(&mut origin, &mut context, &mut ReadBuf::new(&mut room)) {
        read.unwrap();
    }
    !turn.is_unfit()
}

/// The same answer in pieces of every size comes to the same.
fn seen(bytes: &[u8], to_head: bool) -> Seen {
    let whole = play(bytes, to_head, bytes.len(), 64 * 1024);
    for (step, room) in [(1, 1), (1, 64), (2, 3), (3, 1000), (7, 5), (64, 64), (1000, 16)] {
        let pieces = play(bytes, to_head, step, room);
        assert_eq!(
            (String::from_utf8_lossy(&pieces.bytes), pieces.end),
            (String::from_utf8_lossy(&whole.bytes), whole.end),
            "in pieces of {step}, room for {room}: {:?}",
            String::from_utf8_lossy(bytes)
        );
        assert_eq!(
            pieces.fit,
            whole.fit,
            "in pieces of {step}: {:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    whole
}

#[track_caller]
fn passes(answer: &[u8], as_: &[u8]) {
    let seen = seen(answer, false);
    assert_eq!(
        (String::from_utf8_lossy(&seen.bytes), seen.end),
        (String::from_utf8_lossy(as_), End::Whole)
    );
    assert!(
        seen.fit,
        "it can be used again: {:?}",
        String::from_utf8_lossy(answer)
    );
}

#[track_caller]
fn refused(answer: &[u8], error: AnswerError) {
    let seen = seen(answer, false);
    assert_eq!(
        (seen.end, seen.bytes.as_slice()),
        (End::Error(error), &b""[..]),
        "{:?}",
        String::from_utf8_lossy(answer)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_come_to_the_same_however_they_are_cut(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        to_head in any::<bool>(),
    ) {
        seen(&bytes, to_head);
    }

    #[test]
    fn anything_like_an_answer_comes_to_the_same_however_it_is_cut(
        parts in proptest::collection::vec(proptest::sample::select(PARTS), 0..14),
        to_head in any::<bool>(),
    ) {
        let bytes = parts.concat();
        let seen = seen(&bytes, to_head);
        // Whatever passes is an answer that another parser reads, too.
        if seen.bytes.starts_with(b"HTTP") {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut answer = httparse::Response::new(&mut fields);
            prop_assert!(answer.parse(&seen.bytes).unwrap().is_complete());
        }
    }
}

/// What answers are made of.
const PARTS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 404\n",
    b"HTTP/1.1 100 Go\r\n\r\n",
    b"HTTP/1.1 304 Same\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 7, 7\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"X : a\0b\r\n",
    b" folded\r\n",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"hello",
    b"5\r\nhello\r\n",
    b"5;x\r\nhello\r\n",
    b"0\r\n\r\n",
    b"000\r\nX: 1\r\n\r\n",
];
