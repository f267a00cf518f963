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
use fluidity_control_plane::service::State;
use fluidity_control_plane::status;
use std::time::Duration;

/// `POST /wake`.
pub(crate) struct Wake;

impl Function for Wake {
    const NAME: &'static str = "wake";
    /// API Gateway gives up after 29 s, Lambda after 30 s.
    const BUDGET: Duration = Duration::from_secs(25);

    const ANSWERS_STATUS: bool = true;

    async fn call(plane: &Plane, call: &Call) -> Result<Answer, Error> {
        if call.status_only {
            return status::read(plane).await;
        }
        let ecs = &plane.aws.ecs;
        ecs.stamp(Stamp::Wake, plane.now()).await?;
        let service = ecs.describe().await?;
        if service.counts.desired == 0 {
            ecs.stamp(Stamp::Start, plane.now()).await?;
            let counts = ecs.set_desired(1).await?;
            return Ok(Answer::new(State::Starting, counts, "starting now"));
        }
        status::progress(plane, &service).await
    }
}
