//! The kept inputs of a target: one file each, in `fuzz/corpus/TARGET/`.

use std::fs;
use std::path::{Path, PathBuf};

/// Beginning of the names of inputs that have failed.
const FAILURE: &str = "failure-";

/// Beginning of the names of inputs that are being tried, followed by the process.
const RUNNING: &str = "running-";

/// The inputs of one target.
#[derive(Debug)]
pub struct Corpus {
    folder: PathBuf,
}

impl Corpus {
    /// Returns the corpus of a target, which may be empty.
    pub fn of(target: &str) -> Corpus {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let corpus = Corpus { folder };
        corpus.adopt_those_that_ended_a_process();
        corpus
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns all inputs, in the order of their files' names.
    pub fn inputs(&self) -> Vec<Vec<u8>> {
        let mut files = self.files();
        files.retain(|name| !name.starts_with(RUNNING));
        files.iter().filter_map(|name| fs::read(self.folder.join(name)).ok()).collect()
    }

    /// Keeps an input that has failed. Returns a sentence that says where, or what it is.
    pub fn keep_failure(&self, input: &[u8]) -> String {
        let file = self.folder.join(format!("{FAILURE}{:016x}", crate::hash(&input)));
        match fs::write(&file, input) {
            Ok(()) => format!("the input that failed is kept in {}", file.display()),
            Err(error) => format!("the input that failed cannot be kept ({error}): {input:02x?}"),
        }
    }

    /// Returns the file for the input that this process tries.
    pub fn running(&self) -> PathBuf {
        self.folder.join(format!("{RUNNING}{}", std::process::id()))
    }

    /// Keeps the inputs of processes that have ended while they tried them, such as by an overflow of
    /// the stack.
    fn adopt_those_that_ended_a_process(&self) {
        for name in self.files() {
            let Some(process) = name.strip_prefix(RUNNING) else { continue };
            let file = self.folder.join(&name);
            if !Path::new("/proc").join(process).exists()
                && let Ok(input) = fs::read(&file)
            {
                eprintln!("fuzz: a process has ended with an input: {}", self.keep_failure(&input));
                let _ = fs::remove_file(&file);
            }
        }
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}
