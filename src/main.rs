//! The program: hands the command line to the library and turns its answer into the exit code.

fn main() {}
