//! A call of a function as a span, with its calls to AWS below it.
//!
//! The trace is the caller's own where it says so in `traceparent`, and X-Ray's of the invocation otherwise. A function
//! stands still between two calls, so spans are sent before it answers.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use fluidity_trace::{Exporter, Span, TraceParent};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};

tokio::task_local! {
    /// The call that this task serves.
    static CALL: Arc<Span>;
}

/// Exports spans, where the environment asks for it.
pub(crate) fn start(function: &'static str) -> Option<Exporter> {
    let service = match function {
        "wake" => "fluidity-wake",
        "sleep" => "fluidity-sleep",
        "kill" => "fluidity-kill",
        _ => "fluidity-control-plane",
    };
    fluidity_trace::start(service, env!("CARGO_PKG_VERSION")).unwrap_or_else(|error| {
        tracing::warn!(function, %error, "spans are not exported");
        None
    })
}

/// The span of a call.
pub(crate) fn called(function: &'static str, event: &LambdaEvent<Value>) -> Span {
    let mut span = Span::server(function, || parent(&event.payload, &event.context));
    span.set("faas.invocation_id", || event.context.request_id.clone());
    span
}

/// Does a call's work as a part of its span, which ends with it.
pub(crate) async fn within<T>(span: Span, call: impl Future<Output = T>) -> T {
    CALL.scope(Arc::new(span), call).await
}

/// Who caused the call.
fn parent(event: &Value, context: &Context) -> Option<TraceParent> {
    let headers = event.get("headers").and_then(Value::as_object);
    let asked = headers.and_then(|headers| {
        let (_, value) = headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("traceparent"))?;
        TraceParent::from_text(value.as_str()?)
    });
    asked.or_else(|| TraceParent::from_xray(context.xray_trace_id.as_deref()?))
}

/// Makes a span of each call to AWS, all its attempts together.
#[derive(Debug)]
pub(crate) struct CallSpans;

#[derive(Debug)]
struct CallSpan(Mutex<Span>);

impl Storable for CallSpan {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for CallSpans {
    fn name(&self) -> &'static str {
        "CallSpans"
    }

    /// Before this, the operation has not got its name yet.
    fn read_before_serialization(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Not every call is made for somebody: credentials are also fetched at the start.
        let Ok(call) = CALL.try_with(Arc::clone) else {
            return Ok(());
        };
        let span = match config.load::<Metadata>() {
            Some(called) => {
                let (service, operation) = (called.service().to_owned(), called.name().to_owned());
                let mut span = call.client(format!("{service}.{operation}"));
                span.set("rpc.system", || "aws-api");
                span.set("rpc.service", || service);
                span.set("rpc.method", || operation);
                span
            }
            None => call.client("AWS"),
        };
        config.interceptor_state().store_put(CallSpan(Mutex::new(span)));
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(CallSpan(span)) = config.load::<CallSpan>() {
            let mut span = std::mem::take(&mut *span.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(Err(error)) = context.output_or_error() {
                let kind = match error {
                    error if error.is_operation_error() => "refused",
                    error if error.is_timeout_error() => "timeout",
                    error if error.is_connector_error() => "unreachable",
                    _ => "failed",
                };
                span.fail(kind);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn context(xray: Option<&str>) -> Context {
        let mut context = Context::default();
        context.xray_trace_id = xray.map(str::to_owned);
        context
    }

    #[test]
    fn the_callers_trace_goes_before_the_invocations() {
        let xray = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let asked = json!({"headers": {"Traceparent": TRACE}});
        let caused = |event: &Value, xray| parent(event, &context(xray));
        assert_eq!(caused(&asked, Some(xray)), TraceParent::from_text(TRACE));
        assert_eq!(caused(&json!({}), Some(xray)), TraceParent::from_xray(xray));
        let bad = json!({"headers": {"traceparent": "00-"}});
        assert_eq!(caused(&bad, Some(xray)), TraceParent::from_xray(xray));
        assert_eq!(caused(&json!({"headers": null}), None), None);
    }
}
