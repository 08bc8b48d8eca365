//! NATS: one server, and a cluster.

use crate::{Server, free_port};

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

/// Three servers of one cluster.
pub struct NatsCluster {
    pub servers: Vec<NatsServer>,
}

impl NatsCluster {
    pub fn start() -> NatsCluster {
        let ports = [free_port(), free_port(), free_port()];
        let routes = ports.map(|port| format!("nats://127.0.0.1:{port}"));
        let all = routes.join(",");
        let servers = routes.iter().enumerate().map(|(number, route)| {
            let name = format!("server-{number}");
            let more = ["--jetstream", "--server_name", &name, "--cluster_name", "test"];
            let cluster = ["--cluster", route, "--routes", &all];
            NatsServer::start(&[&more[..], &cluster[..]].concat())
        });
        NatsCluster { servers: servers.collect() }
    }
}
