//! The loads: bulk down and up, requests on open pipes (rr), a pipe for each request (crr).

use crate::head;
use crate::options::Options;
use crate::pipe::Pipe;
use crate::tally::{Tally, add, micros};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// Runs a load with `c` tasks, and prints what came of it.
pub async fn run(options: &Options) -> io::Result<()> {
    let mode = options.mode.as_str();
    let pipe = options.pipe()?;
    let window = options.number("duration", 5.0)?;
    // An upload is timed from its first byte to the sink's answer: what is in flight cannot flatter it.
    let warmup = if mode == "up" {
        0.0
    } else {
        options.number("warmup", 0.5)?
    };
    let count = options.number("count", 0)?;
    let late = options.number("late", 20.0)?;
    let tally = Rc::new(Tally::new(
        Duration::from_secs_f64(warmup),
        Duration::from_secs_f64(window),
    ));
    let mut tasks = JoinSet::new();
    for _ in 0..options.number("c", 1)? {
        let (pipe, tally, mode) = (pipe.clone(), tally.clone(), mode.to_string());
        tasks.spawn_local(async move {
            let ended = match mode.as_str() {
                "down" => download(&pipe, &tally).await,
                "up" => upload(&pipe, &tally).await,
                "rr" => requests(&pipe, &tally).await,
                "crr" => {
                    pipes(&pipe, &tally, count).await;
                    Ok(())
                }
                mode => Err(io::Error::other(format!("unknown mode {mode}"))),
            };
            if let Err(error) = ended {
                tally.error(&error);
            }
        });
    }
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs_f64(warmup + window + late), all)
        .await
        .is_err()
    {
        tally.error(&io::Error::other("not finished long after the window"));
    }
    let wall = tally.start.elapsed().as_secs_f64();
    let seconds = if mode == "up" { wall } else { window };
    println!(
        "{}",
        tally.json(mode, seconds, if count > 0 { wall } else { seconds })
    );
    Ok(())
}

/// GETs the path over and over; bytes inside the window count.
async fn download(pipe: &Pipe, tally: &Tally) -> io::Result<()> {
    let began = Instant::now();
    let mut stream = pipe.open().await?;
    let request = pipe.request("");
    let mut buffer = vec![0; 512 * 1024];
    while !tally.over() {
        stream.write_all(&request).await?;
        let (end, have) = head::read(&mut stream, &mut buffer).await?;
        if tally.first.borrow().is_empty() {
            tally.first.borrow_mut().push(micros(began));
        }
        let mut left = head::body_length(&buffer[..end])?.saturating_sub((have - end) as u64);
        while left > 0 {
            let read = stream.read(&mut buffer).await? as u64;
            if read == 0 {
                return Err(io::Error::other("it ended in the body"));
            }
            left = left.saturating_sub(read);
            add(&tally.total, read);
            let now = Instant::now();
            if now >= tally.until {
                return Ok(());
            }
            if now >= tally.from {
                add(&tally.bytes, read);
            }
        }
    }
    Ok(())
}

/// One chunked POST until the window closes, then the last chunk and the sink's answer.
async fn upload(pipe: &Pipe, tally: &Tally) -> io::Result<()> {
    let mut stream = pipe.open().await?;
    let head = format!(
        "POST /sink HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        pipe.target
    );
    stream.write_all(head.as_bytes()).await?;
    let mut chunk = format!("{CHUNK:x}\r\n").into_bytes();
    chunk.extend(std::iter::repeat_n(b'x', CHUNK));
    chunk.extend_from_slice(b"\r\n");
    let mut sent = 0;
    while !tally.over() {
        stream.write_all(&chunk).await?;
        sent += CHUNK as u64;
    }
    stream.write_all(b"0\r\n\r\n").await?;
    let mut buffer = [0; 4096];
    let (end, _) = head::read(&mut stream, &mut buffer).await?;
    head::body_length(&buffer[..end])?;
    add(&tally.bytes, sent);
    add(&tally.total, sent);
    Ok(())
}

/// Small requests, one after the other, on one pipe.
async fn requests(pipe: &Pipe, tally: &Tally) -> io::Result<()> {
    let mut stream = pipe.open().await?;
    let request = pipe.request("");
    let mut buffer = vec![0; 16 * 1024];
    let mut answered = 0_u64;
    loop {
        let began = Instant::now();
        if began >= tally.until {
            return Ok(());
        }
        match head::exchange(&mut stream, &request, &mut buffer).await {
            // A forward proxy may close after an answer; a client then comes back.
            Err(_) if pipe.absolute && answered > 0 => {
                stream = pipe.open().await?;
                answered = 0;
                add(&tally.reconnects, 1);
                head::exchange(&mut stream, &request, &mut buffer).await?;
            }
            ended => ended?,
        }
        answered += 1;
        if began >= tally.from {
            tally.latencies.borrow_mut().push(micros(began));
            add(&tally.done, 1);
        }
    }
}

/// A new pipe for each request, until the window closes or `count` are done.
async fn pipes(pipe: &Pipe, tally: &Tally, count: u64) {
    let request = pipe.request("Connection: close\r\n");
    let mut buffer = vec![0; 16 * 1024];
    while !tally.over() && (count == 0 || tally.done.get() < count) {
        let began = Instant::now();
        let one = async {
            let mut stream = pipe.open().await?;
            let open = micros(began);
            head::exchange(&mut stream, &request, &mut buffer).await?;
            io::Result::Ok(open)
        };
        match one.await {
            Ok(open) if began >= tally.from => {
                tally.first.borrow_mut().push(open);
                tally.latencies.borrow_mut().push(micros(began));
                add(&tally.done, 1);
            }
            Ok(_) => {}
            Err(error) => {
                tally.error(&error);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

const CHUNK: usize = 256 * 1024;
