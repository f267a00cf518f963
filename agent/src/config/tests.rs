//! Configurations, good and bad, and the samples in `docs/samples`.

use super::*;

fn load(text: &str, env: &[(&str, &str)], flags: Flags) -> Result<Settings, SettingsError> {
    let path = std::env::temp_dir().join(format!(
        "fluidity-agent-config-{}-{:?}.yaml",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&path, text).unwrap();
    let env = env.iter().map(|(name, value)| (name.into(), value.into()));
    let settings = Settings::load(Some(&path), flags, env);
    std::fs::remove_file(&path).unwrap();
    settings
}

const SMALL: &str =
    "server: { address: 'example.com:443' }\nidentity: { certificate: a.pem, key: a.key, ca: ca.pem }\n";

#[test]
fn every_sample_is_a_whole_configuration() {
    for sample in ["agent.yaml", "agent-minimal.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs/samples")
            .join(sample);
        let settings = Settings::load(Some(&path), Flags::default(), []).unwrap();
        assert_eq!(settings.warnings(), [""; 0]);
        let config = settings.config().unwrap();
        assert!(
            config.identity.key.starts_with(path.parent().unwrap()),
            "{sample}"
        );
    }
}

#[test]
fn the_full_sample_names_every_key_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/samples/agent.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    for key in SCHEMA.keys {
        let name = key.path.rsplit('.').next().unwrap();
        let written = text.lines().any(|line| {
            line.trim_start_matches([' ', '#'])
                .starts_with(&format!("{name}: {}", key.default))
        });
        assert!(written, "{} with {} is missing", key.path, key.default);
    }
}

#[test]
fn the_defaults_are_in_bounds() {
    let config = load(SMALL, &[], Flags::default()).unwrap().config().unwrap();
    assert_eq!(config.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.server.name, "fluidity-server");
    assert_eq!(config.connect.request_wait, Duration::from_secs(15));
    assert_eq!(config.limits.head_size, 64 * 1024);
    assert!(config.proxy_auth.is_none());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let env = [
        ("FLUIDITY_SERVER_ADDRESS", "env:2"),
        ("FLUIDITY_LISTEN", "127.0.0.1:2"),
    ];
    let flags = Flags {
        server: Some("flag:3".into()),
        ..Flags::default()
    };
    let config = load(SMALL, &env, flags).unwrap().config().unwrap();
    assert_eq!(config.server.address.to_string(), "flag:3");
    assert_eq!(config.listen, "127.0.0.1:2".parse().unwrap());
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, words) in [
        (
            format!("{SMALL}limits: {{ cleints: 5 }}\n"),
            &[":3:11", "cleints", "clients"][..],
        ),
        (
            format!("{SMALL}limits: {{ headers: 5 }}\n"),
            &[":3:20", "limits.headers", "between 10 and 1000"],
        ),
        (
            format!("{SMALL}log: {{ level: loud }}\n"),
            &[":3:15", "loud", "log.level"],
        ),
        (
            format!("{SMALL}proxy-auth: {{ username: ann }}\n"),
            &["proxy-auth.password", "not set"],
        ),
        (
            format!("{SMALL}proxy-auth: {{ username: 'a:b', password: hunter2 }}\n"),
            &["proxy-auth.username", "colon"],
        ),
        (
            format!("{SMALL}quic: {{ keep-alive: 20s }}\n"),
            &["quic.keep-alive", "quic.idle-timeout"],
        ),
        ("listen: 127.0.0.1:0\n".into(), &["server.address", "--server"]),
        (
            "server: { address: example.com }\n".into(),
            &["server.address", "port"],
        ),
    ] {
        let error = load(&text, &[], Flags::default()).and_then(Settings::config);
        let error = error.expect_err(&text).to_string();
        for word in words {
            assert!(error.contains(word), "no {word:?} in: {error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn the_admin_address_needs_no_other_setting() {
    let settings = Settings::load(None, Flags::default(), []).unwrap();
    assert_eq!(settings.admin(), "127.0.0.1:8081".parse().unwrap());
    assert!(settings.config().is_err());
}
