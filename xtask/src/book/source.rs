//! The copy of the documents that mdBook reads, and its table of contents.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::links::followed;
use crate::process::Outcome;
use crate::workspace::{create_folder, entries, remove_folder};

/// The first page.
const FIRST: &str = "README.md";

/// The page whose tables become the table of contents.
const INDEX: &str = "docs/README.md";

/// The page whose numbered list becomes the chapters below it.
const GUIDE: &str = "docs/guide/README.md";

/// Ends of names of files that are copied as they are.
const PICTURES: [&str; 2] = [".svg", ".png"];

/// The outcome of a copy.
pub struct Written {
    /// Settings of mdBook that leave code out of the search.
    pub unsearched: String,
}

/// Copies the documents with their links, and writes the table of contents.
pub fn write(root: &Path, folder: &Path) -> Outcome<Written> {
    remove_folder(folder)?;
    let mut copy = Copy { root, folder, pages: BTreeSet::new(), files: BTreeSet::new() };
    // The first page is also `index.html` of the book, so that its links must hold from there.
    let mut summary = format!("# Wharf\n\n[Wharf]({FIRST})\n[All documents]({INDEX})\n");
    copy.page(FIRST)?;
    copy.page(INDEX)?;
    for line in copy.read(INDEX)?.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            summary.push_str(&format!("\n# {title}\n\n"));
        } else if let Some((title, target)) = row(line) {
            let page = resolved(INDEX, target);
            if page == FIRST {
                continue;
            }
            let title = match title.parse::<u32>() {
                Ok(_) => first_heading(&copy.read(&page)?),
                Err(_) => capitalised(title),
            };
            summary.push_str(&format!("- [{title}]({page})\n"));
            copy.page(&page)?;
            if page == GUIDE {
                summary.push_str(&copy.guide()?);
            }
        }
    }
    let files = copy.linked_files()?;
    summary.push_str("\n# Sources\n\n");
    for file in &files {
        summary.push_str(&format!("- [{file}]({file}.md)\n"));
    }
    let path = folder.join("SUMMARY.md");
    fs::write(&path, summary).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    let unsearched = files
        .iter()
        .map(|file| format!("\n[output.html.search.chapter.\"{file}.md\"]\nenable = false\n"));
    Ok(Written { unsearched: unsearched.collect() })
}

struct Copy<'a> {
    root: &'a Path,
    folder: &'a Path,
    /// The documents that have been copied.
    pages: BTreeSet<String>,
    /// Files and folders of the repository that the documents link to.
    files: BTreeSet<String>,
}

impl Copy<'_> {
    /// Copies the pages of the guide. Returns their lines of the table of contents.
    fn guide(&mut self) -> Outcome<String> {
        let mut lines = String::new();
        for line in self.read(GUIDE)?.lines() {
            let item = line.split_once(". [").filter(|(number, _)| number.parse::<u32>().is_ok());
            if let Some((title, target)) = item.and_then(|(_, rest)| link(rest)) {
                let page = resolved(GUIDE, target);
                lines.push_str(&format!("  - [{title}]({page})\n"));
                self.page(&page)?;
            }
        }
        Ok(lines)
    }

    /// Copies a document. Its links to files that are no documents lead to the pages about them.
    fn page(&mut self, path: &str) -> Outcome {
        if !self.pages.insert(path.to_owned()) {
            return Ok(());
        }
        let text = self.read(path)?;
        // Every second part is a block of code.
        let parts: Vec<String> = text
            .split("\n```")
            .enumerate()
            .map(|(index, part)| match index % 2 {
                0 => self.with_links(path, part),
                _ => part.to_owned(),
            })
            .collect();
        self.write(path, &parts.join("\n```"))
    }

    fn with_links(&mut self, path: &str, text: &str) -> String {
        let mut parts = text.split("](");
        let mut result = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            result.push_str("](");
            let Some((target, rest)) = part.split_once(')') else {
                result.push_str(part);
                continue;
            };
            let file = resolved(path, target.split('#').next().unwrap_or_default());
            let is_elsewhere = target.contains("://") || target.starts_with('#');
            if is_elsewhere || file.ends_with(".md") {
                result.push_str(target);
            } else if PICTURES.iter().any(|ending| file.ends_with(ending)) {
                self.files.insert(file);
                result.push_str(target);
            } else {
                self.files.insert(file);
                result.push_str(&format!("{}.md", target.trim_end_matches('/')));
            }
            result.push(')');
            result.push_str(rest);
        }
        result
    }

    /// Writes the pages about files and folders, and copies pictures. Returns the paths of the pages.
    fn linked_files(&self) -> Outcome<Vec<String>> {
        let mut pages = Vec::new();
        for file in &self.files {
            let path = self.root.join(file);
            if PICTURES.iter().any(|ending| file.ends_with(ending)) {
                let copy = self.folder.join(file);
                create_folder(copy.parent().unwrap_or(self.folder))?;
                fs::copy(&path, &copy).map_err(|e| format!("cannot copy {file}: {e}"))?;
                continue;
            }
            let text = match path.is_dir() {
                true => entries(&path)?.iter().map(|name| format!("- `{name}`\n")).collect(),
                false => {
                    let language = file.rsplit_once('.').map_or("text", |(_, ending)| ending);
                    let language = if language == "rs" { "rust" } else { language };
                    format!("````{language}\n{}````\n", self.read(file)?)
                }
            };
            self.write(&format!("{file}.md"), &format!("# {file}\n\n{text}"))?;
            pages.push(file.clone());
        }
        Ok(pages)
    }

    fn read(&self, path: &str) -> Outcome<String> {
        fs::read_to_string(self.root.join(path)).map_err(|e| format!("cannot read {path}: {e}"))
    }

    fn write(&self, path: &str, text: &str) -> Outcome {
        let file = self.folder.join(path);
        create_folder(file.parent().unwrap_or(self.folder))?;
        fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))
    }
}

/// Returns title and target of a page in a row of a table. A link to a part of a page is none.
fn row(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("| [").and_then(link).filter(|(_, target)| !target.contains('#'))
}

/// Returns title and target of a link whose first bracket has been read.
fn link(rest: &str) -> Option<(&str, &str)> {
    let (title, rest) = rest.split_once("](")?;
    Some((title, rest.split_once(')')?.0))
}

/// Returns the path in the repository that a link of a page leads to.
fn resolved(page: &str, target: &str) -> String {
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    followed(folder, target).to_string_lossy().into_owned()
}

fn capitalised(title: &str) -> String {
    let mut characters = title.chars();
    let first = characters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(characters).collect()
}

fn first_heading(text: &str) -> String {
    let heading = text.lines().find_map(|line| line.strip_prefix("# "));
    heading.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_followed_from_its_page() {
        assert_eq!(resolved("docs/guide/rooms.md", "../errors.md"), "docs/errors.md");
        assert_eq!(resolved("docs/README.md", "../tests/tests/"), "tests/tests");
        assert_eq!(link("a](b#c): d"), Some(("a", "b#c")));
        assert_eq!((row("| [a](b) |"), row("| [a](b#c) |")), (Some(("a", "b")), None));
    }
}
