//! NATS.

use crate::Server;

/// A server.
pub struct NatsServer {
    pub server: Server,
}

impl NatsServer {
    /// Starts a server with more arguments.
    pub fn start(more: &[&str]) -> NatsServer {
        let server = Server::start("WHARF_NATS_SERVER", |port, folder| {
            let port = port.to_string();
            let folder = folder.join("jetstream").display().to_string();
            let common = ["--addr", "127.0.0.1", "--port", &port, "--store_dir", &folder];
            common.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
        });
        NatsServer { server }
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }
}
