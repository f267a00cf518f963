//! HTTP to the collector: hyper, and TLS by the one provider of the tree.
//!
//! The exporter has a thread of its own and no runtime: requests run on the process's.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{HttpClient, HttpError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file that is to be trusted instead.
    #[error("{file} (OTEL_EXPORTER_OTLP_CERTIFICATE) has no certificates")]
    Certificate {
        /// Which.
        file: String,
    },
}

/// The collector, as the exporter knows it.
#[derive(Debug)]
pub(crate) struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
}

impl Collector {
    /// Trusts the certificates of this file, or else the system's.
    pub(crate) fn new(certificates: Option<String>) -> Result<Self, ClientError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(ATTEMPT));
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = match certificates {
            Some(file) => HttpsConnectorBuilder::new().with_tls_config(trusting(file)?),
            None => match HttpsConnectorBuilder::new().with_provider_and_native_roots(provider) {
                Ok(builder) => builder,
                // An image from scratch has none, and needs none for a collector beside it.
                Err(_) => HttpsConnectorBuilder::new().with_tls_config(tls(rustls::RootCertStore::empty())),
            },
        };
        Ok(Self {
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(KEPT)
                .pool_max_idle_per_host(1)
                .build(builder.https_or_http().enable_http1().wrap_connector(http)),
            runtime: Handle::current(),
        })
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let response = client.request(request.map(Full::new)).await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        // Even a timer needs the runtime to be made.
        let bounded = async move { timeout(ATTEMPT, exchange).await };
        self.runtime.spawn(bounded).await?.map_err(HttpError::from)?
    }
}

fn trusting(file: String) -> Result<rustls::ClientConfig, ClientError> {
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(&file).into_iter().flatten();
    let (added, _) = roots.add_parsable_certificates(certificates.flatten());
    match added {
        0 => Err(ClientError::Certificate { file }),
        _ => Ok(tls(roots)),
    }
}

fn tls(roots: rustls::RootCertStore) -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// One request, from the connection to the last byte.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Longer than the pause between two batches.
const KEPT: Duration = Duration::from_secs(20);
const LARGEST_ANSWER: usize = 64 * 1024;
