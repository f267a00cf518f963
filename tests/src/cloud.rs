//! A server that sleeps: the real wake, sleep and kill functions behind an API, an AWS that is played, and a runner that
//! starts and stops a real `fluidity-server` as `desiredCount` changes, as ECS does with a task.

use crate::agent::TestAgent;
use crate::pki::TestPki;
use crate::server::TestServer;
use crate::settings::Settings;
use crate::{until, within};
use fluidity_fakes::aws::{Aws, CLUSTER, SERVICE};
use fluidity_fakes::gateway::Gateway;
use fluidity_fakes::lambda::Lambda;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

/// The API key of the gateway.
pub const API_KEY: &str = "the-api-key-of-the-tests";

/// The control plane with its service.
#[derive(Debug)]
pub struct Cloud {
    /// ECS, CloudWatch and EC2.
    pub aws: Aws,
    /// `POST /wake` and `POST /kill`.
    pub gateway: Gateway,
    /// The scheduled function.
    pub sleep: Lambda,
    /// The CA of the server and its agents.
    pub pki: TestPki,
    server: Arc<Mutex<Option<TestServer>>>,
    stuck: Arc<AtomicBool>,
    runner: JoinHandle<()>,
}

impl Cloud {
    /// At zero. The server allows these origins.
    pub async fn start(origins: &[SocketAddr]) -> Self {
        Self::start_with(origins, &[]).await
    }

    /// The same with more in the environment of the functions and the server.
    pub async fn start_with(origins: &[SocketAddr], more: &[(String, String)]) -> Self {
        let (aws, pki) = (Aws::start().await, TestPki::new());
        // The functions tell agents one port, whatever task runs: the runner's servers take it in turn.
        let port = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a UDP port")
            .port();
        let mut env = aws.environment();
        let minutes = [
            ("SERVER_PORT", port.to_string()),
            ("IDLE_THRESHOLD_MINS", "0.1".into()),
            ("LOOKBACK_PERIOD_MINS", "1".into()),
            ("METRIC_PERIOD_SECS", "10".into()),
        ];
        env.extend(minutes.map(|(name, value)| (name.to_owned(), value)));
        env.extend(more.iter().cloned());
        let function = |name: &'static str| {
            let env = env.clone();
            async move { Lambda::start(name, fluidity_fakes::binary(&format!("fluidity-{name}")), &env).await }
        };
        let (wake, sleep, kill) = tokio::join!(function("wake"), function("sleep"), function("kill"));
        let gateway = Gateway::start(API_KEY, [("wake", &wake), ("kill", &kill)]).await;

        let mut settings = TestServer::settings(&pki);
        let rules: Vec<Value> = origins
            .iter()
            .map(|origin| json!({ "cidr": format!("{}/32", origin.ip()), "ports": [origin.port()] }))
            .collect();
        settings
            .set("listen", format!("127.0.0.1:{port}"))
            .set("policy.allow", rules)
            .set("drain-grace", "2s")
            .set("quic.idle-timeout", "3s")
            .set("cloudwatch.cluster-name", CLUSTER)
            .set("cloudwatch.service-name", SERVICE)
            .set("cloudwatch.period", "10s");
        let (server, stuck) = (Arc::default(), Arc::<AtomicBool>::default());
        let runner = Runner {
            aws: aws.clone(),
            settings,
            more: more.to_vec(),
            server: Arc::clone(&server),
            stuck: stuck.clone(),
        };
        Self {
            runner: tokio::spawn(runner.run()),
            aws,
            gateway,
            sleep,
            pki,
            server,
            stuck,
        }
    }

    /// From now on tasks never get to run.
    pub fn get_stuck(&self) {
        self.stuck.store(true, Ordering::Relaxed);
    }

    /// An agent's configuration: no address, but a control plane.
    pub fn agent_settings(&self) -> Settings {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let mut settings = TestAgent::settings(&self.pki, nowhere);
        let state = self.pki.dir().join("state").join("agent.json");
        settings
            .set("server", json!({ "name": "fluidity-server" }))
            .set("wake-endpoint", self.gateway.url("wake"))
            .set("kill-endpoint", self.gateway.url("kill"))
            .set("api-key", API_KEY)
            .set("connection-retry-interval", "200ms")
            .set("connection-timeout", "20s")
            .set("quic.idle-timeout", "3s")
            .set("state-file", state.to_str().expect("UTF-8"));
        settings
    }

    /// Waits until the service should have so many tasks.
    pub async fn desired(&self, count: u32, deadline: Duration) {
        let mut desired = self.aws.desired();
        let what = format!("desiredCount {count}");
        let waited = within(deadline, &what, desired.wait_for(|now| *now == count)).await;
        waited.expect("the fake lives");
    }

    /// The server that runs, if one does.
    pub async fn server(&self) -> MutexGuard<'_, Option<TestServer>> {
        self.server.lock().await
    }

    /// Waits until no server runs.
    pub async fn gone(&self, deadline: Duration) {
        until(deadline, "the server has ended", || async {
            if self.server.lock().await.is_none() {
                Ok(())
            } else {
                Err("it runs")
            }
        })
        .await;
    }

    /// A task's end that nobody asked for: SIGKILL, and ECS makes a new task.
    pub async fn lose_server(&self) {
        let task = self.aws.newest_task().expect("a task");
        let server = self.server.lock().await.take().expect("a server");
        server.kill().await;
        self.aws.remove_task(&task.id);
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.runner.abort();
    }
}

/// ECS for one service, with processes for tasks.
struct Runner {
    aws: Aws,
    settings: Settings,
    more: Vec<(String, String)>,
    server: Arc<Mutex<Option<TestServer>>>,
    stuck: Arc<AtomicBool>,
}

impl Runner {
    async fn run(self) {
        let mut desired = self.aws.desired();
        loop {
            let wanted = *desired.borrow_and_update() > 0;
            let mut server = self.server.lock().await;
            if wanted && server.is_none() && !self.stuck.load(Ordering::Relaxed) {
                let task = self.aws.newest_task().expect("made when the count rose");
                self.aws.prepare_task(&task.id);
                *server = Some(self.start(&task.id).await);
                self.aws.run_task(&task.id, IpAddr::V4(Ipv4Addr::LOCALHOST));
            } else if !wanted && let Some(running) = server.take() {
                let task = self.aws.newest_task().expect("the one that runs");
                running.signal("TERM");
                let (exit, log) = running.exit(Duration::from_secs(15)).await;
                assert!(exit.status.success(), "{:?}\n{log}", exit.status);
                self.aws.remove_task(&task.id);
            }
            drop(server);
            // A task that ended unasked changes no count.
            let _ = tokio::time::timeout(Duration::from_millis(100), desired.changed()).await;
        }
    }

    async fn start(&self, task: &str) -> TestServer {
        let mut settings = self.settings.clone();
        settings.set("cloudwatch.task-id", task);
        // The names that the functions need, but the server has its own for.
        let env = self.aws.environment().into_iter();
        let env = env.filter(|(name, _)| name.starts_with("AWS_"));
        let env: Vec<_> = env.chain(self.more.iter().cloned()).collect();
        TestServer::start_with(&settings, &env).await
    }
}
