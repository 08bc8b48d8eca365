//! Makes the `wasm32-wasip2` target work: finds it, or has rustup download it, or builds it
//! from Debian's packages, and proves the result by compiling a small component.

mod rustup;

mod debian;

mod apt;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use crate::process::{Outcome, capture};
use crate::workspace::{GUEST_TARGET, Workspace, entries, remove_folder, write_by_rename};

pub const HELP: &str = "\
Make the wasm32-wasip2 target work, so that plugins can be compiled.

Usage: cargo xtask setup

Does nothing where the target works already. Otherwise tries in turn:

  1. `rustup target add wasm32-wasip2`
  2. on Debian: the standard library's sources and the C library from the Debian mirror that
     apt uses on this machine, compiled here in about half a minute; no root needed

and then compiles a small component as proof. After a change of the target, plugins compiled
against the old one are removed from the target folder. Stopping it half-way is harmless.
docs/set-up.md says more.
";

/// The program that is compiled as proof: it needs the allocator, the clock, random numbers and
/// standard output.
const PROOF: &str = r#"
use std::collections::HashMap;
use std::time::SystemTime;

#[unsafe(no_mangle)]
pub extern "C" fn proof() {
    println!("{:?}", HashMap::from([(SystemTime::now(), "now")]));
}
"#;

/// The first bytes of a component: wasm's magic number, then the component model's version and
/// layer.
const COMPONENT_START: [u8; 8] = *b"\0asm\x0d\0\x01\0";

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    if let Some(unknown) = arguments.first() {
        return Err(format!("`cargo xtask setup` takes no `{unknown}`\n\n{HELP}"));
    }
    ensure(workspace)?;
    println!("setup: {GUEST_TARGET} works");
    Ok(())
}

/// Makes the target work. If it works already, this costs one call of `rustc`.
pub fn ensure(workspace: &Workspace) -> Outcome {
    let toolchain = Toolchain::in_use()?;
    let proven = workspace.scratch("setup")?.join("proven");
    if let Some(std) = toolchain.guest_std()?
        && fs::read_to_string(&proven).is_ok_and(|before| before == std)
    {
        return Ok(());
    }
    let _lock = lock(workspace, &toolchain)?;
    // Another run may have done it while this one waited for the lock.
    let std = match toolchain.guest_std()? {
        Some(std) => std,
        None => {
            install(workspace, &toolchain)?;
            toolchain.guest_std()?.ok_or_else(|| {
                format!(
                    "{GUEST_TARGET} was installed, but not for the toolchain in use, {}; is \
                     another `rustc` before rustup's on the PATH? If its files were removed by \
                     hand: `rustup target remove {GUEST_TARGET}`, then run this again",
                    toolchain.sysroot.display()
                )
            })?
        }
    };
    prove(workspace, &toolchain)?;
    // Cargo does not notice that the standard library has changed, and would mix the two.
    let guests = workspace.target.join(GUEST_TARGET);
    if guests.exists() {
        println!("setup: removing plugins that were compiled against another standard library");
        let doomed = workspace.scratch("setup")?.join("stale-guests");
        remove_folder(&doomed)?;
        fs::rename(&guests, &doomed)
            .map_err(|e| format!("cannot remove {}: {e}", guests.display()))?;
        remove_folder(&doomed)?;
    }
    // Written last: an interrupted run starts again from the top.
    write_by_rename(&proven, std.as_bytes())
}

/// The Rust toolchain that compiles plugins.
pub struct Toolchain {
    /// Its folder, with `bin/` and `lib/`.
    pub sysroot: PathBuf,
}

impl Toolchain {
    fn in_use() -> Outcome<Self> {
        let sysroot = capture(rustc().args(["--print", "sysroot"]))?;
        Ok(Toolchain { sysroot: PathBuf::from(sysroot.trim_end()) })
    }

    /// Returns the folder with one folder for each installed target.
    pub fn rustlib(&self) -> PathBuf {
        self.sysroot.join("lib").join("rustlib")
    }

    /// Returns a text that names the target's standard library, and changes whenever it does;
    /// `None` if the target is not installed.
    fn guest_std(&self) -> Outcome<Option<String>> {
        let folder = self.rustlib().join(GUEST_TARGET).join("lib");
        if !folder.join("self-contained").join("libc.a").is_file() {
            return Ok(None);
        }
        let is_std = |name: &String| name.starts_with("libstd-") && name.ends_with(".rlib");
        let Some(name) = entries(&folder)?.into_iter().find(is_std) else {
            return Ok(None);
        };
        let file = folder.join(name);
        let written = fs::metadata(&file).and_then(|m| Ok((m.len(), m.modified()?)));
        let (size, time) = written.map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Some(format!("{}\n{size} bytes\n{} ns\n", file.display(), time.as_nanos())))
    }
}

/// Returns the `rustc` that cargo would use.
pub fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Tries the ways to the target in turn.
fn install(workspace: &Workspace, toolchain: &Toolchain) -> Outcome {
    println!("setup: {GUEST_TARGET} is not installed in {}", toolchain.sysroot.display());
    println!("setup: trying `rustup target add {GUEST_TARGET}`");
    let Err(no_rustup) = rustup::install() else {
        return Ok(());
    };
    println!("setup: {no_rustup}");
    println!("setup: building it from Debian's packages instead");
    let Err(no_debian) = debian::install(workspace, toolchain) else {
        return Ok(());
    };
    Err(format!(
        "the {GUEST_TARGET} target is missing, and could not be installed.\n\n\
         Tried `rustup target add {GUEST_TARGET}`:\n  {no_rustup}\n\n\
         Tried Debian's packages:\n  {no_debian}\n\n\
         What to do next: make one of the two work, and run `cargo xtask setup` again.\n\
         - With a network: run `rustup target add {GUEST_TARGET}` and look at what it says. \
         Behind a proxy, set `https_proxy`; for a mirror, set `RUSTUP_DIST_SERVER`.\n\
         - With a Rust of the distribution's own, install the package with its \
         standard library for WebAssembly (Debian: `libstd-rust-dev-wasm32`).\n\
         - docs/set-up.md tells what the second way needs."
    ))
}

/// Compiles a small component as plugins are compiled: with link-time optimisation.
fn prove(workspace: &Workspace, toolchain: &Toolchain) -> Outcome {
    let folder = workspace.scratch("setup")?;
    let source = folder.join("proof.rs");
    let component = folder.join("proof.wasm");
    let written = fs::write(&source, PROOF);
    written.map_err(|e| format!("cannot write {}: {e}", source.display()))?;
    capture(
        rustc()
            .args(["--edition", "2024", "--crate-type", "cdylib", "-O", "-Clto=fat"])
            .args(["--target", GUEST_TARGET, "-o"])
            .args([&component, &source]),
    )
    .map_err(|failure| {
        format!(
            "{GUEST_TARGET} is installed, but a small component does not compile:\n{failure}\n\n\
             Remove the target and run `cargo xtask setup` again:\n    \
             rustup target remove {GUEST_TARGET}\n    rm -r {}",
            toolchain.rustlib().join(GUEST_TARGET).display()
        )
    })?;
    let bytes = fs::read(&component).unwrap_or_default();
    if !bytes.starts_with(&COMPONENT_START) {
        return Err(format!(
            "`rustc --target {GUEST_TARGET}` made a file that is not a component: {}",
            component.display()
        ));
    }
    Ok(())
}

/// Keeps two runs from changing one toolchain at the same time. Dropping the file releases the
/// lock, and so does the end of the process.
fn lock(workspace: &Workspace, toolchain: &Toolchain) -> Outcome<File> {
    // The lock lies in the toolchain, since several checkouts may share it. If that cannot be
    // written, nothing can be installed into it either, and only this checkout's files are at
    // stake.
    let in_toolchain = toolchain.rustlib().join(".wharf-setup.lock");
    let in_target = workspace.scratch("setup")?.join("lock");
    let file = open_lock(&in_toolchain)
        .or_else(|_| open_lock(&in_target))
        .map_err(|e| format!("cannot write {}: {e}", in_target.display()))?;
    let locked = match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            println!("setup: waiting for another set-up of this toolchain to finish");
            file.lock()
        }
        Err(TryLockError::Error(e)) => Err(e),
    };
    locked.map_err(|e| format!("cannot lock the toolchain: {e}"))?;
    Ok(file)
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    File::options().create(true).append(true).open(path)
}
