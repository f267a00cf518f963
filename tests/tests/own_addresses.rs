//! The server's own public addresses, and metadata in public space: closed like private ones, in a network of the test's own.

#![cfg(target_os = "linux")]

use fluidity_tests::{Namespace, Origin, Peer, Setup, Stack, TestDns, until};
use serde_json::json;
use std::net::IpAddr;
use std::time::Duration;

const V4: &str = "45.67.89.10";
const SECOND: &str = "45.67.89.11";
const LATER: &str = "45.67.89.12";
/// Delivered here by a route, as clouds do with the address of a load balancer; no interface has it.
const ROUTED: &str = "45.68.0.7";
const V6: &str = "2a00:1111:2222::10";

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A machine with public addresses.
fn machine() -> Option<Namespace> {
    let namespace = Namespace::new()?;
    namespace.ip(&[
        "link", "add", "public0", "type", "veth", "peer", "name", "public1",
    ]);
    namespace.ip(&["link", "set", "public1", "up"]);
    namespace.ip(&["link", "set", "public0", "up"]);
    add(&namespace, V4);
    add(&namespace, SECOND);
    namespace.ip(&[
        "-6",
        "addr",
        "add",
        &format!("{V6}/64"),
        "dev",
        "public0",
        "nodad",
    ]);
    namespace.ip(&["route", "add", "local", "45.68.0.0/28", "dev", "lo"]);
    Some(namespace)
}

fn add(namespace: &Namespace, address: &str) {
    namespace.ip(&["addr", "add", &format!("{address}/24"), "dev", "public0"]);
}

async fn status(stack: &Stack, target: &str) -> (u16, String) {
    let (_, head) = Peer::try_tunnel(stack.proxy(), target).await;
    let told = head.one("proxy-status").unwrap_or_default().to_owned();
    (head.status(), told)
}

async fn assert_refused(stack: &Stack, target: &str) {
    let (code, told) = status(stack, target).await;
    assert_eq!(code, 403, "{target}: {told}");
    assert!(told.contains("the server's own machine"), "{target}: {told}");
}

#[test]
fn the_servers_own_public_addresses_are_refused_however_they_are_named() {
    let Some(namespace) = machine() else { return };
    namespace.run(|| async {
        let own = [V4, SECOND, ROUTED].map(address);
        let dns = TestDns::start(&[
            ("me.test", &own[..1]),
            ("me-too.test", &[address("11.0.0.1"), own[0]]),
            ("six.test", &[address(V6)]),
        ])
        .await;
        let stack = Setup::new()
            .server("dns.servers", json!([dns.addr().to_string()]))
            .start()
            .await;
        let everywhere = Origin::bind_on(address("::")).await;
        let port = everywhere.addr().port();
        for host in [
            V4,
            SECOND,
            ROUTED,
            "[2a00:1111:2222::10]",
            "[::ffff:45.67.89.10]",
            "[64:ff9b::2d43:590a]",
            "[2002:2d43:590a::1]",
            "0x2d43590a",
            "me.test",
            "ME.test.",
            "me-too.test",
            "six.test",
        ] {
            assert_refused(&stack, &format!("{host}:{port}")).await;
        }
        everywhere.assert_never_dialled().await;
    });
}

#[test]
fn an_address_that_the_machine_gets_after_the_start_is_closed_too() {
    let Some(namespace) = machine() else { return };
    namespace.run(|| async {
        let stack = Setup::new().start().await;
        let everywhere = Origin::bind_on(address("::")).await;
        let port = everywhere.addr().port();
        // Without a way there, it is as public as any other.
        let before = status(&stack, &format!("{LATER}:9")).await;
        assert_ne!(before.0, 403, "{before:?}");
        add(&namespace, LATER);
        namespace.ip(&[
            "-6",
            "addr",
            "add",
            "2a00:1111:2222::12/64",
            "dev",
            "public0",
            "nodad",
        ]);
        for host in [LATER, "[2a00:1111:2222::12]"] {
            let target = format!("{host}:{port}");
            until(Duration::from_secs(60), "it is known", || async {
                let answer = status(&stack, &target).await;
                if answer.0 == 403 { Ok(()) } else { Err(answer) }
            })
            .await;
        }
        namespace.ip(&["addr", "del", &format!("{LATER}/24"), "dev", "public0"]);
        until(Duration::from_secs(60), "it is forgotten", || async {
            let answer = status(&stack, &format!("{LATER}:9")).await;
            if answer.0 == 403 { Err(answer) } else { Ok(()) }
        })
        .await;
    });
}

#[test]
fn a_rule_with_a_range_opens_an_own_address_and_no_other() {
    let Some(namespace) = machine() else { return };
    namespace.run(|| async {
        let open = Origin::bind_on(address(V4)).await;
        let stack = Setup::new().allow(open.addr()).start().await;
        let _tunnel = stack.tunnel(&open).await;
        assert_refused(&stack, &format!("{SECOND}:{}", open.addr().port())).await;
    });
}

#[test]
fn metadata_in_public_space_is_refused() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.run(|| async {
        let azure = address("168.63.129.16");
        let dns = TestDns::start(&[("wireserver.test", &[azure])]).await;
        let stack = Setup::new()
            .server("dns.servers", json!([dns.addr().to_string()]))
            .start()
            .await;
        for host in [
            "168.63.129.16",
            "[::ffff:a83f:8110]",
            "[64:ff9b::a83f:8110]",
            "wireserver.test",
            "192.80.8.124",
        ] {
            for port in [80, 32526] {
                let (code, told) = status(&stack, &format!("{host}:{port}")).await;
                assert_eq!(code, 403, "{host}: {told}");
                assert!(told.contains("metadata"), "{host}: {told}");
            }
        }
    });
}
