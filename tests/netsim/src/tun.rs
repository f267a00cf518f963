//! The TUN device of a network namespace: packets as bytes.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

/// Its name in every namespace.
const NAME: &[u8] = b"wan0";
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

/// An open device; it works from any namespace.
pub struct Tun(File);

impl Tun {
    /// Makes the device in a namespace that `ip netns` knows.
    pub fn open(namespace: &str) -> io::Result<Self> {
        let path = format!("/var/run/netns/{namespace}");
        let namespace = File::open(&path).map_err(|error| io::Error::other(format!("{path}: {error}")))?;
        // Entering a namespace is for a thread, and this one ends here.
        let opened = thread::spawn(move || -> io::Result<File> {
            // SAFETY: the descriptor is open.
            if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            let flags = libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC;
            // SAFETY: the path ends with a NUL.
            let raw = unsafe { libc::open(c"/dev/net/tun".as_ptr(), flags) };
            if raw < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: it was just opened, and nobody else has it.
            let tun = unsafe { OwnedFd::from_raw_fd(raw) };
            let mut request = [0_u8; 40];
            request[..NAME.len()].copy_from_slice(NAME);
            let flags: u16 = 0x0001 | 0x1000; // IFF_TUN | IFF_NO_PI
            request[16..18].copy_from_slice(&flags.to_ne_bytes());
            // SAFETY: an ifreq has 40 bytes.
            if unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) } != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(File::from(tun))
        });
        let opened = opened.join();
        opened
            .map_err(|_| io::Error::other("the thread that opens the device panicked"))?
            .map(Self)
    }

    /// The same device for another thread.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// A packet that waits to be read; nothing where none does.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> Option<&'a mut [u8]> {
        // SAFETY: the buffer is as long as is said.
        let read = unsafe { libc::read(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match usize::try_from(read) {
            Ok(size @ 1..) => buffer.get_mut(..size),
            _ => None,
        }
    }

    /// Hands a packet to the namespace. One that it does not take is lost.
    pub fn write(&self, packet: &[u8]) {
        // SAFETY: the packet's bytes live until after the call.
        unsafe { libc::write(self.0.as_raw_fd(), packet.as_ptr().cast(), packet.len()) };
    }

    /// Until there is something to read, or a time has come, or a while has passed.
    pub fn wait(&self, due: Option<Instant>) {
        let left = due.map_or(IDLE, |due| {
            due.saturating_duration_since(Instant::now()).min(IDLE)
        });
        let left = libc::timespec {
            tv_sec: left.as_secs() as libc::time_t,
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut asked = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, and a time that lives until after the call.
        unsafe { libc::ppoll(&raw mut asked, 1, &raw const left, std::ptr::null()) };
    }
}

const IDLE: Duration = Duration::from_millis(200);
