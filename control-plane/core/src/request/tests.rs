//! Events of all kinds, good and bad.

use super::*;
use fluidity_fakes::events;
use serde_json::json;

fn config() -> Config {
    let names = |variable| match variable {
        "ECS_CLUSTER_NAME" => Some("fluidity".to_owned()),
        "ECS_SERVICE_NAME" => Some("fluidity-server".to_owned()),
        _ => None,
    };
    Config::read(&names).unwrap()
}

fn parse(event: &Value) -> Result<Call, InvalidRequest> {
    Call::parse(Source::of(event), event, &config())
}

fn post(body: &str) -> Result<Call, InvalidRequest> {
    parse(&events::proxy("POST", "wake", Some(body)))
}

#[test]
fn each_source_is_told_by_its_events() {
    assert_eq!(Source::of(&events::proxy("POST", "wake", None)), Source::Gateway);
    assert_eq!(Source::of(&events::schedule()), Source::Schedule);
    let mut rule = events::schedule();
    rule["source"] = json!("aws.events");
    rule["detail"] = json!({});
    assert_eq!(Source::of(&rule), Source::Schedule);
    for direct in [
        json!(null),
        json!({}),
        json!({"reason": "x"}),
        json!({"source": "aws.s3"}),
        json!([1]),
    ] {
        assert_eq!(Source::of(&direct), Source::Direct, "{direct}");
    }
}

#[test]
fn nothing_has_to_be_said() {
    let empty = Call::default();
    for event in [
        json!(null),
        json!({}),
        events::schedule(),
        events::proxy("POST", "wake", None),
        events::proxy("POST", "wake", Some("")),
        events::proxy("POST", "wake", Some("  \n")),
        events::proxy("POST", "wake", Some("{}")),
    ] {
        assert_eq!(parse(&event).as_ref(), Ok(&empty), "{event}");
    }
}

#[test]
fn the_right_names_and_a_reason_are_taken() {
    let body = r#"{"clusterName": "fluidity", "serviceName": "fluidity-server", "reason": "lunch"}"#;
    let call = Call {
        reason: Some("lunch".to_owned()),
        status_only: false,
    };
    assert_eq!(post(body), Ok(call.clone()));
    assert_eq!(parse(&serde_json::from_str(body).unwrap()), Ok(call.clone()));
    let mut event = events::proxy("POST", "wake", Some("eyJyZWFzb24iOiAibHVuY2gifQ=="));
    event["isBase64Encoded"] = json!(true);
    assert_eq!(parse(&event), Ok(call));
}

#[test]
fn only_the_status_can_be_asked_for() {
    for (body, wanted) in [
        (r#"{"statusOnly": true}"#, true),
        (r#"{"statusOnly": false}"#, false),
        ("{}", false),
    ] {
        assert_eq!(post(body).unwrap().status_only, wanted, "{body}");
    }
    assert!(post(r#"{"statusOnly": "yes"}"#).is_err());
}

#[test]
fn another_cluster_or_service_is_refused_from_every_source() {
    let bodies = [
        (json!({"clusterName": "other"}), InvalidRequest::ForeignCluster),
        (json!({"clusterName": ""}), InvalidRequest::ForeignCluster),
        (json!({"clusterName": "FLUIDITY"}), InvalidRequest::ForeignCluster),
        (json!({"serviceName": "other"}), InvalidRequest::ForeignService),
    ];
    for (body, wanted) in bodies {
        assert_eq!(parse(&body), Err(wanted.clone()), "{body}");
        assert_eq!(post(&body.to_string()), Err(wanted), "{body}");
    }
}

#[test]
fn what_nobody_knows_is_refused_from_every_source() {
    let bodies = [
        json!({"desiredCount": 5}),
        json!({"cluster": "fluidity"}),
        json!({"reason": 5}),
        json!([]),
        json!("wake"),
        json!(5),
        json!({"source": "aws.scheduler"}),
    ];
    for body in bodies {
        assert!(matches!(parse(&body), Err(InvalidRequest::Body(_))), "{body}");
        assert!(
            matches!(post(&body.to_string()), Err(InvalidRequest::Body(_))),
            "{body}"
        );
    }
    for body in [
        "{",
        "wake",
        "{} {}",
        "\u{0}",
        "{\"reason\": \"a\", \"reason\": \"b\"}",
    ] {
        assert!(matches!(post(body), Err(InvalidRequest::Body(_))), "{body}");
    }
    assert!(matches!(post("null"), Err(InvalidRequest::Body(_))));
}

#[test]
fn only_post_does_anything() {
    for method in ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "post"] {
        let event = events::proxy(method, "wake", None);
        assert_eq!(parse(&event), Err(InvalidRequest::Method), "{method}");
    }
}

#[test]
fn query_parameters_are_refused_and_not_ignored() {
    let mut event = events::proxy("POST", "wake", None);
    event["queryStringParameters"] = json!({"clusterName": "fluidity"});
    assert_eq!(parse(&event), Err(InvalidRequest::Query));
    event["queryStringParameters"] = json!({});
    assert_eq!(parse(&event), Ok(Call::default()));
}

#[test]
fn long_bodies_and_reasons_are_refused_at_their_limits() {
    let reason = |length| json!({"reason": "ä".repeat(length)}).to_string();
    assert!(post(&reason(200)).is_ok());
    assert_eq!(post(&reason(201)), Err(InvalidRequest::LongReason));
    assert!(post(&" ".repeat(4096)).is_ok());
    assert_eq!(post(&" ".repeat(4097)), Err(InvalidRequest::TooLong));
}

#[test]
fn a_body_that_is_no_text_is_refused() {
    for body in ["!", "//79", "wake"] {
        let mut event = events::proxy("POST", "wake", Some(body));
        event["isBase64Encoded"] = json!(true);
        assert!(parse(&event).is_err(), "{body}");
    }
}

#[test]
fn an_event_that_only_looks_like_api_gateways_is_refused() {
    for event in [
        json!({"httpMethod": 5, "requestContext": {}}),
        json!({"httpMethod": "POST", "requestContext": {}, "body": {}}),
        json!({"httpMethod": "POST", "requestContext": {}, "isBase64Encoded": "yes"}),
    ] {
        assert!(matches!(parse(&event), Err(InvalidRequest::Body(_))), "{event}");
    }
}
