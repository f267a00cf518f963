//! What sleep decides, and what it tells the schedule, the log and the alarms.

use crate::scene::{
    ADDRESS, HOUR, idle_for_an_hour, publish_idle, running_for_an_hour, scheduled, sleep,
    start_that_fails_since,
};
use fluidity_fakes::aws::Aws;
use fluidity_fakes::lambda::{Lambda, LambdaError};
use fluidity_fakes::script::Fault;
use fluidity_fakes::{events, now};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn an_idle_service_is_stopped_with_the_reason_and_the_numbers() {
    let aws = idle_for_an_hour().await;
    let lambda = sleep(&aws).await;
    let answer = scheduled(&lambda).await;
    assert_eq!(answer["state"], "draining");
    assert_eq!(
        (&answer["desiredCount"], &answer["runningCount"]),
        (&json!(0), &json!(1))
    );
    let decision = &answer["decision"];
    assert_eq!(
        (&decision["action"], &decision["reason"]),
        (&json!("stop"), &json!("idle"))
    );
    assert_eq!(decision["limitSeconds"], 900);
    let idle = decision["idleSeconds"].as_u64().expect("seconds");
    assert!((HOUR..HOUR + 60).contains(&idle), "{idle}");
    let message = answer["message"].as_str().expect("a message");
    assert!(message.starts_with("stopped: idle for 1h 0m"), "{message}");
    assert_eq!(answer["alarm"], Value::Null);
    assert_eq!(aws.service().desired, 0);
    let log = lambda.json_log();
    let line = log.iter().find(|line| line["message"] == "done").expect("a line");
    assert_eq!(line["answer"], answer["message"]);
    let logged: Value = serde_json::from_str(line["decision"].as_str().expect("a decision")).expect("JSON");
    assert_eq!(logged, *decision);
}

#[tokio::test]
async fn a_service_at_zero_costs_one_call_and_no_metrics() {
    let aws = Aws::start().await;
    let lambda = sleep(&aws).await;
    let answer = scheduled(&lambda).await;
    assert_eq!(
        (&answer["state"], &answer["decision"]),
        (&json!("stopped"), &json!({"action": "nothing"}))
    );
    assert_eq!(aws.script().operations(), ["DescribeServices"]);
}

#[tokio::test]
async fn a_service_in_use_is_kept() {
    let aws = idle_for_an_hour().await;
    let id = aws.newest_task().expect("runs").id;
    aws.put_metric(&id, "ActiveConnections", [(now() - 90, 2.0)]);
    let answer = scheduled(&sleep(&aws).await).await;
    assert_eq!(answer["state"], "running");
    assert_eq!(
        answer["decision"],
        json!({"action": "keep", "reason": "active", "connections": 2.0})
    );
    assert_eq!(
        (aws.service().desired, aws.script().count("UpdateService")),
        (1, 0)
    );
}

/// The server publishes under one name, whatever the function's environment says.
#[tokio::test]
async fn a_server_in_use_is_kept_though_the_environment_names_another_namespace() {
    let aws = idle_for_an_hour().await;
    let id = aws.newest_task().expect("runs").id;
    aws.put_metric(&id, "ActiveConnections", [(now() - 90, 2.0)]);
    let mut environment = aws.environment();
    environment.push(("METRIC_NAMESPACE".to_owned(), "Another".to_owned()));
    // Another namespace is silent about the task, and silence that lasts is no reason to keep a server.
    environment.push(("MAX_UNKNOWN_MINS".to_owned(), "15".to_owned()));
    let binary = env!("CARGO_BIN_EXE_fluidity-sleep").into();
    let lambda = Lambda::start("sleep", binary, &environment).await;
    let answer = scheduled(&lambda).await;
    assert_eq!(
        answer["decision"],
        json!({"action": "keep", "reason": "active", "connections": 2.0})
    );
    assert_eq!(aws.service().desired, 1);
}

#[tokio::test]
async fn recent_activity_wakes_and_starts_keep_it() {
    let reason = |answer: &Value| answer["decision"]["reason"].as_str().map(str::to_owned);
    let (aws, id) = running_for_an_hour().await;
    publish_idle(&aws, &id, 60);
    let lambda = sleep(&aws).await;
    assert_eq!(
        reason(&scheduled(&lambda).await).as_deref(),
        Some("recent-activity")
    );

    let aws = idle_for_an_hour().await;
    aws.set_tag("fluidity:last-wake", now() - 60);
    let lambda = sleep(&aws).await;
    assert_eq!(reason(&scheduled(&lambda).await).as_deref(), Some("recent-wake"));

    let aws = idle_for_an_hour().await;
    aws.run_task_since(&aws.newest_task().expect("runs").id, ADDRESS, now() - 60);
    let lambda = sleep(&aws).await;
    assert_eq!(reason(&scheduled(&lambda).await).as_deref(), Some("recent-start"));
}

#[tokio::test]
async fn metrics_of_an_old_task_prove_nothing_about_the_new_one() {
    let (aws, old) = running_for_an_hour().await;
    publish_idle(&aws, &old, HOUR);
    aws.remove_task(&old);
    let new = aws.newest_task().expect("made again").id;
    aws.run_task_since(&new, ADDRESS, now() - 1000);
    let answer = scheduled(&sleep(&aws).await).await;
    assert_eq!(answer["decision"]["reason"], "unknown");
    assert_eq!(answer["decision"]["action"], "keep");
    let asked = aws.script().calls();
    let query = asked
        .iter()
        .find(|call| call.operation == "GetMetricData")
        .expect("asked");
    let text = query.input.to_string();
    assert!(text.contains(&new) && !text.contains(&old), "{text}");
}

#[tokio::test]
async fn a_silent_server_is_stopped_after_its_time_with_an_alarm() {
    let (aws, _) = running_for_an_hour().await;
    let lambda = sleep(&aws).await;
    let answer = scheduled(&lambda).await;
    assert_eq!(answer["decision"]["action"], "stop");
    assert_eq!(answer["decision"]["reason"], "unknown");
    assert_eq!(answer["alarm"], "unknown-too-long");
    assert_eq!(aws.service().desired, 0);
    let log = lambda.json_log();
    let line = log
        .iter()
        .find(|line| line["alarm"] == "unknown-too-long")
        .expect("an alarm in the log");
    assert_eq!(line["level"], "WARN");
}

#[tokio::test]
async fn cloudwatch_errors_keep_it_with_an_alarm() {
    for fault in [
        Fault::denied(),
        Fault::throttled(),
        Fault::broken(),
        Fault::Garbage("?"),
        Fault::Cut,
    ] {
        let aws = idle_for_an_hour().await;
        aws.script().always("GetMetricData", fault.clone());
        let answer = scheduled(&sleep(&aws).await).await;
        assert_eq!(
            answer["decision"],
            json!({"action": "keep", "reason": "unreadable"}),
            "{fault:?}"
        );
        assert_eq!(answer["alarm"], "metrics-unreadable", "{fault:?}");
        assert_eq!(aws.service().desired, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_cloudwatch_that_hangs_keeps_it_in_good_time() {
    let aws = idle_for_an_hour().await;
    aws.script().always("GetMetricData", Fault::Hang);
    let answer = scheduled(&sleep(&aws).await).await;
    assert_eq!(answer["decision"]["reason"], "unreadable");
}

#[tokio::test]
async fn a_clock_that_is_wrong_keeps_it_with_an_alarm() {
    let (aws, id) = running_for_an_hour().await;
    let ahead = Duration::from_secs(now() + 7200).as_secs_f64();
    publish_idle(&aws, &id, HOUR);
    aws.put_metric(&id, "LastActivityEpochSeconds", [(now() - 100, ahead)]);
    let answer = scheduled(&sleep(&aws).await).await;
    assert_eq!(
        (&answer["decision"]["reason"], &answer["alarm"]),
        (&json!("future"), &json!("future-timestamp"))
    );
    assert_eq!(aws.service().desired, 1);
}

#[tokio::test]
async fn a_start_has_its_time_and_fails_after_it() {
    let aws = Aws::start().await;
    aws.set_desired(1);
    let lambda = sleep(&aws).await;
    let answer = scheduled(&lambda).await;
    assert_eq!(
        (&answer["state"], &answer["decision"]["reason"]),
        (&json!("starting"), &json!("starting"))
    );
    assert_eq!(aws.script().count("GetMetricData"), 0);

    // Every attempt fails, so the newest task is always young.
    start_that_fails_since(&aws, 601);
    let answer = scheduled(&lambda).await;
    assert_eq!(answer["state"], "failed");
    assert_eq!(
        (&answer["decision"]["action"], &answer["decision"]["reason"]),
        (&json!("stop"), &json!("never-ran"))
    );
    assert_eq!(answer["alarm"], "never-ran");
    assert_eq!(aws.service().desired, 0);
    assert_eq!(aws.tasks(), []);
    assert_eq!(scheduled(&lambda).await["state"], "stopped");
}

#[tokio::test]
async fn those_who_keep_asking_do_not_excuse_a_start_that_failed() {
    let aws = Aws::start().await;
    aws.set_desired(1);
    start_that_fails_since(&aws, 601);
    aws.set_tag("fluidity:last-wake", now());
    let answer = scheduled(&sleep(&aws).await).await;
    assert_eq!((&answer["state"], aws.service().desired), (&json!("failed"), 0));
}

#[tokio::test]
async fn a_server_that_does_not_stay_up_is_stopped() {
    let aws = Aws::start().await;
    aws.set_desired(1);
    let newest = || aws.newest_task().expect("made").id;
    aws.set_tag("fluidity:last-start", now() - 700);
    for ago in [650, 300] {
        aws.set_task_created(&newest(), now() - ago);
        aws.run_task_since(&newest(), ADDRESS, now() - 5);
        aws.remove_task(&newest());
    }
    let answer = scheduled(&sleep(&aws).await).await;
    assert_eq!(
        (&answer["state"], &answer["alarm"]),
        (&json!("failed"), &json!("never-ran"))
    );
    assert_eq!(
        answer["decision"]["waitedSeconds"]
            .as_u64()
            .map(|waited| waited / 10),
        Some(65)
    );
}

#[tokio::test]
async fn an_ecs_that_fails_is_a_lambda_error_and_stops_nothing() {
    for (step, fault, kind) in [
        ("DescribeServices", Fault::throttled(), "Fluidity.aws-throttled"),
        ("DescribeServices", Fault::denied(), "Fluidity.aws-denied"),
        ("ListTasks", Fault::broken(), "Fluidity.aws-unavailable"),
        ("DescribeTasks", Fault::Garbage("{"), "Fluidity.aws-garbled"),
        ("UpdateService", Fault::denied(), "Fluidity.aws-denied"),
    ] {
        let aws = idle_for_an_hour().await;
        aws.script().always(step, fault.clone());
        let error = sleep(&aws)
            .await
            .invoke(events::schedule())
            .await
            .expect_err("a failure");
        assert!(
            matches!(&error, LambdaError::Failed { kind: said, .. } if said == kind),
            "{step} {fault:?}: {error:?}"
        );
        assert_eq!(aws.service().desired, 1, "{step} {fault:?}");
    }
}

#[tokio::test]
async fn it_can_be_called_through_the_api_as_well() {
    let aws = idle_for_an_hour().await;
    let lambda = sleep(&aws).await;
    let answer = lambda
        .invoke(events::proxy("POST", "sleep", None))
        .await
        .expect("an answer");
    assert_eq!(answer["statusCode"], 202);
    let bad = lambda
        .invoke(events::proxy(
            "POST",
            "sleep",
            Some(r#"{"serviceName": "other"}"#),
        ))
        .await
        .expect("an answer");
    assert_eq!(bad["statusCode"], 400);
}

#[tokio::test]
async fn its_limits_come_from_the_environment() {
    let (aws, id) = running_for_an_hour().await;
    publish_idle(&aws, &id, 70);
    let mut environment = aws.environment();
    environment.push(("IDLE_THRESHOLD_MINS".to_owned(), "1".to_owned()));
    let binary = env!("CARGO_BIN_EXE_fluidity-sleep").into();
    let lambda = fluidity_fakes::lambda::Lambda::start("sleep", binary, &environment).await;
    let answer = scheduled(&lambda).await;
    assert_eq!(answer["decision"]["limitSeconds"], 60);
    assert_eq!(aws.service().desired, 0);
}
