//! The binary: parse, dispatch, exit code.

fn main() -> std::process::ExitCode {
    vggkit::cli::main(std::env::args_os())
}
