//! A small DNS server on loopback with scripted answers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Answers A and AAAA questions from a table; any other name does not exist.
#[derive(Debug)]
pub struct TestDns {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl TestDns {
    /// Serves `names`: lower case, without the trailing dot.
    pub async fn start(names: &[(&str, &[IpAddr])]) -> Self {
        let table: HashMap<String, Vec<IpAddr>> = names
            .iter()
            .map(|(name, ips)| ((*name).to_owned(), ips.to_vec()))
            .collect();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind DNS");
        let addr = socket.local_addr().expect("a bound socket has an address");
        let table = Arc::new(table);
        let task = tokio::spawn(async move {
            let mut packet = [0; 1500];
            loop {
                let Ok((len, from)) = socket.recv_from(&mut packet).await else {
                    continue;
                };
                if let Some(answer) = answer(&packet[..len], &table) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self { addr, task }
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for TestDns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// RFC 1035 §4.1: the header, the question copied, the answers pointing back to its name.
fn answer(query: &[u8], table: &HashMap<String, Vec<IpAddr>>) -> Option<Vec<u8>> {
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
    let known = table.get(&labels.join("."));
    let records: Vec<IpAddr> = known
        .into_iter()
        .flatten()
        .copied()
        .filter(|ip| (kind == TYPE_A && ip.is_ipv4()) || (kind == TYPE_AAAA && ip.is_ipv6()))
        .collect();
    let code = if known.is_some() { 0 } else { NAME_ERROR };

    let mut out = Vec::new();
    out.extend_from_slice(query.get(..2)?);
    out.extend_from_slice(&[0x85, 0x80 | code]); // A response, authoritative; recursion desired and available.
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
