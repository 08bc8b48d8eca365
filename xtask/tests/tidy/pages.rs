//! The documents as a reader meets them: short at the top, listed, and without a dead link.

use super::assert_none;
use super::source::{files_under, read, repository, shown};

/// Longest README, in bytes. The reference belongs into `docs/`.
const README_BYTES: usize = 9 * 1024;

#[test]
fn the_readme_is_short() {
    let bytes = read("README.md").len();
    assert!(
        bytes <= README_BYTES,
        "README.md has {bytes} bytes, at most {README_BYTES} are allowed: move reference into docs/"
    );
}

#[test]
fn every_document_is_in_the_index() {
    let index = read("docs/README.md");
    // The guide has an index of its own.
    let is_listed_elsewhere = |path: &str| path.starts_with("guide/") && path != "guide/README.md";
    let missing: Vec<String> = documents()
        .iter()
        .filter_map(|path| path.strip_prefix("docs/"))
        .filter(|path| *path != "README.md" && !is_listed_elsewhere(path))
        .filter(|path| !index.contains(&format!("]({path})")))
        .map(str::to_owned)
        .collect();
    assert_none(&missing, "list these documents in docs/README.md:");
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let mut dead = Vec::new();
    for path in documents() {
        let (folder, _) = path.rsplit_once('/').unwrap_or_default();
        let text = without_code(&read(&path));
        for (target, _) in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = match file {
                "" => repository().join(&path),
                file => repository().join(folder).join(file),
            };
            let has_anchor = || {
                let text = std::fs::read_to_string(&linked).unwrap_or_default();
                anchors(&text).iter().any(|known| known == anchor)
            };
            if !linked.exists() || !(anchor.is_empty() || has_anchor()) {
                dead.push(format!("{path}: {target}"));
            }
        }
    }
    assert_none(&dead, "these links lead nowhere:");
}

/// Returns all Markdown files of the repository.
fn documents() -> Vec<String> {
    let files = files_under(&repository());
    files.iter().map(|file| shown(file)).filter(|path| path.ends_with(".md")).collect()
}

/// Returns a document without its blocks of code.
fn without_code(text: &str) -> String {
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// Returns the anchors of a document's headings, as code forges make them.
fn anchors(text: &str) -> Vec<String> {
    let text = without_code(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let kept = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == ' ';
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.chars().filter(|c| kept(*c)).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn anchors_are_those_of_headings_outside_code() {
    let text = "# One `two`, three\n\ntext\n\n```sh\n# no heading\n```\n\n## Four's five-six\n";
    assert_eq!(anchors(text), ["one-two-three", "fours-five-six"]);
}
