//! The outcome for a file: in the log, and for the observer.

use std::path::Path;
use std::sync::Arc;

use super::mount::{News, Waiting};
use super::{PluginFile, Refusal, Registry, hex};
use crate::channel::Channel;
use crate::ports::LoadOutcome;
use wharf_contract::text::escape;

/// Longest part of a reason that is repeated, in bytes.
const MAX_REASON_BYTES: usize = 2_000;

impl Registry {
    pub(super) fn tell_refused(
        &self,
        name: &str,
        file: &Path,
        sha256: Option<[u8; 32]>,
        reason: &str,
        is_passing: bool,
    ) {
        let mut reason = self.shown(name, reason);
        if is_passing {
            reason.push_str("; it is tried again");
        }
        let refusal =
            Refusal { name: escape(name), reason: reason.clone(), is_passing, serving: None };
        self.refusals.lock().insert(name.to_owned(), refusal);
        let (name, file) = (escape(name), escape(&file.display().to_string()));
        let serving = self.serving(&name);
        match serving {
            Some(generation) => tracing::error!(
                channel = name,
                file,
                reason,
                serving = generation,
                "plugin refused; generation {generation} keeps serving"
            ),
            None => tracing::error!(channel = name, file, reason, "plugin refused"),
        }
        self.ports.loads.loaded(LoadOutcome { name, sha256, serving, refused: Some(reason) });
    }

    /// Returns a reason in the form for people. A guest has its settings when it describes itself,
    /// and can put them into the reason.
    pub(super) fn shown(&self, name: &str, reason: &str) -> String {
        escape(&self.config.channel(name).secrets.hide(reason, MAX_REASON_BYTES))
    }

    /// Handles a file like [`follow`](Registry::follow), and mounts it if it is fit.
    ///
    /// # Errors
    ///
    /// The reason to refuse it, as the log of a server has it.
    pub async fn load_file(
        &self,
        name: &str,
        path: &Path,
        bytes: Arc<[u8]>,
        sha256: [u8; 32],
    ) -> Result<Arc<Channel>, String> {
        let (name, path, size) = (name.to_owned(), path.to_owned(), bytes.len());
        let file = PluginFile { name, path, size, sha256 };
        let name = &*file.name;
        // Somebody waits for this one file, as long as it takes.
        let prepared = self.prepare(&file, bytes, || ()).await;
        let ready = prepared.map_err(|refusal| self.shown(name, &refusal.reason))?;
        let mut waiting = Waiting::from([(name.to_owned(), ready)]);
        let news = self.change(&[], &mut waiting).pop();
        if let Some(ready) = waiting.get(name) {
            let reason = self.conflict(ready).unwrap_or_default();
            return Err(self.shown(name, &reason));
        }
        let news = news.ok_or_else(|| "it is gone again".to_owned())?;
        tell_mounted(&news);
        Ok(news.channel)
    }
}

/// Logs that a generation serves.
pub(super) fn tell_mounted(news: &News) {
    let generation = news.channel.current();
    let context = &news.channel.context;
    let paths = context.shown(&generation.description.paths.join(" "), usize::MAX);
    let sha256 = hex(&news.sha256);
    tracing::info!(
        channel = news.channel.name(),
        generation = news.number,
        paths,
        session_format = generation.description.session_format,
        sha256 = sha256.get(..16),
        bytes = news.bytes,
        cached = news.is_cached,
        compile_ms = news.compile_ms,
        swap_ms = news.swap_ms,
        "{}",
        if news.is_swap { "plugin swapped" } else { "plugin loaded" }
    );
    let (channel, number) = (news.channel.name(), news.number);
    if let Some(reason) = &news.unreadable.session {
        tracing::warn!(
            channel,
            generation = number,
            connections = context.hub.connection_count(),
            reason = context.shown(reason, MAX_REASON_BYTES),
            "open connections may have sessions that this generation cannot read: each ends with code \
             1011 at its next event; to keep them put the earlier file back"
        );
    }
    if let Some(reason) = &news.unreadable.room_state {
        tracing::warn!(
            channel,
            generation = number,
            reason = context.shown(reason, MAX_REASON_BYTES),
            "rooms may have states that this generation cannot read: their events fail; put the earlier \
             file back, or reset the rooms by the operator's API"
        );
    }
}
