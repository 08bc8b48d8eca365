//! The commands for authors of plugins: they make a plugin, check it, build it again whenever it is
//! saved, test its component, and put it into a host's folder.

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]

pub mod add;
pub mod check;
pub mod dev;
mod install;
pub mod new;
mod package;
mod sdk;
pub mod test;
pub mod test_host;

/// The compilation target of plugins.
const GUEST_TARGET: &str = "wasm32-wasip2";

/// Advice if that target is missing.
const MISSING_TARGET: &str = "the target wasm32-wasip2 is missing; get it by `rustup target add \
    wasm32-wasip2`";

/// Returns true if the Rust toolchain in use here says that it cannot compile plugins. If there is
/// no toolchain, cargo's own error says so.
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
