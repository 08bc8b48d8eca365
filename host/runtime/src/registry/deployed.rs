//! Code that comes by a deployment, and not from the plugin folder.
//!
//! A channel's code comes from one of the two. Deployed code wins: it serves in place of the folder's file, which is
//! looked at again when the deployment is withdrawn. What mounts it is the one task that mounts the folder's files, so
//! that all changes of channels and paths happen one after the other.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::load::Ready;
use super::{PluginFile, Registry};

/// Orders that wait for the task that mounts.
const ORDERS: usize = 16;

/// Times that code is tried again because its channel has changed meanwhile.
const TRIES: usize = 3;

/// Deployed code that was tried, and is fit to serve.
#[derive(Debug)]
pub struct Tried {
    pub(super) ready: Ready,
    bytes: Arc<[u8]>,
}

/// The reason why deployed code does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The reason, on one line and without secrets.
    pub reason: String,
    /// True if the reason is not the code, and may be gone in a moment.
    pub is_passing: bool,
}

impl Unfit {
    fn passing(reason: &str) -> Unfit {
        Unfit { reason: reason.to_owned(), is_passing: true }
    }
}

/// The end of an order to mount code.
#[derive(Debug)]
pub(super) enum Mounting {
    /// It serves as this generation.
    Serves(u64),
    /// The channel has changed since the code was tried.
    Outdated,
    /// Another channel has one of its paths.
    Conflict(String),
}

/// An order to the task that mounts.
#[derive(Debug)]
pub(super) enum Order {
    /// Serve this code.
    Mount(Box<Ready>, oneshot::Sender<Mounting>),
    /// Serve what the folder has.
    Withdraw(String, oneshot::Sender<()>),
    /// Take note that code is not served, which was to serve at the start.
    Refuse(String, [u8; 32], Unfit),
}

/// The orders, until the task that mounts takes them.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) sender: mpsc::Sender<Order>,
    pub(super) receiver: parking_lot::Mutex<Option<mpsc::Receiver<Order>>>,
    /// Channels whose code is deployed, as it was known before the start.
    pub(super) expected: parking_lot::Mutex<BTreeSet<String>>,
}

impl Orders {
    pub(super) fn new() -> Orders {
        let (sender, receiver) = mpsc::channel(ORDERS);
        let (receiver, expected) = (Some(receiver).into(), Default::default());
        Orders { sender, receiver, expected }
    }
}

impl Registry {
    /// Notes the channels whose code is deployed, before the folder is followed. Their files in the folder are not
    /// served, and the start is not over until each of them serves or is refused.
    pub fn expect_deployed(&self, channels: BTreeSet<String>) {
        *self.orders.expected.lock() = channels;
    }

    /// Compiles code for a channel, compares it with the contract and with the paths of other channels, and calls it
    /// once. It does not serve yet.
    ///
    /// # Errors
    ///
    /// It is not fit.
    pub async fn try_deployed(
        &self,
        channel: &str,
        bytes: Arc<[u8]>,
        sha256: [u8; 32],
    ) -> Result<Tried, Unfit> {
        let tried = self.load_deployed(channel, bytes, sha256).await?;
        match self.conflict(&tried.ready) {
            Some(reason) => Err(Unfit { reason: self.shown(channel, &reason), is_passing: false }),
            None => Ok(tried),
        }
    }

    /// Serves code that was tried. Returns the number of its generation.
    ///
    /// # Errors
    ///
    /// It is not fit any more. What serves goes on.
    pub async fn serve_deployed(&self, mut tried: Tried) -> Result<u64, Unfit> {
        let (channel, sha256) = (tried.ready.name.clone(), tried.ready.next.sha256);
        // The task that mounts ends with the host.
        let stopping = || Unfit::passing("the host loads no more plugins");
        for _ in 0..TRIES {
            let (answer, answered) = oneshot::channel();
            let Tried { ready, bytes } = tried;
            let order = Order::Mount(Box::new(ready), answer);
            self.orders.sender.send(order).await.map_err(|_| stopping())?;
            match answered.await.map_err(|_| stopping())? {
                Mounting::Serves(generation) => return Ok(generation),
                Mounting::Conflict(reason) => {
                    return Err(Unfit { reason: self.shown(&channel, &reason), is_passing: false });
                }
                Mounting::Outdated => {
                    tried = self.load_deployed(&channel, bytes, sha256).await?;
                }
            }
        }
        Err(Unfit::passing("its channel changes all the time"))
    }

    /// Serves the file that the folder has for a channel in place of deployed code, or takes the channel out of service
    /// where there is none.
    pub async fn withdraw_deployed(&self, channel: &str) {
        let (done, is_done) = oneshot::channel();
        let order = Order::Withdraw(channel.to_owned(), done);
        if self.orders.sender.send(order).await.is_ok() {
            // Without an answer the host is stopping.
            let _ = is_done.await;
        }
    }

    /// Tells that deployed code is not served.
    pub async fn refuse_deployed(&self, channel: &str, sha256: [u8; 32], unfit: Unfit) {
        // The task that mounts ends with the host.
        let _ = self.orders.sender.send(Order::Refuse(channel.to_owned(), sha256, unfit)).await;
    }

    /// Does the same without a look at the paths of other channels, which may still change at the start.
    ///
    /// # Errors
    ///
    /// It is not fit.
    pub async fn load_deployed(
        &self,
        channel: &str,
        bytes: Arc<[u8]>,
        sha256: [u8; 32],
    ) -> Result<Tried, Unfit> {
        let path = Path::new("(deployed)").join(format!("{channel}.wasm"));
        let file = PluginFile { name: channel.to_owned(), path, size: bytes.len(), sha256 };
        let prepared = self.prepare(&file, bytes.clone(), || ()).await;
        let ready = prepared.map_err(|refusal| Unfit {
            reason: self.shown(channel, &refusal.reason),
            is_passing: refusal.is_passing,
        })?;
        Ok(Tried { ready, bytes })
    }

    /// Returns true if code was tried for the channel as it is now.
    pub(super) fn is_up_to_date(&self, ready: &Ready) -> bool {
        let channels = self.channels.lock();
        match channels.get(&ready.name) {
            Some(mounted) => {
                let is_next = mounted.channel.current().number + 1 == ready.next.number;
                is_next && Arc::ptr_eq(&mounted.channel.context, &ready.context)
            }
            None => {
                let kept = self.kept.lock().get(&ready.name);
                kept.is_none_or(|(context, last)| {
                    last + 1 == ready.next.number && Arc::ptr_eq(&context, &ready.context)
                })
            }
        }
    }
}
