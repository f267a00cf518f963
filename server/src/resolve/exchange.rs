//! One question to one name server: by UDP, by TCP where the answer did not fit.
//!
//! A socket of its own for each question, on a port that the system chooses, connected, so that the kernel drops what
//! comes from elsewhere; its number is random (RFC 5452). Every wait is under the caller's deadline.

use super::Fault;
use super::message::{Answer, Extensions, Question, Said};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Asks by UDP, and again with more room where the answer was cut.
pub(super) async fn ask(
    server: SocketAddr,
    question: &Question,
    extensions: Extensions,
) -> Result<Answer, Fault> {
    let answer = by_udp(server, question, extensions).await?;
    if answer.cut {
        whole(server, question, answer).await
    } else {
        Ok(answer)
    }
}

/// Asks by TCP alone.
pub(super) async fn by_tcp(server: SocketAddr, question: &Question) -> Result<Answer, Fault> {
    let packet = question.packet(Extensions::Without);
    let length = u16::try_from(packet.len()).map_err(|_| Fault::Failed)?;
    let mut stream = TcpStream::connect(server).await.map_err(|error| of_io(&error))?;
    let message = [&length.to_be_bytes(), packet.as_slice()].concat();
    stream.write_all(&message).await.map_err(|error| of_io(&error))?;
    for _ in 0..STRAY {
        let length = stream.read_u16().await.map_err(|error| of_io(&error))?;
        let mut answer = vec![0; usize::from(length)];
        stream
            .read_exact(&mut answer)
            .await
            .map_err(|error| of_io(&error))?;
        if let Some(answer) = question.read(&answer) {
            return answer;
        }
    }
    Err(Fault::Failed)
}

/// The whole of an answer that was cut: by TCP, which some firewalls drop, and beside it by a larger datagram, which
/// some name servers refuse. What is there of it is better than nothing.
async fn whole(server: SocketAddr, question: &Question, cut: Answer) -> Result<Answer, Fault> {
    let tcp = async { by_tcp(server, question).await.ok() };
    let udp = async {
        let answer = by_udp(server, question, Extensions::With).await;
        answer.ok().filter(|answer| !answer.cut)
    };
    tokio::pin!(tcp, udp);
    let either = async {
        tokio::select! {
            found = &mut tcp => match found {
                None => udp.await,
                found => found,
            },
            found = &mut udp => match found {
                None => tcp.await,
                found => found,
            },
        }
    };
    if !matches!(cut.said, Said::Addresses(_)) {
        return either.await.ok_or(Fault::Failed);
    }
    let found = timeout(WHOLE, either).await.ok().flatten();
    Ok(found.unwrap_or(cut))
}

async fn by_udp(server: SocketAddr, question: &Question, extensions: Extensions) -> Result<Answer, Fault> {
    let any = if server.is_ipv6() {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    };
    let asked = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(server).await?;
        socket.send(&question.packet(extensions)).await?;
        io::Result::Ok(socket)
    };
    let socket = asked.await.map_err(|error| of_io(&error))?;
    let mut room = vec![0; ROOM];
    loop {
        let length = socket.recv(&mut room).await.map_err(|error| of_io(&error))?;
        if let Some(answer) = question.read(room.get(..length).unwrap_or_default()) {
            return answer;
        }
    }
}

fn of_io(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::TimedOut => Fault::Silent,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            Fault::Failed
        }
        _ => Fault::Unreachable,
    }
}

/// How long the rest of an answer is waited for.
const WHOLE: Duration = Duration::from_secs(1);
/// For one datagram: more than is asked for.
const ROOM: usize = 4096;
/// Messages on a connection that answer something else.
const STRAY: usize = 4;
