//! Compiles the example plugins and the tests' fixtures, and puts the components where a host
//! and the tests look for them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::demo;
use crate::process::{Outcome, cargo, run};
use crate::setup;
use crate::workspace::{GUEST_TARGET, Workspace, create_folder, entries, write_by_rename};

pub const HELP: &str = "\
Compile plugins to WebAssembly components.

Usage: cargo xtask plugins [NAME...]

  NAME  A package of plugins/*, demo/* or tests/fixtures/*; all of them where none is given

The components are copied to target/plugins/NAME.wasm and target/fixtures/NAME.wasm, those of
demo/CHANNEL-VERSION to target/demo/CHANNEL@VERSION.wasm for the demo page, each in one step and only
where it has changed. So this is also how a running `cargo xtask serve` is given new code: edit
plugins/NAME/src/lib.rs, run `cargo xtask plugins` in another terminal, and the host swaps the plugin
under its open connections.
";

/// Lists the files that this command put into the output folders. It tells a plugin that was
/// deleted from one that was put there by hand.
const OUTPUT_LIST: &str = "plugins.list";

/// Fixtures that benchmarks use as well. They are compiled as the example plugins are; the other fixtures are
/// an `rlib` as well as a `cdylib`, and those are not optimised when they are linked.
const MEASURED: [&str; 2] = ["keeps", "rooms"];

/// The plugins to compile.
pub enum Selection<'a> {
    /// Example plugins and fixtures.
    All,
    /// Example plugins, and the versions of them for the demo page.
    Examples,
    /// Plugins with these names.
    Named(&'a [String]),
}

/// One crate that becomes a component.
struct Plugin {
    /// The package's name and the component's file stem.
    name: String,
    /// The folder with its `Cargo.toml`.
    source: PathBuf,
    kind: Kind,
}

/// The use of a plugin, which decides where its component goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Example,
    /// A version of an example plugin, which visitors of the demo page swap in.
    Demo,
    /// A plugin that is made for a test.
    Fixture,
}

impl Kind {
    /// Returns the kind's name in the list of outputs.
    fn name(self) -> &'static str {
        match self {
            Kind::Example => "example",
            Kind::Demo => "demo",
            Kind::Fixture => "fixture",
        }
    }
}

impl Plugin {
    /// Returns true if the plugin is optimised together with all that it uses.
    fn is_joined(&self) -> bool {
        self.kind != Kind::Fixture || MEASURED.contains(&self.name.as_str())
    }
}

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    setup::ensure(workspace)?;
    build(
        workspace,
        match arguments {
            [] => Selection::All,
            names => Selection::Named(names),
        },
    )
}

/// Returns the folder of the example plugins' components.
pub fn examples_folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("plugins")
}

/// Returns the folder of the fixtures' components.
pub fn fixtures_folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("fixtures")
}

/// Compiles the selected plugins and copies what has changed.
pub fn build(workspace: &Workspace, selection: Selection) -> Outcome {
    let known = all(workspace)?;
    remove_orphans(workspace, &known)?;
    let selected: Vec<&Plugin> = match selection {
        Selection::All => known.iter().collect(),
        Selection::Examples => known.iter().filter(|p| p.kind != Kind::Fixture).collect(),
        Selection::Named(names) => named(&known, names)?,
    };
    for folder in [examples_folder, demo::folder, fixtures_folder].map(|folder| folder(workspace)) {
        create_folder(&folder)?;
    }
    // Apart, since libraries are compiled differently for the two. The example plugins are compiled here as
    // `cargo xtask serve` has compiled them.
    for is_joined in [true, false] {
        let plugins: Vec<&Plugin> =
            selected.iter().filter(|p| p.is_joined() == is_joined).copied().collect();
        compile(workspace, &plugins)?;
    }
    demo::renew(workspace)?;
    write_by_rename(&output_list(workspace)?, outputs(&known).as_bytes())
}

/// Compiles plugins with one call of cargo, and copies what has changed.
fn compile(workspace: &Workspace, plugins: &[&Plugin]) -> Outcome {
    if plugins.is_empty() {
        return Ok(());
    }
    let mut command = cargo(&["build", "--profile", "plugin", "--target", GUEST_TARGET]);
    for plugin in plugins {
        command.args(["--package", &plugin.name]);
    }
    run(command.current_dir(&workspace.root).env("CARGO_TARGET_DIR", &workspace.target))?;
    plugins.iter().try_for_each(|plugin| copy(workspace, plugin))
}

/// Returns all plugins of the repository, examples first.
fn all(workspace: &Workspace) -> Outcome<Vec<Plugin>> {
    let mut plugins = Vec::new();
    let folders =
        [("plugins", Kind::Example), ("demo", Kind::Demo), ("tests/fixtures", Kind::Fixture)];
    for (folder, kind) in folders {
        let folder = workspace.root.join(folder);
        for entry in entries(&folder)? {
            let source = folder.join(entry);
            let manifest = source.join("Cargo.toml");
            if manifest.is_file() {
                plugins.push(Plugin { name: package_name(&manifest)?, source, kind });
            }
        }
    }
    Ok(plugins)
}

/// Returns the package's name in a manifest. The manifest is read by lines, since this is all that
/// is needed of TOML.
fn package_name(manifest: &Path) -> Outcome<String> {
    let text = fs::read_to_string(manifest)
        .map_err(|e| format!("cannot read {}: {e}", manifest.display()))?;
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let value = line.strip_prefix("name").and_then(|rest| rest.trim_start().strip_prefix('='));
        if let (Some(value), "[package]") = (value, section) {
            return Ok(value.trim().trim_matches('"').to_owned());
        }
    }
    Err(format!("{} has no [package] with a name", manifest.display()))
}

fn named<'a>(known: &'a [Plugin], names: &[String]) -> Outcome<Vec<&'a Plugin>> {
    let find = |name: &String| {
        known.iter().find(|p| p.name == *name).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|p| p.name.as_str()).collect();
            format!("there is no plugin `{name}`; there are: {}", names.join(", "))
        })
    };
    names.iter().map(find).collect()
}

/// Copies a compiled component into its output folder, unless the file there is the same already: a
/// host may be watching, and would swap for nothing.
fn copy(workspace: &Workspace, plugin: &Plugin) -> Outcome {
    let stem = plugin.name.replace('-', "_");
    let compiled = workspace.target.join(GUEST_TARGET).join("plugin");
    let component = fs::read(compiled.join(format!("{stem}.wasm"))).map_err(|e| {
        format!(
            "{} made no component ({e}): its Cargo.toml needs\n    [lib]\n    crate-type = \
             [\"cdylib\", \"rlib\"]",
            workspace.shown(&plugin.source)
        )
    })?;
    let output = output(workspace, plugin.kind, &plugin.name);
    if fs::read(&output).is_ok_and(|before| before == component) {
        return Ok(());
    }
    write_by_rename(&output, &component)?;
    println!("plugins: {} ({} KiB)", workspace.shown(&output), component.len().div_ceil(1024));
    Ok(())
}

fn output(workspace: &Workspace, kind: Kind, name: &str) -> PathBuf {
    let (folder, name) = match kind {
        Kind::Example => (examples_folder(workspace), name.to_owned()),
        Kind::Demo => (demo::folder(workspace), name.replacen('-', "@", 1)),
        Kind::Fixture => (fixtures_folder(workspace), name.to_owned()),
    };
    folder.join(format!("{name}.wasm"))
}

/// Removes the components of plugins that the repository no longer has, and no others.
fn remove_orphans(workspace: &Workspace, known: &[Plugin]) -> Outcome {
    let before = fs::read_to_string(output_list(workspace)?).unwrap_or_default();
    let now = outputs(known);
    for line in before.lines().filter(|line| !now.lines().any(|l| l == *line)) {
        let Some((kind, name)) = line.split_once(' ') else {
            continue;
        };
        let kinds = [Kind::Example, Kind::Demo, Kind::Fixture];
        let Some(kind) = kinds.into_iter().find(|known| known.name() == kind) else {
            continue;
        };
        let orphan = output(workspace, kind, name);
        if fs::remove_file(&orphan).is_ok() {
            println!("plugins: removed {}", workspace.shown(&orphan));
        }
    }
    Ok(())
}

/// Returns the plugins as lines of the list.
fn outputs(known: &[Plugin]) -> String {
    let line = |p: &Plugin| format!("{} {}\n", p.kind.name(), p.name);
    known.iter().map(line).collect()
}

fn output_list(workspace: &Workspace) -> Outcome<PathBuf> {
    Ok(workspace.scratch("plugins")?.join(OUTPUT_LIST))
}
