//! The name that the author's crate gives the SDK.

use std::path::PathBuf;
use std::{env, fs};

use proc_macro2::Span;
use syn::{Ident, Path, parse_quote};
use wharf_contract::names::SDK_PACKAGE;

/// Returns the path of the SDK in the crate that is being compiled: `::wharf`, unless its manifest
/// gives the dependency another name.
pub fn sdk() -> Path {
    let folder = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let manifest = folder.and_then(|folder| fs::read_to_string(folder.join("Cargo.toml")).ok());
    let name = manifest.and_then(|manifest| other_name(&manifest));
    match name.and_then(|name| syn::parse_str::<Ident>(&name).ok()) {
        Some(name) => {
            let name = Ident::new(&name.to_string(), Span::call_site());
            parse_quote! { ::#name }
        }
        None => parse_quote! { ::wharf },
    }
}

/// Returns the name of the dependency on the SDK, if it is not `wharf`. The manifest is read by lines,
/// since this is all that is needed of TOML.
fn other_name(manifest: &str) -> Option<String> {
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        }
        let dense: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        if line.starts_with('#') || !dense.contains(&format!("package=\"{SDK_PACKAGE}\"")) {
            continue;
        }
        let (parent, last) = section.rsplit_once('.').unwrap_or(("", section));
        let name = match dense.split_once("={") {
            Some((name, _)) if last.ends_with("dependencies") => name,
            // The name of the package itself is no dependency.
            None if parent.ends_with("dependencies") => last,
            _ => continue,
        };
        let name = name.trim_matches('"').replace('-', "_");
        return (name != "wharf").then_some(name);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dependency_tells_the_name_of_the_sdk() {
        for (manifest, name) in [
            ("[dependencies]\nw = { package = \"wharf-sdk\", path = \"x\" }", Some("w")),
            ("[dependencies]\nmy-sdk = {path=\"x\",package=\"wharf-sdk\"}", Some("my_sdk")),
            ("[dependencies.w]\npath = \"x\"\npackage = \"wharf-sdk\"", Some("w")),
            ("[target.'cfg(unix)'.dependencies]\nw = { package = \"wharf-sdk\" }", Some("w")),
            ("[dependencies]\nwharf = { package = \"wharf-sdk\", path = \"x\" }", None),
            ("[dependencies]\nwharf-sdk = { path = \"x\" }", None),
            ("[dependencies]\n# w = { package = \"wharf-sdk\" }\nwharf.workspace = true", None),
            ("[package]\nname = \"wharf-sdk\"", None),
        ] {
            assert_eq!(other_name(manifest).as_deref(), name, "{manifest}");
        }
    }
}
