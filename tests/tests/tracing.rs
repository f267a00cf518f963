//! Traces: one from the client's request to the dial, across the agent, the server and the functions, on an OTLP endpoint.

use fluidity_tests::{Cloud, Collector, Origin, Peer, Setup, TestAgent};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::net::SocketAddr;
use std::time::Duration;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

async fn get(proxy: SocketAddr, origin: SocketAddr, more: &str) -> u16 {
    let mut client = Peer::dial(proxy).await.with_deadline(Duration::from_secs(40));
    client
        .write(format!(
            "GET http://{origin}/secret?path HTTP/1.1\r\nHost: {origin}\r\n{more}Connection: close\r\n\r\n"
        ))
        .await;
    client.read_response().await.0.status()
}

#[tokio::test]
async fn one_trace_from_the_clients_request_to_the_dial() {
    let collector = Collector::start().await;
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .environment(collector.environment())
        .start()
        .await;
    // It stays open: nobody waits for the end of a tunnel to see where its beginning went.
    let _tunnel = stack.tunnel(&origin).await;
    let request = collector.span("fluidity-agent", "CONNECT", "").await;
    let open = collector.span("fluidity-agent", "open", &request.id).await;
    let session = collector.span("fluidity-server", "session", &open.id).await;
    let dial = collector.span("fluidity-server", "dial", &session.id).await;
    let connect = collector.span("fluidity-server", "connect", &dial.id).await;

    let spans = [&request, &open, &session, &dial, &connect];
    assert!(
        spans
            .iter()
            .all(|span| span.trace == request.trace && !span.failed)
    );
    assert_eq!(
        spans.map(|span| span.kind),
        [
            SpanKind::Server,
            SpanKind::Client,
            SpanKind::Server,
            SpanKind::Internal,
            SpanKind::Client
        ]
    );
    assert_eq!(request.attributes["http.request.method"], "CONNECT");
    assert_eq!(request.attributes["http.response.status_code"], "200");
    assert_eq!(session.attributes["fluidity.session.kind"], "connect");
    assert_eq!(session.attributes["fluidity.agent.name"], "laptop");
    for target in [&request, &session] {
        assert_eq!(
            target.attributes["server.address"],
            origin.addr().ip().to_string()
        );
        assert_eq!(target.attributes["server.port"], origin.addr().port().to_string());
    }
    assert_eq!(
        connect.attributes["network.peer.port"],
        origin.addr().port().to_string()
    );
}

#[tokio::test]
async fn a_clients_own_trace_goes_on_and_its_request_is_not_changed() {
    let collector = Collector::start().await;
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .environment(collector.environment())
        .start()
        .await;
    let serve = async {
        for traced in [true, false] {
            let mut peer = origin.accept().await;
            let head = peer.read_head().await;
            let expected = traced.then(|| format!("00-{TRACE}-{PARENT}-01"));
            assert_eq!(head.one("traceparent").map(str::to_owned), expected, "{head:?}");
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await;
        }
    };
    let ask = async {
        let traced = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
        assert_eq!(get(stack.proxy(), origin.addr(), &traced).await, 200);
        assert_eq!(get(stack.proxy(), origin.addr(), "").await, 200);
    };
    tokio::join!(serve, ask);
    let request = collector.span("fluidity-agent", "GET", PARENT).await;
    assert_eq!(request.trace, TRACE);
    let open = collector.span("fluidity-agent", "open", &request.id).await;
    let session = collector.span("fluidity-server", "session", &open.id).await;
    assert_eq!(session.trace, TRACE);
    let said = format!("{:?}", collector.received());
    assert!(!said.contains("secret"), "a path: {said}");
}

#[tokio::test]
async fn a_trace_tells_what_failed_and_a_denied_target_has_no_dial() {
    let collector = Collector::start().await;
    let closed = Origin::bind().await;
    let address = closed.addr();
    let stack = Setup::new()
        .allow(address)
        .environment(collector.environment())
        .start()
        .await;
    drop(closed);
    let (_, head) = Peer::try_tunnel(stack.proxy(), address).await;
    assert_eq!(head.status(), 502);
    let request = collector.span("fluidity-agent", "CONNECT", "").await;
    let open = collector.span("fluidity-agent", "open", &request.id).await;
    let session = collector.span("fluidity-server", "session", &open.id).await;
    let dial = collector.span("fluidity-server", "dial", &session.id).await;
    for failed in [&open, &session, &dial] {
        assert!(failed.failed, "{failed:?}");
        assert_eq!(failed.attributes["error.type"], "connect-refused", "{failed:?}");
    }
    // As `Proxy-Status` has it (RFC 9209).
    assert!(request.failed, "{request:?}");
    assert_eq!(request.attributes["error.type"], "connection_refused");

    let denied = Origin::bind().await;
    let (_, head) = Peer::try_tunnel(stack.proxy(), denied.addr()).await;
    assert_eq!(head.status(), 403);
    stack.agent.signal("TERM");
    stack.server.signal("TERM");
    let port = denied.addr().port().to_string();
    let refused = fluidity_tests::until(Duration::from_secs(15), "the refusal is exported", || async {
        let received = collector.received();
        let found = received
            .iter()
            .find(|span| span.name == "session" && span.attributes.get("server.port") == Some(&port));
        found.cloned().ok_or(received)
    })
    .await;
    assert!(refused.failed);
    assert_eq!(refused.attributes["error.type"], "denied-address");
    let below = collector.received();
    assert!(below.iter().all(|span| span.parent != refused.id), "{below:?}");
}

#[tokio::test]
async fn a_cold_start_is_one_trace_with_the_function_and_its_calls() {
    let collector = Collector::start().await;
    let web = Origin::bind().await.hello("hello");
    let cloud = Cloud::start_with(&[web.addr()], &collector.environment()).await;
    let mut settings = cloud.agent_settings();
    settings.set("start", "on-demand");
    let agent = TestAgent::start_with(&settings, &collector.environment()).await;
    assert_eq!(get(agent.proxy(), web.addr(), "").await, 200);

    let request = collector.span("fluidity-agent", "GET", "").await;
    let open = collector.span("fluidity-agent", "open", &request.id).await;
    let wait = collector
        .span("fluidity-agent", "wait for the tunnel", &open.id)
        .await;
    let call = collector.span("fluidity-agent", "POST", &wait.id).await;
    let wake = collector.span("fluidity-wake", "wake", &call.id).await;
    let update = collector
        .span("fluidity-wake", "ECS.UpdateService", &wake.id)
        .await;
    let session = collector.span("fluidity-server", "session", &open.id).await;
    for span in [&open, &wait, &call, &wake, &update, &session] {
        assert_eq!(span.trace, request.trace, "{span:?}");
        assert!(!span.failed, "{span:?}");
    }
    assert_eq!(update.attributes["rpc.method"], "UpdateService");
    assert_eq!(call.attributes["http.response.status_code"], "202");
}

#[tokio::test]
async fn a_collector_that_never_answers_delays_neither_requests_nor_the_stop() {
    // It takes connections and says nothing.
    let silent = Origin::bind().await;
    let origin = Origin::bind().await;
    let endpoint = format!("http://{}", silent.addr());
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let stack = Setup::new()
        .allow(origin.addr())
        .environment(environment)
        .start()
        .await;
    for _ in 0..20 {
        let (mut client, mut upstream) = stack.tunnel(&origin).await;
        client.write("there").await;
        assert_eq!(upstream.read_exact(5).await, "there");
    }
    let _stuck = silent.accept().await;
    stack.agent.signal("TERM");
    let (exit, log) = stack.agent.exit(Duration::from_secs(20)).await;
    assert!(exit.status.success(), "{log}");
}

#[tokio::test]
async fn what_the_environment_asks_for_and_there_is_not_is_told_and_costs_nothing_else() {
    let origin = Origin::bind().await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let stack = Setup::new()
        .allow(origin.addr())
        .environment(environment)
        .start()
        .await;
    let _tunnel = stack.tunnel(&origin).await;
    for log in [stack.agent.log(), stack.server.log()] {
        assert!(
            log.contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not supported; set it to http/protobuf"),
            "{log}"
        );
    }
}
