//! A small DNS server on loopback with scripted answers, by UDP and TCP.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{JoinHandle, JoinSet};

/// Answers A and AAAA questions from a table, or by a script.
#[derive(Debug)]
pub struct TestDns {
    addr: SocketAddr,
    asked: Log,
    task: JoinHandle<()>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Lower case, without the trailing dot.
    pub name: String,
    /// For AAAA; A where it is not.
    pub v6: bool,
    /// It has EDNS.
    pub edns: bool,
    /// It came by TCP.
    pub tcp: bool,
}

/// What becomes of a question.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Nothing: it is never answered.
    Nothing,
    /// An answer with this code and nothing in it.
    Code(u8),
    /// These addresses, those of the other family left away.
    Addresses(Vec<IpAddr>),
    /// The same, and that it did not fit.
    Cut(Vec<IpAddr>),
}

type Log = Arc<Mutex<Vec<Asked>>>;
type Script = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

impl TestDns {
    /// Serves `names`: lower case, without the trailing dot; any other name does not exist.
    pub async fn start(names: &[(&str, &[IpAddr])]) -> Self {
        let table: HashMap<String, Vec<IpAddr>> = names
            .iter()
            .map(|(name, ips)| ((*name).to_owned(), ips.to_vec()))
            .collect();
        Self::scripted(move |asked| match table.get(&asked.name) {
            Some(addresses) => Reply::Addresses(addresses.clone()),
            None => Reply::Code(NAME_ERROR),
        })
        .await
    }

    /// Does with each question what `script` says.
    pub async fn scripted(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(sockets().await, script)
    }

    /// The same on an address of the test's choice.
    pub async fn scripted_at(
        addr: SocketAddr,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let tcp = TcpListener::bind(addr).await.expect("bind DNS");
        Self::on((UdpSocket::bind(addr).await.expect("bind DNS"), tcp), script)
    }

    fn on(
        (udp, tcp): (UdpSocket, TcpListener),
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let addr = udp.local_addr().expect("a bound socket has an address");
        let asked = Log::default();
        let task = tokio::spawn(serve(udp, tcp, Arc::new(script), asked.clone()));
        Self { addr, asked, task }
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Every question so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for TestDns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One port for both.
async fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("bind DNS");
        let addr = tcp.local_addr().expect("a bound socket has an address");
        if let Ok(udp) = UdpSocket::bind(addr).await {
            return (udp, tcp);
        }
    }
    panic!("no port that is free for both UDP and TCP");
}

async fn serve(udp: UdpSocket, tcp: TcpListener, script: Script, log: Log) {
    let mut packet = [0; 1500];
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            received = udp.recv_from(&mut packet) => {
                let Ok((len, from)) = received else { continue };
                if let Some(answer) = answer(&packet[..len], false, &script, &log) {
                    let _ = udp.send_to(&answer, from).await;
                }
            }
            accepted = tcp.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                streams.spawn(serve_stream(stream, script.clone(), log.clone()));
            }
        }
    }
}

async fn serve_stream(mut stream: TcpStream, script: Script, log: Log) {
    while let Ok(len) = stream.read_u16().await {
        let mut query = vec![0; usize::from(len)];
        if stream.read_exact(&mut query).await.is_err() {
            return;
        }
        let Some(answer) = answer(&query, true, &script, &log) else {
            // Held open, as behind a firewall that drops what comes back.
            tokio::time::sleep(Duration::from_secs(600)).await;
            return;
        };
        let len = u16::try_from(answer.len()).expect("a message");
        let _ = stream
            .write_all(&[&len.to_be_bytes(), answer.as_slice()].concat())
            .await;
    }
}

/// RFC 1035 §4.1: the header, the question copied, the answers pointing back to its name.
fn answer(query: &[u8], tcp: bool, script: &Script, log: &Log) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + len)?).to_lowercase());
        at += len;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    let question = query.get(12..at + 4)?;
    let asked = Asked {
        name: labels.join("."),
        v6: kind == TYPE_AAAA,
        edns: query.len() > at + 4,
        tcp,
    };
    let reply = script(&asked);
    log.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    let (code, cut, addresses) = match reply {
        Reply::Nothing => return None,
        Reply::Code(code) => (code, 0, Vec::new()),
        Reply::Addresses(addresses) => (0, 0, addresses),
        Reply::Cut(addresses) => (0, 2, addresses),
    };
    let records: Vec<IpAddr> = addresses
        .into_iter()
        .filter(|ip| (kind == TYPE_A && ip.is_ipv4()) || (kind == TYPE_AAAA && ip.is_ipv6()))
        .collect();

    let mut out = Vec::new();
    out.extend_from_slice(query.get(..2)?);
    out.extend_from_slice(&[0x85 | cut, 0x80 | code]); // A response, authoritative; recursion desired and available.
    out.extend_from_slice(&[0, 1, 0, u8::try_from(records.len()).ok()?, 0, 0, 0, 0]);
    out.extend_from_slice(question);
    for ip in records {
        let bytes = match ip {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        out.extend_from_slice(&[0xc0, 12]); // The name at offset 12.
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 60]); // IN, one minute.
        out.extend_from_slice(&u16::try_from(bytes.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&bytes);
    }
    Some(out)
}

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const NAME_ERROR: u8 = 3;
