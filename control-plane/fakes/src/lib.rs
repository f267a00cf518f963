//! What the control plane talks to, played on this machine, for tests. Everything listens on port 0 of 127.0.0.1, ends
//! when it is dropped, and panics when a test uses it wrongly.
//!
//! - [`aws::Aws`] plays ECS (JSON 1.1), CloudWatch (RPCv2 CBOR) and EC2 (query and XML) with one service: its
//!   `desiredCount`, tags, tasks with their lifecycle, and metrics. Every operation can be scripted to fail, to answer
//!   garbage, to hang, or to wait until the test lets it go on ([`script`]).
//! - [`lambda::Lambda`] runs a real function binary through Lambda's runtime interface, one process for each call at a
//!   time, as Lambda does.
//! - [`gateway::Gateway`] is API Gateway: an API key, `POST /wake` and `POST /kill`, proxy events, and its own errors.
//! - [`emulator::Emulator`] is another program, ministack: the wire as somebody else understands it.
//!
//! # The whole loop
//!
//! ```no_run
//! # async fn example() {
//! use fluidity_fakes::{aws::Aws, binary, events, gateway::Gateway, lambda::Lambda};
//! use std::net::{IpAddr, Ipv4Addr};
//!
//! let aws = Aws::start().await;
//! let mut env = aws.environment();
//! env.push(("SERVER_PORT".to_owned(), "4433".to_owned()));
//! let wake = Lambda::start("wake", binary("fluidity-wake"), &env).await;
//! let sleep = Lambda::start("sleep", binary("fluidity-sleep"), &env).await;
//! let kill = Lambda::start("kill", binary("fluidity-kill"), &env).await;
//! let gateway = Gateway::start("a-key", [("wake", &wake), ("kill", &kill)]).await;
//! let endpoint = gateway.url("wake"); // for the agent, with the key "a-key"
//!
//! // ECS, played by a process: follow `desiredCount`.
//! let mut desired = aws.desired();
//! desired.wait_for(|count| *count == 1).await.unwrap();
//! let task = aws.newest_task().expect("made when the count rose");
//! // … start the server, with `aws.environment()` for its metrics, and for its task id
//! // `ECS_CONTAINER_METADATA_URI_V4` set to `aws.metadata_uri(&task.id)`; then:
//! aws.run_task(&task.id, IpAddr::V4(Ipv4Addr::LOCALHOST));
//! desired.wait_for(|count| *count == 0).await.unwrap();
//! // … end the server; then:
//! aws.remove_task(&task.id);
//!
//! // The schedule, by hand:
//! let answer = sleep.invoke(events::schedule()).await.unwrap();
//! # }
//! ```

pub mod aws;
pub mod emulator;
pub mod events;
pub mod gateway;
pub mod http;
pub mod lambda;
pub mod script;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The path of a binary of this workspace: in `FLUIDITY_BIN_DIR`, or where cargo puts it beside the tests.
///
/// # Panics
/// When it was not built.
pub fn binary(name: &str) -> PathBuf {
    let dir = std::env::var_os("FLUIDITY_BIN_DIR").map_or_else(
        || {
            // target/PROFILE/deps/TEST -> target/PROFILE
            let exe = std::env::current_exe().expect("the test has a path");
            exe.parent()
                .and_then(|deps| deps.parent())
                .expect("cargo's layout")
                .to_owned()
        },
        PathBuf::from,
    );
    let path = dir.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --workspace --bins` first (scripts/test.sh does)",
        path.display()
    );
    path
}

/// The clock, in whole seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}
