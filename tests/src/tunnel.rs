//! TLS for clients that speak none: a port of this machine from which connections go on encrypted.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, rustls};

/// An authority that makes certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate in PEM.
    pub pem: String,
}

/// A certificate and its key in PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub pem: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// Makes an authority that nobody knows yet.
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Makes a certificate for these names.
    pub fn issue(&self, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("parameters");
        let pem = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Certificate { pem, key: key.serialize_pem() }
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

/// A client of TLS.
#[derive(Clone)]
pub struct Secure {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Secure {
    /// Makes a client that trusts an authority and asks for a name.
    pub fn new(authority: &Authority, name: &str) -> Secure {
        Secure::with(authority, name, None, &["http/1.1"])
    }

    /// Makes a client that shows a certificate of its own.
    pub fn with_certificate(authority: &Authority, name: &str, own: &Certificate) -> Secure {
        Secure::with(authority, name, Some(own), &["http/1.1"])
    }

    /// Makes a client that wants one of these protocols.
    pub fn with_protocols(authority: &Authority, name: &str, protocols: &[&str]) -> Secure {
        Secure::with(authority, name, None, protocols)
    }

    fn with(
        authority: &Authority,
        name: &str,
        own: Option<&Certificate>,
        protocols: &[&str],
    ) -> Secure {
        let mut roots = RootCertStore::empty();
        let pem = CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("a certificate");
        roots.add(pem).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::from_pem_slice(own.pem.as_bytes()).expect("one");
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![chain], key).expect("a pair")
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        Secure { config: Arc::new(config), name }
    }

    /// Connects to a server, whose certificate must be good.
    ///
    /// # Errors
    ///
    /// The handshake has failed. A server refuses a client's certificate after that, by ending the connection.
    pub async fn handshake(&self, server: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(server).await?;
        self.handshake_on(socket).await
    }

    /// Begins TLS on a socket.
    ///
    /// # Errors
    ///
    /// The errors are those of [`handshake`](Secure::handshake).
    pub async fn handshake_on(&self, socket: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(self.config.clone()).connect(self.name.clone(), socket).await
    }

    /// Opens a port from which each connection goes on to the server with TLS. A connection whose handshake fails
    /// is closed.
    pub async fn tunnel(&self, server: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let secure = self.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let secure = secure.clone();
                tokio::spawn(async move {
                    if let Ok(mut far) = secure.handshake(server).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        address
    }
}
