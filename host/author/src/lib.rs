//! What the command line does for those who write plugins: make one, look at one, build it again
//! whenever it is saved, and test what was built.

pub mod check;
pub mod dev;
pub mod new;
mod package;
mod sdk;
pub mod test;
pub mod test_host;

/// What plugins are compiled for.
const GUEST_TARGET: &str = "wasm32-wasip2";

/// What to do where that target is missing.
const MISSING_TARGET: &str = "the target wasm32-wasip2 is missing; get it by `rustup target add \
    wasm32-wasip2`";

/// Whether the Rust toolchain in use here says that it cannot compile plugins. Where there is no
/// toolchain, cargo will say so.
fn lacks_target(folder: &std::path::Path) -> bool {
    let output = std::process::Command::new("rustc")
        .args(["--print", "target-libdir", "--target", GUEST_TARGET])
        .current_dir(folder)
        .output();
    output.is_ok_and(|output| {
        let libraries = String::from_utf8_lossy(&output.stdout);
        output.status.success() && !std::path::Path::new(libraries.trim()).is_dir()
    })
}
