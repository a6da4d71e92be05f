//! The rehearsal on the command line.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use rehearsal::{driver, rehearse, world};

/// The world in which a whole release runs, and the driver that reads the production workflow.
#[derive(Parser)]
#[command(version)]
enum Command {
    Rehearse(rehearse::Options),
    Drive(driver::Options),
    World(world::Options),
    /// Stops the world; its state stays
    Stop(world::StateOptions),
    /// Stops the world and forgets its state
    Reset(world::StateOptions),
    /// What runs in a task of the world's service
    #[command(hide = true, disable_version_flag = true)]
    App(testkit::app::AppOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Command::parse() {
        Command::Drive(options) => {
            driver::drive(&options, Box::new(std::io::stdout())).await.map(ExitCode::from)
        }
        Command::Rehearse(options) => rehearse::rehearse(&options).await.map(ExitCode::from),
        Command::World(options) => world::world(&options).await.map(|()| ExitCode::SUCCESS),
        Command::Stop(options) => world::stop(&options).await.map(|()| ExitCode::SUCCESS),
        Command::Reset(options) => world::reset(&options).await.map(|()| ExitCode::SUCCESS),
        Command::App(options) => Ok(testkit::app::run(options).await),
    };
    ended.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error}");
        ExitCode::FAILURE
    })
}
