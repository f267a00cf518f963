//! ECS, CloudWatch and EC2, with one service in one cluster.

mod cloudwatch;
mod ec2;
mod ecs;
mod world;

pub use world::{Service, Task};

use crate::http::{Answered, Asked, Cut, Server, answer};
use crate::script::{Fault, Script};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;
use world::{MetricKey, World};

/// The cluster of the one service.
pub const CLUSTER: &str = "fluidity";
/// The one service.
pub const SERVICE: &str = "fluidity-server";
/// Where it all is.
pub const REGION: &str = "eu-central-1";

/// The fake. Clones share the world; the server ends with the last of them.
#[derive(Clone, Debug)]
pub struct Aws {
    server: Arc<Server>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    script: Script,
    desired: watch::Sender<u32>,
}

impl Aws {
    /// Starts with the service at zero, and no metrics.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            world: Mutex::new(World::default()),
            script: Script::default(),
            desired: watch::Sender::new(0),
        });
        let served = Arc::clone(&shared);
        let server = Server::start(move |asked| serve(Arc::clone(&served), asked)).await;
        Self {
            server: Arc::new(server),
            shared,
        }
    }

    /// Its address as an endpoint URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.addr())
    }

    /// What leads an AWS SDK here, and the functions to the service.
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("AWS_ENDPOINT_URL", self.url().as_str()),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "AKIDFAKE"),
            ("AWS_SECRET_ACCESS_KEY", "fake"),
            ("ECS_CLUSTER_NAME", CLUSTER),
            ("ECS_SERVICE_NAME", SERVICE),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        pairs.to_vec()
    }

    /// What `ECS_CONTAINER_METADATA_URI_V4` says inside a task: `GET {uri}/task` answers with its ARN.
    pub fn metadata_uri(&self, task: &str) -> String {
        format!("{}/v4/{task}", self.url())
    }

    /// Faults to come, and calls so far. Operations are named as AWS names them: `UpdateService`, `GetMetricData`, ….
    pub fn script(&self) -> &Script {
        &self.shared.script
    }

    /// Follows `desiredCount`.
    pub fn desired(&self) -> watch::Receiver<u32> {
        self.shared.desired.subscribe()
    }

    /// The service as it stands.
    pub fn service(&self) -> Service {
        self.world().service()
    }

    /// Sets `desiredCount` past the functions, as a person would in the console.
    pub fn set_desired(&self, desired: u32) {
        self.change(|world| world.set_desired(desired));
    }

    /// One of the service's tags.
    pub fn tag(&self, key: &str) -> Option<String> {
        self.world().tag(key)
    }

    /// Sets one of the service's tags.
    pub fn set_tag(&self, key: &str, value: impl ToString) {
        self.world().set_tag(key, value.to_string());
    }

    /// All tasks that have not ended, the oldest first.
    pub fn tasks(&self) -> Vec<Task> {
        self.world().tasks().to_vec()
    }

    /// The task that was made last.
    pub fn newest_task(&self) -> Option<Task> {
        self.world().tasks().last().cloned()
    }

    /// The task gets its interface and waits for its image.
    pub fn prepare_task(&self, id: &str) {
        self.world().task(id).prepare();
    }

    /// The task runs from now on, with this public address.
    pub fn run_task(&self, id: &str, address: IpAddr) {
        self.run_task_since(id, address, crate::now());
    }

    /// The task runs, and has since then.
    pub fn run_task_since(&self, id: &str, address: IpAddr, started: u64) {
        self.world().task(id).run(Some(address), started);
    }

    /// The task runs from now on, and has no public address.
    pub fn run_task_hidden(&self, id: &str) {
        self.world().task(id).run(None, crate::now());
    }

    /// The task has ended. Where the service should have it, it has ended by itself, and ECS makes a new one.
    pub fn remove_task(&self, id: &str) {
        self.world().remove(id, "Essential container in task exited");
    }

    /// The same, with a reason of its own.
    pub fn fail_task(&self, id: &str, why: &str) {
        self.world().remove(id, why);
    }

    /// What ECS last said about the service.
    pub fn set_event(&self, message: &str) {
        self.world().latest_event = Some(message.to_owned());
    }

    /// Moves the time at which the task was made.
    pub fn set_task_created(&self, id: &str, created: u64) {
        self.world().task(id).created = created;
    }

    /// Moves the time at which the deployment last changed.
    pub fn set_deployment_changed(&self, at: u64) {
        self.world().deployment_changed = at;
    }

    /// Publishes values at their times, with the dimensions of the contract.
    pub fn put_metric(&self, task: &str, name: &str, points: impl IntoIterator<Item = (u64, f64)>) {
        let mut world = self.world();
        for (at, value) in points {
            world.put(contract(task, name), at, value);
        }
    }

    /// The values that were published with the dimensions of the contract: times and values, in the order of arrival.
    pub fn metric(&self, task: &str, name: &str) -> Vec<(u64, f64)> {
        self.world().points(&contract(task, name))
    }

    fn change(&self, change: impl FnOnce(&mut World)) {
        self.shared.change(change);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Changes the world, and tells those who follow `desiredCount` after it is whole again.
    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let (result, desired) = {
            let mut world = self.world();
            (change(&mut world), world.service().desired)
        };
        self.desired.send_if_modified(|known| {
            let changed = *known != desired;
            *known = desired;
            changed
        });
        result
    }
}

/// As the server publishes.
fn contract(task: &str, name: &str) -> MetricKey {
    let dimensions = [
        ("ClusterName", CLUSTER),
        ("ServiceName", SERVICE),
        ("TaskId", task),
    ];
    MetricKey {
        namespace: "Fluidity".to_owned(),
        name: name.to_owned(),
        dimensions: dimensions
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
    }
}

/// The three protocols, told apart by what only they have.
enum Protocol {
    Json,
    Cbor,
    Query,
}

struct Request {
    protocol: Protocol,
    operation: String,
    input: Value,
}

async fn serve(shared: Arc<Shared>, asked: Asked) -> Answered {
    if let Some(path) = asked.path.strip_prefix("/v4/") {
        return Ok(ecs::metadata(&shared.world(), path));
    }
    let request = match understand(&asked) {
        Ok(request) => request,
        Err(why) => return Ok(answer(400, "text/plain", why)),
    };
    let Request {
        protocol,
        operation,
        input,
    } = request;
    let fault = shared.script.enter(&operation, input.clone()).await;
    let output = match fault {
        Some(Fault::Cut) => return Err(Cut),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Garbage(text)) => {
            return Ok(protocol.good(text.as_bytes().to_vec()));
        }
        Some(Fault::Error { status, code }) => Err(Refusal {
            status,
            code: code.to_owned(),
        }),
        None => match protocol {
            Protocol::Json => shared.change(|world| ecs::answer(world, &operation, &input)),
            Protocol::Cbor => shared.change(|world| cloudwatch::answer(world, &operation, &input)),
            Protocol::Query => shared.change(|world| ec2::answer(world, &operation, &input)),
        },
    };
    Ok(match output {
        Ok(output) => protocol.good(protocol.encode(&output)),
        Err(refusal) => protocol.refuse(&refusal),
    })
}

/// An error in the service's own form.
#[derive(Debug)]
struct Refusal {
    status: u16,
    code: String,
}

impl Refusal {
    fn new(code: &str) -> Self {
        Self {
            status: 400,
            code: code.to_owned(),
        }
    }
}

fn understand(asked: &Asked) -> Result<Request, String> {
    let header = |name| {
        asked
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let (protocol, service) = match header("x-amz-target") {
        "" if header("smithy-protocol") == "rpc-v2-cbor" => (Protocol::Cbor, "monitoring"),
        "" => (Protocol::Query, "ec2"),
        _ => (Protocol::Json, "ecs"),
    };
    // The signature itself is not checked, but it has to be there, and for this region and service.
    let scope = format!("/{REGION}/{service}/aws4_request");
    let signed = header("authorization");
    if !signed.starts_with("AWS4-HMAC-SHA256 Credential=AKIDFAKE/") || !signed.contains(&scope) {
        return Err(format!("not signed for {scope}: {signed}"));
    }
    if !header("content-encoding").is_empty() {
        return Err("the fake reads no compressed bodies".to_owned());
    }
    let (operation, input) = match protocol {
        Protocol::Json => {
            let operation = header("x-amz-target").rsplit('.').next().unwrap_or_default();
            let input = serde_json::from_slice(&asked.body).map_err(|error| error.to_string())?;
            (operation.to_owned(), input)
        }
        Protocol::Cbor => {
            let operation = asked.path.rsplit('/').next().unwrap_or_default();
            (operation.to_owned(), cloudwatch::decode(&asked.body)?)
        }
        Protocol::Query => {
            let input = ec2::decode(&asked.body)?;
            let operation = input["Action"].as_str().unwrap_or_default().to_owned();
            (operation, input)
        }
    };
    Ok(Request {
        protocol,
        operation,
        input,
    })
}

impl Protocol {
    fn encode(&self, output: &Value) -> Vec<u8> {
        match self {
            Self::Json => output.to_string().into_bytes(),
            Self::Cbor => cloudwatch::encode(output),
            Self::Query => ec2::encode(output).into_bytes(),
        }
    }

    fn good(&self, body: Vec<u8>) -> hyper::Response<http_body_util::Full<bytes::Bytes>> {
        self.answer(200, body)
    }

    fn refuse(&self, refusal: &Refusal) -> hyper::Response<http_body_util::Full<bytes::Bytes>> {
        let code = &refusal.code;
        let message = format!("{code}, says the fake");
        let body = match self {
            Self::Query => ec2::refusal(code, &message).into_bytes(),
            _ => self.encode(&json!({"__type": code, "message": message})),
        };
        self.answer(refusal.status, body)
    }

    fn answer(&self, status: u16, body: Vec<u8>) -> hyper::Response<http_body_util::Full<bytes::Bytes>> {
        let content_type = match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/cbor",
            Self::Query => "text/xml;charset=UTF-8",
        };
        let mut response = answer(status, content_type, body);
        let headers = response.headers_mut();
        headers.insert(
            "x-amzn-requestid",
            "fake-request".parse().expect("a header's value"),
        );
        if matches!(self, Self::Cbor) {
            headers.insert(
                "smithy-protocol",
                "rpc-v2-cbor".parse().expect("a header's value"),
            );
        }
        response
    }
}
