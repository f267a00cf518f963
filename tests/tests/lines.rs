//! Emulated lines in short, with bounds that no noise of a busy machine can break: what `scripts/bench.sh lines` measures in full.
//! Needs root, else each test says SKIPPED.
#![cfg(target_os = "linux")]

use fluidity_tests::{Client, Line};
use serde_json::Value;
use std::time::Duration;

/// 20 Mbit/s and a round trip of 50 ms, nothing lost.
const CLEAN: &str = "delay=25 rate=20";
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// Bytes a second of `CLEAN`.
const RATE: f64 = 20e6 / 8.0;
const LIKE_WIFI: &str = "delay=25 rate=40 queue=250 jitter=8 loss=1 gap=60 period=2000";
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn small_requests_beside_a_download_wait_at_most_ten_round_trips() {
    let Some(line) = Line::new(CLEAN) else { return };
    let bulk = line.client("bulk", &["down", "--duration", "10"]);
    judge_beside(&line, bulk);
}

#[test]
fn small_requests_beside_an_upload_wait_at_most_ten_round_trips() {
    let Some(line) = Line::new(CLEAN) else { return };
    let bulk = line.client("bulk", &["up", "--duration", "10", "--name", "bulk"]);
    judge_beside(&line, bulk);
}

#[test]
fn on_a_clean_line_a_download_and_an_upload_get_a_third_of_it() {
    let Some(line) = Line::new(CLEAN) else { return };
    for way in ["down", "up"] {
        let bulk = line.client(way, &[way, "--duration", "30", "--name", way]);
        let moved = |bulk: &Client| {
            if way == "up" {
                line.uploaded(way)
            } else {
                bulk.bytes()
            }
        };
        std::thread::sleep(Duration::from_secs(9));
        let speed = moved(&bulk) as f64 / 9.0;
        assert!(
            speed > RATE / 3.0,
            "{way}: {speed:.0} of {RATE:.0} bytes/s: {}",
            bulk.log()
        );
    }
}

#[test]
fn on_a_line_like_wifi_neither_direction_stands_still() {
    let Some(line) = Line::new(LIKE_WIFI) else { return };
    let (down, up) = both_ways(&line);
    for second in [4, 8, 12] {
        let before = (down.bytes(), line.uploaded("up"));
        std::thread::sleep(Duration::from_secs(4));
        assert!(down.bytes() > before.0, "down, until {second} s: {}", down.log());
        assert!(
            line.uploaded("up") > before.1,
            "up, until {second} s: {}",
            up.log()
        );
    }
}

#[test]
fn after_the_mtu_fell_under_both_directions_each_comes_back() {
    // A MB a second each way.
    let Some(line) = Line::new("delay=20 rate=8") else {
        return;
    };
    let (down, up) = both_ways(&line);
    std::thread::sleep(Duration::from_secs(4));
    line.set("mtu=1300");
    std::thread::sleep(Duration::from_secs(14));
    let before = (down.bytes(), line.uploaded("up"));
    std::thread::sleep(Duration::from_secs(6));
    for (way, bytes) in [
        ("down", down.bytes() - before.0),
        ("up", line.uploaded("up") - before.1),
    ] {
        // A fifth of the line, 14 s after.
        assert!(
            bytes > 6 * 200_000,
            "{way}: {bytes} bytes in 6 s: {} {}",
            down.log(),
            up.log()
        );
    }
}

fn both_ways(line: &Line) -> (Client, Client) {
    let down = line.client("down", &["down", "--duration", "60"]);
    (
        down,
        line.client("up", &["up", "--duration", "60", "--name", "up"]),
    )
}

/// Beside a transfer of ten seconds: each small request is answered, and half of them soon.
fn judge_beside(line: &Line, bulk: Client) {
    std::thread::sleep(Duration::from_secs(2));
    let small = |tunnel| {
        let options = [
            "small",
            "--interval",
            "250",
            "--duration",
            "7",
            "--timeout",
            "60",
            "--tunnel",
            tunnel,
        ];
        (tunnel, line.client(tunnel, &options))
    };
    for (tunnel, client) in ["new", "open"].map(small) {
        let answers = client.finish(PATIENCE);
        let mut waits: Vec<f64> = answers
            .iter()
            .filter_map(|answer| answer["ms"].as_f64())
            .collect();
        let failed: Vec<&Value> = answers
            .iter()
            .filter(|answer| !answer["error"].is_null())
            .collect();
        assert!(
            failed.is_empty() && !waits.is_empty(),
            "{tunnel}: {failed:?} {answers:?}"
        );
        waits.sort_by(f64::total_cmp);
        let median = Duration::from_secs_f64(waits[waits.len() / 2] / 1e3);
        assert!(
            median <= 10 * ROUND_TRIP,
            "{tunnel}: {median:?}; all, ms: {waits:?}"
        );
    }
    drop(bulk);
}
