//! What the test kit and its host say to each other: one JSON value a line.
//!
//! The host's first line is a [`Ready`]. From then on the kit writes a [`Command`] and the host a
//! [`Reply`], when all that the command causes has happened. The protocol is private between a kit and a
//! host of one version.

mod bytes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::Limits;

pub use bytes::Bytes;

/// Names and values of headers.
pub type Headers = Vec<(String, Bytes)>;

/// The host's first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The version of the host.
    pub wharf: String,
}

/// What the kit wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Load the component; the first command. Answered by [`Answer::Started`].
    Start(Setup),
    /// Have a client ask for a path. Answered by [`Answer::Connected`] or [`Answer::Refused`].
    Connect {
        /// The path and the query.
        target: String,
        /// Headers of the request.
        headers: Headers,
        /// The address that the client comes from.
        remote: SocketAddr,
        /// Claims of a token that the host has checked, as JSON.
        claims: Option<String>,
    },
    /// Have a client do something, or be gone.
    Client {
        /// Its number, in the order of asking.
        client: usize,
        /// What it does.
        act: Act,
    },
    /// Say what is kept of a connection. Answered by [`Answer::Connection`].
    Connection {
        /// The number of its client.
        client: usize,
    },
    /// Say what is kept of a room. Answered by [`Answer::Room`].
    Room {
        /// Its name.
        name: String,
    },
    /// List the connections of a user. Answered by [`Answer::User`].
    User {
        /// The id.
        name: String,
    },
    /// Let time pass.
    Advance {
        /// Whole milliseconds.
        milliseconds: u64,
        /// What is less than a millisecond.
        nanoseconds: u32,
    },
    /// Ask the channel, as the operator's API does. Answered by [`Answer::Outside`].
    Outside {
        /// The message.
        message: Value,
    },
    /// Script the answer to requests for a URL.
    HttpAnswer {
        /// The URL, or the beginning of some with `*` after it.
        url: String,
        /// The answer.
        answer: HttpAnswer,
    },
    /// Let a token hold.
    Token {
        /// The token.
        token: String,
        /// Its claims, as JSON.
        claims: String,
    },
    /// Take another channel out of service.
    RemoveChannel {
        /// Its name.
        name: String,
    },
    /// Serve other code.
    Reload {
        /// The component.
        file: PathBuf,
    },
    /// Say what a key of the store has. Answered by [`Answer::Stored`].
    Stored {
        /// The key.
        key: String,
    },
    /// Give a key of the store a value.
    Store {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
    },
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Send a text message.
    Text(String),
    /// Send a binary message.
    Binary(Bytes),
    /// Send a ping.
    Ping(Bytes),
    /// Send a pong.
    Pong(Bytes),
    /// Send a close frame.
    Close(u16, String),
    /// Be gone without a close frame.
    Vanish,
    /// Break a rule.
    Violate(Violation),
}

/// A rule that a client breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Violation {
    /// Send a frame that RFC 6455 does not know.
    ProtocolError,
    /// Send a text message of other bytes.
    InvalidUtf8,
    /// Announce a message over `max_message_bytes`.
    MessageTooBig,
}

/// The configuration of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// What the plugin reads as settings.
    pub settings: BTreeMap<String, String>,
    /// How much the channel may do.
    pub limits: Limits,
    /// The channels to whose rooms it may publish.
    pub publish_to: Vec<String>,
}

/// Another server's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpAnswer {
    /// A response.
    Response {
        /// The status.
        status: u16,
        /// The headers.
        headers: Headers,
        /// The body.
        body: Bytes,
    },
    /// A failure of the call.
    Failure {
        /// The code of a refused host call.
        code: String,
        /// A sentence.
        detail: String,
    },
}

/// What the host says to a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The answer, or a sentence that says why the command has come to nothing.
    pub answer: Result<Answer, String>,
    /// What has happened since the last command, in its order.
    pub happened: Vec<Happened>,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The command is done, and there is nothing to say.
    Done,
    /// The component is loaded.
    Started {
        /// The channel's name.
        channel: String,
        /// Its path patterns.
        paths: Vec<String>,
    },
    /// The client's request was answered with 101.
    Connected {
        /// The client's number.
        client: usize,
        /// The connection's id; none where the channel has refused it by a close frame.
        id: Option<String>,
        /// Headers of the response.
        headers: Headers,
    },
    /// The client's request was answered with another status.
    Refused {
        /// The status.
        status: u16,
        /// Headers of the response.
        headers: Headers,
        /// The body.
        body: Bytes,
    },
    /// What is kept of a connection.
    Connection {
        /// The session, as last committed.
        session: Bytes,
        /// The rooms that it is in.
        joined: Vec<String>,
        /// The user that it belongs to.
        user: Option<String>,
        /// Its labels.
        labels: Vec<(String, String)>,
    },
    /// What is kept of a room.
    Room {
        /// The ids of its members.
        members: Vec<String>,
        /// Its state.
        state: Option<Bytes>,
        /// The keys that are present.
        present: Vec<String>,
    },
    /// The connections of a user.
    User {
        /// Their ids.
        connections: Vec<String>,
    },
    /// The channel's answer to a message from outside.
    Outside {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: Value,
    },
    /// What a key of the store has.
    Stored {
        /// The value.
        value: Option<Bytes>,
    },
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// A client got a message or a ping.
    Received {
        /// The client's number.
        client: usize,
        /// The message.
        message: Message,
    },
    /// A client got a close frame.
    Closed {
        /// The client's number.
        client: usize,
        /// The code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// A client's connection is over.
    Ended {
        /// The client's number.
        client: usize,
    },
    /// The plugin logged or printed a line.
    Logged {
        /// The level, such as `info`.
        level: String,
        /// The line.
        message: String,
        /// What belongs to it, by name.
        fields: Vec<(String, String)>,
    },
    /// The host warned of something, in a sentence.
    Warned(String),
    /// The plugin sent a request.
    Requested {
        /// The method.
        method: String,
        /// The URL.
        url: String,
        /// The headers.
        headers: Headers,
        /// The body.
        body: Bytes,
    },
    /// The plugin published to a room of another channel.
    Published {
        /// The other channel.
        channel: String,
        /// The room.
        room: String,
        /// The message.
        message: Message,
    },
}

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
    /// A ping.
    Ping(Bytes),
}

/// Returns a target as clients write it: what no target may have is percent-encoded.
pub fn encoded_target(target: &str) -> String {
    let mut encoded = String::with_capacity(target.len());
    for byte in target.bytes() {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'_' | b'a'..=b'z' | b'|' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Whether an answer that is scripted for a URL is meant for a request to another. One that ends with
/// `*` is for all that begin so.
pub fn is_scripted(scripted: &str, url: &str) -> bool {
    match scripted.strip_suffix('*') {
        Some(beginning) => url.starts_with(beginning),
        // A URL without a path has one by the time it is sent.
        None => url == scripted || url.strip_suffix('/') == Some(scripted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_may_have_anything_in_it() {
        assert_eq!(encoded_target("/chat/:a?b=c&d=%20+"), "/chat/:a?b=c&d=%20+");
        assert_eq!(encoded_target("/a b/é?\"<>#\r\n"), "/a%20b/%C3%A9?%22%3C%3E%23%0D%0A");
    }

    #[test]
    fn commands_and_replies_survive_their_lines() {
        let commands = [
            Command::Start(Setup::default()),
            Command::Connect {
                target: "/chat".to_owned(),
                headers: vec![("x-a".to_owned(), Bytes(vec![0, 255]))],
                remote: SocketAddr::from(([192, 0, 2, 1], 50_000)),
                claims: None,
            },
            Command::Client { client: 1, act: Act::Close(1000, "bye".to_owned()) },
            Command::Client { client: 1, act: Act::Vanish },
            Command::Client { client: 1, act: Act::Violate(Violation::InvalidUtf8) },
        ];
        for command in commands {
            let line = serde_json::to_string(&command).expect("JSON");
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Command>(&line).expect("a command"), command);
        }
        let happened = vec![
            Happened::Ended { client: 0 },
            Happened::Received { client: 0, message: Message::Text("hi\n".to_owned()) },
        ];
        for answer in [Ok(Answer::Done), Err("it would not".to_owned())] {
            let reply = Reply { answer, happened: happened.clone() };
            let line = serde_json::to_string(&reply).expect("JSON");
            assert_eq!(serde_json::from_str::<Reply>(&line).expect("a reply"), reply);
        }
    }

    #[test]
    fn a_target_is_encoded_and_stays_what_it_was_where_it_is_encoded() {
        assert_eq!(encoded_target("/chat/blue room?a=b&c=é"), "/chat/blue%20room?a=b&c=%C3%A9");
        assert_eq!(encoded_target("/chat/a%20b"), "/chat/a%20b");
    }

    #[test]
    fn a_script_is_for_one_url_or_for_all_that_begin_so() {
        assert!(is_scripted("https://a.example", "https://a.example/"));
        assert!(is_scripted("https://a.example/b*", "https://a.example/bc?d"));
        assert!(!is_scripted("https://a.example/b", "https://a.example/bc"));
    }
}
