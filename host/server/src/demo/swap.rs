//! One version in place of another: its file by rename, and the outcome of loading it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use wharf_runtime::plugin::install;
use wharf_runtime::ports::LoadOutcome;

use super::folder::{Code, code};
use super::{Demo, VERSIONS};

/// The reason why a version is not put into the plugin folder, or its end is not known.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is no version of that name.
    Unknown,
    /// Another one is being put there.
    Busy,
    /// The files cannot be read or written, or loading takes too long.
    Failed(String),
}

/// The files around a swap.
struct Placed {
    /// Content of the plugin's file before, if it was another one.
    before: Option<Vec<u8>>,
    code: Code,
    file: PathBuf,
}

impl Demo {
    /// Puts the version that a path names into the plugin folder, and waits for its outcome. The work
    /// goes on if the caller does not.
    pub(crate) async fn swap(self: &Arc<Demo>, path: &str) -> Result<Value, Refused> {
        let name = path.strip_prefix(VERSIONS).ok_or(Refused::Unknown)?.to_owned();
        if !self.versions.contains_key(&name) {
            return Err(Refused::Unknown);
        }
        let turn = self.turn.clone().try_lock_owned().map_err(|_| Refused::Busy)?;
        let demo = self.clone();
        let swapped = tokio::spawn(async move {
            let swapped = demo.put(name).await;
            drop(turn);
            swapped
        });
        swapped.await.unwrap_or_else(|error| Err(Refused::Failed(error.to_string())))
    }

    async fn put(self: &Arc<Demo>, name: String) -> Result<Value, Refused> {
        let version = self.versions.get(&name).ok_or(Refused::Unknown)?;
        let channel = version.channel.clone();
        let number = *self.outcomes.borrow();
        let begun = Instant::now();
        let placed = self.place(version.file.clone(), &channel).await?;
        if let Some(state) = self.channels.lock().get_mut(&channel) {
            state.names.insert(placed.code, name.clone());
        }
        let last = self.last(&channel).filter(|last| last.sha256 == Some(placed.code));
        let outcome = match (last, &placed.before) {
            // The file has been there, and was looked at.
            (Some(last), None) => last,
            _ => self.outcome_after(number, &channel, placed.code).await?,
        };
        let took = begun.elapsed();
        if outcome.refused.is_some() {
            self.put_back(&channel, placed).await?;
        }
        Ok(json!({
            "version": name,
            "generation": outcome.serving,
            "refused": outcome.refused,
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }))
    }

    /// Puts a version's file into the plugin folder, unless the file there is the same.
    async fn place(&self, from: PathBuf, channel: &str) -> Result<Placed, Refused> {
        let file = self.plugins.join(format!("{channel}.wasm"));
        let placed = tokio::task::spawn_blocking(move || {
            let bytes = fs::read(from)?;
            let before = fs::read(&file).unwrap_or_default();
            let is_there = before == bytes;
            if !is_there {
                install(&bytes, &file)?;
            }
            let before = (!is_there).then_some(before);
            Ok(Placed { before, code: code(&bytes), file })
        });
        finished(placed.await)
    }

    /// Puts the earlier file back in place of one that is refused: the folder should have the code that
    /// serves.
    async fn put_back(&self, channel: &str, placed: Placed) -> Result<(), Refused> {
        let serving = self.channels.lock().get(channel).and_then(|state| state.serving);
        let before = placed.before.filter(|before| Some(code(before)) == serving);
        let (Some(before), Some(serving)) = (before, serving) else { return Ok(()) };
        let number = *self.outcomes.borrow();
        let written = tokio::task::spawn_blocking(move || install(&before, &placed.file)).await;
        finished(written)?;
        // The next swap begins with a folder that the host knows.
        self.outcome_after(number, channel, serving).await.map(drop)
    }

    fn last(&self, channel: &str) -> Option<LoadOutcome> {
        let channels = self.channels.lock();
        channels.get(channel)?.last.as_ref().map(|(_, outcome)| outcome.clone())
    }

    /// Returns the last outcome of a channel, if it is of this code and later than the first `number`.
    fn news(&self, number: u64, channel: &str, code: Code) -> Option<LoadOutcome> {
        let channels = self.channels.lock();
        let last = channels.get(channel)?.last.as_ref();
        let news = last.filter(|(at, last)| *at > number && last.sha256 == Some(code));
        news.map(|(_, outcome)| outcome.clone())
    }

    /// Waits for the outcome of loading this code, after the first `number` outcomes.
    async fn outcome_after(
        &self,
        number: u64,
        channel: &str,
        code: Code,
    ) -> Result<LoadOutcome, Refused> {
        let mut outcomes = self.outcomes.subscribe();
        let found = async {
            loop {
                outcomes.borrow_and_update();
                if let Some(outcome) = self.news(number, channel, code) {
                    return outcome;
                }
                // The sender lives as long as this.
                let _ = outcomes.changed().await;
            }
        };
        let late = |_| {
            let seconds = self.patience.as_secs();
            Refused::Failed(format!("the host has not looked at the file within {seconds} s"))
        };
        tokio::time::timeout(self.patience, found).await.map_err(late)
    }
}

fn finished<T>(done: Result<std::io::Result<T>, tokio::task::JoinError>) -> Result<T, Refused> {
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Refused::Failed(error.to_string())),
        Err(error) => Err(Refused::Failed(error.to_string())),
    }
}
