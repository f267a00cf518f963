//! Where uploads go: takes chunked POSTs, throws them away, and answers with the byte count.

use crate::head;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;

/// Serves until the process is stopped.
pub async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        spawn_local(async move {
            // A client that goes away is its own business.
            let _ = swallow(stream).await;
        });
    }
}

async fn swallow(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 512 * 1024];
    let (end, mut have) = head::read(&mut stream, &mut buffer).await?;
    buffer.copy_within(end..have, 0);
    have -= end;
    let mut total = 0_u64;
    // Bytes of a chunk still to come, with the line's end behind it; at 0 a size line is next.
    let mut chunk = 0_u64;
    let mut at = 0;
    loop {
        let skip = chunk.min((have - at) as u64);
        at += skip as usize;
        chunk -= skip;
        if chunk == 0
            && let Some(line) = buffer[at..have].iter().position(|byte| *byte == b'\n')
        {
            let digits = std::str::from_utf8(&buffer[at..at + line])
                .unwrap_or_default()
                .trim();
            let size = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
            at += line + 1;
            if size == 0 {
                break;
            }
            total += size;
            chunk = size + 2;
            continue;
        }
        buffer.copy_within(at..have, 0);
        have -= at;
        at = 0;
        let read = stream.read(&mut buffer[have..]).await?;
        if read == 0 {
            return Err(io::Error::other("it ended in the body"));
        }
        have += read;
    }
    let body = format!("{total}\n");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    // Closed at once, with bytes unread, it would reset the answer away.
    let _ = timeout(Duration::from_secs(2), stream.read(&mut buffer)).await;
    Ok(())
}
