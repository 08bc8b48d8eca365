//! Inputs that end the process, or with which the code never ends: they are found as well.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::corpus::Corpus;

/// Time after which an input counts as endless. It is generous, since machines may be busy.
const LIMIT: Duration = Duration::from_secs(120);

/// Keeps the input that is tried in a file, and ends the process if it takes too long.
#[derive(Debug)]
pub struct Watch {
    /// The file; `None` where it cannot be written.
    file: Option<File>,
    path: std::path::PathBuf,
    /// Number of the input that is tried; 0 at the end.
    number: Arc<AtomicU64>,
}

impl Watch {
    /// Begins to watch.
    pub fn begin(corpus: &Corpus) -> Watch {
        let path = corpus.running();
        let number = Arc::new(AtomicU64::new(1));
        let watched = number.clone();
        let shown = path.display().to_string();
        thread::spawn(move || {
            loop {
                let before = watched.load(Ordering::Relaxed);
                if before == 0 {
                    return;
                }
                thread::sleep(LIMIT);
                if watched.load(Ordering::Relaxed) == before {
                    eprintln!("fuzz: not finished with an input after {LIMIT:?}: it is in {shown}");
                    std::process::abort();
                }
            }
        });
        Watch { file: File::create(&path).ok(), path, number }
    }

    /// Notes the next input.
    pub fn before(&self, input: &[u8]) {
        self.number.fetch_add(1, Ordering::Relaxed);
        if let Some(file) = &self.file {
            // Without it only an input that ends the process would be lost.
            let _ = file.set_len(input.len() as u64);
            let _ = file.write_all_at(input, 0);
        }
    }

    /// Ends.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.number.store(0, Ordering::Relaxed);
        let _ = std::fs::remove_file(&self.path);
    }
}
