//! API Gateway, a REST API with Lambda proxy integration: checks the key, makes an event of a request and a response of
//! an answer, and has errors of its own.

use crate::events;
use crate::http::{Answered, Asked, Cut, Server, answer};
use crate::lambda::{Lambda, LambdaError};
use crate::script::{Fault, Script};
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The API. Dropping it closes it; the functions stay with those who hold them.
#[derive(Debug)]
pub struct Gateway {
    server: Server,
    script: Script,
}

#[derive(Debug)]
struct Routes {
    key: String,
    functions: HashMap<String, Lambda>,
    script: Script,
}

impl Gateway {
    /// Serves `POST /prod/NAME` for each of `functions` with the key.
    pub async fn start<'l>(key: &str, functions: impl IntoIterator<Item = (&'l str, &'l Lambda)>) -> Self {
        let script = Script::default();
        let routes = Arc::new(Routes {
            key: key.to_owned(),
            functions: functions
                .into_iter()
                .map(|(name, lambda)| (name.to_owned(), lambda.clone()))
                .collect(),
            script: script.clone(),
        });
        let server = Server::start(move |asked| {
            let routes = Arc::clone(&routes);
            async move { routes.serve(asked).await }
        })
        .await;
        Self { server, script }
    }

    /// A route's URL.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/prod/{name}", self.server.addr())
    }

    /// Faults to come, and calls so far, by the route's name. `Fault::Error` answers `{"message": code}`: a code of
    /// `Too Many Requests` with 429 is the usage plan, `Forbidden` with 403 a key that was taken away.
    pub fn script(&self) -> &Script {
        &self.script
    }
}

impl Routes {
    async fn serve(&self, asked: Asked) -> Answered {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let name = path.strip_prefix("/prod/").unwrap_or_default();
        // So it says, whatever was wrong with the path or method.
        let Some(function) = self.functions.get(name).filter(|_| asked.method == "POST") else {
            return Ok(own(403, "Missing Authentication Token"));
        };
        let key = asked.headers.get("x-api-key").map(HeaderValue::as_bytes);
        if key != Some(self.key.as_bytes()) {
            return Ok(own(403, "Forbidden"));
        }
        let body = String::from_utf8_lossy(&asked.body).into_owned();
        match self.script.enter(name, json!(body)).await {
            None => {}
            Some(Fault::Cut) => return Err(Cut),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Garbage(text)) => return Ok(answer(200, "application/json", text)),
            Some(Fault::Error { status, code }) => return Ok(own(status, code)),
        }
        let mut event = events::proxy(
            asked.method.as_str(),
            name,
            (!body.is_empty()).then_some(body.as_str()),
        );
        for (name, value) in &asked.headers {
            event["headers"][name.as_str()] = json!(String::from_utf8_lossy(value.as_bytes()));
        }
        if !query.is_empty() {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            event["queryStringParameters"] = pairs
                .map(|(name, value)| (name.to_owned(), json!(value)))
                .collect();
        }
        Ok(
            match tokio::time::timeout(INTEGRATION, function.invoke(event)).await {
                Ok(Ok(value)) => response(&value).unwrap_or_else(|| own(502, "Internal server error")),
                Ok(Err(LambdaError::TimedOut)) | Err(_) => own(504, "Endpoint request timed out"),
                Ok(Err(_)) => own(502, "Internal server error"),
            },
        )
    }
}

/// `None` when the answer is not of the form that a proxy integration needs.
fn response(value: &Value) -> Option<hyper::Response<http_body_util::Full<bytes::Bytes>>> {
    let status = u16::try_from(value["statusCode"].as_u64()?).ok()?;
    let body = value["body"].as_str().unwrap_or_default().to_owned();
    let mut response = answer(status, "application/json", body);
    for (name, value) in value["headers"].as_object().into_iter().flatten() {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        let value = HeaderValue::try_from(value.as_str()?).ok()?;
        response.headers_mut().insert(name, value);
    }
    Some(response)
}

fn own(status: u16, message: &str) -> hyper::Response<http_body_util::Full<bytes::Bytes>> {
    answer(
        status,
        "application/json",
        json!({"message": message}).to_string(),
    )
}

/// How long API Gateway waits for a function.
const INTEGRATION: Duration = Duration::from_secs(29);
