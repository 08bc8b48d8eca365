//! The messages between the test kit and its host: one JSON value a line.
//!
//! The host's first line is a [`Ready`]. From then on the kit writes a [`Command`] and the host a
//! [`Reply`], when all effects of the command have happened. The protocol is private between a kit
//! and a host of one version.

mod bytes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::history::HistoryRule;
use crate::limits::Limits;

pub use bytes::HexBytes;

/// Names and values of headers.
pub type Headers = Vec<(String, HexBytes)>;

/// The host's first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Version of the host.
    pub wharf: String,
}

/// A command of the kit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Load the component; the first command. Answered by [`Answer::Started`].
    Start(Setup),
    /// Open a client's connection to a path. Answered by [`Answer::Connected`] or
    /// [`Answer::Refused`].
    Connect {
        /// Path and query.
        target: String,
        /// Headers of the request.
        headers: Headers,
        /// Address that the client comes from.
        remote: SocketAddr,
        /// Claims of a token that the host has checked, as JSON.
        claims: Option<String>,
    },
    /// Make a client act, or vanish.
    Client {
        /// Number of the client, in the order of connecting.
        client: usize,
        /// Action.
        act: Act,
    },
    /// Describe a connection. Answered by [`Answer::Connection`].
    Connection {
        /// Number of its client.
        client: usize,
    },
    /// Describe a room. Answered by [`Answer::Room`].
    Room {
        /// Name.
        name: String,
    },
    /// List the connections of a user. Answered by [`Answer::User`].
    User {
        /// Id.
        name: String,
    },
    /// Advance the clock.
    Advance {
        /// Whole milliseconds.
        milliseconds: u64,
        /// Nanoseconds of the last part of a millisecond.
        nanoseconds: u32,
    },
    /// Ask the channel, as the operator's API does. Answered by [`Answer::Outside`].
    Outside {
        /// Message.
        message: Value,
    },
    /// Script the answer to requests for a URL.
    HttpAnswer {
        /// URL, or the beginning of some with `*` after it.
        url: String,
        /// Answer.
        answer: HttpAnswer,
    },
    /// Make a token valid.
    Token {
        /// Token.
        token: String,
        /// Its claims, as JSON.
        claims: String,
    },
    /// Take another channel out of service.
    RemoveChannel {
        /// Name.
        name: String,
    },
    /// Serve other code.
    Reload {
        /// Path of the component.
        file: PathBuf,
    },
    /// Return the value of a key of the store. Answered by [`Answer::Stored`].
    Stored {
        /// Key.
        key: String,
    },
    /// Set the value of a key of the store.
    Store {
        /// Key.
        key: String,
        /// Value.
        value: HexBytes,
    },
}

/// An action of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Send a text message.
    Text(String),
    /// Send a binary message.
    Binary(HexBytes),
    /// Send a ping.
    Ping(HexBytes),
    /// Send a pong.
    Pong(HexBytes),
    /// Send a close frame.
    Close(u16, String),
    /// Vanish without a close frame.
    Vanish,
    /// Break a rule.
    Violate(Violation),
}

/// A rule that a client breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Violation {
    /// Send a frame that RFC 6455 does not define.
    ProtocolError,
    /// Send a text message that is not UTF-8.
    InvalidUtf8,
    /// Announce a message over `max_message_bytes`.
    MessageTooBig,
}

/// The configuration of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Settings of the plugin.
    pub settings: BTreeMap<String, String>,
    /// Settings that must not be shown.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// Limits of the channel.
    pub limits: Limits,
    /// Channels to whose rooms it may publish.
    pub publish_to: Vec<String>,
    /// Rules by which rooms keep messages.
    #[serde(default)]
    pub history: Vec<HistoryRule>,
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
        body: HexBytes,
    },
    /// A failure of the call.
    Failure {
        /// Code of a refused host call.
        code: String,
        /// Sentence for people.
        detail: String,
    },
}

/// The host's line after a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Answer, or a sentence about why the command has failed.
    pub answer: Result<Answer, String>,
    /// Events since the last command, in their order.
    pub happened: Vec<Happened>,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The command is done, without a result.
    Done,
    /// The component is loaded.
    Started {
        /// Name of the channel.
        channel: String,
        /// Path patterns.
        paths: Vec<String>,
    },
    /// The client's request was answered with 101.
    Connected {
        /// Number of the client.
        client: usize,
        /// Id of the connection; `None` if the channel has refused it by a close frame.
        id: Option<String>,
        /// Headers of the response.
        headers: Headers,
    },
    /// The client's request was answered with another status.
    Refused {
        /// Status.
        status: u16,
        /// Headers of the response.
        headers: Headers,
        /// Body.
        body: HexBytes,
    },
    /// The description of a connection.
    Connection {
        /// Session, as last committed.
        session: HexBytes,
        /// Rooms that it is in.
        joined: Vec<String>,
        /// User that it belongs to.
        user: Option<String>,
        /// Labels.
        labels: Vec<(String, String)>,
    },
    /// The description of a room.
    Room {
        /// Ids of its members.
        members: Vec<String>,
        /// State.
        state: Option<HexBytes>,
        /// Keys that are present.
        present: Vec<String>,
    },
    /// The connections of a user.
    User {
        /// Their ids.
        connections: Vec<String>,
    },
    /// The channel's answer to a message from outside.
    Outside {
        /// HTTP status.
        status: u16,
        /// Body.
        body: Value,
    },
    /// The value of a key of the store.
    Stored {
        /// Value; `None` if there is none.
        value: Option<HexBytes>,
    },
}

/// An event since the last command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// A client got a message or a ping.
    Received {
        /// Number of the client.
        client: usize,
        /// Message.
        message: Message,
    },
    /// A client got a close frame.
    Closed {
        /// Number of the client.
        client: usize,
        /// Code.
        code: u16,
        /// Reason.
        reason: String,
    },
    /// A client's connection has ended.
    Ended {
        /// Number of the client.
        client: usize,
    },
    /// The plugin logged or printed a line.
    Logged {
        /// Level, such as `info`.
        level: String,
        /// Line.
        message: String,
        /// Fields, by name.
        fields: Vec<(String, String)>,
    },
    /// The host warned its operator, in a sentence.
    Warned(String),
    /// The plugin sent a request.
    Requested {
        /// Method.
        method: String,
        /// URL.
        url: String,
        /// Headers.
        headers: Headers,
        /// Body.
        body: HexBytes,
    },
    /// The plugin published to a room of another channel.
    Published {
        /// Name of the other channel.
        channel: String,
        /// Name of the room.
        room: String,
        /// Message.
        message: Message,
    },
}

/// A message to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(HexBytes),
    /// A ping.
    Ping(HexBytes),
}

/// Returns a target as clients write it: characters that no target may have are percent-encoded.
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

/// Returns true if an answer that is scripted for a URL is meant for a request to another. One that
/// ends with `*` is for all that begin like it.
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
                headers: vec![("x-a".to_owned(), HexBytes(vec![0, 255]))],
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
