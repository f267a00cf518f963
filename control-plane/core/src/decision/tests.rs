//! The decision at every edge, as tables. All times are seconds around one moment.

mod metrics;
mod start;

use super::*;
use crate::service::{Cause, Counts, Ended, Progress, Stamps};

/// The moment of the decision: 20 s into a minute.
const NOW: u64 = 1_800_000_020;
/// The minute that is not over yet.
const MINUTE: u64 = NOW - 20;

const LIMITS: Thresholds = Thresholds {
    idle: Duration::from_secs(900),
    lookback: Duration::from_secs(300),
    max_unknown: Duration::from_secs(1200),
    start_timeout: Duration::from_secs(600),
    period: Duration::from_secs(60),
};

/// A service that has been idle for an hour, with everything to prove it. Each test changes one thing.
struct Case {
    service: Service,
    tasks: Vec<Task>,
    ended: Vec<Ended>,
    metrics: Reading,
    thresholds: Thresholds,
}

impl Case {
    fn idle() -> Self {
        Self {
            service: Service {
                counts: Counts {
                    desired: 1,
                    running: 1,
                    pending: 0,
                },
                stamps: Stamps {
                    wake: ago(3600),
                    start: ago(3600),
                    kill: None,
                },
                deployment_changed: ago(3600),
                latest_event: None,
            },
            tasks: vec![running("new", 3550)],
            ended: Vec::new(),
            metrics: Reading::Read(vec![silent_since("new", 3540)]),
            thresholds: LIMITS,
        }
    }

    /// A service that was started and does not run yet.
    fn starting(since: u64) -> Self {
        let mut case = Self::idle();
        case.service.counts = Counts {
            desired: 1,
            running: 0,
            pending: 1,
        };
        case.service.stamps.wake = ago(since);
        case.service.stamps.start = ago(since);
        case.service.deployment_changed = ago(since);
        case.tasks = vec![Task {
            progress: Progress::Starting,
            started: None,
            ..running("new", since)
        }];
        case.metrics = Reading::Read(Vec::new());
        case
    }

    fn decide(&self) -> Decision {
        decide(&Facts {
            now: Epoch::from_secs(NOW),
            service: &self.service,
            tasks: &Tasks {
                current: self.tasks.clone(),
                ended: self.ended.clone(),
            },
            metrics: &self.metrics,
            thresholds: &self.thresholds,
        })
    }

    /// The one task's metrics.
    fn metrics(&mut self) -> &mut TaskMetrics {
        match &mut self.metrics {
            Reading::Read(read) => &mut read[0],
            Reading::Unreadable => panic!("made by `idle`"),
        }
    }
}

fn at(secs: u64) -> Option<Epoch> {
    Some(Epoch::from_secs(secs))
}

fn ago(secs: u64) -> Option<Epoch> {
    at(NOW - secs)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn running(id: &str, since: u64) -> Task {
    Task {
        id: TaskId(id.to_owned()),
        progress: Progress::Running,
        created: ago(since + 30),
        started: ago(since),
        interface: None,
    }
}

/// A task that was made so long ago and ended by itself, after running for so long.
fn failed(created: u64, ran: u64) -> Ended {
    Ended {
        created: ago(created),
        ran: secs(ran),
        cause: Cause::Failure,
        reason: None,
    }
}

/// Samples of these values in the minutes before the unfinished one, the newest first.
fn minutes(values: &[f64]) -> Vec<Sample> {
    let starts = (1..).map(|index| Epoch::from_secs(MINUTE - 60 * index));
    starts
        .zip(values)
        .map(|(at, value)| Sample { at, value: *value })
        .collect()
}

/// A server that nobody has used for so long, and that says so.
fn silent_since(id: &str, idle: u64) -> TaskMetrics {
    let activity = secs(NOW - idle).as_secs_f64();
    TaskMetrics {
        task: TaskId(id.to_owned()),
        active: minutes(&[0.0; 5]),
        last_activity: minutes(&[activity; 5]),
    }
}

#[test]
fn a_service_that_everything_proves_idle_is_stopped() {
    let idle = secs(3540);
    assert_eq!(
        Case::idle().decide(),
        Decision::Stop(Stop::Idle {
            idle,
            limit: secs(900)
        })
    );
}

#[test]
fn a_service_at_zero_is_left_alone_whatever_else_is_said() {
    let mut case = Case::idle();
    case.service.counts.desired = 0;
    assert_eq!(case.decide(), Decision::Nothing);
    case.metrics = Reading::Unreadable;
    assert_eq!(case.decide(), Decision::Nothing);
}

#[test]
fn the_threshold_holds_to_the_second_for_each_of_the_three_clocks() {
    type Set = fn(&mut Case, u64);
    let clocks: [(&str, Set); 3] = [
        ("activity", |case, ago| {
            case.metrics = Reading::Read(vec![silent_since("new", ago)])
        }),
        ("wake", |case, secs| case.service.stamps.wake = ago(secs)),
        ("start", |case, secs| case.tasks = vec![running("new", secs)]),
    ];
    for (clock, set) in clocks {
        for (secs, stops) in [(0, false), (1, false), (899, false), (900, false), (901, true)] {
            let mut case = Case::idle();
            set(&mut case, secs);
            let decision = case.decide();
            assert_eq!(
                matches!(decision, Decision::Stop(Stop::Idle { .. })),
                stops,
                "{clock} {secs} s ago: {decision:?}"
            );
        }
    }
}

#[test]
fn the_answer_says_which_clock_kept_it_and_since_when() {
    let limit = secs(900);
    let mut case = Case::idle();
    case.service.stamps.wake = ago(40);
    let ago_40 = secs(40);
    assert_eq!(
        case.decide(),
        Decision::Keep(Keep::RecentWake { ago: ago_40, limit })
    );
    let mut case = Case::idle();
    case.tasks = vec![running("new", 40)];
    assert_eq!(
        case.decide(),
        Decision::Keep(Keep::RecentStart { ago: ago_40, limit })
    );
    let mut case = Case::idle();
    case.metrics = Reading::Read(vec![silent_since("new", 40)]);
    assert_eq!(
        case.decide(),
        Decision::Keep(Keep::RecentActivity { ago: ago_40, limit })
    );
}

#[test]
fn what_an_old_task_published_says_nothing_about_the_new_one() {
    // The old one was idle for an hour: no reason to stop the new one, of which nothing is known.
    let mut case = Case::idle();
    case.tasks = vec![running("new", 1000)];
    case.metrics = Reading::Read(vec![silent_since("old", 3540)]);
    assert!(matches!(case.decide(), Decision::Keep(Keep::Unknown { .. })));
    // The old one was busy: no reason to keep the new one.
    let mut case = Case::idle();
    let mut old = silent_since("old", 5);
    old.active = minutes(&[9.0; 5]);
    case.metrics = Reading::Read(vec![old, silent_since("new", 3540)]);
    assert!(matches!(case.decide(), Decision::Stop(Stop::Idle { .. })));
}

#[test]
fn every_task_of_a_fleet_has_to_be_idle() {
    let fleet = |second: Option<TaskMetrics>| {
        let mut case = Case::idle();
        case.service.counts.desired = 2;
        case.tasks = vec![running("new", 3550), running("second", 1000)];
        case.metrics = Reading::Read(
            [Some(silent_since("new", 3540)), second]
                .into_iter()
                .flatten()
                .collect(),
        );
        case.decide()
    };
    assert!(matches!(
        fleet(Some(silent_since("second", 950))),
        Decision::Stop(Stop::Idle { .. })
    ));
    assert!(matches!(
        fleet(Some(silent_since("second", 30))),
        Decision::Keep(Keep::RecentActivity { .. })
    ));
    assert!(matches!(fleet(None), Decision::Keep(Keep::Unknown { .. })));
    let mut busy = silent_since("second", 30);
    busy.active = minutes(&[0.0, 4.0]);
    assert_eq!(
        fleet(Some(busy)),
        Decision::Keep(Keep::Active { connections: 4.0 })
    );
}

#[test]
fn cloudwatch_errors_keep_it_and_ask_for_a_person() {
    let mut case = Case::idle();
    case.metrics = Reading::Unreadable;
    let decision = case.decide();
    assert_eq!(decision, Decision::Keep(Keep::Unreadable));
    assert_eq!(decision.alarm(), Some(Alarm::MetricsUnreadable));
}

#[test]
fn a_clock_that_is_a_minute_ahead_counts_as_now_and_one_further_ahead_is_an_alarm() {
    type Set = fn(&mut Case, u64);
    let clocks: [(Clock, Set); 4] = [
        (Clock::Wake, |case, at| case.service.stamps.wake = self::at(at)),
        (Clock::Start, |case, at| case.tasks[0].started = self::at(at)),
        (Clock::Activity, |case, at| {
            case.metrics().last_activity[0].value = secs(at).as_secs_f64();
        }),
        (Clock::Metric, |case, at| {
            case.metrics().active.push(Sample {
                at: Epoch::from_secs(at),
                value: 0.0,
            });
        }),
    ];
    for (clock, set) in clocks {
        let mut case = Case::idle();
        set(&mut case, NOW + 60);
        let decision = case.decide();
        // A sample says nothing by its time alone; the other three are uses, and count as now.
        match clock {
            Clock::Metric => assert!(matches!(decision, Decision::Stop(Stop::Idle { .. }))),
            _ => assert!(
                matches!(
                    decision,
                    Decision::Keep(
                        Keep::RecentWake { .. } | Keep::RecentStart { .. } | Keep::RecentActivity { .. }
                    )
                ),
                "{clock}: {decision:?}"
            ),
        }
        for ahead in [61, 3600, 10 * 365 * 86_400] {
            let mut case = Case::idle();
            set(&mut case, NOW + ahead);
            let decision = case.decide();
            let ahead = secs(ahead);
            assert_eq!(decision, Decision::Keep(Keep::Future { clock, ahead }));
            assert_eq!(decision.alarm(), Some(Alarm::FutureTimestamp));
        }
    }
}

#[test]
fn a_clock_that_is_behind_shortens_nothing_below_the_other_clocks() {
    let mut case = Case::idle();
    // The server thinks that it is 1970: its activity is long past, but it was woken a minute ago.
    case.metrics().last_activity = minutes(&[5.0; 5]);
    case.service.stamps.wake = ago(60);
    assert!(matches!(case.decide(), Decision::Keep(Keep::RecentWake { .. })));
}

#[test]
fn a_running_task_that_is_counted_but_not_listed_is_unknown() {
    let mut case = Case::idle();
    case.tasks.clear();
    case.metrics = Reading::Read(vec![]);
    case.service.stamps.start = ago(1000);
    case.service.stamps.wake = ago(1000);
    assert!(matches!(case.decide(), Decision::Keep(Keep::Unknown { .. })));
    let mut case = Case::idle();
    case.tasks.clear();
    assert!(matches!(case.decide(), Decision::Stop(Stop::Unknown { .. })));
}

#[test]
fn the_decision_is_json_with_its_reason_and_its_numbers() {
    let json = |decision: Decision| serde_json::to_value(decision).unwrap();
    assert_eq!(json(Decision::Nothing), serde_json::json!({"action": "nothing"}));
    assert_eq!(
        json(Case::idle().decide()),
        serde_json::json!({"action": "stop", "reason": "idle", "idleSeconds": 3540, "limitSeconds": 900})
    );
    assert_eq!(
        json(Decision::Keep(Keep::Active { connections: 2.0 })),
        serde_json::json!({"action": "keep", "reason": "active", "connections": 2.0})
    );
    assert_eq!(
        json(Decision::Keep(Keep::Unreadable)),
        serde_json::json!({"action": "keep", "reason": "unreadable"})
    );
    let ahead = secs(99);
    let clock = Clock::Activity;
    assert_eq!(
        json(Decision::Keep(Keep::Future { clock, ahead })),
        serde_json::json!({"action": "keep", "reason": "future", "clock": "activity", "aheadSeconds": 99})
    );
}

#[test]
fn the_decision_is_a_sentence_too() {
    let said = |case: Case| case.decide().to_string();
    assert_eq!(said(Case::idle()), "stopped: idle for 59m 0s, more than 15m 0s");
    assert_eq!(
        said(Case::starting(75)),
        "kept: starting for 1m 15s, may take 10m 0s"
    );
}
