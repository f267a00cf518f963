//! What the server refuses to dial, whoever asks and however it is spelled: with 403 and a reason, and without
//! a single packet to the target.

use fluidity_tests::{Head, Origin, Peer, Setup, Stack, TestAgent, TestDns};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Public, and not of anybody who would mind: it must never be dialled in these tests.
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(11, 0, 0, 1));

/// Spellings of targets that are closed by default.
const CLOSED: [&str; 22] = [
    "127.0.0.1",
    "127.1.2.3",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "LocalHost.",
    "169.254.169.254",
    "169.254.170.2",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "0.0.0.0",
    "100.64.0.1",
];

async fn plain(stack: &Stack, host: &str, port: u16) -> (Head, String) {
    let mut client = stack.client().await;
    client
        .write(format!(
            "GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
        ))
        .await;
    let (head, body) = client.read_response().await;
    (head, String::from_utf8_lossy(&body).into_owned())
}

async fn connect(stack: &Stack, host: &str, port: u16) -> (Head, String) {
    let mut client = stack.client().await;
    client
        .write(format!(
            "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
        ))
        .await;
    let head = client.read_head().await;
    assert_ne!(head.status(), 200, "CONNECT {host}:{port} was let through");
    let length = head
        .content_length()
        .expect("a refusal has a body of known length");
    let body = client.read_exact(length as usize).await;
    (head, String::from_utf8_lossy(&body).into_owned())
}

/// 403, a `Proxy-Status` with an error that RFC 9209 knows, and a sentence.
fn assert_refused(host: &str, (head, body): &(Head, String)) {
    assert_eq!(head.status(), 403, "{host}: {head:?} {body}");
    let status = head
        .one("proxy-status")
        .unwrap_or_else(|| panic!("{host}: no Proxy-Status: {head:?}"));
    let known = ["destination_ip_prohibited", "http_request_denied"];
    assert!(
        known
            .iter()
            .any(|error| status.contains(&format!("error={error}"))),
        "{host}: {status}"
    );
    assert!(status.contains("details="), "{host}: {status}");
    assert!(
        body.trim().len() > 20,
        "{host}: a person needs a reason: {body:?}"
    );
}

#[tokio::test]
async fn special_addresses_are_refused_by_default_however_they_are_spelled() {
    let target = Origin::bind().await;
    let port = target.addr().port();
    let stack = Setup::new().start().await;
    for host in CLOSED {
        assert_refused(host, &connect(&stack, host, port).await);
        assert_refused(host, &plain(&stack, host, port).await);
    }
    target.assert_never_dialled().await;
}

#[tokio::test]
async fn names_that_resolve_to_closed_addresses_are_refused() {
    let target = Origin::bind().await;
    let port = target.addr().port();
    let mapped: IpAddr = "::ffff:127.0.0.1".parse().expect("an address");
    let nat64: IpAddr = "64:ff9b::7f00:1".parse().expect("an address");
    let metadata = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
    let dns = TestDns::start(&[
        ("private.test", &[LOOPBACK]),
        ("metadata.test", &[metadata]),
        ("mixed.test", &[PUBLIC, LOOPBACK]),
        ("mixed-the-other-way.test", &[LOOPBACK, PUBLIC]),
        ("mapped.test", &[mapped]),
        ("mixed-families.test", &[PUBLIC, nat64]),
    ])
    .await;
    let stack = Setup::new()
        .server("dns.servers", json!([dns.addr().to_string()]))
        .start()
        .await;
    for host in [
        "private.test",
        "PRIVATE.test.",
        "metadata.test",
        "mixed.test",
        "mixed-the-other-way.test",
        "mapped.test",
        "mixed-families.test",
    ] {
        assert_refused(host, &connect(&stack, host, port).await);
        assert_refused(host, &plain(&stack, host, port).await);
    }
    target.assert_never_dialled().await;
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_not_called_forbidden() {
    let dns = TestDns::start(&[("private.test", &[LOOPBACK])]).await;
    let stack = Setup::new()
        .server("dns.servers", json!([dns.addr().to_string()]))
        .start()
        .await;
    let (head, _) = connect(&stack, "nowhere.test", 80).await;
    assert_eq!(head.status(), 502, "{head:?}");
    let status = head.one("proxy-status").expect("Proxy-Status");
    assert!(status.contains("error=dns_error"), "{status}");
}

#[tokio::test]
async fn trailing_dots_and_upper_case_do_not_get_around_a_deny_rule() {
    let target = Origin::bind().await;
    let port = target.addr().port();
    let dns = TestDns::start(&[
        ("open.test", &[LOOPBACK]),
        ("blocked.test", &[LOOPBACK]),
        ("www.suffix.test", &[LOOPBACK]),
    ])
    .await;
    let stack = Setup::new()
        .allow(target.addr())
        .server(
            "policy.deny",
            json!([{ "host": "blocked.test" }, { "host": ".suffix.test" }]),
        )
        .server("dns.servers", json!([dns.addr().to_string()]))
        .start()
        .await;
    for host in [
        "blocked.test",
        "BLOCKED.TEST",
        "blocked.test.",
        "Blocked.Test.",
        "www.suffix.test",
        "WWW.SUFFIX.TEST.",
    ] {
        assert_refused(host, &connect(&stack, host, port).await);
        assert_refused(host, &plain(&stack, host, port).await);
    }
    let (head, _) = connect(&stack, "blocked.test..", port).await;
    assert!(matches!(head.status(), 400 | 403), "{head:?}");
    target.assert_never_dialled().await;

    // The same address under a name that no rule denies: the rule was the reason.
    let _tunnel = Peer::tunnel(stack.proxy(), format!("OPEN.test.:{port}")).await;
    target.accept().await;
}

#[tokio::test]
async fn a_deny_rule_for_an_address_holds_however_the_address_is_reached() {
    let target = Origin::bind().await;
    let port = target.addr().port();
    let dns = TestDns::start(&[("alias.test", &[LOOPBACK])]).await;
    let stack = Setup::new()
        .allow_rule(json!({ "cidr": "127.0.0.0/8" }))
        .server("policy.deny", json!([{ "cidr": "127.0.0.1/32" }]))
        .server("dns.servers", json!([dns.addr().to_string()]))
        .start()
        .await;
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "alias.test",
        "ALIAS.test.",
    ] {
        assert_refused(host, &connect(&stack, host, port).await);
    }
    target.assert_never_dialled().await;
}

#[tokio::test]
async fn an_allow_rule_opens_its_ports_and_no_other() {
    let open = Origin::bind().await;
    let closed = Origin::bind().await;
    let stack = Stack::for_origin(open.addr()).await;
    let _tunnel = stack.tunnel(&open).await;
    assert_refused(
        "127.0.0.1",
        &connect(&stack, "127.0.0.1", closed.addr().port()).await,
    );
    closed.assert_never_dialled().await;
}

#[tokio::test]
async fn a_rule_for_one_agent_does_not_open_for_another() {
    let target = Origin::bind().await;
    let port = target.addr().port();
    let rule = json!({ "cidr": "127.0.0.1/32", "ports": [port], "agents": ["laptop"] });
    let mut stack = Setup::new().allow_rule(rule).start().await;
    let _tunnel = stack.tunnel(&target).await;

    stack.pki.issue_agent("phone");
    let mut settings = TestAgent::settings(&stack.pki, stack.server.quic());
    settings.set("identity", stack.pki.identity("phone"));
    let phone = TestAgent::start(&settings).await;
    phone.ready(Duration::from_secs(10)).await;
    stack.agent = phone;
    assert_refused("127.0.0.1", &connect(&stack, "127.0.0.1", port).await);
    target.assert_never_dialled().await;
}

#[tokio::test]
async fn default_deny_closes_the_public_internet_too() {
    let stack = Setup::new().server("policy.default", "deny").start().await;
    assert_refused("11.0.0.1", &connect(&stack, "11.0.0.1", 443).await);
    assert_refused("11.0.0.1", &plain(&stack, "11.0.0.1", 80).await);
}
