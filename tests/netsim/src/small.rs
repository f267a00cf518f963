//! Small requests at an even pace, whether or not earlier ones were answered: each on a new tunnel, or all on one that is open.
//! Prints one JSON object for each.

use crate::clock::{epoch, escaped};
use crate::options::Options;
use crate::response;
use crate::route::{Connection, Route};
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How the requests come.
struct Pace {
    route: Route,
    interval: Duration,
    duration: Duration,
    /// For an answer.
    timeout: Duration,
    /// Between the opening of the one tunnel and its first request.
    after: Duration,
}

/// When a request was sent: by the clock of all processes, and by the one that does not jump.
#[derive(Clone, Copy)]
struct Sent(f64, Instant);

const STACK: usize = 512 * 1024;

/// Sends them, and waits until the last is answered or given up.
pub fn run(options: &Options) -> io::Result<()> {
    let pace = Pace {
        route: Route::of(options)?,
        interval: options.seconds("interval", 250.0)? / 1000,
        duration: options.seconds("duration", 10.0)?,
        timeout: options.seconds("timeout", 30.0)?,
        after: options.seconds("after", 0.0)?,
    };
    match options.text("tunnel", "new") {
        "new" => pace.on_new_tunnels(),
        "open" => pace.on_one_tunnel(),
        other => Err(io::Error::other(format!("--tunnel {other}: new or open"))),
    }
}

impl Pace {
    /// Calls once for each request that is due.
    fn each(&self, mut send: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        let began = Instant::now();
        let mut due = began;
        while due < began + self.duration {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            send()?;
            due += self.interval;
        }
        Ok(())
    }

    fn on_new_tunnels(&self) -> io::Result<()> {
        thread::scope(|scope| {
            // At most `timeout / interval` of them are there at once.
            self.each(|| {
                let thread = thread::Builder::new().stack_size(STACK);
                thread.spawn_scoped(scope, || {
                    let sent = Sent::now();
                    sent.tell(self.one());
                })?;
                Ok(())
            })
        })
    }

    fn one(&self) -> io::Result<()> {
        let mut connection = self.route.open(self.timeout)?;
        connection.get_mut().write_all(&request(&self.route))?;
        response::finish(&mut connection)
    }

    fn on_one_tunnel(&self) -> io::Result<()> {
        let mut connection = self.route.open(self.timeout)?;
        // The first one is not counted: it may still wait for the target.
        connection.get_mut().write_all(&request(&self.route))?;
        response::finish(&mut connection)?;
        println!("{{\"open\":true}}");
        thread::sleep(self.after);
        let mut out = connection.get_ref().try_clone()?;
        let (sent, under_way) = channel();
        thread::scope(|scope| {
            scope.spawn(move || receive(connection, &under_way));
            self.send_all(&mut out, &sent);
            drop(sent);
        });
        Ok(())
    }

    fn send_all(&self, out: &mut TcpStream, sent: &Sender<Sent>) {
        let request = request(&self.route);
        // Where the tunnel is cut, the receiver tells what became of each.
        let _ = self.each(|| {
            let _ = sent.send(Sent::now());
            out.write_all(&request)
        });
    }
}

/// Reads the answers, which come in the order of their requests. After an error none comes any more.
fn receive(mut connection: Connection, under_way: &Receiver<Sent>) {
    let mut cut = None;
    while let Ok(sent) = under_way.recv() {
        let answered = match &cut {
            None => response::finish(&mut connection),
            Some(kind) => Err(io::Error::from(*kind)),
        };
        cut = cut.or_else(|| answered.as_ref().err().map(io::Error::kind));
        sent.tell(answered);
    }
}

fn request(route: &Route) -> Vec<u8> {
    format!("GET /bytes/1024 HTTP/1.1\r\nHost: {}\r\n\r\n", route.target()).into_bytes()
}

impl Sent {
    fn now() -> Self {
        Self(epoch(), Instant::now())
    }

    fn tell(self, answered: io::Result<()>) {
        let (at, ms) = (self.0, self.1.elapsed().as_secs_f64() * 1e3);
        match answered {
            Ok(()) => println!("{{\"t\":{at:.3},\"ms\":{ms:.1}}}"),
            Err(error) => {
                println!(
                    "{{\"t\":{at:.3},\"ms\":{ms:.1},\"error\":\"{}\"}}",
                    escaped(&error.to_string())
                );
            }
        }
    }
}
