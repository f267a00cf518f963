//! The command lines: what people type, what they are told, and the exit codes that scripts see.

#![cfg(unix)]

use fluidity_tests::{Origin, Scratch, Setup, Stack, TestAgent, TestPki, TestServer, binary};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

fn run(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(binary(program));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FLUIDITY_")) {
        command.env_remove(name);
    }
    command.args(args).output().expect("run")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const AGENT: &str = "server:\n  address: 127.0.0.1:4433\nidentity:\n  certificate: agent.pem\n  key: agent.key\n  ca: ca.pem\n";
const SERVER: &str = "identity:\n  certificate: server.pem\n  key: server.key\n  ca: ca.pem\n";

#[test]
fn a_typo_is_refused_with_file_line_column_and_the_nearest_name() {
    let scratch = Scratch::new();
    // (program, file, the line and column of the culprit, what else must be said)
    let cases: [(&str, String, &str, &[&str]); 9] = [
        (
            "fluidity",
            format!("lisen: 127.0.0.1:8080\n{AGENT}"),
            "1:1",
            &["lisen", "listen"],
        ),
        (
            "fluidity",
            format!("{AGENT}limits:\n  cleints: 5\n"),
            "8:3",
            &["cleints", "clients"],
        ),
        (
            "fluidity",
            format!("{AGENT}quic: {{ idle-timout: 3s }}\n"),
            "7:9",
            &["idle-timout", "idle-timeout"],
        ),
        (
            "fluidity",
            format!("{AGENT}listen: 127.0.0.1\n"),
            "7:9",
            &["listen"],
        ),
        (
            "fluidity",
            format!("{AGENT}limits:\n  head-timeout: 5 parsecs\n"),
            "8:17",
            &["head-timeout"],
        ),
        (
            "fluidity",
            format!("{AGENT}log:\n  level: loud\n"),
            "8:10",
            &["level"],
        ),
        (
            "fluidity-server",
            format!("{SERVER}polcy:\n  default: deny\n"),
            "5:1",
            &["polcy", "policy"],
        ),
        (
            "fluidity-server",
            format!("{SERVER}policy:\n  allow:\n    - cidr: 10.0.0.0/33\n"),
            "7:13",
            &["10.0.0.0/33"],
        ),
        (
            "fluidity-server",
            format!("{SERVER}policy:\n  deny:\n    - ports: [70000]\n"),
            "7:",
            &["70000"],
        ),
    ];
    for (program, text, place, words) in cases {
        let file = scratch.write("config.yaml", &text);
        let file = file.to_str().expect("UTF-8");
        for args in [
            ["config", "check", "-c", file],
            ["run", "-c", file, "--ports-file=/dev/null"],
        ] {
            let output = run(program, &args);
            let said = err(&output);
            assert!(!output.status.success(), "{program} {args:?} accepts:\n{text}");
            assert!(
                said.contains(&format!("{file}:{place}")),
                "{program}: no {file}:{place} for\n{text}\n{said}"
            );
            for word in words {
                assert!(said.contains(word), "{program}: no {word:?} for\n{text}\n{said}");
            }
            assert!(said.lines().count() <= 4, "short and clear:\n{said}");
            assert!(
                !said.contains("panicked") && !said.contains("RUST_BACKTRACE"),
                "{said}"
            );
        }
    }
}

#[test]
fn a_good_configuration_passes_the_check() {
    let pki = TestPki::new();
    let scratch = Scratch::new();
    let quic = "127.0.0.1:4433".parse().expect("an address");
    for (program, settings) in [
        ("fluidity", TestAgent::settings(&pki, quic)),
        ("fluidity-server", TestServer::settings(&pki)),
    ] {
        let file = scratch.write("config.yaml", &settings.text());
        let output = run(program, &["config", "check", "-c", file.to_str().expect("UTF-8")]);
        assert!(output.status.success(), "{program}: {}", err(&output));
    }
}

#[test]
fn a_missing_file_and_a_missing_key_are_named() {
    let scratch = Scratch::new();
    let missing = scratch.path().join("no-such.yaml");
    let missing = missing.to_str().expect("UTF-8");
    for program in ["fluidity", "fluidity-server"] {
        let output = run(program, &["config", "check", "-c", missing]);
        assert!(
            !output.status.success() && err(&output).contains("no-such.yaml"),
            "{}",
            err(&output)
        );
    }
    let file = scratch.write("agent.yaml", "listen: 127.0.0.1:0\n");
    let output = run(
        "fluidity",
        &["config", "check", "-c", file.to_str().expect("UTF-8")],
    );
    assert!(
        !output.status.success() && err(&output).contains("server"),
        "{}",
        err(&output)
    );
}

#[test]
fn config_show_says_where_values_come_from_and_keeps_secrets() {
    let pki = TestPki::new();
    let scratch = Scratch::new();
    let mut settings = TestAgent::settings(&pki, "127.0.0.1:4433".parse().expect("an address"));
    settings.set(
        "proxy-auth",
        json!({ "username": "ann", "password": "hunter2-secret" }),
    );
    settings.set("limits.clients", 77);
    let file = scratch.write("agent.yaml", &settings.text());
    let file = file.to_str().expect("UTF-8");
    let mut command = Command::new(binary("fluidity"));
    command.args(["config", "show", "-c", file, "--server", "flag.example:443"]);
    let output = command
        .env("FLUIDITY_LIMITS_HEAD_TIMEOUT", "7s")
        .output()
        .expect("run");
    let said = out(&output);
    assert!(output.status.success(), "{}", err(&output));
    assert!(!said.contains("hunter2-secret"), "{said}");
    let line = |needle: &str| {
        let found = said.lines().find(|line| line.contains(needle));
        found
            .unwrap_or_else(|| panic!("no line with {needle:?}:\n{said}"))
            .to_lowercase()
    };
    assert!(line("flag.example:443").contains("flag"), "{said}");
    assert!(line("7s").contains("$fluidity_limits_head_timeout"), "{said}");
    assert!(line("77").contains("agent.yaml"), "{said}");
    assert!(said.to_lowercase().contains("default"), "{said}");
}

#[tokio::test]
async fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let origin = Origin::bind().await.hello("hello");
    let stack = Stack::for_origin(origin.addr()).await;
    let scratch = Scratch::new();
    let mut settings = stack.agent_settings.clone();
    settings.set("server.address", "127.0.0.1:1");
    let file = scratch.write("agent.yaml", &settings.text());
    let show = |env: Option<&str>, flag: Option<&str>| {
        let mut command = Command::new(binary("fluidity"));
        command.args(["config", "show", "-c"]).arg(&file);
        if let Some(value) = env {
            command.env("FLUIDITY_SERVER_ADDRESS", value);
        }
        if let Some(value) = flag {
            command.args(["--server", value]);
        }
        out(&command.output().expect("run"))
    };
    assert!(show(None, None).contains("127.0.0.1:1"));
    let with_env = show(Some("127.0.0.1:2"), None);
    assert!(
        with_env.contains("127.0.0.1:2") && !with_env.contains("127.0.0.1:1 "),
        "{with_env}"
    );
    let with_flag = show(Some("127.0.0.1:2"), Some("127.0.0.1:3"));
    assert!(
        with_flag.contains("127.0.0.1:3") && !with_flag.contains("127.0.0.1:2"),
        "{with_flag}"
    );
}

#[tokio::test]
async fn status_tells_how_it_stands() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let _tunnel = stack.tunnel(&origin).await;
    let scratch = Scratch::new();
    let mut settings = stack.agent_settings.clone();
    settings.set("admin", stack.agent.port("admin").to_string());
    let file = scratch.write("agent.yaml", &settings.text());
    let file = file.to_str().expect("UTF-8");
    let output = run("fluidity", &["status", "-c", file]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(
        out(&output).to_lowercase().contains("connected"),
        "{}",
        out(&output)
    );
    assert!(
        out(&output).contains(&stack.server.quic().to_string()),
        "{}",
        out(&output)
    );

    stack.agent.signal("KILL");
    fluidity_tests::until(std::time::Duration::from_secs(5), "status notices", || async {
        let output = run("fluidity", &["status", "-c", file]);
        if output.status.success() {
            Err(out(&output))
        } else {
            Ok(())
        }
    })
    .await;
    let output = run("fluidity", &["status", "-c", file]);
    assert!(
        !err(&output).is_empty() && !err(&output).contains("panicked"),
        "{}",
        err(&output)
    );
}

#[tokio::test]
async fn healthcheck_follows_the_server() {
    let stack = Setup::new().start().await;
    let scratch = Scratch::new();
    let mut settings = stack.server_settings.clone();
    settings.set("admin", stack.server.port("admin").to_string());
    let file = scratch.write("server.yaml", &settings.text());
    let args = ["healthcheck", "-c", file.to_str().expect("UTF-8")];
    let output = run("fluidity-server", &args);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    stack.server.kill().await;
    let output = run("fluidity-server", &args);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
}

#[tokio::test]
async fn admin_pages_answer_and_only_to_their_own_name() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let _tunnel = stack.tunnel(&origin).await;
    let daemons = [("agent", &*stack.agent), ("server", &*stack.server)];
    for (name, daemon) in daemons {
        for path in ["/healthz", "/readyz"] {
            assert_eq!(daemon.admin(path).await.0, 200, "{name} {path}");
        }
        let (code, metrics) = daemon.admin("/metrics").await;
        assert_eq!(code, 200);
        assert!(
            metrics.contains("# TYPE fluidity_") && metrics.contains("# TYPE process_"),
            "{name}: {metrics}"
        );
        let status = daemon.status().await;
        assert_eq!(status["sessions"]["active"], 1, "{name}: {status}");
        assert!(status["version"].is_string(), "{name}: {status}");
        assert_eq!(daemon.admin("/no-such-page").await.0, 404, "{name}");

        // A page in a browser that rebinds its name to loopback must not read this (design.md).
        let mut peer = fluidity_tests::Peer::dial(daemon.port("admin")).await;
        peer.write("GET /api/status HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            .await;
        let refused = peer.read_head().await.status();
        assert!(matches!(refused, 400 | 403 | 421), "{name}: {refused}");
        let mut peer = fluidity_tests::Peer::dial(daemon.port("admin")).await;
        let host = daemon.port("admin");
        peer.write(format!(
            "GET /api/status HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\n\r\n"
        ))
        .await;
        let refused = peer.read_head().await.status();
        assert!(matches!(refused, 400 | 403), "{name}: {refused}");
    }
    let connections = stack.server.status().await["connections"].clone();
    assert_eq!(connections[0]["agent"], "laptop", "{connections}");
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("the file").permissions().mode() & 0o777
}

#[test]
fn the_ca_keeps_its_keys_to_itself_and_never_overwrites_them() {
    let pki = TestPki::new();
    for name in ["ca.key", "fluidity-server.key", "laptop.key"] {
        assert_eq!(mode(&pki.file(name)), 0o600, "{name}");
    }
    let before = std::fs::read(pki.file("ca.key")).expect("ca.key");
    let again = pki.pki(&["init"]);
    assert!(!again.status.success(), "init over an existing CA");
    assert!(
        err(&again).contains("ca.key") || err(&again).contains("exists"),
        "{}",
        err(&again)
    );
    assert_eq!(std::fs::read(pki.file("ca.key")).expect("ca.key"), before);
    let before = std::fs::read(pki.file("laptop.key")).expect("laptop.key");
    assert!(
        !pki.pki(&["issue", "agent", "laptop"]).status.success(),
        "issue over an existing identity"
    );
    assert_eq!(std::fs::read(pki.file("laptop.key")).expect("laptop.key"), before);

    let shown = pki.pki(&["show"]);
    assert!(shown.status.success(), "{}", err(&shown));
    for word in ["laptop", "fluidity-server", "fluidity://agent/laptop"] {
        assert!(out(&shown).contains(word), "no {word}:\n{}", out(&shown));
    }
    for bad in ["", "../x", "a/b", "a b", "-x"] {
        let output = pki.pki(&["issue", "agent", bad]);
        assert!(!output.status.success(), "agent name {bad:?}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_connects() {
    let pki = TestPki::new();
    let before = std::fs::read(pki.file("laptop.pem")).expect("laptop.pem");
    let renewed = pki.pki(&["renew"]);
    assert!(renewed.status.success(), "{}", err(&renewed));
    let after = std::fs::read(pki.file("laptop.pem")).expect("laptop.pem");
    let named = pki.pki(&["show"]);
    assert!(named.status.success());
    let server = TestServer::start(&TestServer::settings(&pki)).await;
    let agent = TestAgent::start(&TestAgent::settings(&pki, server.quic())).await;
    agent.ready(std::time::Duration::from_secs(10)).await;
    assert_ne!(before, after, "renew makes new certificates");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let pki = TestPki::new();
    let scratch = Scratch::new();
    std::fs::set_permissions(pki.file("laptop.key"), std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let settings = TestAgent::settings(&pki, "127.0.0.1:1".parse().expect("an address"));
    let file = scratch.write("agent.yaml", &settings.text());
    let output = run(
        "fluidity",
        &[
            "run",
            "-c",
            file.to_str().expect("UTF-8"),
            "--ports-file=/dev/null",
        ],
    );
    assert!(!output.status.success());
    let said = err(&output);
    assert!(
        said.contains("laptop.key") && (said.contains("chmod") || said.contains("0600")),
        "{said}"
    );
}

#[test]
fn help_and_version_work() {
    for program in ["fluidity", "fluidity-server"] {
        let version = run(program, &["--version"]);
        assert!(
            version.status.success() && out(&version).contains(env!("CARGO_PKG_VERSION")),
            "{}",
            out(&version)
        );
        let help = run(program, &["--help"]);
        assert!(help.status.success() && out(&help).contains("run") && out(&help).contains("config"));
        assert!(!run(program, &["no-such-command"]).status.success());
    }
}

#[tokio::test]
async fn logs_are_json_when_asked_and_name_no_target() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .agent("log", json!({ "level": "info", "format": "json" }))
        .server("log", json!({ "level": "info", "format": "json" }))
        .start()
        .await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    client.finish().await;
    upstream.discard().await;
    upstream.finish().await;
    client.discard().await;
    let port = origin.addr().port().to_string();
    for daemon in [&*stack.agent, &*stack.server] {
        fluidity_tests::until(
            std::time::Duration::from_secs(5),
            "no session is left",
            || async {
                let status = daemon.status().await;
                if status["sessions"]["active"] == 0 {
                    Ok(())
                } else {
                    Err(status)
                }
            },
        )
        .await;
        let log = daemon.log();
        assert!(!log.is_empty());
        for line in log.lines() {
            let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            assert!(entry["level"].is_string(), "{line}");
            assert!(
                !line.contains(&format!("127.0.0.1:{port}")),
                "a target above DEBUG: {line}"
            );
        }
    }
}
