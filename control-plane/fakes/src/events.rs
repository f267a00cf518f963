//! The events that Lambda functions get, as AWS sends them.

use serde_json::{Value, json};

/// What EventBridge Scheduler sends when its target has no input of its own.
pub fn schedule() -> Value {
    json!({
        "version": "0",
        "id": "27e3a5d4-2a5d-4d53-a5f9-4c4f0e2a9c11",
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": "123456789012",
        "time": "2026-01-01T00:00:00Z",
        "region": "eu-central-1",
        "resources": ["arn:aws:scheduler:eu-central-1:123456789012:schedule/default/fluidity-sleep"],
        "detail": "{}",
    })
}

/// What a REST API sends for `method /resource` with `body`.
pub fn proxy(method: &str, resource: &str, body: Option<&str>) -> Value {
    json!({
        "resource": format!("/{resource}"),
        "path": format!("/{resource}"),
        "httpMethod": method,
        "headers": {
            "Accept": "*/*",
            "Content-Type": "application/json",
            "Host": "abcdefghij.execute-api.eu-central-1.amazonaws.com",
            "X-Forwarded-For": "203.0.113.7",
            "X-Forwarded-Port": "443",
            "X-Forwarded-Proto": "https",
        },
        "multiValueHeaders": {"Accept": ["*/*"], "Content-Type": ["application/json"]},
        "queryStringParameters": null,
        "multiValueQueryStringParameters": null,
        "pathParameters": null,
        "stageVariables": null,
        "requestContext": {
            "resourceId": "abc123",
            "resourcePath": format!("/{resource}"),
            "httpMethod": method,
            "extendedRequestId": "LmAbCdEfGhI=",
            "requestTime": "01/Jan/2026:00:00:00 +0000",
            "path": format!("/prod/{resource}"),
            "accountId": "123456789012",
            "protocol": "HTTP/1.1",
            "stage": "prod",
            "domainPrefix": "abcdefghij",
            "requestTimeEpoch": 1_767_225_600_000_u64,
            "requestId": "3f2e1d0c-0000-4000-8000-000000000000",
            "identity": {"sourceIp": "203.0.113.7", "userAgent": "fluidity"},
            "domainName": "abcdefghij.execute-api.eu-central-1.amazonaws.com",
            "apiId": "abcdefghij",
        },
        "body": body,
        "isBase64Encoded": false,
    })
}
