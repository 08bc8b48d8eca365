//! The outcome for a file: in the log, and for the observer.

use std::path::Path;
use std::sync::Arc;

use super::{PluginFile, Registry};
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
    ) {
        let reason = self.shown(name, reason);
        let (name, file) = (escape(name), escape(&file.display().to_string()));
        let serving = self.serving(&name);
        match serving {
            Some(generation) => tracing::error!(
                channel = %name,
                file,
                reason,
                serving = generation,
                "plugin refused; generation {generation} keeps serving"
            ),
            None => tracing::error!(channel = %name, file, reason, "plugin refused"),
        }
        self.ports.loads.loaded(LoadOutcome { name, sha256, serving, refused: Some(reason) });
    }

    /// Returns a reason in the form for people. A guest has its settings when it describes itself,
    /// and can put them into the reason.
    fn shown(&self, name: &str, reason: &str) -> String {
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
        let file = PluginFile { name: name.to_owned(), path: path.to_owned(), bytes, sha256 };
        self.load(&file).await.map_err(|refusal| self.shown(name, &refusal.reason))?;
        let channels = self.channels.lock();
        let mounted = channels.get(name).map(|mounted| mounted.channel.clone());
        mounted.ok_or_else(|| "it is gone again".to_owned())
    }
}
