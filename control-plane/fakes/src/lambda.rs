//! A function as a process: the real binary, driven through Lambda's runtime interface.
//!
//! As in Lambda, a process has one call at a time, processes are started when there are more calls than idle ones, and
//! stay for the next. What they print is kept.

mod process;

use crate::http::{Answered, Asked, Server, answer};
use process::Processes;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// A deployed function. Clones share it; its processes end with the last of them.
#[derive(Clone, Debug)]
pub struct Lambda {
    shared: Arc<Shared>,
    _server: Arc<Server>,
}

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LambdaError {
    /// The function says that it failed.
    Failed {
        /// `errorType`.
        kind: String,
        /// `errorMessage`.
        message: String,
    },
    /// The process ended, or could not start.
    Exited,
    /// It took longer than the function's limit.
    TimedOut,
}

/// Calls a function again and again. Dropping it stops that.
#[derive(Debug)]
pub struct Schedule(JoinHandle<()>);

impl Drop for Schedule {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Shared {
    name: String,
    limit: Duration,
    state: Mutex<State>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Invocation>>,
    queue: mpsc::Sender<Invocation>,
    processes: Mutex<Option<Processes>>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    /// Calls that no process has taken yet.
    queued: usize,
    running: HashMap<String, oneshot::Sender<Result<Value, LambdaError>>>,
}

#[derive(Debug)]
struct Invocation {
    id: String,
    event: Value,
    /// In milliseconds since 1970.
    deadline: u128,
    done: oneshot::Sender<Result<Value, LambdaError>>,
}

impl Lambda {
    /// Deploys `binary` with `environment`, and Lambda's own 30 s limit. Nothing runs before the first call.
    pub async fn start(name: &str, binary: PathBuf, environment: &[(String, String)]) -> Self {
        Self::start_with_limit(name, binary, environment, Duration::from_secs(30)).await
    }

    /// The same with another limit.
    pub async fn start_with_limit(
        name: &str,
        binary: PathBuf,
        environment: &[(String, String)],
        limit: Duration,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(MOST_QUEUED);
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            limit,
            state: Mutex::default(),
            waiting: tokio::sync::Mutex::new(waiting),
            queue,
            processes: Mutex::new(None),
        });
        let serving = Arc::downgrade(&shared);
        let server = Server::start(move |asked| {
            let shared = serving.upgrade();
            async move {
                match shared {
                    Some(shared) => shared.runtime(asked).await,
                    None => Ok(answer(410, "text/plain", "the function is gone")),
                }
            }
        })
        .await;
        let processes = Processes::new(name, binary, environment, server.addr());
        *shared.lock_processes() = Some(processes);
        Self {
            shared,
            _server: Arc::new(server),
        }
    }

    /// Calls it and waits for the answer.
    ///
    /// # Errors
    /// As Lambda: when the function says so, ends, or takes too long.
    pub async fn invoke(&self, event: Value) -> Result<Value, LambdaError> {
        let (done, answered) = oneshot::channel();
        let invocation = self.shared.admit(event, done);
        let id = invocation.id.clone();
        self.shared.queue.send(invocation).await.expect("kept by shared");
        self.shared.add_process_when_busy();
        match tokio::time::timeout(self.shared.limit, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(LambdaError::Exited),
            Err(_) => {
                // Lambda ends a process that takes too long; the next call gets a new one.
                self.shared.lock().running.remove(&id);
                self.shared.with_processes(Processes::end_all);
                Err(LambdaError::TimedOut)
            }
        }
    }

    /// Calls it every `period` from now on, as EventBridge Scheduler does, one call at a time.
    #[must_use]
    pub fn every(&self, period: Duration) -> Schedule {
        let lambda = self.clone();
        Schedule(tokio::spawn(async move {
            loop {
                tokio::time::sleep(period).await;
                // A failure is in the function's log.
                let _ = lambda.invoke(crate::events::schedule()).await;
            }
        }))
    }

    /// The lines that its processes have printed so far.
    pub fn log(&self) -> Vec<String> {
        self.shared.with_processes(|processes| processes.log())
    }

    /// The lines that are JSON objects.
    pub fn json_log(&self) -> Vec<Value> {
        self.log()
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// How many processes were started so far.
    pub fn processes(&self) -> usize {
        self.shared.with_processes(|processes| processes.started())
    }
}

impl Shared {
    fn admit(&self, event: Value, done: oneshot::Sender<Result<Value, LambdaError>>) -> Invocation {
        let mut state = self.lock();
        state.last_id += 1;
        state.queued += 1;
        // The form of a request id, and still readable.
        let id = format!("00000000-0000-4000-8000-{:012}", state.last_id);
        let deadline = SystemTime::now() + self.limit;
        let deadline = deadline
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_millis();
        Invocation {
            id,
            event,
            deadline,
            done,
        }
    }

    /// One process for each call that runs or waits, up to a limit.
    fn add_process_when_busy(self: &Arc<Self>) {
        let wanted = {
            let state = self.lock();
            state.queued + state.running.len()
        };
        let shared = Arc::downgrade(self);
        self.with_processes(|processes| {
            processes.grow_to(wanted.min(MOST_PROCESSES), move || {
                // A process that ends takes its call with it. Which one that was is not known: all of them fail.
                if let Some(shared) = shared.upgrade() {
                    shared.fail_all();
                }
            });
        });
    }

    fn fail_all(&self) {
        let running = std::mem::take(&mut self.lock().running);
        for (_, done) in running {
            // A caller that has gone needs no answer.
            let _ = done.send(Err(LambdaError::Exited));
        }
        // Nobody may come for what waits: those who called are told as well.
        if let Ok(mut waiting) = self.waiting.try_lock() {
            while let Ok(invocation) = waiting.try_recv() {
                self.lock().queued -= 1;
                let _ = invocation.done.send(Err(LambdaError::Exited));
            }
        }
    }

    /// Lambda's runtime interface, 2018-06-01.
    async fn runtime(&self, asked: Asked) -> Answered {
        let path = asked.path.trim_start_matches("/2018-06-01/runtime/");
        let (id, outcome) = match path.split('/').collect::<Vec<_>>()[..] {
            ["invocation", "next"] => return self.next().await,
            ["invocation", id, "response"] => (id, Ok(parse(&asked.body))),
            ["invocation", id, "error"] => (id, Err(failed(&asked.body))),
            ["init", "error"] => {
                self.fail_all();
                return Ok(answer(202, "application/json", "{}"));
            }
            _ => return Ok(answer(404, "text/plain", "not of the runtime interface")),
        };
        let done = self.lock().running.remove(id);
        if let Some(done) = done {
            // A caller that has gone needs no answer.
            let _ = done.send(outcome);
        }
        Ok(answer(202, "application/json", "{}"))
    }

    async fn next(&self) -> Answered {
        let invocation = {
            let mut waiting = self.waiting.lock().await;
            waiting.recv().await.expect("kept by shared")
        };
        let mut response = answer(200, "application/json", invocation.event.to_string());
        let arn = format!("arn:aws:lambda:eu-central-1:123456789012:function:{}", self.name);
        for (name, value) in [
            ("lambda-runtime-aws-request-id", invocation.id.as_str()),
            (
                "lambda-runtime-deadline-ms",
                invocation.deadline.to_string().as_str(),
            ),
            ("lambda-runtime-invoked-function-arn", arn.as_str()),
            (
                "lambda-runtime-trace-id",
                "Root=1-00000000-000000000000000000000000;Sampled=0",
            ),
        ] {
            response
                .headers_mut()
                .insert(name, value.parse().expect("a header's value"));
        }
        let mut state = self.lock();
        state.queued -= 1;
        state.running.insert(invocation.id, invocation.done);
        Ok(response)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn lock_processes(&self) -> MutexGuard<'_, Option<Processes>> {
        self.processes
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn with_processes<T>(&self, work: impl FnOnce(&mut Processes) -> T) -> T {
        work(self.lock_processes().as_mut().expect("set at the start"))
    }
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| json!({"notJson": error.to_string()}))
}

fn failed(body: &[u8]) -> LambdaError {
    let error = parse(body);
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    LambdaError::Failed {
        kind: text("errorType"),
        message: text("errorMessage"),
    }
}

const MOST_QUEUED: usize = 1000;
const MOST_PROCESSES: usize = 10;
