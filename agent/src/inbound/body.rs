//! The bodies that pass, frame by frame, never buffered whole: uploads to an origin, downloads to a client.

use super::exchange::SharedExchange;
use super::login::OwnSessions;
use super::pool::Pool;
use super::upstream::{Upstream, idle};
use bytes::Bytes;
use fluidity_wire::Target;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Why a body was cut. hyper then cuts the connection, too.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A client's body on its way to the origin.
#[derive(Debug)]
pub(super) struct Upload {
    inner: Option<Incoming>,
    exchange: SharedExchange,
    /// Whether all of it is out of here.
    done: Arc<AtomicBool>,
}

impl Upload {
    pub(super) fn new(inner: Incoming, exchange: SharedExchange) -> Self {
        let inner = Some(inner).filter(|inner| !inner.is_end_stream());
        let done = Arc::new(AtomicBool::new(inner.is_none()));
        Self {
            inner,
            exchange,
            done,
        }
    }

    /// No body.
    pub(super) fn none(exchange: SharedExchange) -> Self {
        Self {
            inner: None,
            exchange,
            done: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Tells later whether all of it went.
    pub(super) fn uploaded(&self) -> Arc<AtomicBool> {
        self.done.clone()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        // To read is to say 100 Continue to the client: only the origin may.
        ready!(this.exchange.poll_body(context));
        let frame = ready!(Pin::new(&mut *inner).poll_frame(context));
        if frame.is_none() || inner.is_end_stream() {
            this.done.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Of a body with a length, the end is known before it is asked for.
        if self.is_end_stream() {
            self.done.store(true, Ordering::Relaxed);
        }
    }
}

/// The body of an answer: the origin's, or a few words of the proxy itself.
pub(super) enum ReplyBody {
    /// Own words.
    Full(Full<Bytes>),
    /// The origin's.
    Download(Box<Download>),
}

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> Self {
        Self::Full(Full::new(bytes))
    }
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Download(_) => "Download",
        })
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Download(body) => body.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Download(body) => body.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Download(body) => body.inner.size_hint(),
        }
    }
}

/// An origin's body on its way to the client. When both bodies are through, the session waits for another exchange;
/// dropped before, it is cut.
pub(super) struct Download {
    inner: Incoming,
    ended: bool,
    source: Option<Source>,
    silence: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What a download comes over, and where that goes afterwards.
#[derive(Debug)]
pub(super) struct Source {
    /// The session.
    pub(super) upstream: Upstream,
    /// Whether the request's own body is through.
    pub(super) uploaded: Arc<AtomicBool>,
    /// Where the session may wait.
    pub(super) pool: Arc<Pool>,
    /// Where it waits if it belongs to the client's connection.
    pub(super) own: Arc<OwnSessions>,
    /// For whom.
    pub(super) target: Target,
}

impl Download {
    /// Cut when nothing moves for `limit`.
    pub(super) fn new(inner: Incoming, source: Source, limit: Duration) -> Self {
        let meter = source.upstream.meter().clone();
        Self {
            inner,
            ended: false,
            source: Some(source),
            silence: Box::pin(async move { idle(&meter, limit).await }),
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(frame)) => Poll::Ready(Some(frame.map_err(Into::into))),
            Poll::Pending => {
                ready!(self.silence.as_mut().poll(context));
                let error = io::Error::new(io::ErrorKind::TimedOut, "the origin was silent for too long");
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let whole = self.ended || self.inner.is_end_stream();
        if let Some(source) = self.source.take()
            && whole
            && source.upstream.is_fit()
        {
            if source.upstream.is_bound() {
                // An origin may ask for the login before it has read the whole request. The rest goes on.
                if source.uploaded.load(Ordering::Relaxed) {
                    source.upstream.rest();
                }
                source.own.put(source.target, source.upstream);
            } else if source.uploaded.load(Ordering::Relaxed) {
                source.upstream.rest();
                source.pool.put(source.target, source.upstream);
            }
        }
    }
}
