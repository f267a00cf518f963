//! A small web server for real clients: bytes of any number, a counter of bodies, and WebSocket frames by hand.

use crate::http::{Head, read_body};
use crate::origin::{Origin, Served};
use crate::pattern::Pattern;
use crate::peer::Peer;

/// Serves, keep-alive:
///
/// - `GET|HEAD /bytes/N`: N bytes of [`BYTES`];
/// - `POST|PUT` anything: the number of bytes received, as text; 100-continue is answered;
/// - `GET /trailers`: a chunked body with the trailer `X-Sum: 42`.
pub async fn web() -> Served {
    Origin::bind().await.serve(|mut peer| async move {
        while let Some(head) = peer.next_request().await {
            if answer(&mut peer, &head).await.is_err() {
                return;
            }
        }
    })
}

/// What `/bytes/N` is made of.
pub const BYTES: Pattern = Pattern::new(77);

async fn answer(peer: &mut Peer, head: &Head) -> std::io::Result<()> {
    let mut words = head.line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if let Some(number) = path.strip_prefix("/bytes/") {
        let length: u64 = number.parse().expect("/bytes/N");
        peer.try_write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"))
            .await?;
        if method == "GET" {
            peer.try_send(BYTES, 0, length).await?;
        }
        return Ok(());
    }
    if path == "/trailers" {
        let body = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n";
        return peer.try_write(body).await;
    }
    if head.one("expect").is_some() {
        peer.try_write("HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let mut length = 0;
    read_body(peer, head, |part| length += part.len()).await;
    let text = length.to_string();
    peer.try_write(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    ))
    .await
}

/// One WebSocket frame (RFC 6455 §5.2), the payload unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, RSV1 to RSV3 and the opcode, as sent.
    pub first: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Peer {
    /// Reads one frame, masked or not.
    pub async fn read_frame(&mut self) -> Frame {
        let start = self.read_exact(2).await;
        let length = match start[1] & 0x7f {
            126 => {
                let bytes = self.read_exact(2).await;
                usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
            }
            127 => panic!("frames of this size are not for tests"),
            short => usize::from(short),
        };
        let mask = if start[1] & 0x80 == 0 {
            vec![0; 4]
        } else {
            self.read_exact(4).await.to_vec()
        };
        let mut payload = self.read_exact(length).await.to_vec();
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        Frame {
            first: start[0],
            payload,
        }
    }

    /// Writes one unmasked frame.
    pub async fn write_frame(&mut self, frame: &Frame) {
        let length = u16::try_from(frame.payload.len()).expect("a small frame");
        let mut bytes = vec![frame.first];
        if length < 126 {
            bytes.push(length as u8);
        } else {
            bytes.push(126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        bytes.extend_from_slice(&frame.payload);
        self.write(bytes).await;
    }
}
