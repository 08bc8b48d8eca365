//! `wharf new`: a plugin's crate in a folder of its own, with the SDK as a copy in it. In a cargo
//! workspace it becomes a member, which shares the copy with the others.

mod workspace;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use wharf_contract::names::{MAX_CHANNEL_NAME_BYTES, SDK_PACKAGE};

use super::{MISSING_TARGET, lacks_target, sdk};
use workspace::Workspace;

/// The version of a new crate.
const FIRST_VERSION: &str = "0.1.0";

/// The dependencies in a new crate's manifest.
const DEPENDENCIES: [&str; 2] = ["serde", SDK_PACKAGE];

/// The files of a new crate beside the SDK's. In them, `NAME` stands for the crate's name.
const TEMPLATE: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml.in")),
    (".gitignore", include_str!("../template/gitignore.in")),
    ("README.md", include_str!("../template/README.md.in")),
    ("src/lib.rs", include_str!("../template/src/lib.rs.in")),
    ("src/tests.rs", include_str!("../template/src/tests.rs.in")),
];

/// The part of the manifest of a crate that is no member of a workspace.
const ALONE: &str = include_str!("../template/Cargo.alone.toml.in");

/// Description of the SDK's files.
const SDK_README: &str = include_str!("../template/sdk-readme.md.in");

/// Folder for the SDK's files, in the crate's or the workspace's.
const SDK_FOLDER: &str = "vendor/wharf";

/// Words that Rust does not accept as a crate's name, or that are taken by cargo's folders, the
/// libraries that come with Rust or the SDK.
const RESERVED: [&str; 63] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "wharf",
    "where",
    "while",
    "xor",
    "yield",
];

/// Makes a crate in `folder`, or in a folder of its name. Returns the next steps for the author, as
/// text.
///
/// # Errors
///
/// A crate or a channel cannot have this name; the folder is not empty; or a file cannot be
/// written. Existing files are not overwritten, and the files made before a failure are removed.
pub fn new(name: &str, folder: Option<PathBuf>) -> anyhow::Result<String> {
    check_name(name)?;
    let folder = folder.unwrap_or_else(|| PathBuf::from(name));
    let made = make_folder(&folder)?;
    let filled = Workspace::of(&folder).and_then(|workspace| {
        let places = Places::of(workspace.as_ref());
        fill(&folder, name, workspace.as_ref(), &places).map(|()| places)
    });
    match filled {
        Ok(places) => Ok(next_steps(name, &folder, &places)),
        Err(error) => {
            if made {
                // The folder was not there before, so that all its files are from this run.
                let _ = fs::remove_dir_all(&folder);
            }
            Err(error)
        }
    }
}

/// The places that a new crate's files name, from its folder.
struct Places {
    /// The SDK's folder.
    sdk: String,
    /// The folder in which the SDK lies, in words.
    sdk_place: &'static str,
    /// Cargo's folder for results.
    target: String,
    /// The workspace's folder, if the crate is a member of one.
    workspace: Option<String>,
}

impl Places {
    fn of(workspace: Option<&Workspace>) -> Places {
        let Some(workspace) = workspace else {
            return Places {
                sdk: SDK_FOLDER.to_owned(),
                sdk_place: "this folder",
                target: "target".to_owned(),
                workspace: None,
            };
        };
        let way = |folder: &str| workspace.way_to(&workspace.root().join(folder));
        Places {
            sdk: workspace.sdk().map_or_else(|| way(SDK_FOLDER), |sdk| workspace.way_to(sdk)),
            sdk_place: "the workspace",
            target: way("target"),
            workspace: Some(workspace.root().display().to_string()),
        }
    }
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let is_kebab_case = name.split('-').all(|word| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    });
    if name.contains(['/', '\\']) {
        bail!(
            "the name {name:?} is a path; give the name alone, and the folder by --path: \
             `wharf new hello --path some/folder/hello`"
        );
    }
    if !is_kebab_case || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        let example = kebab_case(name);
        let example = if example.is_empty() { "my-channel" } else { &example };
        bail!(
            "{name:?} cannot be the name: it becomes a crate's and a channel's, which is lower-case \
             words of a to z and 0 to 9 with `-` between them, such as `{example}`"
        );
    }
    if name.len() > MAX_CHANNEL_NAME_BYTES {
        bail!(
            "the name has {} bytes; a channel's has at most {MAX_CHANNEL_NAME_BYTES}",
            name.len()
        );
    }
    if RESERVED.contains(&name) || sdk::has_package(name) {
        bail!(
            "{name:?} cannot be the name: to Rust or to a crate that every plugin uses it means \
             something else; choose another, such as `{name}-channel`"
        );
    }
    Ok(())
}

/// Suggests a valid name: `MyChat` → `my-chat`.
fn kebab_case(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars().take(MAX_CHANNEL_NAME_BYTES) {
        let begins_word = !words.is_empty() && !words.ends_with('-');
        match c {
            'A'..='Z' if begins_word && !words.ends_with(|c: char| c.is_ascii_digit()) => {
                words.push('-');
                words.push(c.to_ascii_lowercase());
            }
            'a'..='z' | 'A'..='Z' => words.push(c.to_ascii_lowercase()),
            '0'..='9' if !words.is_empty() => words.push(c),
            _ if begins_word => words.push('-'),
            _ => {}
        }
    }
    words.trim_end_matches('-').to_owned()
}

/// Makes the crate's folder, with those above it. An empty one is used as it is. Returns true if it
/// was made.
fn make_folder(folder: &Path) -> anyhow::Result<bool> {
    let shown = folder.display();
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(false),
            Some(_) => bail!(
                "{shown} exists already and is not empty; choose another name, or another folder \
                 with --path"
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).with_context(|| format!("{shown} cannot be made"))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            bail!("{shown} is a file; choose another name, or another folder with --path")
        }
        Err(error) => Err(error).with_context(|| format!("{shown} cannot be looked into")),
    }
}

fn fill(
    folder: &Path,
    name: &str,
    workspace: Option<&Workspace>,
    places: &Places,
) -> anyhow::Result<()> {
    for (file, text) in TEMPLATE {
        let mut text = filled_in(text, name, places);
        if file == "Cargo.toml" && workspace.is_none() {
            text.push_str(ALONE);
        }
        write(folder, Path::new(file), &text)?;
    }
    let lock = sdk::lock_file(name, FIRST_VERSION, &DEPENDENCIES);
    let Some(workspace) = workspace else {
        write(folder, Path::new("Cargo.lock"), &lock)?;
        return write_sdk(&folder.join(SDK_FOLDER), name, places);
    };
    let root = workspace.root();
    if workspace.sdk().is_some() {
        return workspace.add_member(None);
    }
    let (sdk, lock_file) = (root.join(SDK_FOLDER), root.join("Cargo.lock"));
    let has_made_folder = !sdk.exists();
    let has_made_lock = !lock_file.exists();
    let written = write_sdk(&sdk, name, places)
        .and_then(|()| match has_made_lock {
            true => write(root, Path::new("Cargo.lock"), &lock),
            false => Ok(()),
        })
        .and_then(|()| workspace.add_member(Some(Path::new(SDK_FOLDER))));
    if written.is_err() {
        if has_made_folder {
            let _ = fs::remove_dir_all(sdk);
        }
        if has_made_lock {
            let _ = fs::remove_file(lock_file);
        }
    }
    written
}

fn write_sdk(folder: &Path, name: &str, places: &Places) -> anyhow::Result<()> {
    write(folder, Path::new("README.md"), &filled_in(SDK_README, name, places))?;
    for (file, text) in sdk::FILES {
        write(folder, Path::new(file), text)?;
    }
    Ok(())
}

fn filled_in(text: &str, name: &str, places: &Places) -> String {
    text.replace("RUST_VERSION", env!("CARGO_PKG_RUST_VERSION"))
        .replace("WHARF_VERSION", env!("CARGO_PKG_VERSION"))
        .replace("SDK_FOLDER", &places.sdk)
        .replace("SDK_PLACE", places.sdk_place)
        .replace("TARGET_FOLDER", &places.target)
        .replace("NAME", name)
        .replace("FILE", &component(name))
}

/// Returns the stem of the file that cargo makes: a library's name has no `-`.
fn component(name: &str) -> String {
    name.replace('-', "_")
}

fn write(folder: &Path, file: &Path, text: &str) -> anyhow::Result<()> {
    let path = folder.join(file);
    let write = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

fn next_steps(name: &str, folder: &Path, places: &Places) -> String {
    let shown = folder.display().to_string();
    let component = component(name);
    let mut text = format!("made the channel `{name}` in {shown}\n");
    if let Some(workspace) = &places.workspace {
        text.push_str(&format!("It is a member of the workspace {workspace}.\n"));
    }
    text.push('\n');
    if lacks_target(folder) {
        text.push_str(&format!("First: {MISSING_TARGET}\n\n"));
    }
    if shown != "." {
        let is_plain = |c: char| c.is_alphanumeric() || "./-_".contains(c);
        match shown.chars().all(is_plain) {
            true => text.push_str(&format!("  cd {shown}\n")),
            false => text.push_str(&format!("  cd '{}'\n", shown.replace('\'', r"'\''"))),
        }
    }
    text.push_str(&format!(
        "  cargo test                                          test it, without a host
  wharf test                                          test what it is compiled to
  cargo build --release --target {target}        build it
  cp {results}/{target}/release/{component}.wasm PLUGINS/{name}.wasm
                                                      copy it into a host's folder

Or all of it, again at every save, with a host on ws://127.0.0.1:4000/{name}/lobby?name=ann:

  wharf dev

README.md says how to connect.
",
        results = places.target,
        target = super::GUEST_TARGET,
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_crates_and_channels_are_taken() {
        for name in ["hello", "my-chat", "a", "room-101", "x2"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_refused_with_one_that_can() {
        for (name, says) in [
            ("", "such as `my-channel`"),
            ("MyChat", "such as `my-chat`"),
            ("my_chat", "such as `my-chat`"),
            ("my--chat", "such as `my-chat`"),
            ("-chat", "such as `chat`"),
            ("101-rooms", "such as `rooms`"),
            ("héllo", "such as `h-llo`"),
            ("x/hello", "--path"),
            ("match", "`match-channel`"),
            ("std", "`std-channel`"),
            ("wharf", "`wharf-channel`"),
            ("serde", "`serde-channel`"),
            ("wit-bindgen", "`wit-bindgen-channel`"),
        ] {
            let error = check_name(name).expect_err(name).to_string();
            assert!(error.contains(says), "{name:?}: {error}");
        }
        let long = "n".repeat(MAX_CHANNEL_NAME_BYTES + 1);
        assert!(check_name(&long).expect_err("too long").to_string().contains("65 bytes"));
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for (file, text) in TEMPLATE.into_iter().chain([("", ALONE), ("", SDK_README)]) {
            let text = filled_in(text, "my-chat", &Places::of(None));
            let words = ["NAME", "FILE", "RUST_VERSION", "WHARF_VERSION", "_FOLDER", "SDK_PLACE"];
            for word in words {
                assert!(!text.contains(word), "{file}: {word}");
            }
        }
    }

    #[test]
    fn the_sdk_is_whole_and_needs_no_workspace() {
        for wanted in [
            "Cargo.toml",
            "src/lib.rs",
            "wit/worlds.wit",
            "macros/Cargo.toml",
            "contract/src/lib.rs",
        ] {
            assert!(sdk::FILES.iter().any(|(file, _)| *file == wanted), "{wanted}");
        }
        for (file, text) in sdk::FILES.iter().filter(|(file, _)| file.ends_with("Cargo.toml")) {
            for word in ["workspace", "dev-dependencies"] {
                assert!(!text.contains(word), "{file}: {word}");
            }
        }
        assert!(!sdk::FILES.iter().any(|(file, _)| file.starts_with("tests/")));
    }

    #[test]
    fn nothing_is_written_over_and_an_empty_folder_is_taken() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("hello");
        let said = new("hello", Some(folder.clone())).expect("made");
        assert!(said.contains("cargo build --release --target wasm32-wasip2"), "{said}");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let again = new("hello", Some(folder.clone())).expect_err("it exists");
        assert!(again.to_string().contains("--path"), "{again:#}");
        assert_eq!(fs::read_to_string(folder.join("Cargo.toml")).ok(), Some(manifest));

        let empty = place.path().join("empty");
        fs::create_dir(&empty).expect("a folder");
        new("hello", Some(empty)).expect("nothing is in it");
        let file = new("hello", Some(folder.join("Cargo.toml"))).expect_err("a file");
        assert!(file.to_string().contains("is a file"), "{file:#}");
    }
}
