//! Sleep, wake and kill at the same moment: the real binaries, and calls to AWS that are held where it matters.

use crate::scene::{ADDRESS, function, idle_for_an_hour, scheduled, sleep, start_that_fails_since};
use fluidity_fakes::aws::{Aws, Service};
use fluidity_fakes::events;
use fluidity_fakes::gateway::Gateway;
use fluidity_fakes::lambda::Lambda;
use fluidity_fakes::now;
use serde_json::{Value, json};
use std::future::Future;
use std::time::Duration;

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("within 30 s")
}

async fn call(lambda: &Lambda) -> Value {
    within(lambda.invoke(json!({}))).await.expect("an answer")
}

/// Lets sleep go until its `nth` call of an operation is there, does `meanwhile`, lets it go on, and returns its answer.
async fn sleep_held_at<F: Future>(
    aws: &Aws,
    operation: &str,
    nth: usize,
    meanwhile: impl FnOnce() -> F,
) -> Value {
    let lambda = sleep(aws).await;
    for _ in 1..nth {
        aws.script().pass(operation);
    }
    let mut hold = aws.script().hold(operation);
    let asleep = tokio::spawn(async move { scheduled(&lambda).await });
    within(hold.reached()).await;
    within(meanwhile()).await;
    hold.release();
    within(asleep).await.expect("no panic")
}

fn overtaken(answer: &Value) {
    assert_eq!(
        answer["decision"],
        json!({"action": "keep", "reason": "overtaken"}),
        "{answer}"
    );
}

#[tokio::test]
async fn a_wake_between_the_decision_and_the_last_look_wins() {
    let aws = idle_for_an_hour().await;
    let wake = function(&aws, "wake").await;
    let answer = sleep_held_at(&aws, "DescribeServices", 2, || call(&wake)).await;
    overtaken(&answer);
    assert_eq!(answer["state"], "running");
    assert_eq!(aws.service().desired, 1);
    assert_eq!(aws.script().count("UpdateService"), 0, "it never went to zero");
}

#[tokio::test]
async fn a_wake_between_the_last_look_and_the_write_wins() {
    let aws = idle_for_an_hour().await;
    let wake = function(&aws, "wake").await;
    let answer = sleep_held_at(&aws, "UpdateService", 1, || async {
        assert_eq!(
            call(&wake).await["desiredCount"],
            1,
            "it sees a service that runs"
        );
    })
    .await;
    overtaken(&answer);
    assert_eq!(answer["desiredCount"], 1);
    assert_eq!(aws.service().desired, 1);
}

#[tokio::test]
async fn a_wake_right_after_the_write_wins() {
    let aws = idle_for_an_hour().await;
    let wake = function(&aws, "wake").await;
    let answer = sleep_held_at(&aws, "DescribeServices", 3, || async {
        assert_eq!(aws.service().desired, 0);
        assert_eq!(call(&wake).await["state"], "starting");
    })
    .await;
    overtaken(&answer);
    assert_eq!(aws.service().desired, 1);
}

#[tokio::test]
async fn a_wake_after_sleep_is_done_starts_again() {
    let aws = idle_for_an_hour().await;
    assert_eq!(scheduled(&sleep(&aws).await).await["desiredCount"], 0);
    let wake = function(&aws, "wake").await;
    assert_eq!(call(&wake).await["desiredCount"], 1);
    assert_eq!(aws.service().desired, 1);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_sleep_is_not_undone() {
    for (operation, nth) in [
        ("DescribeServices", 2),
        ("UpdateService", 1),
        ("DescribeServices", 3),
    ] {
        let aws = idle_for_an_hour().await;
        let kill = function(&aws, "kill").await;
        sleep_held_at(&aws, operation, nth, || call(&kill)).await;
        assert_eq!(aws.service().desired, 0, "{operation} {nth}");
    }
}

#[tokio::test]
async fn a_wake_and_then_a_kill_in_the_middle_of_sleep_start_nothing() {
    let aws = idle_for_an_hour().await;
    let (wake, kill) = (function(&aws, "wake").await, function(&aws, "kill").await);
    sleep_held_at(&aws, "UpdateService", 1, || async {
        call(&wake).await;
        call(&kill).await;
    })
    .await;
    assert_eq!(aws.service().desired, 0);
    assert_eq!(
        aws.script().count("UpdateService"),
        2,
        "kill's and sleep's: nothing is given back"
    );
}

#[tokio::test]
async fn a_wake_does_not_excuse_a_start_that_failed() {
    let aws = Aws::start().await;
    let wake = function(&aws, "wake").await;
    call(&wake).await;
    start_that_fails_since(&aws, 601);
    aws.set_tag("fluidity:last-wake", now() - 601);
    let asked = || async { assert_eq!(call(&wake).await["state"], "failed") };
    let answer = sleep_held_at(&aws, "DescribeServices", 2, asked).await;
    assert_eq!((&answer["state"], aws.service().desired), (&json!("failed"), 0));
}

#[tokio::test]
async fn a_kill_after_the_wake_that_sleep_gives_back_for_is_not_undone() {
    let aws = idle_for_an_hour().await;
    let (wake, kill) = (function(&aws, "wake").await, function(&aws, "kill").await);
    // The wake comes before the write, the kill between the look after it and the giving back.
    let mut giving_back = aws.script().hold("UpdateService");
    let lambda = sleep(&aws).await;
    let asleep = tokio::spawn(async move { scheduled(&lambda).await });
    within(giving_back.reached()).await;
    call(&wake).await;
    let writing = giving_back;
    let mut giving_back = aws.script().hold("UpdateService");
    writing.release();
    within(giving_back.reached()).await;
    call(&kill).await;
    giving_back.release();
    within(asleep).await.expect("no panic");
    assert_eq!(aws.service().desired, 0);
}

#[tokio::test]
async fn a_kill_and_then_a_wake_in_the_middle_of_sleep_leave_it_running() {
    let aws = idle_for_an_hour().await;
    let (wake, kill) = (function(&aws, "wake").await, function(&aws, "kill").await);
    sleep_held_at(&aws, "UpdateService", 1, || async {
        call(&kill).await;
        // The stamps are whole seconds.
        aws.set_tag("fluidity:last-kill", now() - 1);
        call(&wake).await;
    })
    .await;
    assert_eq!(aws.service().desired, 1);
}

#[tokio::test]
async fn a_kill_during_a_wake_leaves_what_came_last() {
    let aws = Aws::start().await;
    let (wake, kill) = (function(&aws, "wake").await, function(&aws, "kill").await);
    let mut hold = aws.script().hold("UpdateService");
    let waking = tokio::spawn({
        let wake = wake.clone();
        async move { call(&wake).await }
    });
    within(hold.reached()).await;
    assert_eq!(call(&kill).await["state"], "stopped");
    hold.release();
    let answer = within(waking).await.expect("no panic");
    assert_eq!((&answer["state"], aws.service().desired), (&json!("starting"), 1));
    assert_eq!(call(&kill).await["desiredCount"], 0);
    assert_eq!(aws.service().desired, 0);
}

#[tokio::test]
async fn fifty_wakes_at_once_start_one_task() {
    let aws = Aws::start().await;
    let wake = function(&aws, "wake").await;
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let wake = wake.clone();
            tokio::spawn(async move { call(&wake).await })
        })
        .collect();
    for call in calls {
        let answer = within(call).await.expect("no panic");
        assert_eq!(
            (&answer["state"], &answer["desiredCount"]),
            (&json!("starting"), &json!(1))
        );
    }
    assert!(wake.processes() > 1, "they ran at the same time");
    assert_eq!(
        aws.service(),
        Service {
            desired: 1,
            running: 0,
            pending: 1
        }
    );
}

#[tokio::test]
async fn fifty_wakes_and_kills_at_once_leave_one_consistent_state() {
    let aws = Aws::start().await;
    let (wake, kill) = (function(&aws, "wake").await, function(&aws, "kill").await);
    let gateway = Gateway::start("key", [("wake", &wake), ("kill", &kill)]).await;
    let calls: Vec<_> = (0..50)
        .map(|index| {
            let lambda = if index % 2 == 0 {
                wake.clone()
            } else {
                kill.clone()
            };
            tokio::spawn(async move { (index % 2 == 0, call(&lambda).await) })
        })
        .collect();
    for call in calls {
        let (wakes, answer) = within(call).await.expect("no panic");
        let desired = answer["desiredCount"].as_u64().expect("a count");
        assert!(desired <= 1, "{answer}");
        if wakes {
            assert!(
                matches!(
                    answer["state"].as_str(),
                    Some("starting" | "stopped" | "draining")
                ),
                "{answer}"
            );
        } else {
            assert_eq!((desired, &answer["state"]), (0, &json!("stopped")));
        }
    }
    let settled = aws.service();
    assert_eq!(settled.desired, settled.pending, "{settled:?}");
    assert_eq!(settled.running, 0);
    // Whatever it was, the next word counts.
    assert_eq!(call(&wake).await["desiredCount"], 1);
    let task = aws.newest_task().expect("made").id;
    aws.run_task(&task, ADDRESS);
    assert_eq!(call(&wake).await["state"], "running");
    assert_eq!(call(&kill).await["desiredCount"], 0);
    aws.remove_task(&task);
    let answer = kill
        .invoke(events::proxy("POST", "kill", None))
        .await
        .expect("an answer");
    assert_eq!(answer["statusCode"], 200);
    drop(gateway);
}
