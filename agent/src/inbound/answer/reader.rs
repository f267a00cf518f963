//! The answers on a session, one after the other, for hyper: each head judged and written anew, each body as it came.
//!
//! hyper gets an answer only where one was asked for, and nothing behind its end. What comes unasked, before a request
//! or behind an answer, makes the session unfit for another one: it could become the answer to somebody else.

use super::chunks::Chunks;
use super::turn::Turn;
use super::{AnswerError, AnswerHead, Content, trailers};
use crate::inbound::head::HeadLimits;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// Reads answers.
#[derive(Debug)]
pub(in crate::inbound) struct AnswerReader {
    limits: HeadLimits,
    stage: Stage,
    turn: Arc<Turn>,
    /// The request that is being answered.
    asked: u64,
    /// Read, not yet handed on: a part of a head or a trailer section, and what came along with it.
    buffer: BytesMut,
    /// How far no end of a section was found in it.
    looked: usize,
    /// The head's first line was judged.
    judged: bool,
    /// Bytes of empty lines before a status line.
    skipped: usize,
    /// A head or a trailer section on its way to hyper.
    passing: Bytes,
    /// Bytes that were read for an answer, and not told yet.
    moved: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before the first request: what comes meanwhile is left where it is.
    Fresh,
    /// Before or in a head.
    Head,
    Length(u64),
    Chunked(Chunks),
    /// Behind the last chunk.
    Trailers,
    UntilClose,
    /// Behind a 101.
    Upgraded,
    /// Behind an answer.
    Over,
    Broken(AnswerError),
}

impl AnswerReader {
    pub(in crate::inbound) fn new(limits: HeadLimits, turn: Arc<Turn>) -> Self {
        Self {
            limits,
            stage: Stage::Fresh,
            turn,
            asked: 0,
            buffer: BytesMut::new(),
            looked: 0,
            judged: false,
            skipped: 0,
            passing: Bytes::new(),
            moved: 0,
        }
    }

    /// hyper is about to write. With the first bytes of a request, the answer to it is awaited: what came before is none.
    pub(in crate::inbound) fn await_answer<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        let begun = self.turn.begun();
        if begun == self.asked {
            return Ok(());
        }
        self.asked = begun;
        let fresh = match self.stage {
            Stage::Fresh => true,
            Stage::Over if !self.turn.is_unfit() => false,
            _ => return Err(unasked()),
        };
        self.stage = Stage::Head;
        match self.poll_fill(io, context) {
            Poll::Pending => Ok(()),
            // An origin that speaks first may have its reasons ("503, overloaded"); the session ends with that.
            Poll::Ready(_) if fresh => {
                self.turn.spoil();
                context.waker().wake_by_ref();
                Ok(())
            }
            Poll::Ready(_) => {
                // Not counted: this request has not been answered, and may be repeated elsewhere.
                self.moved = 0;
                self.stage = Stage::Over;
                self.turn.spoil();
                Err(unasked())
            }
        }
    }

    /// Reads for hyper.
    pub(in crate::inbound) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !self.passing.is_empty() {
                self.hand_over(out);
                return Poll::Ready(Ok(()));
            }
            match self.stage {
                Stage::Fresh => return Poll::Pending,
                Stage::Over => return self.poll_over(io, context),
                Stage::Broken(error) => return Poll::Ready(Err(broken(error))),
                Stage::Head => {
                    if let Some(head) = self.next_head()? {
                        self.passing = head;
                        continue;
                    }
                    if ready!(self.poll_fill(io, context))? == 0 {
                        return Poll::Ready(self.end_in_head());
                    }
                }
                Stage::Trailers => {
                    if !self.take_trailers()? && ready!(self.poll_fill(io, context))? == 0 {
                        // hyper sees an end in the middle of a body.
                        return Poll::Ready(Ok(()));
                    }
                }
                Stage::Length(_) | Stage::Chunked(_) | Stage::UntilClose | Stage::Upgraded => {
                    let before = out.filled().len();
                    if !ready!(self.poll_body(io, context, out))? {
                        return Poll::Ready(Ok(()));
                    }
                    self.follow(before, out);
                    if out.filled().len() > before {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }

    /// Bytes that were read for answers since the last call.
    pub(in crate::inbound) fn take_moved(&mut self) -> usize {
        std::mem::take(&mut self.moved)
    }

    /// What was read, and not handed on.
    pub(in crate::inbound) fn into_rest(self) -> Bytes {
        self.buffer.freeze()
    }

    fn hand_over(&mut self, out: &mut ReadBuf<'_>) {
        let size = self.passing.len().min(out.remaining());
        out.put_slice(&self.passing.split_to(size));
    }

    /// The next head, as hyper is to get it, once it is whole.
    fn next_head(&mut self) -> io::Result<Option<Bytes>> {
        let head = match self.find_head() {
            Ok(Some(length)) => self.buffer.split_to(length),
            Ok(None) => return Ok(None),
            Err(error) => return Err(self.break_off(error)),
        };
        (self.looked, self.judged, self.skipped) = (0, false, 0);
        let head = AnswerHead::parse(&head, Turn::asks_for_head(self.asked), self.limits.fields);
        let head = head.map_err(|error| self.break_off(error))?;
        self.stage = match head.content {
            Content::AnotherHead => Stage::Head,
            Content::Upgrade => Stage::Upgraded,
            Content::None => self.end(),
            Content::Length(length) => Stage::Length(length),
            Content::Chunked => Stage::Chunked(Chunks::default()),
            Content::UntilClose => Stage::UntilClose,
        };
        if head.doubtful || self.stage == Stage::Upgraded {
            self.turn.spoil();
        }
        Ok(Some(head.text))
    }

    /// Where the head at the buffer's start ends. The same for every way in which the bytes come.
    fn find_head(&mut self) -> Result<Option<usize>, AnswerError> {
        // RFC 9112 §2.2: empty lines before the first one say nothing.
        while !self.judged
            && let Some(length) = empty_line(&self.buffer)
        {
            self.buffer.advance(length);
            self.skipped += length;
        }
        let room = self.limits.size.saturating_sub(self.skipped);
        let mut end = None;
        if room > 0 && !matches!(*self.buffer, [] | [b'\r']) {
            if !self.judged {
                let line = self.buffer.get(..room).unwrap_or(&self.buffer);
                self.judged = AnswerHead::begins(line)?;
            }
            end = end_of_section(&self.buffer, &mut self.looked);
        }
        match end {
            Some(length) if length <= room => Ok(Some(length)),
            None if self.buffer.len() < room => Ok(None),
            _ => Err(AnswerError::TooLarge(self.limits.size)),
        }
    }

    fn end_in_head(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() && self.skipped == 0 {
            // It said nothing.
            return Ok(());
        }
        Err(self.break_off(AnswerError::Cut))
    }

    /// The trailer section, as hyper is to get it, once it is whole.
    fn take_trailers(&mut self) -> io::Result<bool> {
        let end = match empty_line(&self.buffer) {
            None if *self.buffer != *b"\r" => end_of_section(&self.buffer, &mut self.looked),
            end => end,
        };
        let room = self.limits.size;
        let Some(end) = end.filter(|end| *end <= room) else {
            if end.is_none() && self.buffer.len() < room {
                return Ok(false);
            }
            return Err(self.break_off(AnswerError::Trailers(room)));
        };
        let section = self.buffer.split_to(end);
        self.looked = 0;
        self.passing = trailers::passing(&section);
        self.stage = self.end();
        Ok(true)
    }

    /// Bytes of a body into `out`. `Ok(false)` is the session's end.
    fn poll_body<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.buffer.is_empty() {
            let before = out.filled().len();
            ready!(Pin::new(io).poll_read(context, out))?;
            let read = out.filled().len() - before;
            self.moved += read;
            return Poll::Ready(Ok(read > 0));
        }
        let size = self.buffer.len().min(out.remaining());
        out.put_slice(&self.buffer.split_to(size));
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        Poll::Ready(Ok(true))
    }

    /// Follows what was put into `out` behind `before`; what is no longer of the body goes out of it again.
    fn follow(&mut self, before: usize, out: &mut ReadBuf<'_>) {
        let Some(news) = out.filled_mut().get_mut(before..) else {
            return;
        };
        match &mut self.stage {
            Stage::Length(left) => {
                let here = u64::try_from(news.len()).unwrap_or(u64::MAX);
                if here < *left {
                    *left -= here;
                    return;
                }
                let kept = usize::try_from(*left).unwrap_or(news.len());
                if kept < news.len() {
                    self.turn.spoil();
                }
                out.set_filled(before + kept);
                self.stage = self.end();
            }
            Stage::Chunked(chunks) => {
                let passed = chunks.pass(news);
                let last = chunks.is_last();
                if let Some(behind) = news.get(passed.taken..).filter(|behind| !behind.is_empty()) {
                    let mut buffer = BytesMut::with_capacity(behind.len() + self.buffer.len());
                    buffer.put_slice(behind);
                    buffer.put_slice(&self.buffer);
                    self.buffer = buffer;
                }
                out.set_filled(before + passed.kept);
                if let Some(error) = passed.error {
                    // Its turn comes once the bytes before it are through.
                    self.stage = Stage::Broken(error);
                } else if last {
                    self.stage = Stage::Trailers;
                    self.looked = 0;
                    // If that fails, it is told next.
                    if let Ok(true) = self.take_trailers() {
                        self.hand_over(out);
                    }
                }
            }
            _ => {}
        }
    }

    /// An answer's end.
    fn end(&mut self) -> Stage {
        if !self.buffer.is_empty() {
            self.turn.spoil();
            self.buffer = BytesMut::new();
        }
        Stage::Over
    }

    /// Nothing is asked: all that may come is the end.
    fn poll_over<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.turn.is_unfit() {
            let mut scrap = [0; 64];
            let _ = ready!(Pin::new(io).poll_read(context, &mut ReadBuf::new(&mut scrap)));
            self.turn.spoil();
        }
        // The answer is whole; hyper would give up the rest of the request, and the answer with it.
        self.turn.poll_rest(context.waker()).map(Ok)
    }

    /// Reads into the buffer; 0 is the end.
    fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut room = [0; READ_SIZE];
        let mut room = ReadBuf::new(&mut room);
        ready!(Pin::new(io).poll_read(context, &mut room))?;
        let read = room.filled();
        self.buffer.extend_from_slice(read);
        self.moved += read.len();
        Poll::Ready(Ok(read.len()))
    }

    fn break_off(&mut self, error: AnswerError) -> io::Error {
        self.stage = Stage::Broken(error);
        broken(error)
    }
}

/// The length of an empty line at the start of `bytes`.
const fn empty_line(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// Where the section at the start of `bytes` ends, its empty line with it. `looked` is where the next look begins.
fn end_of_section(bytes: &[u8], looked: &mut usize) -> Option<usize> {
    while let Some(rest) = bytes.get(*looked..)
        && let Some(line_end) = rest.iter().position(|byte| *byte == b'\n')
    {
        let next = *looked + line_end + 1;
        match bytes.get(next..).unwrap_or_default() {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            [] | [b'\r'] => {
                *looked = next - 1;
                return None;
            }
            _ => *looked = next,
        }
    }
    *looked = bytes.len();
    None
}

fn broken(error: AnswerError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn unasked() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "the origin spoke unasked, or hung up",
    )
}

/// Room for one read.
const READ_SIZE: usize = 4 * 1024;
