//! What the server publishes about itself, as the decision reads it. `docs/control-plane.md` has the contract.

use crate::epoch::Epoch;
use crate::service::TaskId;

/// Where the server publishes. No setting: a value that only one of the two has would have a server stopped that is in use.
pub const NAMESPACE: &str = "Fluidity";

/// How many connections were open: the maximum of each period.
pub const ACTIVE_CONNECTIONS: &str = "ActiveConnections";

/// When bytes last went through, in seconds since 1970; the server's own start while none did.
pub const LAST_ACTIVITY: &str = "LastActivityEpochSeconds";

/// The dimension with the ECS cluster's name.
pub const CLUSTER_DIMENSION: &str = "ClusterName";

/// The dimension with the ECS service's name.
pub const SERVICE_DIMENSION: &str = "ServiceName";

/// The dimension with the task's id, so that an old task never vouches for a new one.
pub const TASK_DIMENSION: &str = "TaskId";

/// What CloudWatch said about the tasks that were asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// One entry for each task.
    Read(Vec<TaskMetrics>),
    /// It could not be asked, or did not say all: nothing follows from that.
    Unreadable,
}

/// The metrics of one task, in any order.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskMetrics {
    /// Whose they are.
    pub task: TaskId,
    /// [`ACTIVE_CONNECTIONS`].
    pub active: Vec<Sample>,
    /// [`LAST_ACTIVITY`].
    pub last_activity: Vec<Sample>,
}

/// One period of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When the period began.
    pub at: Epoch,
    /// The period's maximum.
    pub value: f64,
}
