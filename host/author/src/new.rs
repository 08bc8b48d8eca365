//! `wharf new`: a plugin's crate in a folder of its own, with the SDK as a copy in it. In a cargo
//! workspace it becomes a member, which shares the copy with the others.

mod name;
mod template;
mod workspace;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use wharf_contract::names::SDK_PACKAGE;

use super::{MISSING_TARGET, lacks_target, sdk};
use name::check_name;
pub use template::{TEMPLATES, Template};
use workspace::Workspace;

/// The version of a new crate.
const FIRST_VERSION: &str = "0.1.0";

/// The dependencies in a new crate's manifest.
const DEPENDENCIES: [&str; 2] = ["serde", SDK_PACKAGE];

/// The settings of a release, for the manifest of a workspace or of a crate that is no member of one.
const PROFILE: &str = include_str!("../template/Cargo.profile.toml.in");

/// The rest of the manifest of a crate that is no member of a workspace.
const ALONE: &str = include_str!("../template/Cargo.alone.toml.in");

/// The manifest of a new workspace, without the settings of a release.
const WORKSPACE: &str = include_str!("../template/Cargo.workspace.toml.in");

/// Description of the SDK's files.
const SDK_README: &str = include_str!("../template/sdk-readme.md.in");

/// Folder for the SDK's files, in the crate's or the workspace's.
const SDK_FOLDER: &str = "vendor/wharf";

/// A wish for a new crate.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Name of the crate and the channel.
    pub name: String,
    /// The crate's folder; one of its name if there is none.
    pub folder: Option<PathBuf>,
    /// The channel that it begins with.
    pub template: &'static Template,
    /// True if the folder above is to be a workspace, if it is not in one already.
    pub in_workspace: bool,
}

impl Default for Request {
    fn default() -> Request {
        let template = template::default();
        Request { name: String::new(), folder: None, template, in_workspace: false }
    }
}

/// Makes a crate. Returns the next steps for the author, as text.
///
/// # Errors
///
/// A crate or a channel cannot have this name; the folder is not empty; or a file cannot be
/// written. Existing files are not overwritten, and the files made before a failure are removed.
pub fn new(request: &Request) -> anyhow::Result<String> {
    let name = request.name.as_str();
    check_name(name)?;
    let folder = request.folder.clone().unwrap_or_else(|| PathBuf::from(name));
    let made = make_folder(&folder)?;
    let mut workspace_made = None;
    let filled = Workspace::of(&folder)
        .and_then(|workspace| match workspace {
            None if request.in_workspace => {
                workspace_made = Some(make_workspace(&folder)?);
                Workspace::of(&folder)
            }
            workspace => Ok(workspace),
        })
        .and_then(|workspace| {
            let places = Places::of(workspace.as_ref());
            let filling = Filling { name, template: request.template, places: &places };
            fill(&folder, &filling, workspace.as_ref()).map(|()| places)
        });
    match filled {
        Ok(places) => Ok(next_steps(request, &folder, &places)),
        Err(error) => {
            if made {
                // The folder was not there before, so that all its files are from this run.
                let _ = fs::remove_dir_all(&folder);
            }
            if let Some(manifest) = workspace_made {
                let _ = fs::remove_file(manifest);
            }
            Err(error)
        }
    }
}

/// Makes a workspace of the folder above a new crate's. Returns its manifest.
fn make_workspace(folder: &Path) -> anyhow::Result<PathBuf> {
    let folder = folder.canonicalize()?;
    let above = folder.parent().context("there is no folder above it")?;
    write(above, Path::new("Cargo.toml"), &[WORKSPACE, PROFILE].concat())
        .with_context(|| format!("{} cannot become a workspace", above.display()))?;
    Ok(above.join("Cargo.toml"))
}

/// Returns true if the folder beside a new crate's has a plugin with a copy of the SDK.
fn has_neighbour(folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    let beside = folder.parent().and_then(|above| fs::read_dir(above).ok()).into_iter().flatten();
    let mut beside = beside.flatten().map(|entry| entry.path()).filter(|path| *path != folder);
    beside.any(|path| path.join(SDK_FOLDER).join("Cargo.toml").exists())
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

/// Texts that are written into the files of a new crate.
struct Filling<'a> {
    name: &'a str,
    template: &'a Template,
    places: &'a Places,
}

impl Filling<'_> {
    fn fill(&self, text: &str) -> String {
        let Filling { name, template, places } = self;
        text.replace("RUST_VERSION", env!("CARGO_PKG_RUST_VERSION"))
            .replace("WHARF_VERSION", env!("CARGO_PKG_VERSION"))
            .replace("SDK_FOLDER", &places.sdk)
            .replace("SDK_PLACE", places.sdk_place)
            .replace("TARGET_FOLDER", &places.target)
            .replace("CONNECT_PATH", template.path)
            .replace("MESSAGE", template.message)
            .replace("NAME", name)
            .replace("FILE", &component(name))
    }
}

fn fill(folder: &Path, filling: &Filling<'_>, workspace: Option<&Workspace>) -> anyhow::Result<()> {
    for (file, text) in filling.template.files() {
        let renamed = filling.template.renamed(file, text, filling.name);
        let mut text = renamed.unwrap_or_else(|| filling.fill(text));
        if file == "Cargo.toml" && workspace.is_none() {
            text.extend(["\n", PROFILE, ALONE]);
        }
        write(folder, Path::new(file), &text)?;
    }
    let lock = sdk::lock_file(filling.name, FIRST_VERSION, &DEPENDENCIES);
    let Some(workspace) = workspace else {
        write(folder, Path::new("Cargo.lock"), &lock)?;
        return write_sdk(&folder.join(SDK_FOLDER), filling);
    };
    let root = workspace.root();
    if workspace.sdk().is_some() {
        return workspace.add_member(None);
    }
    let (sdk, lock_file) = (root.join(SDK_FOLDER), root.join("Cargo.lock"));
    let has_made_folder = !sdk.exists();
    let has_made_lock = !lock_file.exists();
    let written = write_sdk(&sdk, filling)
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

fn write_sdk(folder: &Path, filling: &Filling<'_>) -> anyhow::Result<()> {
    write(folder, Path::new("README.md"), &filling.fill(SDK_README))?;
    for (file, text) in sdk::FILES {
        write(folder, Path::new(file), text)?;
    }
    Ok(())
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

fn next_steps(request: &Request, folder: &Path, places: &Places) -> String {
    let name = request.name.as_str();
    let shown = folder.display().to_string();
    let component = component(name);
    let mut text = format!("made the channel `{name}` in {shown}: {}\n", request.template.about);
    if let Some(workspace) = &places.workspace {
        text.push_str(&format!("It is a member of the workspace {workspace}.\n"));
    } else if has_neighbour(folder) {
        text.push_str(
            "It compiles all of its dependencies once more. The members of a workspace share them: \
             `wharf new --workspace NAME`.\n",
        );
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

Or all of it, again at every save, with a host on ws://127.0.0.1:4000{path}:

  wharf dev

README.md says how to connect.
",
        results = places.target,
        path = request.template.path.replace("NAME", name),
        target = super::GUEST_TARGET,
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for template in &TEMPLATES {
            let filling = Filling { name: "my-chat", template, places: &Places::of(None) };
            let texts = [PROFILE, ALONE, WORKSPACE, SDK_README].map(|text| ("", text));
            let files = template.files().chain(texts);
            // The code of a plugin has no such words.
            let files = files.filter(|(file, text)| template.renamed(file, text, "").is_none());
            for (file, text) in files {
                let text = filling.fill(text);
                let words =
                    ["NAME", "FILE", "RUST_VERSION", "WHARF_VERSION", "_FOLDER", "SDK_PLACE"];
                for word in words.iter().chain(&["CONNECT_PATH", "MESSAGE", "ABOUT"]) {
                    assert!(!text.contains(word), "{}, {file}: {word}", template.name);
                }
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
        let new = |name: &str, folder| {
            new(&Request { name: name.to_owned(), folder, ..Request::default() })
        };
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

    #[test]
    fn crates_beside_each_other_share_a_workspace_where_one_is_wanted() {
        let place = tempfile::tempdir().expect("a folder");
        let new = |name: &str, in_workspace| {
            let folder = Some(place.path().join(name));
            new(&Request { name: name.to_owned(), folder, in_workspace, ..Request::default() })
        };
        let alone = new("alone", false).expect("made");
        assert!(!alone.contains("--workspace"), "{alone}");
        let second = new("second", false).expect("made");
        assert!(second.contains("--workspace"), "it is told how to share: {second}");

        for name in ["chat", "game"] {
            let said = new(name, true).expect("made");
            assert!(said.contains("It is a member of the workspace"), "{said}");
            assert!(!place.path().join(name).join("vendor").exists());
        }
        let manifest = fs::read_to_string(place.path().join("Cargo.toml")).expect("a manifest");
        assert!(manifest.contains("members = [\"chat\", \"game\"]"), "{manifest}");
        assert!(manifest.contains("[profile.release]"), "{manifest}");

        let inside = place.path().join("second/inside");
        let request =
            Request { name: "inside".to_owned(), folder: Some(inside), ..Request::default() };
        let said = super::new(&request).expect("made");
        assert!(said.contains("It is a member of the workspace"), "a crate can be one: {said}");
    }
}
