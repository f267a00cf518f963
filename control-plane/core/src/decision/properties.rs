//! What holds for any facts at all.

use super::*;
use crate::service::{Cause, Counts, Ended, Progress, Stamps};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const NOW: u64 = 1_800_000_020;

/// Any facts, around the moment of the decision and far from it.
#[derive(Clone, Debug)]
struct Case {
    service: Service,
    tasks: Tasks,
    metrics: Reading,
    thresholds: Thresholds,
}

impl Case {
    fn decide(&self) -> Decision {
        decide(&Facts {
            now: Epoch::from_secs(NOW),
            service: &self.service,
            tasks: &self.tasks,
            metrics: &self.metrics,
            thresholds: &self.thresholds,
        })
    }

    fn runs(&self, task: &TaskId) -> bool {
        self.tasks.running().any(|known| known.id == *task)
    }

    fn read(&self) -> &[TaskMetrics] {
        match &self.metrics {
            Reading::Read(read) => read,
            Reading::Unreadable => &[],
        }
    }

    fn any_runs(&self) -> bool {
        self.tasks.running().next().is_some()
    }
}

fn moment() -> impl Strategy<Value = Epoch> {
    prop_oneof![
        8 => (0_u64..4000).prop_map(|ago| NOW - ago),
        1 => (0_u64..200).prop_map(|ahead| NOW + ahead),
        1 => any::<u64>(),
    ]
    .prop_map(Epoch::from_secs)
}

fn task() -> impl Strategy<Value = Task> {
    let progress = prop_oneof![
        Just(Progress::Starting),
        Just(Progress::Running),
        Just(Progress::Running),
        Just(Progress::Ending),
    ];
    (0_u8..4, progress, option::of(moment()), option::of(moment())).prop_map(
        |(id, progress, created, started)| Task {
            id: TaskId(id.to_string()),
            progress,
            created,
            started,
            interface: None,
        },
    )
}

fn ended() -> impl Strategy<Value = Ended> {
    let cause = prop_oneof![Just(Cause::Failure), Just(Cause::Order)];
    (option::of(moment()), 0_u64..300, cause).prop_map(|(created, ran, cause)| Ended {
        created,
        ran: Duration::from_secs(ran),
        cause,
        reason: None,
    })
}

fn sample(value: impl Strategy<Value = f64>) -> impl Strategy<Value = Sample> {
    (moment(), value).prop_map(|(at, value)| Sample { at, value })
}

fn metrics() -> impl Strategy<Value = TaskMetrics> {
    let connections = prop_oneof![
        6 => Just(0.0),
        1 => 1.0..9.0_f64,
        1 => any::<f64>(),
    ];
    let activity = prop_oneof![
        8 => (0_u64..4000).prop_map(|ago| Duration::from_secs(NOW - ago).as_secs_f64()),
        1 => any::<f64>(),
    ];
    let (active, last) = (vec(sample(connections), 0..8), vec(sample(activity), 0..4));
    (0_u8..4, active, last).prop_map(|(id, active, last_activity)| TaskMetrics {
        task: TaskId(id.to_string()),
        active,
        last_activity,
    })
}

prop_compose! {
    fn thresholds()(
        idle in 3_u64..3000,
        lookback in 3_u64..900,
        max_unknown in 3_u64..3600,
        start_timeout in 3_u64..1200,
        period in prop_oneof![Just(1_u64), Just(10), Just(60)],
    ) -> Thresholds {
        Thresholds {
            idle: Duration::from_secs(idle),
            lookback: Duration::from_secs(lookback),
            max_unknown: Duration::from_secs(max_unknown),
            start_timeout: Duration::from_secs(start_timeout),
            period: Duration::from_secs(period),
        }
    }
}

prop_compose! {
    fn case()(
        counts in (0_u32..3, 0_u32..3, 0_u32..3),
        stamps in (option::of(moment()), option::of(moment()), option::of(moment())),
        deployment_changed in option::of(moment()),
        current in vec(task(), 0..4),
        ended in vec(ended(), 0..3),
        metrics in prop_oneof![
            9 => vec(metrics(), 0..4).prop_map(Reading::Read),
            1 => Just(Reading::Unreadable),
        ],
        thresholds in thresholds(),
    ) -> Case {
        Case {
            service: Service {
                counts: Counts { desired: counts.0, running: counts.1, pending: counts.2 },
                stamps: Stamps { wake: stamps.0, start: stamps.1, kill: stamps.2 },
                deployment_changed,
                latest_event: None,
            },
            tasks: Tasks { current, ended },
            metrics,
            thresholds,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_service_is_never_stopped_while_a_fresh_metric_shows_connections(case in case()) {
        let fresh = Epoch::from_secs(NOW).minus(case.thresholds.lookback);
        let active = case
            .read()
            .iter()
            .filter(|metrics| case.runs(&metrics.task))
            .flat_map(|metrics| &metrics.active)
            .any(|sample| sample.at >= fresh && sample.value > 0.0);
        prop_assert!(!(active && matches!(case.decide(), Decision::Stop(_))));
    }

    #[test]
    fn a_running_service_is_never_stopped_within_the_threshold_of_its_last_wake(case in case()) {
        let wake = case.service.stamps.wake;
        let recent = wake.is_some_and(|wake| Epoch::from_secs(NOW).since(wake) <= case.thresholds.idle);
        prop_assert!(!(recent && case.any_runs() && matches!(case.decide(), Decision::Stop(_))));
    }

    #[test]
    fn a_running_service_is_never_stopped_within_the_threshold_of_its_newest_start(case in case()) {
        let recent = case
            .tasks
            .running()
            .filter_map(Task::since)
            .any(|start| Epoch::from_secs(NOW).since(start) <= case.thresholds.idle);
        prop_assert!(!(recent && matches!(case.decide(), Decision::Stop(_))));
    }

    #[test]
    fn a_running_service_is_never_stopped_on_metrics_that_could_not_be_read(mut case in case()) {
        case.metrics = Reading::Unreadable;
        prop_assert!(!(case.any_runs() && matches!(case.decide(), Decision::Stop(_))));
    }

    #[test]
    fn a_service_is_idle_only_when_each_running_task_says_so_twice(case in case()) {
        if matches!(case.decide(), Decision::Stop(Stop::Idle { .. })) {
            for task in case.tasks.running() {
                let zeros: usize = case
                    .read()
                    .iter()
                    .filter(|metrics| metrics.task == task.id)
                    .map(|metrics| metrics.active.iter().filter(|sample| sample.value == 0.0).count())
                    .sum();
                prop_assert!(zeros >= 2);
            }
        }
    }

    #[test]
    fn metrics_of_tasks_that_do_not_run_change_nothing(case in case(), foreign in vec(metrics(), 1..3)) {
        let mut more = case.clone();
        if let Reading::Read(read) = &mut more.metrics {
            let foreign = foreign.into_iter().map(|metrics| TaskMetrics {
                task: TaskId("a task of yesterday".to_owned()),
                ..metrics
            });
            read.extend(foreign);
        }
        prop_assert_eq!(case.decide(), more.decide());
    }

    #[test]
    fn a_decision_is_nothing_exactly_at_zero(case in case()) {
        prop_assert_eq!(case.decide() == Decision::Nothing, case.service.counts.desired == 0);
    }
}
