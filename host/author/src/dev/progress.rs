//! The result of each save, in one line each.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::install::install;
use wharf_runtime::ports::LoadOutcome;

/// Writes to standard output. The builds and the listener for the server's verdicts share it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// Components that were built and put into the folder and not been looked at yet, by name.
    waiting: BTreeMap<String, ([u8; 32], Duration)>,
    /// The server's last outcomes, by name.
    last: BTreeMap<String, LoadOutcome>,
}

impl Progress {
    /// Writes a line.
    pub(super) fn say(&self, line: &str) {
        let mut out = std::io::stdout().lock();
        // A closed pipe is not a reason to stop serving.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    /// Reports a failed build.
    pub(super) fn failed(&self, name: &str, what: &str) {
        let told = self.told.lock();
        let serving = told.last.get(name).and_then(|outcome| outcome.serving);
        self.say(&format!("{name}: {what}; {}", still(serving)));
    }

    /// Puts a component into the plugin folder, in one step, unless it is there already.
    pub(super) fn install(
        &self,
        name: &str,
        component: &[u8],
        file: &Path,
        took: Duration,
    ) -> anyhow::Result<()> {
        let sha256: [u8; 32] = Sha256::digest(component).into();
        let is_there = fs::read(file).is_ok_and(|before| before == component);
        {
            let mut told = self.told.lock();
            let last = told.last.get(name).filter(|last| last.sha256 == Some(sha256));
            if let (true, Some(last)) = (is_there, last) {
                self.say(&line(last, Some(took), true));
                return Ok(());
            }
            // The entry must exist before the server can see the file.
            told.waiting.insert(name.to_owned(), (sha256, took));
        }
        if is_there {
            return Ok(());
        }
        install(component, file)
    }

    /// Reports what became of a file that the server has looked at.
    pub(super) fn loaded(&self, outcome: LoadOutcome) {
        let mut told = self.told.lock();
        let waiting = told.waiting.get(&outcome.name);
        let took = waiting.filter(|(sha256, _)| outcome.sha256 == Some(*sha256));
        let took = took.map(|(_, took)| *took);
        if took.is_some() {
            told.waiting.remove(&outcome.name);
        }
        if took.is_some() || told.last.get(&outcome.name) != Some(&outcome) {
            self.say(&line(&outcome, took, false));
        }
        told.last.insert(outcome.name.clone(), outcome);
    }
}

/// Returns a line such as `chat: built in 1.2 s, generation 4 serves`.
fn line(outcome: &LoadOutcome, took: Option<Duration>, is_same: bool) -> String {
    let mut line = format!("{}: ", outcome.name);
    if let Some(took) = took {
        line.push_str(&format!("built in {:.1} s, ", took.as_secs_f64()));
    }
    if is_same {
        line.push_str("the same code, ");
    }
    match &outcome.refused {
        None => line.push_str(&still(outcome.serving).replace(" keeps serving", " serves")),
        Some(reason) => {
            line.push_str(&format!("refused: {reason}; {}", still(outcome.serving)));
        }
    }
    line
}

fn still(serving: Option<u64>) -> String {
    match serving {
        Some(generation) => format!("generation {generation} keeps serving"),
        None => "nothing serves in its place".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_serves_now() {
        let mut outcome =
            LoadOutcome { name: "chat".to_owned(), sha256: None, serving: Some(4), refused: None };
        let took = Some(Duration::from_millis(1_234));
        assert_eq!(line(&outcome, took, false), "chat: built in 1.2 s, generation 4 serves");
        assert_eq!(line(&outcome, None, false), "chat: generation 4 serves");
        assert_eq!(
            line(&outcome, took, true),
            "chat: built in 1.2 s, the same code, generation 4 serves"
        );
        outcome.refused = Some("it declares no path".to_owned());
        assert_eq!(
            line(&outcome, took, false),
            "chat: built in 1.2 s, refused: it declares no path; generation 4 keeps serving"
        );
        outcome.serving = None;
        assert_eq!(
            line(&outcome, None, false),
            "chat: refused: it declares no path; nothing serves in its place"
        );
    }
}
