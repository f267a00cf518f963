//! The other end of the admin listener: fetches one page of a running daemon.

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Why a page of a daemon could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody answers there.
    #[error("no daemon answers at {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The answer was not whole in time.
    #[error("the daemon did not answer within {} s", .0.as_secs_f32())]
    Deadline(Duration),
    /// The page has no name that can be asked for.
    #[error("`{0}` is not the path of a page")]
    Path(String),
    /// The answer is not HTTP, or was cut.
    #[error("the answer was not understood; is another program listening there?")]
    Http(#[from] hyper::Error),
    /// The answer is longer than 1 MiB, or was cut.
    #[error("the answer is cut or too long")]
    Body,
}

/// Fetches a page of another daemon's admin listener.
pub async fn fetch(
    address: SocketAddr,
    path: &str,
    deadline: Duration,
) -> Result<(StatusCode, Bytes), FetchError> {
    let uri = path.parse().map_err(|_| FetchError::Path(path.into()))?;
    let exchange = async {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|source| FetchError::Connect { address, source })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = async {
            let mut request = Request::new(Empty::<Bytes>::new());
            *request.uri_mut() = uri;
            if let Ok(host) = HeaderValue::from_str(&address.to_string()) {
                request.headers_mut().insert(HOST, host);
            }
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
            Ok((status, body.map_err(|_| FetchError::Body)?.to_bytes()))
        };
        tokio::pin!(request);
        tokio::select! {
            answer = &mut request => answer,
            ended = connection => {
                ended?;
                request.await
            }
        }
    };
    timeout(deadline, exchange)
        .await
        .map_err(|_| FetchError::Deadline(deadline))?
}

const LARGEST_ANSWER: usize = 1024 * 1024;
