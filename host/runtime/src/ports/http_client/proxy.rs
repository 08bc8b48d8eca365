//! Proxies for requests, as the usual variables of the environment name them.

use std::io;

use http::header::HeaderValue;
use http::uri::{Scheme, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::without_brackets;

/// Longest answer of a proxy to a request for a tunnel, in bytes.
const MAX_ANSWER_BYTES: usize = 8 * 1024;

/// The rules that the environment has for proxies.
#[derive(Debug)]
pub(super) struct Proxies(Matcher);

/// The proxy for a request.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    /// Host, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Name and password, as a header has them.
    pub authorization: Option<HeaderValue>,
}

impl Proxies {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not, as curl does.
    pub(super) fn from_environment() -> Proxies {
        Proxies(Matcher::from_env())
    }

    #[cfg(test)]
    fn of(http: &str, https: &str, no: &str) -> Proxies {
        Proxies(
            Matcher::builder()
                .http(http.to_owned())
                .https(https.to_owned())
                .no(no.to_owned())
                .build(),
        )
    }

    /// Returns the proxy for this address; `None` if it is reached directly.
    ///
    /// # Errors
    ///
    /// The proxy is not one of plain HTTP.
    pub(super) fn of_request(&self, uri: &Uri) -> io::Result<Option<Proxy>> {
        let Some(proxy) = self.0.intercept(uri) else { return Ok(None) };
        let address = proxy.uri();
        let host = address.host().filter(|_| address.scheme() == Some(&Scheme::HTTP));
        let Some(host) = host else {
            let scheme = address.scheme_str().unwrap_or_default();
            let why = format!("a proxy of the kind {scheme} is not supported, only http://");
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        };
        Ok(Some(Proxy {
            host: without_brackets(host).to_owned(),
            port: address.port_u16().unwrap_or(80),
            authorization: proxy.basic_auth().cloned(),
        }))
    }
}

impl Proxy {
    /// Asks the proxy for a tunnel to a host and port.
    ///
    /// # Errors
    ///
    /// It refuses, or says something else.
    pub(super) async fn tunnel(&self, stream: &mut TcpStream, target: &str) -> io::Result<()> {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= MAX_ANSWER_BYTES {
                return Err(io::Error::other("the proxy's answer is too long"));
            }
            // The bytes behind the head belong to the tunnel, so they must not be read here.
            answer.push(stream.read_u8().await?);
        }
        let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let status = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
        match status {
            Some([b'2', ..]) => Ok(()),
            _ => {
                let line = String::from_utf8_lossy(line);
                Err(io::Error::other(format!("the proxy opens no tunnel: {line}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_for_its_scheme_and_not_for_exceptions() {
        let proxies =
            Proxies::of("http://ann:secret@proxy.example:3128", "", "local.example,10.0.0.0/8");
        let of = |uri: &str| proxies.of_request(&uri.parse().expect(uri)).expect("a plain proxy");
        let proxy = of("http://api.example/").expect("a proxy");
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
        assert_eq!(proxy.authorization.expect("a password"), "Basic YW5uOnNlY3JldA==");
        for direct in ["https://api.example/", "http://local.example/", "http://10.1.2.3/"] {
            assert!(of(direct).is_none(), "{direct}");
        }
    }

    #[test]
    fn a_proxy_of_another_kind_is_an_error() {
        let proxies = Proxies::of("socks5://proxy.example:1080", "", "");
        let uri = "http://api.example/".parse().expect("an address");
        let error = proxies.of_request(&uri).expect_err("not supported");
        assert!(error.to_string().contains("socks5"), "{error}");
    }
}
