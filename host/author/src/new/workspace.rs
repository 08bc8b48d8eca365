//! The cargo workspace that a new crate becomes a member of.
//!
//! A workspace can have a package only once, so its plugins share one copy of the SDK.

use std::fs;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;
use wharf_contract::names::SDK_PACKAGE;

/// A workspace whose folder contains that of a new crate.
#[derive(Debug)]
pub(super) struct Workspace {
    /// The workspace's folder.
    root: PathBuf,
    /// The new crate's folder, from there.
    member: PathBuf,
    /// The text of its manifest.
    text: String,
    manifest: Manifest,
    /// The folder of the copy of the SDK that its members use.
    sdk: Option<PathBuf>,
}

/// The parts of a manifest that matter here.
#[derive(Debug, Deserialize)]
struct Manifest {
    workspace: Option<Table>,
}

#[derive(Debug, Default, Deserialize)]
struct Table {
    members: Option<List>,
    exclude: Option<List>,
}

type List = Spanned<Vec<Spanned<String>>>;

impl Workspace {
    /// Finds the workspace of a folder, which must exist. `None` if there is none, or if it excludes
    /// the folder, or is that of the SDK itself.
    pub(super) fn of(folder: &Path) -> anyhow::Result<Option<Workspace>> {
        let folder = folder.canonicalize()?;
        for root in folder.ancestors().skip(1) {
            // Nothing in cargo's folder for results belongs to the workspace around it.
            if root.join("CACHEDIR.TAG").exists() {
                return Ok(None);
            }
            let Ok(text) = fs::read_to_string(root.join("Cargo.toml")) else {
                continue;
            };
            let manifest: Manifest = toml::from_str(&text)
                .with_context(|| format!("{} is broken", root.join("Cargo.toml").display()))?;
            let Some(table) = &manifest.workspace else {
                continue;
            };
            let member = folder.strip_prefix(root).unwrap_or(&folder).to_owned();
            let is_excluded = has(table.exclude.as_ref(), |path| member.starts_with(path));
            let Some(sdk) = sdk_of_members(root).filter(|_| !is_excluded) else {
                return Ok(None);
            };
            let (root, sdk) = (root.to_owned(), sdk.folder);
            return Ok(Some(Workspace { root, member, text, manifest, sdk }));
        }
        Ok(None)
    }

    /// Returns its folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the copy of the SDK that its members use, if they have one.
    pub(super) fn sdk(&self) -> Option<&Path> {
        self.sdk.as_deref()
    }

    /// Returns the way from the new crate's folder to a place in the workspace, as cargo writes it.
    pub(super) fn way_to(&self, place: &Path) -> String {
        let member = self.root.join(&self.member);
        let common =
            member.components().zip(place.components()).take_while(|(a, b)| a == b).count();
        let up = member.components().skip(common).map(|_| Component::ParentDir);
        let way: PathBuf = up.chain(place.components().skip(common)).collect();
        way.display().to_string()
    }

    /// Makes the new crate a member. A copy of the SDK in this folder is none.
    pub(super) fn add_member(&self, sdk: Option<&Path>) -> anyhow::Result<()> {
        let member = self.member.display().to_string();
        let table = self.manifest.workspace.as_ref();
        let mut text = self.text.clone();
        let lists = [
            ("exclude", table.and_then(|table| table.exclude.as_ref()), sdk.map(Path::to_owned)),
            ("members", table.and_then(|table| table.members.as_ref()), Some(self.member.clone())),
        ];
        // The list that comes later is changed first, so that the other keeps its place.
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        for (key, list, path) in lists {
            let Some(path) = path else { continue };
            let is_there = match key {
                "exclude" => has(list, |excluded| path.starts_with(excluded)),
                _ => has(list, |pattern| is_match(pattern, &path)),
            };
            if !is_there {
                edits.push(edit(&text, key, list, &path.display().to_string()).with_context(
                    || format!("{member} cannot be made a member of {}", self.root.display()),
                )?);
            }
        }
        edits.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
        for (place, new) in edits {
            text.replace_range(place, &new);
        }
        if text == self.text {
            return Ok(());
        }
        let manifest = self.root.join("Cargo.toml");
        if toml::from_str::<Manifest>(&text).is_err() {
            bail!("add {member:?} to the `members` of {}, then try again", manifest.display());
        }
        fs::write(&manifest, text)
            .with_context(|| format!("{} cannot be written", manifest.display()))
    }
}

/// Returns the change of a text by which a list has one more path.
fn edit(
    text: &str,
    key: &str,
    list: Option<&List>,
    path: &str,
) -> anyhow::Result<(Range<usize>, String)> {
    let path = toml::Value::String(path.to_owned());
    let Some(list) = list else {
        let mut end = 0;
        for line in text.split_inclusive('\n') {
            end += line.len();
            if line.split('#').next().is_some_and(|line| line.trim() == "[workspace]") {
                let newline = if line.ends_with('\n') { "" } else { "\n" };
                return Ok((end..end, format!("{newline}{key} = [{path}]\n")));
            }
        }
        bail!("its manifest has no line `[workspace]`; write `{key} = [{path}]` there");
    };
    let close = list.span().end.saturating_sub(1);
    let Some(last) = list.get_ref().last() else {
        return Ok((list.span(), format!("[{path}]")));
    };
    let last = last.span().end;
    let rest = text.get(last..close).unwrap_or_default();
    // A comma in a comment is none.
    let has_comma =
        rest.lines().any(|line| line.split('#').next().unwrap_or_default().contains(','));
    let comma = if has_comma { "" } else { "," };
    Ok(match rest.contains('\n') {
        true => (last..close, format!("{comma}{}\n    {path},\n", rest.trim_end())),
        false => (last..close, format!(", {path}")),
    })
}

/// Returns true if a list has such a path.
fn has(list: Option<&List>, is_it: impl Fn(&Path) -> bool) -> bool {
    let paths = list.into_iter().flat_map(|list| list.get_ref());
    paths.map(|path| Path::new(path.get_ref())).any(is_it)
}

/// Returns true if a pattern of cargo's matches a path. `*` is any part of a folder's name.
fn is_match(pattern: &Path, path: &Path) -> bool {
    let parts = |path: &Path| -> Vec<String> {
        let parts = path.components().filter(|part| *part != Component::CurDir);
        parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
    };
    let (pattern, path) = (parts(pattern), parts(path));
    let is_name = |(pattern, name): (&String, &String)| match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        }
    };
    pattern.len() == path.len() && pattern.iter().zip(&path).all(is_name)
}

/// The SDK as members of a workspace have it.
#[derive(Debug, Default)]
struct Sdk {
    folder: Option<PathBuf>,
}

/// Looks for the copy of the SDK that members use. `None` if the SDK is a member itself.
fn sdk_of_members(root: &Path) -> Option<Sdk> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .stderr(Stdio::null())
        .output();
    let metadata: Value = output
        .ok()
        .and_then(|output| serde_json::from_slice(&output.stdout).ok())
        .unwrap_or_default();
    let list =
        |of: &Value, key: &str| of.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let is_sdk = |package: &Value| package.get("name").is_some_and(|name| name == SDK_PACKAGE);
    let members = list(&metadata, "packages");
    if members.iter().any(is_sdk) {
        return None;
    }
    let used = members.iter().flat_map(|member| list(member, "dependencies")).find(is_sdk);
    let folder = used.and_then(|sdk| Some(PathBuf::from(sdk.get("path")?.as_str()?)));
    // A workspace without members has none that use it yet.
    let usual = root.join(super::SDK_FOLDER);
    let is_there = usual.join("Cargo.toml").exists();
    Some(Sdk { folder: folder.or(is_there.then_some(usual)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member_of(text: &str, member: &str) -> String {
        let place = tempfile::tempdir().expect("a folder");
        fs::write(place.path().join("Cargo.toml"), text).expect("a manifest");
        let folder = place.path().join(member);
        fs::create_dir_all(&folder).expect("a folder");
        let workspace = Workspace::of(&folder).expect("it can be read").expect("a workspace");
        workspace.add_member(Some(Path::new("vendor/wharf"))).expect("it is added");
        fs::read_to_string(place.path().join("Cargo.toml")).expect("a manifest")
    }

    #[test]
    fn a_member_is_added_where_the_others_are_and_all_else_stays() {
        for (before, after) in [
            (
                "# Ours.\n[workspace]\nresolver = \"3\"\n",
                "# Ours.\n[workspace]\nmembers = [\"b\"]\nexclude = [\"vendor/wharf\"]\nresolver = \"3\"\n",
            ),
            (
                "[workspace] # all\nmembers = []\nexclude = [\"vendor\"]",
                "[workspace] # all\nmembers = [\"b\"]\nexclude = [\"vendor\"]",
            ),
            (
                "[workspace]\nexclude = [\"x\"]\nmembers = [\"a\"]\n",
                "[workspace]\nexclude = [\"x\", \"vendor/wharf\"]\nmembers = [\"a\", \"b\"]\n",
            ),
            (
                "[workspace]\nmembers = [\n    \"a\" # the first, so far\n]\nexclude = [\"vendor\"]\n",
                "[workspace]\nmembers = [\n    \"a\", # the first, so far\n    \"b\",\n]\nexclude = [\"vendor\"]\n",
            ),
            (
                "[workspace]\nmembers = [\"*\"]\nexclude = [\"vendor\"]\n",
                "[workspace]\nmembers = [\"*\"]\nexclude = [\"vendor\"]\n",
            ),
        ] {
            assert_eq!(member_of(before, "b"), after);
        }
    }

    #[test]
    fn where_no_workspace_is_meant_there_is_none() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("x/hello");
        fs::create_dir_all(&folder).expect("a folder");
        let manifest = place.path().join("Cargo.toml");
        for text in ["[package]\nname = \"x\"", "[workspace]\nexclude = [\"x\"]"] {
            fs::write(&manifest, text).expect("a manifest");
            assert!(Workspace::of(&folder).expect("it can be read").is_none(), "{text}");
        }
        fs::write(&manifest, "[workspace]").expect("a manifest");
        assert!(Workspace::of(&folder).expect("it can be read").is_some());
        fs::write(place.path().join("x/CACHEDIR.TAG"), "").expect("a file");
        assert!(Workspace::of(&folder).expect("it can be read").is_none());
        fs::remove_file(place.path().join("x/CACHEDIR.TAG")).expect("a file");
        fs::write(&manifest, "[workspace").expect("a manifest");
        assert!(Workspace::of(&folder).is_err());
    }

    #[test]
    fn patterns_of_members_are_those_of_cargo() {
        for (pattern, path, is_it) in [
            ("*", "b", true),
            ("*", "a/b", false),
            ("plugins/*", "plugins/b", true),
            ("./b", "b", true),
            ("plugin-*", "plugin-b", true),
            ("plugin-*", "b", false),
        ] {
            assert_eq!(is_match(Path::new(pattern), Path::new(path)), is_it, "{pattern} {path}");
        }
    }
}
