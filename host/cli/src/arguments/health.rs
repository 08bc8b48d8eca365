//! The arguments of `wharf health`.

use clap::{Arg, ArgAction, ArgMatches};

use super::configuration_file;

/// A check of a running host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCommand {
    /// Address of the host, with or without a path; that of the configuration if there is none.
    pub url: Option<String>,
    /// Ask if it is ready for clients, and not only if it is alive.
    pub is_ready: bool,
}

/// Reads the command. `None` for all others.
pub(super) fn read(name: &str, matches: &ArgMatches) -> Option<HealthCommand> {
    (name == "health").then(|| HealthCommand {
        url: matches.get_one::<String>("url").cloned(),
        is_ready: matches.get_flag("ready"),
    })
}

/// Returns the parser of the command.
pub(super) fn subcommand() -> clap::Command {
    clap::Command::new("health")
        .about("Ask a running host if it is alive, or ready for clients")
        .long_about(
            "Ask a running host if it is alive (/healthz), or with --ready if it is ready for clients (/readyz). It is \
             for containers and supervisors on machines without other clients: the exit code is 0 if it is, and 1 if \
             it is not or does not answer within 5 seconds.",
        )
        .after_help(
            "Examples:\n  wharf health\n  wharf health --ready --config /etc/wharf/wharf.toml\n  \
             wharf health http://127.0.0.1:4001/readyz\n  wharf health unix:/run/wharf.sock",
        )
        .arg(Arg::new("url").value_name("URL").help_heading("The host").help(
            "The address of the host: http://HOST:PORT, https://HOST or unix:PATH; a URL may have a path of its own \
             [default: one of `listen` or `operator_listen` of the configuration that answers in plain HTTP]",
        ))
        .arg(
            Arg::new("ready")
                .long("ready")
                .action(ArgAction::SetTrue)
                .help("Ask if it is ready: all plugins serve, and it does not stop"),
        )
        .arg(configuration_file().help_heading("The host"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Command;
    use crate::arguments::tests::read;

    #[test]
    fn a_check_is_of_an_address_or_of_the_configurations_host() {
        let health = |arguments: &[&str]| match read(arguments, &[("WHARF_LISTEN", "unix:w.sock")])
        {
            Ok(Command::Health(command, config)) => (command, config.listen),
            other => panic!("{other:?}"),
        };
        let own = HealthCommand { url: None, is_ready: false };
        assert_eq!(health(&["health"]).0, own);
        assert_eq!(health(&["health"]).1, [wharf_config::Listen::Unix("w.sock".into())]);
        let other = HealthCommand { url: Some("http://h/readyz".to_owned()), is_ready: true };
        // The configuration may be that of another machine.
        let (command, listen) = health(&["health", "--ready", "http://h/readyz"]);
        assert_eq!((command, listen), (other, wharf_config::Config::default().listen));
    }
}
