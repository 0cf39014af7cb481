//! The binary: parse, dispatch, exit code.

fn main() -> std::process::ExitCode {
    // Mesa's device selection layer asks a display for its card, and complains on machines that have none.
    #[cfg(target_os = "linux")]
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    vggkit::cli::main(std::env::args_os())
}
