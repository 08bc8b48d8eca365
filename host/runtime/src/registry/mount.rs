//! Fit code becomes the generation that serves, all in one step.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::load::Ready;
use super::tidy::discard;
use super::{Mounted, Registry, routes};
use crate::channel::{Channel, Generation};
use crate::saved_samples::Unreadable;
use wharf_contract::description::{Misdescribed, THE_PLUGIN_ITSELF};
use wharf_contract::router::Router;

/// Fit code that waits for its paths, by the channel's name.
pub(super) type Waiting = BTreeMap<String, Ready>;

/// A generation that serves now.
#[derive(Debug)]
pub(super) struct News {
    pub(super) channel: Arc<Channel>,
    /// True if another generation served before.
    pub(super) is_swap: bool,
    pub(super) number: u64,
    pub(super) sha256: [u8; 32],
    pub(super) bytes: Option<usize>,
    pub(super) is_cached: bool,
    /// The reasons why it cannot read what earlier code has saved.
    pub(super) unreadable: Unreadable,
    pub(super) compile_ms: u64,
    pub(super) swap_ms: u64,
}

impl Registry {
    /// Takes the named channels out of service, and mounts what waits and has its paths now. To clients
    /// it is one step: a path that moves between channels is never out.
    pub(super) fn change(&self, removed: &[String], waiting: &mut Waiting) -> Vec<News> {
        let mut news = Vec::new();
        let mut old = Vec::new();
        let mut channels = self.channels.lock();
        let removed = removed.iter().filter_map(|name| channels.get(name)).cloned();
        let is_there = |mounted: &Mounted| !mounted.channel.is_removed();
        let removed: Vec<Mounted> = removed.filter(is_there).collect();
        for Mounted { channel, .. } in &removed {
            self.ports.hubs.remove(channel.name());
            channel.retire();
        }
        loop {
            let fitting = fitting(&channels, waiting);
            if fitting.is_empty() {
                break;
            }
            for name in fitting {
                if let Some(ready) = waiting.remove(&name) {
                    let (mounted, before) = self.put(&mut channels, ready);
                    news.push(mounted);
                    old.extend(before);
                }
            }
        }
        self.routes.store(Arc::new(routes(&channels)));
        drop(channels);
        for back in news.iter().filter(|news| !news.is_swap) {
            back.channel.context.hub.attend_rooms();
        }
        for Mounted { channel, .. } in removed {
            let connections = channel.context.hub.connection_count();
            tracing::info!(channel = channel.name(), connections, "plugin removed");
            // The paths are gone before the connections: a client that comes back at once is told so.
            let hub = channel.context.hub.clone();
            channel.end();
            if hub.has_owners() {
                tokio::spawn(async move { hub.give_up_rooms().await });
            }
        }
        discard(old);
        news
    }

    /// Returns the names of the channels that hold paths of this code.
    pub(super) fn holders(&self, ready: &Ready) -> Vec<String> {
        let channels = self.channels.lock();
        let others = channels
            .iter()
            .filter(|(name, mounted)| **name != ready.name && !mounted.channel.is_removed());
        let holds = |mounted: &Mounted| {
            let one = BTreeMap::from([(String::new(), mounted.clone())]);
            claim(&one, &[ready]).is_err()
        };
        others.filter(|(_, mounted)| holds(mounted)).map(|(name, _)| name.clone()).collect()
    }

    /// Returns the reason why code cannot be mounted now.
    pub(super) fn conflict(&self, ready: &Ready) -> Option<String> {
        claim(&self.channels.lock(), &[ready]).err().map(|claimed| claimed.to_string())
    }

    fn put(
        &self,
        channels: &mut BTreeMap<String, Mounted>,
        ready: Ready,
    ) -> (News, Option<Arc<Generation>>) {
        let Ready { name, context, patterns, next, unreadable, bytes, is_cached, .. } = ready;
        let (number, sha256) = (next.number, next.sha256);
        let (channel, is_swap, before) = match channels.get(&name) {
            Some(Mounted { channel, .. }) => {
                let is_swap = !channel.is_removed();
                if is_swap {
                    channel.context.counters.swapped();
                }
                (channel.clone(), is_swap, Some(channel.swap(next)))
            }
            None => {
                // Its last events may have set timers after it was freed.
                // Its rooms are asked for again, with their timers.
                if !context.hub.has_owners() {
                    context.hub.cancel_timers();
                }
                context.hub.forget_others();
                context.hub.set_loaded_timers();
                let channel = Arc::new(Channel::new(context, self.slots(), next));
                *channel.context.mounted.lock() = Arc::downgrade(&channel);
                (channel, false, None)
            }
        };
        self.kept.lock().forget(&name);
        self.ports.hubs.add(&name, &channel.context.hub);
        // Also of a channel that was removed and whose connections are still here: it has given its rooms up.
        if let (false, Some(cluster)) = (is_swap, &self.ports.cluster) {
            cluster.adopt_orphans();
        }
        channels.insert(name, Mounted { channel: channel.clone(), patterns });
        let news = News {
            channel,
            is_swap,
            number,
            sha256,
            bytes,
            is_cached,
            unreadable,
            compile_ms: ready.compile_time.as_millis() as u64,
            swap_ms: ready.trial_time.as_millis() as u64,
        };
        (news, before)
    }
}

/// Returns the names of code that can be mounted: one at a time, or all together, as where two
/// channels exchange their paths.
fn fitting(channels: &BTreeMap<String, Mounted>, waiting: &Waiting) -> Vec<String> {
    let one = waiting.values().find(|ready| claim(channels, &[*ready]).is_ok());
    if let Some(ready) = one {
        return vec![ready.name.clone()];
    }
    let all: Vec<&Ready> = waiting.values().collect();
    match all.len() > 1 && claim(channels, &all).is_ok() {
        true => waiting.keys().cloned().collect(),
        false => Vec::new(),
    }
}

/// Claims the paths of code in place of those of the same channels.
///
/// # Errors
///
/// A path is claimed already. Nothing has changed.
fn claim(channels: &BTreeMap<String, Mounted>, all: &[&Ready]) -> Result<(), Misdescribed> {
    let mut claims = Router::default();
    let is_replaced = |name: &str| all.iter().any(|ready| ready.name == name);
    for (other, mounted) in channels.iter().filter(|(other, _)| !is_replaced(other)) {
        if !mounted.channel.is_removed() {
            for pattern in &mounted.patterns {
                let _ = claims.insert(pattern.clone(), other.clone());
            }
        }
    }
    for ready in all {
        for pattern in &ready.patterns {
            if let Err(conflict) = claims.insert(pattern.clone(), ready.name.clone()) {
                let holder = match claims.holder(&conflict) {
                    Some(holder) if *holder != ready.name => format!("the plugin {holder}"),
                    _ => THE_PLUGIN_ITSELF.to_owned(),
                };
                return Err(Misdescribed::PathClaimed { path: conflict.pattern, holder });
            }
        }
    }
    Ok(())
}
