//! The connections that clients may have: all together, those of one channel, and those of one
//! address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wharf_contract::handshake::TurnedAway;

/// Leading bits that the addresses of one network of IPv6 have in common: a client has all the
/// others for itself (RFC 6177).
const NETWORK_BITS: u32 = 64;

/// The right to a connection. The HTTP side of a socket keeps it until it has ended, and the
/// connection's task as long as the connection lives.
pub type Permit = Arc<Admission>;

/// A share of each of the numbers of connections, given back when this is dropped.
#[derive(Debug)]
pub struct Admission {
    _of_host: OwnedSemaphorePermit,
    /// Boxed, because every connection keeps the room for it.
    _others: Option<Box<OtherShares>>,
}

/// The shares that a connection takes only where its channel or its address has a limit.
#[derive(Debug)]
struct OtherShares {
    _of_channel: Option<OwnedSemaphorePermit>,
    _of_address: Option<AddressShare>,
}

/// The numbers of connections of the host.
#[derive(Debug)]
pub struct Admissions {
    /// Permits, one for each connection, from its handshake with a channel to its end.
    pub permits: Arc<Semaphore>,
    /// Connections of each address; `None` if they are not counted.
    addresses: Option<Arc<Addresses>>,
}

impl Admissions {
    /// Makes a host's numbers. No limit of an address is written as 0.
    pub fn new(max_connections: usize, max_connections_per_address: usize) -> Admissions {
        let addresses = (max_connections_per_address > 0).then(|| {
            Arc::new(Addresses { limit: max_connections_per_address, taken: Mutex::default() })
        });
        Admissions { permits: Arc::new(Semaphore::new(max_connections)), addresses }
    }

    /// Takes a share of each number. `of_channel` are the permits of a channel that has a limit of
    /// its own. A client without an address takes no share of one.
    ///
    /// # Errors
    ///
    /// The first number that is reached. No share of the others is kept.
    pub fn admit(
        &self,
        of_channel: Option<&Arc<Semaphore>>,
        address: Option<IpAddr>,
    ) -> Result<Admission, TurnedAway> {
        let take = |permits: &Arc<Semaphore>| permits.clone().try_acquire_owned();
        let of_address = match self.addresses.as_ref().zip(address) {
            Some((addresses, address)) => {
                Some(addresses.take(address).ok_or(TurnedAway::AddressFull)?)
            }
            None => None,
        };
        let of_channel = of_channel.map(take).transpose().map_err(|_| TurnedAway::ChannelFull)?;
        let of_host = take(&self.permits).map_err(|_| TurnedAway::Full)?;
        let others = (of_channel.is_some() || of_address.is_some())
            .then(|| Box::new(OtherShares { _of_channel: of_channel, _of_address: of_address }));
        Ok(Admission { _of_host: of_host, _others: others })
    }
}

/// The number of connections of each address that has one. There are no more addresses than
/// connections.
#[derive(Debug)]
struct Addresses {
    limit: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// The share of one connection in the number of its address.
#[derive(Debug)]
struct AddressShare {
    addresses: Arc<Addresses>,
    network: IpAddr,
}

impl Addresses {
    /// Takes a share. `None` if the address has as many connections as it may have.
    fn take(self: &Arc<Addresses>, address: IpAddr) -> Option<AddressShare> {
        let network = network(address);
        let mut taken = self.taken.lock();
        let count = taken.entry(network).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(AddressShare { addresses: self.clone(), network })
    }
}

impl Drop for AddressShare {
    fn drop(&mut self) {
        let mut taken = self.addresses.taken.lock();
        let Some(count) = taken.get_mut(&self.network) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        taken.remove(&self.network);
        // Memory that a crowd has needed returns to the system.
        if taken.len() < taken.capacity() / 8 {
            let room = taken.len() * 2;
            taken.shrink_to(room);
        }
    }
}

/// Returns the address that stands for all those which one client has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> (128 - NETWORK_BITS) << (128 - NETWORK_BITS);
            Ipv6Addr::from_bits(bits).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(admissions: &Admissions, address: &str) -> Result<Admission, TurnedAway> {
        admissions.admit(None, Some(address.parse().expect(address)))
    }

    #[test]
    fn an_address_has_its_share_and_no_more_until_a_connection_ends() {
        let admissions = Admissions::new(10, 2);
        let (first, _second) = (admit(&admissions, "192.0.2.1"), admit(&admissions, "192.0.2.1"));
        assert_eq!(admit(&admissions, "192.0.2.1").err(), Some(TurnedAway::AddressFull));
        assert_eq!(admit(&admissions, "::ffff:192.0.2.1").err(), Some(TurnedAway::AddressFull));
        let _other = admit(&admissions, "192.0.2.2").expect("another address");
        drop(first);
        admit(&admissions, "192.0.2.1").expect("a share is free again");
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_count_as_one() {
        let admissions = Admissions::new(10, 1);
        let _one = admit(&admissions, "2001:db8:0:1::1").expect("the first");
        assert_eq!(admit(&admissions, "2001:db8:0:1:ffff::9").err(), Some(TurnedAway::AddressFull));
        let _other = admit(&admissions, "2001:db8:0:2::1").expect("another network");
    }

    #[test]
    fn a_refused_client_takes_no_share() {
        let admissions = Admissions::new(1, 5);
        let channel = Arc::new(Semaphore::new(2));
        let address: Option<IpAddr> = "192.0.2.1".parse().ok();
        let held = admissions.admit(Some(&channel), address).expect("the first");
        for _ in 0..10 {
            let refused = admissions.admit(Some(&channel), address).err();
            assert_eq!(refused, Some(TurnedAway::Full));
        }
        assert_eq!(channel.available_permits(), 1);
        let addresses = admissions.addresses.clone().expect("they are counted");
        assert_eq!(addresses.taken.lock().values().sum::<usize>(), 1);
        drop(held);
        assert!(addresses.taken.lock().is_empty());
        assert_eq!((channel.available_permits(), admissions.permits.available_permits()), (2, 1));
    }

    #[test]
    fn a_crowd_of_addresses_leaves_no_memory_behind() {
        let admissions = Admissions::new(100_000, 1);
        let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        let crowd: Vec<_> = (0..10_000).map(|n| admissions.admit(None, Some(address(n)))).collect();
        assert!(crowd.iter().all(Result::is_ok));
        drop(crowd);
        let addresses = admissions.addresses.as_ref().expect("they are counted");
        assert!(addresses.taken.lock().capacity() < 100);
    }
}
