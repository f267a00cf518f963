//! What is said when there is no session.

use super::*;

#[test]
fn every_refusal_has_words() {
    for code in ReplyCode::ALL {
        let refused = |detail: &str| {
            OpenError::Refused {
                code: *code,
                detail: detail.into(),
            }
            .to_string()
        };
        assert!(refused("").len() > 10, "{code}");
        assert_eq!(refused("the server's own words"), "the server's own words");
    }
}

/// A tunnel in some phase, where requests are held for so long, and a request.
fn held_for(phase: watch::Receiver<Phase>, wait: Duration) -> (Tunnel, Open) {
    let tunnel = Tunnel {
        phase,
        demand: Arc::default(),
        request_wait: wait,
        wake_wait: wait,
        open_timeout: Duration::from_secs(1),
        answer: Answer::Learned,
        learned: Arc::default(),
        metrics: Arc::default(),
        notices: Arc::default(),
    };
    let open = Open::new(
        fluidity_wire::Kind::Connect,
        fluidity_wire::Target::parse("a:1").unwrap(),
    );
    (tunnel, open)
}

#[tokio::test]
async fn a_request_without_a_tunnel_waits_and_is_then_told_why() {
    let phase = Phase {
        state: State::Disconnected,
        last_error: Some("no answer".into()),
        ..Phase::default()
    };
    let (sender, phase) = watch::channel(phase);
    let (tunnel, open) = held_for(phase, Duration::from_millis(50));
    let started = Instant::now();
    let error = tunnel.open(open, &Span::default()).await.unwrap_err();
    assert!(started.elapsed() >= Duration::from_millis(50));
    assert_eq!(
        error.to_string(),
        "there is no connection to the server (disconnected): no answer"
    );
    drop(sender);
}

#[tokio::test]
async fn what_waiting_cannot_mend_is_told_at_once() {
    let (sender, phase) = watch::channel(Phase {
        state: State::Connecting,
        last_error: Some("the server is not trusted".into()),
        lasting: true,
        ..Phase::default()
    });
    let (tunnel, open) = held_for(phase, Duration::from_secs(3600));
    let error = tunnel.open(open, &Span::default()).await.unwrap_err();
    assert!(
        matches!(error, OpenError::NotConnected { lasting: true, .. }),
        "{error:?}"
    );
    drop(sender);
}
