//! What a client connection's socket ([`super::client`]) and its requests tell one another, around hyper.
//!
//! One request at a time is under way on a connection; each new head starts a new exchange. The socket hands over the
//! head it read; the requests hand over 1xx answers, the end of a wait for an upgrade, and what follows one.

use super::head::{Head, HeadError};
use super::relay::Handover;
use bytes::{Bytes, BytesMut};
use hyper::upgrade::OnUpgrade;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The state of a client connection's current request.
#[derive(Debug, Default)]
pub(super) struct Exchange(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: Option<Result<Arrival, HeadError>>,
    informational: BytesMut,
    /// Everything that hyper wrote is with the kernel: a 1xx can go out without falling into an answer.
    flushed: bool,
    hold: Hold,
    body: Body,
    handover: Option<Box<Handover>>,
    /// Where hyper leaves the socket after a CONNECT or a handshake that was declined, when the connection ends.
    declined: Option<OnUpgrade>,
    /// Of the task that serves the connection.
    connection: Option<Waker>,
}

/// A head, with the bytes behind it that came along with a CONNECT.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) head: Head,
    pub(super) early: Bytes,
}

/// Whether the socket holds back what follows the head: after a CONNECT or an upgrade, it may not be HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hold {
    /// Not needed, or no longer: HTTP goes on.
    #[default]
    Off,
    /// Until it is known what follows.
    On,
}

#[derive(Debug, Default)]
struct Body {
    awaited: bool,
    reader: Option<Waker>,
}

impl Exchange {
    /// The socket read a head, or something that is none.
    pub(super) fn begin(&self, next: Result<Arrival, HeadError>) {
        let mut state = self.lock();
        let head = next.as_ref().map(|arrival| &arrival.head);
        state.body.awaited = head.is_ok_and(|head| head.expects_continue);
        state.hold = match head.map(|head| &head.form) {
            Ok(super::head::Form::Connect(_) | super::head::Form::WebSocket(_)) => Hold::On,
            _ => Hold::Off,
        };
        state.next = Some(next);
    }

    /// The service takes what belongs to the request that hyper gave it.
    pub(super) fn take(&self) -> Option<Result<Arrival, HeadError>> {
        self.lock().next.take()
    }

    /// Whether the socket must hold back.
    pub(super) fn hold(&self) -> Hold {
        self.lock().hold
    }

    /// The answer is no upgrade: HTTP goes on.
    pub(super) fn release(&self) {
        let mut state = self.lock();
        state.hold = Hold::Off;
        wake(&mut state.connection);
    }

    /// No upgrade came of a request that hyper has kept the socket for.
    pub(super) fn decline(&self, upgrade: OnUpgrade) {
        self.lock().declined = Some(upgrade);
    }

    /// Where the socket is, if hyper has let go of it without an upgrade.
    pub(super) fn take_declined(&self) -> Option<OnUpgrade> {
        self.lock().declined.take()
    }

    /// A 1xx answer on its way to the client.
    pub(super) fn inform(&self, head: &[u8]) {
        let mut state = self.lock();
        if state.informational.len() + head.len() <= MOST_INFORMATIONAL {
            state.informational.extend_from_slice(head);
            wake(&mut state.connection);
        }
    }

    /// The final answer is about to go out. A 1xx that would fall behind it is dropped; the client needs none.
    pub(super) fn answer(&self) {
        let mut state = self.lock();
        if !state.flushed {
            state.informational.clear();
        }
    }

    /// hyper has nothing left to flush: what is to go out before its next byte.
    pub(super) fn at_boundary(&self, context: &Context<'_>) -> BytesMut {
        let mut state = self.lock();
        state.flushed = true;
        if !state
            .connection
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            state.connection = Some(context.waker().clone());
        }
        state.informational.split()
    }

    /// hyper is about to write: what is to go out before.
    pub(super) fn before_write(&self) -> BytesMut {
        let mut state = self.lock();
        if std::mem::take(&mut state.flushed) {
            state.informational.split()
        } else {
            BytesMut::new()
        }
    }

    /// The origin said 100, or the client sends the body without waiting for it.
    pub(super) fn body_may_flow(&self) {
        let mut state = self.lock();
        state.body.awaited = false;
        wake(&mut state.body.reader);
    }

    /// Whether the body is waited for.
    pub(super) fn body_is_awaited(&self) -> bool {
        self.lock().body.awaited
    }

    /// Ready once the body may be read: hyper answers 100 by itself when it is.
    pub(super) fn poll_body(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if !state.body.awaited {
            return Poll::Ready(());
        }
        state.body.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// What happens to the socket once hyper lets go of it.
    pub(super) fn hand_over(&self, handover: Handover) {
        self.lock().handover = Some(Box::new(handover));
    }

    /// What happens to the socket now that hyper let go of it.
    pub(super) fn take_handover(&self) -> Option<Box<Handover>> {
        self.lock().handover.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shared by the socket and the requests of one connection.
pub(super) type SharedExchange = Arc<Exchange>;

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Bytes of 1xx heads that may wait; more are dropped.
const MOST_INFORMATIONAL: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_1xx_goes_out_only_between_answers() {
        let exchange = Exchange::default();
        let context = Context::from_waker(Waker::noop());
        // The answer before is still being written.
        exchange.inform(b"103");
        assert_eq!(exchange.before_write(), &b""[..]);
        assert_eq!(exchange.at_boundary(&context), &b"103"[..]);
        exchange.inform(b"103");
        exchange.answer();
        assert_eq!(exchange.before_write(), &b"103"[..]);
        // Now it is too late: the answer's own bytes are out.
        exchange.inform(b"103");
        exchange.answer();
        assert_eq!(exchange.before_write(), &b""[..]);
        assert_eq!(exchange.at_boundary(&context), &b""[..]);
    }
}
