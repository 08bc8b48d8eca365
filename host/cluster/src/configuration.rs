//! The settings of an engine.

mod address;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{ConfigurationError, Reason, Unavailable};

/// Longest prefix, in bytes.
const MAX_PREFIX_BYTES: usize = 64;

/// The settings of an engine.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The address.
    pub address: Address,
    /// Beginning of all names on the server, so that several clusters share it: letters, digits, `_` and `-`, 1 to 64.
    /// Default: `wharf`.
    pub prefix: String,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of messages that wait to be sent, of all topics together. Beyond them `publish` is refused. Default: 16 MiB.
    pub outbox_bytes: usize,
    /// Age at which a waiting message is dropped. Default: 5 s.
    pub outbox_age: Duration,
    /// Bytes of received messages that wait. Beyond them messages are dropped, which is told. Default: 64 MiB.
    pub inbox_bytes: usize,
    /// Time for an answer, after which a step is given up. A link without any answer counts as lost a little
    /// later. Default: 2 s.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            outbox_bytes: 16 << 20,
            outbox_age: Duration::from_secs(5),
            inbox_bytes: 64 << 20,
            timeout: Duration::from_secs(2),
        }
    }
}

/// The address of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The memory of this process; for tests. `memory://`
    Memory,
    /// A data folder; for one node. `disk://FOLDER`
    Disk {
        /// The folder.
        folder: PathBuf,
    },
    /// Redis or Valkey.
    Redis(RedisAddress),
    /// NATS with JetStream.
    Nats(NatsAddress),
}

/// The address of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisAddress {
    /// The kind of set-up.
    pub setup: RedisSetup,
    /// Hosts and ports; of the sentinels, if there are some.
    pub servers: Vec<(String, u16)>,
    /// The encryption.
    pub tls: Option<Tls>,
    /// The user; `None` for the default one.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// Number of the database. Cluster has only 0.
    pub database: u32,
}

/// The kinds of set-up of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisSetup {
    /// One server: `redis://` or `rediss://`.
    Single,
    /// Redis Cluster: `redis+cluster://` or `rediss+cluster://`.
    Cluster,
    /// Sentinels, which know the primary: `redis+sentinel://…?master=NAME`.
    Sentinel {
        /// Name of the primary.
        master: String,
    },
}

/// The address of NATS: `nats://` or `tls://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsAddress {
    /// Hosts and ports of servers of one cluster.
    pub servers: Vec<(String, u16)>,
    /// The encryption.
    pub tls: Option<Tls>,
    /// The proof of who this is.
    pub login: NatsLogin,
    /// Number of servers that keep each record: `?replicas=3`. Default: 1.
    pub replicas: u8,
}

/// The proof of who this is, for NATS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatsLogin {
    /// None.
    Nobody,
    /// A user and a password: `nats://USER:PASSWORD@…`.
    User(String, Secret),
    /// A token: `nats://TOKEN@…`.
    Token(Secret),
    /// A file of credentials: `?credentials=FILE`.
    File(PathBuf),
}

/// The encryption of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// A file with the certificates to trust: `?ca=FILE`; `None` for those of the public authorities.
    pub authorities: Option<PathBuf>,
}

impl Tls {
    /// Reads the certificates to trust, if the address names a file.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>, Unavailable> {
        let Some(file) = &self.authorities else { return Ok(None) };
        let read = std::fs::read(file).map_err(|error| {
            let sentence = format!("{} cannot be read: {error}", file.display());
            Unavailable::new(Reason::Other, &sentence)
        });
        read.map(Some)
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    /// Returns the text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Configuration {
    /// Reads an address, with the default of everything else.
    ///
    /// # Errors
    ///
    /// The address is not valid.
    pub fn parse(address: &str) -> Result<Configuration, ConfigurationError> {
        let address = Address::parse(address)?;
        Ok(Configuration { address, prefix: "wharf".to_owned(), limits: Limits::default() })
    }

    /// Sets the prefix.
    ///
    /// # Errors
    ///
    /// The prefix is not valid.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Configuration, ConfigurationError> {
        let is_fit = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !(1..=MAX_PREFIX_BYTES).contains(&prefix.len()) || !prefix.bytes().all(is_fit) {
            return Err(ConfigurationError(format!(
                "the prefix {prefix:?} must have 1 to {MAX_PREFIX_BYTES} letters, digits, `_` or `-`"
            )));
        }
        self.prefix = prefix.to_owned();
        Ok(self)
    }
}

/// Returns servers as one text.
pub(crate) fn shown(servers: &[(String, u16)]) -> String {
    let names = servers.iter().map(|(host, port)| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    });
    names.collect::<Vec<_>>().join(",")
}
