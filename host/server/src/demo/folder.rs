//! The content of a demo folder, as it is listed at the start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};
use wharf_contract::names::is_channel;

/// Largest number of versions, and of texts.
const MAX_FILES: usize = 500;
/// Largest size of a text, and of all texts together, in bytes.
const MAX_TEXT_BYTES: u64 = 1024 * 1024;
const MAX_TEXTS_BYTES: usize = 16 * 1024 * 1024;
/// Depth of folders below the demo folder in which texts are found.
const MAX_DEPTH: usize = 4;
/// Endings of the files whose texts the page shows.
const TEXT_ENDINGS: [&str; 2] = ["md", "rs"];

/// SHA-256 of a version's file.
pub(super) type Code = [u8; 32];

/// A prepared version of a plugin.
#[derive(Debug)]
pub(super) struct Version {
    /// Name of the channel.
    pub(super) channel: String,
    /// File of the component.
    pub(super) file: PathBuf,
    /// Code that the file had at the start.
    pub(super) code: Code,
}

/// The content of a demo folder.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Versions by name: `CHANNEL@VERSION`, from files of that name with the ending `.wasm`.
    pub(super) versions: BTreeMap<String, Version>,
    /// Texts by their path in the folder, with `/` between its parts.
    pub(super) texts: BTreeMap<String, String>,
}

/// Reads a demo folder.
pub(super) fn read(folder: &Path) -> anyhow::Result<Content> {
    let mut content = Content::default();
    content.add(folder, "", 0)?;
    let bytes: usize = content.texts.values().map(String::len).sum();
    ensure!(bytes <= MAX_TEXTS_BYTES, "its texts have more than {MAX_TEXTS_BYTES} bytes");
    Ok(content)
}

/// Returns the code of a file's content.
pub(super) fn code(bytes: &[u8]) -> Code {
    Sha256::digest(bytes).into()
}

impl Content {
    fn add(&mut self, folder: &Path, prefix: &str, depth: usize) -> anyhow::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let failed = || format!("{prefix}{name} cannot be read");
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                if depth < MAX_DEPTH {
                    self.add(&path, &format!("{prefix}{name}/"), depth + 1)?;
                }
                continue;
            }
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if let ("wasm", 0) = (ending, depth) {
                let stem = name.strip_suffix(".wasm").unwrap_or(name);
                let Some(channel) = channel(stem) else { continue };
                let (channel, name) = (channel.to_owned(), stem.to_owned());
                let code = code(&fs::read(&path).with_context(failed)?);
                self.versions.insert(name, Version { channel, file: path, code });
            } else if TEXT_ENDINGS.contains(&ending) {
                if fs::metadata(&path).with_context(failed)?.len() > MAX_TEXT_BYTES {
                    bail!("{prefix}{name} has more than {MAX_TEXT_BYTES} bytes");
                }
                let text = fs::read_to_string(&path).with_context(failed)?;
                self.texts.insert(format!("{prefix}{name}"), text);
            }
            let files = self.versions.len().max(self.texts.len());
            ensure!(files <= MAX_FILES, "there are more than {MAX_FILES} files in it");
        }
        Ok(())
    }
}

/// Returns the channel of a version's name, if it is one: a channel's name and a word with `@` between
/// them.
fn channel(name: &str) -> Option<&str> {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let (channel, version) = name.split_once('@')?;
    (is_channel(channel) && is_word(version)).then_some(channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_texts_are_found_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str| {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
            fs::write(file, name).expect("a file");
        };
        for name in [
            "chat@plain.wasm",
            "chat.wasm",
            "@x.wasm",
            "chat@../up.wasm",
            "chat@a@b.wasm",
            "Chat@x.wasm",
            ".h@x.wasm",
            "below/chat@deep.wasm",
            "docs/guide/README.md",
            "chat.rs",
            "secret.toml",
        ] {
            write(name);
        }
        let content = read(folder.path()).expect("the folder");
        assert_eq!(content.versions.keys().collect::<Vec<_>>(), ["chat@plain"]);
        assert_eq!(content.versions["chat@plain"].channel, "chat");
        let texts: Vec<_> = content.texts.keys().collect();
        assert_eq!(texts, ["chat.rs", "docs/guide/README.md"]);
    }

    #[test]
    fn a_folder_that_is_missing_or_has_a_huge_text_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(read(&folder.path().join("missing")).is_err());
        let huge = "x".repeat(usize::try_from(MAX_TEXT_BYTES).expect("it fits") + 1);
        fs::write(folder.path().join("huge.md"), huge).expect("a file");
        let error = read(folder.path()).expect_err("it is too large").to_string();
        assert!(error.contains("huge.md has more than"), "{error}");
    }
}
