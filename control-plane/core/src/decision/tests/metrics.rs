//! What metrics prove, and what they don't.

use super::*;

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
    let activity = || minutes(&[secs(NOW - 3540).as_secs_f64(); 5]);
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
    case.metrics().last_activity.clear();
    for (silent, stops) in [(1500, false), (2000, false), (2001, true)] {
        case.metrics().active = vec![Sample {
            at: Epoch::from_secs(NOW - 60 - silent),
            value: 0.0,
        }];
        let stopped = matches!(case.decide(), Decision::Stop(Stop::Unknown { .. }));
        assert_eq!(stopped, stops, "silent for {silent} s");
    }
}

#[test]
fn each_silent_task_of_a_fleet_has_its_time() {
    for (second, stops) in [(1000, false), (1200, false), (1201, true)] {
        let mut case = Case::idle();
        case.metrics = Reading::Read(vec![]);
        case.service.stamps = Stamps::default();
        case.tasks = vec![running("new", 3550), running("second", second)];
        let stopped = matches!(case.decide(), Decision::Stop(Stop::Unknown { .. }));
        assert_eq!(stopped, stops, "the second runs for {second} s");
    }
}
