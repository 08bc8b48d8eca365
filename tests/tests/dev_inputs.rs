//! The files whose change `wharf dev` sees: all that cargo and the compiler read, and no others.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use wharf_tests::Dev;

use crate::author::{edit, empty_folder};

/// A crate that is compiled in an instant, since it does not use the SDK. No host loads it, which
/// `wharf dev` tells like any other result.
const FILES: [(&str, &str); 8] = [
    ("ws/Cargo.toml", "[workspace]\nmembers = [\"lab\"]\nresolver = \"3\"\n"),
    (
        "ws/lab/Cargo.toml",
        "[package]\nname = \"lab\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]\nbeside = { path = \"../../beside\" }\n",
    ),
    (
        "ws/lab/src/lib.rs",
        "mod linked;\nmod target;\n#[unsafe(no_mangle)]\npub extern \"C\" fn all() -> usize {\n    \
         linked::ONE + target::TWO + beside::THREE + include_str!(\"../../../shared/x.json\").len()\n}\n",
    ),
    ("ws/lab/src/target/mod.rs", "pub const TWO: usize = 2;\n"),
    ("ws/lab/notes.txt", "nobody reads this\n"),
    ("shared/real.rs", "pub const ONE: usize = 1;\n"),
    ("shared/x.json", "{}\n"),
    (
        "beside/Cargo.toml",
        "[package]\nname = \"beside\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    ),
];

fn append(file: &Path, line: &str) {
    let text = fs::read_to_string(file).unwrap_or_default();
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(file, text + line).expect("it is saved");
}

fn laboratory(name: &str) -> PathBuf {
    let place = empty_folder(name);
    // The tests share cargo's folder, in which two packages of one name and version are the same one.
    let version = format!("0.{}.0", name.len());
    for (file, text) in FILES {
        append(&place.join(file), &text.replace("0.1.0", &version));
    }
    append(&place.join("beside/src/lib.rs"), "pub const THREE: usize = 3;\n");
    let link = place.join("ws/lab/src/linked.rs");
    symlink("../../../shared/real.rs", link).expect("a link");
    place
}

#[tokio::test]
async fn every_file_that_a_build_reads_leads_to_the_next_one() {
    let place = laboratory("reads");
    append(&place.join("ws/.cargo/more.toml"), "# included by nothing\n");
    let dev = Dev::start(&place.join("ws/lab")).await;
    dev.tells(&["lab: built in"]).await;

    for (file, line) in [
        ("ws/lab/src/lib.rs", "// saved\n"),
        ("ws/lab/src/target/mod.rs", "// saved\n"),
        ("shared/real.rs", "// saved\n"),
        ("shared/x.json", "[]\n"),
        ("beside/src/lib.rs", "// saved\n"),
        ("beside/Cargo.toml", "# saved\n"),
        ("ws/Cargo.toml", "# saved\n"),
        ("ws/Cargo.lock", "# saved\n"),
        ("ws/lab/.cargo/config.toml", "# made\n"),
        ("ws/.cargo/config.toml", "include = [\"more.toml\"]\n"),
        ("ws/.cargo/more.toml", "# saved\n"),
        (".cargo/config", "# made\n"),
        // From here on it has a build script, which cargo runs after every change in the folder.
        ("ws/lab/build.rs", "fn main() {}\n"),
        ("ws/lab/notes.txt", "saved\n"),
        ("ws/lab/build.rs", "// saved\n"),
    ] {
        println!("{file} is saved");
        append(&place.join(file), line);
        dev.tells(&["lab: built in"]).await;
    }
    // It names no toolchain, which some versions of rustup do not accept.
    let toolchain = place.join("ws/lab/rust-toolchain.toml");
    append(&toolchain, "[toolchain]\n");
    dev.tells(&["lab: "]).await;
    fs::remove_file(toolchain).expect("it is removed");
    dev.tells(&["lab: built in"]).await;

    // While a build fails, nobody knows which file it lacks.
    edit(&place.join("ws/lab/build.rs"), "fn main() {}", "const _: &str = include_str!(\"no\");");
    dev.tells(&["lab: does not build"]).await;
    append(&place.join("ws/lab/no"), "now it is there\n");
    dev.tells(&["lab: does not build"]).await;
    append(&place.join("ws/lab/build.rs"), "fn main() {}\n");
    dev.tells(&["lab: built in"]).await;
    assert_eq!(dev.interrupt().await, Some(0));
}

#[tokio::test]
async fn files_that_no_build_reads_lead_to_none() {
    let place = laboratory("reads-not");
    let (lab, beside) = (place.join("ws/lab"), place.join("beside"));
    let manifest = fs::read_to_string(beside.join("Cargo.toml")).expect("its manifest");
    let own = "\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n\n[workspace]\n";
    fs::write(beside.join("Cargo.toml"), manifest + own).expect("it is saved");
    edit(&lab.join("Cargo.toml"), "beside = { path = \"../../beside\" }", "");
    edit(&lab.join("src/lib.rs"), "beside::THREE", "3");
    // Its own log lies among the sources of the first crate, and is written at each build.
    let crates = ["ws/lab", "beside"];
    let dev = Dev::start_for(&place, &crates, Some(&lab.join("dev.log"))).await;
    dev.tells(&["beside: built in"]).await;

    let unread = async |builds: usize| {
        for file in ["notes.txt", "new.txt", "src/new.rs", "tests/new.rs", "node_modules/x.js"] {
            append(&lab.join(file), "// saved\n");
        }
        // The first crate is looked at before the second one is, so that two builds of the second
        // one show that its turn was over in between.
        for _ in 0..2 {
            append(&beside.join("src/lib.rs"), "// saved\n");
            dev.tells(&["beside: built in"]).await;
        }
        let lines = dev.progress.lines();
        let told: Vec<_> = lines.iter().filter(|line| line.text.starts_with("lab: ")).collect();
        assert_eq!(told.len(), builds, "{told:?}");
    };
    unread(1).await;
    edit(&lab.join("src/lib.rs"), "-> usize", "-> nothing");
    dev.tells(&["lab: does not build"]).await;
    for _ in 0..2 {
        append(&beside.join("src/lib.rs"), "// saved\n");
        dev.tells(&["beside: built in"]).await;
    }
    edit(&lab.join("src/lib.rs"), "-> nothing", "-> usize");
    dev.tells(&["lab: built in"]).await;
    // Its own log has led to no build, although any file might have been the missing one.
    unread(3).await;
    assert_eq!(dev.interrupt().await, Some(0));
}
