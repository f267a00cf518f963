//! The mistakes that people make with ports, places and commands, and outputs that nobody reads to the end.

#![cfg(unix)]

use fluidity_tests::{
    Origin, Scratch, Setup, Stack, TestPki, TestServer, agent_file, command, fails, said, server_file, text,
};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

#[tokio::test]
async fn a_port_that_cannot_be_had_is_told_with_the_remedy() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let (tcp, udp_) = (
        taken.local_addr().expect("bound"),
        udp.local_addr().expect("bound"),
    );
    // 19
    let file = agent_file(&scratch, &pki, |settings| {
        settings.set("listen", tcp.to_string());
    });
    let run = |program, file: &str, words: &[&str]| fails(program, &["run", "-c", file], &[], words);
    run(
        "fluidity",
        &file,
        &[&tcp.to_string(), "(listen)", "another program", "--listen"],
    );
    let file = agent_file(&scratch, &pki, |settings| {
        settings.set("admin", tcp.to_string());
    });
    run(
        "fluidity",
        &file,
        &[&tcp.to_string(), "(admin)", "another program", "--admin"],
    );
    let file = server_file(&scratch, &pki, |settings| {
        settings.set("listen", udp_.to_string());
    });
    run(
        "fluidity-server",
        &file,
        &[&udp_.to_string(), "(listen)", "another program", "--listen"],
    );
    let file = server_file(&scratch, &pki, |settings| {
        settings.set("health.listen", tcp.to_string());
    });
    run(
        "fluidity-server",
        &file,
        &[&tcp.to_string(), "(health.listen)", "another program"],
    );
    let file = agent_file(&scratch, &pki, |settings| {
        settings.set("listen", "192.0.2.1:0");
    });
    run("fluidity", &file, &["192.0.2.1:0", "no such address", "0.0.0.0"]);
}

#[test]
fn an_account_that_cannot_be_kept_is_told_at_the_start_with_its_place() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let in_the_way = scratch.write("file", "");
    let state = in_the_way.join("agent.json");
    let file = agent_file(&scratch, &pki, |settings| {
        settings.set("wake-endpoint", "http://127.0.0.1:9/wake");
        settings.set("api-key", "key").set("start", "on-demand");
    });
    // 21, 21b
    let set = [("FLUIDITY_STATE_FILE", state.as_os_str())];
    for (env, words) in [
        (&set[..], &[text(&state), "cannot be written", "state-file"][..]),
        (&[], &["is not kept", "STATE_DIRECTORY", "HOME", "state-file"]),
    ] {
        let mut command = command("fluidity", &["run", "-c", &file], env);
        for name in ["HOME", "XDG_STATE_HOME", "STATE_DIRECTORY"] {
            command.env_remove(name);
        }
        let log = until_ready(command);
        assert!(words.iter().all(|word| log.contains(word)), "{log}");
    }
    let directory = scratch.path().join("service");
    let mut command = command(
        "fluidity",
        &["run", "-c", &file],
        &[("STATE_DIRECTORY", directory.as_os_str())],
    );
    command.env_remove("HOME");
    let log = until_ready(command);
    assert!(!log.contains("account"), "{log}");
    assert!(directory.join("agent.json").is_file());
}

/// The log of a daemon until it says that it is ready; then it is killed.
fn until_ready(mut command: Command) -> String {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run");
    let mut stderr = child.stderr.take().expect("a pipe");
    let (mut log, mut part) = (String::new(), [0; 4096]);
    while !log.contains("ready: ") {
        match stderr.read(&mut part) {
            Ok(read @ 1..) => log.push_str(&String::from_utf8_lossy(part.get(..read).expect("read"))),
            _ => break,
        }
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    log
}

#[test]
fn a_command_that_has_nothing_to_do_says_why() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let file = agent_file(&scratch, &pki, |_| {});
    // 29, 29b
    for (order, key) in [("wake", "wake-endpoint"), ("kill", "kill-endpoint")] {
        let words = &["fixed server", "127.0.0.1:4433", key];
        let said = fails("fluidity", &[order, "-c", &file], &[], words);
        assert_eq!(said.contains("wake-endpoint"), order == "wake", "{said}");
    }
    let file = agent_file(&scratch, &pki, |settings| {
        settings
            .set("wake-endpoint", "https://api.example/wake")
            .set("api-key", "key");
    });
    fails(
        "fluidity",
        &["kill", "-c", &file],
        &[],
        &["`kill-endpoint` is not set"],
    );
    // 17
    for (program, other, own) in [
        ("fluidity", "start", "'run'"),
        ("fluidity", "up", "'run'"),
        ("fluidity", "statsu", "'status'"),
        ("fluidity-server", "start", "'run'"),
        ("fluidity-server", "status", "'healthcheck'"),
    ] {
        let said = fails(program, &[other], &[], &[own]);
        assert!(said.contains("similar"), "{said}");
    }
    // A key that came with its file's end, and one that is none.
    for (key, fine) in [
        ("a-key\r\n", true),
        ("\u{feff}a-key", true),
        ("two keys", false),
        ("a\nb\n", false),
    ] {
        let path = scratch.write("api.key", key);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        let file = agent_file(&scratch, &pki, |settings| {
            settings
                .set("wake-endpoint", "https://api.example/wake")
                .set("api-key-file", "api.key");
        });
        let output = command("fluidity", &["config", "check", "-c", &file], &[])
            .output()
            .expect("run");
        assert_eq!(output.status.success(), fine, "{key:?}: {}", said(&output));
        assert!(
            fine || said(&output).contains("api-key-file: "),
            "{}",
            said(&output)
        );
    }
}

#[tokio::test]
async fn status_asks_the_agent_whatever_else_is_wrong_in_the_file() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let _tunnel = stack.tunnel(&origin).await;
    let scratch = Scratch::new();
    let admin = stack.agent.port("admin").to_string();
    for (text_, flag) in [
        (
            format!("admin: {admin}   # here\nlisten: 8080\nlimits:\n  cleints: 5\n"),
            None,
        ),
        ("limits:\n  cleints: 5\n".to_owned(), Some(admin.as_str())),
    ] {
        let file = scratch.write("agent.yaml", &text_);
        let mut args = vec!["status", "-c", text(&file)];
        args.extend(flag.iter().flat_map(|flag| ["--admin", flag]));
        let output = command("fluidity", &args, &[]).output().expect("run");
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        assert!(
            said.contains("connected") && said.contains("warning: ") && said.contains("cleints"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_reader_that_leaves_early_ends_a_command_without_a_word() {
    let stack = Setup::new().start().await;
    stack.agent.ready(std::time::Duration::from_secs(30)).await;
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let agent = agent_file(&scratch, &pki, |settings| {
        settings.set("admin", stack.agent.port("admin").to_string());
    });
    let server = scratch.write("other.yaml", &TestServer::settings(&pki).text());
    let (server, dir) = (text(&server), text(pki.dir()));
    for (program, args) in [
        ("fluidity", &["config", "keys"][..]),
        ("fluidity", &["config", "show", "-c", &agent]),
        ("fluidity", &["config", "check", "-c", &agent]),
        ("fluidity", &["status", "-c", &agent]),
        ("fluidity", &["status", "--json", "-c", &agent]),
        ("fluidity", &["pki", "show", "--dir", dir]),
        ("fluidity", &["pki", "renew", "--dir", dir]),
        ("fluidity", &["--help"]),
        ("fluidity", &["--version"]),
        ("fluidity", &["help", "run"]),
        ("fluidity-server", &["config", "keys"]),
        ("fluidity-server", &["config", "show", "-c", server]),
        ("fluidity-server", &["config", "check", "-c", server]),
        ("fluidity-server", &["--help"]),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command(program, args, &[]).stdout(writer).output().expect("run");
        assert!(output.stderr.is_empty(), "{program} {args:?}: {}", said(&output));
        assert!(output.status.success(), "{program} {args:?}: {}", output.status);
    }
    // What was asked for was done to the end.
    let renewed = fs::read(pki.file("laptop.pem")).expect("read");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command("fluidity", &["pki", "renew", "--dir", dir], &[])
        .stdout(writer)
        .output()
        .expect("run");
    assert!(output.status.success(), "{}", said(&output));
    assert_ne!(fs::read(pki.file("laptop.pem")).expect("read"), renewed);
    // Nor does a command fail because nobody hears its errors.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = command("fluidity", &["status", "--admin", "127.0.0.1:1"], &[])
        .stderr(writer)
        .status();
    assert_eq!(status.expect("run").code(), Some(1));
}

#[tokio::test]
async fn a_daemon_whose_log_nobody_reads_goes_on() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let ports = scratch.path().join("ports.json");
    let file = server_file(&scratch, &pki, |_| {});
    let args = ["run", "-c", &file, "--ports-file", text(&ports)];
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut child = command("fluidity-server", &args, &[])
        .stderr(writer)
        .spawn()
        .expect("run");
    fluidity_tests::until(std::time::Duration::from_secs(30), "the ports file", || async {
        fs::read_to_string(&ports).map(drop)
    })
    .await;
    assert_eq!(child.try_wait().expect("wait"), None);
    child.kill().expect("kill");
    child.wait().expect("wait");
}
