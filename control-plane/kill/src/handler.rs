//! Stops the server now, whatever it does. Safe to repeat.

use fluidity_control_plane::answer::Answer;
use fluidity_control_plane::ecs::{Ecs, Stamp};
use fluidity_control_plane::error::Error;
use fluidity_control_plane::lambda::Function;
use fluidity_control_plane::plane::Plane;
use fluidity_control_plane::request::Call;
use fluidity_control_plane::service::State;
use std::time::Duration;

/// `POST /kill`, and every night.
pub(crate) struct Kill;

impl Function for Kill {
    const NAME: &'static str = "kill";
    /// API Gateway gives up after 29 s, Lambda after 30 s.
    const BUDGET: Duration = Duration::from_secs(25);

    async fn call(plane: &Plane, _: &Call) -> Result<Answer, Error> {
        let ecs = &plane.aws.ecs;
        if !stamped(ecs, plane).await {
            tracing::warn!("without its stamp, a sleep that runs at this moment may undo the kill");
        }
        let counts = ecs.set_desired(0).await?;
        let state = counts.state_at_zero();
        let message = match state {
            State::Draining => "stopping now",
            _ => "stopped",
        };
        Ok(Answer::new(state, counts, message))
    }
}

/// Leaves the stamp, but never at the price of the kill itself.
async fn stamped(ecs: &Ecs, plane: &Plane) -> bool {
    match tokio::time::timeout(STAMP, ecs.stamp(Stamp::Kill, plane.now())).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, detail = error.detail(), "the kill leaves no stamp");
            false
        }
        Err(_) => false,
    }
}

const STAMP: Duration = Duration::from_secs(5);
