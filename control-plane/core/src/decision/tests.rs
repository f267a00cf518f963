//! The decision at every edge, as tables. All times are seconds around one moment.

use super::*;
use crate::service::{Counts, Stamps};

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
                failed_attempts: 0,
                latest_event: None,
            },
            tasks: vec![running("new", 3550)],
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
            tasks: &self.tasks,
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

/// Samples of these values in the minutes before the unfinished one, the newest first.
fn minutes(values: &[f64]) -> Vec<Sample> {
    let start = |index: usize| MINUTE - 60 * (index as u64 + 1);
    values
        .iter()
        .enumerate()
        .map(|(index, value)| Sample {
            at: Epoch::from_secs(start(index)),
            value: *value,
        })
        .collect()
}

/// A server that nobody has used for so long, and that says so.
fn silent_since(id: &str, idle: u64) -> TaskMetrics {
    let activity = (NOW - idle) as f64;
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
fn one_connection_in_any_fresh_period_keeps_it() {
    // The unfinished minute, each of the fresh ones, and the oldest that is still fresh.
    for start in [
        MINUTE,
        MINUTE - 60,
        MINUTE - 120,
        MINUTE - 180,
        MINUTE - 240,
        NOW - 300,
    ] {
        let mut case = Case::idle();
        case.metrics().active.push(Sample {
            at: Epoch::from_secs(start),
            value: 1.0,
        });
        let active = Keep::Active { connections: 1.0 };
        assert_eq!(case.decide(), Decision::Keep(active), "{}", NOW - start);
    }
    let mut case = Case::idle();
    case.metrics().active.push(Sample {
        at: Epoch::from_secs(NOW - 301),
        value: 1.0,
    });
    assert!(
        matches!(case.decide(), Decision::Stop(Stop::Idle { .. })),
        "stale"
    );
}

#[test]
fn the_largest_number_of_connections_is_the_one_that_is_said() {
    let mut case = Case::idle();
    case.metrics().active = minutes(&[2.0, 7.0, 0.0]);
    assert_eq!(case.decide(), Decision::Keep(Keep::Active { connections: 7.0 }));
}

#[test]
fn the_unfinished_minute_never_counts_as_idle() {
    let mut case = Case::idle();
    let finished = minutes(&[0.0])[0];
    let unfinished = Sample {
        at: Epoch::from_secs(MINUTE),
        value: 0.0,
    };
    case.metrics().active = vec![unfinished, finished];
    assert!(matches!(case.decide(), Decision::Keep(Keep::Unknown { .. })));
    case.metrics().active = minutes(&[0.0, 0.0]);
    assert!(matches!(case.decide(), Decision::Stop(Stop::Idle { .. })));
}

#[test]
fn a_minute_is_finished_with_its_last_second() {
    let mut case = Case::idle();
    let sample = |start| Sample {
        at: Epoch::from_secs(start),
        value: 0.0,
    };
    case.metrics().active = vec![sample(NOW - 60), sample(NOW - 120)];
    assert!(matches!(case.decide(), Decision::Stop(Stop::Idle { .. })));
    case.metrics().active = vec![sample(NOW - 59), sample(NOW - 119)];
    assert!(matches!(case.decide(), Decision::Keep(Keep::Unknown { .. })));
}

#[test]
fn missing_stale_or_senseless_metrics_are_unknown_and_not_idle() {
    let activity = || minutes(&[(NOW - 3540) as f64; 5]);
    let stale = || -> Vec<Sample> {
        let shift = |sample: Sample| Sample {
            at: sample.at.minus(secs(600)),
            ..sample
        };
        minutes(&[0.0; 5]).into_iter().map(shift).collect()
    };
    let cases: [(&str, Vec<Sample>, Vec<Sample>); 7] = [
        ("none at all", vec![], vec![]),
        ("one period only", minutes(&[0.0]), activity()),
        ("stale periods", stale(), activity()),
        ("no activity", minutes(&[0.0; 5]), vec![]),
        ("not a number", minutes(&[f64::NAN; 5]), activity()),
        ("negative", minutes(&[-1.0; 5]), activity()),
        (
            "activity that is no time",
            minutes(&[0.0; 5]),
            minutes(&[-5.0, f64::NAN]),
        ),
    ];
    for (what, active, last_activity) in cases {
        let mut case = Case::idle();
        // Known until lately, so that the limit of the unknown does not come into it.
        case.tasks = vec![running("new", 1000)];
        *case.metrics() = TaskMetrics {
            task: TaskId("new".to_owned()),
            active,
            last_activity,
        };
        let decision = case.decide();
        assert!(
            matches!(decision, Decision::Keep(Keep::Unknown { .. })),
            "{what}: {decision:?}"
        );
    }
}

#[test]
fn a_task_that_nothing_is_known_about_is_stopped_after_the_limit_and_not_a_second_before() {
    for (since, stops) in [
        (901, false),
        (1199, false),
        (1200, false),
        (1201, true),
        (86_400, true),
    ] {
        let mut case = Case::idle();
        case.service.stamps = Stamps::default();
        case.tasks = vec![running("new", since)];
        case.metrics = Reading::Read(vec![]);
        let (unknown, limit) = (secs(since), secs(1200));
        let wanted = if stops {
            Decision::Stop(Stop::Unknown { unknown, limit })
        } else {
            Decision::Keep(Keep::Unknown { unknown, limit })
        };
        assert_eq!(case.decide(), wanted);
        assert_eq!(case.decide().alarm(), stops.then_some(Alarm::UnknownTooLong));
    }
}

#[test]
fn a_server_that_falls_silent_after_hours_is_unknown_from_its_last_metric_on() {
    let mut case = Case::idle();
    let last = Sample {
        at: Epoch::from_secs(NOW - 660),
        value: 3.0,
    };
    case.metrics().active = vec![last];
    case.metrics().last_activity = vec![];
    let unknown = secs(600);
    assert_eq!(
        case.decide(),
        Decision::Keep(Keep::Unknown {
            unknown,
            limit: secs(1200)
        })
    );
}

#[test]
fn a_wake_postpones_the_end_of_the_unknown() {
    let mut case = Case::idle();
    case.metrics = Reading::Read(vec![]);
    case.service.stamps.wake = ago(901);
    assert!(matches!(case.decide(), Decision::Keep(Keep::Unknown { .. })));
}

#[test]
fn an_idle_threshold_above_the_limit_of_the_unknown_wins() {
    let mut case = Case::idle();
    case.thresholds.idle = secs(2000);
    case.tasks = vec![running("new", 1999)];
    case.metrics = Reading::Read(vec![]);
    assert!(matches!(case.decide(), Decision::Keep(_)));
    case.tasks = vec![running("new", 2001)];
    assert!(matches!(case.decide(), Decision::Stop(Stop::Unknown { .. })));
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
            case.metrics().last_activity[0].value = at as f64;
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
fn a_start_has_its_time_to_the_second_and_fails_after_it() {
    for (waited, stops) in [(0, false), (599, false), (600, false), (601, true), (7200, true)] {
        let case = Case::starting(waited);
        let (waited, limit) = (secs(waited), secs(600));
        let decision = case.decide();
        // The task was made 30 s before the stamp, which is the later of the two.
        if stops {
            assert_eq!(decision, Decision::Stop(Stop::NeverRan { waited, limit }));
            assert_eq!(decision.alarm(), Some(Alarm::NeverRan));
        } else {
            assert_eq!(decision, Decision::Keep(Keep::Starting { waited, limit }));
        }
    }
}

#[test]
fn new_attempts_of_a_start_that_fails_again_and_again_do_not_prolong_it() {
    let mut case = Case::starting(601);
    case.tasks[0].created = ago(5);
    case.service.deployment_changed = ago(5);
    case.service.stamps.wake = ago(5);
    assert!(
        matches!(case.decide(), Decision::Keep(Keep::Starting { .. })),
        "the first attempt counts as it is"
    );
    case.service.failed_attempts = 1;
    assert_eq!(
        case.decide(),
        Decision::Stop(Stop::NeverRan {
            waited: secs(601),
            limit: secs(600)
        })
    );
}

#[test]
fn a_start_by_hand_after_an_old_wake_has_its_own_time() {
    let mut case = Case::starting(86_400);
    case.tasks[0].created = ago(20);
    assert!(matches!(case.decide(), Decision::Keep(Keep::Starting { .. })));
    case.tasks.clear();
    case.service.counts.pending = 0;
    case.service.deployment_changed = ago(3);
    assert!(
        matches!(case.decide(), Decision::Keep(Keep::Starting { .. })),
        "without a task yet"
    );
}

#[test]
fn a_start_without_any_time_is_kept() {
    let mut case = Case::starting(5000);
    case.service.stamps = Stamps::default();
    case.service.deployment_changed = None;
    case.tasks.clear();
    assert_eq!(
        case.decide(),
        Decision::Keep(Keep::Starting {
            waited: Duration::ZERO,
            limit: secs(600)
        })
    );
}

#[test]
fn a_start_in_the_future_is_kept_with_an_alarm() {
    let mut case = Case::starting(0);
    case.service.stamps.start = at(NOW + 3600);
    let decision = case.decide();
    assert!(matches!(
        decision,
        Decision::Keep(Keep::Future {
            clock: Clock::Start,
            ..
        })
    ));
}

#[test]
fn a_second_task_on_its_way_keeps_the_first_but_not_for_ever() {
    let mut case = Case::idle();
    let second = |created| Task {
        progress: Progress::Starting,
        created: ago(created),
        started: None,
        ..running("second", 0)
    };
    case.tasks.push(second(600));
    assert!(matches!(case.decide(), Decision::Keep(Keep::Starting { .. })));
    case.tasks[1] = second(601);
    assert!(matches!(case.decide(), Decision::Stop(Stop::Idle { .. })));
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
