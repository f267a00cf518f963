//! Pipes that are opened, used once and then held until stdin closes.

use crate::head;
use crate::pipe::Pipe;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Holds so many; a line of JSON says when all are open.
pub async fn hold(pipe: Pipe, wanted: usize) -> io::Result<()> {
    let began = Instant::now();
    let (held, begun, errors) = (
        Rc::<RefCell<Vec<TcpStream>>>::default(),
        Rc::new(Cell::new(0)),
        Rc::new(Cell::new(0)),
    );
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (pipe, held, begun, errors) = (pipe.clone(), held.clone(), begun.clone(), errors.clone());
        tasks.spawn_local(async move {
            let mut buffer = vec![0; 16 * 1024];
            while begun.get() < wanted {
                begun.set(begun.get() + 1);
                match tokio::time::timeout(PATIENCE, open(&pipe, &mut buffer)).await {
                    Ok(Ok(stream)) => held.borrow_mut().push(stream),
                    Ok(Err(_)) | Err(_) => errors.set(errors.get() + 1),
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    let (open, errors, seconds) = (held.borrow().len(), errors.get(), began.elapsed().as_secs_f64());
    println!("{{\"open\":{open},\"errors\":{errors},\"secs\":{seconds:.3}}}");
    let _ = tokio::io::stdin().read_u8().await;
    // The runtime would wait for the thread that reads stdin.
    std::process::exit(0);
}

async fn open(pipe: &Pipe, buffer: &mut [u8]) -> io::Result<TcpStream> {
    let mut stream = pipe.open().await?;
    head::exchange(&mut stream, &pipe.request(""), buffer).await?;
    Ok(stream)
}

const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(10);
