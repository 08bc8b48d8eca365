//! The documents as a book with a search, by mdBook.
//!
//! mdBook is a program of its own, so that `xtask` keeps to having no dependencies. It gets a copy of the
//! documents in which every link leads to a page: files and folders of the repository that the documents
//! link to become pages as well.

mod links;
mod source;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::{Outcome, capture, cargo, patient, run_logged};
use crate::workspace::{Workspace, entries, remove_folder};

pub const HELP: &str = "\
Make the documents a book with a search, in target/book, and check its links.

Usage: cargo xtask book

mdBook makes it. It is compiled at the first time, into target/xtask/mdbook; the variable WHARF_MDBOOK
names another program.
";

/// Version of mdBook. Another one may give headings other anchors.
const VERSION: &str = "0.5.4";

/// Time limit for compiling mdBook.
const INSTALL_LIMIT: Duration = Duration::from_secs(900);

/// Time limit for making the book.
const BUILD_LIMIT: Duration = Duration::from_secs(120);

/// Settings of mdBook.
const SETTINGS: &str = r#"[book]
title = "Wharf"
language = "en"
src = "src"

[build]
use-default-preprocessors = false

[output.html]
no-section-label = true

[output.html.fold]
enable = true
level = 1

[output.html.playground]
copyable = true
runnable = false

[output.html.search]
limit-results = 20
use-boolean-and = true
boost-title = 3
"#;

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    if let Some(argument) = arguments.first() {
        return Err(format!("`cargo xtask book` takes no `{argument}`\n\n{HELP}"));
    }
    let book = make(workspace)?;
    println!("{} is the first page", workspace.shown(&book.join("index.html")));
    Ok(())
}

/// Makes the book and checks its links. Returns its folder.
pub fn make(workspace: &Workspace) -> Outcome<PathBuf> {
    let program = program(workspace)?;
    let folder = workspace.scratch("book")?;
    let source = source::write(&workspace.root, &folder.join("src"))?;
    let settings = folder.join("book.toml");
    fs::write(&settings, format!("{SETTINGS}{}", source.unsearched))
        .map_err(|e| format!("cannot write {}: {e}", settings.display()))?;
    let book = workspace.target.join("book");
    // mdBook empties the folder, but not of what it has not made.
    remove_folder(&book)?;
    let mut mdbook = Command::new(program);
    mdbook.arg("build").arg(&folder).arg("--dest-dir").arg(&book);
    run_logged(&mut mdbook, &folder.join("mdbook.log"), BUILD_LIMIT)?;
    links::check(&book)?;
    match entries(&book)?.iter().any(|name| name.starts_with("searchindex")) {
        true => Ok(book),
        false => Err("the book has no search: was mdBook compiled without it?".to_owned()),
    }
}

/// Compiles mdBook if it is not there yet, beside other work. A failure shows itself when the book is made.
pub fn prepare(workspace: &Workspace) {
    let _ = program(workspace);
}

/// Returns the program mdBook. Compiles it if it is not there yet.
fn program(workspace: &Workspace) -> Outcome<PathBuf> {
    if let Some(program) = std::env::var_os("WHARF_MDBOOK").filter(|name| !name.is_empty()) {
        return Ok(PathBuf::from(program));
    }
    let folder = workspace.scratch("mdbook")?;
    let program = folder.join("bin/mdbook");
    let wanted = format!("mdbook v{VERSION}");
    if capture(Command::new(&program).arg("--version")).is_ok_and(|said| said.trim() == wanted) {
        return Ok(program);
    }
    println!("compiling {wanted}, which takes a few minutes");
    let mut install = patient(&cargo(&["install", "mdbook", "--version", VERSION]));
    install
        .args(["--locked", "--debug"])
        .args(["--no-default-features", "--features", "search", "--force"])
        .arg("--root")
        .arg(&folder)
        .arg("--target-dir")
        .arg(folder.join("build"))
        .current_dir(&folder)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0");
    let log = folder.join("install.log");
    run_logged(&mut install, &log, INSTALL_LIMIT).map_err(|failure| {
        format!(
            "mdBook cannot be compiled: {failure}\nInstall mdBook {VERSION} in another way, and name \
             its program in the variable WHARF_MDBOOK"
        )
    })?;
    // The program is what counts; 200 MB of its parts are of no further use.
    remove_folder(&folder.join("build"))?;
    Ok(program)
}
