//! The answer's form, and every status.

use super::*;
use crate::decision::{Keep, Stop};
use crate::error::CallError;

const COUNTS: Counts = Counts {
    desired: 1,
    running: 0,
    pending: 1,
};

fn body(proxy: &Value) -> Value {
    serde_json::from_str(proxy["body"].as_str().unwrap()).unwrap()
}

#[test]
fn an_answer_is_what_the_design_says() {
    let mut answer = Answer::new(State::Running, COUNTS, "running");
    answer.endpoint = Some(Endpoint {
        address: "203.0.113.9".to_owned(),
        port: 443,
    });
    assert_eq!(
        json!(answer),
        json!({
            "state": "running",
            "desiredCount": 1,
            "runningCount": 0,
            "pendingCount": 1,
            "endpoint": {"address": "203.0.113.9", "port": 443},
            "retryAfterSeconds": 0,
            "message": "running",
        })
    );
}

#[test]
fn what_is_not_there_is_left_out() {
    let answer = json!(Answer::new(State::Starting, COUNTS, "x"));
    let mut keys: Vec<_> = answer.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "desiredCount",
            "message",
            "pendingCount",
            "retryAfterSeconds",
            "runningCount",
            "state"
        ]
    );
}

#[test]
fn sleeps_answer_has_its_decision_and_its_alarm() {
    let (waited, limit) = (Duration::from_secs(601), Duration::from_secs(600));
    let decision = Decision::Stop(Stop::NeverRan { waited, limit });
    let mut answer = Answer::new(State::Failed, COUNTS, decision.to_string());
    answer.alarm = decision.alarm();
    answer.decision = Some(decision);
    let answer = json!(answer);
    assert_eq!(answer["alarm"], "never-ran");
    assert_eq!(
        answer["decision"],
        json!({"action": "stop", "reason": "never-ran", "waitedSeconds": 601, "limitSeconds": 600})
    );
    assert!(Decision::Keep(Keep::Overtaken).alarm().is_none());
}

#[test]
fn each_state_has_its_status_and_its_time_to_ask_again() {
    let cases = [
        (State::Stopped, "stopped", 200, None),
        (State::Starting, "starting", 202, Some("5")),
        (State::Running, "running", 200, None),
        (State::Draining, "draining", 202, Some("5")),
        (State::Failed, "failed", 200, Some("60")),
    ];
    for (state, word, status, retry_after) in cases {
        let proxy = Answer::new(state, COUNTS, "x").to_proxy();
        assert_eq!(proxy["statusCode"], status, "{word}");
        assert_eq!(proxy["headers"]["retry-after"].as_str(), retry_after, "{word}");
        assert_eq!(proxy["headers"]["cache-control"], "no-store");
        assert_eq!(proxy["isBase64Encoded"], false);
        assert_eq!(body(&proxy)["state"], word);
    }
}

#[test]
fn each_failure_has_its_status_and_says_whether_to_try_again() {
    let call = |kind| {
        Error::Call(CallError {
            operation: "ecs:UpdateService",
            kind,
            detail: "User arn:aws:sts::123456789012:assumed-role/secret is not authorized".to_owned(),
        })
    };
    let cases = [
        (
            Error::Invalid(InvalidRequest::Method),
            405,
            "method-not-allowed",
            false,
        ),
        (
            Error::Invalid(InvalidRequest::TooLong),
            413,
            "body-too-long",
            false,
        ),
        (
            Error::Invalid(InvalidRequest::ForeignCluster),
            400,
            "invalid-request",
            false,
        ),
        (
            Error::Invalid(InvalidRequest::Query),
            400,
            "invalid-request",
            false,
        ),
        (Error::NoService, 500, "no-service", false),
        (Error::Deadline(Duration::from_secs(25)), 504, "deadline", true),
        (call(CallErrorKind::Throttled), 429, "aws-throttled", true),
        (call(CallErrorKind::TimedOut), 504, "aws-timed-out", true),
        (call(CallErrorKind::Unreachable), 502, "aws-unreachable", true),
        (call(CallErrorKind::Unavailable), 502, "aws-unavailable", true),
        (call(CallErrorKind::Garbled), 502, "aws-garbled", true),
        (call(CallErrorKind::Denied), 500, "aws-denied", false),
        (call(CallErrorKind::Missing), 500, "no-service", false),
        (call(CallErrorKind::Refused), 500, "aws-refused", false),
        (call(CallErrorKind::Unsent), 500, "aws-unsent", false),
    ];
    for (error, status, word, retryable) in cases {
        let proxy = failure_to_proxy(&error, "request-1");
        let body = body(&proxy);
        assert_eq!(proxy["statusCode"], status, "{error}");
        assert_eq!(body["error"], word, "{error}");
        assert_eq!(body["retryable"], retryable, "{error}");
        assert_eq!(body["requestId"], "request-1");
        assert_eq!(proxy["headers"]["retry-after"].is_string(), retryable, "{error}");
        assert_eq!(proxy["headers"]["allow"].is_string(), status == 405, "{error}");
        assert!(
            !proxy.to_string().contains("123456789012"),
            "AWS's words stay in the log"
        );
    }
}
