//! The system's resolver files, in a machine of the test's own: a network namespace and a mount namespace. Root only.

use fluidity_tests::{Origin, Reply, Scratch, Setup, Stack, TestDns, until};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LONG: Duration = Duration::from_secs(60);

/// Where the test's name server listens: the port is what resolv.conf cannot say.
fn server() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 53], 53))
}

/// Runs this test again inside namespaces of its own; true in there.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let possible = Command::new("unshare")
        .args(["--net", "--mount", "true"])
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: {test} needs root, for namespaces of its own (unshare --net --mount)");
        return false;
    }
    let exe = std::env::current_exe().expect("the test has a path");
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private"])
        .arg(exe)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare");
    assert!(status.success(), "{test} failed inside its namespaces");
    false
}

/// The two files, over those of the system.
fn files(resolv: &str, hosts: &str) -> Scratch {
    let scratch = Scratch::new();
    let run = |command: &str, args: &[&str]| {
        let status = Command::new(command).args(args).status().expect(command);
        assert!(status.success(), "{command} {args:?}");
    };
    run("ip", &["link", "set", "lo", "up"]);
    for (name, text, place) in [
        ("resolv", resolv, "/etc/resolv.conf"),
        ("hosts", hosts, "/etc/hosts"),
    ] {
        let file = scratch.write(name, text);
        run("mount", &["--bind", path(&file), path(Path::new(place))]);
    }
    scratch
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A tunnel to a name, which is looked for each time: status, and what a refusal says.
async fn get(stack: &Stack, host: &str, port: u16) -> (u16, String) {
    let mut client = stack.client().await.with_deadline(LONG);
    client
        .write(format!(
            "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
        ))
        .await;
    let head = client.read_head().await;
    let length = head.content_length().unwrap_or_default();
    let body = client.read_exact(usize::try_from(length).expect("small")).await;
    (head.status(), String::from_utf8_lossy(&body).into_owned())
}

/// Each CONNECT is answered when its target was reached, or was not.
fn setup(origin: SocketAddr) -> Setup {
    Setup::new().allow(origin).agent("connect.answer", "confirmed")
}

async fn found(stack: &Stack, host: &str, port: u16) {
    until(LONG, host, || async {
        match get(stack, host, port).await {
            (200, _) => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test]
async fn files_that_change_after_the_start_are_seen() {
    if !inside("files_that_change_after_the_start_are_seen") {
        return;
    }
    let scratch = files("", "127.0.0.1 localhost\n");
    let dns = TestDns::scripted_at(server(), |_| Reply::Addresses(vec![V4])).await;
    let origin = Origin::bind().await.hello("hello");
    let port = origin.addr().port();
    let stack = setup(origin.addr()).start().await;
    let (status, body) = get(&stack, "late.names.test", port).await;
    assert_eq!(status, 502, "{body}");
    assert!(body.contains("names no name server"), "{body}");
    scratch.write("resolv", "nameserver 127.0.0.53\n");
    found(&stack, "late.names.test", port).await;
    scratch.write("hosts", "127.0.0.1 localhost\n127.0.0.1 added.hosts.test\n");
    let before = dns.asked().len();
    // Before it is seen, the name server answers, too: only then is nobody asked.
    until(LONG, "the hosts file is seen", || async {
        let before = dns.asked().len();
        found(&stack, "added.hosts.test", port).await;
        if dns.asked().len() == before && stack.server.log().matches("read again").count() > 1 {
            Ok(())
        } else {
            Err("the name server was asked")
        }
    })
    .await;
    assert!(dns.asked().len() >= before);
    stack.server.signal("HUP");
    until(LONG, "SIGHUP looks again", || async {
        let times = stack.server.log().matches("read again").count();
        if times > 2 { Ok(()) } else { Err(times) }
    })
    .await;
    found(&stack, "late.names.test", port).await;
}

#[tokio::test]
async fn short_names_and_options_are_as_the_system_has_them() {
    if !inside("short_names_and_options_are_as_the_system_has_them") {
        return;
    }
    let scratch = files(
        "search corp.test lan.test\nnameserver 127.0.0.53\noptions ndots:2 timeout:2 edns0\n",
        "",
    );
    let dns = TestDns::scripted_at(server(), |asked| match asked.name.as_str() {
        // It does not understand EDNS.
        _ if asked.edns => Reply::Code(1),
        "db.lan.test"
        | "a.b.lan.test"
        | "x.y.z"
        | "web.prod.eu.lan.test"
        | "secret.lan.test"
        | "secret.prod.eu.lan.test" => Reply::Addresses(vec![V4]),
        _ => Reply::Code(3),
    })
    .await;
    let origin = Origin::bind().await.hello("hello");
    let port = origin.addr().port();
    let stack = setup(origin.addr())
        .server(
            "policy.deny",
            json!([{ "host": "secret.lan.test" }, { "host": "secret.prod.eu.lan.test" }]),
        )
        .start()
        .await;
    for host in ["db", "a.b", "x.y.z", "web.prod.eu"] {
        assert_eq!(get(&stack, host, port).await.0, 200, "{host}");
    }
    let asked: Vec<_> = dns.asked().into_iter().filter(|asked| !asked.v6).collect();
    let names: Vec<_> = asked
        .iter()
        .filter(|asked| !asked.edns)
        .map(|asked| asked.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "db.corp.test",
            "db.lan.test",
            "a.b.corp.test",
            "a.b.lan.test",
            "x.y.z",
            "web.prod.eu",
            "web.prod.eu.corp.test",
            "web.prod.eu.lan.test"
        ]
    );
    assert!(
        asked.iter().filter(|asked| asked.edns).count() < 3,
        "it is remembered: {asked:?}"
    );
    let before = origin.connections();
    for host in ["secret", "secret.prod.eu"] {
        let (status, body) = get(&stack, host, port).await;
        assert_eq!(
            status, 403,
            "{host}: what denies the name that was found denies it: {body}"
        );
    }
    assert_eq!(origin.connections(), before);

    scratch.write("resolv", "nameserver 127.0.0.53\noptions no-aaaa use-vc\n");
    until(LONG, "the options are seen", || async {
        let before = dns.asked().len();
        assert_eq!(get(&stack, "x.y.z", port).await.0, 200);
        match &dns.asked()[before..] {
            [one] if one.tcp && !one.v6 => Ok(()),
            other => Err(other.to_vec()),
        }
    })
    .await;
}

const INSIDE: &str = "FLUIDITY_TEST_INSIDE";
