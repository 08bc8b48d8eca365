//! Lists of values: text with commas in the environment and in flags, arrays in files.

use figment::value::Value;

use super::Kind;
use crate::{AllowedOrigin, HostPattern, Listen, Network};

/// A list; in text its items are separated by commas.
trait List {
    /// An item.
    type Item: std::fmt::Display;

    /// Parses an item.
    fn parse(text: &str) -> Option<Self::Item>;

    /// Reads a list of text, or a text.
    fn read_all(given: &Value) -> Option<Vec<Self::Item>> {
        match given {
            Value::Array(_, items) => {
                items.iter().map(|item| Self::parse(item.as_str()?)).collect()
            }
            _ => {
                let items = given.as_str()?.split(',').map(str::trim);
                items.filter(|item| !item.is_empty()).map(Self::parse).collect()
            }
        }
    }

    /// Writes a list.
    fn show_all(items: &[Self::Item]) -> toml::Value {
        items.iter().map(|item| toml::Value::String(item.to_string())).collect::<Vec<_>>().into()
    }
}

/// A list of origins.
pub(crate) struct Origins;

impl List for Origins {
    type Item = AllowedOrigin;

    fn parse(text: &str) -> Option<AllowedOrigin> {
        AllowedOrigin::parse(text)
    }
}

impl Kind for Origins {
    type Value = Vec<AllowedOrigin>;

    fn read(&self, given: &Value) -> Option<Vec<AllowedOrigin>> {
        Origins::read_all(given)
    }

    fn show(&self, value: &Vec<AllowedOrigin>) -> toml::Value {
        Origins::show_all(value)
    }

    fn allowed(&self) -> String {
        "`*`, or origins without a path, such as `https://example.com`, \
         `http://localhost:3000` or `https://*.example.com`"
            .to_owned()
    }

    fn metavar(&self) -> &'static str {
        "ORIGIN,…"
    }

    fn is_list(&self) -> bool {
        true
    }
}

/// A list of names of hosts.
pub(crate) struct HostPatterns;

impl List for HostPatterns {
    type Item = HostPattern;

    fn parse(text: &str) -> Option<HostPattern> {
        HostPattern::parse(text)
    }
}

impl Kind for HostPatterns {
    type Value = Vec<HostPattern>;

    fn read(&self, given: &Value) -> Option<Vec<HostPattern>> {
        HostPatterns::read_all(given)
    }

    fn show(&self, value: &Vec<HostPattern>) -> toml::Value {
        HostPatterns::show_all(value)
    }

    fn allowed(&self) -> String {
        "names of hosts without a port, such as `example.com` or `*.example.com`, or `*`".to_owned()
    }

    fn metavar(&self) -> &'static str {
        "NAME,…"
    }

    fn is_list(&self) -> bool {
        true
    }
}

/// Addresses and networks.
pub(crate) struct Networks;

impl List for Networks {
    type Item = Network;

    fn parse(text: &str) -> Option<Network> {
        Network::parse(text)
    }
}

impl Kind for Networks {
    type Value = Vec<Network>;

    fn read(&self, given: &Value) -> Option<Vec<Network>> {
        Networks::read_all(given)
    }

    fn show(&self, value: &Vec<Network>) -> toml::Value {
        Networks::show_all(value)
    }

    fn allowed(&self) -> String {
        "IP addresses and networks, such as `127.0.0.1`, `10.0.0.0/8` or `fd00::/8`, or `unix`"
            .to_owned()
    }

    fn metavar(&self) -> &'static str {
        "ADDRESS,…"
    }

    fn is_list(&self) -> bool {
        true
    }
}

/// Addresses to listen on, at least one. A single one is written as text.
pub(crate) struct Addresses;

impl List for Addresses {
    type Item = Listen;

    fn parse(text: &str) -> Option<Listen> {
        Listen::parse(text.trim())
    }
}

impl Kind for Addresses {
    type Value = Vec<Listen>;

    fn read(&self, given: &Value) -> Option<Vec<Listen>> {
        Addresses::read_all(given).filter(|addresses| !addresses.is_empty())
    }

    fn show(&self, value: &Vec<Listen>) -> toml::Value {
        match value.as_slice() {
            [single] => toml::Value::String(single.to_string()),
            several => Addresses::show_all(several),
        }
    }

    fn allowed(&self) -> String {
        "`localhost` or an IP address, and a port, such as `localhost:4000`, `0.0.0.0:80` or \
         `[::]:4000`, or `unix:` and a path, such as `unix:/run/wharf/wharf.sock`; or several"
            .to_owned()
    }

    fn metavar(&self) -> &'static str {
        "ADDR:PORT,…"
    }

    fn is_list(&self) -> bool {
        true
    }
}
