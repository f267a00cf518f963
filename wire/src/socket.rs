//! The UDP socket under QUIC: datagrams leave the kernel in batches (GRO), but each is handed over by itself.
//!
//! quinn copies what it is handed into one allocation, and a stream that nobody reads keeps its part of it. Of a whole
//! batch, a packet of a stalled stream would keep 64 KiB alive for its 1.4: a hundred stalled readers held three times
//! what they had been granted. Handed over one by one, a packet keeps its own bytes alone.
//!
//! After [`TURN`] of them, whoever reads gets a turn. quinn keeps what a stream received in a heap, and the heap's room
//! goes on to the next stream: the longer the bursts, the more room each stream holds in the end.

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

/// A socket whose received batches are taken apart.
pub(crate) struct Ungrouped {
    socket: Arc<dyn AsyncUdpSocket>,
    // Only the endpoint's driver receives: there is never anybody to wait for.
    received: Mutex<Received>,
}

/// What the kernel gave and nobody took yet.
struct Received {
    buffer: Box<[u8]>,
    batches: [RecvMeta; BATCHES],
    /// Batches that are not empty yet: those from `next` on.
    count: usize,
    next: usize,
    /// Bytes of the next batch that were taken.
    taken: usize,
    /// Datagrams handed over since others had a turn.
    handed: usize,
}

impl Ungrouped {
    pub(crate) fn new(socket: Arc<dyn AsyncUdpSocket>) -> Arc<Self> {
        Arc::new(Self {
            socket,
            received: Mutex::new(Received {
                buffer: vec![0; BATCHES * LARGEST_BATCH].into(),
                batches: [RecvMeta::default(); BATCHES],
                count: 0,
                next: 0,
                taken: 0,
                handed: 0,
            }),
        })
    }
}

impl Received {
    fn poll_fill(&mut self, context: &mut Context<'_>, socket: &dyn AsyncUdpSocket) -> Poll<io::Result<()>> {
        let mut buffers = self.buffer.chunks_mut(LARGEST_BATCH).map(IoSliceMut::new);
        let mut buffers: [_; BATCHES] =
            std::array::from_fn(|_| buffers.next().expect("the buffer has room for every batch"));
        self.count = ready!(socket.poll_recv(context, &mut buffers, &mut self.batches))?;
        (self.next, self.taken) = (0, 0);
        Poll::Ready(Ok(()))
    }

    /// Copies the next datagram out; nothing when all are taken. One that is longer than `out` is dropped: no peer
    /// that keeps to `max_udp_payload_size` (RFC 9000 §18.2) sends it.
    fn take(&mut self, out: &mut [u8]) -> Option<RecvMeta> {
        loop {
            let batch = self.batches.get(self.next).filter(|_| self.next < self.count)?;
            let start = self.next * LARGEST_BATCH + self.taken;
            let length = batch.stride.min(batch.len.saturating_sub(self.taken));
            self.taken += length;
            let meta = RecvMeta {
                len: length,
                stride: length,
                ..*batch
            };
            if self.taken >= batch.len {
                (self.next, self.taken) = (self.next + 1, 0);
            }
            let datagram = self.buffer.get(start..start + length).unwrap_or_default();
            if let Some(out) = out.get_mut(..length).filter(|_| length > 0) {
                out.copy_from_slice(datagram);
                return Some(meta);
            }
        }
    }
}

impl AsyncUdpSocket for Ungrouped {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        if received.handed >= TURN {
            received.handed = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let mut count = 0;
            for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()) {
                let Some(taken) = received.take(buffer) else { break };
                *meta = taken;
                count += 1;
            }
            if count > 0 {
                received.handed += count;
                return Poll::Ready(Ok(count));
            }
            let filled = received.poll_fill(context, self.socket.as_ref());
            if filled.is_pending() {
                received.handed = 0;
            }
            ready!(filled)?;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

impl fmt::Debug for Ungrouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ungrouped")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// Datagrams after which others get a turn: with twice as many, memory grew as without (`docs/performance.md`).
const TURN: usize = 64;
/// Batches that are asked for in one call of the kernel.
const BATCHES: usize = 4;
/// The largest UDP datagram, and so the largest batch of them.
const LARGEST_BATCH: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::{Runtime as _, TokioRuntime};
    use std::net::UdpSocket;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use std::time::{Duration, Instant};

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What is received before others get a turn; nothing when the socket is empty.
    fn turn(socket: &Ungrouped, context: &mut Context<'_>) -> Vec<u8> {
        let mut datagrams = Vec::new();
        loop {
            let mut room = [[0; 16]; 4];
            let mut metas = [RecvMeta::default(); 4];
            let received = {
                let mut buffers = room.each_mut().map(|room| IoSliceMut::new(room));
                socket.poll_recv(context, &mut buffers, &mut metas)
            };
            let Poll::Ready(count) = received else {
                return datagrams;
            };
            let count = count.expect("the socket is good");
            for (room, meta) in room.iter().zip(metas).take(count) {
                assert_eq!((meta.len, meta.stride), (1, 1), "datagrams come one by one");
                datagrams.push(room[0]);
            }
        }
    }

    #[tokio::test]
    async fn a_full_socket_gives_others_a_turn_and_goes_on_by_itself() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let (target, sender) = (
            socket.local_addr().expect("it is bound"),
            UdpSocket::bind("127.0.0.1:0").expect("a port is free"),
        );
        let socket = Ungrouped::new(TokioRuntime.wrap_udp_socket(socket).expect("it is a UDP socket"));
        // Few enough for the smallest receive buffer: none is lost.
        let sent: Vec<_> = (0..130).collect();
        for number in &sent {
            sender.send_to(&[*number], target).expect("loopback takes it");
        }

        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        let (mut datagrams, mut turns) = (Vec::new(), 0);
        let began = Instant::now();
        while datagrams.len() < sent.len() {
            assert!(began.elapsed() < Duration::from_secs(20), "{datagrams:?}");
            let before = wakes.0.load(Ordering::SeqCst);
            let more = turn(&socket, &mut context);
            assert!(
                more.len() <= TURN,
                "{} datagrams without a turn for others",
                more.len()
            );
            if more.len() == TURN {
                assert!(
                    wakes.0.load(Ordering::SeqCst) > before,
                    "it asks to be polled again"
                );
            } else {
                // The reactor has not heard of them yet.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            turns += 1;
            datagrams.extend(more);
        }
        assert_eq!(datagrams, sent, "each arrives once, in its order");
        assert!(turns > sent.len() / TURN);
    }
}
