//! The operator's settings: file, environment and flags become one validated [`Config`].
//!
//! Each setting has one key and is written once, in the list below. The field, the default, the
//! flag, the help text and the table in `docs/configuration.md` come from it. Sources are merged,
//! and later ones win: the defaults, `wharf.toml`, `WHARF_…` variables, flags. A mistake is an
//! error that names the key, its source and the allowed values: a server that starts with another
//! limit than the intended one is worse than one that does not start.
//!
//! The settings, secrets and grants of single channels are in tables of their own, by the channel's
//! name: [`ChannelConfig`].

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod certificate;
mod channel;
mod choice;
mod error;
#[cfg(test)]
mod fuzz;
mod kind;
mod listen;
mod load;
mod material;
mod mistake;
mod network;
mod order;
mod origin;
mod reference;
mod secret;
mod setting;
mod sources;
mod tables;
#[cfg(test)]
mod tests;
mod token;

pub use certificate::CertificateFiles;
pub use channel::{
    AllowedHost, ChannelConfig, ChannelLimits, Grants, how_to_set, key as table_key,
};
pub use choice::{DataSync, ForwardedHeader, LogFormat, StartWithoutEngine};
pub use error::ConfigError;
pub use listen::Listen;
pub use load::{Given, cache_of, load};
pub use material::Material;
pub use network::Network;
pub use order::Stated;
pub use origin::{AllowedOrigin, HostPattern, Origin, Port};
pub use reference::reference;
pub use secret::{Secret, SecretOrigin, Secrets};
pub use setting::Setting;
pub use sources::{Source, Sources};
pub use token::{
    ChannelToken, SecretEncoding, SecretPlace, TokenConfig, TokenKey, TokenKeys, TokenSecret,
};

use kind::{
    Addresses, Bytes, Certificates, Count, Directives, Folder, HostPatterns, LocalSwitch, Millis,
    Name, Networks, OneOf, OperatorToken, OptionalFile, OptionalFolder, Origins, Switch, ms,
};
use setting::settings;
use wharf_contract::limits::{KIB, LIMITS, MIB};
use wharf_contract::presence::{DEFAULT_GRACE, DEFAULT_INTERVAL};

/// The longest timeout, in milliseconds. A value of hours is mostly a typo, and a day is more than
/// any use needs.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// Limits that a channel's table may have as well; 0 stands for none.
const CHANNEL_CONNECTIONS: Count = Count(0..=10_000_000);
const MESSAGES_PER_SECOND: Count = Count(0..=1_000_000);

settings! {
    "Server" {
        /// Folder whose `*.wasm` files are the channels. A relative path in a file is relative to
        /// that file, elsewhere to the working directory.
        plugins: PathBuf = PathBuf::from("plugins"), Folder;

        /// Addresses to listen on: an IP address and a port; `localhost` and a port for both of this
        /// machine's own addresses, 127.0.0.1 and ::1; or `unix:` and the path of a socket. Port 0
        /// takes any free port. In a file several are an array. Sockets that a service manager passes
        /// on (`LISTEN_FDS`) are used instead. A relative path in a file is relative to that file.
        listen: Vec<Listen> = vec![Listen::Localhost(4000)], Addresses;

        /// Threads that serve connections and run plugins. 0 means one per core.
        workers: usize = 0, Count(0..=512);

        /// Lines that are logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or
        /// directives by target such as `info,wharf=debug`.
        log: String = "info".to_owned(), Directives;

        /// Form of log lines: `human` for a terminal, `json` for one object a line.
        log_format: LogFormat = LogFormat::Human,
            OneOf(&[("human", LogFormat::Human), ("json", LogFormat::Json)]);
    }

    "HTTP, before the upgrade" {
        /// Certificates with which the host speaks TLS to clients on its TCP addresses; without any it speaks none.
        /// Those for other names are further ones: a client gets the first that fits the name it asks for
        /// (SNI), or the first of all. The files are read again when they change, and connections stay.
        /// A relative path in a file is relative to that file.
        tls: Vec<CertificateFiles> = Vec::new(), Certificates;

        /// File with certificates (PEM) of authorities, of one of which each client must show a certificate
        /// of its own (mutual TLS). `""` asks clients for none. Needs `tls`.
        tls_client_authorities: Option<PathBuf> = None, OptionalFile;

        /// True if the proxies of `trusted_proxies` begin each connection with the address of its client
        /// (PROXY protocol, version 1 or 2), before TLS if there is any. One of theirs that begins
        /// otherwise is closed. Others are not asked for it, and not believed.
        proxy_protocol: bool = false, Switch;

        /// Connections open at once, from their handshake with a channel to their end. Further ones
        /// are answered with status 503. Sockets before that have 1,024 seats of their own; when all
        /// are taken, a new socket takes the seat of the one that has waited longest.
        max_connections: usize = 10_000, Count(1..=10_000_000);

        /// Connections of one channel at once, counted in the same way; 0 means no other limit than
        /// `max_connections`. Further ones are answered with status 503. A channel's own table may have
        /// this key too, and wins.
        max_connections_per_channel: usize = 0, CHANNEL_CONNECTIONS;

        /// Connections of one client address at once, counted in the same way; 0 means no limit. The
        /// addresses of one network of IPv6 (/64) count as one. Further ones are answered with status
        /// 429. Behind a proxy it needs `trusted_proxies`, or all clients have one address.
        max_connections_per_address: usize = 0, Count(0..=10_000_000);

        /// Time for a client to send its request, and then for a plugin to answer it. A socket that is
        /// not upgraded by then is closed, also one that goes on with other requests; a client that
        /// waits longer for a plugin is answered with status 503.
        handshake_timeout => "handshake_timeout_ms": Duration = ms(10_000), Millis(10..=DAY);

        /// Size of the request line and headers together. Larger ones are answered with
        /// status 431.
        max_header_bytes: usize = 16 * KIB, Bytes(8 * KIB..=MIB);

        /// Proxies in front of the host, by address or network. The address of a client that comes
        /// through one is the last one in its `forwarded_header` that is not another's of these: in
        /// `remote_address`, in the operator's API and in the log. It has port 0 if the proxy names none.
        /// Nobody else's header is believed. `unix` stands for those that come through a `unix:` socket.
        trusted_proxies: Vec<Network> = Vec::new(), Networks;

        /// Header that the proxies of `trusted_proxies` write: `x-forwarded-for`, or `forwarded` (RFC 7239). The
        /// other one is not read, since a proxy that does not know it passes on what a client claims in it.
        forwarded_header: ForwardedHeader = ForwardedHeader::XForwardedFor,
            OneOf(&[
                ("x-forwarded-for", ForwardedHeader::XForwardedFor),
                ("forwarded", ForwardedHeader::Forwarded),
            ]);

        /// Names by which clients reach the host, such as `example.com`, or `*.example.com` for all
        /// subdomains; `*` means any. IP addresses, `localhost` and the hosts of `allowed_origins` need
        /// no entry. Pages of these hosts may connect, and the demo page is served under these names
        /// only (otherwise status 421): under any other name it could be a stranger's (DNS rebinding).
        allowed_hosts: Vec<HostPattern> = Vec::new(), HostPatterns;

        /// Origins whose pages may connect, such as `https://example.com`, `https://*.example.com`
        /// for all subdomains, `http://localhost:*` for all ports, or `capacitor://localhost` for an
        /// app; `*` allows any. Pages of the host itself need no entry, see `allowed_hosts`. Others
        /// are answered with status 403.
        allowed_origins: Vec<AllowedOrigin> = Vec::new(), Origins;

        /// True if pages without an origin of their own (`Origin: null`: files, sandboxed frames)
        /// may connect. Otherwise they are answered with status 403.
        allow_null_origin: bool = false, Switch;

        /// True if requests must have an `Origin` header. Browsers always send one; other
        /// clients mostly do not, and would be answered with status 403.
        require_origin: bool = false, Switch;

        /// True if a client that asks for subprotocols, none of which the channel speaks, is answered
        /// with status 400. Otherwise it is served without one; browsers then end the connection.
        require_subprotocol: bool = false, Switch;

        /// True if the demo page is served at `/`, with a list of all channels, and the client for
        /// browsers at `/_wharf/wharf.js`. By default it is where `listen` has loopback addresses and
        /// Unix sockets only, and not where other machines can reach the host.
        page: bool = true, LocalSwitch;

        /// Folder with prepared versions of plugins, such as `chat@festive.wasm`, of which visitors of
        /// the page may put any in place of `chat.wasm` in the plugin folder, and with texts (`.rs`,
        /// `.md`) that the page shows. It is for demonstrations: each visitor of the page may swap. `""`
        /// means none. A relative path in a file is relative to that file.
        demo: Option<PathBuf> = None, OptionalFolder("\"\"");
    }

    "Operator's API" {
        /// Addresses of the operator's API, written like `listen`, if there is an `operator_token`.
        /// Without `operator_tls` the API is not encrypted: use others than loopback addresses and sockets
        /// only for a proxy that speaks TLS.
        operator_listen: Vec<Listen> = vec![Listen::Localhost(4001)], Addresses;

        /// Secret that requests to the operator's API carry (`Authorization: Bearer …`). In a file
        /// also `{ env = "VARIABLE" }` or `{ file = "PATH" }`, as for a channel's secrets. Without
        /// one there is no API.
        operator_token: Option<Secret> = None, OperatorToken;

        /// Certificates with which the operator's API speaks TLS, like `tls`.
        operator_tls: Vec<CertificateFiles> = Vec::new(), Certificates;

        /// File with certificates (PEM) of authorities, of one of which each client of the operator's API must
        /// show a certificate of its own, besides the token. `""` asks for none. Needs `operator_tls`.
        operator_tls_client_authorities: Option<PathBuf> = None, OptionalFile;

        /// Secret with which Prometheus may read `/metrics` of the operator's API, and nothing else. It is
        /// written like `operator_token`, without which there is no API. `""` for none: then
        /// `/metrics` takes `operator_token` only.
        metrics_token: Option<Secret> = None, OperatorToken;

        /// Size of the body of one request to the operator's API. A larger one is answered with
        /// status 413.
        operator_body_bytes: usize = MIB, Bytes(KIB..=64 * MIB);

        /// Size of the file `audit.jsonl` in the folder `data`, which has the operator's acts. One that
        /// would become larger is renamed to `audit.1.jsonl`, in place of the one before, so that both
        /// take twice as much at most.
        audit_log_bytes: usize = 8 * MIB, Bytes(64 * KIB..=1024 * MIB);
    }

    "Connection" {
        /// Size of one message from a client, with all its fragments. A larger one closes the
        /// connection with code 1009.
        max_message_bytes: usize = LIMITS.max_message_bytes.default, LIMITS.max_message_bytes;

        /// Size of one frame from a client. A larger one closes the connection with code 1009. More
        /// than `max_message_bytes` has no effect.
        max_frame_bytes: usize = MIB, Bytes(1..=1024 * MIB);

        /// Size of one message to a client. A larger one is refused with an error to the plugin.
        max_outbound_message_bytes: usize = LIMITS.max_outbound_message_bytes.default, LIMITS.max_outbound_message_bytes;

        /// Bytes that wait to be written to one client; a frame counts for at least 64. A client
        /// for which more would have to wait reads too slowly and is closed with code 1013.
        outbound_queue_bytes: usize = MIB, Bytes(KIB..=1024 * MIB);

        /// Bytes that all clients together make the host hold: messages that are not whole or are
        /// read ahead, what waits to be written, notices, and sessions with the heads of their
        /// requests and their claims. Of each kind and connection the first 16 KiB are free. At the
        /// limit a client for which more would be held is closed with code 1013, or answered with
        /// status 503 while it connects.
        max_client_bytes: usize = 1024 * MIB, Bytes(MIB..=1024 * 1024 * MIB);

        /// Time for a client to send the rest of a message that it has begun. A client that takes
        /// longer is closed with code 1008. Time in which the host does not read is not counted.
        message_timeout => "message_timeout_ms": Duration = ms(60_000), Millis(10..=DAY);

        /// Time between two pings to a client, whatever it and the channel send, so that a proxy
        /// between them always sees traffic.
        keep_alive_interval => "keep_alive_interval_ms": Duration = ms(25_000), Millis(10..=DAY);

        /// Time for a client to answer a ping with any data. A client that does not is dropped
        /// without a close frame, since it is no longer there.
        keep_alive_timeout => "keep_alive_timeout_ms": Duration = ms(20_000), Millis(10..=DAY);

        /// Time for the closing handshake: writing what is queued and waiting for the client's
        /// close frame. Then the socket is closed.
        close_timeout => "close_timeout_ms": Duration = ms(5_000), Millis(10..=DAY);

        /// Messages that are read ahead while a plugin is busy with an earlier one. At the limit
        /// reading stops, so that the client has to wait.
        read_ahead_messages: usize = 16, Count(1..=65_536);

        /// Bytes of messages that are read ahead while a plugin is busy with an earlier one. At
        /// the limit reading stops, so that the client has to wait.
        read_ahead_bytes: usize = 64 * KIB, Bytes(1..=1024 * MIB);

        /// Messages of one client in a second, on average; 0 means no limit. As many may come at once.
        /// Beyond the limit the host reads the connection more slowly, so that the client has to wait;
        /// it is never closed for that. Pings, pongs and heartbeats do not count. A channel's own
        /// table may have this key too, and wins.
        max_messages_per_second: usize = 0, MESSAGES_PER_SECOND;

        /// Bytes that are read at once. A connection holds a buffer only while it handles what it
        /// has read. Larger buffers make large messages cheaper.
        read_buffer_bytes: usize = 4 * KIB, Bytes(512..=MIB);

        /// Rooms of which one connection may be a member. Joining a further one is refused with an
        /// error to the plugin.
        max_rooms_per_connection: usize = LIMITS.max_rooms_per_connection.default, LIMITS.max_rooms_per_connection;

        /// Size of the session that a plugin keeps for one connection. An event that returns more
        /// fails like a trap.
        max_session_bytes: usize = LIMITS.max_session_bytes.default, LIMITS.max_session_bytes;
    }

    "Presence" {
        /// Time from a change of a room's presence to the message that tells its watchers. Changes
        /// in that time are told with it, and a change that is undone in it is not told.
        presence_interval => "presence_interval_ms": Duration = DEFAULT_INTERVAL, Millis(1..=60_000);

        /// Time for which an entry stays present after its last connection has ended. A client that
        /// reconnects in that time was never away.
        presence_grace => "presence_grace_ms": Duration = DEFAULT_GRACE, Millis(0..=DAY);

        /// Size of one connection's presence data in a room, as JSON. More is refused with an error
        /// to the plugin.
        max_presence_bytes: usize = LIMITS.max_presence_bytes.default, LIMITS.max_presence_bytes;

        /// Bytes of all entries present in one room: keys, their data, and 64 for each. At the
        /// limit further entries are refused with an error to the plugin.
        max_room_presence_bytes: usize = LIMITS.max_room_presence_bytes.default, LIMITS.max_room_presence_bytes;

        /// Bytes of all entries present in all rooms of one channel, counted in the same way. At
        /// the limit further entries are refused with an error to the plugin.
        max_channel_presence_bytes: usize = LIMITS.max_channel_presence_bytes.default, LIMITS.max_channel_presence_bytes;
    }

    "Plugins" {
        /// CPU time of one event in a plugin. At the limit the event ends as a missed deadline, and
        /// nothing of it takes effect.
        cpu_budget => "cpu_budget_ms": Duration = ms(100), Millis(1..=DAY);

        /// Elapsed time of one event in a plugin, including waiting. At the limit the event ends as
        /// a missed deadline.
        wall_budget => "wall_budget_ms": Duration = ms(5_000), Millis(1..=DAY);

        /// Time to start an instance of a plugin, including its self-description. A plugin that
        /// takes longer is refused when it is loaded.
        start_budget => "start_budget_ms": Duration = ms(1_000), Millis(1..=DAY);

        /// Memory of one instance. Beyond the limit an allocation fails, which mostly traps.
        max_memory_bytes: usize = 64 * MIB, Bytes(64 * KIB..=4096 * MIB);

        /// Memory of all instances of one channel together. Beyond the limit an event waits until
        /// others have given memory back, for half of `wall_budget_ms` at most. Then its allocation
        /// fails, which ends its connection with code 1011.
        max_channel_memory_bytes: usize = 1024 * MIB, Bytes(64 * KIB..=1024 * 1024 * MIB);

        /// Elements (function references) of one table of an instance; it has 64 tables at most.
        /// A plugin that declares more cannot be loaded.
        max_table_elements: usize = 20_000, Count(1..=10_000_000);

        /// Bytes that a plugin may pass to the host in one host call. More is a trap.
        hostcall_bytes: usize = 8 * MIB, Bytes(64 * KIB..=1024 * MIB);

        /// Effects (messages, joins, leaves, closes) of one event. Further ones are refused with
        /// an error to the plugin, and so are several broadcasts with more than 100,000 deliveries.
        max_effects_per_event: usize = LIMITS.max_effects_per_event.default, LIMITS.max_effects_per_event;

        /// Bytes of all messages that one event sends; a broadcast counts once. Further ones are
        /// refused with an error to the plugin.
        max_effect_bytes_per_event: usize = LIMITS.max_effect_bytes_per_event.default, LIMITS.max_effect_bytes_per_event;

        /// Notices that wait for one connection. At the limit posting another to it is refused with
        /// an error to the plugin; one to its whole room or user closes it with code 1013.
        inbox_events: usize = LIMITS.inbox_events.default, LIMITS.inbox_events;

        /// Bytes of the notices that wait for one connection. At the limit posting another is
        /// refused with an error to the plugin.
        inbox_bytes: usize = LIMITS.inbox_bytes.default, LIMITS.inbox_bytes;

        /// Events that wait for one room. At the limit posting another is refused with an error
        /// to the plugin.
        room_inbox_events: usize = LIMITS.room_inbox_events.default, LIMITS.room_inbox_events;

        /// Bytes of the events that wait for one room. At the limit posting another is refused
        /// with an error to the plugin.
        room_inbox_bytes: usize = LIMITS.room_inbox_bytes.default, LIMITS.room_inbox_bytes;

        /// Bytes of the events that wait for all rooms of one channel together; each counts for at
        /// least 64. At the limit posting another is refused with an error to the plugin.
        max_channel_inbox_bytes: usize = LIMITS.max_channel_inbox_bytes.default, LIMITS.max_channel_inbox_bytes;

        /// Bytes of the payload of one notice, room event or timer. More is refused with an error
        /// to the plugin.
        max_payload_bytes: usize = LIMITS.max_payload_bytes.default, LIMITS.max_payload_bytes;

        /// Rooms of one channel that have events, state or timers. Posting to a further one is
        /// refused with an error to the plugin.
        max_room_states: usize = LIMITS.max_room_states.default, LIMITS.max_room_states;

        /// Size of one room's state. A room event that returns more fails like a trap.
        max_room_state_bytes: usize = LIMITS.max_room_state_bytes.default, LIMITS.max_room_state_bytes;

        /// Bytes of the states of all rooms of one channel, and separately of the payloads of its
        /// timers, and of its rate limits, with about 128 for each. Beyond the limit a room event
        /// fails like a trap, and a timer or a rate limit is refused with an error to the plugin.
        max_channel_state_bytes: usize = LIMITS.max_channel_state_bytes.default, LIMITS.max_channel_state_bytes;

        /// Time after which a room without members, events and timers loses its state.
        room_state_grace => "room_state_grace_ms": Duration = ms(30_000), Millis(0..=DAY);

        /// Timers of one connection. Setting a further one is refused with an error to the plugin.
        max_timers_per_connection: usize = LIMITS.max_timers_per_connection.default, LIMITS.max_timers_per_connection;

        /// Timers of one room. Setting a further one is refused with an error to the plugin.
        max_timers_per_room: usize = LIMITS.max_timers_per_room.default, LIMITS.max_timers_per_room;

        /// Timers of one channel itself. Setting a further one is refused with an error to the
        /// plugin.
        max_timers_per_channel: usize = LIMITS.max_timers_per_channel.default, LIMITS.max_timers_per_channel;

        /// Instances in use of all channels together, beyond each channel's reserve. At the limit
        /// events wait for a free one. About as many are kept warm.
        max_instances: usize = 1_000, Count(0..=5_000);

        /// Instances of one channel, and so its events that are handled at the same time. At the
        /// limit events wait for a free one.
        max_instances_per_channel: usize = 256, Count(1..=5_000);

        /// Instances that each channel may have at any time, so that no channel can starve another.
        reserved_instances_per_channel: usize = 4, Count(1..=1_000);

        /// Time that an event waits for a free instance. Then a client that is connecting is
        /// answered with status 503, and any other is closed with code 1013.
        instance_wait => "instance_wait_ms": Duration = ms(5_000), Millis(1..=DAY);

        /// Log lines of one channel in a second. Further ones are dropped and counted.
        log_lines_per_second: usize = 100, Count(0..=1_000_000);
    }

    "History" {
        /// Bytes of the messages that all rooms of one channel [keep](history.md); each counts for 64 more. At
        /// the limit a room drops its oldest messages for a new one, and keeps none if that is not enough. In a
        /// [cluster](history.md#with-several-hosts) it is the limit of each room.
        max_channel_history_bytes: usize = 64 * MIB, Bytes(0..=1024 * 1024 * MIB);
    }

    "Store" {
        /// Bytes of all entries in one channel's store, with about 160 for each entry besides its
        /// key and value. At the limit writes are refused with an error to the plugin. Expired
        /// entries do not count.
        max_store_bytes: usize = LIMITS.max_store_bytes.default, LIMITS.max_store_bytes;

        /// Size of one value in a store. A larger one is refused with an error to the plugin.
        max_store_value_bytes: usize = LIMITS.max_store_value_bytes.default, LIMITS.max_store_value_bytes;
    }

    "Outgoing HTTP" {
        /// Requests of one channel that are under way, including those whose answers are still
        /// being read. Further ones are refused with an error to the plugin. The grant `http_hosts`
        /// lists the hosts that a channel may call.
        max_http_requests_per_channel: usize = 256, Count(1..=100_000);

        /// File with certificates (PEM) of authorities that `https` trusts besides those that browsers
        /// trust. It is read when the host starts. A relative path in a file is relative to that file.
        http_extra_roots: Option<PathBuf> = None, OptionalFile;

        /// True if requests take the proxies that `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and
        /// `NO_PROXY` name in the host's environment. `http_hosts` decides about the server, not about
        /// the proxy. Proxies are addresses of `http://`, and may have a name and a password.
        http_proxy_from_environment: bool = false, Switch;
    }

    "Plugin folder" {
        /// Time for which a plugin's file must be absent before its channel is removed and its
        /// clients are closed with code 1001. Replacing a file by removing and copying takes less.
        removal_grace => "removal_grace_ms": Duration = ms(5_000), Millis(0..=DAY);

        /// Time for which the whole folder must be empty before its channels are removed, if it had
        /// several plugins or is another folder than before: a volume that is not mounted, or a
        /// deployment that clears the folder first, is no wish to remove them all.
        emptied_grace => "emptied_grace_ms": Duration = ms(600_000), Millis(0..=DAY);

        /// Time for which the store and the states of the rooms of a removed channel are kept in
        /// memory, for when its plugin comes back. They are dropped earlier, the oldest first, when more
        /// than 16 channels are gone, or when all of them together have more bytes than one channel may
        /// have (`max_store_bytes` and `max_channel_state_bytes`). With `data` they stay on disk.
        removed_data_grace => "removed_data_grace_ms": Duration = ms(600_000), Millis(0..=DAY);

        /// Time for which a file must be unchanged before it is read. A copy that pauses for longer
        /// is read half done, and refused until it is complete.
        settle => "settle_ms": Duration = ms(50), Millis(1..=60_000);

        /// Time after which the folder is listed again even if no change was reported, as on
        /// network file systems.
        reconcile => "reconcile_ms": Duration = ms(2_000), Millis(10..=DAY);
    }

    "Compiled plugins" {
        /// Time for compiling a plugin. After that the log says so, and others are compiled beside it;
        /// it is loaded when it is done.
        compile_timeout => "compile_timeout_ms": Duration = ms(60_000), Millis(100..=DAY);

        /// Folder for compiled plugins, so that each is compiled only once; `""` for none. Without
        /// `XDG_CACHE_HOME` the default is `$HOME/.cache/wharf`, and without `HOME` none. The host
        /// makes it for this user alone, and does not use it if others may write to it. A relative
        /// path in a file is relative to that file. Hosts may share it.
        cache: Option<PathBuf> = None, OptionalFolder("$XDG_CACHE_HOME/wharf");

        /// Bytes of all compiled plugins in that folder. At the limit those that were not loaded
        /// for the longest time are removed. One that is larger than the limit is not kept.
        max_cache_bytes: usize = 1024 * MIB, Bytes(MIB..=1024 * 1024 * MIB);
    }

    "Data on disk" {
        /// Folder for the data that outlives the process: the store, the states of rooms, the timers of
        /// rooms and channels. `""` keeps them in memory only. The host makes it for this user alone; one
        /// process at a time has it. The default is beside the configuration file, and in the working
        /// directory without one; a relative path in a file is relative to that file.
        data: Option<PathBuf> = Some(PathBuf::from("wharf-data")), OptionalFolder("wharf-data");

        /// Writes that a loss of power may cost. The death of the process costs none at any of these.
        /// `group`: none, each group of writes waits for the disk. `interval`: those of the last
        /// `data_sync_interval_ms`. `never`: those that the system had not written by itself.
        data_sync: DataSync = DataSync::Interval,
            OneOf(&[
                ("group", DataSync::Group),
                ("interval", DataSync::Interval),
                ("never", DataSync::Never),
            ]);

        /// Time between two writes to the disk itself (fsync), for `data_sync = "interval"`. Nobody waits
        /// for them.
        data_sync_interval => "data_sync_interval_ms": Duration = ms(10), Millis(1..=60_000);
    }

    "Cluster" {
        /// Address of the engine by which the hosts of a cluster reach each other: `redis://HOST:PORT`, `rediss://…`
        /// with encryption, `redis+cluster://…`, `redis+sentinel://…?master=NAME`, `nats://HOST:PORT` or `tls://…`. It may
        /// have a user and a password, and so may be kept elsewhere, like `operator_token`. `""` for a single host.
        cluster: Option<Secret> = None, OperatorToken;

        /// Beginning of all names on the engine, so that several clusters can share one.
        cluster_prefix: String = "wharf".to_owned(), Name;

        /// Name of this host, which no other one of its cluster may have. `""` for the name of the machine and the
        /// first port that it listens on.
        node_name: String = String::new(), Name;

        /// Time after which a host that is not heard of is taken for gone, with its connections.
        node_timeout => "node_timeout_ms": Duration = ms(5_000), Millis(500..=600_000);

        /// The answer of a start while the engine is not there. `wait`: the host waits for it, and serves nobody until
        /// then. `fail`: it ends.
        start_without_engine: StartWithoutEngine = StartWithoutEngine::Wait,
            OneOf(&[("wait", StartWithoutEngine::Wait), ("fail", StartWithoutEngine::Fail)]);
    }

    "Shutdown" {
        /// Time for load balancers to notice that the host is about to stop. After it was asked to
        /// stop, `/readyz` is answered with status 503, and clients are served as before, also new
        /// ones. When the time is over, the host accepts no more connections.
        shutdown_delay => "shutdown_delay_ms": Duration = ms(0), Millis(0..=DAY);

        /// Connections that are closed in a second, with code 1012, after the host has stopped accepting:
        /// clients that come back at the same moment are a burst for the host that takes them over.
        /// They are closed faster where that would take more than half of `drain_timeout_ms`. 0 means
        /// all at once.
        shutdown_closes_per_second: usize = 1_000, Count(0..=10_000_000);

        /// Time for open connections to end after the host has stopped accepting. After that time the
        /// process ends the rest.
        drain_timeout => "drain_timeout_ms": Duration = ms(10_000), Millis(0..=DAY);
    }
}

impl Config {
    /// Takes other addresses to listen on. The default of `page` depends on them.
    pub fn listen_at(&mut self, listen: Vec<Listen>, sources: &Sources) {
        self.listen = listen;
        if *sources.of("page") == Source::Default {
            self.page = self.is_local();
        }
    }

    /// Returns true if only this machine can reach the host.
    pub fn is_local(&self) -> bool {
        self.listen.iter().all(Listen::is_local)
    }

    /// Returns the table of the channel of that name, empty if there is none. Letters may differ in
    /// case, and `-` and `_` are the same.
    pub fn channel(&self, name: &str) -> Arc<ChannelConfig> {
        let mut channels = self.channels.iter();
        let found = channels.find(|(table, _)| self.is_table_of(table, name));
        found.map(|(_, channel)| channel.clone()).unwrap_or_default()
    }

    /// Returns true if a table of this name is for the channel of that name.
    pub fn is_table_of(&self, table: &str, channel: &str) -> bool {
        channel::is_same(table, channel)
    }
}
