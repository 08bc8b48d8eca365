//! The second way to the target, for machines that reach a Debian mirror but not rustup's server.
//! Debian has the sources of the standard library and a C library for WASI; they are compiled here
//! into what rustup would have downloaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::apt::{Mirror, Suite, is_unreachable};
use super::{Toolchain, rustc};
use crate::process::{Outcome, capture, cargo, is_installed, run, run_within};
use crate::workspace::{GUEST_TARGET, Workspace, create_folder, entries, remove_folder};

/// Suites that may have the packages, those with small lists first. Backports keep several versions
/// of Rust beside each other.
const SUITES: [&str; 5] = ["trixie-backports", "forky-backports", "trixie", "forky", "sid"];

/// Files that links need besides the standard library: start-up code and the C library.
const C_FILES: [&str; 3] = ["crt1-command.o", "crt1-reactor.o", "libc.a"];

/// Time limit for compiling the standard library, with a few downloads by cargo. It takes 20 s on
/// two cores.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// The crate whose build compiles the standard library, as cargo names its file.
const EMPTY_CRATE: &str = "empty";

/// Name of the file that tells who made the target's folder; rustup does not know of it.
const NOTE: &str = "BUILT-BY-WHARF-SETUP.txt";

/// Builds the target from Debian's packages and puts it into the toolchain.
pub fn install(workspace: &Workspace, toolchain: &Toolchain) -> Outcome {
    for program in ["apt-get", "apt-cache", "dpkg-deb", "tar"] {
        if !is_installed(program) {
            return Err(format!(
                "`{program}` is not installed; this way is for Debian and its kin"
            ));
        }
    }
    // The folder is made in the toolchain, since a rename, the last step, does not cross file
    // systems.
    let rustlib = toolchain.rustlib();
    let partial = rustlib.join(format!(".{GUEST_TARGET}.partial"));
    remove_folder(&partial)?;
    create_folder(&partial).map_err(|e| format!("{e} (the toolchain must be writable)"))?;
    let work = workspace.scratch("setup/debian")?;
    let installed = build(toolchain, &work, &partial, &workspace.root).and_then(|()| {
        let place = rustlib.join(GUEST_TARGET);
        // An incomplete target may be there: this is not reached with a complete one.
        remove_folder(&place)?;
        fs::rename(&partial, &place).map_err(|e| format!("cannot write {}: {e}", place.display()))
    });
    remove_folder(&partial)?;
    if installed.is_ok() {
        // Hundreds of megabytes that are not needed any more. After a failure they may explain it.
        remove_folder(&work)?;
    }
    installed
}

fn build(toolchain: &Toolchain, work: &Path, partial: &Path, root: &Path) -> Outcome {
    let compiler = Compiler::in_use()?;
    let mut source = Source::present(toolchain)?;
    let packages = find(&compiler, source.is_none(), work)?;
    let lib = partial.join("lib");
    let c_library = lib.join("self-contained");
    create_folder(&c_library)?;
    for name in C_FILES {
        copy(&packages.c_library.join(name), &c_library.join(name))?;
    }
    if let Some(archive) = &packages.source {
        println!("setup:   unpacking the standard library's sources");
        source = Some(Source::place(toolchain, archive, &compiler.version)?);
    }
    println!("setup:   compiling the standard library (about 20 seconds on two cores)");
    let folder = toolchain.rustlib().join("src").join("rust");
    let archives = compile(&compiler, &folder, work, root)?;
    drop(source);
    copy_archives(&archives, &lib)?;
    let note = partial.join(NOTE);
    let text = format!(
        "Made by `cargo xtask setup` from the Debian packages\n{}\n\
         rustup does not know of it. Before `rustup target add {GUEST_TARGET}`, remove this \
         folder.\n",
        packages.names.join("\n")
    );
    fs::write(&note, text).map_err(|e| format!("cannot write {}: {e}", note.display()))
}

/// The compiler that the standard library must fit.
struct Compiler {
    /// Release, such as `1.95.0`.
    version: String,
    /// The commit, by which official builds name their source files.
    commit: String,
}

impl Compiler {
    fn in_use() -> Outcome<Self> {
        let text = capture(rustc().arg("-vV"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::to_owned).ok_or_else(|| format!("`rustc -vV` does not tell its `{name}`"))
        };
        Ok(Compiler { version: field("release: ")?, commit: field("commit-hash: ")? })
    }
}

/// The packages fetched from Debian.
struct Packages {
    /// The package with the standard library's sources, unless the toolchain has them.
    source: Option<PathBuf>,
    /// The folder with the C library, unpacked.
    c_library: PathBuf,
    /// Names and versions, for the note.
    names: Vec<String>,
}

/// Looks through the mirrors and suites until both packages are found, and fetches them.
fn find(compiler: &Compiler, source_wanted: bool, work: &Path) -> Outcome<Packages> {
    let mirrors = Mirror::of_this_machine()?;
    if mirrors.is_empty() {
        return Err("the apt sources of this machine name no Debian archive".to_owned());
    }
    let mut search = Search { source_wanted, ..Search::default() };
    for mirror in &mirrors {
        for name in SUITES {
            println!("setup:   looking through Debian's {name}");
            match Suite::fetch(mirror, name, work.join(name)) {
                Ok(suite) => search.look_through(&suite, compiler, work)?,
                Err(failure) => {
                    search.tried.push(format!("{name}: {failure}"));
                    if is_unreachable(&failure) {
                        break;
                    }
                }
            }
            if let Some(packages) = search.found() {
                return Ok(packages);
            }
        }
    }
    Err(format!(
        "rust-src {} and wasi-libc with {GUEST_TARGET} were not found:\n  {}",
        compiler.version,
        search.tried.join("\n  ")
    ))
}

/// The packages that have been found so far, and the reasons why others have not.
#[derive(Default)]
struct Search {
    source_wanted: bool,
    source: Option<PathBuf>,
    c_library: Option<PathBuf>,
    names: Vec<String>,
    tried: Vec<String>,
}

impl Search {
    /// Downloads those of the missing packages that a suite has.
    fn look_through(&mut self, suite: &Suite, compiler: &Compiler, work: &Path) -> Outcome {
        let Compiler { version: release, .. } = compiler;
        if self.source_wanted && self.source.is_none() {
            let versions = suite.versions("rust-src")?;
            if let Some(version) = versions.iter().find(|v| is_of(v, release)) {
                self.source = Some(suite.download("rust-src", version)?);
                self.names.push(format!("rust-src {version}"));
            } else {
                let have = match versions.is_empty() {
                    true => "none at all".to_owned(),
                    false => versions.join(", "),
                };
                self.tried.push(format!("{}: no rust-src {release}; it has {have}", suite.name));
            }
        }
        if self.c_library.is_none() {
            let newest = suite.versions("wasi-libc")?.into_iter().next();
            self.c_library = match &newest {
                Some(version) => fetch_c_library(suite, version, work)?,
                None => None,
            };
            match (newest, &self.c_library) {
                (Some(version), Some(_)) => self.names.push(format!("wasi-libc {version}")),
                (Some(version), None) => self.tried.push(format!(
                    "{}: wasi-libc {version} is too old for {GUEST_TARGET}",
                    suite.name
                )),
                (None, _) => self.tried.push(format!("{}: no wasi-libc", suite.name)),
            }
        }
        Ok(())
    }

    /// Returns all packages, once none is missing.
    fn found(&self) -> Option<Packages> {
        if self.source_wanted && self.source.is_none() {
            return None;
        }
        Some(Packages {
            source: self.source.clone(),
            c_library: self.c_library.clone()?,
            names: self.names.clone(),
        })
    }
}

/// Downloads and unpacks the C library; `None` if it is too old to know the target.
fn fetch_c_library(suite: &Suite, version: &str, work: &Path) -> Outcome<Option<PathBuf>> {
    let package = suite.download("wasi-libc", version)?;
    let folder = work.join("wasi-libc");
    remove_folder(&folder)?;
    run(Command::new("dpkg-deb").arg("-x").args([&package, &folder]))?;
    let libraries = folder.join("usr/lib").join(GUEST_TARGET);
    let complete = C_FILES.iter().all(|name| libraries.join(name).is_file());
    Ok(complete.then_some(libraries))
}

/// Returns true if a Debian version such as `1.95.0+dfsg1-2~bpo13+1` is of the release `1.95.0`,
/// not of one of its betas.
fn is_of(version: &str, release: &str) -> bool {
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    let addition = upstream.strip_prefix(release);
    addition.is_some_and(|rest| rest.starts_with(['+', '-']))
}

/// The standard library's sources in the toolchain, at the path that cargo reads. Sources that were
/// put there for this build are removed again: rustup would stumble over files it does not know.
struct Source {
    /// Folder to remove; `None` if rustup put the sources there.
    ours: Option<PathBuf>,
}

impl Source {
    /// Returns the sources that are there already, if any.
    fn present(toolchain: &Toolchain) -> Outcome<Option<Self>> {
        let folder = toolchain.rustlib().join("src").join("rust");
        if folder.join(NOTE).exists() {
            // A run that was killed left it, perhaps for a compiler of another version.
            remove_folder(&folder)?;
        }
        let present = folder.join("library").join("std").is_dir();
        Ok(present.then_some(Source { ours: None }))
    }

    /// Unpacks the sources of a Debian package into the toolchain.
    fn place(toolchain: &Toolchain, package: &Path, version: &str) -> Outcome<Self> {
        let parent = toolchain.rustlib().join("src");
        let partial = parent.join(".rust.partial");
        remove_folder(&partial)?;
        create_folder(&partial)?;
        let unpacking = Source { ours: Some(partial.clone()) };
        let mut archive = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(package)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start `dpkg-deb`: {e}"))?;
        let bytes = archive.stdout.take().map_or(Stdio::null(), Stdio::from);
        let unpacked = run(Command::new("tar")
            .args(["-x", "--strip-components=4", "-C"])
            .arg(&partial)
            .arg(format!("./usr/src/rustc-{version}/library"))
            .stdin(bytes));
        let ended = archive.wait();
        unpacked?;
        if !ended.is_ok_and(|status| status.success()) {
            return Err(format!("`dpkg-deb` could not unpack {}", package.display()));
        }
        let folder = parent.join("rust");
        let note = partial.join(NOTE);
        fs::write(&note, "Safe to remove: `cargo xtask setup` was stopped.\n")
            .map_err(|e| format!("cannot write {}: {e}", note.display()))?;
        fs::rename(&partial, &folder)
            .map_err(|e| format!("cannot write {}: {e}", folder.display()))?;
        drop(unpacking);
        Ok(Source { ours: Some(folder) })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(folder) = &self.ours {
            if let Err(failure) = remove_folder(folder) {
                eprintln!("warning: {failure}");
            }
            // This fails if something else is in the folder, which must stay then.
            let _ = folder.parent().map(fs::remove_dir);
        }
    }
}

/// Compiles the standard library along with an empty crate. Returns the folder of the archives.
fn compile(compiler: &Compiler, source: &Path, work: &Path, root: &Path) -> Outcome<PathBuf> {
    let folder = work.join(EMPTY_CRATE);
    remove_folder(&folder)?;
    create_folder(&folder.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"{EMPTY_CRATE}\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [profile.release]\ndebug = false\n"
    );
    for (name, text) in [("Cargo.toml", manifest.as_str()), ("src/lib.rs", "")] {
        let file = folder.join(name);
        fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    }
    let target = folder.join("target");
    // Link-time optimisation works on bitcode. Files are named as in official builds, so that
    // panics in plugins do not tell the toolchain's path on this machine.
    let flags = format!(
        "-Cembed-bitcode=yes\x1f--remap-path-prefix={}=/rustc/{}",
        source.display(),
        compiler.commit
    );
    let mut command = cargo(&["build", "--release", "--target", GUEST_TARGET]);
    command
        .arg("-Zbuild-std=std,panic_abort")
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        // rustup chooses the toolchain by this folder; the target folder may be anywhere.
        .current_dir(root)
        .stdin(Stdio::null())
        // A released compiler builds its standard library only with this variable.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("CARGO_BUILD_TARGET_DIR");
    run_within(&mut command, BUILD_LIMIT)?;
    Ok(target.join(GUEST_TARGET).join("release").join("deps"))
}

/// Copies the standard library's archives, without that of the empty crate.
fn copy_archives(from: &Path, to: &Path) -> Outcome {
    let own = format!("lib{EMPTY_CRATE}-");
    let names = entries(from)?;
    let archives: Vec<&String> =
        names.iter().filter(|name| name.ends_with(".rlib") && !name.starts_with(&own)).collect();
    for library in ["core", "alloc", "std", "panic_abort"] {
        let start = format!("lib{library}-");
        if !archives.iter().any(|name| name.starts_with(&start)) {
            return Err(format!("the build of the standard library made no `{library}`"));
        }
    }
    for name in archives {
        copy(&from.join(name), &to.join(name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Outcome {
    match fs::copy(from, to) {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("cannot copy {} to {}: {e}", from.display(), to.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_fits_a_release_exactly() {
        for fitting in ["1.95.0+dfsg1-2~bpo13+1", "1.95.0-1", "2:1.95.0+dfsg1-1"] {
            assert!(is_of(fitting, "1.95.0"), "{fitting}");
        }
        for other in [
            "1.95.1+dfsg1-1",
            "1.95.0~beta.3+dfsg1-1",
            "1.9.0-1",
            "1.95.01-1",
            "11.95.0-1",
            "1.95.0",
        ] {
            assert!(!is_of(other, "1.95.0"), "{other}");
        }
    }
}
