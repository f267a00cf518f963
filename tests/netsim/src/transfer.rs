//! One transfer, down or up. Prints how far it is each quarter of a second, and how it ended: one JSON object a line.

use crate::clock::{epoch, escaped};
use crate::options::Options;
use crate::origin::{END, TOLD_EACH};
use crate::response;
use crate::route::{Connection, Route, is_timeout};
use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

/// What a transfer was asked to do.
struct Transfer {
    route: Route,
    size: u64,
    duration: Duration,
    /// For the steps before and behind the bytes.
    patience: Duration,
    began: Instant,
    told: Instant,
    bytes: u64,
}

/// How it ended; what else happens is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All bytes came.
    Complete,
    /// The origin answered the upload.
    Answered,
    /// A clean end before all bytes had come.
    Short,
    Time,
}

/// A download that goes on for some time, or until all of it is there.
pub fn down(options: &Options) -> io::Result<()> {
    let mut transfer = Transfer::of(options)?;
    let end = transfer.download();
    transfer.tell_end(end);
    Ok(())
}

/// An upload of some time or size, and the origin's answer to it.
pub fn up(options: &Options) -> io::Result<()> {
    let mut transfer = Transfer::of(options)?;
    let end = transfer.upload(options.text("name", "x"));
    transfer.tell_end(end);
    Ok(())
}

impl Transfer {
    fn of(options: &Options) -> io::Result<Self> {
        Ok(Self {
            route: Route::of(options)?,
            size: options.number("size", 1 << 40)?,
            duration: options.seconds("duration", 1e6)?,
            patience: options.seconds("patience", 30.0)?,
            began: Instant::now(),
            told: Instant::now(),
            bytes: 0,
        })
    }

    fn download(&mut self) -> io::Result<End> {
        let mut connection = self.route.open(self.patience)?;
        self.request(&mut connection, &format!("GET /bytes/{}", self.size), 0)?;
        response::read(&mut connection)?;
        connection.get_ref().set_read_timeout(Some(TOLD_EACH))?;
        loop {
            if self.began.elapsed() > self.duration {
                return Ok(End::Time);
            }
            let read = match connection.fill_buf() {
                Ok([]) => return Ok(End::Short),
                Ok(bytes) => bytes.len(),
                Err(error) if is_timeout(&error) => 0,
                Err(error) => return Err(error),
            };
            connection.consume(read);
            self.advance(read);
            if self.bytes >= self.size {
                return Ok(End::Complete);
            }
        }
    }

    fn upload(&mut self, name: &str) -> io::Result<End> {
        let mut connection = self.route.open(self.patience)?;
        // What ends the body is its last byte; the length is one that it does not reach.
        self.request(&mut connection, &format!("POST /up/{name}"), 1 << 40)?;
        connection.get_ref().set_write_timeout(Some(TOLD_EACH))?;
        let block = [b'u'; 16 * 1024];
        while self.bytes < self.size && self.began.elapsed() < self.duration {
            let left = usize::try_from(self.size - self.bytes).unwrap_or(usize::MAX);
            let written = match connection.get_mut().write(&block[..block.len().min(left)]) {
                Ok(written) => written,
                Err(error) if is_timeout(&error) => 0,
                Err(error) => return Err(error),
            };
            self.advance(written);
        }
        self.told -= TOLD_EACH;
        self.advance(0);
        connection.get_ref().set_write_timeout(Some(self.patience))?;
        connection.get_mut().write_all(&[END])?;
        response::finish(&mut connection)?;
        Ok(End::Answered)
    }

    fn request(&self, connection: &mut Connection, what: &str, length: u64) -> io::Result<()> {
        let target = self.route.target();
        let length = if length == 0 {
            String::new()
        } else {
            format!("Content-Length: {length}\r\n")
        };
        connection
            .get_mut()
            .write_all(format!("{what} HTTP/1.1\r\nHost: {target}\r\n{length}\r\n").as_bytes())
    }

    fn advance(&mut self, more: usize) {
        self.bytes += more as u64;
        if self.told.elapsed() >= TOLD_EACH {
            self.told = Instant::now();
            println!("{{\"t\":{:.3},\"bytes\":{}}}", epoch(), self.bytes);
        }
    }

    fn tell_end(&self, end: io::Result<End>) {
        let end = match end {
            Ok(End::Complete) => "complete".to_owned(),
            Ok(End::Answered) => "answered".to_owned(),
            Ok(End::Short) => "short".to_owned(),
            Ok(End::Time) => "time".to_owned(),
            Err(error) if is_timeout(&error) => "timeout".to_owned(),
            Err(error) => format!("error: {error}"),
        };
        let (end, took) = (escaped(&end), self.began.elapsed().as_secs_f64());
        println!(
            "{{\"t\":{:.3},\"bytes\":{},\"end\":\"{end}\",\"took\":{took:.3}}}",
            epoch(),
            self.bytes
        );
    }
}
