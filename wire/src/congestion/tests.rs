//! The model over paths that are computed: what it carries, how long its queue is, what it leaves to others.

use super::model::{LEAST_WINDOW, MOST_WINDOW, Model};
use super::path::{Control, Cubic, Line, Path};
use proptest::prelude::*;
use std::time::Instant;

const FAST: Line = Line {
    rate: 25e6,
    rtt: 0.1,
    ..Line::ORDINARY
};

/// What a sender has of its path after the first seconds, and what nine of ten packets wait at most.
fn settled(line: Line) -> (f64, f64) {
    let mut path = Path::with_ours(line, 3);
    path.run(4.0);
    let had = path.run(16.0)[0] / (1.0 - line.loss);
    (had, path.waited(0.9, 16.0))
}

#[test]
fn paths_of_every_kind_are_filled_and_their_queues_stay_short() {
    let line = Line::ORDINARY;
    let lines = [
        ("clean", line),
        (
            "fast",
            Line {
                rate: 12.5e6,
                rtt: 0.02,
                ..line
            },
        ),
        ("long", FAST),
        (
            "very long",
            Line {
                rate: 37.5e6,
                rtt: 0.15,
                ..line
            },
        ),
        ("loses 1 %", Line { loss: 0.01, ..FAST }),
        ("loses 3 %", Line { loss: 0.03, ..line }),
        ("loses 13 %", Line { loss: 0.13, ..line }),
        (
            "varies by 5 ms",
            Line {
                jitter: 0.005,
                ..line
            },
        ),
        ("varies by 30 ms", Line { jitter: 0.03, ..line }),
        (
            "like Wi-Fi",
            Line {
                rate: 5e6,
                jitter: 0.008,
                loss: 0.01,
                ..line
            },
        ),
        (
            "like LTE",
            Line {
                rate: 3.75e6,
                jitter: 0.015,
                loss: 0.005,
                ..line
            },
        ),
        (
            "a deep queue",
            Line {
                rate: 1.25e6,
                queue: 2.0,
                ..line
            },
        ),
        ("a shallow queue", Line { queue: 0.01, ..line }),
        (
            "ADSL, up",
            Line {
                rate: 0.125e6,
                queue: 0.5,
                ..line
            },
        ),
    ];
    for (name, line) in lines {
        let (had, waited) = settled(line);
        assert!(had > 0.9, "{name}: {had:.3}");
        let packets = 8.0 * super::path::MTU / line.rate;
        assert!(waited < line.rtt * 0.6 + 0.02 + packets, "{name}: {waited:.3} s");
    }
}

#[test]
fn a_very_slow_path_is_filled_by_a_few_packets() {
    let (had, waited) = settled(Line {
        rate: 32e3,
        queue: 1.0,
        ..Line::ORDINARY
    });
    assert!(had > 0.9 && waited < 0.4, "{had:.3} {waited:.3} s");
}

#[test]
fn beside_cubic_neither_starves() {
    for queue in [0.03, 0.1, 0.5] {
        let line = Line {
            rtt: 0.04,
            queue,
            ..Line::ORDINARY
        };
        let mut path = Path::new(line, 5);
        path.add_ours();
        path.add(Control::Cubic(Cubic::new()));
        path.run(5.0);
        let had = path.run(60.0);
        assert!(had[0] + had[1] > 0.95, "{queue}: {had:.2?}");
        assert!(had[0] > 0.2 && had[1] > 0.2, "{queue}: {had:.2?}");
    }
}

#[test]
fn two_of_ours_share_and_their_queue_stays_short() {
    for (rate, rtt) in [(2.5e6, 0.04), (12.5e6, 0.05), (1.25e6, 0.1)] {
        let mut path = Path::new(
            Line {
                rate,
                rtt,
                ..Line::ORDINARY
            },
            1,
        );
        path.add_ours();
        path.run(2.0);
        path.add_ours();
        path.run(10.0);
        let had = path.run(60.0);
        assert!(had[0] > 0.3 && had[1] > 0.3, "{rtt}: {had:.2?}");
        let waited = path.waited(0.5, 60.0);
        assert!(waited < 0.05, "{rtt}: {waited:.3} s");
    }
}

#[test]
fn startup_loses_little() {
    let mut path = Path::with_ours(Line::ORDINARY, 1);
    path.run(2.0);
    assert!(path.senders[0].lost < 80, "{}", path.senders[0].lost);
    let mut path = Path::with_ours(Line { queue: 1.0, ..FAST }, 1);
    path.run(3.0);
    assert_eq!(path.senders[0].lost, 0);
}

#[test]
fn a_path_that_becomes_slow_or_fast_is_learnt_anew() {
    let mut path = Path::with_ours(FAST, 1);
    path.run(4.0);
    path.line.rate = FAST.rate / 10.0;
    path.line.queue = 1.0;
    path.run(8.0);
    assert!(path.run(4.0)[0] > 0.9);
    assert!(path.waited(0.5, 4.0) < FAST.rtt);
    path.line.rate = FAST.rate;
    path.run(12.0);
    let had = path.run(4.0)[0];
    assert!(had > 0.85, "{had:.3}");
}

#[test]
fn a_pause_does_not_make_a_path_forgotten() {
    let mut path = Path::with_ours(FAST, 1);
    path.run(4.0);
    path.demand(0, Some(6000.0));
    path.run(30.0);
    path.demand(0, None);
    let had = path.run(1.0)[0];
    assert!(had > 0.7, "{had:.3}");
}

#[test]
fn a_path_that_was_away_is_filled_again_at_once() {
    for line in [Line::ORDINARY, FAST] {
        let mut path = Path::with_ours(line, 1);
        path.run(4.0);
        path.away_until = 9.0;
        path.run(6.0);
        let had = path.run(3.0)[0];
        assert!(had > 0.7, "{had:.3}");
    }
}

#[test]
fn regression_a_few_packets_on_a_path_whose_delay_varies_are_no_trap() {
    // The window of one that was cut down to the least, and measures its rate by what that lets through.
    let mut path = Path::with_ours(
        Line {
            jitter: 0.015,
            ..Line::ORDINARY
        },
        1,
    );
    path.line.rate = 40e3;
    path.run(10.0);
    path.line.rate = Line::ORDINARY.rate;
    path.run(8.0);
    let had = path.run(4.0)[0];
    assert!(had > 0.8, "{had:.3}");
}

#[test]
fn on_a_path_without_delay_the_window_is_what_scheduling_needs() {
    let mut path = Path::with_ours(
        Line {
            rate: 125e6,
            rtt: 0.000_1,
            ..Line::ORDINARY
        },
        1,
    );
    path.run(1.0);
    assert!(path.run(1.0)[0] > 0.95);
    assert!(path.waited(0.9, 1.0) < 0.04);
}

#[test]
fn where_nothing_arrives_the_window_is_the_least_and_grows_again() {
    let now = Instant::now();
    let mut model = Model::new(now, 1452);
    model.forget(now);
    assert_eq!(model.window, LEAST_WINDOW * 1452);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever a path is like, most of it is carried, and the window stays within its bounds.
    #[test]
    fn any_path_is_filled(
        rate in 4.0..7.5_f64, rtt in 0.002..0.4_f64, queue in 0.03..1.0_f64, loss in 0.0..0.1_f64, jitter in 0.0..0.4_f64,
        seed in any::<u64>(),
    ) {
        // From 10 kB/s to 30 MB/s, and a jitter that is a part of the delay.
        let line = Line { rate: 10.0_f64.powf(rate), rtt, queue, loss, jitter: jitter * rtt / 2.0 };
        // A queue of a packet or two is not a path that anybody fills.
        prop_assume!(line.queue * line.rate > 20_000.0);
        let mut path = Path::with_ours(line, seed);
        path.run(12.0);
        let had = path.run(12.0)[0] / (1.0 - loss);
        prop_assert!(had > 0.7, "{had:.3} {line:?}");
        let window = path.model(0).window;
        prop_assert!((LEAST_WINDOW * 1200..=MOST_WINDOW).contains(&window), "{window}");
    }
}
