//! Writes the bindings of the contract, as `wit-bindgen` makes them, into the SDK. With `--check` it compares
//! them instead.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use wharf_contract::exports::{CONTRACT_VERSION, OPTIONAL_EXPORTS};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};

/// The first lines of each file.
const HEADING: &str = "\
// Made by wit-bindgen from the contract in `wit/`; do not edit. After a change there:
// cargo run --manifest-path bindings/Cargo.toml
";

/// The module of all bindings, from a plugin.
const ROOT: &str = "::wharf::__private::bindings";

fn main() -> ExitCode {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let checks = std::env::args().any(|argument| argument == "--check");
    let mut differing = Vec::new();
    for (name, text) in files(&repository.join("wit")) {
        let file = repository.join("guest-sdk/src/bindings").join(&name);
        if checks && fs::read_to_string(&file).ok().as_ref() != Some(&text) {
            differing.push(name);
        } else if !checks {
            fs::write(&file, text).expect("the file can be written");
        }
    }
    if differing.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("{} of guest-sdk/src/bindings differ from wit/", differing.join(", "));
    ExitCode::FAILURE
}

/// Returns all files, by their names.
fn files(wit: &Path) -> Vec<(String, String)> {
    let (major, minor, patch) = CONTRACT_VERSION;
    let channel = bindings(wit, "channel", "channel", Vec::new());
    let mut files = vec![("channel.rs".to_owned(), channel)];
    for export in OPTIONAL_EXPORTS {
        let shared = export.uses.iter().map(|interface| {
            let module = interface.replace('-', "_");
            (
                format!("wharf:channel/{interface}@{major}.{minor}.{patch}"),
                WithOption::Path(format!("crate::bindings::channel::wharf::channel::{module}")),
            )
        });
        let (world, module) = (export.world, export.module);
        files.push((format!("{module}.rs"), bindings(wit, world, module, shared.collect())));
    }
    files
}

/// Returns the bindings of a world, in a module of this name.
fn bindings(wit: &Path, world: &str, module: &str, with: Vec<(String, WithOption)>) -> String {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).expect("the contract is sound");
    let world = resolve.select_world(&[package], Some(world)).expect("the world is there");
    let options = Opts {
        format: true,
        pub_export_macro: true,
        export_macro_name: Some(format!("export_{module}")),
        default_bindings_module: Some(format!("{ROOT}::{module}")),
        with,
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files).expect("it can be bound");
    let (_, text) = files.iter().next().expect("one file");
    format!("{HEADING}{}", String::from_utf8_lossy(text))
}
