//! The links of the finished book: each leads to a file, and to an anchor in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::process::Outcome;
use crate::workspace::entries;

/// Fails with all links that lead nowhere.
pub fn check(book: &Path) -> Outcome {
    let mut pages = BTreeMap::new();
    read_pages(book, &mut pages)?;
    if pages.is_empty() {
        return Err(format!("there is no page in {}", book.display()));
    }
    let anchors: BTreeMap<_, BTreeSet<_>> = pages
        .iter()
        .map(|(page, text)| (page.clone(), values(text, "id").map(str::to_owned).collect()))
        .collect();
    let mut dead = Vec::new();
    for (page, text) in &pages {
        for target in values(text, "href").chain(values(text, "src")) {
            if !leads_somewhere(book, page, target, &anchors) {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    match dead.is_empty() {
        true => Ok(()),
        false => Err(format!("these links of the book lead nowhere:\n  {}", dead.join("\n  "))),
    }
}

/// Reads all pages under a folder, by their paths.
fn read_pages(folder: &Path, pages: &mut BTreeMap<PathBuf, String>) -> Outcome {
    for name in entries(folder)? {
        let path = folder.join(&name);
        if path.is_dir() {
            read_pages(&path, pages)?;
        } else if name.ends_with(".html") {
            let text = fs::read_to_string(&path)
                .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            pages.insert(path, text);
        }
    }
    Ok(())
}

fn leads_somewhere(
    book: &Path,
    page: &Path,
    target: &str,
    anchors: &BTreeMap<PathBuf, BTreeSet<String>>,
) -> bool {
    if target.contains("://") || target.starts_with("data:") {
        return true;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let linked = match file {
        "" => page.to_owned(),
        file => {
            // The page for paths that do not exist has links from the root.
            match file.strip_prefix('/') {
                Some(file) => followed(book, file),
                None => followed(page.parent().unwrap_or(book), file),
            }
        }
    };
    if linked.is_dir() {
        return linked.join("index.html").is_file();
    }
    let has_anchor =
        || anchors.get(&linked).is_some_and(|anchors| anchors.contains(&percent_decoded(anchor)));
    linked.is_file() && (anchor.is_empty() || has_anchor())
}

/// Returns the path that a link leads to from a folder. The folder need not exist.
pub fn followed(folder: &Path, target: &str) -> PathBuf {
    let mut path = folder.to_owned();
    for component in Path::new(target).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            other => path.push(other),
        }
    }
    path
}

/// Returns the values of an attribute, as they stand in the text.
fn values<'a>(text: &'a str, attribute: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(attribute).filter_map(move |(start, _)| {
        let is_attribute = text[..start].ends_with(char::is_whitespace);
        let value = text[start + attribute.len()..].strip_prefix("=\"")?;
        let (value, _) = value.split_once('"')?;
        is_attribute.then_some(value)
    })
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_in_tags() {
        let text = r#"<a class="x" href="b.html#c"><h2 id="d"></h2> data-id="e" <p grid="f">"#;
        assert_eq!(values(text, "href").collect::<Vec<_>>(), ["b.html#c"]);
        assert_eq!(values(text, "id").collect::<Vec<_>>(), ["d"]);
        assert_eq!(percent_decoded("a%20%C3%A4%"), "a ä%");
    }
}
