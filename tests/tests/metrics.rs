//! The metrics pages of running daemons: both formats by their rules, and what they tell of the process, the tunnel, waiting
//! requests and agents.

#![cfg(unix)]

use fluidity_tests::{
    Exposition, MIB, Origin, Pattern, Peer, Rules, Setup, Stack, TestAgent, TestPki, TestServer, until,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::net::UdpSocket;

const DEADLINE: Duration = Duration::from_secs(60);

/// Traffic, and one of each refusal: most families are on the pages then.
async fn busy() -> (Stack, SocketAddr) {
    let origin = Origin::bind().await;
    let address = origin.addr();
    let stack = Stack::for_origin(address).await;
    let (mut client, mut there) = stack.tunnel(&origin).await;
    client.send(Pattern::new(1), MIB).await;
    there.read_exact(usize::try_from(MIB).expect("small")).await;
    // Denied: the address is not the one that is open.
    let (_, refused) = Peer::try_tunnel(stack.proxy(), "127.0.0.99:9").await;
    assert_eq!(refused.status(), 403);
    drop((client, there));
    until(DEADLINE, "the sessions end", || async {
        let (_, page) = stack.server.metrics(Rules::Text).await;
        let ended = page.names().contains("fluidity_server_sessions_ended_total");
        let refused = page.names().contains("fluidity_server_sessions_refused_total");
        if ended && refused { Ok(()) } else { Err(page) }
    })
    .await;
    (stack, address)
}

#[tokio::test]
async fn both_formats_keep_their_rules_and_are_given_to_those_who_ask_for_them() {
    let (stack, target) = busy().await;
    for (name, daemon) in [("agent", &*stack.agent), ("server", &*stack.server)] {
        let (kind, open) = daemon.metrics(Rules::OpenMetrics).await;
        assert_eq!(
            kind, "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "{name}"
        );
        let (kind, text) = daemon.metrics(Rules::Text).await;
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8", "{name}");
        // The same samples, whatever the format.
        assert_eq!(open.names(), text.names(), "{name}");
        let (code, page) = daemon.admin("/metrics").await;
        assert_eq!(code, 200);
        for address in [target.to_string(), "127.0.0.99".to_owned()] {
            assert!(!page.contains(&address), "{name} tells a target: {page}");
        }
    }
}

/// `promtool` where it is installed, or where `FLUIDITY_PROMTOOL` says.
fn promtool() -> Option<PathBuf> {
    let named = std::env::var_os("FLUIDITY_PROMTOOL").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named.or_else(|| {
        std::env::split_paths(&path)
            .map(|dir| dir.join("promtool"))
            .find(|file| file.is_file())
    })
}

#[tokio::test]
async fn promtool_finds_nothing_to_complain_of() {
    let Some(promtool) = promtool() else {
        eprintln!(
            "SKIPPED: there is no promtool here (Debian's package prometheus has it); the pages' rules are checked above"
        );
        return;
    };
    let (stack, _) = busy().await;
    for (name, daemon) in [("agent", &*stack.agent), ("server", &*stack.server)] {
        let (_, page) = daemon.admin("/metrics").await;
        let mut check = Command::new(&promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool");
        let mut input = check.stdin.take().expect("stdin");
        input.write_all(page.as_bytes()).expect("promtool reads");
        drop(input);
        let output = check.wait_with_output().expect("promtool ends");
        let said = [output.stdout.as_slice(), &output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            output.status.success() && said.trim().is_empty(),
            "{name}: {said}\n{page}"
        );
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn the_process_is_told_as_prometheus_client_libraries_tell_it() {
    let stack = Setup::new().start().await;
    for (daemon, pid) in [
        (&*stack.agent, stack.agent.pid()),
        (&*stack.server, stack.server.pid()),
    ] {
        let (_, page) = daemon.metrics(Rules::OpenMetrics).await;
        let near = |told: f64, seen: u64| {
            let seen = seen as f64;
            told > seen / 2.0 && told < seen * 2.0
        };
        let resident = page.value("process_resident_memory_bytes");
        assert!(
            near(resident, daemon.rss()),
            "{resident}, and {pid} has {}",
            daemon.rss()
        );
        assert!(page.value("process_virtual_memory_bytes") > resident);
        let open = page.value("process_open_fds");
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count);
        // Root alone may look into a process that is not dumpable.
        if let Ok(fds) = fds {
            assert!((open - fds as f64).abs() < 10.0, "{open}, and {pid} has {fds}");
        }
        assert!(open > 3.0 && open < page.value("process_max_fds"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let age = now.expect("after 1970").as_secs_f64() - page.value("process_start_time_seconds");
        assert!(age > -2.0 && age < 600.0, "{age}");
        assert!(page.value("process_cpu_seconds_total") >= 0.0);
        assert_eq!(page.families["process_cpu_seconds"], "counter");
    }
}

fn state(page: &Exposition) -> Vec<&str> {
    let prefix = "fluidity_agent_tunnel_state{state=\"";
    let states = page.samples.iter().filter(|(_, value)| **value == 1.0);
    states
        .filter_map(|(sample, _)| sample.strip_prefix(prefix)?.strip_suffix("\"}"))
        .collect()
}

#[tokio::test]
async fn the_tunnels_state_round_trip_and_packets_follow_it_and_no_count_falls_when_it_is_lost() {
    let (stack, _) = {
        let origin = Origin::bind().await;
        let stack = Setup::new()
            .allow(origin.addr())
            .short_idle_timeout()
            .start()
            .await;
        let (mut client, mut there) = stack.tunnel(&origin).await;
        client.send(Pattern::new(1), MIB).await;
        there.read_exact(usize::try_from(MIB).expect("small")).await;
        (stack, origin)
    };
    let (_, agent) = stack.agent.metrics(Rules::OpenMetrics).await;
    assert_eq!(state(&agent), ["connected"]);
    let rtt = agent.value("fluidity_agent_tunnel_rtt_seconds");
    assert!(rtt > 0.0 && rtt < 60.0, "{rtt}");
    assert!(agent.value("fluidity_agent_tunnel_congestion_window_bytes") > 1000.0);
    let sent = agent.value("fluidity_agent_tunnel_packets_sent_total");
    // A mebibyte does not fit into less.
    assert!(sent > 15.0, "{sent}");
    assert!(agent.value("fluidity_agent_tunnel_packets_lost_total") <= sent);

    let (_, server) = stack.server.metrics(Rules::OpenMetrics).await;
    for of in ["least", "mean", "most"] {
        let rtt = server.value(&format!("fluidity_server_tunnel_rtt_seconds{{of=\"{of}\"}}"));
        assert!(rtt > 0.0 && rtt < 60.0, "{of}: {rtt}");
    }
    assert!(server.value("fluidity_server_tunnel_packets_sent_total") > 0.0);
    assert!(
        server.value("fluidity_server_agent_bytes_total{agent=\"laptop\",direction=\"up\"}") >= MIB as f64
    );
    assert_eq!(
        server.value("fluidity_server_agent_bytes_total{agent=\"laptop\",direction=\"up\"}"),
        server.value("fluidity_server_bytes_total{direction=\"up\"}"),
    );

    stack.server.kill().await;
    let lost = until(DEADLINE, "the agent notices", || async {
        let (_, page) = stack.agent.metrics(Rules::OpenMetrics).await;
        // A suspect connection is still there, and has a round trip.
        match state(&page).as_slice() {
            ["connecting" | "disconnected"] => Ok(page),
            _ => Err(page),
        }
    })
    .await;
    assert!(
        !lost.names().contains("fluidity_agent_tunnel_rtt_seconds"),
        "{lost:#?}"
    );
    let after = lost.value("fluidity_agent_tunnel_packets_sent_total");
    assert!(after >= sent, "{sent}, then {after}");

    // The packets of the next connection are counted beside those of the one that was lost.
    let _again = TestServer::start(&stack.server_settings).await;
    stack.agent.ready(DEADLINE).await;
    let (_, page) = stack.agent.metrics(Rules::OpenMetrics).await;
    let again = page.value("fluidity_agent_tunnel_packets_sent_total");
    assert!(again > after, "{after}, then {again}");
}

#[tokio::test]
async fn requests_that_wait_for_the_tunnel_are_counted_while_they_wait_and_timed_afterwards() {
    let pki = TestPki::new();
    // Nobody answers there.
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    let mut settings = TestAgent::settings(&pki, silent.local_addr().expect("an address"));
    settings.set("connect.request-wait", "3s");
    let agent = TestAgent::start(&settings).await;
    let mut client = Peer::dial(agent.proxy()).await;
    client
        .write("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")
        .await;
    until(DEADLINE, "it is held", || async {
        let (_, page) = agent.metrics(Rules::Text).await;
        match page.value("fluidity_agent_requests_held") {
            1.0 => Ok(()),
            _ => Err(page),
        }
    })
    .await;
    assert_eq!(client.read_head().await.status(), 503);
    let (_, page) = agent.metrics(Rules::Text).await;
    assert_eq!(page.value("fluidity_agent_requests_held"), 0.0);
    assert_eq!(page.value("fluidity_agent_tunnel_wait_seconds_count"), 1.0);
    let waited = page.value("fluidity_agent_tunnel_wait_seconds_sum");
    assert!(waited >= 2.9, "{waited}");
    assert_eq!(
        page.value("fluidity_agent_sessions_not_opened_total{reason=\"not-connected\"}"),
        1.0
    );
}

/// Every name of a metric of ours in a text.
fn names_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let ours = |word: &&str| {
        ["fluidity_agent_", "fluidity_server_", "process_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    };
    words.filter(ours).collect()
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What panels ask for.
fn expressions(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(text) if name == "expr" => vec![text.as_str()],
                other => expressions(other),
            })
            .collect(),
        Value::Array(values) => values.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn dashboard_and_alerts_ask_for_metrics_that_are_there_and_the_manual_has_them_all() {
    let (stack, _) = busy().await;
    // One of another CA is rejected, and a request of its clients is refused.
    let stranger = TestAgent::start(&TestAgent::settings(&TestPki::new(), stack.server.quic())).await;
    let (_, refused) = Peer::try_tunnel(stranger.proxy(), "a.example:443").await;
    assert_eq!(refused.status(), 503);
    let (samples, families) = until(DEADLINE, "the stranger is rejected", || async {
        let (_, agent) = stack.agent.metrics(Rules::Text).await;
        let (_, server) = stack.server.metrics(Rules::Text).await;
        let mut samples: BTreeSet<String> = BTreeSet::new();
        samples.extend(agent.names().into_iter().chain(server.names()).map(str::to_owned));
        let families: BTreeSet<_> = agent
            .families
            .into_keys()
            .chain(server.families.into_keys())
            .collect();
        match samples.contains("fluidity_server_connections_rejected_total") {
            true => Ok((samples, families)),
            false => Err(samples),
        }
    })
    .await;

    let dashboard: Value = serde_json::from_str(&file("infra/monitoring/grafana-dashboard.json"))
        .expect("the dashboard is JSON");
    let panels = expressions(&dashboard).join("\n");
    for (name, text) in [
        ("dashboard", panels),
        ("alerts", file("infra/monitoring/alerts.yaml")),
    ] {
        let asked = names_in(&text);
        assert!(asked.len() > 5, "{name}: {asked:?}");
        for metric in asked {
            assert!(
                samples.contains(metric),
                "the {name} asks for {metric}, which no page has"
            );
        }
    }

    let manual = file("docs/monitoring.md");
    let told = names_in(&manual);
    for family in &families {
        assert!(
            told.contains(family.as_str()),
            "docs/monitoring.md does not tell of {family}"
        );
    }
    for name in told {
        // What this test has no cloud for.
        let elsewhere = name == "fluidity_server_activity_publications_total";
        assert!(
            elsewhere || families.contains(name),
            "docs/monitoring.md tells of {name}, which no page has"
        );
    }
}
