//! A disk with faults, under a server.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A disk whose faults a test sets while a server runs on it. It stands between the server and the files of
/// its database: `disk/faulty.c` describes it.
#[derive(Debug)]
pub struct FaultyDisk {
    folder: TempDir,
    wrapper: [String; 3],
}

impl FaultyDisk {
    /// Makes a disk without faults, with the C compiler that Rust links with.
    pub fn new() -> FaultyDisk {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("disk/faulty.c");
        let (library, faults) = (folder.path().join("faulty.so"), folder.path().join("faults"));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(compiler.status().expect("cc runs").success(), "the disk is compiled");
        let wrapper = [
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAULTY_DISK={}", faults.display()),
        ];
        let disk = FaultyDisk { folder, wrapper };
        disk.set("");
        disk
    }

    /// Sets all faults that there are from now on, such as `sync=5 delay=10`.
    pub fn set(&self, faults: &str) {
        let (new, place) = (self.folder.path().join("new"), self.folder.path().join("faults"));
        std::fs::write(&new, faults).expect("the faults are written");
        std::fs::rename(&new, place).expect("the faults are renamed");
    }

    /// Returns the program for [`Wharf::start_under`](crate::Wharf::start_under).
    pub fn wrapper(&self) -> [&str; 3] {
        self.wrapper.each_ref().map(String::as_str)
    }
}

impl Default for FaultyDisk {
    fn default() -> FaultyDisk {
        FaultyDisk::new()
    }
}
