//! Opening connections: the way to the server, and the check that it fits.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, PushInfo, RedisConnectionInfo, TlsCertificates, TlsMode, Value,
};

use super::client::RedisClient;
use super::connection::Connection;
use super::failure::unavailable;
use super::names::{Part, channel_in_cluster};
use crate::configuration::{Limits, RedisAddress, RedisSetup, Tls, shown};
use crate::error::{Reason, Unavailable};
use crate::link::Opened;

/// Messages that a link keeps under way; those who send more wait.
const BUFFER: usize = 1_024;

/// The oldest versions.
const OLDEST: (u32, u32) = (6, 2);
const OLDEST_OF_CLUSTER: (u32, u32) = (7, 0);

/// The function that gets what comes in.
pub(super) type Receiver = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Opens both connections, and checks the server.
pub(super) async fn connect(
    client: &RedisClient,
    receiver: Receiver,
) -> Result<Opened<RedisClient>, Unavailable> {
    let RedisClient { address, prefix, limits, .. } = client;
    let connecting = match &address.setup {
        RedisSetup::Cluster => cluster(address, prefix, limits, receiver).await?,
        RedisSetup::Single => {
            let server = address.servers.first().ok_or_else(Unavailable::link_lost)?;
            single(address, server, limits, receiver).await?
        }
        RedisSetup::Sentinel { master } => {
            let server = primary(address, master, limits).await?;
            single(address, &server, limits, receiver).await?
        }
    };
    let (mut connection, receiver, place) = connecting;
    let server = format!("{} at {place}", check(&mut connection).await?);
    Ok(Opened { connection, receiver, server })
}

type Both = (Connection, Connection, String);

async fn single(
    address: &RedisAddress,
    server: &(String, u16),
    limits: &Limits,
    receiver: Receiver,
) -> Result<Both, Unavailable> {
    let client = client(address, server)?;
    let config = config(limits);
    let commands = client.get_multiplexed_async_connection_with_config(&config).await;
    let config = config.set_push_sender(push_sender(receiver));
    let subscriber = client.get_multiplexed_async_connection_with_config(&config).await;
    let both = commands.and_then(|commands| Ok((commands, subscriber?)));
    let (commands, subscriber) = both.map_err(|error| unavailable(&error))?;
    let place = shown(std::slice::from_ref(server));
    Ok((Connection::Single(commands), Connection::Single(subscriber), place))
}

async fn cluster(
    address: &RedisAddress,
    prefix: &str,
    limits: &Limits,
    receiver: Receiver,
) -> Result<Both, Unavailable> {
    let infos = address.servers.iter().map(|server| info(address, server));
    let infos = infos.collect::<Result<Vec<_>, _>>()?;
    let builder = || -> Result<ClusterClientBuilder, Unavailable> {
        let mut builder = ClusterClientBuilder::new(infos.clone())
            // A step that is tried again could be done twice.
            .retries(0)
            // A server that hangs costs this time when all are asked for the first time, and once more later.
            .connection_timeout(limits.timeout / 2)
            .response_timeout(limits.timeout)
            .overall_response_timeout(Some(limits.timeout))
            .use_protocol(ProtocolVersion::RESP3)
            .tcp_settings(sockets());
        if address.tls.is_some() {
            builder = builder.tls(TlsMode::Secure);
        }
        if let Some(certificates) = certificates(address)? {
            builder = builder.certs(certificates);
        }
        Ok(builder)
    };
    let receiving = builder()?.push_sender(push_sender(receiver));
    let open = async |builder: ClusterClientBuilder| {
        let client = builder.build().map_err(|error| unavailable(&error))?;
        let connection =
            client.get_async_connection().await.map_err(|error| unavailable(&error))?;
        reach_all(&connection, prefix).await?;
        Ok(Connection::Cluster(connection))
    };
    let made = async { tokio::try_join!(open(builder()?), open(receiving)) };
    let made = tokio::time::timeout(limits.timeout * 2, made).await;
    let (commands, subscriber) = made.unwrap_or_else(|_| Err(Unavailable::timed_out()))?;
    Ok((commands, subscriber, shown(&address.servers)))
}

/// Asks for something of each part, so that no connection counts as made that knows an old place of a part.
async fn reach_all(connection: &ClusterConnection, prefix: &str) -> Result<(), Unavailable> {
    let names = Part::all().map(|part| part.base(prefix) + "v");
    let names = names.chain([channel_in_cluster(prefix, "")]);
    let asked = names.map(|name| {
        let mut connection = connection.clone();
        async move { redis::cmd("EXISTS").arg(name).query_async::<Value>(&mut connection).await }
    });
    try_join_all(asked).await.map(drop).map_err(|error| unavailable(&error))
}

/// Asks the sentinels for the primary, one after the other.
async fn primary(
    address: &RedisAddress,
    master: &str,
    limits: &Limits,
) -> Result<(String, u16), Unavailable> {
    let mut last = Unavailable::link_lost();
    for sentinel in &address.servers {
        // A password of the address is that of the servers; sentinels mostly have none.
        let asked = async {
            let info = ConnectionInfo::clone(&info(address, sentinel)?);
            let plain = RedisConnectionInfo::default();
            let client = make_client(address, info.set_redis_settings(plain))?;
            let connection =
                client.get_multiplexed_async_connection_with_config(&config(limits)).await;
            let mut connection = connection.map_err(|error| unavailable(&error))?;
            ask_sentinel(&mut connection, master).await
        };
        match tokio::time::timeout(limits.timeout, asked).await {
            Ok(Ok(Some(server))) => return Ok(server),
            Ok(Ok(None)) => {
                last = Unavailable::new(
                    Reason::Other,
                    &format!("the sentinels know no primary of the name {master:?}"),
                );
            }
            Ok(Err(why)) => last = why,
            Err(_) => last = Unavailable::timed_out(),
        }
    }
    Err(last)
}

async fn ask_sentinel(
    connection: &mut MultiplexedConnection,
    master: &str,
) -> Result<Option<(String, u16)>, Unavailable> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let answer: Option<(String, u16)> =
        command.query_async(connection).await.map_err(|error| unavailable(&error))?;
    Ok(answer)
}

/// Checks the version and the role of a server, and returns its name and version.
async fn check(connection: &mut Connection) -> Result<String, Unavailable> {
    let mut command = redis::cmd("INFO");
    let text = match connection {
        Connection::Single(connection) => {
            command.query_async::<String>(connection).await.map_err(|error| unavailable(&error))?
        }
        Connection::Cluster(connection) => {
            // Any server of the Cluster will do.
            command.arg("server");
            let any = redis::cluster_routing::SingleNodeRoutingInfo::Random;
            let routing = redis::cluster_routing::RoutingInfo::SingleNode(any);
            let value = connection.route_command(command, routing).await;
            let value = value.map_err(|error| unavailable(&error))?;
            redis::from_redis_value::<String>(value)
                .map_err(|_| Unavailable::damaged("an answer of Redis"))?
        }
    };
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim().chars().take(20).collect::<String>())
    };
    let version = field("redis_version").unwrap_or_default();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let oldest = if connection.is_cluster() { OLDEST_OF_CLUSTER } else { OLDEST };
    if found < oldest {
        return Err(Unavailable::new(
            Reason::TooOld,
            &format!(
                "the server is Redis {}, and at least {}.{} is needed",
                if version.is_empty() { "of an unknown version" } else { &version },
                oldest.0,
                oldest.1
            ),
        ));
    }
    if !connection.is_cluster() && field("role").is_some_and(|role| role != "master") {
        return Err(Unavailable::new(
            Reason::ReadOnly,
            "the Redis server is a replica, which takes no writes",
        ));
    }
    // Valkey says, too, which version of Redis it is like.
    Ok(match field("valkey_version") {
        Some(version) => format!("valkey {version}"),
        None => format!("redis {version}"),
    })
}

fn client(address: &RedisAddress, server: &(String, u16)) -> Result<Client, Unavailable> {
    make_client(address, info(address, server)?)
}

fn make_client(address: &RedisAddress, info: ConnectionInfo) -> Result<Client, Unavailable> {
    let client = match certificates(address)? {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    };
    client.map_err(|error| unavailable(&error))
}

fn info(address: &RedisAddress, server: &(String, u16)) -> Result<ConnectionInfo, Unavailable> {
    let (host, port) = server.clone();
    let way = match address.tls {
        None => ConnectionAddr::Tcp(host, port),
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    };
    let mut login = RedisConnectionInfo::default()
        .set_db(i64::from(address.database))
        .set_protocol(ProtocolVersion::RESP3);
    if let Some(user) = &address.user {
        login = login.set_username(user);
    }
    if let Some(password) = &address.password {
        login = login.set_password(password.reveal());
    }
    let info = way.into_connection_info().map_err(|error| unavailable(&error))?;
    Ok(info.set_redis_settings(login).set_tcp_settings(sockets()))
}

/// Returns the settings of sockets. One that is given up sends nothing more: once a network is back, the system would
/// otherwise send what is left in its buffer, after what the next one has sent.
fn sockets() -> TcpSettings {
    TcpSettings::default().set_linger_time(Duration::ZERO)
}

/// Reads the authorities that the address names.
fn certificates(address: &RedisAddress) -> Result<Option<TlsCertificates>, Unavailable> {
    let root_cert = address.tls.as_ref().map(Tls::read).transpose()?.flatten();
    Ok(root_cert.map(|root_cert| TlsCertificates { client_tls: None, root_cert: Some(root_cert) }))
}

fn config(limits: &Limits) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limits.timeout))
        .set_response_timeout(Some(limits.timeout))
        .set_pipeline_buffer_size(BUFFER)
}

fn push_sender(
    receiver: Receiver,
) -> impl Fn(PushInfo) -> Result<(), std::convert::Infallible> + Send + Sync + 'static {
    move |info| {
        receiver(info);
        Ok(())
    }
}
