//! The bindings in `src/bindings`, which are made from the contract in `wit`.
//!
//! They are part of the repository, so that a plugin's build need not make them: the generator with its
//! parser costs more time than all else that the SDK depends on.

use std::fs;
use std::path::{Path, PathBuf};

use wharf_contract::exports::{CONTRACT_VERSION, OPTIONAL_EXPORTS};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};

/// The first lines of each file.
const HEADING: &str = "\
// Made from the contract in `wit` by wit-bindgen; do not edit. After a change there:
// WHARF_BINDINGS=overwrite cargo test -p wharf-sdk --test bindings
";

/// The module of all bindings, from a plugin.
const ROOT: &str = "::wharf::__private::bindings";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Returns the bindings of a world, in a module of this name.
fn bindings(world: &str, module: &str, with: Vec<(String, WithOption)>) -> String {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(folder().join("wit")).expect("the contract is sound");
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

/// Returns all files, by their names.
fn generated() -> Vec<(String, String)> {
    let (major, minor, patch) = CONTRACT_VERSION;
    let mut files = vec![("channel.rs".to_owned(), bindings("channel", "channel", Vec::new()))];
    for export in OPTIONAL_EXPORTS {
        let shared = export.uses.iter().map(|interface| {
            let module = interface.replace('-', "_");
            (
                format!("wharf:channel/{interface}@{major}.{minor}.{patch}"),
                WithOption::Path(format!("crate::bindings::channel::wharf::channel::{module}")),
            )
        });
        let (world, module) = (export.world, export.module);
        files.push((format!("{module}.rs"), bindings(world, module, shared.collect())));
    }
    files
}

#[test]
fn the_bindings_are_those_of_the_contract() {
    let place = folder().join("src/bindings");
    let overwrites = std::env::var_os("WHARF_BINDINGS").is_some_and(|value| value == "overwrite");
    let mut differing = Vec::new();
    let generated = generated();
    for (name, text) in &generated {
        let file = place.join(name);
        if overwrites {
            fs::write(&file, text).expect("it can be written");
        } else if fs::read_to_string(&file).ok().as_ref() != Some(text) {
            differing.push(name.clone());
        }
    }
    assert!(
        differing.is_empty(),
        "{differing:?} differ from wit/: run this test with WHARF_BINDINGS=overwrite"
    );
}
