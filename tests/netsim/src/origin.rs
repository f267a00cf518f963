//! What tunnels lead to: `GET /bytes/N`; `POST /up/NAME`, whose body ends with the byte `E`, and of which each quarter of a second
//! a line is printed; and something that is as long as a TLS handshake for a connection that begins like one.

use crate::clock::{epoch, escaped};
use crate::options::{Options, address};
use crate::response;
use crate::route::{READ, set_congestion};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

/// The first byte of a TLS handshake record.
pub const HANDSHAKE: u8 = 0x16;
/// What a server answers to a ClientHello, in bytes: its part of a handshake with two certificates.
pub const SERVER_FLIGHT: usize = 3000;
/// The last byte of an upload; all others are something else.
pub const END: u8 = b'E';
/// How often a transfer tells how far it is.
pub const TOLD_EACH: Duration = Duration::from_millis(250);

const STACK: usize = 256 * 1024;

/// Serves on each address, until the process is stopped.
pub fn run(options: &Options) -> io::Result<()> {
    let mut listening = Vec::new();
    for place in options.needed("listen")?.split(',') {
        let (place, congestion) = place.split_once('=').unwrap_or((place, ""));
        let listener = TcpListener::bind(address(place)?)
            .map_err(|error| io::Error::other(format!("{place}: {error}")))?;
        if !congestion.is_empty() {
            set_congestion(listener.as_raw_fd(), congestion)?;
        }
        listening.push(thread::spawn(move || accept(&listener)));
    }
    println!("{{\"origin\":\"ready\"}}");
    for listener in listening {
        let _ = listener.join();
    }
    Ok(())
}

fn accept(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // A client that leaves, or a machine without room for another thread, is not this program's error.
        let _ = thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || serve(stream));
    }
}

fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(READ, stream);
    if reader.fill_buf()?.first() == Some(&HANDSHAKE) {
        shake_hands(&mut reader, &mut out)?;
    }
    loop {
        let head = response::read(&mut reader)?;
        let place = head.line.split(' ').nth(1).unwrap_or("/");
        // An absolute target is one that a proxy should have shortened; it is taken as well.
        let place = place
            .strip_prefix("http://")
            .and_then(|rest| rest.find('/').map(|at| &rest[at..]))
            .unwrap_or(place);
        if let Some(name) = place.strip_prefix("/up/") {
            let bytes = upload(&mut reader, name)?;
            let body = format!("{{\"bytes\":{bytes}}}");
            write!(
                out,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
        } else {
            let length = place
                .strip_prefix("/bytes/")
                .and_then(|length| length.parse().ok());
            download(&mut out, length.unwrap_or(1024))?;
        }
    }
}

fn shake_hands(reader: &mut impl Read, out: &mut impl Write) -> io::Result<()> {
    let mut record = [0; 5];
    reader.read_exact(&mut record)?;
    let length = u16::from_be_bytes([record[3], record[4]]);
    io::copy(&mut reader.take(length.into()), &mut io::sink())?;
    let mut answer = vec![0; SERVER_FLIGHT];
    answer[0] = HANDSHAKE;
    out.write_all(&answer)
}

fn download(out: &mut impl Write, length: u64) -> io::Result<()> {
    let block = [b'd'; 64 * 1024];
    let mut first = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    let mut left = length;
    // A small answer is one write with its head, and so one packet.
    if let Ok(small @ 0..=4096) = usize::try_from(length) {
        first.extend_from_slice(&block[..small]);
        left = 0;
    }
    out.write_all(&first)?;
    while left > 0 {
        let size = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        out.write_all(&block[..size])?;
        left -= size as u64;
    }
    Ok(())
}

fn upload(reader: &mut impl BufRead, name: &str) -> io::Result<u64> {
    let name = escaped(name);
    let tell = |bytes| println!("{{\"upload\":\"{name}\",\"t\":{:.3},\"bytes\":{bytes}}}", epoch());
    let (mut bytes, mut told) = (0, Instant::now());
    tell(0);
    loop {
        let read = reader.fill_buf()?;
        let (size, last) = (read.len(), read.last().copied());
        reader.consume(size);
        bytes += size as u64;
        if size == 0 || last == Some(END) {
            tell(bytes);
            return Ok(bytes);
        }
        if told.elapsed() >= TOLD_EACH {
            told = Instant::now();
            tell(bytes);
        }
    }
}
