//! Names, as other programs find them: odd letters, name servers that fail in every way, and what is said of it.

use fluidity_tests::{Asked, Origin, Peer, Reply, Served, Setup, Stack, TestDns, until};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

async fn stack(servers: &[SocketAddr], origin: &Served) -> Stack {
    // So long that whoever waits for a silent name server to be given up does not reach the target in time.
    with(servers, origin, "60s").await
}

async fn with(servers: &[SocketAddr], origin: &Served, timeout: &str) -> Stack {
    let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
    Setup::new()
        .allow(origin.addr())
        .server("dns.servers", json!(servers))
        .server("dns.timeout", timeout)
        .start()
        .await
}

/// A small request for a name: status and body.
async fn get(stack: &Stack, host: &str, port: u16) -> (u16, String) {
    let mut client = stack.client().await.with_deadline(Duration::from_secs(60));
    let request = format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    client.write(request).await;
    let (head, body) = client.read_response().await;
    (head.status(), String::from_utf8_lossy(&body).into_owned())
}

async fn hello() -> Served {
    Origin::bind().await.hello("hello")
}

fn first_label(asked: &Asked) -> &str {
    asked.name.split('.').next().unwrap_or_default()
}

#[tokio::test]
async fn a_name_is_found_whatever_letters_it_has() {
    let dns = TestDns::scripted(|_| Reply::Addresses(vec![V4])).await;
    let origin = hello().await;
    let stack = stack(&[dns.addr()], &origin).await;
    let port = origin.addr().port();
    for name in [
        "media_1.names.test",
        "_tenant.names.test",
        "a_.b_c.names.test",
        "-a-.names.test",
        "UPPER.Names.test.",
        "1and1.names.test",
        "xn--bcher-kva.test",
        "a--b.names.test",
    ] {
        let got = get(&stack, name, port).await;
        assert_eq!(got, (200, "hello".to_owned()), "{name}");
        Peer::tunnel(stack.proxy(), format!("{name}:{port}")).await;
        let asked = name.trim_end_matches('.').to_lowercase();
        assert!(
            dns.asked().iter().any(|question| question.name == asked),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_name_server_that_refuses_edns_answers_nevertheless() {
    let dns = TestDns::scripted(|asked| match (first_label(asked), asked.edns) {
        ("formerr", true) => Reply::Code(1),
        ("servfail", true) => Reply::Code(2),
        ("notimp", true) => Reply::Code(4),
        ("refused", true) => Reply::Code(5),
        ("silent", true) => Reply::Nothing,
        _ => Reply::Addresses(vec![V4]),
    })
    .await;
    let origin = hello().await;
    let stack = stack(&[dns.addr()], &origin).await;
    for name in ["formerr", "servfail", "notimp", "refused", "silent"] {
        let host = format!("{name}.names.test");
        assert_eq!(get(&stack, &host, origin.addr().port()).await.0, 200, "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_did_not_fit_is_asked_for_by_whichever_way_is_open() {
    let dns = TestDns::scripted(|asked| match (first_label(asked), asked.edns, asked.tcp) {
        ("tcp", _, true) | ("edns", true, false) => Reply::Addresses(vec![V4]),
        // A firewall that drops TCP, a server that drops EDNS.
        ("edns", _, true) | ("tcp" | "neither", true, _) | ("neither", _, true) => Reply::Nothing,
        ("neither", ..) => Reply::Cut(vec![V4]),
        _ => Reply::Cut(Vec::new()),
    })
    .await;
    let origin = hello().await;
    let stack = with(&[dns.addr()], &origin, "2s").await;
    for name in ["tcp", "edns", "neither"] {
        let got = get(&stack, &format!("{name}.names.test"), origin.addr().port()).await;
        // What is there of an answer is better than none.
        assert_eq!(got.0, 200, "{name}: {}", got.1);
    }
}

#[tokio::test]
async fn the_next_name_server_is_asked_when_one_fails_or_is_silent() {
    let bad = TestDns::scripted(|asked| match first_label(asked) {
        "servfail" => Reply::Code(2),
        "refused" => Reply::Code(5),
        "notimp" => Reply::Code(4),
        _ => Reply::Nothing,
    })
    .await;
    let good = TestDns::scripted(|_| Reply::Addresses(vec![V4])).await;
    let origin = hello().await;
    for name in ["servfail", "refused", "notimp", "silent"] {
        let stack = stack(&[bad.addr(), good.addr()], &origin).await;
        let host = format!("{name}.names.test");
        assert_eq!(get(&stack, &host, origin.addr().port()).await.0, 200, "{name}");
    }
}

#[tokio::test]
async fn silence_or_failure_of_one_family_keeps_nobody_from_the_other() {
    let dns = TestDns::scripted(|asked| match (first_label(asked), asked.v6) {
        ("silent", true) => Reply::Nothing,
        ("failing", true) => Reply::Code(2),
        ("refusing", true) => Reply::Code(5),
        ("denying", true) => Reply::Code(3),
        _ => Reply::Addresses(vec![V4]),
    })
    .await;
    let origin = hello().await;
    let stack = stack(&[dns.addr()], &origin).await;
    for name in ["silent", "failing", "refusing", "denying"] {
        for _ in 0..2 {
            let host = format!("{name}.names.test");
            assert_eq!(get(&stack, &host, origin.addr().port()).await.0, 200, "{name}");
        }
    }
}

#[tokio::test]
async fn regression_a_name_that_one_family_denies_is_found_though_a_question_for_the_other_is_lost() {
    let lost = Arc::new(AtomicBool::new(true));
    let script = lost.clone();
    let dns = TestDns::scripted(move |asked| match asked.v6 {
        // Some name servers say of a name without IPv6 that it does not exist (RFC 4074 §4.2).
        true => Reply::Code(3),
        // Answered when it is asked again.
        false if script.swap(false, Ordering::SeqCst) => Reply::Nothing,
        false => Reply::Addresses(vec![V4]),
    })
    .await;
    let origin = hello().await;
    let stack = stack(&[dns.addr()], &origin).await;
    let got = get(&stack, "four.names.test", origin.addr().port()).await;
    assert_eq!(got, (200, "hello".to_owned()));
}

#[tokio::test]
async fn an_address_that_comes_late_is_dialled_when_the_others_fail() {
    let origin = Origin::bind_on(V6).await.hello("six");
    let late = Arc::new(AtomicBool::new(true));
    let script = late.clone();
    let dns = TestDns::scripted(move |asked| match asked.v6 {
        // The first question is lost, and answered when it is asked again.
        true if script.swap(false, Ordering::SeqCst) => Reply::Nothing,
        _ => Reply::Addresses(vec![V4, V6]),
    })
    .await;
    let port = origin.addr().port();
    let stack = Setup::new()
        .server("dns.servers", json!([dns.addr().to_string()]))
        .server("dial.attempts", 10)
        .allow_rule(json!({ "cidr": "127.0.0.1/32", "ports": [port] }))
        .allow_rule(json!({ "cidr": "::1/128", "ports": [port] }))
        .start()
        .await;
    // Nobody listens on 127.0.0.1.
    assert_eq!(
        get(&stack, "late.names.test", port).await,
        (200, "six".to_owned())
    );
}

#[tokio::test]
async fn a_denied_address_that_comes_while_others_are_dialled_ends_that() {
    let lost = Arc::new(AtomicBool::new(true));
    let script = lost.clone();
    let dns = TestDns::scripted(move |asked| match asked.v6 {
        // The first question is lost, and answered when it is asked again.
        true if script.swap(false, Ordering::SeqCst) => Reply::Nothing,
        _ => Reply::Addresses(vec![V4, V6]),
    })
    .await;
    let denied = Origin::bind_on(V6).await;
    let port = denied.addr().port();
    // Nobody listens on 127.0.0.1, which is tried again and again; ::1 is not allowed.
    let stack = Setup::new()
        .server("dns.servers", json!([dns.addr().to_string()]))
        .server("dial.attempts", 10)
        .allow_rule(json!({ "cidr": "127.0.0.1/32", "ports": [port] }))
        .start()
        .await;
    let (status, body) = get(&stack, "late.names.test", port).await;
    assert_eq!(status, 403, "{body}");
    denied.assert_never_dialled().await;
}

#[tokio::test]
async fn a_denied_address_that_comes_late_closes_the_name_when_it_is_known() {
    let held = Arc::new(AtomicBool::new(true));
    let script = held.clone();
    let dns = TestDns::scripted(move |asked| match asked.v6 {
        true if script.load(Ordering::SeqCst) => Reply::Nothing,
        _ => Reply::Addresses(vec![V4, V6]),
    })
    .await;
    let origin = hello().await;
    let denied = Origin::bind_on(V6).await;
    let port = origin.addr().port();
    // ::1 is not allowed. Each CONNECT is answered when its target was reached, or was not.
    let stack = Setup::new()
        .allow(origin.addr())
        .agent("connect.answer", "confirmed")
        .server("dns.servers", json!([dns.addr().to_string()]))
        .start()
        .await;
    let tunnel = || async {
        let (_client, head) = Peer::try_tunnel(stack.proxy(), format!("late.names.test:{port}")).await;
        head.status()
    };
    assert_eq!(tunnel().await, 200);
    held.store(false, Ordering::SeqCst);
    until(Duration::from_secs(60), "the name is closed", || async {
        match tunnel().await {
            403 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(tunnel().await, 403, "and stays it");
    denied.assert_never_dialled().await;
}

#[tokio::test]
async fn each_way_to_fail_is_told_by_its_own_words() {
    let dns = TestDns::scripted(|asked| match first_label(asked) {
        "missing" => Reply::Code(3),
        "empty" => Reply::Addresses(Vec::new()),
        "failing" => Reply::Code(2),
        "refusing" => Reply::Code(5),
        _ => Reply::Nothing,
    })
    .await;
    let origin = hello().await;
    let stack = with(&[dns.addr()], &origin, "1s").await;
    for (name, words) in [
        ("missing", "the host name does not exist"),
        ("empty", "the host name exists, but has no address"),
        ("failing", "the name server could not find out"),
        ("refusing", "the name server refuses to answer"),
        ("silent", "no name server answered in time"),
    ] {
        let (status, body) = get(&stack, &format!("{name}.names.test"), 80).await;
        assert_eq!(status, 502, "{name}: {body}");
        assert!(body.to_lowercase().contains(words), "{name}: {body}");
    }
    let nobody = with(&["127.0.0.1:1".parse().unwrap()], &origin, "1s").await;
    let (status, body) = get(&nobody, "a.names.test", 80).await;
    assert_eq!(status, 502);
    assert!(body.contains("no name server can be reached"), "{body}");
}

#[tokio::test]
async fn localhost_is_this_machine_whatever_a_name_server_says() {
    let dns = TestDns::scripted(|_| Reply::Addresses(vec!["192.0.2.1".parse().unwrap()])).await;
    let origin = hello().await;
    let stack = Setup::new()
        .server("dns.servers", json!([dns.addr().to_string()]))
        .start()
        .await;
    for name in ["localhost", "LOCALHOST.", "a.localhost"] {
        let (status, body) = get(&stack, name, origin.addr().port()).await;
        assert_eq!(status, 403, "{name}: {body}");
        assert!(body.contains("loopback"), "{name}: {body}");
    }
    assert_eq!(dns.asked(), [], "no name server is asked for it");
    assert_eq!(origin.connections(), 0);
}
