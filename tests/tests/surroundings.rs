//! Hard surroundings: few addresses, no memory that can be made executable, file systems whose inode
//! numbers change.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use wharf_tests::artefacts::{binary, component};
use wharf_tests::system_calls::{without_executable_memory, without_threads};
use wharf_tests::{Line, Wharf, eventually, folder, mounts};

#[tokio::test]
async fn a_host_with_few_addresses_compiles_and_serves() {
    // Each memory of a guest reserves four gibibytes where there is no such limit.
    let limited = "ulimit -v 1500000; exec \"$0\" \"$@\"";
    let flags = ["--cache "];
    let wharf = Wharf::start_under(&["sh", "-c", limited], folder(&["counts"]), &flags).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(wharf.connect("/counts/a").await);
    }
    for client in &mut clients {
        client.feed("hello").await;
    }
    for mut client in clients {
        client.flush().await;
        assert_eq!(client.json().await["count"], 1);
    }
}

#[tokio::test]
async fn a_file_that_is_a_mount_of_its_own_and_was_replaced_outside_is_told_of() {
    let folder = folder(&["echo"]);
    let [outside, plugin] =
        ["outside.wasm", "plugins/echo.wasm"].map(|name| folder.path().join(name));
    fs::rename(&plugin, &outside).expect("a file outside");
    fs::write(&plugin, "").expect("a place for the mount");
    // As a container that is given one file.
    let mounted = "mount --bind outside.wasm plugins/echo.wasm && exec \"$0\" \"$@\"";
    let wharf = Wharf::start_under(&mounts(mounted), folder, &[]).await;
    assert_eq!(wharf.connect("/echo").await.ask("served").await, "served");
    let next = outside.with_extension("next");
    fs::write(&next, component("counts")).expect("a new version");
    fs::rename(&next, &outside).expect("it replaces the old one");
    let told = |line: &Line| line.text.contains("a mount of its own");
    let line = wharf.log.wait_for("a warning", told).await;
    assert!(line.text.contains("mount the folder instead of the file"), "{line}");
}

#[test]
fn a_machine_that_makes_no_memory_executable_is_told_by_name_with_the_remedy() {
    // As `MemoryDenyWriteExecute` of systemd does, with Linux 6.3 or later.
    let script = "import ctypes, os, sys\n\
                  assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0, 'PR_SET_MDWE is not there'\n\
                  os.execv(sys.argv[1], sys.argv[1:])";
    let said = refusal_to_start_under(script);
    assert!(said.contains("MemoryDenyWriteExecute=no"), "{said}");
    // As SELinux without `execmem` (EACCES) and filters of containers (EPERM) do.
    for error in [13, 1] {
        let said = refusal_to_start_under(&without_executable_memory(error));
        assert!(said.contains("MemoryDenyWriteExecute=no"), "{said}");
        assert!(said.contains("execmem") && said.contains("seccomp"), "{said}");
    }
}

#[test]
fn a_machine_without_another_thread_is_told_by_name_with_the_remedy() {
    let said = refusal_to_start_under(&without_threads());
    assert!(said.contains("no thread can be started") && said.contains("TasksMax"), "{said}");
}

/// Starts a server by a program in Python, which must end with an error. Returns its only line.
fn refusal_to_start_under(program: &str) -> String {
    let folder = folder(&["echo"]);
    let mut command = Command::new("python3");
    command.args(["-c", program]).arg(binary()).args(["serve", "--plugins", "plugins"]);
    let output = command.current_dir(folder.path()).env_clear().output().expect("Python runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[tokio::test]
async fn a_system_with_too_few_mappings_for_the_instances_is_told_of_at_the_start() {
    let told =
        |line: &Line| line.text.contains("fewer mappings of memory than max_instances needs");
    for (limit, lines) in [("65530\n", 0), ("4000\n", 1)] {
        let folder = folder(&["echo"]);
        fs::write(folder.path().join("limit"), limit).expect("a limit");
        let mounted = "mount --bind limit /proc/sys/vm/max_map_count && exec \"$0\" \"$@\"";
        let wharf = Wharf::start_under(&mounts(mounted), folder, &["--max-instances 1000"]).await;
        assert_eq!(wharf.log.find(told).len(), lines, "{limit}");
        let advised = wharf.log.find(|line| line.text.contains("sysctl vm.max_map_count=8000"));
        assert_eq!(advised.len(), lines);
    }
}

/// Makes two files of the same times in folders of their own: another look may find the other one, and
/// nothing but its inode's number tells.
fn alike(folder: &Path, bytes: &[u8]) {
    for _ in 0..10_000 {
        let files = ["a", "b"].map(|name| folder.join(name).join("echo.wasm"));
        for file in &files {
            let place = file.parent().expect("a folder");
            let _ = fs::remove_dir_all(place);
            fs::create_dir(place).expect("a folder");
            fs::write(file, bytes).expect("a file");
        }
        // Changes of one tick of the clock have one time.
        for file in &files {
            let file = fs::File::options().write(true).open(file).expect("a file");
            file.set_modified(SystemTime::UNIX_EPOCH).expect("it is ours");
        }
        let [a, b] = files.map(|file| fs::metadata(file).expect("a file"));
        let times = |of: &fs::Metadata| (of.ctime(), of.ctime_nsec(), of.mtime(), of.mtime_nsec());
        if times(&a) == times(&b) && a.ino() != b.ino() {
            return;
        }
    }
    panic!("no two files of one time");
}

#[tokio::test]
async fn a_file_whose_inode_number_differs_at_each_look_is_loaded_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, plugins) = (folder.path().to_owned(), folder.path().join("plugins"));
    fs::create_dir(&plugins).expect("a folder");
    alike(&root, &component("echo"));
    symlink("a", root.join("current")).expect("a link");
    symlink("../current/echo.wasm", plugins.join("echo.wasm")).expect("a link");
    let is_over = Arc::new(AtomicBool::new(false));
    let flipping = std::thread::spawn({
        let (root, is_over) = (root.clone(), is_over.clone());
        move || {
            // A link is replaced in one step, so that the file is always there.
            while !is_over.load(Ordering::SeqCst) {
                for name in ["b", "a"] {
                    symlink(name, root.join("next")).expect("a link");
                    fs::rename(root.join("next"), root.join("current")).expect("it is replaced");
                    std::thread::sleep(Duration::from_millis(3));
                }
            }
        }
    });
    let wharf = Wharf::start_in(folder, &["--reconcile-ms 100"]).await;
    wharf.in_service_after(0, "echo").await;
    let mut client = wharf.connect("/echo").await;
    // It is looked at some more times.
    let begun = std::time::Instant::now();
    eventually("further looks", async || {
        assert_eq!(client.ask("hello").await, "hello");
        (begun.elapsed() > Duration::from_secs(1)).then_some(())
    })
    .await;
    is_over.store(true, Ordering::SeqCst);
    flipping.join().expect("it does not panic");
    let news = |line: &Line| line.begins("plugin ") || line.text.contains("keeps changing");
    assert_eq!(wharf.log.find(news).len(), 1, "it was loaded once");
}

#[tokio::test]
async fn a_file_that_hardly_is_meant_to_be_passed_over_is_told_of_once() {
    let wharf = Wharf::start(&["echo"], &["--reconcile-ms 100"]).await;
    let passed_over = |line: &Line| line.begins("a file is passed over");
    fs::write(wharf.folder().join("plugins/Counts.WASM"), component("counts")).expect("a file");
    let line = wharf.log.wait_for("a warning", passed_over).await;
    assert!(line.str("file").ends_with("plugins/Counts.WASM"), "{line}");
    // Looked at again.
    wharf.swap("rooms", &component("rooms")).await;
    wharf.swap("posts", &component("posts")).await;
    assert_eq!(wharf.log.find(passed_over).len(), 1);
    assert!(wharf.log.find(|line| line.str("channel") == "Counts").is_empty());
}
