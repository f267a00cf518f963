//! Who else is connected, as the server tells its agents: what `kill-if-last` goes by.

use fluidity_tests::{Guest, Setup, until};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// An agent tries several ways at once: the connection that introduces itself last is no other agent than the first.
#[tokio::test]
async fn regression_a_connection_that_introduces_itself_late_does_not_count_its_own_process() {
    let stack = Setup::new().start().await;
    stack.pki.issue_agent("twice");
    let server = stack.server.quic();
    let late = Guest::connect(&stack.pki, "twice", server).await;
    let early = Guest::connect(&stack.pki, "twice", server).await.introduce(7);
    until(
        SOON,
        "the first to introduce itself is told of the stack's agent",
        || async {
            early
                .others()
                .filter(|others| others.count == 1)
                .ok_or_else(|| early.others())
        },
    )
    .await;
    let late = late.introduce(7);
    until(SOON, "so is the other one, and not of itself", || async {
        let others = late
            .others()
            .filter(|others| others.count == 1 && others.same_name == 0);
        others.ok_or_else(|| late.others())
    })
    .await;
}
