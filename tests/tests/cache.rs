//! Compiled code is not compiled again, and native code comes only from the private cache.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wharf_tests::artefacts::component;
use wharf_tests::{Line, Wharf, eventually};

/// A folder for a cache, which the host will make.
struct Place {
    outer: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { outer: tempfile::tempdir().expect("a temporary folder") }
    }

    fn folder(&self) -> PathBuf {
        self.outer.path().join("cache")
    }

    fn flag(&self) -> String {
        format!("--cache {}", self.folder().display())
    }

    /// Returns the entries, in the order of their names.
    fn entries(&self) -> Vec<PathBuf> {
        entries(&self.folder())
    }

    /// Waits until there is this number of entries, and returns them.
    async fn filled(&self, count: usize) -> Vec<PathBuf> {
        eventually(&format!("{count} entries"), async || {
            Some(self.entries()).filter(|entries| entries.len() == count)
        })
        .await
    }

    /// Lets a host compile a plugin and keep the code. Returns its entry.
    async fn fill(&self, plugin: &str) -> PathBuf {
        let before = self.entries();
        let wharf = Wharf::start(&[plugin], &[&self.flag()]).await;
        assert!(!is_cached(&loaded(&wharf, plugin).await));
        let entries = self.filled(before.len() + 1).await;
        entries.into_iter().find(|entry| !before.contains(entry)).expect("a new entry")
    }
}

/// Returns the complete entries in a folder, in the order of their names.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(listed) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = listed.map(|file| file.expect("a file").path());
    let mut entries: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "native")).collect();
    entries.sort();
    entries
}

/// Returns the line about a plugin that was loaded at the start.
async fn loaded(wharf: &Wharf, plugin: &str) -> Line {
    wharf.in_service_after(0, plugin).await
}

fn is_cached(line: &Line) -> bool {
    line.fields["cached"].as_bool().unwrap_or_else(|| panic!("no `cached` in {line}"))
}

/// Returns the warnings about the cache.
fn warnings(wharf: &Wharf) -> Vec<Line> {
    wharf.log.find(|line| line.str("level") == "WARN" && line.begins("the cache"))
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// Makes a folder with these plugins to start a host in.
fn folder_with(plugins: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("plugins")).expect("a plugin folder");
    for name in plugins {
        let path = folder.path().join("plugins").join(format!("{name}.wasm"));
        fs::write(path, component(name)).expect("a plugin is copied");
    }
    folder
}

#[tokio::test]
async fn a_second_start_compiles_nothing() {
    let place = Place::new();
    let plugins = ["counts", "echo", "relay"];
    let first = Wharf::start(&plugins, &[&place.flag()]).await;
    for plugin in plugins {
        assert!(!is_cached(&loaded(&first, plugin).await));
    }
    place.filled(3).await;
    drop(first);
    let second = Wharf::start(&plugins, &[&place.flag()]).await;
    for plugin in plugins {
        assert!(is_cached(&loaded(&second, plugin).await));
    }
    // The kept code works.
    assert_eq!(second.connect("/echo").await.ask("hello").await, "hello");
    assert_eq!(second.connect("/counts/a").await.ask_for_json("hello").await["count"], 1);
    assert!(warnings(&second).is_empty());
}

#[tokio::test]
async fn old_code_that_comes_back_is_not_compiled_again() {
    let place = Place::new();
    let wharf = Wharf::start(&["counts"], &[&place.flag()]).await;
    let mut client = wharf.connect("/counts/a").await;
    place.filled(1).await;
    assert!(!is_cached(&wharf.swap("counts", &component("counts-v2")).await));
    place.filled(2).await;
    for (version, expected) in [("counts", 1), ("counts-v2", 2), ("counts", 1)] {
        assert!(is_cached(&wharf.swap("counts", &component(version)).await));
        assert_eq!(client.ask_for_json("which?").await["version"], expected);
    }
}

#[tokio::test]
async fn a_damaged_entry_is_compiled_again_and_replaced() {
    let place = Place::new();
    let entry = place.fill("counts").await;
    let whole = fs::read(&entry).expect("an entry");
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let damages = [
        Vec::new(),
        whole[..50].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        flipped(0),
        flipped(20),
        flipped(whole.len() / 2),
        flipped(whole.len() - 1),
        [&whole[..], b"more"].concat(),
    ];
    for (number, damaged) in damages.iter().enumerate() {
        fs::write(&entry, damaged).expect("an entry is damaged");
        let wharf = Wharf::start(&["counts"], &[&place.flag()]).await;
        assert!(!is_cached(&loaded(&wharf, "counts").await), "damage {number}");
        assert_eq!(wharf.connect("/counts/a").await.ask_for_json("hello").await["count"], 1);
        eventually("a whole entry", async || {
            (fs::metadata(&entry).ok()?.len() == whole.len() as u64
                && fs::read(&entry).ok()? != *damaged)
                .then_some(())
        })
        .await;
        assert!(warnings(&wharf).is_empty(), "nothing that the operator could do anything about");
    }
    let wharf = Wharf::start(&["counts"], &[&place.flag()]).await;
    assert!(is_cached(&loaded(&wharf, "counts").await));
}

#[tokio::test]
async fn a_folder_that_others_can_write_to_is_not_used_and_a_warning_says_so() {
    let place = Place::new();
    place.fill("counts").await;
    for mode in [0o777, 0o770, 0o702] {
        chmod(&place.folder(), mode);
        let wharf = Wharf::start(&["counts", "echo"], &[&place.flag()]).await;
        assert!(!is_cached(&loaded(&wharf, "counts").await), "{mode:o}");
        let warnings = warnings(&wharf);
        let [warning] = warnings.as_slice() else { panic!("one warning: {warnings:?}") };
        assert_eq!(warning.str("folder"), place.folder().display().to_string());
        assert!(warning.str("reason").contains("others (chmod go-w)"), "{warning}");
        assert!(warning.message().contains("--cache"), "{warning}");
        // A volume of Kubernetes belongs to root, or to a group that may write.
        assert!(warning.message().contains("a folder inside this one"), "{warning}");
        assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
        assert_eq!(place.entries().len(), 1, "nothing was put there");
    }
    // That is good advice: the host makes it for itself alone.
    let inside = format!("{}/wharf", place.flag());
    for is_there in [false, true] {
        let wharf = Wharf::start(&["counts"], &[&inside]).await;
        assert_eq!(is_cached(&loaded(&wharf, "counts").await), is_there);
        assert_eq!(warnings(&wharf).len(), 0);
        eventually("the entry", async || {
            (entries(&place.folder().join("wharf")).len() == 1).then_some(())
        })
        .await;
    }
    chmod(&place.folder(), 0o700);
    let wharf = Wharf::start(&["counts"], &[&place.flag()]).await;
    assert!(is_cached(&loaded(&wharf, "counts").await));
}

#[tokio::test]
async fn a_folder_or_an_entry_that_is_a_link_is_not_used() {
    let place = Place::new();
    let entry = place.fill("counts").await;
    let elsewhere = place.outer.path().join("elsewhere");
    fs::rename(&entry, &elsewhere).expect("an entry is moved");
    symlink(&elsewhere, &entry).expect("it is linked");
    let wharf = Wharf::start(&["counts"], &[&place.flag()]).await;
    let line = loaded(&wharf, "counts").await;
    assert!(!is_cached(&line), "{line}");
    assert!(warnings(&wharf)[0].str("reason").contains("is a link"));
    eventually("the link to be replaced", async || {
        fs::symlink_metadata(&entry).ok()?.is_file().then_some(())
    })
    .await;

    let link = place.outer.path().join("link");
    symlink(place.folder(), &link).expect("the folder is linked");
    let flag = format!("--cache {}", link.display());
    let wharf = Wharf::start(&["counts"], &[&flag]).await;
    assert!(!is_cached(&loaded(&wharf, "counts").await));
    assert!(warnings(&wharf)[0].str("reason").contains("is a link"));
}

#[tokio::test]
async fn an_entry_that_others_can_write_to_is_not_used() {
    let place = Place::new();
    let entry = place.fill("counts").await;
    chmod(&entry, 0o606);
    let wharf = Wharf::start(&["counts"], &[&place.flag()]).await;
    assert!(!is_cached(&loaded(&wharf, "counts").await));
    assert!(warnings(&wharf)[0].str("reason").contains("others"));
}

#[tokio::test]
async fn a_read_only_folder_does_no_harm() {
    let place = Place::new();
    place.fill("counts").await;
    chmod(&place.folder(), 0o500);
    // The superuser can write everywhere, unless that right is removed.
    let probe = place.folder().join("probe");
    let wrapper: &[&str] = match fs::write(&probe, "") {
        Ok(()) => &["setpriv", "--bounding-set=-dac_override", "--"],
        Err(_) => &[],
    };
    let _ = fs::remove_file(&probe);
    let folder = folder_with(&["counts", "echo", "relay"]);
    let wharf = Wharf::start_under(wrapper, folder, &[&place.flag()]).await;
    assert!(is_cached(&loaded(&wharf, "counts").await), "it can be read all the same");
    assert!(!is_cached(&loaded(&wharf, "echo").await));
    let is_warning = |line: &Line| line.begins("the cache");
    let warning = wharf.log.wait_for("a warning", is_warning).await;
    assert!(warning.str("reason").contains("cannot be written"), "{warning}");
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
    assert_eq!(place.entries().len(), 1);
    assert_eq!(warnings(&wharf).len(), 1, "it is said once");
    chmod(&place.folder(), 0o700);
}

#[tokio::test]
async fn a_full_disk_does_no_harm_and_leaves_nothing_behind() {
    let place = Place::new();
    // No file of this process can grow to the size of an entry. Files in memory, from which
    // instances are made, are smaller, and the log is a pipe.
    let limited = "ulimit -f 512; exec \"$0\" \"$@\"";
    let wharf =
        Wharf::start_under(&["sh", "-c", limited], folder_with(&["echo"]), &[&place.flag()]).await;
    let warning = wharf.log.wait_for("a warning", |line| line.begins("the cache")).await;
    assert!(warning.str("reason").contains("cannot be written"), "{warning}");
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
    assert_eq!(fs::read_dir(place.folder()).expect("it was made").count(), 0);
}

#[tokio::test]
async fn hosts_can_share_a_folder() {
    let place = Place::new();
    let plugins = ["counts", "echo", "relay"];
    let start = async || Wharf::start(&plugins, &[&place.flag()]).await;
    let (one, two) = tokio::join!(start(), start());
    for wharf in [&one, &two] {
        assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
        assert!(warnings(wharf).is_empty());
    }
    place.filled(3).await;
    // One host finds the code that the other has compiled.
    one.swap("counts", &component("counts-v2")).await;
    place.filled(4).await;
    assert!(is_cached(&two.swap("counts", &component("counts-v2")).await));
    let third = start().await;
    for plugin in plugins {
        assert!(is_cached(&loaded(&third, plugin).await));
    }
}

#[tokio::test]
async fn it_is_in_the_users_caches_unless_it_is_switched_off() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let variable = format!("HOME={}", home.path().display());
    let start = async |flags: &[&str]| {
        let wrapper = ["env", "--unset=WHARF_CACHE", &variable];
        Wharf::start_under(&wrapper, folder_with(&["counts"]), flags).await
    };

    let wharf = start(&["--cache "]).await;
    wharf.swap("counts", &component("counts-v2")).await;
    let line = wharf.swap("counts", &component("counts")).await;
    assert!(!is_cached(&line), "{line}");
    assert!(!home.path().join(".cache").exists());

    let wharf = start(&[]).await;
    assert!(!is_cached(&loaded(&wharf, "counts").await));
    let folder = home.path().join(".cache/wharf");
    eventually("an entry", async || entries(&folder).first().cloned()).await;
    let wharf = start(&[]).await;
    assert!(is_cached(&loaded(&wharf, "counts").await));
    let wharf = start(&["--cache "]).await;
    assert!(!is_cached(&loaded(&wharf, "counts").await));
}

#[tokio::test]
async fn what_was_used_least_recently_makes_room() {
    let place = Place::new();
    let size = |entry: &Path| fs::metadata(entry).expect("an entry").len();
    let counts = place.fill("counts").await;
    let echo = place.fill("echo").await;
    let relay = place.fill("relay").await;
    let limit = size(&counts) + size(&echo).max(size(&relay));
    fs::remove_file(&relay).expect("an entry is removed");
    // This entry was used later than that of `echo`, which was compiled after it.
    let wharf = Wharf::start(&["counts"], &[&place.flag()]).await;
    assert!(is_cached(&loaded(&wharf, "counts").await));

    let limit = format!("--max-cache-bytes {limit}");
    let wharf = Wharf::start(&["relay"], &[&place.flag(), &limit]).await;
    assert!(!is_cached(&loaded(&wharf, "relay").await));
    let mut expected = [counts, relay];
    expected.sort();
    eventually("the oldest to be removed", async || (place.entries() == expected).then_some(()))
        .await;
    assert!(!echo.exists());
}

#[tokio::test]
async fn native_code_in_the_plugin_folder_is_refused() {
    let place = Place::new();
    let entry = fs::read(place.fill("echo").await).expect("an entry");
    let code = entry.windows(4).position(|bytes| bytes == b"\x7fELF").expect("native code");
    let wharf = Wharf::start(&["echo"], &[&place.flag()]).await;
    assert!(is_cached(&loaded(&wharf, "echo").await));
    for bytes in [&entry[..], &entry[code..]] {
        let start = wharf.log.len();
        wharf.install("echo", bytes);
        let line = wharf.refused_after(start, "echo").await;
        assert!(line.str("reason").contains("not WebAssembly"), "{line}");
    }
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
}
