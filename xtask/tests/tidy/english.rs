//! Plain English in comments: the first word, a verb above functions, and a word that makes sentences
//! hard to read. CONTRIBUTING.md has the rules.

use super::GENERATED;
use super::assert_none;
use super::source::{files_under, read, repository, shown};

/// Folders with comments that keep the rules.
const FOLDERS: [&str; 9] =
    ["bench", "clients", "contract", "guest-sdk", "host", "plugins", "tests", "wit", "xtask"];

/// Endings of files with comments of the form `// …` or `/** … */`.
const ENDINGS: [&str; 5] = [".js", ".mjs", ".rs", ".ts", ".wit"];

/// Words that begin a clause without a head. A comment begins with a verb or a noun phrase.
const FIRST_WORDS: [&str; 10] =
    ["How", "What", "Whatever", "Where", "Whether", "Who", "Whoever", "Whom", "Whose", "Why"];

#[test]
fn comments_begin_with_a_verb_or_a_noun_phrase() {
    let mut found = Vec::new();
    for path in sources() {
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
fn the_documentation_of_a_function_begins_with_a_verb() {
    let mut found = Vec::new();
    for path in sources().into_iter().filter(|path| path.ends_with(".rs")) {
        for (number, line) in functions_without_verb(&read(&path)) {
            found.push(format!("{path}:{number}: {line}"));
        }
    }
    assert_none(&found, "begin these comments with a verb in the third person, such as `Returns`:");
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

/// Returns the paths of the files that keep the rules.
fn sources() -> Vec<String> {
    let files = FOLDERS.iter().flat_map(|folder| files_under(&repository().join(folder)));
    let paths = files.map(|file| shown(&file)).filter(|path| !path.starts_with(GENERATED));
    paths.filter(|path| ENDINGS.iter().any(|ending| path.ends_with(ending))).collect()
}

/// Returns the first line of each function's documentation that does not begin with a word that ends
/// in `s`, as a verb in the third person does; with its number.
fn functions_without_verb(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut documentation = None;
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if let Some(text) = line.strip_prefix("///") {
            documentation.get_or_insert((index + 1, text.trim_start()));
        } else if !line.starts_with("#[") {
            let first = documentation.take().filter(|_| declares_function(line));
            found.extend(first.filter(|(_, text)| !first_word(text).ends_with('s')));
        }
    }
    found
}

fn declares_function(line: &str) -> bool {
    let is_modifier = |c: char| c.is_alphanumeric() || " :()".contains(c);
    line.split_once("fn ").is_some_and(|(before, _)| before.chars().all(is_modifier))
}

/// Returns the text of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let marks = ["///", "//!", "//", "/**", "* "];
    let text = marks.iter().find_map(|mark| line.strip_prefix(mark))?;
    Some(text.trim_start())
}

fn is_odd(text: &str) -> bool {
    FIRST_WORDS.contains(&first_word(text)) || says_whoever(text)
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default()
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

#[test]
fn functions_without_a_verb_are_found_below_attributes() {
    let text = "/// The sum.\n///\n/// Of all.\n#[must_use]\npub(in crate::sum) const fn sum() {}\n\
                /// Returns it.\nasync fn get() {}\n\n/// A type.\nstruct Sum;\n";
    assert_eq!(functions_without_verb(text), [(1, "The sum.")]);
}
