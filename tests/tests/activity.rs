//! What the server tells CloudWatch, with the credentials that a task on ECS has.

use fluidity_fakes::aws::{Aws, CLUSTER, SERVICE};
use fluidity_fakes::http::{Server, answer};
use fluidity_tests::{TestPki, TestServer, until};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test]
async fn a_task_tells_cloudwatch_with_the_credentials_of_its_role() {
    let (aws, pki) = (Aws::start().await, TestPki::new());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    // As the container agent of ECS hands them out. The fake knows this key only.
    let role = Server::start(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async {
            let credentials = json!({
                "AccessKeyId": "AKIDFAKE",
                "SecretAccessKey": "a-secret-of-the-tests",
                "Token": "a-token-of-the-tests",
                "Expiration": "2099-01-01T00:00:00Z",
            });
            Ok(answer(200, "application/json", credentials.to_string()))
        }
    })
    .await;
    let mut env = aws.environment();
    env.retain(|(name, _)| matches!(name.as_str(), "AWS_ENDPOINT_URL" | "AWS_REGION"));
    assert_eq!(env.len(), 2, "no key in the environment");
    let uri = format!("http://{}/credentials", role.addr());
    env.push(("AWS_CONTAINER_CREDENTIALS_FULL_URI".into(), uri));

    let mut settings = TestServer::settings(&pki);
    settings
        .set("cloudwatch.cluster-name", CLUSTER)
        .set("cloudwatch.service-name", SERVICE)
        .set("cloudwatch.task-id", "0123456789abcdef")
        .set("cloudwatch.period", "10s");
    let server = TestServer::start_with(&settings, &env).await;
    until(Duration::from_secs(15), "CloudWatch is told", || async {
        let (_, page) = server.admin("/metrics").await;
        let told = page
            .lines()
            .any(|line| line.starts_with("fluidity_server_activity") && !line.ends_with(" 0"));
        if told { Ok(()) } else { Err(page) }
    })
    .await;
    assert!(asked.load(Ordering::Relaxed) > 0, "the role was not asked");
    assert!(
        !server.log().contains("CloudWatch was not told"),
        "{}",
        server.log()
    );
    assert!(!server.log().contains("a-secret-of-the-tests"));
}
