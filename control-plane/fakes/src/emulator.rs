//! The AWS emulator ministack, as a process: the wire as others understand it. It has what the fake of this crate has
//! not (CloudFormation, API Gateway, Scheduler), and lacks what the fake has (a task's lifecycle and address, faults).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// A running emulator. It ends when it is dropped.
#[derive(Debug)]
pub struct Emulator {
    addr: SocketAddr,
    _child: Child,
}

impl Emulator {
    /// Starts one on a port of its own. `None` only when it is not installed and `FLUIDITY_ALLOW_SKIP=1`: the test
    /// returns then.
    ///
    /// # Panics
    /// When it is not installed and may not be skipped, or does not start.
    pub async fn start() -> Option<Self> {
        let program = program()?;
        // It takes no port 0, so a free one is looked for. Should another process be faster, the next try helps.
        for _ in 0..TRIES {
            let addr = free_port().await;
            let mut child = Command::new(&program)
                .env("BIND_HOST", "127.0.0.1")
                .env("MINISTACK_HOST", "127.0.0.1")
                .env("GATEWAY_PORT", addr.port().to_string())
                .env("IOT_MTLS_ENABLED", "0")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
            if answers(addr, &mut child).await {
                return Some(Self { addr, _child: child });
            }
        }
        panic!("{} did not start in {TRIES} tries", program.display());
    }

    /// Its address as an endpoint URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Twelve digits that nobody else uses: as an access key, they are an account of its own.
    pub fn account() -> String {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        format!("{:012}", NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// `FLUIDITY_TEST_MINISTACK`, or what lies beside `FLUIDITY_TEST_PYTHON`.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("FLUIDITY_TEST_MINISTACK").map(PathBuf::from);
    let beside_python = || {
        let python = PathBuf::from(std::env::var_os("FLUIDITY_TEST_PYTHON")?);
        Some(python.parent()?.join("ministack"))
    };
    let found = named.or_else(beside_python).filter(|path| path.is_file());
    if found.is_none() {
        let allowed = std::env::var_os("FLUIDITY_ALLOW_SKIP").is_some_and(|value| value == "1");
        assert!(
            allowed,
            "the AWS emulator is missing. Install it into a virtual environment: \
             pip install 'ministack==1.5.33' 'cbor2>=5.4' cryptography; \
             then set FLUIDITY_TEST_MINISTACK to its program, or FLUIDITY_TEST_PYTHON to that environment's python \
             (FLUIDITY_ALLOW_SKIP=1 skips)"
        );
        eprintln!("SKIPPED: the AWS emulator is missing, and FLUIDITY_ALLOW_SKIP=1");
    }
    found
}

async fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    listener.local_addr().expect("a bound address")
}

/// Waits until it speaks HTTP. False when it has ended.
async fn answers(addr: SocketAddr, child: &mut Child) -> bool {
    let began = Instant::now();
    while began.elapsed() < START {
        if child.try_wait().expect("wait").is_some() {
            return false;
        }
        if speaks_http(addr).await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the AWS emulator did not answer within {START:?}");
}

async fn speaks_http(addr: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream
            .write_all(b"GET /_ministack/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await?;
        let mut start = [0; 5];
        stream.read_exact(&mut start).await?;
        std::io::Result::Ok(&start == b"HTTP/")
    };
    matches!(
        tokio::time::timeout(Duration::from_secs(5), ask).await,
        Ok(Ok(true))
    )
}

const TRIES: usize = 3;
const START: Duration = Duration::from_secs(60);
