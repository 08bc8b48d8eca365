//! NATS 2.11 or later with JetStream.
//!
//! Topics are subjects of NATS itself. Keys, leases and logs are messages of two streams, which are made when they are
//! missing: `WHARF_PREFIX_KEYS` keeps the last message of each subject, `WHARF_PREFIX_LOGS` all of them. A change names the
//! number of the message that it replaces, and the server refuses it when there is another one by then: that number
//! is the version of a record, the fencing number of a lease, and the place in a log. The stream of the logs publishes each
//! entry on the subject of its topic once it is stored, so that no other entry is ever received.
//!
//! | subject | content |
//! | --- | --- |
//! | `PREFIX.t.TOPIC` | messages on a topic |
//! | `PREFIX.k.KEY` | a record, with the time at which it expires |
//! | `PREFIX.e.NAME` | a lease |
//! | `PREFIX.l.LOG` | the entries of a log |
//! | `PREFIX.p.NUMBER` | messages of a node to itself, which show that the server answers |
//!
//! A node numbers its messages, so that those who receive them put them back in order: the client has a queue for each topic.
//!
//! The server removes what has expired with a delay of up to two seconds. Until then a node knows by the server's
//! clock, which it asks for once in a while, that it is gone.
//!
//! **Costs**: a comparison of versions, an increment and a lease are two round trips, and more when several nodes race for
//! the same record. A read of a log reads all that is kept of it.
//!
//! **Not promised**: a server that stands alone tells the system to write to its disk every two minutes, so that a loss
//! of power costs that time; `?replicas=3` keeps each record on three servers. With replicas, a read of a log may be
//! answered by one that is behind, which is noticed and asked again.

mod client;
mod clock;
mod failure;
mod frame;
mod jetstream;
mod keys;
mod leases;
mod locks;
mod logs;
mod names;
mod probe;
mod queues;
mod receiver;
mod streams;
mod topics;

use std::sync::Arc;

use crate::answer::Answer;
use crate::configuration::{Configuration, NatsAddress, shown};
use crate::deliveries::Deliveries;
use crate::engine::{Engine, Status};
use crate::error::OpenError;
use crate::link::Link;
use client::NatsClient;
use locks::Locks;

/// The engine in NATS.
#[derive(Debug)]
pub struct Nats {
    link: Arc<Link<NatsClient>>,
    /// The last entries of logs, as this node has seen them.
    heads: Locks<logs::Head>,
    /// The keys that this node counts up at present.
    counted: Locks<()>,
}

/// Opens the engine.
///
/// # Errors
///
/// The server cannot be used; the reason names the fix.
pub async fn open(
    address: &NatsAddress,
    configuration: &Configuration,
) -> Result<(Nats, Deliveries), OpenError> {
    let unavailable = |why| OpenError::Unavailable { server: shown(&address.servers), why };
    let limits = &configuration.limits;
    let client = NatsClient::new(address, &configuration.prefix, limits.timeout);
    let client = client.map_err(unavailable)?;
    let (link, deliveries) = Link::start(client, limits).await.map_err(unavailable)?;
    Ok((Nats { link, heads: Locks::default(), counted: Locks::default() }, deliveries))
}

impl Engine for Nats {
    fn status(&self) -> Status {
        self.link.status()
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(self.link.close())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.link.end();
    }
}
