//! What refusals come down to.

use super::*;
use crate::tunnel::State;
use http_body_util::BodyExt;

fn refused_with(code: ReplyCode) -> Refusal {
    Refusal::Open(OpenError::Refused {
        code,
        detail: "says \"no\"\n".into(),
    })
}

#[test]
fn every_reply_code_has_its_status() {
    for code in ReplyCode::ALL {
        let status = refused_with(*code).response(&Asked::default()).status().as_u16();
        let expected = match code {
            ReplyCode::DeniedByRule | ReplyCode::DeniedAddress => 403,
            ReplyCode::ConnectTimeout => 504,
            ReplyCode::BreakerOpen | ReplyCode::TooManySessions | ReplyCode::Draining => 503,
            _ => 502,
        };
        assert_eq!(status, expected, "{code}");
    }
}

#[test]
fn what_may_be_better_later_says_when() {
    for refusal in [
        refused_with(ReplyCode::BreakerOpen),
        refused_with(ReplyCode::Draining),
        Refusal::Open(OpenError::TooManySessions),
        Refusal::Head(HeadError::TooManyClients),
        Refusal::Open(OpenError::NotConnected {
            state: State::Connecting,
            last_error: None,
            lasting: false,
        }),
        Refusal::Stopping,
    ] {
        let response = refusal.response(&Asked::default());
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(RETRY_AFTER), "{refusal}");
    }
}

#[tokio::test]
async fn an_answer_has_a_proxy_status_a_sentence_and_advice() {
    let response = refused_with(ReplyCode::DeniedAddress).response(&Asked::default());
    assert_eq!(
        response.headers()["proxy-status"],
        "fluidity; error=destination_ip_prohibited; details=\"says \\\"no\\\"?\""
    );
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        text.starts_with("Says \"no\"?\n") && text.contains("allow rule"),
        "{text}"
    );
}

#[test]
fn a_bad_head_ends_the_connection_and_wrong_credentials_are_challenged() {
    let bad = Refusal::Head(HeadError::Ambiguous("x")).response(&Asked::default());
    assert_eq!(
        (bad.status(), &bad.headers()[CONNECTION]),
        (StatusCode::BAD_REQUEST, &"close".parse().unwrap())
    );
    let challenge = Refusal::from(AccessError::Wrong).response(&Asked::default());
    assert_eq!(challenge.status(), StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    assert!(
        challenge.headers()[PROXY_AUTHENTICATE]
            .to_str()
            .unwrap()
            .starts_with("Basic realm=")
    );
}
