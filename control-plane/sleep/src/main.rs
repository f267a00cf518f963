//! The sleep Lambda. See `handler.rs`.

mod handler;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    fluidity_control_plane::lambda::run::<handler::Sleep>().await
}
