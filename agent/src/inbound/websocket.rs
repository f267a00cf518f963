//! The upgrade to WebSocket in absolute form (RFC 6455 §4): the handshake passes as it is, and so do the frames.

use super::Admitted;
use super::Service;
use super::body::{ReplyBody, Upload};
use super::forward::Outgoing;
use super::frames::Frames;
use super::head::{Head, Origin};
use super::headers;
use super::relay::Handover;
use super::reply::{OriginError, Refusal};
use super::upstream::{Upstream, UpstreamIo};
use bytes::Bytes;
use fluidity_wire::{Kind, Open};
use http::{Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

impl Service {
    pub(super) async fn websocket(
        &self,
        Admitted { request, span }: Admitted<'_>,
        head: Head,
        origin: Origin,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let upstream = match self.own.take(&origin.target).await {
            Some(own) => own,
            None => {
                let open = Open::new(Kind::WebSocket, origin.target.clone());
                let session = self.held(self.proxy.tunnel.open(open, span)).await?;
                Upstream::start(session, self.proxy.origins, &self.proxy.tasks, &self.proxy.now).await?
            }
        };
        let (mut parts, _) = request.into_parts();
        let client = parts.extensions.remove::<OnUpgrade>();
        let fields = headers::for_upgrade(&parts.headers, &origin);
        let outgoing = Outgoing::new(parts, fields, &origin).request(Upload::none(self.exchange.clone()));
        let exchanged = self.exchange_over(upstream, outgoing, &head).await;
        let mut exchanged = exchanged.map_err(|error| error.error)?;
        if exchanged.answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            // Declined, an ordinary answer: the connection goes on with HTTP.
            return Ok(self.stream(exchanged, origin));
        }
        let answer = &mut exchanged.answer;
        let (Some(client), true) = (client, headers::grants_websocket(answer.headers())) else {
            return Err(OriginError::Upgraded.into());
        };
        let switched = hyper::upgrade::on(answer)
            .await
            .map_err(|_| OriginError::Closed)?;
        let switched = switched
            .downcast::<TokioIo<UpstreamIo>>()
            .map_err(|_| OriginError::Upgraded)?;
        let record = exchanged
            .upstream
            .meter()
            .take_record()
            .ok_or(OriginError::Closed)?;
        exchanged.upstream.rest();
        let (send, recv, rest) = switched.io.into_inner().into_parts();
        let first = Bytes::from([switched.read_buf, rest].concat());
        let mut frames = Frames::default();
        frames.follow(&first);
        self.exchange.hand_over(Handover {
            client,
            session: (send, recv).into(),
            record,
            early: Bytes::new(),
            promise: None,
            first,
            frames: Some(frames),
        });
        let (mut parts, _) = exchanged.answer.into_parts();
        headers::for_upgraded(&mut parts.headers);
        parts.version = Version::HTTP_11;
        Ok(Response::from_parts(parts, ReplyBody::from(Bytes::new())))
    }
}
