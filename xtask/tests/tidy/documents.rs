//! The documents for authors: that each page of the guide can be found, and that its code is run.

use super::assert_none;
use super::source::{files_under, read, repository, shown};

const GUIDE: &str = "docs/guide/";

/// The pages of the guide, without the table of contents.
fn pages() -> Vec<String> {
    let files = files_under(&repository().join(GUIDE));
    let names = files.iter().map(|file| shown(file).trim_start_matches(GUIDE).to_owned());
    let pages: Vec<_> = names.filter(|name| name != "README.md").collect();
    assert!(!pages.is_empty(), "{GUIDE} is empty");
    pages
}

#[test]
fn every_page_of_the_guide_is_in_its_table_of_contents_and_its_code_is_run() {
    let contents = read("docs/guide/README.md");
    let run = read("guest-sdk/src/guide.rs");
    let mut findings = Vec::new();
    for page in pages() {
        if !contents.contains(&format!("]({page}):")) {
            findings.push(format!("{GUIDE}README.md: list {page}"));
        }
        if !run.contains(&format!("\"{page}\"")) {
            findings.push(format!("guest-sdk/src/guide.rs: name {page}"));
        }
        if !read(&format!("{GUIDE}{page}")).contains("```rust,test_harness\n") {
            findings.push(format!("{GUIDE}{page}: show a channel with its tests"));
        }
    }
    assert_none(&findings, "a page of the guide is found, compiled and run:");
}

#[test]
fn links_from_the_guide_lead_somewhere() {
    let mut findings = Vec::new();
    for page in pages().into_iter().chain(["README.md".to_owned()]) {
        let text = read(&format!("{GUIDE}{page}"));
        for (target, _) in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let path = target.split('#').next().unwrap_or_default();
            let is_elsewhere = path.is_empty() || path.starts_with("https://");
            if !is_elsewhere && !repository().join(GUIDE).join(path).exists() {
                findings.push(format!("{GUIDE}{page}: {target}"));
            }
        }
    }
    assert_none(&findings, "these links of the guide lead nowhere:");
}
