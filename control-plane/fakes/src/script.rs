//! What an operation is to do instead of its work, the next times that it is called; and what was called so far.

use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Semaphore, watch};

/// What happens instead of an operation's work.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An error of the service's own form.
    Error {
        /// The HTTP status.
        status: u16,
        /// The service's code.
        code: &'static str,
    },
    /// This, with status 200, whatever the form should be.
    Garbage(&'static str),
    /// Never an answer.
    Hang,
    /// The connection closes.
    Cut,
}

impl Fault {
    /// Too many calls.
    pub const fn throttled() -> Self {
        Self::Error {
            status: 400,
            code: "ThrottlingException",
        }
    }

    /// Not allowed.
    pub const fn denied() -> Self {
        Self::Error {
            status: 400,
            code: "AccessDeniedException",
        }
    }

    /// A fault of the service.
    pub const fn broken() -> Self {
        Self::Error {
            status: 500,
            code: "ServerException",
        }
    }
}

/// One call that arrived.
#[derive(Clone, Debug)]
pub struct Called {
    /// Which operation.
    pub operation: String,
    /// What it was asked.
    pub input: Value,
}

/// A call that waits. Dropping this lets it go on.
#[derive(Debug)]
pub struct Hold {
    reached: watch::Receiver<bool>,
    gate: Arc<Semaphore>,
}

impl Hold {
    /// Waits until the call is there: nothing of it has happened yet.
    pub async fn reached(&mut self) {
        self.reached
            .wait_for(|reached| *reached)
            .await
            .expect("the call's side of the hold lives until it is reached");
    }

    /// Lets the call go on.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.gate.add_permits(1);
    }
}

/// The plans for all operations, and the journal.
#[derive(Clone, Debug, Default)]
pub struct Script(Arc<Mutex<Plans>>);

#[derive(Debug, Default)]
struct Plans {
    next: HashMap<String, VecDeque<Step>>,
    always: HashMap<String, Fault>,
    calls: Vec<Called>,
}

#[derive(Debug)]
enum Step {
    Work,
    Fault(Fault),
    Hold(watch::Sender<bool>, Arc<Semaphore>),
}

impl Script {
    /// The next call of `operation` (after those that are planned already) fails like this.
    pub fn once(&self, operation: &str, fault: Fault) {
        self.plan(operation, Step::Fault(fault));
    }

    /// The next `times` calls fail like this.
    pub fn times(&self, operation: &str, times: usize, fault: &Fault) {
        for _ in 0..times {
            self.once(operation, fault.clone());
        }
    }

    /// The next call (after those that are planned already) does its work.
    pub fn pass(&self, operation: &str) {
        self.plan(operation, Step::Work);
    }

    /// The next call (after those that are planned already) waits before its work.
    #[must_use]
    pub fn hold(&self, operation: &str) -> Hold {
        let gate = Arc::new(Semaphore::new(0));
        let (sender, reached) = watch::channel(false);
        self.plan(operation, Step::Hold(sender, Arc::clone(&gate)));
        Hold { reached, gate }
    }

    /// From now on every call fails like this, unless a plan says otherwise.
    pub fn always(&self, operation: &str, fault: Fault) {
        self.lock().always.insert(operation.to_owned(), fault);
    }

    /// From now on every call works again.
    pub fn clear(&self) {
        let mut plans = self.lock();
        plans.next.clear();
        plans.always.clear();
    }

    /// What was called so far, in the order of arrival.
    pub fn calls(&self) -> Vec<Called> {
        self.lock().calls.clone()
    }

    /// The names of what was called so far.
    pub fn operations(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.operation).collect()
    }

    /// How often an operation was called.
    pub fn count(&self, operation: &str) -> usize {
        let calls = &self.lock().calls;
        calls.iter().filter(|call| call.operation == operation).count()
    }

    /// Forgets what was called so far.
    pub fn forget_calls(&self) {
        self.lock().calls.clear();
    }

    /// Writes a call down and takes its plan; waits when it is held. `Some` is what has to happen instead of the work.
    pub(crate) async fn enter(&self, operation: &str, input: Value) -> Option<Fault> {
        let step = {
            let mut plans = self.lock();
            plans.calls.push(Called {
                operation: operation.to_owned(),
                input,
            });
            let planned = plans.next.get_mut(operation).and_then(VecDeque::pop_front);
            planned.or_else(|| plans.always.get(operation).cloned().map(Step::Fault))
        };
        match step {
            None | Some(Step::Work) => None,
            Some(Step::Fault(fault)) => Some(fault),
            Some(Step::Hold(reached, gate)) => {
                reached.send_replace(true);
                gate.acquire().await.expect("never closed").forget();
                None
            }
        }
    }

    fn plan(&self, operation: &str, step: Step) {
        self.lock()
            .next
            .entry(operation.to_owned())
            .or_default()
            .push_back(step);
    }

    fn lock(&self) -> MutexGuard<'_, Plans> {
        self.0.lock().expect("no test panics while it plans")
    }
}
