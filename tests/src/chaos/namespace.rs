//! A network namespace with one host in it, and two links to it: one for its clients, and one to the engine.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A namespace. It and its links end with this value.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// This machine's end of the link for clients, and that of the link to the engine.
    links: [String; 2],
    /// The third part of the addresses on the link for clients; the other link has the next one.
    net: u8,
}

impl Namespace {
    /// Makes a namespace. Says why where that is not allowed.
    pub fn create() -> Result<Namespace, String> {
        /// Namespaces of this process so far.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        // Names of links have 15 characters at most, with the two of their other ends.
        let short = format!("{}{number}", process % 100_000);
        let links = [format!("whc-{short}"), format!("whe-{short}")];
        let net = u8::try_from(2 * ((process + number) % 126)).expect("it is below 252");
        let namespace = Namespace { name: format!("wharf-chaos-{process}-{number}"), links, net };
        namespace.set_up()?;
        Ok(namespace)
    }

    /// Returns the words in front of a program that is to run in it.
    pub fn wrapper(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Returns the address inside at which clients reach the host.
    pub fn inside(&self) -> IpAddr {
        self.address(0, 2)
    }

    /// Returns the address outside at which the host reaches its engine.
    pub fn outside(&self) -> IpAddr {
        self.address(1, 1)
    }

    /// Takes the link to the engine down, or up again.
    pub fn cut(&self, is_cut: bool) {
        let state = if is_cut { "down" } else { "up" };
        let set = ip(&["link", "set", &self.links[1], state]);
        set.expect("a link that was made is set");
    }

    /// Returns an address of the range that is meant for tests of networks.
    fn address(&self, link: u8, end: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(198, 18, self.net + link, end))
    }

    fn set_up(&self) -> Result<(), String> {
        let name = self.name.as_str();
        ip(&["netns", "add", name])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        for (link, number) in self.links.iter().zip(0..) {
            let peer = format!("{link}-p");
            let (peer, link) = (peer.as_str(), link.as_str());
            let outside = format!("{}/30", self.address(number, 1));
            let inside = format!("{}/30", self.address(number, 2));
            ip(&["link", "add", link, "type", "veth", "peer", "name", peer])?;
            ip(&["link", "set", peer, "netns", name])?;
            ip(&["address", "add", &outside, "dev", link])?;
            ip(&["link", "set", link, "up"])?;
            ip(&["-n", name, "address", "add", &inside, "dev", peer])?;
            ip(&["-n", name, "link", "set", peer, "up"])?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for link in &self.links {
            // It may not have been made.
            let _ = ip(&["link", "delete", link]);
        }
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let line = format!("`ip {}`", arguments.join(" "));
    match Command::new("ip").args(arguments).output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => {
            Err(format!("{line}: {}", String::from_utf8_lossy(&stderr).trim()))
        }
        Err(error) => Err(format!("{line}: {error}")),
    }
}
