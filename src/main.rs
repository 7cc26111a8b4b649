//! The program: hands the command line to the library and turns its answer into the exit code. Under five other
//! names it is a container's monitor, a user's network process, the holder of an exec'd program, the worker of a build, and
//! a container's process 1.

use onggi::build::worker;
use onggi::container::monitor::channel::MONITOR_NAME;
use onggi::container::network::process::{self, NETWORK_NAME};
use onggi::container::{exec, monitor, spec};
use onggi::runtime::process::reaper;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = std::env::args_os();
    ExitCode::from(match std::env::args_os().next() {
        Some(name) if name == MONITOR_NAME => monitor::main(arguments),
        Some(name) if name == worker::WORKER_NAME => worker::main(arguments),
        Some(name) if name == NETWORK_NAME => process::main(arguments),
        Some(name) if name == exec::EXEC_NAME => exec::main(arguments),
        Some(name) if spec::INIT_PATHS.iter().any(|path| name == *path) => reaper::main(arguments),
        _ => onggi::cli::main(arguments),
    })
}
