//! The correctness matrix: every way to end, in both directions, with 10 MB in flight. A cut is never a clean end,
//! and no byte is lost, repeated or reordered.

use fluidity_tests::{Checker, Drained, Ending, MIB, Origin, Pattern, Peer, Setup, Stack};
use std::time::Duration;

const IN_FLIGHT: u64 = 10 * 1000 * 1000;
const SENT: Pattern = Pattern::new(11);
const BACK: Pattern = Pattern::new(12);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// A tunnel whose `writer` and `reader` are the client and the origin, or the other way round.
struct Ends {
    writer: Peer,
    reader: Peer,
}

impl Ends {
    async fn open(stack: &Stack, origin: &Origin, direction: Direction) -> Self {
        let (client, upstream) = stack.tunnel(origin).await;
        match direction {
            Direction::Up => Self {
                writer: client,
                reader: upstream,
            },
            Direction::Down => Self {
                writer: upstream,
                reader: client,
            },
        }
    }
}

async fn fin(direction: Direction) {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let Ends {
        mut writer,
        mut reader,
    } = Ends::open(&stack, &origin, direction).await;
    let mut checker = Checker::new(SENT);
    let send = async {
        writer.send(SENT, IN_FLIGHT).await;
        writer.finish().await;
    };
    let ((), drained) = tokio::join!(send, reader.drain(&mut checker));
    assert_eq!(
        drained,
        Drained {
            bytes: IN_FLIGHT,
            end: Ending::Eof
        }
    );
    reader.finish().await;
    assert_eq!(
        writer.discard().await,
        Drained {
            bytes: 0,
            end: Ending::Eof
        }
    );
}

async fn half_close(direction: Direction) {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let Ends {
        mut writer,
        mut reader,
    } = Ends::open(&stack, &origin, direction).await;
    writer.finish().await;
    assert_eq!(
        reader.discard().await,
        Drained {
            bytes: 0,
            end: Ending::Eof
        }
    );
    // One direction is over; the other carries everything still.
    let mut checker = Checker::new(BACK);
    let send = async {
        reader.send(BACK, IN_FLIGHT).await;
        reader.finish().await;
    };
    let ((), drained) = tokio::join!(send, writer.drain(&mut checker));
    assert_eq!(
        drained,
        Drained {
            bytes: IN_FLIGHT,
            end: Ending::Eof
        }
    );
}

/// The writer resets with its bytes still on the way.
async fn rst(direction: Direction) {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let Ends {
        mut writer,
        mut reader,
    } = Ends::open(&stack, &origin, direction).await;
    let mut checker = Checker::new(SENT);
    let send = async {
        writer.send(SENT, IN_FLIGHT).await;
        writer.reset();
    };
    let ((), drained) = tokio::join!(send, reader.drain(&mut checker));
    assert_eq!(drained.end, Ending::Reset, "after {} bytes", drained.bytes);
    assert!(drained.bytes <= IN_FLIGHT);
}

/// The writer resets after the reader has everything but the end.
async fn rst_at_the_end(direction: Direction) {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let Ends {
        mut writer,
        mut reader,
    } = Ends::open(&stack, &origin, direction).await;
    let mut checker = Checker::new(SENT);
    tokio::join!(
        writer.send(SENT, IN_FLIGHT),
        reader.check_exact(&mut checker, IN_FLIGHT)
    );
    writer.reset();
    assert_eq!(
        reader.discard().await,
        Drained {
            bytes: 0,
            end: Ending::Reset
        }
    );
}

/// The reader resets in the middle: the writer is told, and not left writing into nothing.
async fn rst_by_the_reader(direction: Direction) {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let Ends {
        mut writer,
        mut reader,
    } = Ends::open(&stack, &origin, direction).await;
    let mut checker = Checker::new(SENT);
    let read = async {
        reader.check_exact(&mut checker, MIB).await;
        reader.reset();
    };
    let (sent, ()) = tokio::join!(writer.try_send(SENT, 0, 1 << 40), read);
    sent.expect_err("an endless transfer to nobody");
}

async fn slow_reader(direction: Direction) {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let Ends {
        mut writer,
        mut reader,
    } = Ends::open(&stack, &origin, direction).await;
    let mut checker = Checker::new(SENT);
    let send = async {
        writer.send(SENT, IN_FLIGHT).await;
        writer.finish().await;
    };
    let read = async {
        loop {
            let part = reader.read_up_to(16 << 10).await.expect("no reset");
            if part.is_empty() {
                break;
            }
            checker.take(&part);
            // Slow on purpose: this is the load, not a wait for something.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::join!(send, read);
    assert_eq!(checker.received(), IN_FLIGHT);
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Agent,
    Server,
}

/// Kills a daemon while the transfer runs: what arrived is right, the reader sees a reset, and so does the writer.
async fn abort(victim: Victim, direction: Direction) {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .short_idle_timeout()
        .start()
        .await;
    let Ends {
        mut writer,
        mut reader,
    } = Ends::open(&stack, &origin, direction).await;
    let mut checker = Checker::new(SENT);
    let mut stack = Some(stack);
    let mut kept = None;
    let read = async {
        reader.check_exact(&mut checker, MIB).await;
        let stack = stack.take().expect("taken once");
        match victim {
            Victim::Agent => {
                stack.agent.kill().await;
                kept = Some((None, Some(stack.server), stack.pki));
            }
            Victim::Server => {
                stack.server.kill().await;
                kept = Some((Some(stack.agent), None, stack.pki));
            }
        }
        reader.drain(&mut checker).await
    };
    let (sent, drained) = tokio::join!(writer.try_send(SENT, 0, 1 << 40), read);
    assert_eq!(
        drained.end,
        Ending::Reset,
        "{victim:?} killed: the cut must not look like an end"
    );
    sent.expect_err("an endless transfer to nobody");
    drop(kept);
}

async fn abort_agent(direction: Direction) {
    abort(Victim::Agent, direction).await;
}

async fn abort_server(direction: Direction) {
    abort(Victim::Server, direction).await;
}

/// Kills a daemon while a tunnel is idle: both ends see a reset.
async fn abort_idle(victim: Victim) {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .short_idle_timeout()
        .start()
        .await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    client.write("ping").await;
    assert_eq!(upstream.read_exact(4).await, "ping");
    let _kept = match victim {
        Victim::Agent => {
            stack.agent.kill().await;
            (None, Some(stack.server))
        }
        Victim::Server => {
            stack.server.kill().await;
            (Some(stack.agent), None)
        }
    };
    assert_eq!(client.discard().await.end, Ending::Reset, "the client's end");
    assert_eq!(upstream.discard().await.end, Ending::Reset, "the origin's end");
}

macro_rules! both_directions {
    ($($name:ident => $case:expr;)*) => {
        $(mod $name {
            use super::*;

            #[tokio::test]
            async fn up() {
                $case(Direction::Up).await;
            }

            #[tokio::test]
            async fn down() {
                $case(Direction::Down).await;
            }
        })*
    };
}

both_directions! {
    fin_arrives_after_every_byte => fin;
    half_close_leaves_the_other_direction_alone => half_close;
    rst_arrives_as_rst => rst;
    rst_after_the_last_byte_arrives_as_rst => rst_at_the_end;
    rst_by_the_reader_stops_the_writer => rst_by_the_reader;
    a_slow_reader_gets_every_byte => slow_reader;
    killing_the_agent_is_a_reset => abort_agent;
    killing_the_server_is_a_reset => abort_server;
}

#[tokio::test]
async fn killing_the_agent_resets_idle_tunnels() {
    abort_idle(Victim::Agent).await;
}

#[tokio::test]
async fn killing_the_server_resets_idle_tunnels() {
    abort_idle(Victim::Server).await;
}
