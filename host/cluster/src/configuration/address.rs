//! The spelling of addresses. No error shows the part of an address that may have a password in it.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::{Address, NatsAddress, NatsLogin, RedisAddress, RedisSetup, Secret, Tls};
use crate::error::ConfigurationError;

const SCHEMES: &str = "redis://, rediss://, redis+cluster://, redis+sentinel://, nats://, tls://, disk:// or memory://";

/// Largest number of servers in an address.
const MAX_SERVERS: usize = 32;

impl Address {
    /// Reads an address of the form `SCHEME://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…][/DATABASE][?NAME=VALUE&…]`.
    ///
    /// # Errors
    ///
    /// It is not valid.
    pub fn parse(text: &str) -> Result<Address, ConfigurationError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong(format!("the address of an engine begins with {SCHEMES}"));
        };
        let (setup, tls) = match scheme {
            "memory" => return Ok(Address::Memory),
            "disk" if rest.is_empty() => return wrong("disk:// needs a folder".to_owned()),
            "disk" => return Ok(Address::Disk { folder: PathBuf::from(rest) }),
            "redis" => (Some(RedisSetup::Single), false),
            "rediss" => (Some(RedisSetup::Single), true),
            "redis+cluster" => (Some(RedisSetup::Cluster), false),
            "rediss+cluster" => (Some(RedisSetup::Cluster), true),
            "redis+sentinel" => (Some(RedisSetup::Sentinel { master: String::new() }), false),
            "rediss+sentinel" => (Some(RedisSetup::Sentinel { master: String::new() }), true),
            "nats" => (None, false),
            "tls" => (None, true),
            _ => {
                return wrong(format!(
                    "`{}://` is no engine; use {SCHEMES}",
                    scheme.escape_debug()
                ));
            }
        };
        let mut parts = Parts::split(rest, if setup.is_some() { 6_379 } else { 4_222 })?;
        let authorities = parts.take("ca").map(PathBuf::from);
        if authorities.is_some() && !tls {
            return wrong("`ca` needs an address with encryption: rediss:// or tls://".to_owned());
        }
        let tls = tls.then_some(Tls { authorities });
        let address = match setup {
            Some(setup) => Address::Redis(parts.redis(setup, tls)?),
            None => Address::Nats(parts.nats(tls)?),
        };
        match parts.settings.first() {
            Some((name, _)) => {
                wrong(format!("the address has no setting `{}`", name.escape_debug()))
            }
            None => Ok(address),
        }
    }
}

/// The parts of an address behind its scheme.
struct Parts {
    user: Option<String>,
    password: Option<Secret>,
    servers: Vec<(String, u16)>,
    database: Option<String>,
    settings: Vec<(String, String)>,
}

impl Parts {
    fn split(text: &str, port: u16) -> Result<Parts, ConfigurationError> {
        let (text, settings) = text.split_once('?').unwrap_or((text, ""));
        // A password may have any character but `?`, also `@` and `/`.
        let (login, text) = match text.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, text),
        };
        let (servers, database) = match text.split_once('/') {
            Some((servers, database)) => (servers, Some(database)),
            None => (text, None),
        };
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
            None => (None, None),
        };
        let user = user.map(decoded).transpose()?.filter(|user| !user.is_empty());
        let password = password.map(decoded).transpose()?.map(|password| Secret::new(&password));
        let servers: Vec<_> = servers
            .split(',')
            .map(|server| host_and_port(server, port))
            .collect::<Result<_, _>>()?;
        if servers.len() > MAX_SERVERS {
            return wrong(format!("the address has more than {MAX_SERVERS} servers"));
        }
        let pairs = settings.split('&').filter(|pair| !pair.is_empty());
        let settings = pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decoded(name)?, decoded(value)?))
            })
            .collect::<Result<_, _>>()?;
        let database = database.filter(|database| !database.is_empty()).map(str::to_owned);
        Ok(Parts { user, password, servers, database, settings })
    }

    /// Takes a setting.
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.settings.iter().position(|(known, _)| known == name)?;
        Some(self.settings.swap_remove(at).1)
    }

    fn redis(
        &mut self,
        setup: RedisSetup,
        tls: Option<Tls>,
    ) -> Result<RedisAddress, ConfigurationError> {
        let setup = match setup {
            RedisSetup::Single if self.servers.len() > 1 => {
                return wrong(
                    "redis:// has one server; use redis+cluster:// or redis+sentinel:// for several"
                        .to_owned(),
                );
            }
            RedisSetup::Sentinel { .. } => match self.take("master") {
                Some(master) if !master.is_empty() => RedisSetup::Sentinel { master },
                _ => {
                    return wrong(
                        "redis+sentinel:// needs the primary's name, as in `?master=mymaster`"
                            .to_owned(),
                    );
                }
            },
            setup => setup,
        };
        let database = match self.database.take().map(|text| text.parse::<u32>()) {
            None => 0,
            Some(Ok(number)) => number,
            Some(Err(_)) => {
                return wrong("behind the `/` of redis:// is the database's number".to_owned());
            }
        };
        if database != 0 && setup == RedisSetup::Cluster {
            return wrong("redis+cluster:// has database 0 only".to_owned());
        }
        Ok(RedisAddress {
            setup,
            servers: std::mem::take(&mut self.servers),
            tls,
            user: self.user.take(),
            password: self.password.take(),
            database,
        })
    }

    fn nats(&mut self, tls: Option<Tls>) -> Result<NatsAddress, ConfigurationError> {
        if self.database.is_some() {
            return wrong("nats:// has nothing behind a `/`".to_owned());
        }
        let file = self.take("credentials").map(PathBuf::from);
        let login = match (self.user.take(), self.password.take(), file) {
            (None, None, None) => NatsLogin::Nobody,
            (None, None, Some(file)) => NatsLogin::File(file),
            (Some(user), Some(password), None) => NatsLogin::User(user, password),
            (Some(token), None, None) => NatsLogin::Token(Secret::new(&token)),
            (None, Some(_), None) => {
                return wrong("nats:// has a password without a user".to_owned());
            }
            _ => return wrong("nats:// has a user and also `credentials`; one will do".to_owned()),
        };
        let replicas = match self.take("replicas").map(|text| text.parse::<u8>()) {
            None => 1,
            Some(Ok(number @ 1..=5)) => number,
            Some(_) => return wrong("`replicas` is a number from 1 to 5".to_owned()),
        };
        Ok(NatsAddress { servers: std::mem::take(&mut self.servers), tls, login, replicas })
    }
}

fn host_and_port(text: &str, default: u16) -> Result<(String, u16), ConfigurationError> {
    let (host, port) = match text.strip_prefix('[') {
        // An address of IPv6.
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, rest)) => match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return wrong("a server has more behind its `]`".to_owned()),
            },
            None => return wrong("a server has a `[` without its `]`".to_owned()),
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port.map(str::parse::<u16>) {
        None => default,
        Some(Ok(port)) if port != 0 => port,
        Some(_) => return wrong("the port of a server is no number from 1 to 65535".to_owned()),
    };
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%');
    if host.is_empty() || !host.bytes().all(is_fit) {
        return wrong("the host of a server is empty or no name".to_owned());
    }
    Ok((host.to_owned(), port))
}

fn decoded(text: &str) -> Result<String, ConfigurationError> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => wrong("an escape with `%` in the address is no UTF-8".to_owned()),
    }
}

fn wrong<T>(sentence: String) -> Result<T, ConfigurationError> {
    Err(ConfigurationError(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redis(text: &str) -> RedisAddress {
        match Address::parse(text) {
            Ok(Address::Redis(address)) => address,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn redis_has_three_setups() {
        let single = redis("rediss://me:p%40ss@db.example:1234/3?ca=ca.pem");
        assert_eq!(single.servers, [("db.example".to_owned(), 1234)]);
        assert_eq!((single.user.as_deref(), single.database), (Some("me"), 3));
        assert_eq!(single.password.expect("a password").reveal(), "p@ss");
        assert_eq!(single.tls.expect("TLS").authorities, Some(PathBuf::from("ca.pem")));
        let cluster = redis("redis+cluster://a,b:7000,[::1]:7001");
        let hosts = [("a".to_owned(), 6379), ("b".to_owned(), 7000), ("::1".to_owned(), 7001)];
        assert_eq!((cluster.setup, &cluster.servers[..]), (RedisSetup::Cluster, &hosts[..]));
        let sentinel = redis("redis+sentinel://:pw@s1:26379,s2:26379?master=m");
        assert_eq!(sentinel.setup, RedisSetup::Sentinel { master: "m".to_owned() });
        assert_eq!(sentinel.user, None);
        assert!(sentinel.password.is_some());
    }

    #[test]
    fn nats_has_four_logins() {
        let login = |text| match Address::parse(text) {
            Ok(Address::Nats(address)) => address.login,
            other => panic!("{other:?}"),
        };
        assert_eq!(login("nats://h"), NatsLogin::Nobody);
        assert_eq!(login("nats://u:p@h"), NatsLogin::User("u".to_owned(), Secret::new("p")));
        assert_eq!(login("tls://t@h:1"), NatsLogin::Token(Secret::new("t")));
        let file = NatsLogin::File(PathBuf::from("/a.creds"));
        assert_eq!(login("nats://h?credentials=/a.creds&replicas=3"), file);
    }

    #[test]
    fn refusals_name_the_mend_and_no_secret() {
        let cases = [
            ("redis:/h", "begins with redis://"),
            ("http://u:hunter2@h", "`http://` is no engine"),
            ("redis://u:hunter2@h:x", "port"),
            ("redis://u:hunter2@", "host"),
            ("redis://u:hunter2@a,b", "redis+cluster://"),
            ("redis+sentinel://u:hunter2@a", "?master=mymaster"),
            ("redis+cluster://u:hunter2@a/1", "database 0"),
            ("redis://u:hunter2@a/x", "database's number"),
            ("redis://u:hunter2@a?ca=x", "rediss://"),
            ("redis://u:hunter2@a?cat=x", "no setting `cat`"),
            ("redis://u:hunter2%ff@a", "no UTF-8"),
            ("nats://u:hunter2@h?credentials=f", "one will do"),
            ("nats://u:hunter2@h?replicas=9", "1 to 5"),
            ("disk://", "folder"),
        ];
        for (text, part) in cases {
            let error = Address::parse(text).expect_err(text).to_string();
            assert!(error.contains(part) && !error.contains("hunter2"), "{text}: {error}");
        }
        let address = format!("{:?}", Address::parse("redis://u:hunter2@h"));
        assert!(!address.contains("hunter2"), "{address}");
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_refused(text in "(redis|nats|redis\\+sentinel)://.{0,60}") {
            let _ = Address::parse(&text);
        }
    }
}
