//! CONNECT: a session first, then 200, then raw bytes both ways (RFC 9110 §9.3.6).

use super::Admitted;
use super::Service;
use super::body::ReplyBody;
use super::relay::Handover;
use super::reply::Refusal;
use bytes::Bytes;
use fluidity_wire::{Kind, Open, Target};
use http::Response;

impl Service {
    /// Opens the session; `early` are the bytes that came along with the request.
    pub(super) async fn connect(
        &self,
        Admitted { request, span }: Admitted<'_>,
        target: Target,
        early: Bytes,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let session = self
            .proxy
            .tunnel
            .open(Open::new(Kind::Connect, target), early, span)
            .await?;
        self.exchange.hand_over(Handover {
            client: hyper::upgrade::on(request),
            session: (session.send, session.recv),
            record: session.record,
            first: Bytes::new(),
            frames: None,
        });
        // No field at all: hyper adds none to the answer of a CONNECT either.
        Ok(Response::new(ReplyBody::from(Bytes::new())))
    }
}
