//! A node as a participant: it follows the table, and tries code when it is asked.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use wharf_node::deploy::Act;
use wharf_node::wire::{Report, Step, Try};
use wharf_runtime::registry::{Tried, Unfit};

use super::{Deploys, Trial};

/// Channels that are loaded at a time.
const AT_ONCE: usize = 4;

/// Time between two tries to read the table at the start.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes of a hash in hexadecimal digits.
const HASH_DIGITS: usize = 64;

impl Deploys {
    /// Reads which channels have deployed code, before the plugin folder is followed: their files in it do not serve. A
    /// table that cannot be read is waited for. Returns the channels.
    pub(crate) async fn begin(&self) -> BTreeSet<String> {
        let mut last = None;
        loop {
            match self.shelf.table().await {
                Ok(seen) => {
                    let channels = seen.table.unwrap_or_default().channels;
                    let expected: BTreeSet<String> = channels.into_keys().collect();
                    self.registry.expect_deployed(expected.clone());
                    return expected;
                }
                Err(reason) => {
                    if last.as_ref() != Some(&reason) {
                        tracing::error!(reason, "waiting for the table of deployed plugins");
                        last = Some(reason);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Follows the table until the host ends.
    pub(crate) async fn run(self: Arc<Deploys>, expected: BTreeSet<String>) {
        self.look().await;
        while self.state.lock().unread.is_some() {
            tokio::time::sleep(PAUSE).await;
            self.look().await;
        }
        // Those that were withdrawn since the table was read first.
        let table = self.seen();
        for channel in expected.iter().filter(|channel| table.code(channel).is_none()) {
            self.registry.withdraw_deployed(channel).await;
        }
        loop {
            let (now, next_look, is_settled) = {
                let state = self.state.lock();
                let is_settled = state.trial.is_none() && state.reasons.is_empty();
                (self.now(), state.participant.next_look(), is_settled)
            };
            // Nobody else changes the table of a single host.
            if is_settled && !self.shelf.is_shared() {
                self.wake.notified().await;
                continue;
            }
            let pause = Duration::from_millis(next_look.saturating_sub(now).max(1));
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => self.look().await,
            }
        }
    }

    /// Looks at the table, and runs what it says.
    pub(super) fn look(self: &Arc<Deploys>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Its type is a name for all that it does, which others need not know.
        Box::pin(self.look_once())
    }

    async fn look_once(self: &Arc<Deploys>) {
        let _turn = self.looking.lock().await;
        let seen = self.shelf.table().await;
        let acts = {
            let mut state = self.state.lock();
            let now = self.now();
            let forgotten = state.participant.look(now);
            self.forget(&mut state, forgotten);
            match seen {
                Ok(seen) => {
                    let was_lost = state.participant.has_lost_table();
                    let acts = state.participant.saw(seen.table, now);
                    if state.participant.has_lost_table() && !was_lost {
                        tracing::error!(
                            "the engine has lost the deployed plugins; they go on here, and a host that starts does \
                             not get them: deploy them again"
                        );
                    }
                    if state.unread.take().is_some() {
                        tracing::info!("the table of deployed plugins can be read again");
                    }
                    acts
                }
                Err(reason) => {
                    if state.unread.as_ref() != Some(&reason) {
                        tracing::warn!(
                            reason,
                            "the table of deployed plugins cannot be read; plugins stay as they are"
                        );
                    }
                    state.unread = Some(reason);
                    state.participant.look_later(now);
                    Vec::new()
                }
            }
        };
        let acts = acts.into_iter().map(|act| self.clone().act(act));
        stream::iter(acts).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    async fn act(self: Arc<Deploys>, act: Act) {
        match act {
            Act::Serve { channel, sha256 } => self.serve(&channel, &sha256).await,
            Act::Withdraw { channel } => {
                self.registry.withdraw_deployed(&channel).await;
                let mut state = self.state.lock();
                state.participant.withdrawn(&channel);
                state.reasons.remove(&channel);
            }
            // They come from questions, and not from the table.
            Act::Try(_) | Act::Forget { .. } => {}
        }
    }

    /// Runs the code that the table names.
    async fn serve(&self, channel: &str, sha256: &str) {
        let served = match self.held(channel, sha256) {
            Some(tried) => Ok(tried),
            None => self.load(channel, sha256).await,
        };
        let served = match served {
            Ok(tried) => self.registry.serve_deployed(tried).await,
            Err(unfit) => {
                if let Some(hash) = hash_of(sha256) {
                    self.registry.refuse_deployed(channel, hash, unfit.clone()).await;
                }
                Err(unfit)
            }
        };
        let mut state = self.state.lock();
        let reason = served.as_ref().err().map(|unfit| unfit.reason.clone());
        match reason {
            None => drop(state.reasons.remove(channel)),
            Some(reason) => drop(state.reasons.insert(channel.to_owned(), reason)),
        }
        // A passing reason is not the code's fault: it is tried again with the next look.
        if !served.is_err_and(|unfit| unfit.is_passing) {
            state.participant.settled(channel, sha256);
        }
    }

    /// Takes the code that is held ready, if it is this.
    fn held(&self, channel: &str, sha256: &str) -> Option<Tried> {
        let mut state = self.state.lock();
        let deploy = state.participant.ready(channel, sha256)?;
        let trial = state.trial.take_if(|trial| trial.deploy == deploy)?;
        trial.tried
    }

    async fn load(&self, channel: &str, sha256: &str) -> Result<Tried, Unfit> {
        let bytes = self.fetched(sha256).await?;
        let hash = hash_of(sha256).ok_or_else(|| gone(self.shelf.name()))?;
        self.registry.load_deployed(channel, bytes, hash).await
    }

    async fn fetched(&self, sha256: &str) -> Result<Arc<[u8]>, Unfit> {
        let found = self.shelf.file(sha256).await;
        let found = found.map_err(|why| Unfit {
            reason: format!("its file cannot be fetched: {why}"),
            is_passing: true,
        })?;
        found.ok_or_else(|| gone(self.shelf.name()))
    }

    /// Takes a step that a coordinator asks for, this node itself or another one.
    pub(crate) async fn step(self: &Arc<Deploys>, step: Step) -> Report {
        match step {
            Step::Try(asked) => self.asked(asked),
            Step::Forget { deploy } => {
                let mut state = self.state.lock();
                let act = state.participant.forget(deploy);
                self.forget(&mut state, act);
                Report::Forgotten
            }
            Step::Look { number, channel } => {
                self.look().await;
                let state = self.state.lock();
                let seen = state.participant.table().number;
                let mut reason = state.reasons.get(&channel).cloned();
                if seen < number {
                    let why = state.unread.clone();
                    let why = why.unwrap_or_else(|| "the change is not there yet".to_owned());
                    reason = Some(format!("the table of deployed plugins cannot be read: {why}"));
                }
                drop(state);
                let generation = self.registry.find(&channel).map(|it| it.current().number);
                Report::Looked { number: seen, generation, reason }
            }
        }
    }

    fn asked(self: &Arc<Deploys>, asked: Try) -> Report {
        let mut state = self.state.lock();
        let (report, act) = state.participant.asked(&asked, self.now());
        if let Some(Act::Try(asked)) = act {
            tracing::info!(
                channel = asked.channel,
                sha256 = asked.sha256.get(..16),
                bytes = asked.bytes,
                "a deployed plugin is tried"
            );
            let deploys = self.clone();
            let deploy = asked.deploy;
            let task = tokio::spawn(async move { deploys.try_out(asked).await }).abort_handle();
            // Code of an earlier trial was refused, or it would be in the way.
            state.trial = Some(Trial { deploy, task, tried: None });
            // The looks are closer from now on.
            self.wake.notify_one();
        }
        report
    }

    async fn try_out(self: Arc<Deploys>, asked: Try) {
        let tried = async {
            let bytes = self.fetched(&asked.sha256).await?;
            let hash = hash_of(&asked.sha256).ok_or_else(|| gone(self.shelf.name()))?;
            self.registry.try_deployed(&asked.channel, bytes, hash).await
        };
        let tried = tried.await;
        let mut state = self.state.lock();
        let result = tried.as_ref().map(|_| ()).map_err(|unfit| unfit.reason.clone());
        let is_wanted = state.participant.tried(asked.deploy, result);
        let trial = state.trial.as_mut().filter(|trial| trial.deploy == asked.deploy);
        if let (Some(trial), Ok(tried), true) = (trial, tried, is_wanted) {
            trial.tried = Some(tried);
        }
    }

    fn forget(&self, state: &mut super::State, act: Option<Act>) {
        let Some(Act::Forget { deploy }) = act else { return };
        if let Some(trial) = state.trial.take_if(|trial| trial.deploy == deploy) {
            trial.task.abort();
            // To drop code may take long. Without a thread it is dropped here.
            let drop_it = move || drop(trial);
            let _ = std::thread::Builder::new().name("discard".to_owned()).spawn(drop_it);
        }
    }
}

fn gone(place: &str) -> Unfit {
    let reason = format!("its file is not in the {place} any more, or is damaged: deploy it again");
    Unfit { reason, is_passing: true }
}

/// Returns the hash that digits stand for.
fn hash_of(digits: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if digits.len() != HASH_DIGITS || !digits.is_ascii() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_runtime::registry::hex;

    #[test]
    fn a_hash_is_read_as_it_is_written_and_nothing_else_is_one() {
        let hash = std::array::from_fn(|at| at as u8 * 7);
        assert_eq!(hash_of(&hex(&hash)), Some(hash));
        for wrong in ["", "00", &"g".repeat(64), &"0".repeat(66), &"é".repeat(32)] {
            assert_eq!(hash_of(wrong), None, "{wrong}");
        }
    }
}
