//! The real wake binary, driven as Lambda drives it, on the scripted AWS.

#![allow(clippy::indexing_slicing, reason = "a test panics to fail")]

mod failures;
mod requests;
mod states;

use fluidity_fakes::aws::Aws;
use fluidity_fakes::events;
use fluidity_fakes::lambda::Lambda;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

/// The function on a fresh AWS, with more environment.
async fn wake(more: &[(&str, &str)]) -> (Aws, Lambda) {
    let aws = Aws::start().await;
    let mut environment = aws.environment();
    environment.push(("SERVER_PORT".to_owned(), "8443".to_owned()));
    let more = more
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    environment.extend(more);
    let lambda = Lambda::start("wake", env!("CARGO_BIN_EXE_fluidity-wake").into(), &environment).await;
    (aws, lambda)
}

/// `POST /wake` with a body, as API Gateway sends it.
async fn post(lambda: &Lambda, body: Option<&str>) -> Reply {
    let answer = lambda
        .invoke(events::proxy("POST", "wake", body))
        .await
        .expect("an answer");
    let text = answer["body"].as_str().expect("a body");
    Reply {
        status: answer["statusCode"].as_u64().expect("a status"),
        headers: answer["headers"].clone(),
        body: serde_json::from_str(text).expect("JSON in the body"),
    }
}

struct Reply {
    status: u64,
    headers: Value,
    body: Value,
}
