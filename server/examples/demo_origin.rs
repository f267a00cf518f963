//! The origin that the quickstart asks first, and a client for machines without curl. Standard library only, so
//! that it costs the build nothing.
//!
//! `demo_origin serve ADDRESS FILE` answers HTTP/1.1 on ADDRESS and writes the bound address to FILE (whole or not
//! at all); `demo_origin get URL [PROXY]` prints the body of URL, asked directly or through the proxy `host:port`,
//! and fails unless the status is 200. A toy for loopback: one thread per connection, one request per connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, thread};

const USAGE: &str = "usage: demo_origin serve ADDRESS FILE | demo_origin get URL [PROXY]";

/// Longest wait for the peer's next bytes, on either side.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections served at once; one more is closed unanswered.
const MAX_CONNECTIONS: usize = 64;

/// Longest request head, in bytes.
const MAX_HEAD: u64 = 64 * 1024;

/// Longest answer that `get` reads, in bytes.
const MAX_ANSWER: u64 = 1024 * 1024;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["serve", address, file] => serve(address, file),
        ["get", url] => get(url, None),
        ["get", url, proxy] => get(url, Some(proxy)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(io::stderr(), "demo_origin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str, file: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    announce(listener.local_addr()?, file)?;
    let places = Arc::new(());
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if Arc::strong_count(&places) > MAX_CONNECTIONS {
            continue;
        }
        let place = Arc::clone(&places);
        thread::spawn(move || {
            // A client that goes away is not an error.
            let _ = answer(&stream);
            drop(place);
        });
    }
    Ok(())
}

/// Writes the bound address where the caller waits for it: a reader never sees half of it.
fn announce(address: SocketAddr, file: &str) -> io::Result<()> {
    let draft = format!("{file}.new");
    fs::write(&draft, address.to_string())?;
    fs::rename(draft, file)
}

fn answer(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = read_head(stream)?;
    let mut words = head.split_ascii_whitespace();
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    match (method, path) {
        ("GET", "/clock") => clock(stream),
        ("GET" | "HEAD", "/") => {
            let greeting = format!(
                "Hello from the demo origin.\n\
                 This request came from {}; through the tunnel that is fluidity-server, not your client.\n",
                stream.peer_addr()?
            );
            respond(stream, "200 OK", method, &greeting)
        }
        _ => respond(
            stream,
            "404 Not Found",
            method,
            "The demo origin has / and /clock.\n",
        ),
    }
}

/// Reads up to the blank line that ends the head; refuses a head that never ends.
fn read_head(stream: &TcpStream) -> io::Result<String> {
    let mut reader = BufReader::new(stream.take(MAX_HEAD));
    let mut head = String::new();
    loop {
        let before = head.len();
        reader.read_line(&mut head)?;
        match head.get(before..) {
            Some("\r\n" | "\n") => return Ok(head),
            Some("") | None => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(_) => {}
        }
    }
}

fn respond(mut stream: &TcpStream, status: &str, method: &str, text: &str) -> io::Result<()> {
    let body = if method == "HEAD" { "" } else { text };
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

/// Ten lines, one a second: shows that the tunnel passes bytes on as they come.
fn clock(mut stream: &TcpStream) -> io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ntransfer-encoding: chunked\r\n\
          connection: close\r\n\r\n",
    )?;
    for second in 1..=10 {
        let line = format!("second {second} of 10\n");
        write!(stream, "{:x}\r\n{line}\r\n", line.len())?;
        thread::sleep(Duration::from_secs(1));
    }
    stream.write_all(b"0\r\n\r\n")
}

fn get(url: &str, proxy: Option<&str>) -> io::Result<()> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| invalid("the URL must start with http://"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let form = if proxy.is_some() {
        url.to_owned()
    } else {
        format!("/{path}")
    };
    let peer = proxy.unwrap_or(authority);
    let address = peer
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| invalid("the address has no port"))?;

    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {form} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n"
    )?;
    let mut reply = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut reply)?;

    let (head, body) = reply.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.lines().next().unwrap_or_default();
    io::stdout().write_all(body.as_bytes())?;
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("{url} answered {status}")));
    }
    Ok(())
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
