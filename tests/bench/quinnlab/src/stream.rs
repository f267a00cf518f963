//! Bulk data on one stream.

use crate::knobs::number;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub async fn pour(mut s: quinn::SendStream, until: Option<Instant>) {
    let block = Bytes::from(vec![7u8; number("CHUNK", 65536) as usize]);
    while until.is_none_or(|until| Instant::now() < until) {
        if s.write_chunk(block.clone()).await.is_err() {
            return;
        }
    }
    let _ = s.finish();
    let _ = s.stopped().await;
}

pub async fn drain(mut s: quinn::RecvStream, n: Arc<AtomicU64>) {
    let mut bufs: Vec<Bytes> = vec![Bytes::new(); 64];
    while let Ok(Some(k)) = s.read_chunks(&mut bufs).await {
        n.fetch_add(bufs[..k].iter().map(|b| b.len() as u64).sum(), Ordering::Relaxed);
    }
}
