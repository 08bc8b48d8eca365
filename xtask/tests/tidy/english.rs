//! Plain English in comments: the first word, and a word that makes sentences hard to read.
//! CONTRIBUTING.md has the rules.

use super::assert_none;
use super::source::{files_under, read, repository, shown};

/// Folders whose comments keep the rules.
const FOLDERS: [&str; 4] = ["clients", "plugins", "tests", "wit"];

/// Endings of files with comments of the form `// …` or `/** … */`.
const ENDINGS: [&str; 5] = [".js", ".mjs", ".rs", ".ts", ".wit"];

/// Words that begin a clause without a head. A comment begins with a verb or a noun phrase.
const FIRST_WORDS: [&str; 10] =
    ["How", "What", "Whatever", "Where", "Whether", "Who", "Whoever", "Whom", "Whose", "Why"];

#[test]
fn comments_begin_with_a_verb_or_a_noun_phrase() {
    let mut found = Vec::new();
    let folders = FOLDERS.iter().flat_map(|folder| files_under(&repository().join(folder)));
    let paths = folders.map(|file| shown(&file));
    for path in paths.filter(|path| ENDINGS.iter().any(|ending| path.ends_with(ending))) {
        for (index, line) in read(&path).lines().enumerate() {
            if comment(line).is_some_and(is_odd) {
                found.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    assert_none(
        &found,
        "begin these comments with a verb in the third person (functions) or a noun phrase (types, \
         fields, constants), and name the subject instead of `whoever`:",
    );
}

#[test]
fn documents_name_the_subject() {
    let mut found = Vec::new();
    for file in files_under(&repository().join("docs")) {
        let path = shown(&file);
        if !path.ends_with(".md") {
            continue;
        }
        for (index, line) in read(&path).lines().enumerate() {
            if says_whoever(line) {
                found.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "name the subject instead of `whoever`:");
}

/// Returns the text of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let marks = ["///", "//!", "//", "/**", "* "];
    let text = marks.iter().find_map(|mark| line.strip_prefix(mark))?;
    Some(text.trim_start())
}

fn is_odd(text: &str) -> bool {
    let first = text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    FIRST_WORDS.contains(&first) || says_whoever(text)
}

fn says_whoever(text: &str) -> bool {
    text.to_lowercase().split(|c: char| !c.is_alphabetic()).any(|word| word == "whoever")
}

#[test]
fn odd_comments_are_found_in_every_form_of_comment() {
    let odd =
        ["/// What it does.", "  // Whether it does.", "//! A list for whoever asks.", " * How."];
    for line in odd {
        assert!(comment(line).is_some_and(is_odd), "{line}");
    }
    let plain = ["/// Whatsoever.", "let what = 1;", "// Returns what it has.", "/** A list. */"];
    for line in plain {
        assert!(!comment(line).is_some_and(is_odd), "{line}");
    }
}
