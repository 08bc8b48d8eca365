//! A folder as orchestrators of containers mount a ConfigMap or a Secret: each file is a link through a link that is
//! replaced when the content changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Name of the link that all files go through.
const DATA: &str = "..data";

/// A folder with the files of a ConfigMap.
#[derive(Debug)]
pub struct ConfigMap {
    folder: PathBuf,
    version: u32,
}

impl ConfigMap {
    /// Makes the folder, with these files.
    pub fn new(folder: &Path, files: &[(&str, &[u8])]) -> ConfigMap {
        fs::create_dir(folder).expect("a folder");
        let mut map = ConfigMap { folder: folder.to_owned(), version: 0 };
        map.update(files);
        map
    }

    /// Replaces the content in one step, as the kubelet does: a folder of its own for the new files, and a rename of the link.
    pub fn update(&mut self, files: &[(&str, &[u8])]) {
        let before = format!("..version_{}", self.version);
        self.version += 1;
        let now = format!("..version_{}", self.version);
        let place = self.folder.join(&now);
        fs::create_dir(&place).expect("a folder");
        for (name, content) in files {
            fs::write(place.join(name), content).expect("a file");
        }
        let (link, next) = (self.folder.join(DATA), self.folder.join("..data_tmp"));
        symlink(&now, &next).and_then(|()| fs::rename(&next, &link)).expect("a link");
        for (name, _) in files {
            let visible = self.folder.join(name);
            if fs::symlink_metadata(&visible).is_err() {
                symlink(Path::new(DATA).join(name), &visible).expect("a link");
            }
        }
        for entry in fs::read_dir(&self.folder).expect("a folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("..") && !files.iter().any(|(its, _)| *its == name) {
                fs::remove_file(entry.path()).expect("a link");
            }
        }
        // There is none before the first one.
        let _ = fs::remove_dir_all(self.folder.join(before));
    }
}
