//! The control socket: datagrams of words, each answered to who sent it.

use crate::options::Options;
use crate::path::Path;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Answers until the process is stopped.
pub fn serve(place: &str, path: &Path) -> io::Result<()> {
    let _ = std::fs::remove_file(place);
    let socket = UnixDatagram::bind(place)?;
    println!("{{\"path\":\"ready\"}}");
    let mut buffer = [0; 4096];
    loop {
        let (size, from) = socket.recv_from(&mut buffer)?;
        let words = String::from_utf8_lossy(buffer.get(..size).unwrap_or_default());
        let answer = path
            .obey(&words)
            .unwrap_or_else(|wrong| format!("error: {wrong}"));
        if let Some(from) = from.as_pathname() {
            let _ = socket.send_to(answer.as_bytes(), from);
        }
    }
}

/// Sends words to a path, and prints its answer.
pub fn send(options: &Options) -> io::Result<()> {
    let place = options.needed("control")?;
    let own = format!("{place}.{}", std::process::id());
    let socket = UnixDatagram::bind(&own)?;
    let answered = ask(&socket, place, options.needed("send")?);
    std::fs::remove_file(&own)?;
    let answer = answered?;
    println!("{answer}");
    match answer.strip_prefix("error: ") {
        Some(wrong) => Err(io::Error::other(wrong.to_owned())),
        None => Ok(()),
    }
}

fn ask(socket: &UnixDatagram, place: &str, words: &str) -> io::Result<String> {
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    socket.send_to(words.as_bytes(), place)?;
    let mut buffer = [0; 4096];
    let size = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(buffer.get(..size).unwrap_or_default()).into_owned())
}
