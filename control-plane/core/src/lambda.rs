//! The frame around each function: environment in, events in, answers out, one line in the log for each call, and a
//! deadline that is kept before Lambda's own would cut.

use crate::answer::{Answer, failure_to_proxy};
use crate::config::Config;
use crate::error::Error;
use crate::logs;
use crate::plane::Plane;
use crate::request::{Call, InvalidRequest, Source};
use crate::spans;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, Runtime, service_fn};
use serde_json::{Value, json};
use std::future::Future;
use std::time::{Duration, Instant, SystemTime};
use tracing::Instrument as _;

/// One of the functions.
pub trait Function {
    /// Its name, in the log.
    const NAME: &'static str;
    /// How long it may take. Less than its limit in Lambda, and in API Gateway.
    const BUDGET: Duration;
    /// Whether it can be asked how the service stands without doing anything.
    const ANSWERS_STATUS: bool = false;

    /// Does the work once.
    fn call(plane: &Plane, call: &Call) -> impl Future<Output = Result<Answer, Error>> + Send;
}

/// Serves Lambda until it ends the process.
///
/// # Errors
/// When the environment is wrong, or Lambda's runtime interface goes away.
pub async fn run<F: Function>() -> Result<(), lambda_runtime::Error> {
    let config = Config::from_env().inspect_err(|error| {
        logs::start(crate::config::LogLevel::Info);
        tracing::error!(function = F::NAME, %error, "cannot start");
    })?;
    logs::start(config.log_level);
    let plane = Plane::from_env(config)
        .await
        .inspect_err(|error| tracing::error!(function = F::NAME, %error, "cannot start"))?;
    let exporter = spans::start(F::NAME);
    let (plane, exporter) = (&plane, exporter.as_ref());
    let serve = |event: LambdaEvent<Value>| async move {
        let span = tracing::info_span!(
            "invocation",
            function = F::NAME,
            requestId = event.context.request_id
        );
        let called = spans::called(F::NAME, &event);
        let serving = Box::pin(serve::<F>(plane, event).instrument(span));
        let answered = spans::within(called, serving).await;
        if let Some(exporter) = exporter {
            exporter.flush().await;
        }
        answered
    };
    Runtime::new(service_fn(serve)).run().await
}

/// One call, from event to answer. Only a direct or scheduled call may end in an `Err`: there, it makes Lambda count an
/// error. To API Gateway, an error is an answer too.
pub async fn serve<F: Function>(plane: &Plane, event: LambdaEvent<Value>) -> Result<Value, Failure> {
    let LambdaEvent { payload, context } = event;
    let source = Source::of(&payload);
    let began = Instant::now();
    let result = within::<F>(plane, source, &payload, &context).await;
    log(source, &result, began.elapsed());
    match (source, result) {
        (Source::Gateway, Ok(answer)) => Ok(answer.to_proxy()),
        (Source::Gateway, Err(error)) => Ok(failure_to_proxy(&error, &context.request_id)),
        (_, Ok(answer)) => Ok(json!(answer)),
        (_, Err(error)) => Err(Failure(error)),
    }
}

async fn within<F: Function>(
    plane: &Plane,
    source: Source,
    payload: &Value,
    context: &Context,
) -> Result<Answer, Error> {
    let call = Call::parse(source, payload, &plane.config)?;
    if call.status_only && !F::ANSWERS_STATUS {
        return Err(InvalidRequest::StatusOnly.into());
    }
    if let Some(reason) = &call.reason {
        tracing::info!(%reason, "called with a reason");
    }
    let left = context
        .deadline()
        .duration_since(SystemTime::now())
        .unwrap_or_default()
        .saturating_sub(RESERVE);
    let budget = F::BUDGET.min(left);
    tokio::time::timeout(budget, F::call(plane, &call))
        .await
        .unwrap_or(Err(Error::Deadline(budget)))
}

/// The one line of each call. `alarm` is there only when a person should look.
fn log(source: Source, result: &Result<Answer, Error>, took: Duration) {
    let (source, took) = (source.word(), took.as_millis());
    match result {
        Ok(answer) => {
            let decision = answer
                .decision
                .as_ref()
                .map(|decision| json!(decision).to_string());
            let state = json!(answer.state);
            macro_rules! line {
                ($level:expr, $($extra:tt)*) => {
                    tracing::event!(
                        $level,
                        source,
                        took_ms = took,
                        state = state.as_str(),
                        desired = answer.desired_count,
                        running = answer.running_count,
                        pending = answer.pending_count,
                        endpoint = answer.endpoint.is_some(),
                        decision,
                        answer = answer.message,
                        $($extra)*
                        "done"
                    )
                };
            }
            match answer.alarm {
                Some(alarm) => line!(tracing::Level::WARN, alarm = alarm.word(),),
                None => line!(tracing::Level::INFO,),
            }
        }
        Err(error @ Error::Invalid(_)) => {
            tracing::info!(source, took_ms = took, error = error.word(), message = %error, "refused");
        }
        Err(error) => {
            let (word, retryable, detail) = (error.word(), error.is_retryable(), error.detail());
            tracing::error!(source, took_ms = took, error = word, retryable, detail, reason = %error, "failed");
        }
    }
}

/// An error as Lambda takes it.
#[derive(Debug)]
pub struct Failure(Error);

impl From<Failure> for Diagnostic {
    fn from(Failure(error): Failure) -> Self {
        let retryable = if error.is_retryable() {
            "retryable"
        } else {
            "not retryable"
        };
        Self {
            error_type: format!("Fluidity.{}", error.word()),
            error_message: format!("{error} ({retryable})"),
        }
    }
}

/// What is kept back of Lambda's own deadline, to answer and log in.
const RESERVE: Duration = Duration::from_secs(1);
