//! The look-up of names.
//!
//! The system's resolver blocks a thread, and cannot be stopped: a name may take as long as its
//! servers like. So it has threads of its own, which no other work waits for, and a look-up keeps its
//! permits until it ends, whether or not somebody still waits for it.

use std::fmt::{self, Debug};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

use tokio::sync::{Semaphore, oneshot};

/// Look-ups of all channels at a time.
const MAX_LOOKUPS: usize = 128;

/// Look-ups of one channel at a time, so that its slow names do not hold up others.
pub const MAX_LOOKUPS_PER_CHANNEL: usize = 16;

/// Stack of the thread of a look-up, in bytes.
const STACK_BYTES: usize = 256 * 1024;

/// A function that returns the addresses of a name and a port.
type LookUp = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The resolver of the system, with a limit.
#[derive(Clone)]
pub(super) struct Resolver {
    look_up: Arc<LookUp>,
    permits: Arc<Semaphore>,
}

impl Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("permits", &self.permits).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Returns the resolver of the system.
    pub(super) fn system() -> Resolver {
        Resolver::with(|name, port| Ok((name, port).to_socket_addrs()?.collect()))
    }

    pub(super) fn with(
        look_up: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Resolver {
        let permits = Arc::new(Semaphore::new(MAX_LOOKUPS));
        Resolver { look_up: Arc::new(look_up), permits }
    }

    /// Returns the addresses of a name, or of an IP address without brackets. `channel` has the permits
    /// of the channel that asks.
    pub(super) async fn addresses(
        &self,
        name: &str,
        port: u16,
        channel: &Arc<Semaphore>,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = name.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let closed = |_| io::Error::other("the host is stopping");
        let of_channel = channel.clone().acquire_owned().await.map_err(closed)?;
        let of_all = self.permits.clone().acquire_owned().await.map_err(closed)?;
        let (answer, answered) = oneshot::channel();
        let (look_up, name) = (self.look_up.clone(), name.to_owned());
        let thread = thread::Builder::new().name("look-up".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || {
            let _permits = (of_channel, of_all);
            // The request may have ended meanwhile.
            let _ = answer.send(look_up(&name, port));
        })?;
        // The sender is gone without an answer only if the look-up has panicked.
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the look-up of the name failed")))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80);

    /// Returns a resolver whose names that begin with `slow` take until the flag is set.
    fn slow(is_over: &Arc<std::sync::atomic::AtomicBool>, running: &Arc<AtomicUsize>) -> Resolver {
        let (is_over, running) = (is_over.clone(), running.clone());
        Resolver::with(move |name, _| {
            running.fetch_add(1, Ordering::SeqCst);
            while name.starts_with("slow") && !is_over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(vec![ADDRESS])
        })
    }

    #[tokio::test]
    async fn slow_names_of_one_channel_hold_up_neither_others_nor_blocking_work() {
        let (is_over, running) = (Arc::default(), Arc::default());
        let resolver = slow(&is_over, &running);
        let of_channel = || Arc::new(Semaphore::new(MAX_LOOKUPS_PER_CHANNEL));
        let (greedy, other) = (of_channel(), of_channel());
        // Each request gives up, and its look-up goes on.
        for n in 0..600 {
            let name = format!("slow{n}.example");
            let asked = resolver.addresses(&name, 80, &greedy);
            assert!(tokio::time::timeout(Duration::from_millis(1), asked).await.is_err());
        }
        assert!(running.load(Ordering::SeqCst) <= MAX_LOOKUPS_PER_CHANNEL);
        let begun = Instant::now();
        let found = resolver.addresses("quick.example", 80, &other).await.expect("an address");
        assert_eq!(found, [ADDRESS]);
        tokio::task::spawn_blocking(|| ()).await.expect("there is a thread");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        // An address needs no look-up.
        let found = resolver.addresses("127.0.0.1", 80, &greedy).await.expect("an address");
        assert_eq!(found, [ADDRESS]);
        is_over.store(true, Ordering::SeqCst);
        resolver.addresses("quick.example", 80, &greedy).await.expect("permits are back");
    }

    #[tokio::test]
    async fn a_name_that_is_not_there_is_an_error() {
        let permits = Arc::new(Semaphore::new(1));
        assert!(Resolver::system().addresses("name.invalid", 80, &permits).await.is_err());
    }
}
