//! Plain HTTP requests: rewritten for the origin (RFC 9110 §7.6), sent over a session, the answer streamed back.
//!
//! A request may go over a session that was used before only where it can be repeated: idempotent, without a body.
//! If the origin has hung up meanwhile, it is repeated once, on a fresh session. A session that the client has logged in
//! ([`super::login`]) takes each of its requests: the login counts nowhere else.

use super::Admitted;
use super::Service;
use super::asked::Asked;
use super::body::{Download, ReplyBody, Source, Upload};
use super::exchange::SharedExchange;
use super::head::{Head, Origin};
use super::headers;
use super::login;
use super::reply::{OriginError, Refusal};
use super::upstream::{ExchangeError, Meter, Upstream};
use bytes::Bytes;
use fluidity_wire::{Kind, Open};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, MAX_FORWARDS};
use http::{Method, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// An answer's head, and what its body will come over.
pub(super) struct Exchanged {
    pub(super) answer: Response<Incoming>,
    pub(super) upstream: Upstream,
    uploaded: Arc<AtomicBool>,
}

/// A request as the origin gets it, but for its body.
pub(super) struct Outgoing {
    method: Method,
    path: Uri,
    fields: HeaderMap,
    extensions: http::Extensions,
}

impl Service {
    pub(super) async fn forward(
        &self,
        Admitted { request, span }: Admitted<'_>,
        head: Head,
        origin: Origin,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let (mut parts, body) = request.into_parts();
        if matches!(parts.method, Method::TRACE | Method::OPTIONS)
            && let Some(answer) = count_down(&parts.method, &mut parts.headers, &origin)
        {
            return Ok(answer);
        }
        let fields = headers::for_origin(&parts.headers, &origin, head.framing);
        let outgoing = Outgoing::new(parts, fields, &origin);
        let upload = Upload::new(body, self.exchange.clone());
        let repeatable = http_body::Body::is_end_stream(&upload) && outgoing.method.is_idempotent();
        let mut request = outgoing.request(upload);
        if let Some(upstream) = self.waiting(&origin, &outgoing, repeatable).await {
            match self.exchange_over(upstream, request, &head).await {
                // An answer to nobody, sent before the request came (RFC 9110 §15.5.9).
                Ok(exchanged) if repeatable && exchanged.answer.status() == StatusCode::REQUEST_TIMEOUT => {
                    request = outgoing.request(Upload::none(self.exchange.clone()));
                }
                Ok(exchanged) => return Ok(self.stream(exchanged, origin)),
                Err(ExchangeError {
                    unsent: Some(unsent), ..
                }) => request = *unsent,
                Err(error) if error.unanswered && repeatable => {
                    request = outgoing.request(Upload::none(self.exchange.clone()));
                }
                Err(error) => return Err(error.error.into()),
            }
            debug!("the origin had hung up; once more on a fresh session");
        }
        let open = Open::new(Kind::Http, origin.target.clone());
        let session = self.held(self.proxy.tunnel.open(open, span)).await?;
        let upstream =
            Upstream::start(session, self.proxy.origins, &self.proxy.tasks, &self.proxy.now).await?;
        let exchanged = self.exchange_over(upstream, request, &head).await;
        Ok(self.stream(exchanged.map_err(|error| error.error)?, origin))
    }

    /// A session that was used before, for this request.
    async fn waiting(&self, origin: &Origin, outgoing: &Outgoing, repeatable: bool) -> Option<Upstream> {
        if let Some(own) = self.own.take(&origin.target).await {
            return Some(own);
        }
        if !repeatable || login::in_request(&outgoing.fields) || !self.proxy.tunnel.is_connected() {
            return None;
        }
        self.proxy.pool.take(&origin.target).await
    }

    /// Sends a request, passing on 1xx answers as they come.
    pub(super) async fn exchange_over(
        &self,
        mut upstream: Upstream,
        mut request: http::Request<Upload>,
        head: &Head,
    ) -> Result<Exchanged, ExchangeError> {
        let uploaded = request.body().uploaded();
        if login::in_request(request.headers()) {
            upstream.bind();
        }
        let flooded = CancellationToken::new();
        let passing = Passing {
            exchange: self.exchange.clone(),
            expects_continue: head.expects_continue,
            modern: head.modern,
            count: AtomicU32::new(0),
            meter: upstream.meter().clone(),
            flooded: flooded.clone(),
        };
        hyper::ext::on_informational(&mut request, move |answer| {
            passing.pass(answer.status(), answer.headers())
        });
        let answer = tokio::select! {
            biased;
            () = flooded.cancelled() => Err(ExchangeError {
                error: OriginError::TooManyInterim,
                unanswered: false,
                unsent: None,
            }),
            answer = upstream.send(request, self.proxy.origins) => answer,
        }?;
        if login::in_answer(answer.headers()) {
            upstream.bind();
        }
        Ok(Exchanged {
            answer,
            upstream,
            uploaded,
        })
    }

    /// The answer for the client, its body on the way.
    pub(super) fn stream(&self, exchanged: Exchanged, origin: Origin) -> Response<ReplyBody> {
        let (mut parts, body) = exchanged.answer.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Refusal::from(OriginError::Upgraded).response(&Asked::default());
        }
        headers::for_client(&mut parts.headers);
        if exchanged.upstream.is_bound() && parts.status == StatusCode::UNAUTHORIZED {
            headers::say_login_lasts(&mut parts.headers);
        }
        parts.version = Version::HTTP_11;
        let source = Source {
            upstream: exchanged.upstream,
            uploaded: exchanged.uploaded,
            pool: self.proxy.pool.clone(),
            own: self.own.clone(),
            target: origin.target,
        };
        let download = Download::new(body, source, self.proxy.origins.idle);
        Response::from_parts(parts, ReplyBody::Download(Box::new(download)))
    }
}

impl Outgoing {
    pub(super) fn new(parts: http::request::Parts, fields: HeaderMap, origin: &Origin) -> Self {
        let mut extensions = parts.extensions;
        // What is left is how hyper saw the names written.
        extensions.remove::<OnUpgrade>();
        Self {
            method: parts.method,
            path: Uri::from(origin.path.clone()),
            fields,
            extensions,
        }
    }

    pub(super) fn request(&self, body: Upload) -> http::Request<Upload> {
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.fields.clone();
        *request.extensions_mut() = self.extensions.clone();
        request
    }
}

/// Passes 1xx answers on (RFC 9110 §15.2).
struct Passing {
    exchange: SharedExchange,
    expects_continue: bool,
    modern: bool,
    count: AtomicU32,
    meter: Arc<Meter>,
    flooded: CancellationToken,
}

impl Passing {
    fn pass(&self, status: StatusCode, fields: &HeaderMap) {
        if self.count.fetch_add(1, Ordering::Relaxed) >= MAX_INTERIM {
            self.meter.refuse();
            self.flooded.cancel();
            return;
        }
        if status == StatusCode::CONTINUE && self.expects_continue {
            // hyper says it to the client once the body is read.
            self.exchange.body_may_flow();
            return;
        }
        // None to a client of HTTP/1.0.
        if !self.modern {
            return;
        }
        let mut fields = fields.clone();
        headers::for_client(&mut fields);
        let reason = status.canonical_reason().unwrap_or_default();
        let mut text = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
        for (name, value) in &fields {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                text.extend_from_slice(part);
            }
        }
        text.extend_from_slice(b"\r\n");
        self.exchange.inform(&text);
    }
}

/// RFC 9110 §7.6.2: a request whose hops are used up is answered here, another one has one hop less.
fn count_down(method: &Method, fields: &mut HeaderMap, origin: &Origin) -> Option<Response<ReplyBody>> {
    let hops: u32 = fields.get(MAX_FORWARDS)?.to_str().ok()?.trim().parse().ok()?;
    if let Some(left) = hops.checked_sub(1) {
        fields.insert(MAX_FORWARDS, HeaderValue::from(left));
        return None;
    }
    if *method != Method::TRACE {
        return Some(Response::new(ReplyBody::from(Bytes::new())));
    }
    // RFC 9110 §9.3.8: the request comes back, without what is secret.
    let mut seen = format!("TRACE http://{}{} HTTP/1.1\r\n", origin.authority, origin.path);
    for name in fields
        .keys()
        .filter(|name| !matches!(name.as_str(), "cookie" | "authorization" | "proxy-authorization"))
    {
        for value in fields
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
        {
            seen.extend([name.as_str(), ": ", value, "\r\n"]);
        }
    }
    seen.push_str("\r\n");
    let mut answer = Response::new(ReplyBody::from(Bytes::from(seen)));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("message/http"));
    Some(answer)
}

/// Interim answers of one exchange: RFC 9110 §15.2 names no limit, and an origin could send them for ever.
const MAX_INTERIM: u32 = 64;
