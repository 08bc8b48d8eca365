//! The documents for authors: each page of the guide can be found and its code is run, and every
//! error is explained.

use std::collections::BTreeSet;

use super::assert_none;
use super::source::{files_under, read, repository, shown};
use wharf_contract::close::{Reason, Reconnect};
use wharf_contract::description::Misdescribed;
use wharf_contract::fault::Fault;
use wharf_contract::handshake::TurnedAway;
use wharf_contract::pattern::PatternError;
use wharf_contract::refusal::{CODES, Code};

const GUIDE: &str = "docs/guide/";

/// The page whose code stands in files of its own, a step each.
const AUCTION: &str = "auction.md";

/// Returns the pages of the guide, without the table of contents.
fn pages() -> Vec<String> {
    let files = files_under(&repository().join(GUIDE));
    let names = files.iter().map(|file| shown(file).trim_start_matches(GUIDE).to_owned());
    let names = names.filter(|name| name.ends_with(".md"));
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
        if page == AUCTION {
            continue;
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
fn the_auction_of_the_guide_shows_code_that_is_compiled_and_run() {
    let page = read(&format!("{GUIDE}{AUCTION}"));
    let run = read("guest-sdk/tests/auction.rs");
    let (mut findings, mut shown) = (Vec::new(), 0);
    for section in page.split("\n## ").filter(|section| section.contains("\nThe file: ")) {
        let (_, rest) = section.split_once("\nThe file: ").unwrap_or_default();
        let link = rest.split_once("](").and_then(|(_, rest)| rest.split_once(')'));
        let (link, _) = link.expect("a link to the file of the step");
        // The last step is a plugin, and has tests of its own.
        let path = match link.strip_prefix("../../") {
            Some(path) => path.to_owned(),
            None => format!("{GUIDE}{link}"),
        };
        if !path.starts_with("plugins/") && !run.contains(&format!("\"../../{path}\"")) {
            findings.push(format!("guest-sdk/tests/auction.rs: run {path}"));
        }
        let code = trimmed(&read(&path));
        for block in section.split("\n```rust\n").skip(1) {
            shown += 1;
            let block = trimmed(block.split("\n```").next().unwrap_or_default());
            if !code.contains(&block) {
                findings.push(format!("{path} does not contain: {}", block.replace('\n', " ")));
            }
        }
    }
    assert!(shown > 10, "{AUCTION} shows no code any more: teach this test its new form");
    assert_none(&findings, "make docs/guide/auction.md and the files of its steps agree:");
}

/// Returns a text with its lines trimmed, and a line break before and after it.
fn trimmed(text: &str) -> String {
    let lines = text.lines().map(|line| format!("\n{}", line.trim()));
    lines.chain(["\n".to_owned()]).collect()
}

#[test]
fn the_guide_begins_with_tasks_and_a_page_for_each() {
    let contents = read(&format!("{GUIDE}README.md"));
    let (_, section) = contents.split_once("\n## By task\n").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() >= 10, "only {} tasks", rows.len());
    let is_answered = |row: &str| {
        let (_, rest) = row.split_once("](")?;
        let (target, _) = rest.split_once(')')?;
        let file = target.split('#').next()?;
        repository().join(GUIDE).join(file).is_file().then_some(())
    };
    let missing: Vec<_> = rows.into_iter().filter(|row| is_answered(row).is_none()).collect();
    let missing: Vec<_> = missing.into_iter().map(str::to_owned).collect();
    assert_none(&missing, "each task has a link to the page that answers it:");
}

#[test]
fn every_code_of_a_host_call_is_explained() {
    let known: BTreeSet<String> = CODES.iter().map(|code| code.token.to_owned()).collect();
    let explained = explained_codes();
    let codes = |codes: &BTreeSet<String>| codes.iter().cloned().collect::<Vec<_>>();
    assert_none(
        &codes(&known.difference(&explained).cloned().collect()),
        "explain these codes in docs/errors.md, under \"A host call is refused\":",
    );
    assert_none(
        &codes(&explained.difference(&known).cloned().collect()),
        "docs/errors.md explains codes that contract/src/refusal.rs does not have; take them out:",
    );
}

#[test]
fn every_code_of_the_page_of_errors_is_met_in_a_test_through_the_front_door() {
    let tests: String = files_under(&repository().join("tests/tests"))
        .iter()
        .map(|file| read(&shown(file)))
        .collect();
    let page = read("docs/errors.md");
    let sections = ["\n## A host call is refused\n", "\n## A handler breaks\n"];
    let rows = sections.iter().flat_map(|title| {
        let (_, section) = page.split_once(title).expect("the section");
        section.split("\n## ").next().unwrap_or_default().lines()
    });
    let codes = rows.filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0));
    let is_met = |code: &str| {
        let ends_there = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-');
        tests.split(code).skip(1).any(ends_there)
    };
    let missing: Vec<_> = codes.filter(|code| !is_met(code)).map(str::to_owned).collect();
    assert_none(&missing, "write a test in tests/tests in which a plugin meets these codes:");
}

/// Returns the texts in the first column of the table of codes.
fn explained_codes() -> BTreeSet<String> {
    let page = read("docs/errors.md");
    let (_, section) = page.split_once("\n## A host call is refused\n").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(code, _)| code.to_owned()).collect()
}

#[test]
fn every_reason_to_refuse_a_plugin_or_a_client_is_explained() {
    // Each file, the text at which to begin, and the texts that precede a reason.
    let sources: [(&str, &str, &[&str]); 7] = [
        ("host/runtime/src/plugin/watch/file.rs", "", &["Some(", "format!(", "true => "]),
        ("host/runtime/src/plugin/component.rs", "pub enum ComponentError {", &["#[error("]),
        (
            "host/server/src/token.rs",
            "",
            &["Algorithm, ", "Claims, ", "Expiry, ", "Issuer, ", "Signature, ", "let why = "],
        ),
        ("host/runtime/src/ports/tokens.rs", "", &["=> "]),
        ("host/runtime/src/plugin/compiler.rs", "pub(crate) enum WorkError {", &["#[error("]),
        ("host/runtime/src/registry/load.rs", "", &["FileRefusal::of_failure("]),
        ("host/runtime/src/registry/follow.rs", "", &["FileRefusal::passing(", "format!("]),
    ];
    let page = one_line(&read("docs/errors.md"));
    // The values in place of `{…}` are not on the page.
    let is_explained =
        |reason: &str| reason.split(['{', '}']).step_by(2).all(|part| page.contains(part.trim()));
    let in_contract =
        [Misdescribed::SENTENCES, PatternError::SENTENCES, TurnedAway::SENTENCES].concat();
    let unexplained = in_contract.into_iter().filter(|sentence| !is_explained(&one_line(sentence)));
    let mut missing: Vec<String> = unexplained.map(|s| format!("contract: {s}")).collect();
    for (path, beginning, markers) in sources {
        let text = read(path);
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let start = text.find(beginning).unwrap_or_else(|| panic!("{path} has no {beginning}"));
        let text = &text[start..];
        let end = if beginning.is_empty() { None } else { text.find("\n}\n") };
        let text = &text[..end.unwrap_or(text.len())];
        let mut found = 0;
        for marker in markers {
            for (at, _) in text.match_indices(marker) {
                let Some(reason) = text_after(&text[at + marker.len()..]) else { continue };
                found += 1;
                if !is_explained(&reason) {
                    missing.push(format!("{path}: {reason}"));
                }
            }
        }
        assert!(found > 1, "{path} has no reasons any more: teach this test their new form");
    }
    assert_none(&missing, "explain these reasons in docs/errors.md:");
}

#[test]
fn every_fault_and_every_reason_to_close_is_explained() {
    let page = read("docs/errors.md");
    let faults = Fault::ALL.iter().map(|fault| fault.token());
    let tokens = faults.chain(Reason::ALL.iter().map(|reason| reason.token()));
    let missing = tokens.filter(|token| !page.contains(&format!("| `{token}` |")));
    let missing: Vec<String> = missing.map(str::to_owned).collect();
    assert_none(&missing, "give these tokens a row in docs/errors.md:");
}

#[test]
fn every_code_of_a_host_call_has_its_remedy_on_the_page_of_errors() {
    let page = read("docs/errors.md");
    let row = |code: &Code| format!("| `{}` | `{}` |", code.token, code.remedy.name());
    let missing: Vec<_> = CODES.iter().map(row).filter(|row| !page.contains(row)).collect();
    assert_none(&missing, "begin these rows of docs/errors.md so:");
}

#[test]
fn the_list_of_endings_is_the_contracts() {
    let page = read("docs/terminology.md");
    let rows = Reason::ALL.iter().map(|reason| {
        let code = match (reason, reason.code()) {
            (_, Some(code)) => code.to_string(),
            (Reason::ClientClosed, None) => "the client's".to_owned(),
            (Reason::ChannelClosed, None) => "the channel's".to_owned(),
            (_, None) => "none".to_owned(),
        };
        format!("| `{}` | {code} | {} |", reason.token(), reason.reconnect().words())
    });
    let missing: Vec<_> = rows.filter(|row| !page.contains(row)).collect();
    assert_none(&missing, "begin these rows of docs/terminology.md so:");
}

#[test]
fn the_page_of_errors_says_of_which_endings_clients_come_back() {
    let page = read("docs/errors.md");
    let mut findings = Vec::new();
    for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::ChannelClosed) {
        let token = format!("`{}` |", reason.token());
        let mut rows = page
            .lines()
            .filter_map(|row| row.strip_prefix("| ")?.split_once("| ")?.1.strip_prefix(&token));
        let may_come_back = reason.reconnect() != Reconnect::No;
        if rows.next_back().is_none_or(|text| text.contains("come back") != may_come_back) {
            findings.push(format!("{reason}: {}", reason.reconnect().words()));
        }
    }
    assert_none(&findings, "say so in docs/errors.md, under \"A connection is closed\":");
}

#[test]
fn the_client_for_browsers_comes_back_after_the_endings_that_pass() {
    let client = read("clients/js/wharf.js");
    let codes_after = |beginning: &str| -> Vec<u16> {
        let (_, rest) = client.split_once(beginning).unwrap_or_else(|| panic!("no {beginning}"));
        let (codes, _) = rest.split_once(']').expect("the end of a list");
        codes.split(',').map(|code| code.trim().parse().expect("a code")).collect()
    };
    let (recoverable, token_codes) =
        (codes_after("const RECOVERABLE_CODES = ["), codes_after("tokenCodes: ["));
    // A lost network has this code in browsers (RFC 6455, 7.1.5).
    let lost = 1006;
    let mut findings = Vec::new();
    for reason in Reason::ALL {
        let is_sent_by_others = matches!(reason, Reason::ClientClosed | Reason::ChannelClosed);
        let code = reason.code().unwrap_or(lost);
        let is_as_said = match reason.reconnect() {
            _ if is_sent_by_others => true,
            Reconnect::No => !recoverable.contains(&code),
            Reconnect::Yes => recoverable.contains(&code),
            // A proxy that goes away has its code as well.
            Reconnect::Slowly => {
                let condition = format!("code === {code} && reason === \"{reason}\"");
                recoverable.contains(&code) && client.contains(&condition)
            }
            Reconnect::WithNewToken => !recoverable.contains(&code) && token_codes.contains(&code),
        };
        if !is_as_said {
            findings.push(format!("{reason} ({code}): {}", reason.reconnect().words()));
        }
    }
    assert_none(&findings, "treat these endings so in clients/js/wharf.js:");
}

/// Returns the text in quotes that a call or an attribute begins with; `None` if it begins with
/// something else.
fn text_after(code: &str) -> Option<String> {
    let (before, rest) = code.split_once('"')?;
    let is_its_own = before.chars().all(|c| c.is_alphanumeric() || "_!:(, \n".contains(c));
    if !is_its_own {
        return None;
    }
    let mut text = String::new();
    let mut characters = rest.chars();
    while let Some(c) = characters.next().filter(|c| *c != '"') {
        match (c, characters.clone().next()) {
            ('\\', Some('\n')) => {
                characters = characters.as_str().trim_start().chars();
            }
            ('\\', Some(escaped)) => {
                characters.next();
                text.push(escaped);
            }
            _ => text.push(c),
        }
    }
    Some(one_line(&text))
}

/// Joins the lines of a text, with single spaces.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
