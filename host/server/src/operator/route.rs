//! The paths of the API.

use super::problem::{Problem, bad};
use wharf_contract::router::decode;

/// A path of the API, taken apart and decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// Name of the channel; `None` where it is about all of them.
    pub channel: Option<String>,
    /// The subject of the request.
    pub resource: Resource,
}

/// The subject of a request. Names are as they came, decoded and not yet checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Resource {
    /// A resource to read, by `GET`.
    Query(Query),
    /// A command, by `POST`.
    Command(Command),
    /// The deployed code of a channel.
    Plugin(Plugin),
}

/// A resource of the deployed code of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// The code: `PUT` deploys a file, `DELETE` withdraws it.
    Code,
    /// Its way back to the code before, by `POST`.
    Rollback,
}

/// A resource that can be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Query {
    /// The acts of operators.
    Audit,
    /// The nodes of the cluster.
    Nodes,
    /// The figures of this host, as a stream.
    Live,
    /// The last outcomes of loading plugins: of all of them, or of one channel.
    Loads,
    /// The last lines of a channel's log.
    Logs,
    /// The connections for which bytes wait.
    Slow,
    /// The machine.
    Machine,
    /// The numbers of this host as text, for Prometheus.
    Metrics,
    /// The numbers of this host.
    Stats,
    /// The plugins that are deployed.
    Plugins,
    /// All channels.
    Channels,
    /// One channel.
    Channel,
    /// Its connections.
    Connections,
    /// One of its connections, by its id.
    Connection(String),
    /// Its rooms.
    Rooms,
    /// One of its rooms, by its name.
    Room(String),
    /// The presence entries of one of its rooms.
    Presence(String),
    /// The state of one of its rooms.
    RoomState(String),
    /// The messages that one of its rooms keeps.
    History(String),
    /// Timers.
    Timers(TimersOf),
    /// The session of one of its connections.
    Session(String),
    /// The keys of its store.
    Store,
    /// The value of one of them.
    StoreKey(String),
    /// One of its users.
    User(String),
}

/// The owner of timers.
#[derive(Debug, PartialEq, Eq)]
pub enum TimersOf {
    /// The channel.
    Channel,
    /// One of its connections, by its id.
    Connection(String),
    /// One of its rooms, by its name.
    Room(String),
}

/// A command that can be run.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Send to an audience.
    Broadcast,
    /// Send to one connection or user.
    Send(To),
    /// Close connections.
    Disconnect(To),
    /// Close all connections of the channel.
    DisconnectAll,
    /// Post notices.
    Notify(To),
    /// Post a room event.
    Post(String),
    /// Forget a room's state.
    Reset(String),
    /// Ask the channel's code.
    Messages,
}

/// The addressee of a command.
#[derive(Debug, PartialEq, Eq)]
pub enum To {
    /// One connection, by its id.
    Connection(String),
    /// All connections of a user.
    User(String),
}

impl Route {
    /// Takes a path apart.
    ///
    /// # Errors
    ///
    /// The API has no such path, or it is not properly encoded.
    pub fn of(path: &str) -> Result<Route, Problem> {
        let segments: Option<Vec<_>> = path.split('/').map(decode).collect();
        let Some(segments) = segments else {
            return Err(bad("bad-encoding", "the path is not properly percent-encoded UTF-8"));
        };
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        let (channel, rest) = match segments.as_slice() {
            ["", "api", "channels"] => {
                let resource = Resource::Query(Query::Channels);
                return Ok(Route { channel: None, resource });
            }
            ["", "api", "nodes"] => {
                return Ok(Route { channel: None, resource: Resource::Query(Query::Nodes) });
            }
            ["", "api", "live"] => {
                return Ok(Route { channel: None, resource: Resource::Query(Query::Live) });
            }
            ["", "api", "loads"] => {
                return Ok(Route { channel: None, resource: Resource::Query(Query::Loads) });
            }
            ["", "api", "machine"] => {
                return Ok(Route { channel: None, resource: Resource::Query(Query::Machine) });
            }
            ["", "api", "slow"] => {
                return Ok(Route { channel: None, resource: Resource::Query(Query::Slow) });
            }
            ["", "api", "plugins"] => {
                return Ok(Route { channel: None, resource: Resource::Query(Query::Plugins) });
            }
            ["", "api", "plugins", channel] => {
                let channel = Some((*channel).to_owned());
                return Ok(Route { channel, resource: Resource::Plugin(Plugin::Code) });
            }
            ["", "api", "plugins", channel, "rollback"] => {
                let channel = Some((*channel).to_owned());
                return Ok(Route { channel, resource: Resource::Plugin(Plugin::Rollback) });
            }
            ["", "api", "audit"] => {
                return Ok(Route { channel: None, resource: Resource::Query(Query::Audit) });
            }
            ["", "api", "stats"] => {
                return Ok(Route { channel: None, resource: Resource::Query(Query::Stats) });
            }
            ["", "metrics"] => {
                return Ok(Route { channel: None, resource: Resource::Query(Query::Metrics) });
            }
            ["", "api", "channels", channel, rest @ ..] => (*channel, rest),
            _ => return Err(unknown()),
        };
        let connection = |id: &str| To::Connection(id.to_owned());
        let user = |user: &str| To::User(user.to_owned());
        let timers = |of| Resource::Query(Query::Timers(of));
        let resource = match rest {
            [] => Resource::Query(Query::Channel),
            ["connections"] => Resource::Query(Query::Connections),
            ["connections", id] => Resource::Query(Query::Connection((*id).to_owned())),
            ["connections", id, "session"] => Resource::Query(Query::Session((*id).to_owned())),
            ["connections", id, "timers"] => timers(TimersOf::Connection((*id).to_owned())),
            ["connections", id, "send"] => Resource::Command(Command::Send(connection(id))),
            ["connections", id, "disconnect"] => {
                Resource::Command(Command::Disconnect(connection(id)))
            }
            ["connections", id, "notify"] => Resource::Command(Command::Notify(connection(id))),
            ["users", name] => Resource::Query(Query::User((*name).to_owned())),
            ["users", name, "send"] => Resource::Command(Command::Send(user(name))),
            ["users", name, "disconnect"] => Resource::Command(Command::Disconnect(user(name))),
            ["users", name, "notify"] => Resource::Command(Command::Notify(user(name))),
            ["rooms"] => Resource::Query(Query::Rooms),
            ["rooms", name] => Resource::Query(Query::Room((*name).to_owned())),
            ["rooms", name, "presence"] => Resource::Query(Query::Presence((*name).to_owned())),
            ["rooms", name, "state"] => Resource::Query(Query::RoomState((*name).to_owned())),
            ["rooms", name, "history"] => Resource::Query(Query::History((*name).to_owned())),
            ["rooms", name, "timers"] => timers(TimersOf::Room((*name).to_owned())),
            ["rooms", name, "post"] => Resource::Command(Command::Post((*name).to_owned())),
            ["rooms", name, "reset"] => Resource::Command(Command::Reset((*name).to_owned())),
            ["loads"] => Resource::Query(Query::Loads),
            ["logs"] => Resource::Query(Query::Logs),
            ["timers"] => timers(TimersOf::Channel),
            ["store"] => Resource::Query(Query::Store),
            ["store", key] => Resource::Query(Query::StoreKey((*key).to_owned())),
            ["disconnect"] => Resource::Command(Command::DisconnectAll),
            ["broadcast"] => Resource::Command(Command::Broadcast),
            ["messages"] => Resource::Command(Command::Messages),
            _ => return Err(unknown()),
        };
        Ok(Route { channel: Some(channel.to_owned()), resource })
    }
}

fn unknown() -> Problem {
    let message = "there is no such path; docs/operator-api.md lists them";
    Problem::not_found("unknown-path", message.to_owned())
}

impl Command {
    /// Returns the name, as paths have it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Broadcast => "broadcast",
            Command::Send(_) => "send",
            Command::Disconnect(_) | Command::DisconnectAll => "disconnect",
            Command::Notify(_) => "notify",
            Command::Post(_) => "post",
            Command::Reset(_) => "reset",
            Command::Messages => "messages",
        }
    }

    /// Returns the connection, the user or the room that it is about, if it is about one.
    pub(crate) fn subject(&self) -> Option<(&'static str, &str)> {
        match self {
            Command::Send(to) | Command::Disconnect(to) | Command::Notify(to) => Some(match to {
                To::Connection(id) => ("connection", id),
                To::User(name) => ("user", name),
            }),
            Command::Post(room) | Command::Reset(room) => Some(("room", room)),
            Command::Broadcast | Command::DisconnectAll | Command::Messages => None,
        }
    }

    /// Returns the id of the one connection that it is for, if it is for one.
    pub(crate) fn connection(&self) -> Option<&str> {
        match self.subject() {
            Some(("connection", id)) => Some(id),
            _ => None,
        }
    }

    /// Returns true for commands that end or remove something. The others only send.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Command::Disconnect(_) | Command::DisconnectAll | Command::Reset(_))
    }

    /// Returns true for commands whose body may be left out.
    pub(crate) fn needs_no_body(&self) -> bool {
        self.is_final()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resource(path: &str) -> Option<Resource> {
        Route::of(path).ok().map(|route| route.resource)
    }

    #[test]
    fn names_are_decoded_and_a_coded_slash_separates_nothing() {
        let route = Route::of("/api/channels/caf%C3%A9/rooms/a%2Fb/post").expect("a path");
        assert_eq!(route.channel.as_deref(), Some("café"));
        assert_eq!(route.resource, Resource::Command(Command::Post("a/b".to_owned())));
        let user = Resource::Query(Query::User(String::new()));
        assert_eq!(resource("/api/channels/c/users/"), Some(user));
    }

    #[test]
    fn paths_that_the_api_does_not_have_are_refused() {
        for path in [
            "/",
            "/api",
            "/api/",
            "/api/channels/",
            "/api/channels/c/",
            "/api/channels/c/rooms/r/",
            "/api/channels/c/rooms/r/send",
            "/api/channels/c/nothing",
            "//api/channels",
            "/api/channels/%zz",
            "/api/channels/%ff",
        ] {
            let is_channel_without_name = path == "/api/channels/";
            assert!(Route::of(path).is_err() != is_channel_without_name, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in ".*") {
            let _ = Route::of(&path);
        }
    }
}
