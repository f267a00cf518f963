//! The public address of a network interface: the one thing that ECS does not tell. EC2's own client is 60 MB of
//! generated code, so this one call is signed and read by hand (docs/adr/0009).

#[cfg(test)]
mod tests;

use crate::aws::AwsError;
use crate::error::{CallError, CallErrorKind};
use crate::service::InterfaceId;
use crate::spans::CallSpans;
use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{
    HttpStatusCodeClassifier, ModeledAsRetryableClassifier, TransientErrorClassifier,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use aws_smithy_types::retry::{ErrorKind, ProvideErrorKind, RetryConfig};
use aws_smithy_types::timeout::TimeoutConfig;
use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

/// Looks up public addresses.
#[derive(Clone)]
pub struct Addresses {
    http: SharedHttpClient,
    credentials: SharedCredentialsProvider,
    region: String,
    endpoint: String,
    timeouts: TimeoutConfig,
    retries: RetryConfig,
}

impl Addresses {
    /// On the SDK's credentials, region, endpoint, HTTP client and limits.
    pub fn new(sdk: &SdkConfig) -> Result<Self, AwsError> {
        let region = sdk.region().map(ToString::to_string).unwrap_or_default();
        if region.is_empty() {
            return Err(AwsError::NoRegion);
        }
        let own = std::env::var("AWS_ENDPOINT_URL_EC2").ok();
        let endpoint = own
            .or_else(|| sdk.endpoint_url().map(str::to_owned))
            .unwrap_or_else(|| public_endpoint(&region));
        Ok(Self {
            http: sdk.http_client().unwrap_or_else(|| {
                aws_smithy_http_client::Builder::new()
                    .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
                    .build_https()
            }),
            credentials: sdk.credentials_provider().ok_or(AwsError::NoCredentials)?,
            region,
            endpoint,
            timeouts: sdk.timeout_config().cloned().unwrap_or_else(crate::aws::timeouts),
            retries: sdk.retry_config().cloned().unwrap_or_else(crate::aws::retries),
        })
    }

    /// The interface's public address. `None` while it has none, or has gone.
    pub async fn public(&self, interface: &InterfaceId) -> Result<Option<IpAddr>, CallError> {
        let request = self.signed(interface).await?;
        let answer = Operation::builder()
            .service_name("ec2")
            .operation_name("DescribeNetworkInterfaces")
            .http_client(self.http.clone())
            .endpoint_url(&self.endpoint)
            .no_auth()
            .standard_retry(&self.retries)
            .retry_classifier(HttpStatusCodeClassifier::default())
            .retry_classifier(TransientErrorClassifier::<Refusal>::new())
            .retry_classifier(ModeledAsRetryableClassifier::<Refusal>::new())
            .timeout_config(self.timeouts.clone())
            .interceptor(CallSpans)
            .serializer(to_http)
            .deserializer(read)
            .build()
            .invoke(request)
            .await;
        match answer {
            Ok(address) => Ok(address),
            Err(error) => match error.as_service_error().and_then(|refusal| refusal.0.code()) {
                Some("InvalidNetworkInterfaceID.NotFound") => Ok(None),
                _ => Err(CallError::from_sdk(OPERATION, &error)),
            },
        }
    }

    async fn signed(&self, interface: &InterfaceId) -> Result<Signed, CallError> {
        let unsent = |detail: String| CallError {
            operation: OPERATION,
            kind: CallErrorKind::Unsent,
            detail,
        };
        // The id comes from ECS; it goes into a form without escapes.
        if !interface.0.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(CallError::garbled("ecs:DescribeTasks", "an odd interface id"));
        }
        let credentials = self
            .credentials
            .provide_credentials()
            .await
            .map_err(|error| unsent(error.to_string()))?;
        let body = format!(
            "Action=DescribeNetworkInterfaces&Version=2016-11-15&NetworkInterfaceId.1={}",
            interface.0
        );
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("ec2")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsent(error.to_string()))?;
        let url = format!("{}/", self.endpoint.trim_end_matches('/'));
        let headers = [("content-type", CONTENT_TYPE)];
        let bytes = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new("POST", &url, headers.into_iter(), bytes)
            .map_err(|error| unsent(error.to_string()))?;
        let (instructions, _) = sign(signable, &params.into())
            .map_err(|error| unsent(error.to_string()))?
            .into_parts();
        let headers = instructions
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Signed { headers, body })
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addresses")
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// A request with its signature. It does not print.
struct Signed {
    headers: Vec<(String, String)>,
    body: String,
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").finish_non_exhaustive()
    }
}

/// EC2's own error answer.
#[derive(Debug)]
struct Refusal(ErrorMetadata);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refusal {}

impl ProvideErrorMetadata for Refusal {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

impl ProvideErrorKind for Refusal {
    fn retryable_error_kind(&self) -> Option<ErrorKind> {
        CallErrorKind::is_throttle(self.0.code()?).then_some(ErrorKind::ThrottlingError)
    }

    fn code(&self) -> Option<&str> {
        self.0.code()
    }
}

fn to_http(signed: Signed) -> Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(SdkBody::from(signed.body));
    request.set_method("POST")?;
    request.set_uri("/")?;
    request.headers_mut().try_insert("content-type", CONTENT_TYPE)?;
    for (name, value) in signed.headers {
        request.headers_mut().try_insert(name, value)?;
    }
    Ok(request)
}

fn read(response: &HttpResponse) -> Result<Option<IpAddr>, OrchestratorError<Refusal>> {
    let bytes = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return public_address(bytes).map_err(OrchestratorError::other);
    }
    Err(OrchestratorError::operation(Refusal(refusal(bytes))))
}

/// `networkInterfaceSet/item/association/publicIp`.
fn public_address(bytes: &[u8]) -> Result<Option<IpAddr>, BoxError> {
    let text = std::str::from_utf8(bytes)?;
    let document = roxmltree::Document::parse(text)?;
    let root = document.root_element();
    if root.tag_name().name() != "DescribeNetworkInterfacesResponse" {
        return Err(format!("<{}> is not an answer to this", root.tag_name().name()).into());
    }
    let address = child(root, "networkInterfaceSet")
        .and_then(|set| child(set, "item"))
        .and_then(|item| child(item, "association"))
        .and_then(|association| child(association, "publicIp"))
        .and_then(|address| address.text());
    Ok(address.map(|text| text.trim().parse()).transpose()?)
}

/// `Errors/Error/{Code,Message}` and `RequestID`. What is not XML is an error without a code.
fn refusal(bytes: &[u8]) -> ErrorMetadata {
    let mut meta = ErrorMetadata::builder();
    let text = String::from_utf8_lossy(bytes);
    let Ok(document) = roxmltree::Document::parse(&text) else {
        return meta.build();
    };
    let root = document.root_element();
    let error = child(root, "Errors").and_then(|errors| child(errors, "Error"));
    let text = |name| {
        error
            .and_then(|error| child(error, name))
            .and_then(|node| node.text())
    };
    if let Some(code) = text("Code") {
        meta = meta.code(code);
    }
    if let Some(message) = text("Message") {
        meta = meta.message(message);
    }
    if let Some(id) = child(root, "RequestID").and_then(|node| node.text()) {
        meta = meta.custom("aws_request_id", id);
    }
    meta.build()
}

fn child<'a, 'i>(node: roxmltree::Node<'a, 'i>, name: &str) -> Option<roxmltree::Node<'a, 'i>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// In a region's own partition.
fn public_endpoint(region: &str) -> String {
    let suffix = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("https://ec2.{region}.{suffix}")
}

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";
const OPERATION: &str = "ec2:DescribeNetworkInterfaces";
