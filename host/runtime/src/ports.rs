//! The ports of the runtime: everything outside of it that a plugin can notice, or that notices a plugin.
//!
//! A host gives them to the [`Registry`](crate::registry::Registry) once. A server takes those of
//! [`Ports::system`]. A test host puts its own in place of some of them, and runs the same code.

mod clock;
mod guest_log;
mod http_client;
mod observers;
mod tokens;

use std::sync::Arc;

use wharf_config::Config;
use wharf_engine::Disk;
use wharf_hub::hub::Channels;
use wharf_hub::peers::Cluster;

pub use clock::{Clock, SystemClock};
pub use guest_log::{
    FieldValue, GUEST_FIELDS, GUEST_TARGET, GuestLine, GuestLog, HostLog, LineSource,
};
pub(crate) use http_client::without_brackets;
pub use http_client::{
    HttpBody, HttpClient, HttpError, HttpIo, MAX_LOOKUPS_PER_CHANNEL, NetworkClient,
    RequestOptions, Sending, http_error, http_refused,
};
pub use observers::{LoadObserver, LoadOutcome, SessionObserver, Unobserved};
pub use tokens::{Checking, TokenVerifier, TokenVerifiers, Unacceptable, UnusableKeys};

/// One implementation of each port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The clock that guests see.
    pub clock: Arc<dyn Clock>,
    /// The client that sends the requests of guests to other servers.
    pub http: Arc<dyn HttpClient>,
    /// The rules for the tokens of clients.
    pub tokens: Arc<dyn TokenVerifiers>,
    /// The log of guests.
    pub log: Arc<dyn GuestLog>,
    /// The observer of committed sessions.
    pub sessions: Arc<dyn SessionObserver>,
    /// The observer of plugins' files.
    pub loads: Arc<dyn LoadObserver>,
    /// The folder of the data that outlives the process; `None` keeps everything in memory.
    pub data: Option<Arc<Disk>>,
    /// The hubs of the channels in service.
    pub hubs: Arc<Channels>,
    /// The cluster; `None` for a single host.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// True if an instance serves one event only. A test then sees what a busy host may do at any
    /// time: the next event finds nothing of what a static held.
    pub one_event_an_instance: bool,
}

impl Ports {
    /// Returns the ports of a server, whose clients' tokens are checked by `tokens`: the clock of
    /// the system, the network, the host's log, no observers, and no data folder.
    ///
    /// # Errors
    ///
    /// The file of `http_extra_roots` cannot be used.
    pub fn system(config: &Config, tokens: Arc<dyn TokenVerifiers>) -> anyhow::Result<Ports> {
        Ok(Ports {
            clock: Arc::new(SystemClock::default()),
            http: Arc::new(NetworkClient::new(config)?),
            tokens,
            log: Arc::new(HostLog { format: config.log_format }),
            sessions: Arc::new(Unobserved),
            loads: Arc::new(Unobserved),
            data: None,
            hubs: Arc::default(),
            cluster: None,
            one_event_an_instance: false,
        })
    }
}
