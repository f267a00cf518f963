//! Stops the server when nobody uses it. Runs every few minutes, one at a time.
//!
//! The decision is `decision.rs`'s; here are the readings before it and the care after it. A wake that comes at the same
//! moment wins (docs/adr/0008): the stamp is read again right before the write, and once more right after it.

use fluidity_control_plane::answer::Answer;
use fluidity_control_plane::decision::{Decision, Facts, Keep, Stop, decide};
use fluidity_control_plane::epoch::Epoch;
use fluidity_control_plane::error::Error;
use fluidity_control_plane::lambda::Function;
use fluidity_control_plane::metric::Reading;
use fluidity_control_plane::plane::Plane;
use fluidity_control_plane::request::Call;
use fluidity_control_plane::service::{Counts, Service, State, TaskId, Tasks};
use std::time::Duration;

/// Called by the schedule.
pub(crate) struct Sleep;

impl Function for Sleep {
    const NAME: &'static str = "sleep";
    /// Lambda gives up after 60 s.
    const BUDGET: Duration = Duration::from_secs(50);

    async fn call(plane: &Plane, _: &Call) -> Result<Answer, Error> {
        let service = plane.aws.ecs.describe().await?;
        if service.counts.desired == 0 {
            let state = service.counts.state_at_zero();
            return Ok(answer(state, service.counts, Decision::Nothing));
        }
        let tasks = plane.aws.ecs.tasks().await?;
        let metrics = metrics(plane, &tasks).await;
        let decision = decide(&Facts {
            now: plane.now(),
            service: &service,
            tasks: &tasks,
            metrics: &metrics,
            thresholds: &plane.config.thresholds,
        });
        match decision {
            Decision::Stop(reason) => stop(plane, &service, reason).await,
            decision => Ok(answer(plane.state(&service, &tasks), service.counts, decision)),
        }
    }
}

/// What the running tasks have published. Without running tasks, CloudWatch has nothing to say.
async fn metrics(plane: &Plane, tasks: &Tasks) -> Reading {
    let running: Vec<TaskId> = tasks.running().map(|task| task.id.clone()).collect();
    if running.is_empty() {
        return Reading::Read(Vec::new());
    }
    match plane.aws.cloudwatch.read(&running, plane.now()).await {
        Ok(read) => Reading::Read(read),
        Err(error) => {
            tracing::warn!(%error, detail = error.detail, "the metrics cannot be read");
            Reading::Unreadable
        }
    }
}

async fn stop(plane: &Plane, decided: &Service, reason: Stop) -> Result<Answer, Error> {
    let ecs = &plane.aws.ecs;
    let before = ecs.describe().await?;
    if before.counts.desired == 0 || wanted(&before, reason) != wanted(decided, reason) {
        return overtaken(plane, before.counts).await;
    }
    let counts = ecs.set_desired(0).await?;
    let after = ecs.describe().await?;
    if wanted(&after, reason) != wanted(decided, reason) && !killed_since(&before, &after) {
        return give_back(plane, &before).await;
    }
    let state = match reason {
        Stop::NeverRan { .. } => State::Failed,
        Stop::Idle { .. } | Stop::Unknown { .. } => counts.state_at_zero(),
    };
    Ok(answer(state, counts, Decision::Stop(reason)))
}

/// The stamp that would speak against stopping. A start that failed is not excused by those who keep asking for it.
const fn wanted(service: &Service, reason: Stop) -> Option<Epoch> {
    match reason {
        Stop::NeverRan { .. } => service.stamps.start,
        Stop::Idle { .. } | Stop::Unknown { .. } => service.stamps.wake,
    }
}

/// A wake came between the last look and the write: it saw a service that ran, and did nothing. So the service gets back
/// what it had, unless a kill comes into it.
async fn give_back(plane: &Plane, before: &Service) -> Result<Answer, Error> {
    let ecs = &plane.aws.ecs;
    let counts = ecs.set_desired(before.counts.desired).await?;
    if !killed_since(before, &ecs.describe().await?) {
        return overtaken(plane, counts).await;
    }
    let counts = ecs.set_desired(0).await?;
    overtaken(plane, counts).await
}

/// Whether a kill has come since `before`, and not before the last wake. In the same second, the kill counts as later:
/// who wants the server asks again.
fn killed_since(before: &Service, after: &Service) -> bool {
    after.stamps.kill != before.stamps.kill && after.stamps.kill >= after.stamps.wake
}

async fn overtaken(plane: &Plane, counts: Counts) -> Result<Answer, Error> {
    let state = if counts.desired == 0 {
        counts.state_at_zero()
    } else {
        let service = plane.aws.ecs.describe().await?;
        plane.state(&service, &plane.aws.ecs.tasks().await?)
    };
    Ok(answer(state, counts, Decision::Keep(Keep::Overtaken)))
}

fn answer(state: State, counts: Counts, decision: Decision) -> Answer {
    let mut answer = Answer::new(state, counts, decision.to_string());
    answer.decision = Some(decision);
    answer.alarm = decision.alarm();
    // The schedule asks again.
    answer.retry_after = Duration::ZERO;
    answer
}
