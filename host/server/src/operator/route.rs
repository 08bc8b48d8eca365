//! What a path is about.

use super::problem::{Problem, bad};
use wharf_runtime::router::decode;

/// A path of the API, taken apart and decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// The channel's name; none in the list of all.
    pub channel: Option<String>,
    /// What about it.
    pub what: What,
}

/// What a request is about. Names are as they came, decoded and not yet checked.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// All channels.
    Channels,
    /// One channel.
    Channel,
    /// Its connections.
    Connections,
    /// One of them.
    Connection(String),
    /// Its rooms.
    Rooms,
    /// One of them.
    Room(String),
    /// Who is present in one of them.
    Presence(String),
    /// One of its users.
    User(String),
    /// Send to an audience.
    Broadcast,
    /// Send to some.
    Send(To),
    /// Close connections.
    Disconnect(To),
    /// Post notices.
    Notify(To),
    /// Post a room event.
    Post(String),
    /// Forget a room's state.
    Reset(String),
    /// Ask the channel's code.
    Messages,
}

/// Whom something is for.
#[derive(Debug, PartialEq, Eq)]
pub enum To {
    /// One connection, by its id.
    Connection(String),
    /// All connections of a user.
    User(String),
}

impl Route {
    /// Take a path apart.
    ///
    /// # Errors
    ///
    /// It is none of the API, or not properly encoded.
    pub fn of(path: &str) -> Result<Route, Problem> {
        let segments: Option<Vec<_>> = path.split('/').map(decode).collect();
        let Some(segments) = segments else {
            return Err(bad("bad-encoding", "the path is not properly percent-encoded UTF-8"));
        };
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        let (channel, rest) = match segments.as_slice() {
            ["", "api", "channels"] => {
                return Ok(Route { channel: None, what: What::Channels });
            }
            ["", "api", "channels", channel, rest @ ..] => (*channel, rest),
            _ => return Err(unknown()),
        };
        let connection = |id: &str| To::Connection(id.to_owned());
        let user = |user: &str| To::User(user.to_owned());
        let what = match rest {
            [] => What::Channel,
            ["connections"] => What::Connections,
            ["connections", id] => What::Connection((*id).to_owned()),
            ["connections", id, "send"] => What::Send(connection(id)),
            ["connections", id, "disconnect"] => What::Disconnect(connection(id)),
            ["connections", id, "notify"] => What::Notify(connection(id)),
            ["users", name] => What::User((*name).to_owned()),
            ["users", name, "send"] => What::Send(user(name)),
            ["users", name, "disconnect"] => What::Disconnect(user(name)),
            ["users", name, "notify"] => What::Notify(user(name)),
            ["rooms"] => What::Rooms,
            ["rooms", name] => What::Room((*name).to_owned()),
            ["rooms", name, "presence"] => What::Presence((*name).to_owned()),
            ["rooms", name, "post"] => What::Post((*name).to_owned()),
            ["rooms", name, "reset"] => What::Reset((*name).to_owned()),
            ["broadcast"] => What::Broadcast,
            ["messages"] => What::Messages,
            _ => return Err(unknown()),
        };
        Ok(Route { channel: Some(channel.to_owned()), what })
    }
}

fn unknown() -> Problem {
    let message = "there is no such path; docs/operator-api.md lists them";
    Problem::not_found("unknown-path", message.to_owned())
}

impl What {
    /// Whether something is to be done, rather than looked at.
    pub fn is_deed(&self) -> bool {
        match self {
            What::Channels
            | What::Channel
            | What::Connections
            | What::Connection(_)
            | What::Rooms
            | What::Room(_)
            | What::Presence(_)
            | What::User(_) => false,
            What::Broadcast
            | What::Send(_)
            | What::Disconnect(_)
            | What::Notify(_)
            | What::Post(_)
            | What::Reset(_)
            | What::Messages => true,
        }
    }

    /// Whether the body may be left out.
    pub fn needs_no_body(&self) -> bool {
        matches!(self, What::Disconnect(_) | What::Reset(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn what(path: &str) -> Option<What> {
        Route::of(path).ok().map(|route| route.what)
    }

    #[test]
    fn names_are_decoded_and_a_coded_slash_separates_nothing() {
        let route = Route::of("/api/channels/caf%C3%A9/rooms/a%2Fb/post").expect("a path");
        assert_eq!(route.channel.as_deref(), Some("café"));
        assert_eq!(route.what, What::Post("a/b".to_owned()));
        assert_eq!(what("/api/channels/c/users/"), Some(What::User(String::new())));
    }

    #[test]
    fn what_is_no_path_is_none() {
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
