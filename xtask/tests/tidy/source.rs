//! Just enough of Rust's grammar to look at code without being misled by comments, strings
//! and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file, taken apart line by line.
pub struct Source {
    /// Path relative to the repository, with `/` on every system.
    pub path: String,
    /// All lines, in order.
    pub lines: Vec<Line>,
}

/// One line of a [`Source`].
pub struct Line {
    /// Number, counted from 1.
    pub number: usize,
    /// The line without comments and without the content of quotes. Empty in tests.
    pub code: String,
    /// The comments on the line.
    pub comment: String,
}

impl Source {
    /// Reads all Rust files under a folder of the repository, without those of tests, benchmarks
    /// and build scripts.
    pub fn all_under(folder: &str) -> Vec<Source> {
        files_under(&repository().join(folder))
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == "rs"))
            .map(|file| shown(file))
            .filter(|path| !path.ends_with("/tests.rs") && !path.contains("/tests/"))
            .filter(|path| !path.ends_with("/build.rs") && !path.contains("/benches/"))
            .filter(|path| !path.starts_with(super::GENERATED))
            .map(|path| Source::parse(path.clone(), &read(&path)))
            .collect()
    }

    /// Takes a text apart.
    pub fn parse(path: String, text: &str) -> Source {
        let (code, comments) = separate(text);
        let code = without_tests(&code);
        let lines = code
            .lines()
            .zip(comments.lines())
            .enumerate()
            .map(|(index, (code, comment))| Line {
                number: index + 1,
                code: code.to_owned(),
                comment: comment.to_owned(),
            })
            .collect();
        Source { path, lines }
    }

    /// Returns the identifiers of the code, each with the number of its line and what follows it.
    pub fn identifiers(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        self.lines.iter().flat_map(|line| {
            let starts = identifier_starts(&line.code);
            starts.into_iter().map(|start| {
                let rest = &line.code[start..];
                let end = rest.find(|c| !is_identifier(c)).unwrap_or(rest.len());
                (line.number, &rest[..end], &rest[end..])
            })
        })
    }

    /// Returns the modules that follow `root::` in paths, `use` groups included, each with its
    /// line.
    pub fn paths_from(&self, root: &str) -> Vec<(usize, String)> {
        let code: Vec<&str> = self.lines.iter().map(|line| line.code.as_str()).collect();
        let code = code.join("\n");
        let mut found = Vec::new();
        for start in identifier_starts(&code) {
            let Some(rest) = code[start..].strip_prefix(root) else {
                continue;
            };
            let Some(rest) = rest.strip_prefix("::") else {
                continue;
            };
            let number = code[..start].matches('\n').count() + 1;
            let names = match rest.strip_prefix('{') {
                Some(group) => first_names_of_group(group),
                None => vec![first_name(rest)],
            };
            found.extend(names.into_iter().map(|name| (number, name)));
        }
        found
    }
}

/// Returns the repository's folder.
pub fn repository() -> PathBuf {
    // The variable is read when the test runs: a copied target folder remembers another checkout.
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let xtask = xtask.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    xtask.parent().unwrap_or(&xtask).to_owned()
}

/// Returns a file's text. Fails the test if the file is missing or not text.
pub fn read(path: &str) -> String {
    let file = repository().join(path);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
}

/// Returns all files under a folder, in order, without the folders that git ignores: cargo's target
/// folders, npm's modules, git's own. Empty if there is no such folder.
pub fn files_under(folder: &Path) -> Vec<PathBuf> {
    let is_kept = |folder: &Path| {
        let name = folder.file_name().unwrap_or_default();
        name != ".git" && name != "node_modules" && !folder.join("CACHEDIR.TAG").exists()
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.is_dir() {
            files.push(path);
        } else if is_kept(&path) {
            files.extend(files_under(&path));
        }
    }
    files.sort();
    files
}

/// Returns a path relative to the repository, with `/` on every system.
pub fn shown(file: &Path) -> String {
    let relative = file.strip_prefix(repository()).unwrap_or(file);
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn identifier_starts(code: &str) -> Vec<usize> {
    let mut before = ' ';
    let mut starts = Vec::new();
    for (index, c) in code.char_indices() {
        if is_identifier(c) && !is_identifier(before) && !c.is_numeric() {
            starts.push(index);
        }
        before = c;
    }
    starts
}

fn first_name(path: &str) -> String {
    path.trim_start().chars().take_while(|c| is_identifier(*c)).collect()
}

/// Returns the first names in `{a, b::{c, d}}`, given without its first brace: `a` and `b`.
fn first_names_of_group(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut at_start = true;
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && is_identifier(c) => {
                names.push(first_name(&group[index..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

/// Splits a text into code and comments of the same shape; the rest of each is blank.
fn separate(text: &str) -> (String, String) {
    let characters: Vec<char> = text.chars().collect();
    let starts_with = |at: usize, what: &str| {
        what.chars().enumerate().all(|(offset, c)| characters.get(at + offset) == Some(&c))
    };
    let (mut code, mut comments) = (String::new(), String::new());
    let mut put = |c: char, is_code: bool, is_comment: bool| {
        let or_blank = |keep: bool| if keep || c == '\n' { c } else { ' ' };
        code.push(or_blank(is_code));
        comments.push(or_blank(is_comment));
    };
    let mut at = 0;
    while at < characters.len() {
        let end = if starts_with(at, "//") {
            line_end(&characters, at)
        } else if starts_with(at, "/*") {
            block_comment_end(&characters, at)
        } else if let Some(end) = quoted_end(&characters, at) {
            // The quotes stay, so that a value is still seen to be there.
            for (index, c) in characters.iter().enumerate().take(end).skip(at) {
                put(*c, index == at || index + 1 == end, false);
            }
            at = end;
            continue;
        } else {
            put(characters[at], true, false);
            at += 1;
            continue;
        };
        for c in &characters[at..end] {
            put(*c, false, true);
        }
        at = end;
    }
    (code, comments)
}

fn line_end(characters: &[char], at: usize) -> usize {
    let rest = characters[at..].iter().position(|c| *c == '\n');
    rest.map_or(characters.len(), |length| at + length)
}

fn block_comment_end(characters: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < characters.len() {
        match (characters[at], characters.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(characters.len())
}

/// Returns the end of the string or character that starts here; `None` if none starts.
fn quoted_end(characters: &[char], at: usize) -> Option<usize> {
    let raw_hashes = match characters[at] {
        '"' => None,
        'r' if at == 0 || !is_identifier(characters[at - 1]) || characters[at - 1] == 'b' => {
            let hashes = characters[at + 1..].iter().take_while(|c| **c == '#').count();
            if characters.get(at + 1 + hashes) != Some(&'"') {
                return None;
            }
            Some(hashes)
        }
        '\'' => {
            // A lifetime has no closing quote after one character.
            let closing = match characters.get(at + 1)? {
                '\\' => characters[at + 3..].iter().position(|c| *c == '\'')? + at + 3,
                _ => at + 2,
            };
            return (characters.get(closing) == Some(&'\'')).then_some(closing + 1);
        }
        _ => return None,
    };
    let mut index = at + 1 + raw_hashes.map_or(0, |hashes| hashes + 1);
    while index < characters.len() {
        let hashes = raw_hashes.unwrap_or(0);
        let closed = characters[index] == '"'
            && characters[index + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
        if closed {
            return Some(index + 1 + hashes);
        }
        let escaped = raw_hashes.is_none() && characters[index] == '\\';
        index += if escaped { 2 } else { 1 };
    }
    Some(characters.len())
}

/// Blanks every item that is compiled for tests only.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        let (before, item) = rest.split_at(start);
        let end = item_end(item);
        kept.push_str(before);
        kept.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}

/// Returns the end of an item: its first `;`, or the brace that closes its first one.
fn item_end(item: &str) -> usize {
    let mut depth = 0;
    for (index, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return index + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return index + 1,
            _ => {}
        }
    }
    item.len()
}

#[test]
fn comments_strings_and_tests_are_told_from_code() {
    let text = r####"
use crate::{a, b::{c, d}}; // crate::comment
/* crate::block /* crate::nested */ */ fn f<'a>(x: &'a str) -> char { '"' }
const S: &str = "crate::string \" // crate::no_comment";
const R: &str = r#"crate::raw " "#; fn g() { crate::e::f(); '\'' }
#[cfg(test)]
mod tests { fn t() { crate::test::f(); } }
use crate::after;
"####;
    let source = Source::parse("x.rs".to_owned(), text);
    let names: Vec<(usize, String)> = source.paths_from("crate");
    let expected = [(2, "a"), (2, "b"), (5, "e"), (8, "after")];
    assert_eq!(names, expected.map(|(line, name)| (line, name.to_owned())));
    assert_eq!(source.lines[1].comment.trim(), "// crate::comment");
}
