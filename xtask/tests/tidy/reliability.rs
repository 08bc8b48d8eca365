//! The page of reliability: each test that it names exists.

use super::assert_none;
use super::source::{files_under, read, repository, shown};

/// The page.
const PAGE: &str = "docs/reliability.md";

/// Form of a name, as the page explains it.
const FORM: &str = "file.rs::name";

/// Smallest number of names that the page has, so that another form of them is noticed.
const MIN_NAMES: usize = 100;

#[test]
fn each_test_of_the_page_of_reliability_exists() {
    let page = read(PAGE);
    let named: Vec<&str> = named_tests(&page).collect();
    assert!(named.len() >= MIN_NAMES, "{PAGE} names {} tests only, as `{FORM}`", named.len());
    let files = files_under(&repository());
    let paths = files.iter().map(|file| shown(file));
    let paths = paths.filter(|path| path.ends_with(".rs") || path.ends_with(".test.js"));
    let sources: Vec<(String, String)> = paths.map(|path| (path.clone(), read(&path))).collect();
    let is_there = |named: &str| sources.iter().any(|(path, text)| has_test(path, text, named));
    let missing: Vec<String> =
        named.into_iter().filter(|named| !is_there(named)).map(str::to_owned).collect();
    assert_none(&missing, "these tests are gone or have other names: correct docs/reliability.md:");
}

/// Returns the tests that a page names: the texts in single backquotes of the form `file.rs::name`.
fn named_tests(page: &str) -> impl Iterator<Item = &str> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.contains("::") && *text != FORM)
}

/// Returns true if a file is the one that is named, and has the test.
fn has_test(path: &str, text: &str, named: &str) -> bool {
    let Some((file, name)) = named.split_once("::") else {
        return false;
    };
    let is_file = path.strip_suffix(file).is_some_and(|folder| folder.ends_with('/'));
    is_file && (text.contains(&format!("fn {name}(")) || text.contains(&format!("test(\"{name}\"")))
}

#[test]
fn a_named_test_is_in_the_file_of_its_name_only() {
    let page = "As `file.rs::name`: `a.rs::one`, `max_bytes`, `b.test.js::two words`.";
    assert_eq!(named_tests(page).collect::<Vec<_>>(), ["a.rs::one", "b.test.js::two words"]);
    let rust = "#[test]\nfn one() {}\n";
    assert!(has_test("tests/tests/a.rs", rust, "a.rs::one"));
    assert!(!has_test("tests/tests/aa.rs", rust, "a.rs::one"));
    assert!(!has_test("tests/tests/a.rs", rust, "a.rs::on"));
    assert!(has_test("clients/b.test.js", "test(\"two words\", () => {", "b.test.js::two words"));
}
