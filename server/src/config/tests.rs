//! Configurations, good and bad, and the sample in `docs/samples`.

use super::*;
use fluidity_wire::tls::Pem;

fn load(text: &str, env: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let path = std::env::temp_dir().join(format!(
        "fluidity-server-config-{}-{:?}.yaml",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&path, text).unwrap();
    let env = env.iter().map(|(name, value)| (name.into(), value.into()));
    let settings = Settings::load(Some(&path), Flags::default(), env);
    std::fs::remove_file(&path).unwrap();
    settings
}

const SMALL: &str = "identity: { certificate: a.pem, key: a.key, ca: ca.pem }\n";

#[test]
fn the_sample_is_a_whole_configuration_and_names_every_key_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/samples/server.yaml");
    let settings = Settings::load(Some(&path), Flags::default(), []).unwrap();
    assert_eq!(settings.warnings(), [""; 0]);
    let config = settings.config().unwrap();
    let Pem::File(key) = config.identity.key else {
        panic!("a file")
    };
    assert!(key.starts_with(path.parent().unwrap()));
    let text = std::fs::read_to_string(path).unwrap();
    for key in SCHEMA.keys {
        let name = key.path.rsplit('.').next().unwrap();
        let written = text.lines().any(|line| {
            let line = line.trim_start_matches([' ', '#']).replace('"', "");
            line.starts_with(&format!("{name}: {}", key.default))
        });
        assert!(written, "{} with {} is missing", key.path, key.default);
    }
}

#[test]
fn the_rules_in_the_samples_comments_are_good() {
    let text = SMALL.to_owned()
        + "policy:\n  allow:\n    - { cidr: 10.1.0.0/16, ports: [443, 8000-8999], agents: [laptop] }\n  \
           deny:\n    - { host: .ads.example }\n    - { ports: [25] }\n\
           dns: { servers: [9.9.9.9, 192.0.2.53:5353, '[2001:db8::1]:53', '2001:db8::1'] }\n";
    load(&text, &[]).unwrap().config().unwrap();
}

#[test]
fn the_defaults_are_in_bounds() {
    let config = load(SMALL, &[]).unwrap().config().unwrap();
    assert_eq!(config.listen, "[::]:443".parse().unwrap());
    assert_eq!(config.limits.sessions_per_agent, 4096);
    assert_eq!(config.dial.attempts, 3);
    assert_eq!(config.drain_grace, Duration::from_secs(25));
}

#[test]
fn rules_come_from_a_variable_as_well() {
    let variable = ("FLUIDITY_POLICY_ALLOW", "[{ cidr: 127.0.0.1/32, ports: [80] }]");
    load(SMALL, &[variable]).unwrap().config().unwrap();
    let error = load(SMALL, &[("FLUIDITY_POLICY_ALLOW", "[{ cdir: 127.0.0.1/32 }]")]).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("$FLUIDITY_POLICY_ALLOW") && error.contains("`cidr`"),
        "{error}"
    );
}

#[test]
fn what_must_be_set_and_what_has_bounds_is_told_by_name() {
    for (text, said) in [
        ("listen: '[::]:443'\n", "`identity.certificate` is not set"),
        (
            &format!("{SMALL}dial: {{ attempts: 0 }}\n"),
            "dial.attempts: must be between 1 and 10",
        ),
        (
            &format!("{SMALL}limits: {{ sessions: 0 }}\n"),
            "limits.sessions: must be between 1",
        ),
        (
            &format!("{SMALL}breaker: {{ open-for: 10ms }}\n"),
            "breaker.open-for: must be between 1s and 1m",
        ),
        (
            &format!("{SMALL}quic: {{ idle-timeout: 2h }}\n"),
            "quic.idle-timeout: must be between 1s and 1h",
        ),
    ] {
        let error = load(text, &[])
            .and_then(Settings::config)
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    for (text, said) in [
        (
            format!("{SMALL}dns: {{ servers: [dns.example] }}\n"),
            "`dns.example` is not a name server",
        ),
        (
            format!("{SMALL}policy: {{ default: maybe }}\n"),
            "`allow` or `deny`",
        ),
        (
            format!("{SMALL}policy: {{ deny: [{{ ports: [70000] }}] }}\n"),
            "`70000` is not a port",
        ),
    ] {
        let error = load(&text, &[]).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}
