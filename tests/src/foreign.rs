//! WebSocket clients of other ecosystems: programs that take orders on standard input and report
//! events on standard output, one JSON value a line.
//!
//! | order | action of the client |
//! | --- | --- |
//! | `{"send": "text"}` | send text |
//! | `{"send_hex": "00ff"}` | send binary |
//! | `{"ping": "text"}` | send a ping |
//! | `{"close": [4001, "why"]}` | close |
//!
//! | event | meaning |
//! | --- | --- |
//! | `{"open": "subprotocol"}` | the connection is open |
//! | `{"refused": 404}` | the handshake was answered with this status |
//! | `{"text": "…"}`, `{"hex": "00ff"}` | a message came |
//! | `{"pong": "text"}` | a pong came |
//! | `{"closed": [1000, "why"]}` | the connection has ended; 1006 without a close frame |

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use crate::artefacts::{clients, existing};
use crate::log::Log;

/// A client of another ecosystem, in a process of its own.
#[derive(Debug)]
pub struct ForeignClient {
    child: Child,
    orders: Option<ChildStdin>,
    events: Log,
    errors: Log,
    /// Number of events that were returned already.
    seen: usize,
}

impl ForeignClient {
    /// Starts `ws`, the client that most Node.js programs use.
    pub fn node(url: &str, subprotocols: &[&str]) -> ForeignClient {
        existing(clients().join("node_modules/ws/package.json"));
        let mut command = Command::new("node");
        command.arg(clients().join("client.mjs"));
        ForeignClient::start(command, url, subprotocols)
    }

    /// Starts `wharf.js`, the client for browsers, in Node.js. `clients/wharf.mjs` lists its own
    /// orders and events.
    pub fn wharf_js(url: &str) -> ForeignClient {
        existing(clients().join("node_modules/ws/package.json"));
        let mut command = Command::new("node");
        command.arg(clients().join("wharf.mjs"));
        ForeignClient::start(command, url, &[])
    }

    /// Starts `websockets`, the client that most Python programs use.
    pub fn python(url: &str, subprotocols: &[&str]) -> ForeignClient {
        let python = std::env::var_os("WHARF_PYTHON").unwrap_or_else(|| {
            panic!("WHARF_PYTHON does not name a Python with `websockets`: run `cargo xtask test`")
        });
        let mut command = Command::new(python);
        command.arg(clients().join("client.py"));
        ForeignClient::start(command, url, subprotocols)
    }

    fn start(mut command: Command, url: &str, subprotocols: &[&str]) -> ForeignClient {
        command.arg(url).args(subprotocols);
        ForeignClient::run(command)
    }

    /// Starts a program that takes orders.
    pub(crate) fn run(mut command: Command) -> ForeignClient {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{:?} does not run ({error}): run `cargo xtask test`", command.get_program())
        });
        let events = Log::collect(child.stdout.take().expect("standard output is a pipe"));
        let errors = Log::collect(child.stderr.take().expect("standard error is a pipe"));
        let orders = child.stdin.take();
        ForeignClient { child, orders, events, errors, seen: 0 }
    }

    /// Gives the client an order.
    pub fn order(&mut self, order: Value) {
        let orders = self.orders.as_mut().expect("the client still listens");
        writeln!(orders, "{order}").expect("the client reads its orders");
        orders.flush().expect("the client reads its orders");
    }

    /// Returns the next event.
    pub async fn event(&mut self) -> Value {
        let line = self.events.wait_for_after(self.seen, "an event", |_| true).await;
        self.seen += 1;
        line.fields
    }
}

impl Drop for ForeignClient {
    fn drop(&mut self) {
        // There is nothing to kill if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.events.print_tail("a client's events");
            self.errors.print_tail("a client's errors");
        }
    }
}
