//! Starts the server when it is at zero, and says how far it is. Returns at once: whoever waits, asks again.
//!
//! The order is the point (docs/adr/0008). First the stamp: it tells sleep that somebody wants the server. Then the
//! reading, then the write where it says zero. Sleep writes zero first and reads the stamp afterwards, so one of the two
//! always sees the other.

use fluidity_control_plane::answer::Answer;
use fluidity_control_plane::ecs::Stamp;
use fluidity_control_plane::error::Error;
use fluidity_control_plane::lambda::Function;
use fluidity_control_plane::plane::Plane;
use fluidity_control_plane::request::Call;
use fluidity_control_plane::service::{Service, State, Task};
use std::time::Duration;

/// `POST /wake`.
pub(crate) struct Wake;

impl Function for Wake {
    const NAME: &'static str = "wake";
    /// API Gateway gives up after 29 s, Lambda after 30 s.
    const BUDGET: Duration = Duration::from_secs(25);

    async fn call(plane: &Plane, _: &Call) -> Result<Answer, Error> {
        let ecs = &plane.aws.ecs;
        ecs.stamp(Stamp::Wake, plane.now()).await?;
        let service = ecs.describe().await?;
        if service.counts.desired == 0 {
            ecs.stamp(Stamp::Start, plane.now()).await?;
            let counts = ecs.set_desired(1).await?;
            return Ok(Answer::new(State::Starting, counts, "starting now"));
        }
        progress(plane, &service, &ecs.tasks().await?).await
    }
}

/// How far a service is that should run.
async fn progress(plane: &Plane, service: &Service, tasks: &[Task]) -> Result<Answer, Error> {
    let state = plane.state(service, tasks);
    let mut answer = Answer::new(state, service.counts, message(plane, service, tasks, state));
    if state != State::Running {
        return Ok(answer);
    }
    // The server is up either way: without its address the agent still has the last one.
    match plane.endpoint(tasks).await {
        Ok(Some(endpoint)) => answer.endpoint = Some(endpoint),
        Ok(None) => {
            answer.retry_after = ADDRESS_POLL;
            answer.message = "running, without a public address yet".to_owned();
        }
        Err(error) => {
            tracing::warn!(%error, detail = error.detail, "the address cannot be read");
            answer.retry_after = ADDRESS_POLL;
            answer.message = format!("running, but its address is not known: {error}");
        }
    }
    Ok(answer)
}

fn message(plane: &Plane, service: &Service, tasks: &[Task], state: State) -> String {
    let waited = service
        .waiting_since(tasks)
        .map_or(0, |since| plane.now().since(since).as_secs());
    let mut message = match state {
        State::Running => return "running".to_owned(),
        State::Failed => format!("not running after {waited} s"),
        _ => format!("starting for {waited} s"),
    };
    if service.failed_attempts > 0 || state == State::Failed {
        let event = service.latest_event.as_deref().unwrap_or("ECS says nothing");
        message.push_str(&format!("; {} attempts failed; {event}", service.failed_attempts));
    }
    message
}

/// A task that runs gets its address within seconds.
const ADDRESS_POLL: Duration = Duration::from_secs(2);
