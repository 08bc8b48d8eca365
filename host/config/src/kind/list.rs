//! Lists of values: text with commas in the environment and in flags, arrays in files.

use std::fmt::Display;

use figment::value::Value;

use super::Kind;
use crate::{AllowedOrigin, HostPattern, Listen, Network};

/// A list; in text its items are separated by commas.
pub(crate) trait List {
    /// An item.
    type Item: Display;

    /// The allowed values, in words that follow "must be".
    const ALLOWED: &'static str;

    /// The placeholder for the value in help.
    const METAVAR: &'static str;

    /// Parses an item.
    fn parse(text: &str) -> Option<Self::Item>;

    /// Returns true for a list that may be set.
    fn is_allowed(_: &[Self::Item]) -> bool {
        true
    }

    /// Writes a list.
    fn write(items: &[Self::Item]) -> toml::Value {
        array(items)
    }
}

impl<L: List> Kind for L {
    type Value = Vec<L::Item>;

    fn read(&self, given: &Value) -> Option<Vec<L::Item>> {
        let items: Vec<L::Item> = match given {
            Value::Array(_, items) => {
                items.iter().map(|item| L::parse(item.as_str()?)).collect::<Option<_>>()?
            }
            _ => {
                let items = given.as_str()?.split(',').map(str::trim);
                items.filter(|item| !item.is_empty()).map(L::parse).collect::<Option<_>>()?
            }
        };
        L::is_allowed(&items).then_some(items)
    }

    fn show(&self, value: &Vec<L::Item>) -> toml::Value {
        L::write(value)
    }

    fn allowed(&self) -> String {
        L::ALLOWED.to_owned()
    }

    fn metavar(&self) -> &'static str {
        L::METAVAR
    }

    fn is_list(&self) -> bool {
        true
    }
}

fn array(items: &[impl Display]) -> toml::Value {
    items.iter().map(|item| toml::Value::String(item.to_string())).collect::<Vec<_>>().into()
}

/// A list of origins.
pub(crate) struct Origins;

impl List for Origins {
    type Item = AllowedOrigin;

    const ALLOWED: &'static str = "`*`, or origins without a path, such as `https://example.com`, \
                                   `http://localhost:3000` or `https://*.example.com`";
    const METAVAR: &'static str = "ORIGIN,…";

    fn parse(text: &str) -> Option<AllowedOrigin> {
        AllowedOrigin::parse(text)
    }
}

/// A list of names of hosts.
pub(crate) struct HostPatterns;

impl List for HostPatterns {
    type Item = HostPattern;

    const ALLOWED: &'static str =
        "names of hosts without a port, such as `example.com` or `*.example.com`, or `*`";
    const METAVAR: &'static str = "NAME,…";

    fn parse(text: &str) -> Option<HostPattern> {
        HostPattern::parse(text)
    }
}

/// Addresses and networks.
pub(crate) struct Networks;

impl List for Networks {
    type Item = Network;

    const ALLOWED: &'static str =
        "IP addresses and networks, such as `127.0.0.1`, `10.0.0.0/8` or `fd00::/8`, or `unix`";
    const METAVAR: &'static str = "ADDRESS,…";

    fn parse(text: &str) -> Option<Network> {
        Network::parse(text)
    }
}

/// Addresses to listen on, at least one. A single one is written as text.
pub(crate) struct Addresses;

impl List for Addresses {
    type Item = Listen;

    const ALLOWED: &'static str = "`localhost` or an IP address, and a port, such as `localhost:4000`, `0.0.0.0:80` or \
         `[::]:4000`, or `unix:` and a path, such as `unix:/run/wharf/wharf.sock`; or several";
    const METAVAR: &'static str = "ADDR:PORT,…";

    fn parse(text: &str) -> Option<Listen> {
        Listen::parse(text.trim())
    }

    fn is_allowed(addresses: &[Listen]) -> bool {
        !addresses.is_empty()
    }

    fn write(addresses: &[Listen]) -> toml::Value {
        match addresses {
            [single] => toml::Value::String(single.to_string()),
            several => array(several),
        }
    }
}
