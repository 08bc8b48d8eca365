//! A real proxy with TLS in front of hosts, with the samples of `deploy/` as its configuration.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderName;
use tokio_tungstenite::tungstenite::{Error, Message};

pub use crate::backend::{authority, certificates};
use crate::{Log, eventually, soon};

/// Socket in its folder by which HAProxy tells of its servers.
const STATISTICS: &str = "statistics.sock";

/// A program that is a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// nginx.
    Nginx,
    /// Caddy.
    Caddy,
    /// HAProxy.
    Haproxy,
    /// HAProxy that passes TLS on, behind the PROXY protocol.
    HaproxyTls,
}

impl Program {
    /// Returns its name, the variable with its path, and its sample in `deploy/`.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Program::Nginx => ("nginx", "WHARF_NGINX", "nginx.conf"),
            Program::Caddy => ("caddy", "WHARF_CADDY", "Caddyfile"),
            Program::Haproxy => ("haproxy", "WHARF_HAPROXY", "haproxy.cfg"),
            Program::HaproxyTls => ("haproxy", "WHARF_HAPROXY", "haproxy-tls.cfg"),
        }
    }

    /// Returns its path. `cargo xtask test` finds or installs it.
    fn path(self) -> PathBuf {
        let (name, variable, _) = self.names();
        // A name is looked for on the PATH.
        std::env::var_os(variable).map_or_else(|| PathBuf::from(name), PathBuf::from)
    }
}

/// A running proxy. It ends with this value.
#[derive(Debug)]
pub struct Balancer {
    child: Child,
    /// Address on which it serves `https://` and `wss://`.
    pub address: SocketAddr,
    folder: TempDir,
    log: Log,
}

impl Balancer {
    /// Starts a proxy in front of hosts, which are addresses or `unix:` and a path. Its configuration is the sample
    /// with these changes: each text in it is replaced by the other one, and must be there.
    pub async fn start(program: Program, hosts: &[String], changes: &[(&str, &str)]) -> Balancer {
        let folder = tempfile::tempdir().expect("a folder");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let (name, _, sample) = program.names();
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(sample);
        let text = std::fs::read_to_string(&place).expect("a sample");
        let file = folder.path().join(sample);
        let text = configuration(program, &text, address, hosts, folder.path());
        std::fs::write(&file, replaced(&text, changes)).expect("a configuration");
        let mut command = Command::new(program.path());
        match program {
            Program::Nginx => {
                command.arg("-e").arg("stderr").arg("-p").arg(folder.path()).arg("-c").arg(&file)
            }
            Program::Caddy => {
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file)
            }
            Program::Haproxy | Program::HaproxyTls => command.args(["-db", "-f"]).arg(&file),
        };
        // Caddy keeps files in its home.
        command.current_dir(folder.path()).env("HOME", folder.path());
        command.env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| {
            panic!("{name} does not start: {error}; run `cargo xtask test`")
        });
        let log = Log::collect(child.stderr.take().expect("standard error is a pipe"));
        let mut balancer = Balancer { child, address, folder, log };
        eventually("the proxy to listen", async || {
            let ended = balancer.child.try_wait().expect("it can be waited for");
            assert!(ended.is_none(), "{name} has ended: {ended:?}");
            TcpStream::connect(address).await.ok()
        })
        .await;
        balancer
    }

    /// Connects a client from an address of this machine, with further headers.
    ///
    /// # Errors
    ///
    /// There is no `101`: the reason in words.
    pub async fn connect(
        &self,
        from: IpAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<SecureClient, String> {
        connect(self.address, from, path, headers).await
    }

    /// Asks HAProxy for the state of each server, such as `UP`, and the outcome of its last check, such as `L7OK`.
    pub async fn servers(&self) -> Vec<(String, String)> {
        let path = self.folder.path().join(STATISTICS);
        let mut socket = UnixStream::connect(path).await.expect("its socket");
        socket.write_all(b"show stat\n").await.expect("it reads");
        let mut text = String::new();
        soon("its answer", socket.read_to_string(&mut text)).await.expect("it answers");
        let mut lines = text.trim_start_matches("# ").lines();
        let names: Vec<&str> = lines.next().expect("names").split(',').collect();
        let column = |name: &str| names.iter().position(|its| *its == name).expect("a column");
        let (server, status, check) = (column("svname"), column("status"), column("check_status"));
        let rows = lines.map(|line| line.split(',').collect::<Vec<_>>());
        let servers = rows.filter(|row| row.len() > check && !row[check].is_empty());
        let servers = servers.filter(|row| !["FRONTEND", "BACKEND"].contains(&row[server]));
        servers.map(|row| (row[status].to_owned(), row[check].to_owned())).collect()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // The workers of nginx end with their master only if it is asked to stop.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.log.print_tail("the proxy's log");
        }
    }
}

/// Connects a client through a proxy as [`Balancer::connect`] does.
///
/// # Errors
///
/// The errors are those of that.
pub async fn connect(
    address: SocketAddr,
    from: IpAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<SecureClient, String> {
    let request = format!("wss://localhost:{}{path}", address.port());
    let mut request = request.into_client_request().expect("a request");
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a header's name");
        request.headers_mut().append(name, value.parse().expect("a header's value"));
    }
    let opened = async {
        let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
        socket.bind(SocketAddr::new(from, 0)).map_err(|error| error.to_string())?;
        let socket = socket.connect(address).await.map_err(|error| error.to_string())?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = connector().connect(name, socket).await.map_err(|error| error.to_string())?;
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((stream, _)) => Ok(SecureClient { stream }),
            Err(Error::Http(response)) => Err(format!("status {}", response.status())),
            Err(error) => Err(error.to_string()),
        }
    };
    soon("a handshake through the proxy", opened).await
}

/// Returns what trusts the authority of the tests' certificates.
fn connector() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(authority()).expect("a certificate");
    roots.add(authority).expect("a certificate");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A WebSocket client over TLS.
#[derive(Debug)]
pub struct SecureClient {
    stream: WebSocketStream<TlsStream<TcpStream>>,
}

impl SecureClient {
    /// Sends text.
    pub async fn send(&mut self, text: &str) {
        soon("a message to be sent", self.stream.send(Message::text(text)))
            .await
            .expect("it is open");
    }

    /// Sends text and returns the text that comes next; `None` if the connection ends.
    pub async fn ask(&mut self, text: &str) -> Option<String> {
        soon("a message to be sent", self.stream.send(Message::text(text))).await.ok()?;
        self.text().await
    }

    /// Returns the text that comes next; `None` if the connection ends.
    pub async fn text(&mut self) -> Option<String> {
        loop {
            match soon("a message or the end", self.stream.next()).await {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return None,
            }
        }
    }
}

/// Returns a sample with the addresses and files of a test.
fn configuration(
    program: Program,
    sample: &str,
    address: SocketAddr,
    hosts: &[String],
    folder: &Path,
) -> String {
    let [certificate, key] =
        ["server.pem", "server.key"].map(|name| certificates().join(name).display().to_string());
    match program {
        Program::Nginx => {
            let mut servers = String::new();
            for host in hosts {
                writeln!(servers, "server {host} max_fails=0;").expect("text");
            }
            let text = replaced(
                sample,
                &[
                    ("server unix:/run/wharf.sock max_fails=0;", &servers),
                    ("listen 443 ssl;", &format!("listen {address} ssl;")),
                    ("server_name example.com;", "server_name localhost;"),
                    ("/etc/ssl/example.com.pem", &certificate),
                    ("/etc/ssl/example.com.key", &key),
                ],
            );
            // The rest is in the main file of each distribution. Its workers must reach the hosts' sockets.
            let user = if is_root() { "user root;" } else { "" };
            format!(
                "daemon off;\npid nginx.pid;\nerror_log stderr notice;\n{user}\nworker_processes 2;\n\
                 events {{ worker_connections 512; }}\nhttp {{\nclient_body_temp_path body;\nproxy_temp_path proxy;\n\
                 fastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n{text}\n}}\n"
            )
        }
        Program::Caddy => {
            let hosts: Vec<String> =
                hosts.iter().map(|host| host.replace("unix:", "unix/")).collect();
            let site = format!(
                "https://localhost:{} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}",
                address.port()
            );
            let text = replaced(
                sample,
                &[("example.com {", &site), ("unix//run/wharf.sock", &hosts.join(" "))],
            );
            format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{text}")
        }
        Program::HaproxyTls => {
            let text = replaced(sample, &[("bind :443", &format!("bind {address}"))]);
            of_haproxy(&text, hosts, folder)
        }
        Program::Haproxy => {
            let both = folder.join("both.pem");
            let text =
                [&certificate, &key].map(|file| std::fs::read_to_string(file).expect("a file"));
            std::fs::write(&both, text.concat()).expect("a file");
            let text = replaced(
                sample,
                &[
                    ("bind :443 ssl", &format!("bind {address} ssl")),
                    ("/etc/haproxy/example.com.pem", &both.display().to_string()),
                ],
            );
            of_haproxy(&text, hosts, folder)
        }
    }
}

/// Returns a sample for HAProxy with two servers, which may be one host.
fn of_haproxy(sample: &str, hosts: &[String], folder: &Path) -> String {
    let server = |number: usize| hosts[number % hosts.len()].replace("unix:", "unix@");
    let statistics = folder.join(STATISTICS);
    replaced(
        sample,
        &[
            // As few as there may be files here.
            ("maxconn 20000", &format!("maxconn 200\nstats socket {}", statistics.display())),
            ("10.0.0.11:4000", &server(0)),
            ("10.0.0.12:4000", &server(1)),
        ],
    )
}

/// Replaces each text by another one.
fn replaced(text: &str, changes: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "the sample has no {from:?} any more");
        text = text.replace(from, to);
    }
    text
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process has a status");
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}
