//! Deployed code among the files of the folder: it is mounted in their place, and they wait until it is withdrawn.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Displaced, Follower};
use crate::registry::PluginFile;
use crate::registry::deployed::{Mounting, Order, Unfit};
use crate::registry::load::{FileRefusal, Ready};

/// The channels whose code is deployed, and the files of the folder.
#[derive(Default)]
pub(super) struct Sources {
    deployed: BTreeSet<String>,
    /// Files of the folder that can be read, by the channel. Their contents are not kept.
    files: BTreeMap<String, PluginFile>,
}

impl Sources {
    pub(super) fn new(deployed: BTreeSet<String>) -> Sources {
        Sources { deployed, files: BTreeMap::new() }
    }

    /// Notes a file of the folder. Returns true if it may serve.
    pub(super) fn has_file(&mut self, file: &PluginFile) -> bool {
        self.files.insert(file.name.clone(), file.clone());
        if self.deployed.contains(&file.name) {
            tracing::warn!(
                channel = file.name,
                "the plugin folder has a file of a channel whose code was deployed, which serves; to serve the file \
                 instead: wharf deploy --withdraw {}",
                file.name
            );
            return false;
        }
        true
    }

    /// Notes that the folder has no file of a channel that can be read. Returns true if that is of importance.
    pub(super) fn has_no_file(&mut self, name: &str) -> bool {
        self.files.remove(name);
        !self.deployed.contains(name)
    }

    pub(super) fn is_deployed(&self, name: &str) -> bool {
        self.deployed.contains(name)
    }
}

impl Follower {
    /// Follows an order about deployed code. Its giver may be gone by now.
    pub(super) fn ordered(&mut self, order: Order) {
        match order {
            Order::Mount(ready, answer) => drop(answer.send(self.mount_deployed(*ready))),
            Order::Withdraw(name, done) => {
                self.withdraw(&name);
                let _ = done.send(());
            }
            Order::Refuse(name, sha256, unfit) => self.refuse_deployed(&name, sha256, unfit),
        }
    }

    fn mount_deployed(&mut self, ready: Ready) -> Mounting {
        let (name, sha256) = (ready.name.clone(), ready.next.sha256);
        let serving = self.registry.find(&name).map(|channel| channel.current().clone());
        if let Some(serving) = serving.filter(|serving| serving.sha256 == sha256) {
            self.take_over(&name);
            self.is_served(name.clone(), sha256, serving.number);
            self.first.remove(&name);
            return Mounting::Serves(serving.number);
        }
        if !self.registry.is_up_to_date(&ready) {
            return Mounting::Outdated;
        }
        self.take_over(&name);
        let Displaced { departing, of_start } = self.displaced_by(&ready);
        self.waiting.insert(name.clone(), ready);
        let displaced = of_start.iter().map(|file| file.name.clone());
        self.change(&departing.iter().cloned().chain(displaced).collect::<Vec<_>>());
        departing.into_iter().for_each(|name| self.note_last_good(name, None));
        of_start.into_iter().for_each(|file| self.load(file, None, 0));
        self.first.remove(&name);
        // It waits for its paths, like a file of the folder.
        let conflict = self.waiting.get(&name).and_then(|ready| self.registry.conflict(ready));
        if let Some(reason) = conflict {
            let refusal = FileRefusal::of(reason.clone());
            self.refuse(&name, path(&name), Some(sha256), refusal);
            return Mounting::Conflict(reason);
        }
        match self.registry.find(&name).map(|channel| channel.current().number) {
            Some(generation) => Mounting::Serves(generation),
            None => Mounting::Outdated,
        }
    }

    /// Has a channel's code come by deployments from now on.
    fn take_over(&mut self, name: &str) {
        self.forget(name);
        if self.sources.deployed.insert(name.to_owned()) && self.sources.files.contains_key(name) {
            tracing::info!(
                channel = name,
                "deployed code serves in place of the file in the plugin folder"
            );
        }
    }

    fn withdraw(&mut self, name: &str) {
        if !self.sources.deployed.remove(name) {
            return;
        }
        self.forget(name);
        self.refused.remove(name);
        self.registry.refusals.lock().remove(name);
        match self.sources.files.get(name).cloned() {
            Some(file) => {
                tracing::info!(
                    channel = name,
                    "the deployment is withdrawn; the file in the plugin folder is loaded"
                );
                self.load(file, None, 0);
            }
            None => {
                tracing::info!(
                    channel = name,
                    "the deployment is withdrawn, and the plugin folder has no file of this name"
                );
                self.depart(name.to_owned());
            }
        }
    }

    fn refuse_deployed(&mut self, name: &str, sha256: [u8; 32], unfit: Unfit) {
        let Unfit { reason, is_passing } = unfit;
        self.sources.deployed.insert(name.to_owned());
        let refusal = FileRefusal { reason, is_passing };
        self.refuse(name, path(name), Some(sha256), refusal);
        self.first.remove(name);
        self.fall_back(name);
    }
}

/// Returns what stands for the path of a file in the log.
fn path(name: &str) -> std::path::PathBuf {
    Path::new("(deployed)").join(format!("{name}.wasm"))
}
