//! CONNECT: a session first, then 200, then raw bytes both ways (RFC 9110 §9.3.6). Where the tunnel promises that the
//! target will be reached, the 200 does not wait for it.

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
        let open = Open::new(Kind::Connect, target);
        let connected = self.held(self.proxy.tunnel.connect(open, early, span)).await?;
        self.exchange.hand_over(Handover {
            client: hyper::upgrade::on(request),
            session: connected.session,
            record: connected.record,
            early: connected.early,
            promise: connected.promise,
            first: Bytes::new(),
            frames: None,
        });
        // No field at all: hyper adds none to the answer of a CONNECT either.
        Ok(Response::new(ReplyBody::from(Bytes::new())))
    }
}
