//! A client of the operator's API.

use std::net::SocketAddr;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::folder::folder;
use crate::json;
use crate::log::Line;
use crate::raw::{HttpAnswer, Raw};
use crate::server::{Wharf, run_in};

/// The token of all servers in tests.
pub const TOKEN: &str = "correct-horse-battery-staple";

/// A server with its operator's API.
#[derive(Debug)]
pub struct Operated {
    /// The server.
    pub wharf: Wharf,
    /// Address of its API.
    pub api: SocketAddr,
}

impl Operated {
    /// Starts a server with these plugins or fixtures; `flags` as for [`Wharf::start`].
    pub async fn start(plugins: &[&str], flags: &[&str]) -> Operated {
        Operated::start_in(folder(plugins), flags).await
    }

    /// Starts a server in a prepared folder. Its `wharf.toml`, if there is one, has tables only.
    pub async fn start_in(folder: TempDir, flags: &[&str]) -> Operated {
        Operated::start_under(&[], folder, flags).await
    }

    /// Starts a server like [`Operated::start_in`], by a program as for [`Wharf::start_under`].
    pub async fn start_under(wrapper: &[&str], folder: TempDir, flags: &[&str]) -> Operated {
        let path = folder.path().join("wharf.toml");
        let tables = std::fs::read_to_string(&path).unwrap_or_default();
        let own = format!("operator_token = \"{TOKEN}\"\noperator_listen = \"127.0.0.1:0\"\n");
        std::fs::write(path, own + &tables).expect("a file");
        let wharf = Wharf::start_under(wrapper, folder, flags).await;
        Operated { api: api(&wharf).await, wharf }
    }

    /// Starts the server again in its folder, like [`Wharf::start_again`].
    pub async fn start_again(&mut self, flags: &[&str]) {
        self.wharf.start_again(flags).await;
        self.api = api(&self.wharf).await;
    }

    /// Sends a request with this line, these headers and this body; `Host` and `Content-Length` are
    /// added.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> HttpAnswer {
        let mut raw = Raw::open(self.api).await;
        let length = body.len().to_string();
        let mut headers = headers.to_vec();
        if method == "POST" || method == "PUT" {
            headers.push(("Content-Length", &length));
        }
        raw.request(&format!("{method} {path}"), &headers).await;
        // A server that has answered already need not read the rest.
        raw.try_write(body).await;
        raw.answer().await
    }

    /// Runs `wharf` with these arguments as a person who has the operator's token, in a folder with these files.
    pub fn command(&self, arguments: &[&str], files: &[(&str, &[u8])]) -> Output {
        command(self.api, arguments, files)
    }

    /// Runs `wharf` like [`Operated::command`], while the test goes on.
    pub async fn command_aside(
        &self,
        arguments: Vec<&'static str>,
        (name, bytes): (&'static str, Vec<u8>),
    ) -> Output {
        let api = self.api;
        let running =
            tokio::task::spawn_blocking(move || command(api, &arguments, &[(name, &bytes)]));
        running.await.expect("it ends")
    }

    /// Deploys bytes to a channel, on all hosts, by the program. Returns its outcome.
    pub fn deploy(&self, channel: &str, bytes: &[u8]) -> Output {
        let file = format!("{channel}.wasm");
        self.command(&["deploy", &file], &[(&file, bytes)])
    }

    /// Asks for a stream of events.
    pub async fn stream(&self, path: &str) -> Stream {
        let mut raw = Raw::open(self.api).await;
        let (name, value) = authorization();
        // In this version of HTTP a body is not in chunks.
        raw.write(format!("GET {path} HTTP/1.0\r\n{name}: {value}\r\n\r\n")).await;
        let answer = raw.answer().await;
        Stream { answer, raw }
    }

    /// Returns the answer to `GET` of a path: status and JSON.
    pub async fn ask(&self, path: &str) -> (u16, Value) {
        answered(self.request("GET", path, &[authorization()], b"").await)
    }

    /// Returns the nodes of the cluster as the server knows them: status and JSON.
    pub async fn nodes(&self) -> (u16, Value) {
        answered(self.request("GET", "/api/nodes", &[authorization()], b"").await)
    }

    /// Returns the answer to `GET` of a path below `/api/channels`: status and JSON.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let path = format!("/api/channels{path}");
        answered(self.request("GET", &path, &[authorization()], b"").await)
    }

    /// Returns the answer to JSON that is posted to a path below `/api/channels`: status and JSON.
    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.post_bytes(path, body.to_string().as_bytes()).await
    }

    /// Posts bytes that may not be JSON.
    pub async fn post_bytes(&self, path: &str, body: &[u8]) -> (u16, Value) {
        let path = format!("/api/channels{path}");
        let headers = [authorization(), ("Content-Type", "application/json")];
        answered(self.request("POST", &path, &headers, body).await)
    }

    /// Returns the status and the code of the error that a path answers to JSON.
    pub async fn refused(&self, path: &str, body: Value) -> (u16, String) {
        code(self.post(path, body).await)
    }
}

/// A stream of events, or the refusal of one.
#[derive(Debug)]
pub struct Stream {
    /// The answer. That of a stream has no body.
    pub answer: HttpAnswer,
    raw: Raw,
}

impl Stream {
    /// Returns the next event, with its name; `None` at the end of the stream.
    pub async fn event(&mut self) -> Option<(String, Value)> {
        loop {
            let block = String::from_utf8(self.raw.until(b"\n\n").await?).expect("UTF-8");
            let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            // Others are comments.
            if let Some(name) = line("event: ") {
                let data = line("data: ").expect("data").parse().expect("JSON");
                return Some((name.to_owned(), data));
            }
        }
    }

    /// Waits for an event of this name that is the wanted one.
    pub async fn wait_for(&mut self, name: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (its, data) = self.event().await.expect("the stream goes on");
            if its == name && is_wanted(&data) {
                return data;
            }
        }
    }
}

fn command(api: SocketAddr, arguments: &[&str], files: &[(&str, &[u8])]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).expect("a file");
    }
    let flag = if arguments.first() == Some(&"deploy") { "--to" } else { "--url" };
    let place = format!("http://{}", api);
    let arguments: Vec<&str> = arguments.iter().copied().chain([flag, &place]).collect();
    let environment = [("WHARF_OPERATOR_TOKEN", TOKEN), ("USER", "ann")];
    run_in(folder.path(), &arguments, &environment)
}

/// Returns the header with the token.
pub fn authorization() -> (&'static str, &'static str) {
    ("Authorization", "Bearer correct-horse-battery-staple")
}

/// Returns the status and the code of an error.
pub fn code((status, body): (u16, Value)) -> (u16, String) {
    assert!(status >= 400, "{status} is no error: {body}");
    assert!(body["error"]["message"].is_string(), "no message: {body}");
    (status, body["error"]["code"].as_str().expect("a code").to_owned())
}

/// Returns status and JSON; every answer must be JSON with the right content type.
pub fn answered(answer: HttpAnswer) -> (u16, Value) {
    assert_eq!(answer.header("content-type"), ["application/json"], "{}", answer.head);
    let body = serde_json::from_slice(&answer.body);
    (answer.status, body.unwrap_or_else(|error| json!({ "no JSON": error.to_string() })))
}

/// Waits for the address of a server's API.
async fn api(wharf: &Wharf) -> SocketAddr {
    let is_it = |line: &Line| line.says("listening for the operator");
    let line = wharf.log.wait_for("the API's address", is_it).await;
    line.str("address").parse().expect("an address")
}
