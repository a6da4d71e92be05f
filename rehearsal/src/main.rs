//! The rehearsal on the command line.

use std::process::ExitCode;

use clap::Parser;

/// The world in which a whole release runs, and the driver that reads the production workflow.
#[derive(Parser)]
#[command(version)]
enum Command {
    Drive(rehearsal::driver::Options),
}

#[tokio::main]
async fn main() -> std::io::Result<ExitCode> {
    match Command::parse() {
        Command::Drive(options) => {
            rehearsal::driver::drive(&options, Box::new(std::io::stdout())).await.map(ExitCode::from)
        }
    }
}
