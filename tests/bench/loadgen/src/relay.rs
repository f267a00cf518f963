//! A stand-in for `tc netem`, which many kernels lack: two TUN devices, one in each network namespace, with delay, random
//! loss and a rate limit (a queue that drops at its tail) between them.

use crate::options::Options;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

/// What the link does to packets, the same in both directions.
#[derive(Clone, Copy)]
struct Link {
    delay: Duration,
    /// From 0 to 1.
    loss: f64,
    /// Bits per second; 0 for no limit.
    rate: f64,
    queue: Duration,
}

/// Relays until the process is stopped.
pub fn run(options: &Options) -> io::Result<()> {
    let link = Link {
        delay: Duration::from_secs_f64(options.number("delay-ms", 50.0)? / 1000.0),
        loss: options.number("loss", 0.0)? / 100.0,
        rate: options.number("rate-mbit", 0.0)? * 1e6,
        queue: Duration::from_secs_f64(options.number("queue-ms", 100.0)? / 1000.0),
    };
    let near = tun_in(options.text("ns-a", ""))?;
    let far = tun_in(options.text("ns-b", ""))?;
    let (near_again, far_again) = (near.try_clone()?, far.try_clone()?);
    println!("{{\"relay\":\"ready\"}}");
    // Seeds are fixed: every run loses packets after the same pattern.
    thread::spawn(move || pump(&near, &far, link, 0x9E37_79B9_7F4A_7C15));
    pump(&far_again, &near_again, link, 0xD1B5_4A32_D192_ED03);
    Ok(())
}

/// Opens the TUN device `wan0` in a network namespace; it works from any namespace afterwards.
fn tun_in(namespace: &str) -> io::Result<File> {
    let namespace = File::open(format!("/var/run/netns/{namespace}"))?;
    // Entering a namespace is for a thread, and this one ends here.
    let opened = thread::spawn(move || -> io::Result<File> {
        // SAFETY: the descriptor is open.
        if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the path ends with a NUL.
        let raw = unsafe {
            libc::open(
                c"/dev/net/tun".as_ptr(),
                libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC,
            )
        };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just opened, and nobody else has it.
        let tun = unsafe { OwnedFd::from_raw_fd(raw) };
        let mut request = [0_u8; 40];
        request[..4].copy_from_slice(b"wan0");
        let flags: u16 = 0x0001 | 0x1000; // IFF_TUN | IFF_NO_PI
        request[16..18].copy_from_slice(&flags.to_ne_bytes());
        // SAFETY: an ifreq has 40 bytes.
        if unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from(tun))
    });
    opened
        .join()
        .map_err(|_| io::Error::other("the thread that opens the device panicked"))?
}

/// One direction.
fn pump(from: &File, to: &File, link: Link, seed: u64) {
    let mut queue: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut spare: Vec<Vec<u8>> = Vec::new();
    // When the last byte that was taken in leaves the narrow place.
    let mut free_at = Instant::now();
    let mut random = seed;
    let mut buffer = vec![0; 65536];
    loop {
        let now = Instant::now();
        while queue.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, packet)) = queue.pop_front() else {
                break;
            };
            // SAFETY: the packet's bytes live until after the call. A packet that cannot be written is lost.
            unsafe { libc::write(to.as_raw_fd(), packet.as_ptr().cast(), packet.len()) };
            spare.push(packet);
        }
        wait(from, queue.front().map(|(due, _)| *due));
        for _ in 0..64 {
            // SAFETY: the buffer is as long as is said.
            let read = unsafe { libc::read(from.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
            let Ok(size @ 1..) = usize::try_from(read) else {
                break;
            };
            let now = Instant::now();
            free_at = free_at.max(now);
            if link.rate > 0.0 {
                let leaves = free_at + Duration::from_secs_f64(size as f64 * 8.0 / link.rate);
                if leaves.saturating_duration_since(now) > link.queue {
                    continue;
                }
                free_at = leaves;
            }
            if chance(&mut random) < link.loss {
                continue;
            }
            let mut packet = spare.pop().unwrap_or_default();
            packet.clear();
            packet.extend_from_slice(&buffer[..size]);
            queue.push_back((free_at + link.delay, packet));
        }
    }
}

/// Until there is something to read, or the next packet is due.
fn wait(from: &File, due: Option<Instant>) {
    let left = due.map(|due| due.saturating_duration_since(Instant::now()));
    let left = left.map(|left| libc::timespec {
        tv_sec: left.as_secs() as libc::time_t,
        tv_nsec: left.subsec_nanos().into(),
    });
    let left = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let mut asked = libc::pollfd {
        fd: from.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd, and a time that lives until after the call, or none.
    unsafe { libc::ppoll(&raw mut asked, 1, left, std::ptr::null()) };
}

/// From 0 to 1, by xorshift.
fn chance(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
