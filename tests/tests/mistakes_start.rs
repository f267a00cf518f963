//! The mistakes that people make when they first start the programs: no file, no rights, the wrong port, nobody there. Each
//! is told what is wrong, where, and what to do.

#![cfg(unix)]

use fluidity_tests::{
    Scratch, Setup, TestAgent, TestPki, agent_file, binary, command, fails, refused, said, server_file, text,
    until,
};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn without_a_command_or_with_one_that_ends_a_daemon_a_person_is_told_what_there_is() {
    // 28
    for (program, command) in [("fluidity", "status"), ("fluidity-server", "healthcheck")] {
        fails(program, &[], &[], &["Usage: ", "run", command, "config"]);
    }
    // 17: what is near to "stop" by its letters or its sense is not what stops a daemon.
    for other in ["stop", "down", "shutdown"] {
        let said = fails(
            "fluidity",
            &[other],
            &[],
            &["Ctrl-C or SIGTERM", "whoever uses it"],
        );
        assert!(!said.contains("similar"), "{said}");
        let said = fails("fluidity-server", &[other], &[], &["Ctrl-C or SIGTERM"]);
        assert!(!said.contains("similar"), "{said}");
    }
    for (args, words) in [
        (&["run", "--lisen", "1"][..], &["'--listen'", "Usage: "][..]),
        (&["run", "-c"], &["--config <PATH>", "a value is required"]),
        (
            &["--listen", "8080"],
            &["'--listen'", "the command comes first", "'run'"],
        ),
        (
            &["-c", "agent.yaml"],
            &["'-c'", "the command comes first", "'run'"],
        ),
    ] {
        fails("fluidity", args, &[], words);
        fails("fluidity-server", args, &[], words);
    }
}

#[test]
fn a_file_that_is_missing_or_was_not_given_is_told_with_the_ways_to_give_it() {
    let scratch = Scratch::new();
    let missing = scratch.path().join("no-such.yaml");
    // 18
    for program in ["fluidity", "fluidity-server"] {
        for args in [
            &["run", "-c", text(&missing)][..],
            &["config", "check", "-c", text(&missing)],
        ] {
            fails(
                program,
                args,
                &[],
                &[text(&missing), "no such file", "check the path"],
            );
        }
        let directory = text(scratch.path());
        fails(
            program,
            &["run", "-c", directory],
            &[],
            &[directory, "is a directory"],
        );
    }
    // 18b
    for (program, words) in [
        (
            "fluidity",
            &[
                "`server.address` is not set",
                "--server or the variable FLUIDITY_SERVER_ADDRESS",
            ][..],
        ),
        (
            "fluidity-server",
            &[
                "`identity.certificate` is not set",
                "or use the variable FLUIDITY_IDENTITY_CERTIFICATE",
            ],
        ),
    ] {
        let said = fails(program, &["run"], &[], words);
        for word in ["no configuration file was read", "-c PATH", "FLUIDITY_CONFIG"] {
            assert!(said.contains(word), "no {word:?} in {said}");
        }
    }
    // 33, where only names of files can tell.
    let file = scratch.write(
        "mixed-up.yaml",
        "identity: { certificate: server-x.pem, key: x, ca: y }\n",
    );
    let set = format!("set it in {}", file.display());
    let words = &[
        set.as_str(),
        "server-x.pem",
        "is this the file of fluidity-server?",
    ];
    fails("fluidity", &["run", "-c", text(&file)], &[], words);
}

#[test]
fn a_port_below_1024_without_rights_is_told_with_both_ways_out() {
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let start = start
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024_u16);
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if start <= 1000 {
        eprintln!("SKIPPED: on this machine everybody may listen on low ports");
        return;
    }
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let low = "127.0.0.1:1000";
    let server = server_file(&scratch, &pki, |settings| {
        settings.set("listen", low);
    });
    let agent = agent_file(&scratch, &pki, |settings| {
        settings.set("listen", low);
    });
    // 20
    for (program, file) in [("fluidity-server", server), ("fluidity", agent)] {
        // Where nobody can find it, when root's own home holds the built programs.
        let copy = scratch.path().join(program);
        fs::copy(binary(program), &copy).expect("copy");
        let mut run = std::process::Command::new(&copy);
        run.args(["run", "-c", &file]);
        if root {
            for path in fs::read_dir(pki.dir()).expect("the CA's directory") {
                std::os::unix::fs::chown(path.expect("a file").path(), Some(NOBODY), Some(NOBODY))
                    .expect("chown");
            }
            fs::set_permissions(pki.dir(), fs::Permissions::from_mode(0o755)).expect("chmod");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("chmod");
            run.uid(NOBODY).gid(NOBODY);
        }
        let output = run.output().expect("run");
        let said = said(&output);
        assert!(!output.status.success(), "{said}");
        for word in [
            low,
            "(listen)",
            "below 1024 needs root or CAP_NET_BIND_SERVICE",
            "5000",
            "--listen",
        ] {
            assert!(said.contains(word), "no {word:?} in {said}");
        }
        assert_eq!(said.matches("Permission denied").count(), 1, "{said}");
    }
}

/// Who owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn the_reason_why_a_port_cannot_be_had_is_told_once() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("bound").to_string();
    let file = agent_file(&scratch, &pki, |settings| {
        settings.set("listen", address.clone());
    });
    // 19
    let said = fails(
        "fluidity",
        &["run", "-c", &file],
        &[],
        &["perhaps this one in another terminal"],
    );
    assert_eq!(said.matches("Address already in use").count(), 1, "{said}");
}

#[test]
fn status_without_an_agent_says_where_it_looked_and_for_what() {
    let free = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    // 27
    let words = &[
        "no agent can be asked",
        "fluidity run",
        "this admin address",
        &address,
    ];
    fails("fluidity", &["status", "--admin", &address], &[], words);
}

#[tokio::test]
async fn commands_that_ask_a_daemon_tell_agent_and_server_apart() {
    let stack = Setup::new().start().await;
    let (agent, server) = (stack.agent.port("admin"), stack.server.port("admin"));
    let (agent, server) = (agent.to_string(), server.to_string());
    // 27b, both ways
    let words = &[
        server.as_str(),
        "is the admin address of a server, not of an agent",
        "--admin",
    ];
    fails("fluidity", &["status", "--admin", &server], &[], words);
    let words = &[
        agent.as_str(),
        "is the admin address of an agent, not of a server",
        "--admin",
    ];
    fails("fluidity-server", &["healthcheck", "--admin", &agent], &[], words);
    let well = command("fluidity-server", &["healthcheck", "--admin", &server], &[])
        .output()
        .expect("run");
    assert!(well.status.success(), "{}", said(&well));
}

/// Settings of an agent whose control plane is not there, and which does not ask for it yet.
fn asleep(scratch: &Scratch, pki: &TestPki, plane: SocketAddr, state: &str) -> String {
    agent_file(scratch, pki, |settings| {
        settings
            .set("wake-endpoint", format!("http://{plane}/wake"))
            .set("api-key", "key")
            .set("start", "on-demand")
            .set("state-file", state);
    })
}

#[tokio::test]
async fn an_account_in_the_wrong_place_is_told_by_the_check_and_what_is_there_is_kept() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    // 21
    let in_the_way = scratch.write("file", "");
    let state = in_the_way.join("agent.json");
    let file = asleep(&scratch, &pki, nowhere, text(&state));
    let output = command("fluidity", &["config", "check", "-c", &file], &[])
        .output()
        .expect("run");
    let told = said(&output);
    assert!(
        output.status.success(),
        "the agent runs without its account: {told}"
    );
    for word in ["warning: state-file", "cannot be written", text(&state)] {
        assert!(told.contains(word), "no {word:?} in {told}");
    }
    // Another file, by mistake: nothing of it is lost.
    let other = scratch.write("notes.txt", "not an account");
    let file = asleep(&scratch, &pki, nowhere, text(&other));
    let output = command("fluidity", &["config", "check", "-c", &file], &[])
        .output()
        .expect("run");
    assert!(!said(&output).contains("warning"), "{}", said(&output));
    assert_eq!(
        fs::read_to_string(&other).expect("read"),
        "not an account",
        "a check changes nothing"
    );
    let settings: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&file).expect("read")).expect("JSON");
    let agent = TestAgent::start(&fluidity_tests::Settings::new(settings)).await;
    until(SOON, "the agent says that it is no account", || async {
        let log = agent.log();
        let line = log
            .lines()
            .find(|line| line.contains("the month's account is not understood"));
        match line {
            Some(line) if line.contains("notes.txt.old") && line.contains("state-file") => Ok(()),
            _ => Err(log),
        }
    })
    .await;
    let kept = scratch.path().join("notes.txt.old");
    assert_eq!(fs::read_to_string(kept).expect("read"), "not an account");
}

#[test]
fn a_control_plane_that_cannot_be_reached_is_named() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let free = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = free.local_addr().expect("bound");
    drop(free);
    let file = asleep(&scratch, &pki, address, text(&scratch.path().join("agent.json")));
    let words = &[
        "cannot be reached at",
        &address.to_string(),
        "check wake-endpoint",
    ];
    fails("fluidity", &["wake", "-c", &file], &[], words);
}

#[tokio::test]
async fn a_proxy_that_anybody_may_use_is_warned_of_by_the_check_and_at_the_start() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    // 35
    let open = agent_file(&scratch, &pki, |settings| {
        settings.set("listen", "0.0.0.0:0");
    });
    let output = command("fluidity", &["config", "check", "-c", &open], &[])
        .output()
        .expect("run");
    assert!(output.status.success(), "{}", said(&output));
    let said = said(&output);
    for word in [
        "warning: ",
        "asks for no credentials",
        "set proxy-auth",
        "127.0.0.1",
    ] {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
    let mut settings = TestAgent::settings(&pki, SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
    settings.set("listen", "0.0.0.0:0");
    let agent = TestAgent::start(&settings).await;
    let log = agent.log();
    let line = log.lines().find(|line| line.contains("asks for no credentials"));
    assert!(
        line.is_some_and(|line| line.contains("WARN") && line.contains("set proxy-auth")),
        "{log}"
    );
    // 34
    let file = agent_file(&scratch, &pki, |settings| {
        settings.set("admin", "0.0.0.0:0");
    });
    refused(
        "fluidity",
        &file,
        &["admin", "have no login", "loopback only", "127.0.0.1"],
    );
}

#[tokio::test]
async fn variables_of_the_environment_are_told_where_misspelled_and_proxies_are_not_taken_for_the_agents_own()
{
    let stack = Setup::new().start().await;
    stack.agent.ready(SOON).await;
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let file = agent_file(&scratch, &pki, |settings| {
        settings.set("admin", stack.agent.port("admin").to_string());
    });
    // 38
    let env = [("FLUIDITY_LISTN", "1".as_ref())];
    let output = command("fluidity", &["config", "check", "-c", &file], &env)
        .output()
        .expect("run");
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("warning: $FLUIDITY_LISTN") && told.contains("FLUIDITY_LISTEN"),
        "{told}"
    );
    // 39: what every program of this shell is to use is the agent itself.
    let proxy = format!("http://{}", stack.proxy());
    let env = [
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ]
    .map(|name| (name, proxy.as_ref()));
    let output = command("fluidity", &["status", "-c", &file], &env)
        .output()
        .expect("run");
    assert!(
        output.status.success() && said(&output).contains("connected"),
        "{}",
        said(&output)
    );
}

#[test]
fn the_ca_is_not_made_twice_and_says_what_each_mistake_needs() {
    let (pki, elsewhere) = (TestPki::new(), Scratch::new());
    // 37
    for (dir, args, words) in [
        (
            pki.dir(),
            &["init"][..],
            &[
                "exists already and was left as it is",
                "--force",
                "has to be issued anew",
            ][..],
        ),
        (
            pki.dir(),
            &["issue", "agent", "laptop"],
            &["agent-laptop.key", "exists already", "pki renew"],
        ),
        (
            pki.dir(),
            &["issue", "agent", "a name"],
            &["\"a name\"", "1 to 64 of a-z"],
        ),
        (
            elsewhere.path(),
            &["issue", "agent", "desk"],
            &["there is no CA in", "fluidity pki init --dir"],
        ),
    ] {
        let output = TestPki::pki_in(dir, args);
        let said = said(&output);
        assert!(!output.status.success(), "{args:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{args:?}: no {word:?} in {said}");
        }
    }
    // What each command makes is named as the samples name it.
    let sample = include_str!("../../docs/samples/agent-minimal.yaml");
    for name in ["agent-laptop.pem", "agent-laptop.key", "ca.pem"] {
        assert!(
            sample.contains(name) && pki.dir().join(name).is_file(),
            "{name}: {sample}"
        );
    }
    let sample = include_str!("../../docs/samples/server.yaml");
    for name in [
        "server-fluidity-server.pem",
        "server-fluidity-server.key",
        "ca.pem",
    ] {
        assert!(
            sample.contains(name) && pki.dir().join(name).is_file(),
            "{name}: {sample}"
        );
    }
}
