//! The application of the test worlds as an executable of its own, for tests that start it as a task.

use std::process::ExitCode;

use clap::Parser as _;

#[derive(clap::Parser)]
#[command(name = "app")]
struct Application {
    #[command(flatten)]
    options: testkit::app::AppOptions,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    testkit::app::run(Application::parse().options).await
}
