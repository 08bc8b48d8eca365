//! A client of the operator's API.

use std::net::SocketAddr;

use serde_json::Value;
use tempfile::TempDir;

use crate::folder::folder;
use crate::json;
use crate::log::Line;
use crate::raw::{HttpAnswer, Raw};
use crate::server::Wharf;

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
        if method == "POST" {
            headers.push(("Content-Length", &length));
        }
        raw.request(&format!("{method} {path}"), &headers).await;
        // A server that has answered already need not read the rest.
        raw.try_write(body).await;
        raw.answer().await
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
