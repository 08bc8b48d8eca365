//! What became of a file: told in the log, and to whoever wants to know.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::{File, Registry};
use crate::channel::Channel;
use wharf_contract::text::escape;

/// Bytes of a reason that is repeated.
const MAX_REASON_BYTES: usize = 2_000;

/// What became of a plugin's file that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The channel's name.
    pub name: String,
    /// The SHA-256 of the file; `None` if it cannot be read.
    pub sha256: Option<[u8; 32]>,
    /// The number of the generation that serves now; `None` if there is none.
    pub serving: Option<u64>,
    /// Why the file is refused, without secrets and on one line; `None` if it is what serves now.
    pub refused: Option<String>,
}

impl Registry {
    /// Tell what becomes of each file. What finds no room in the channel is not told.
    pub fn telling(self, verdicts: Option<mpsc::Sender<Verdict>>) -> Registry {
        Registry { verdicts, ..self }
    }

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
        self.tell(Verdict { name, sha256, serving, refused: Some(reason) });
    }

    pub(super) fn tell(&self, verdict: Verdict) {
        if let Some(verdicts) = &self.verdicts {
            let _ = verdicts.try_send(verdict);
        }
    }

    /// A reason as people read it. A guest has its settings when it describes itself, and has a
    /// say in this.
    fn shown(&self, name: &str, reason: &str) -> String {
        escape(&self.config.channel(name).secrets.hide(reason, MAX_REASON_BYTES))
    }

    /// Look at a file as [`follow`](Registry::follow) does, and mount it if it is fit.
    ///
    /// # Errors
    ///
    /// Why it is refused, as the log of a server says it.
    pub async fn look_at(
        &self,
        name: &str,
        path: &Path,
        bytes: Arc<[u8]>,
        sha256: [u8; 32],
    ) -> Result<Arc<Channel>, String> {
        let file = File { name: name.to_owned(), path: path.to_owned(), bytes, sha256 };
        self.load(&file).await.map_err(|refusal| self.shown(name, &refusal.reason))?;
        let channels = self.channels.lock();
        let mounted = channels.get(name).map(|mounted| mounted.channel.clone());
        mounted.ok_or_else(|| "it is gone again".to_owned())
    }
}
