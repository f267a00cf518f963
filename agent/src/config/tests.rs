//! Configurations, good and bad, and the samples in `docs/samples`.

use super::*;
use fluidity_wire::tls::Pem;

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
        let Pem::File(key) = config.identity.key else {
            panic!("{sample}")
        };
        assert!(key.starts_with(path.parent().unwrap()), "{sample}");
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
    assert_eq!(config.server.address.unwrap().to_string(), "flag:3");
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

#[test]
fn a_control_plane_is_whole_or_refused() {
    let wake = "FLUIDITY_WAKE_ENDPOINT";
    let (endpoint, key) = ((wake, "https://api.example/live/wake"), ("FLUIDITY_API_KEY", "k"));
    let identity = "identity: { certificate: a.pem, key: a.key, ca: ca.pem }\n";
    let config = load(identity, &[endpoint, key], Flags::default())
        .unwrap()
        .config()
        .unwrap();
    assert!(config.server.address.is_none(), "the control plane tells it");
    let plane = config.control_plane.unwrap();
    assert_eq!(plane.idle_disconnect, Some(Duration::from_secs(900)));
    assert_eq!(plane.on_shutdown, OnShutdown::KillIfLast);
    assert_eq!(plane.connection_timeout, Duration::from_secs(90));

    let never = ("FLUIDITY_IDLE_DISCONNECT", "0s");
    let settings = load(identity, &[endpoint, key, never], Flags::default()).unwrap();
    assert_eq!(settings.control_plane(Order::Wake).unwrap().idle_disconnect, None);

    for (env, said) in [
        (&[endpoint][..], "`api-key` is not set"),
        (&[key], "`server.address` is not set"),
        (
            &[("FLUIDITY_KILL_ENDPOINT", "https://api.example/kill"), key],
            "`wake-endpoint` is not set",
        ),
        (&[endpoint, key, ("FLUIDITY_API_KEY_FILE", "k")], "not both"),
        (
            &[endpoint, ("FLUIDITY_API_KEY_FILE", "/no/such/key")],
            "api-key-file: cannot read /no/such/key",
        ),
        (
            &[endpoint, key, ("FLUIDITY_PRICES_HOUR", "-1")],
            "prices.hour: must be between 0 and",
        ),
        (
            &[endpoint, key, ("FLUIDITY_IDLE_DISCONNECT", "10ms")],
            "idle-disconnect: must be between 1s and",
        ),
    ] {
        let error = load(identity, env, Flags::default()).and_then(Settings::config);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(said), "{env:?}: {error}");
    }
    let open = ("FLUIDITY_WAKE_ENDPOINT", "http://api.example/wake");
    let error = load(identity, &[open, key], Flags::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("over https only"), "{error}");
}

#[cfg(unix)]
#[test]
fn an_api_key_comes_from_a_file_that_others_cannot_read() {
    use std::os::unix::fs::PermissionsExt;
    let file = std::env::temp_dir().join(format!("fluidity-agent-api-key-{}", std::process::id()));
    std::fs::write(&file, "a-key\n").unwrap();
    let env = [
        ("FLUIDITY_WAKE_ENDPOINT", "https://api.example/wake"),
        ("FLUIDITY_API_KEY_FILE", file.to_str().unwrap()),
    ];
    let key = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let plane = load(SMALL, &env, Flags::default())
            .unwrap()
            .control_plane(Order::Wake);
        plane.map(|plane| plane.key.expose().to_owned())
    };
    assert_eq!(key(0o600).unwrap(), "a-key");
    let error = key(0o644).unwrap_err().to_string();
    assert!(error.contains("can be read by others"), "{error}");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn an_identity_comes_as_files_or_as_texts_and_texts_show_nowhere() {
    let server = "server: { address: 'example.com:443' }\n";
    let texts = [
        ("FLUIDITY_IDENTITY_CERTIFICATE_PEM", "the certificate"),
        ("FLUIDITY_IDENTITY_KEY_PEM", "hunter2"),
        ("FLUIDITY_IDENTITY_CA_PEM", "the ca"),
    ];
    let settings = load(server, &texts, Flags::default()).unwrap();
    assert!(!settings.render().contains("hunter2"));
    let config = settings.config().unwrap();
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    let error = config.identity.load().unwrap_err().to_string();
    assert!(
        error.starts_with("identity.certificate-pem holds no certificate"),
        "{error}"
    );
    for (file, said) in [
        (
            SMALL,
            "set identity.certificate or identity.certificate-pem, not both",
        ),
        (server, "`identity.key` is not set"),
    ] {
        let texts = [("FLUIDITY_IDENTITY_CERTIFICATE_PEM", "the certificate")];
        let error = load(file, &texts, Flags::default()).and_then(Settings::config);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
