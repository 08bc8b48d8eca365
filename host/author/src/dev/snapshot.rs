//! The state of the files that a build reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::inputs::Inputs;

/// Folder of packages for JavaScript, which is often large.
const NO_SOURCES: &str = "node_modules";

/// Longest file that is read to see if its content has changed, in bytes.
const LONGEST_SOURCE: u64 = 1 << 20;

/// Number of builds in a row that a file may cause by growing.
const BUILDS_BY_GROWING: u8 = 2;

/// The state of a file; of what a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        let (bytes, inode) = (metadata.len(), metadata.ino());
        Stamp { modified: metadata.modified().ok(), bytes, inode }
    }

    fn has_grown_since(&self, before: &Stamp) -> bool {
        self.inode == before.inode && self.bytes > before.bytes
    }
}

/// The files of some inputs, with their stamps.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// `None` for a file that does not exist.
    files: BTreeMap<PathBuf, Option<Stamp>>,
    /// The folders that were looked into.
    folders: BTreeSet<PathBuf>,
    /// The hashes of the files that build scripts might write.
    contents: BTreeMap<PathBuf, [u8; 32]>,
}

impl Snapshot {
    /// Looks at files and folders. Of folders, hidden files and results of builds are left out.
    pub(super) fn take(inputs: &Inputs) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut walk = Walk { inputs, own: own_output(), seen: BTreeSet::new() };
        for place in inputs.named.iter().chain(&inputs.whole) {
            match fs::metadata(place) {
                Ok(metadata) if metadata.is_dir() => walk.folder(place, &metadata, &mut snapshot),
                metadata => {
                    snapshot.files.insert(place.clone(), metadata.ok().as_ref().map(Stamp::of));
                }
            }
        }
        snapshot
    }

    /// Returns the folders that were looked into.
    pub(super) fn folders(&self) -> &BTreeSet<PathBuf> {
        &self.folders
    }

    /// Reads the files, so that one which is written with the same content counts as unchanged.
    pub(super) fn read(&mut self) {
        for (file, stamp) in &self.files {
            if let (Some(_), Some(content)) = (stamp, content(file)) {
                self.contents.insert(file.clone(), content);
            }
        }
    }

    /// Returns the files that are not the same now.
    fn changes(&self, now: &Snapshot) -> Vec<PathBuf> {
        let stamp = |of: &Snapshot, file: &PathBuf| of.files.get(file).copied().flatten();
        let all = self.files.keys().chain(now.files.keys());
        let changed = all.filter(|file| stamp(self, file) != stamp(now, file));
        changed.cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Returns the state of other inputs at the time of this snapshot, after the build that began
    /// then. Its own writes count as if they had been made before.
    pub(super) fn of_build(self, inputs: &Inputs, began: SystemTime) -> Snapshot {
        let mut then = Snapshot::take(inputs);
        let is_later = |stamp: &Stamp| stamp.modified.is_none_or(|modified| modified >= began);
        for (file, stamp) in &mut then.files {
            match self.files.get(file) {
                // Cargo writes it itself.
                _ if file.ends_with("Cargo.lock") => {}
                Some(before) if before == stamp => {}
                Some(before) => {
                    let content_before = self.contents.get(file);
                    let is_same =
                        content_before.is_some() && content_before == content(file).as_ref();
                    if !is_same {
                        *stamp = *before;
                    }
                }
                // It is new, or nobody knew that it is read.
                None => {
                    let is_new = file.parent().is_some_and(|folder| self.folders.contains(folder));
                    *stamp = stamp.filter(|stamp| !is_new && !is_later(stamp));
                }
            }
        }
        for (file, stamp) in self.files {
            if inputs.covers(&file) {
                then.files.entry(file).or_insert(stamp);
            }
        }
        then
    }
}

/// A way through folders, which links cannot make endless.
struct Walk<'a> {
    inputs: &'a Inputs,
    /// The files to which this program writes, such as a log: device and number.
    own: BTreeSet<(u64, u64)>,
    seen: BTreeSet<(u64, u64)>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, metadata: &Metadata, into: &mut Snapshot) {
        let is_new = self.seen.insert((metadata.dev(), metadata.ino()));
        if !is_new || self.inputs.is_output(folder) {
            return;
        }
        into.folders.insert(folder.to_owned());
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            // Editors keep their own files beside those that they edit.
            if name.starts_with(['.', '#']) || name.ends_with('~') || name == NO_SOURCES {
                continue;
            }
            match fs::metadata(&path) {
                // Cargo's folder for results, whatever its name.
                Ok(metadata) if metadata.is_dir() && path.join("CACHEDIR.TAG").exists() => {}
                Ok(metadata) if metadata.is_dir() => self.folder(&path, &metadata, into),
                Ok(metadata) if !self.own.contains(&(metadata.dev(), metadata.ino())) => {
                    into.files.insert(path, Some(Stamp::of(&metadata)));
                }
                // This program's own output, or a link that leads nowhere.
                _ => {}
            }
        }
    }
}

/// Returns the files that are this program's standard output and standard error.
fn own_output() -> BTreeSet<(u64, u64)> {
    let (out, log) = (std::io::stdout(), std::io::stderr());
    let files = [out.as_fd(), log.as_fd()].map(|file| file.try_clone_to_owned().map(File::from));
    let metadata = files.into_iter().flatten().filter_map(|file| file.metadata().ok());
    metadata.map(|metadata| (metadata.dev(), metadata.ino())).collect()
}

/// Returns the hash of a file; `None` if it cannot be read, or if it is too long for a source.
fn content(file: &Path) -> Option<[u8; 32]> {
    fs::metadata(file).ok().filter(|metadata| metadata.len() <= LONGEST_SOURCE)?;
    Some(Sha256::digest(fs::read(file).ok()?).into())
}

/// Decides which changes lead to a build.
///
/// While every file of a crate counts, a log that somebody keeps there would lead to a build, and
/// the build to the next line of the log.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Number of builds in a row that a file has caused by growing.
    growing: BTreeMap<PathBuf, u8>,
}

impl Changes {
    /// Returns true if something has changed that a build may read. The build must follow.
    pub(super) fn call_for_build(
        &mut self,
        inputs: &Inputs,
        built: &Snapshot,
        now: &Snapshot,
    ) -> bool {
        let changes = built.changes(now);
        let is_growing = |file: &PathBuf| {
            let is_source = file.extension().is_some_and(|end| end == "rs" || end == "toml");
            let stamps = (built.files.get(file).copied(), now.files.get(file).copied());
            let (Some(Some(before)), Some(Some(now))) = stamps else {
                return false;
            };
            !is_source && !inputs.named.contains(file) && now.has_grown_since(&before)
        };
        let (growing, others): (Vec<_>, Vec<_>) = changes.into_iter().partition(is_growing);
        let times = |file: &PathBuf| self.growing.get(file).copied().unwrap_or_default();
        let is_log = |file: &PathBuf| times(file) >= BUILDS_BY_GROWING;
        if others.is_empty() && growing.iter().all(is_log) {
            return false;
        }
        let growing = growing.into_iter().map(|file| {
            let times = times(&file).saturating_add(1);
            (file, times)
        });
        self.growing = growing.collect();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a crate's files.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Place {
            Place(tempfile::tempdir().expect("a folder"))
        }

        fn at(&self, file: &str) -> PathBuf {
            self.0.path().join(file)
        }

        fn put(&self, file: &str, content: &str) {
            let path = self.at(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, content).expect("a file");
        }

        /// Returns inputs of which all of the folder is a part, and these files elsewhere.
        fn inputs(&self, named: &[PathBuf]) -> Inputs {
            let outputs = ["plugins", "target"].map(|folder| self.at(folder));
            Inputs {
                named: named.iter().cloned().collect(),
                whole: BTreeSet::from([self.0.path().to_owned()]),
                outputs: BTreeSet::from(outputs),
                ..Inputs::default()
            }
        }
    }

    fn changes(before: &Snapshot, inputs: &Inputs) -> Vec<PathBuf> {
        before.changes(&Snapshot::take(inputs))
    }

    #[test]
    fn what_no_source_is_changes_nothing() {
        let place = Place::new();
        let inputs = place.inputs(&[]);
        place.put("src/lib.rs", "");
        let before = Snapshot::take(&inputs);
        for file in [
            "target/release/x.wasm",
            "src/.lib.rs.swp",
            "src/lib.rs~",
            ".git/HEAD",
            "plugins/x.wasm",
            "elsewhere/CACHEDIR.TAG",
        ] {
            place.put(file, "");
            assert_eq!(changes(&before, &inputs), Vec::<PathBuf>::new(), "{file}");
        }
        // A module may have the name of cargo's folder.
        for file in ["src/more.rs", "src/target/mod.rs"] {
            place.put(file, "");
        }
        let new = ["src/more.rs", "src/target/mod.rs"].map(|file| place.at(file));
        assert_eq!(changes(&before, &inputs), new);
    }

    #[test]
    fn links_are_what_they_lead_to_and_may_lead_back() {
        let (place, elsewhere) = (Place::new(), Place::new());
        elsewhere.put("real.rs", "");
        elsewhere.put("folder/mod.rs", "");
        place.put("src/lib.rs", "");
        for (to, link) in [
            (elsewhere.at("real.rs"), "src/linked.rs"),
            (elsewhere.at("folder"), "src/folder"),
            (place.at("."), "src/back"),
        ] {
            std::os::unix::fs::symlink(to, place.at(link)).expect("a link");
        }
        let inputs = place.inputs(&[]);
        let before = Snapshot::take(&inputs);
        elsewhere.put("real.rs", "changed");
        elsewhere.put("folder/new.rs", "");
        let changed = ["src/folder/new.rs", "src/linked.rs"].map(|file| place.at(file));
        assert_eq!(changes(&before, &inputs), changed);
    }

    #[test]
    fn what_is_saved_during_a_build_is_a_change_and_what_the_build_writes_is_none() {
        let (place, elsewhere) = (Place::new(), Place::new());
        for file in ["src/lib.rs", "src/made.rs", "Cargo.lock"] {
            place.put(file, "before");
        }
        elsewhere.put("old.json", "");
        let mut before = Snapshot::take(&place.inputs(&[]));
        before.read();
        let began = SystemTime::now();
        place.put("src/lib.rs", "saved meanwhile");
        place.put("src/made.rs", "after");
        place.put("src/made.rs", "before");
        place.put("Cargo.lock", "updated");
        let later = File::options().append(true).open(place.at("src/made.rs")).expect("a file");
        later.set_modified(began + std::time::Duration::from_secs(9)).expect("a time");
        // Nobody knew that the build would read it.
        let old = File::options().append(true).open(elsewhere.at("old.json")).expect("a file");
        old.set_modified(began - std::time::Duration::from_secs(9)).expect("a time");
        let inputs = place.inputs(&[elsewhere.at("old.json"), elsewhere.at("none.json")]);
        let built = before.of_build(&inputs, began);
        assert_eq!(changes(&built, &inputs), [place.at("src/lib.rs")]);
        elsewhere.put("none.json", "");
        let changed = [elsewhere.at("none.json"), place.at("src/lib.rs")];
        assert_eq!(BTreeSet::from_iter(changes(&built, &inputs)), BTreeSet::from(changed));
    }

    #[test]
    fn a_log_that_grows_with_each_build_leads_to_no_further_ones() {
        let place = Place::new();
        let inputs = place.inputs(&[]);
        let mut decider = Changes::default();
        let mut built = Snapshot::take(&inputs);
        let mut log = String::new();
        let look = |decider: &mut Changes, built: &mut Snapshot| {
            let now = Snapshot::take(&inputs);
            let is_called_for = decider.call_for_build(&inputs, built, &now);
            if is_called_for {
                *built = now;
            }
            is_called_for
        };
        place.put("dev.log", "");
        assert!(look(&mut decider, &mut built), "a new file");
        let builds: Vec<bool> = (0..5)
            .map(|_| {
                log.push('x');
                place.put("dev.log", &log);
                look(&mut decider, &mut built)
            })
            .collect();
        assert_eq!(builds, [true, true, false, false, false]);
        place.put("src/lib.rs", "");
        assert!(look(&mut decider, &mut built), "a source is saved");
        log.push('x');
        place.put("dev.log", &log);
        assert!(!look(&mut decider, &mut built));
        place.put("dev.log", "");
        assert!(look(&mut decider, &mut built), "it does not grow");
    }
}
