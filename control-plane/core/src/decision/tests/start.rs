//! A service that does not run yet.

use super::*;

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
    assert!(
        matches!(case.decide(), Decision::Keep(Keep::Starting { .. })),
        "the first attempt counts as it is"
    );
    for (first, stops) in [(599, false), (600, false), (601, true)] {
        case.ended = vec![failed(60, 0), failed(first, 0), failed(300, 119)];
        let (waited, limit) = (secs(first), secs(600));
        let wanted = if stops {
            Decision::Stop(Stop::NeverRan { waited, limit })
        } else {
            Decision::Keep(Keep::Starting { waited, limit })
        };
        assert_eq!(case.decide(), wanted);
        // Nor do the wakes of those who keep asking, nor that ECS pauses between two attempts.
        case.service.stamps.wake = ago(1);
        assert_eq!(case.decide(), wanted);
        let mut pausing = Case::starting(601);
        pausing.ended = case.ended.clone();
        pausing.tasks.clear();
        assert_eq!(pausing.decide(), wanted);
    }
}

#[test]
fn only_failures_of_the_present_start_count() {
    let ordered = |created| Ended {
        cause: Cause::Order,
        ..failed(created, 0)
    };
    let nameless = Ended {
        created: None,
        ..failed(0, 0)
    };
    let cases: [(&str, Vec<Ended>, u64); 6] = [
        ("before the wake that began it", vec![failed(1900, 0)], 100),
        ("stopped by order", vec![ordered(1700)], 100),
        ("without a time", vec![nameless], 100),
        (
            "before the last that stayed up",
            vec![failed(1700, 0), failed(1600, 120)],
            100,
        ),
        (
            "after the last that stayed up",
            vec![failed(1700, 0), failed(1650, 120), failed(300, 7)],
            300,
        ),
        (
            "a minute before the wake, by another clock",
            vec![failed(1860, 0)],
            1860,
        ),
    ];
    for (what, ended, waited) in cases {
        let mut case = Case::starting(1800);
        case.tasks[0].created = ago(100);
        case.service.deployment_changed = ago(100);
        case.ended = ended;
        case.thresholds.start_timeout = secs(2700);
        assert_eq!(
            case.decide(),
            Decision::Keep(Keep::Starting {
                waited: secs(waited),
                limit: secs(2700)
            }),
            "{what}"
        );
    }
}

#[test]
fn a_server_that_crashes_after_hours_has_its_time_from_the_crash_on() {
    let mut case = Case::starting(10_800);
    case.ended = vec![failed(10_790, 10_500), failed(280, 3), failed(200, 3)];
    case.tasks[0].created = ago(10);
    assert!(matches!(case.decide(), Decision::Keep(Keep::Starting { waited, .. }) if waited == secs(280)));
    case.ended.push(failed(650, 3));
    assert!(matches!(case.decide(), Decision::Stop(Stop::NeverRan { .. })));
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
