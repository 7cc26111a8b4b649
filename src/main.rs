//! The program: hands the command line to the library and turns its answer into the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(onggi::cli::main(std::env::args_os()))
}
