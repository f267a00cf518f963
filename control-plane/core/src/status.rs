//! How far the service is, for those who want to use it. Reads, and changes nothing.

use crate::answer::Answer;
use crate::error::Error;
use crate::plane::Plane;
use crate::service::{Service, State, Tasks};
use std::time::Duration;

/// Reads the service, and answers how it stands.
pub async fn read(plane: &Plane) -> Result<Answer, Error> {
    let service = plane.aws.ecs.describe().await?;
    progress(plane, &service).await
}

/// Answers how the service stands that was just read: with its tasks, where it should have some, and their address.
pub async fn progress(plane: &Plane, service: &Service) -> Result<Answer, Error> {
    let tasks = match service.counts.desired {
        0 => Tasks::default(),
        _ => plane.aws.ecs.tasks().await?,
    };
    let state = plane.state(service, &tasks);
    let mut answer = Answer::new(state, service.counts, message(plane, service, &tasks));
    if state != State::Running {
        return Ok(answer);
    }
    // The server is up either way: without its address the agent still has the last one.
    match plane.endpoint(&tasks).await {
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

fn message(plane: &Plane, service: &Service, tasks: &Tasks) -> String {
    let waited = service
        .waiting_since(tasks)
        .map_or(0, |since| plane.now().since(since).as_secs());
    let state = plane.state(service, tasks);
    let mut message = match state {
        State::Stopped => return "stopped".to_owned(),
        State::Draining => return "stopping".to_owned(),
        State::Running => return "running".to_owned(),
        State::Starting => format!("starting for {waited} s"),
        State::Failed => format!("not running after {waited} s"),
    };
    let mut failures: Vec<_> = service.failures(tasks).collect();
    failures.sort_by_key(|ended| ended.created);
    if let Some(last) = failures.last() {
        let reason = last.reason.as_deref().unwrap_or("for no reason that ECS gives");
        message.push_str(&format!(
            "; {} attempts failed, the last: {reason}",
            failures.len()
        ));
    } else if state == State::Failed {
        let event = service
            .latest_event
            .as_deref()
            .unwrap_or("ECS says nothing about it");
        message.push_str(&format!("; {event}"));
    }
    message
}

/// A task that runs gets its address within seconds.
const ADDRESS_POLL: Duration = Duration::from_secs(2);
