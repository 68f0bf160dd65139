//! The `skuflow` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    skuflow::cli::main()
}
