//! The UDP socket under QUIC: datagrams leave the kernel in batches (GRO), but each is handed over by itself.
//!
//! quinn copies what it is handed into one allocation, and a stream that nobody reads keeps its part of it. Of a whole
//! batch, a packet of a stalled stream would keep 64 KiB alive for its 1.4: a hundred stalled readers held three times
//! what they had been granted. Handed over one by one, a packet keeps its own bytes alone.
//!
//! Likewise a packet that stands behind others in its datagram (RFC 9000 §12.2) would keep those alive, which QUIC does not
//! count: a peer could put a byte of a stream behind a kilobyte of nothing. It is handed over by itself, too.
//!
//! What goes out to an address that is not proven is counted ([`Unproven`]).
//!
//! After [`TURN`] of them, whoever reads gets a turn. quinn keeps what a stream received in a heap, and the heap's room
//! goes on to the next stream: the longer the bursts, the more room each stream holds in the end.

use crate::codec;
use crate::unproven::Unproven;
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
    unproven: Arc<Unproven>,
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
    /// Bytes of a datagram whose first packets were taken.
    rest: usize,
    /// Datagrams handed over since others had a turn.
    handed: usize,
}

impl Ungrouped {
    pub(crate) fn new(socket: Arc<dyn AsyncUdpSocket>, unproven: Arc<Unproven>) -> Arc<Self> {
        Arc::new(Self {
            socket,
            unproven,
            received: Mutex::new(Received {
                buffer: vec![0; BATCHES * LARGEST_BATCH].into(),
                batches: [RecvMeta::default(); BATCHES],
                count: 0,
                next: 0,
                taken: 0,
                rest: 0,
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

    /// Copies the next datagram out, or the last packet of one; nothing when all are taken. One that is longer than `out` is dropped: no peer
    /// that keeps to `max_udp_payload_size` (RFC 9000 §18.2) sends it.
    fn take(&mut self, out: &mut [u8]) -> Option<RecvMeta> {
        loop {
            let batch = self.batches.get(self.next).filter(|_| self.next < self.count)?;
            let start = self.next * LARGEST_BATCH + self.taken;
            let left = match std::mem::take(&mut self.rest) {
                0 => batch.stride.min(batch.len.saturating_sub(self.taken)),
                rest => rest,
            };
            let datagram = self.buffer.get(start..start + left).unwrap_or_default();
            let length = first_packets(datagram).min(left);
            self.rest = left - length;
            self.taken += length;
            let meta = RecvMeta {
                len: length,
                stride: length,
                ..*batch
            };
            if self.taken >= batch.len {
                (self.next, self.taken) = (self.next + 1, 0);
            }
            let datagram = datagram.get(..length).unwrap_or_default();
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
        let (to, length) = (transmit.destination, transmit.contents.len());
        let size = transmit.segment_size.unwrap_or(length);
        let allowed = self.unproven.allow(to, transmit.contents, size);
        let sent = if allowed == length {
            self.socket.try_send(transmit)
        } else if allowed == 0 {
            // To QUIC it is lost on the way.
            Ok(())
        } else {
            self.socket.try_send(&Transmit {
                destination: to,
                ecn: transmit.ecn,
                contents: transmit.contents.get(..allowed).unwrap_or_default(),
                segment_size: transmit.segment_size.filter(|size| *size < allowed),
                src_ip: transmit.src_ip,
            })
        };
        sent.inspect_err(|_| self.unproven.unsent(to, transmit.contents, allowed))
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
                self.unproven
                    .received(taken.addr, buffer.get(..taken.len).unwrap_or_default());
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

/// How many bytes of a datagram stand before a packet with a short header: all where there is none, or nothing before it.
fn first_packets(datagram: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = datagram.get(at..).unwrap_or_default();
        match rest.first() {
            Some(first) if first & LONG_HEADER != 0 => {}
            // What is not even a packet is left where it is.
            Some(first) if at > 0 && first & FIXED_BIT != 0 => return at,
            _ => return datagram.len(),
        }
        let Some(length) = long_packet(rest) else {
            return datagram.len();
        };
        at += length;
    }
}

/// The length of a packet with a long header, where it says one (RFC 9000 §17.2).
fn long_packet(bytes: &[u8]) -> Option<usize> {
    let kind = bytes.first()? >> 4 & 3;
    let mut rest = bytes.get(VERSION_END..)?;
    // Both connection ids.
    for _ in 0..2 {
        let (length, behind) = rest.split_first()?;
        rest = behind.get(usize::from(*length)..)?;
    }
    match kind {
        INITIAL => {
            let token = usize::try_from(codec::varint(&mut rest)?).ok()?;
            rest = rest.get(token..)?;
        }
        RETRY => return None,
        _ => {}
    }
    let length = usize::try_from(codec::varint(&mut rest)?).ok()?;
    let head = bytes.len() - rest.len();
    (length <= rest.len()).then_some(head + length)
}

const LONG_HEADER: u8 = 0x80;
const FIXED_BIT: u8 = 0x40;
/// The first byte and the version.
const VERSION_END: usize = 5;
const INITIAL: u8 = 0;
const RETRY: u8 = 3;
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

    /// A packet with a long header: an Initial with a token, or a Handshake one.
    fn long(kind: u8, length: u8) -> Vec<u8> {
        let mut packet = vec![0xc0 | kind << 4, 0, 0, 0, 1, 2, 8, 8, 1, 9];
        if kind == INITIAL {
            packet.extend([3, 7, 7, 7]);
        }
        packet.extend([0x40, length]);
        packet.extend(vec![0xff; length.into()]);
        packet
    }

    #[test]
    fn a_packet_behind_others_is_found_and_nothing_else_is_taken_for_one() {
        let (initial, handshake, short) = (long(INITIAL, 100), long(2, 200), vec![0x41; 30]);
        for (datagram, first) in [
            (short.clone(), 30),
            (initial.clone(), initial.len()),
            ([&handshake[..], &short].concat(), handshake.len()),
            (
                [&initial[..], &handshake, &short].concat(),
                initial.len() + handshake.len(),
            ),
            // Padding, a packet that is cut off, one whose token is longer than all, a Retry, nothing.
            ([&initial[..], &[0; 50]].concat(), initial.len() + 50),
            (handshake[..150].to_vec(), 150),
            (vec![0xc0, 0, 0, 0, 1, 0, 0, 0x7f, 0xff], 9),
            ([&[0xf0, 0, 0, 0, 1, 0, 0][..], &short].concat(), 37),
            (Vec::new(), 0),
        ] {
            assert_eq!(first_packets(&datagram), first, "{datagram:02x?}");
        }
    }

    #[tokio::test]
    async fn a_packet_behind_others_comes_by_itself() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let target = socket.local_addr().expect("it is bound");
        let socket = Ungrouped::new(
            TokioRuntime.wrap_udp_socket(socket).expect("it is a UDP socket"),
            Arc::default(),
        );
        let (first, last) = (long(2, 200), vec![0x41; 30]);
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        for _ in 0..2 {
            let datagram = [&first[..], &last].concat();
            sender.send_to(&datagram, target).expect("loopback takes it");
        }
        let mut received = Vec::new();
        while received.len() < 4 {
            let (mut room, mut metas) = (vec![0; 1500], [RecvMeta::default(); 1]);
            let count = std::future::poll_fn(|context| {
                socket.poll_recv(context, &mut [IoSliceMut::new(&mut room)], &mut metas)
            });
            assert_eq!(count.await.expect("the socket is good"), 1);
            room.truncate(metas[0].len);
            received.push(room);
        }
        assert_eq!(received, [first.clone(), last.clone(), first, last]);
    }

    #[tokio::test]
    async fn a_full_socket_gives_others_a_turn_and_goes_on_by_itself() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let (target, sender) = (
            socket.local_addr().expect("it is bound"),
            UdpSocket::bind("127.0.0.1:0").expect("a port is free"),
        );
        let socket = Ungrouped::new(
            TokioRuntime.wrap_udp_socket(socket).expect("it is a UDP socket"),
            Arc::default(),
        );
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
