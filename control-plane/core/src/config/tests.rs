//! Settings: defaults, limits, and what a wrong one is told.

use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let names = [("ECS_CLUSTER_NAME", "c"), ("ECS_SERVICE_NAME", "s")];
    Config::read(&|variable| {
        pairs
            .iter()
            .chain(&names)
            .find(|(name, _)| *name == variable)
            .map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn two_names_are_enough() {
    let config = read(&[]).unwrap();
    assert_eq!((config.cluster.as_str(), config.service.as_str()), ("c", "s"));
    assert_eq!((config.server_port, config.server_host), (443, None));
    assert_eq!(config.log_level, LogLevel::Info);
    let secs = |duration: Duration| duration.as_secs();
    let limits = config.thresholds;
    assert_eq!(secs(limits.idle), 900);
    assert_eq!(secs(limits.lookback), 300);
    assert_eq!(secs(limits.max_unknown), 1200);
    assert_eq!(secs(limits.start_timeout), 600);
    assert_eq!(secs(limits.period), 60);
}

#[test]
fn everything_can_be_set() {
    let config = read(&[
        ("ECS_CLUSTER_NAME", "fluidity-dev_1"),
        ("IDLE_THRESHOLD_MINS", "1.5"),
        ("LOOKBACK_PERIOD_MINS", "0.5"),
        ("MAX_UNKNOWN_MINS", "2"),
        ("START_TIMEOUT_MINS", "3"),
        ("METRIC_PERIOD_SECS", "10"),
        ("SERVER_PORT", "8443"),
        ("SERVER_HOST", "nlb-1.example.org"),
        ("LOG_LEVEL", "DEBUG"),
    ])
    .unwrap();
    assert_eq!(config.thresholds.idle, Duration::from_secs(90));
    assert_eq!(config.thresholds.lookback, Duration::from_secs(30));
    assert_eq!(config.server_port, 8443);
    assert_eq!(config.server_host.as_deref(), Some("nlb-1.example.org"));
    assert_eq!(config.log_level, LogLevel::Debug);
}

#[test]
fn a_missing_or_empty_name_is_named() {
    for empty in [None, Some("")] {
        for missing in ["ECS_CLUSTER_NAME", "ECS_SERVICE_NAME"] {
            let error = Config::read(&|variable| {
                if variable == missing {
                    empty.map(str::to_owned)
                } else if variable.starts_with("ECS_") {
                    Some("x".to_owned())
                } else {
                    None
                }
            })
            .unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("{missing} is not set")),
                "{error}"
            );
        }
    }
}

#[test]
fn a_wrong_setting_is_told_its_variable_its_value_and_what_is_wanted() {
    let cases = [
        (
            "ECS_CLUSTER_NAME",
            "arn:aws:ecs:eu-central-1:1:cluster/c",
            "not its ARN",
        ),
        ("ECS_SERVICE_NAME", "a b", "not its ARN"),
        ("IDLE_THRESHOLD_MINS", "soon", "minutes from"),
        ("IDLE_THRESHOLD_MINS", "-1", "minutes from"),
        ("IDLE_THRESHOLD_MINS", "0", "minutes from"),
        ("IDLE_THRESHOLD_MINS", "0.01", "minutes from"),
        ("IDLE_THRESHOLD_MINS", "1441", "minutes from"),
        ("IDLE_THRESHOLD_MINS", "NaN", "minutes from"),
        ("IDLE_THRESHOLD_MINS", "inf", "minutes from"),
        ("LOOKBACK_PERIOD_MINS", "2.9", "three metric periods"),
        ("MAX_UNKNOWN_MINS", "14", "at least IDLE_THRESHOLD_MINS"),
        ("START_TIMEOUT_MINS", "1e9", "minutes from"),
        ("START_TIMEOUT_MINS", "45.1", "at most 45 minutes"),
        ("METRIC_PERIOD_SECS", "45", "CloudWatch period"),
        ("SERVER_PORT", "0", "1 to 65535"),
        ("SERVER_PORT", "65536", "1 to 65535"),
        ("SERVER_HOST", "https://example.org", "without a scheme"),
        ("LOG_LEVEL", "loud", "error, warn"),
    ];
    for (variable, value, wanted) in cases {
        let error = read(&[(variable, value)]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{variable} is {value:?}: ")),
            "{error}"
        );
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_long_idle_threshold_takes_the_limit_of_the_unknown_along() {
    let config = read(&[("IDLE_THRESHOLD_MINS", "60")]).unwrap();
    assert_eq!(config.thresholds.max_unknown, Duration::from_secs(3600));
}

#[test]
fn the_read_window_covers_what_a_silent_server_may_have_left() {
    let limits = read(&[]).unwrap().thresholds;
    assert_eq!(limits.window(), Duration::from_secs(1260));
}
