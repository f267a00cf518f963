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
