//! The contract in `wit/`: documented throughout, and the same where the SDK carries it.

use std::collections::BTreeSet;

use super::assert_none;
use super::source::{files_under, read, repository, shown};
use wharf_contract::exports::{CONTRACT_VERSION, OPTIONAL_EXPORTS};

#[test]
fn every_item_of_the_contract_is_documented() {
    let mut bare = Vec::new();
    let files = files_under(&repository().join("wit"));
    assert!(!files.is_empty(), "wit/ is empty");
    for file in files {
        let path = shown(&file);
        bare.extend(
            undocumented(&read(&path))
                .into_iter()
                .map(|(number, line)| format!("{path}:{number}: {line}")),
        );
    }
    assert_none(&bare, "write a comment `/// …` above:");
}

/// Returns the lines that declare something and have no documentation above them.
fn undocumented(text: &str) -> Vec<(usize, String)> {
    let mut bare = Vec::new();
    let mut documented = false;
    // Within a declaration of several lines, parameters are not items.
    let mut parentheses = 0_i32;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let (code, comment) = match line.find("//") {
            Some(start) => line.split_at(start),
            None => (line, ""),
        };
        let is_item = parentheses == 0 && declares_something(code);
        if is_item && !documented {
            bare.push((index + 1, line.to_owned()));
        }
        let opened = code.matches('(').count();
        let closed = code.matches(')').count();
        parentheses += opened as i32 - closed as i32;
        // An attribute such as `@since` may stand between the two.
        documented = match code {
            "" => comment.starts_with("///") || (documented && !comment.is_empty()),
            code => documented && code.starts_with('@'),
        };
    }
    bare
}

/// Returns true unless the line closes a block, names the package, or only repeats another's name.
fn declares_something(code: &str) -> bool {
    let first = code.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
    let repeats = ["package", "use", "import", "export", "include"];
    !first.is_empty() && !repeats.contains(&first)
}

#[test]
fn the_sdk_carries_the_same_contract() {
    let names = |folder: &str| -> BTreeSet<String> {
        let files = files_under(&repository().join(folder));
        let name =
            |path: String| path.trim_start_matches(folder).trim_start_matches('/').to_owned();
        files.iter().map(|file| name(shown(file))).collect()
    };
    let all = names("wit").union(&names("guest-sdk/wit")).cloned().collect::<Vec<_>>();
    let content = |path: String| std::fs::read(repository().join(path)).ok();
    let differing: Vec<String> = all
        .into_iter()
        .filter(|name| content(format!("wit/{name}")) != content(format!("guest-sdk/wit/{name}")))
        .collect();
    assert_none(
        &differing,
        "wit/ is the contract, guest-sdk/wit/ its copy for the published crate; copy these \
         (`cp wit/* guest-sdk/wit/`), and remove from the copy what wit/ has not:",
    );
}

#[test]
fn the_optional_exports_and_the_version_are_those_of_the_crate() {
    let (major, minor, patch) = CONTRACT_VERSION;
    let package = format!("package wharf:channel@{major}.{minor}.{patch};");
    let files = files_under(&repository().join("wit"));
    let others = files.iter().map(|file| shown(file)).filter(|path| !read(path).contains(&package));
    let others: Vec<String> = others.collect();
    assert_none(
        &others,
        "let these files name the version of contract/src/exports.rs, or change it:",
    );

    let worlds = read("wit/worlds.wit");
    let optional =
        worlds.lines().filter_map(|line| line.strip_prefix("world ")?.strip_suffix(" {"));
    let in_wit: BTreeSet<&str> = optional.filter(|world| world.starts_with("with-")).collect();
    let in_crate: BTreeSet<&str> = OPTIONAL_EXPORTS.iter().map(|export| export.world).collect();
    let differing: Vec<String> =
        in_wit.symmetric_difference(&in_crate).map(|world| (*world).to_owned()).collect();
    assert_none(&differing, "list these worlds in wit/worlds.wit and in contract/src/exports.rs:");
}

#[test]
fn an_undocumented_item_is_noticed() {
    let text = "\
package a:b@1.0.0;

/// Documented.
interface types {
    use other.{thing};
    /// Documented.
    @since(version = 1.0.0)
    record point {
        x: u32,
        /// Documented,
        /// on two lines.
        y: u32,
    }
    /// Documented.
    f: func(
        parameter: u32,
    ) -> u32;
    g: func();
}
world bare {
    import types;
}
";
    let lines: Vec<usize> = undocumented(text).into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [9, 18, 20]);
}
