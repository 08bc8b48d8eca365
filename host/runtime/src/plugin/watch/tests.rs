use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use notify::event::{EventKind, ModifyKind, RenameMode};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::events::signals_of;
use super::*;

/// Far more time than any step takes; reached only if the expected change never comes.
const GENEROUS: Duration = Duration::from_secs(20);
/// So long that only events can be the reason for a report.
const NEVER: Duration = Duration::from_secs(3600);

const QUICK: WatchTiming = WatchTiming {
    settle: Duration::from_millis(30),
    reconcile: Duration::from_millis(150),
    removal_grace: Duration::from_millis(300),
    emptied_grace: Duration::from_millis(1500),
};

/// A watched folder.
struct Watched {
    folder: TempDir,
    changes: mpsc::Receiver<Change>,
    /// Last report for each name: reports that repeat it are not news.
    last: HashMap<String, Change>,
    watcher: Option<FolderWatcher>,
}

impl Watched {
    /// Makes a watched folder inside a temporary one, so that there is a place to move files from.
    fn with(timing: WatchTiming, files: &[(&str, &str)]) -> Watched {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("plugins")).expect("a folder");
        for (file, text) in files {
            fs::write(folder.path().join("plugins").join(file), text).expect("a file");
        }
        let (watcher, changes) =
            watch(folder.path().join("plugins"), timing).expect("a folder that can be listed");
        Watched { folder, changes, last: HashMap::new(), watcher: Some(watcher) }
    }

    /// Makes a watched folder like [`Watched::with`], and waits for the end of the first scan.
    fn scanned(timing: WatchTiming, files: &[(&str, &str)]) -> Watched {
        let mut watched = Watched::with(timing, files);
        while watched.next() != Change::Scanned {}
        watched
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join("plugins").join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).expect("written");
    }

    /// Writes a file elsewhere and moves it into the folder.
    fn move_in(&self, file: &str, text: &str) {
        let outside = self.folder.path().join("outside");
        fs::write(&outside, text).expect("written");
        fs::rename(outside, self.path(file)).expect("moved");
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.path(file)).expect("removed");
    }

    fn any(&mut self) -> Change {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let change = runtime.expect("a runtime").block_on(async {
            tokio::time::timeout(GENEROUS, self.changes.recv()).await.expect("a change in time")
        });
        change.expect("the watcher is alive")
    }

    /// Returns the next change that is news.
    #[track_caller]
    fn next(&mut self) -> Change {
        loop {
            let change = self.any();
            let name = match &change {
                Change::Settled { name, .. }
                | Change::Unreadable { name, .. }
                | Change::Removed { name } => name.clone(),
                Change::Scanned => return change,
            };
            let known = self.last.insert(name, change.clone());
            if !matches!(change, Change::Settled { .. }) || known.as_ref() != Some(&change) {
                return change;
            }
        }
    }

    #[track_caller]
    fn expect_settled(&mut self, expected: &str, text: &str) {
        match self.next() {
            Change::Settled { name, path, bytes, sha256 } => {
                assert_eq!((name.as_str(), &*bytes), (expected, text.as_bytes()));
                assert_eq!(path, self.path(&format!("{expected}.wasm")));
                assert_eq!(sha256, <[u8; 32]>::from(Sha256::digest(text)));
            }
            other => panic!("{expected} has not settled, but: {other:?}"),
        }
    }

    #[track_caller]
    fn expect_unreadable(&mut self, expected: &str, because: &str) {
        match self.next() {
            Change::Unreadable { name, reason, .. } => {
                assert_eq!(name, expected);
                assert!(reason.contains(because), "{reason}");
            }
            other => panic!("{expected} is not unreadable, but: {other:?}"),
        }
    }

    #[track_caller]
    fn expect_removed(&mut self, expected: &str) {
        assert_eq!(self.next(), Change::Removed { name: expected.to_owned() });
    }

    /// Checks that nothing else is reported before this file.
    #[track_caller]
    fn expect_nothing_before(&mut self, sentinel: &str) {
        self.write(&format!("{sentinel}.wasm"), "sentinel");
        self.expect_settled(sentinel, "sentinel");
    }
}

#[test]
fn what_is_there_is_reported_first_in_the_order_of_names() {
    let files = [("c.wasm", "3"), ("a.wasm", "1"), ("b.wasm", "2")];
    let mut watched = Watched::with(QUICK, &files);
    watched.expect_settled("a", "1");
    watched.expect_settled("b", "2");
    watched.expect_settled("c", "3");
    assert_eq!(watched.next(), Change::Scanned);
    watched.expect_nothing_before("sentinel");
}

#[test]
fn an_empty_folder_is_scanned_at_once() {
    let mut watched = Watched::with(WatchTiming { settle: NEVER, ..QUICK }, &[]);
    assert_eq!(watched.next(), Change::Scanned);
}

#[test]
fn a_folder_that_does_not_exist_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = watch(folder.path().join("missing"), QUICK).expect_err("no such folder");
    assert!(format!("{error:#}").contains("--plugins"), "{error:#}");
}

#[test]
fn new_files_and_overwritten_files_are_seen_by_events() {
    let mut watched = Watched::scanned(WatchTiming { reconcile: NEVER, ..QUICK }, &[]);
    watched.write("a.wasm", "one");
    watched.expect_settled("a", "one");
    watched.write("a.wasm", "two");
    watched.expect_settled("a", "two");
}

#[test]
fn a_file_that_is_moved_in_does_not_wait_to_settle() {
    let timing = WatchTiming { settle: NEVER, reconcile: NEVER, ..QUICK };
    let mut watched = Watched::scanned(timing, &[]);
    watched.move_in("a.wasm", "one");
    watched.expect_settled("a", "one");
    watched.move_in("a.wasm", "two");
    watched.expect_settled("a", "two");
}

#[test]
fn a_file_that_is_moved_in_is_taken_at_once() {
    let (now, timing) = (Instant::now(), WatchTiming { settle: NEVER, ..QUICK });
    let seen = || Seen::Unfit(String::new());
    assert_eq!(WatchedFile::new(seen(), true, now).due(&timing, NEVER), Some(now));
    assert_eq!(WatchedFile::new(seen(), false, now).due(&timing, NEVER), Some(now + NEVER));
    // The move is known before the folder is listed.
    let event = notify::Event::new(EventKind::Modify(ModifyKind::Name(RenameMode::To)));
    let signals = signals_of(Path::new("/p"), Ok(event.add_path(PathBuf::from("/p/a.wasm"))));
    assert!(matches!(signals[..], [Signal::Touched { moved_here: true, .. }]), "{signals:?}");
}

#[test]
fn files_are_seen_without_events_too() {
    // The target of a link changes without an event in the folder.
    let mut watched = Watched::scanned(QUICK, &[]);
    let target = watched.folder.path().join("target");
    fs::write(&target, "one").expect("written");
    symlink(&target, watched.path("a.wasm")).expect("linked");
    watched.expect_settled("a", "one");
    fs::write(&target, "two").expect("written");
    watched.expect_settled("a", "two");
}

#[test]
fn a_copy_that_is_still_running_is_not_reported() {
    use std::io::Write;
    let timing = WatchTiming { settle: Duration::from_millis(400), ..QUICK };
    let mut watched = Watched::scanned(timing, &[]);
    let mut file = fs::File::create(watched.path("a.wasm")).expect("a file");
    let mut text = String::new();
    for piece in 0..40 {
        let piece = format!("{piece};");
        file.write_all(piece.as_bytes()).expect("written");
        text.push_str(&piece);
        // The pace of the copy, which takes far longer in all than settling.
        thread::sleep(Duration::from_millis(20));
    }
    watched.expect_settled("a", &text);
}

#[test]
fn a_file_that_keeps_growing_does_not_hold_up_the_first_scan() {
    use std::io::Write;
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = fs::File::create(folder.path().join("a.wasm")).expect("a file");
    let (_watcher, mut changes) = watch(folder.path().to_owned(), QUICK).expect("a folder");
    let begun = Instant::now();
    while changes.try_recv() != Ok(Change::Scanned) {
        assert!(begun.elapsed() < GENEROUS, "still scanning");
        file.write_all(b"more").expect("written");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn touching_a_file_reports_it_again_with_the_same_hash() {
    let mut watched = Watched::scanned(QUICK, &[("a.wasm", "one")]);
    watched.write("a.wasm", "one");
    let again = watched.any();
    assert_eq!(Some(&again), watched.last.get("a"));
}

#[test]
fn other_files_are_not_looked_at() {
    let mut watched = Watched::scanned(QUICK, &[]);
    for file in [".a.wasm", "~a.wasm", "a.wasm~", "a.wasm.tmp", "a.wat", "wasm", ".wasm"] {
        watched.write(file, "nothing");
    }
    watched.expect_nothing_before("sentinel");
}

#[test]
fn what_cannot_be_a_plugin_is_reported_once() {
    let mut watched = Watched::scanned(QUICK, &[]);

    fs::create_dir(watched.path("folder.wasm")).expect("a folder");
    watched.expect_unreadable("folder", "a folder");

    symlink("nowhere", watched.path("dangling.wasm")).expect("a link");
    watched.expect_unreadable("dangling", "does not exist");

    symlink("loop.wasm", watched.path("loop.wasm")).expect("a link");
    watched.expect_unreadable("loop", "cannot be looked at");

    let _socket = UnixListener::bind(watched.path("socket.wasm")).expect("a socket");
    watched.expect_unreadable("socket", "not a regular file");

    symlink("/dev/zero", watched.path("endless.wasm")).expect("a link");
    watched.expect_unreadable("endless", "not a regular file");

    let pipe = std::process::Command::new("mkfifo").arg(watched.path("pipe.wasm")).status();
    assert!(pipe.expect("mkfifo is there").success());
    watched.expect_unreadable("pipe", "not a regular file");

    let large = fs::File::create(watched.path("large.wasm")).expect("a file");
    large.set_len((64 << 20) + 1).expect("a hole");
    watched.expect_unreadable("large", "67108864");

    // Reading this one fails, and is tried again with every listing.
    symlink("/proc/version", watched.path("proc.wasm")).expect("a link");
    watched.expect_unreadable("proc", "not as long");

    for name in ["Chat", "my chat", "café", &"a".repeat(65)] {
        watched.write(&format!("{name}.wasm"), "");
        watched.expect_unreadable(name, "name");
    }

    // Several listings later none of them has been reported again.
    watched.write("gone.wasm", "");
    watched.expect_settled("gone", "");
    watched.remove("gone.wasm");
    watched.expect_removed("gone");
}

#[test]
fn a_pipe_in_the_place_of_a_file_does_not_block() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.wasm");
    fs::write(&path, "one").expect("a file");
    let Some(Seen::File(stamp)) = Seen::look(&path) else { panic!("it is a file") };
    fs::remove_file(&path).expect("removed");
    let pipe = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(pipe.expect("mkfifo is there").success());
    assert!(matches!(file::read(&path, &stamp), Read::Changed));
}

#[test]
fn what_is_mended_is_reported() {
    let mut watched = Watched::scanned(QUICK, &[]);
    symlink(watched.folder.path().join("target"), watched.path("a.wasm")).expect("a link");
    watched.expect_unreadable("a", "does not exist");
    fs::write(watched.folder.path().join("target"), "one").expect("written");
    watched.expect_settled("a", "one");
    fs::remove_file(watched.folder.path().join("target")).expect("removed");
    watched.expect_unreadable("a", "does not exist");
}

#[test]
fn a_file_counts_as_removed_after_the_grace_period() {
    let timing = WatchTiming { removal_grace: Duration::from_millis(500), ..QUICK };
    let mut watched = Watched::scanned(timing, &[("a.wasm", "one")]);
    let begun = Instant::now();
    watched.remove("a.wasm");
    watched.expect_removed("a");
    assert!(begun.elapsed() >= timing.removal_grace);
    watched.write("a.wasm", "one");
    // The report is news although the file is the same as before: the receiver has dropped the
    // channel.
    watched.expect_settled("a", "one");
}

#[test]
fn everything_gone_at_once_is_a_removal_only_much_later() {
    let mut watched = Watched::scanned(QUICK, &[("a.wasm", "one"), ("b.wasm", "two")]);
    let begun = Instant::now();
    let aside = watched.folder.path().join("aside");
    fs::rename(watched.folder.path().join("plugins"), &aside).expect("moved");
    fs::create_dir(watched.folder.path().join("plugins")).expect("made anew");
    let gone = [watched.next(), watched.next()];
    assert!(begun.elapsed() >= QUICK.emptied_grace);
    let names = ["a", "b"].map(|name| Change::Removed { name: name.to_owned() });
    assert_eq!(gone, names);
}

#[test]
fn a_single_file_of_another_folder_is_missed_for_longer_too() {
    let timing = WatchTiming { emptied_grace: NEVER, ..QUICK };
    let mut watched = Watched::scanned(timing, &[("a.wasm", "one")]);
    let aside = watched.folder.path().join("aside");
    fs::rename(watched.folder.path().join("plugins"), &aside).expect("moved");
    fs::create_dir(watched.folder.path().join("plugins")).expect("made anew");
    thread::sleep(QUICK.removal_grace * 3);
    watched.write("b.wasm", "two");
    watched.expect_settled("b", "two");
    // The folder is in use again, and `a` is missed like any other file from then on.
    watched.expect_removed("a");
}

#[test]
fn removing_and_copying_is_a_swap() {
    let timing = WatchTiming { removal_grace: Duration::from_secs(2), ..QUICK };
    let mut watched = Watched::scanned(timing, &[("a.wasm", "one"), ("b.wasm", "")]);
    watched.remove("a.wasm");
    // The absence is seen, so this is not an overwriting.
    watched.expect_nothing_before("sentinel");
    watched.write("a.wasm", "two");
    watched.expect_settled("a", "two");
    // This one has gone later: if `a` were removed, it would be by now.
    watched.remove("b.wasm");
    watched.expect_removed("b");
}

#[test]
fn a_folder_that_vanishes_removes_nothing_and_is_watched_again_when_it_is_back() {
    let mut watched = Watched::scanned(QUICK, &[("a.wasm", "one")]);
    let (there, away) = (watched.path(""), watched.folder.path().join("away"));
    fs::rename(&there, &away).expect("moved");
    // This is far longer than the grace period: proving that nothing happens takes time.
    thread::sleep(QUICK.removal_grace * 4);
    fs::rename(&away, &there).expect("moved back");
    watched.expect_nothing_before("sentinel");
    watched.write("a.wasm", "two");
    watched.expect_settled("a", "two");
}

#[test]
fn another_folder_in_the_same_place_is_watched() {
    let timing = WatchTiming { removal_grace: NEVER, ..QUICK };
    let mut watched = Watched::scanned(timing, &[("a.wasm", "one")]);
    for round in ["two", "three"] {
        fs::remove_dir_all(watched.path("")).expect("removed");
        fs::create_dir(watched.path("")).expect("a folder");
        watched.write("a.wasm", round);
        watched.expect_settled("a", round);
    }
}

#[test]
fn a_replaced_folder_is_watched_by_its_events() {
    // Listings without an event never come, so the events of the new folder must.
    let timing = WatchTiming { reconcile: NEVER, ..QUICK };
    let mut watched = Watched::scanned(timing, &[]);
    let next = watched.folder.path().join("next");
    fs::create_dir(&next).expect("a folder");
    fs::rename(&next, watched.path("")).expect("an empty folder can be replaced");
    watched.write("a.wasm", "one");
    watched.expect_settled("a", "one");
    watched.write("a.wasm", "two");
    watched.expect_settled("a", "two");
}

#[test]
fn what_happens_to_the_folder_itself_puts_its_watch_in_doubt() {
    // A new folder may even have the inode of the old one, so that only the event tells.
    let removed = EventKind::Remove(notify::event::RemoveKind::Folder);
    let event = notify::Event::new(removed).add_path(PathBuf::from("/p"));
    let signals = signals_of(Path::new("/p"), Ok(event));
    assert!(signals.iter().any(|signal| matches!(signal, Signal::Folder)), "{signals:?}");
}

#[test]
fn a_link_that_leads_to_another_folder_is_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let (link, outside) = (folder.path().join("link"), folder.path().join("outside"));
    fs::create_dir(&one).and_then(|()| fs::create_dir(&two)).expect("folders");
    symlink(&one, &link).expect("a link");
    // Files never settle, so only those are reported that were moved in, as their event says.
    let timing = WatchTiming { settle: NEVER, ..QUICK };
    let (_watcher, mut changes) = watch(link.clone(), timing).expect("a folder");
    assert_eq!(changes.blocking_recv(), Some(Change::Scanned));
    symlink(&two, &outside).and_then(|()| fs::rename(&outside, &link)).expect("another link");
    let begun = Instant::now();
    while changes.try_recv().is_err() {
        // The next listing looks at the link; files before that have no event.
        assert!(begun.elapsed() < GENEROUS, "the folder behind the link is not watched");
        fs::write(&outside, "one")
            .and_then(|()| fs::rename(&outside, two.join("a.wasm")))
            .expect("moved");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn events_that_were_lost_make_everything_be_looked_at() {
    let rescan = notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    let signals = signals_of(Path::new("/p"), Ok(rescan));
    assert!(matches!(signals[..], [Signal::Look]), "{signals:?}");
    let signals = signals_of(Path::new("/p"), Err(notify::Error::generic("overflow")));
    assert!(matches!(signals[..], [Signal::Look]), "{signals:?}");
}

#[test]
fn dropping_the_watcher_ends_its_thread() {
    let mut watched = Watched::scanned(WatchTiming { reconcile: NEVER, ..QUICK }, &[]);
    drop(watched.watcher.take());
    // The thread owns the sender.
    assert_eq!(watched.changes.blocking_recv(), None);
}

#[test]
fn a_slow_receiver_finds_the_latest_state() {
    let mut watched = Watched::scanned(QUICK, &[]);
    for number in 0..20 {
        watched.write(&format!("p{number}.wasm"), "old");
    }
    watched.any();
    for number in 0..20 {
        watched.move_in(&format!("p{number}.wasm"), "new");
    }
    let is_new = |change: Option<&Change>| {
        matches!(
            change, Some(Change::Settled { bytes, .. }) if **bytes == *b"new"
        )
    };
    while !(0..20).all(|number| is_new(watched.last.get(&format!("p{number}")))) {
        watched.next();
    }
}
