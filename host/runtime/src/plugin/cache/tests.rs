use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const KEY: EntryKey = [7; 32];

/// Returns a cache in a folder that does not exist yet.
fn cache(max_bytes: usize) -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::new(folder.path().join("not/yet/there"), max_bytes);
    (folder, cache)
}

fn found(cache: &Cache, key: &EntryKey) -> Option<Vec<u8>> {
    cache.get(key).map(|code| code.as_bytes().to_vec())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// Makes a file look as if it had last been used `seconds` seconds ago.
fn age(path: &Path, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    let file = fs::File::open(path).expect("it is there");
    file.set_modified(time).expect("it is ours");
}

#[test]
fn what_was_put_is_found_by_its_key_alone() {
    let (_folder, cache) = cache(1000);
    assert_eq!(found(&cache, &KEY), None);
    cache.put(&KEY, b"code");
    assert_eq!(found(&cache, &KEY).as_deref(), Some(&b"code"[..]));
    assert_eq!(found(&cache, &[8; 32]), None);
    cache.put(&KEY, b"other code");
    assert_eq!(found(&cache, &KEY).as_deref(), Some(&b"other code"[..]));
    cache.put(&[8; 32], b"");
    assert_eq!(found(&cache, &[8; 32]).as_deref(), Some(&b""[..]));
    let names = fs::read_dir(&cache.folder).expect("it was made").count();
    assert_eq!(names, 2, "nothing else is left there");
}

#[test]
fn folder_and_entries_are_made_for_this_user_alone() {
    let (folder, cache) = cache(1000);
    cache.put(&KEY, b"code");
    assert_eq!(mode(&folder.path().join("not")), 0o700);
    assert_eq!(mode(&cache.folder), 0o700);
    assert_eq!(mode(&cache.entry(&KEY)), 0o600);
}

#[test]
fn an_entry_of_which_any_byte_is_not_as_it_was_is_not_found_and_can_be_replaced() {
    let (_folder, cache) = cache(1000);
    cache.put(&KEY, b"code");
    let whole = fs::read(cache.entry(&KEY)).expect("an entry");
    let mut broken: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
    broken.extend((0..whole.len()).map(|at| {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        flipped
    }));
    broken.push([&whole[..], b"!"].concat());
    for bytes in broken {
        fs::write(cache.entry(&KEY), &bytes).expect("written");
        assert_eq!(found(&cache, &KEY), None, "{bytes:?}");
    }
    cache.put(&KEY, b"code");
    assert_eq!(found(&cache, &KEY).as_deref(), Some(&b"code"[..]));
    // Under another's name it is whole, but still the wrong one.
    fs::copy(cache.entry(&KEY), cache.entry(&[8; 32])).expect("copied");
    assert_eq!(found(&cache, &[8; 32]), None);
}

#[test]
fn what_others_could_have_put_there_is_not_found() {
    let (folder, cache) = cache(1000);
    cache.put(&KEY, b"code");
    let entry = cache.entry(&KEY);
    for path in [cache.folder.as_path(), &entry] {
        let private = mode(path);
        for others in [0o020, 0o002] {
            chmod(path, private | others);
            assert_eq!(found(&cache, &KEY), None, "{} {others:o}", path.display());
        }
        // Read permission for others does no harm.
        chmod(path, private | 0o055);
        assert!(found(&cache, &KEY).is_some());
        chmod(path, private);
    }

    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&entry, &elsewhere).expect("moved");
    symlink(&elsewhere, &entry).expect("linked");
    assert_eq!(found(&cache, &KEY), None);
    cache.put(&KEY, b"code");
    assert!(found(&cache, &KEY).is_some(), "the link was replaced");
    assert!(elsewhere.exists());

    fs::rename(&cache.folder, folder.path().join("moved")).expect("moved");
    symlink(folder.path().join("moved"), &cache.folder).expect("linked");
    assert_eq!(found(&cache, &KEY), None);
    fs::remove_file(&cache.folder).expect("unlinked");
    fs::rename(folder.path().join("moved"), &cache.folder).expect("moved back");
    assert!(found(&cache, &KEY).is_some());
}

#[test]
fn nothing_is_put_where_others_can_write() {
    let (_folder, cache) = cache(1000);
    fs::create_dir_all(&cache.folder).expect("a folder");
    chmod(&cache.folder, 0o777);
    cache.put(&KEY, b"code");
    assert_eq!(fs::read_dir(&cache.folder).expect("a folder").count(), 0);
    assert!(cache.warned.lock().contains("by others"));
}

#[test]
fn a_pipe_in_the_place_of_an_entry_does_not_block() {
    let (_folder, cache) = cache(1000);
    cache.put(&KEY, b"code");
    fs::remove_file(cache.entry(&KEY)).expect("removed");
    let pipe = std::process::Command::new("mkfifo").arg(cache.entry(&KEY)).status();
    assert!(pipe.expect("mkfifo is there").success());
    assert_eq!(found(&cache, &KEY), None);
}

#[test]
fn what_was_used_least_recently_makes_room() {
    let body = [1; 1000];
    let (_folder, cache) = cache(3 * (body.len() + HEADER_BYTES));
    for (key, seconds) in [(1, 40), (2, 30), (3, 20)] {
        cache.put(&[key; 32], &body);
        age(&cache.entry(&[key; 32]), seconds);
    }
    assert!(found(&cache, &[1; 32]).is_some(), "all three fit, and this one has been used");
    cache.put(&[4; 32], &body);
    let kept = [1, 2, 3, 4].map(|key| cache.entry(&[key; 32]).exists());
    assert_eq!(kept, [true, false, true, true]);
    // An entry that cannot fit at all does not drive out the rest.
    cache.put(&[5; 32], &[1; 4000]);
    let kept = [1, 3, 4, 5].map(|key| cache.entry(&[key; 32]).exists());
    assert_eq!(kept, [true, true, true, false]);
}

#[test]
fn what_crashed_writers_have_left_is_removed_after_an_hour() {
    let (_folder, cache) = cache(1000);
    cache.put(&KEY, b"code");
    let [fresh, stale, foreign] =
        [".1-0-1.partial", ".2-0-1.partial", "notes"].map(|name| cache.folder.join(name));
    for (path, seconds) in [(&fresh, 3000), (&stale, 4000), (&foreign, 1_000_000)] {
        fs::write(path, [0; 2000]).expect("written");
        age(path, seconds);
    }
    cache.put(&KEY, b"code");
    assert_eq!([fresh, stale, foreign].map(|path| path.exists()), [true, false, true]);
    assert!(found(&cache, &KEY).is_some());
}

#[test]
fn a_folder_that_cannot_be_made_costs_nothing_but_the_entry() {
    let (folder, cache) = cache(1000);
    fs::write(folder.path().join("not"), "a file in its way").expect("written");
    cache.put(&KEY, b"code");
    assert_eq!(found(&cache, &KEY), None);
    assert!(!cache.warned.lock().is_empty());
}
