//! The arguments of the commands that ask a running host: `wharf status`, `top`, `logs` and `deploy`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, value_parser};

use super::configuration_file;

/// A command for a running host.
#[derive(Clone, PartialEq, Eq)]
pub struct OperatorCommand {
    /// Address of its API; that of the configuration if there is none.
    pub url: Option<String>,
    /// The operator's token; that of the configuration if there is none.
    pub token: Option<String>,
    /// Write the answer as JSON.
    pub json: bool,
    /// The question, or the act.
    pub action: OperatorAction,
}

impl std::fmt::Debug for OperatorCommand {
    /// Writes it without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let OperatorCommand { url, token: _, json, action } = self;
        f.debug_struct("OperatorCommand")
            .field("url", url)
            .field("json", json)
            .field("action", action)
            .finish_non_exhaustive()
    }
}

/// A question to a running host, or an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorAction {
    /// Show the hosts of the cluster.
    Status,
    /// Show the figures of one host, again and again.
    Top {
        /// Show them once, as plain text.
        once: bool,
    },
    /// Show the log of a channel.
    Logs {
        /// The channel.
        channel: String,
        /// The least severe level.
        level: String,
        /// Show later lines as well, as they come.
        follows: bool,
    },
    /// Send a plugin to all of them.
    Deploy {
        /// The file.
        file: PathBuf,
        /// The channel; that of the file's name if there is none.
        channel: Option<String>,
        /// Try it only.
        is_dry_run: bool,
    },
    /// Show what is deployed.
    List,
    /// Bring the plugin before the present one back.
    Rollback {
        /// The channel.
        channel: String,
        /// Try it only.
        is_dry_run: bool,
    },
    /// Serve the file of the plugin folder again.
    Withdraw {
        /// The channel.
        channel: String,
    },
}

/// Reads the commands for a running host. `None` for all others.
pub(super) fn read(name: &str, matches: &ArgMatches) -> Option<OperatorCommand> {
    let text = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    let is_set = |name: &str| matches.try_get_one::<bool>(name).ok().flatten() == Some(&true);
    let action = match name {
        "status" => OperatorAction::Status,
        "top" => OperatorAction::Top { once: is_set("once") },
        "logs" => OperatorAction::Logs {
            channel: text("channel").unwrap_or_default(),
            level: text("level").unwrap_or_default(),
            follows: !is_set("no_follow"),
        },
        "deploy" => {
            let is_dry_run = is_set("dry_run");
            match (text("rollback"), text("withdraw"), is_set("list")) {
                (Some(channel), ..) => OperatorAction::Rollback { channel, is_dry_run },
                (_, Some(channel), _) => OperatorAction::Withdraw { channel },
                (.., true) => OperatorAction::List,
                _ => OperatorAction::Deploy {
                    file: matches.get_one::<PathBuf>("file").cloned().unwrap_or_default(),
                    channel: text("name"),
                    is_dry_run,
                },
            }
        }
        _ => return None,
    };
    Some(OperatorCommand { url: text("url"), token: text("token"), json: is_set("json"), action })
}

/// Returns the parsers of these commands.
pub(super) fn subcommands() -> [clap::Command; 4] {
    [status(), top(), logs(), deploy()]
}

fn status() -> clap::Command {
    let status = clap::Command::new("status")
        .about("Show the hosts of a cluster, or the one host, and the plugins that they run")
        .long_about(
            "Ask the operator's API of a running host for the hosts of its cluster: their versions, connections, links \
             to the engine, and the plugins that each of them runs. A host in no cluster shows itself.",
        )
        .after_help(
            "Examples:\n  WHARF_OPERATOR_TOKEN=… wharf status\n  \
             wharf status --config /etc/wharf/wharf.toml\n  \
             wharf status --url https://ops.example.com --json",
        );
    with_place(status, "url")
}

fn top() -> clap::Command {
    let top = clap::Command::new("top")
        .about("Show the figures of a host and of its channels, each second")
        .long_about(
            "Show the figures of a running host and of its channels, each second: connections, messages, time and memory \
             of plugins, traps and slow clients. `q` ends it; `n`, `c`, `e`, `p` and `m` sort by name, connections, \
             events, CPU (processor time) and memory. The dashboard on the operator's address shows the same.",
        )
        .after_help(
            "Examples:\n  WHARF_OPERATOR_TOKEN=… wharf top\n  wharf top --once\n  \
             wharf top --url unix:/run/wharf/operator.sock",
        )
        .arg(
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Show the figures of one second as a table, and end; so it is where the output is no terminal"),
        );
    with_place(top, "url")
}

fn logs() -> clap::Command {
    let logs = clap::Command::new("logs")
        .about("Show the last lines of a channel's log, and those that follow")
        .long_about(
            "Show the last lines of a channel's log that a running host has, at most 200, and those that follow: lines of \
             the plugin, and of the host about it. The host has those that its setting `log` lets pass.",
        )
        .after_help(
            "Examples:\n  wharf logs chat\n  wharf logs chat --level warn --no-follow\n  wharf logs chat --json | jq .message",
        )
        .arg(Arg::new("channel").value_name("CHANNEL").required(true).help("The channel"))
        .arg(
            Arg::new("level")
                .long("level")
                .value_name("LEVEL")
                .value_parser(["error", "warn", "info", "debug", "trace"])
                .default_value("trace")
                .help("Only lines that are as severe as this"),
        )
        .arg(
            Arg::new("no_follow")
                .long("no-follow")
                .action(ArgAction::SetTrue)
                .help("End after the last line that there is"),
        );
    with_place(logs, "url")
}

fn deploy() -> clap::Command {
    let deploy = clap::Command::new("deploy")
        .about("Send a plugin to all hosts of a cluster, which swap together or not at all")
        .long_about(
            "Send a plugin to a running host. Each host of its cluster compiles it and tries it. If all of them can run \
             it, all swap within a second; otherwise none does, and the reason of each is shown. It is kept in the \
             cluster, and a host that starts later gets it.\n\
             The channel's file in the plugin folders is not served while its plugin is deployed.",
        )
        .after_help(
            "Examples:\n  wharf deploy chat.wasm --to http://127.0.0.1:4001\n  \
             wharf deploy target/wasm32-wasip2/release/my_chat.wasm --name chat --dry-run\n  \
             wharf deploy --list\n  wharf deploy --rollback chat",
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("The plugin: a .wasm file"),
        )
        .arg(
            Arg::new("name")
                .long("name")
                .value_name("NAME")
                .conflicts_with_all(["list", "rollback", "withdraw"])
                .help("The channel's name [default: that of the file]"),
        )
        .arg(
            Arg::new("list")
                .long("list")
                .action(ArgAction::SetTrue)
                .help("Show what is deployed: channel, hash, size, when, by whom, and what was before"),
        )
        .arg(
            Arg::new("rollback")
                .long("rollback")
                .value_name("CHANNEL")
                .help("Bring the plugin before the present one back"),
        )
        .arg(
            Arg::new("withdraw")
                .long("withdraw")
                .value_name("CHANNEL")
                .help("Serve what the plugin folder of each host has, in place of a deployed plugin"),
        )
        .group(
            ArgGroup::new("action").args(["file", "list", "rollback", "withdraw"]).required(true),
        )
        .arg(
            Arg::new("dry_run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["list", "withdraw"])
                .help("Have it compiled and tried on all hosts, and swap on none"),
        );
    with_place(deploy, "to")
}

/// Adds the arguments that say which host it is. `flag` is the name of the one for its address.
fn with_place(command: clap::Command, flag: &'static str) -> clap::Command {
    let arguments = [
        Arg::new("url").long(flag).value_name("URL").help(
            "The address of the operator's API of a host: http://HOST:PORT, https://HOST or unix:PATH [default: \
             `operator_listen` of the configuration]",
        ),
        Arg::new("token").long("token").value_name("TOKEN").help(
            "The operator's token [default: `operator_token` of the configuration, or WHARF_OPERATOR_TOKEN]. Other \
             users of this machine may see what is given here",
        ),
        configuration_file(),
    ];
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Write the answer of the API, as JSON");
    command.args(arguments.map(|argument| argument.help_heading("The host"))).arg(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Command;
    use crate::arguments::tests::read;

    fn command(arguments: &[&str]) -> (OperatorCommand, Option<String>) {
        match read(arguments, &[("WHARF_OPERATOR_TOKEN", "of-the-variable")]) {
            Ok(Command::Operator(command, config, _)) => {
                (command, config.operator_token.map(|token| token.expose().to_owned()))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_for_a_host_take_its_address_and_its_token_or_those_of_the_configuration() {
        let (status, token) = command(&["status"]);
        assert_eq!(status.action, OperatorAction::Status);
        assert_eq!((status.url, status.token, status.json), (None, None, false));
        assert_eq!(token.as_deref(), Some("of-the-variable"));
        let (status, _) = command(&["status", "--url", "unix:/s", "--token", "t", "--json"]);
        assert!(!format!("{status:?}").contains("\"t\""), "{status:?}");
        assert_eq!((status.url.as_deref(), status.token.as_deref()), (Some("unix:/s"), Some("t")));
        assert!(status.json);
    }

    #[test]
    fn a_log_is_followed_from_any_level_unless_it_is_not() {
        let action = |arguments: &[&str]| command(arguments).0.action;
        let logs = |level: &str, follows| {
            let (channel, level) = ("chat".to_owned(), level.to_owned());
            OperatorAction::Logs { channel, level, follows }
        };
        assert_eq!(action(&["logs", "chat"]), logs("trace", true));
        let arguments = ["logs", "chat", "--level", "warn", "--no-follow"];
        assert_eq!(action(&arguments), logs("warn", false));
        assert_eq!(
            read(&["logs", "chat", "--level", "loud"], &[]).expect_err("no level").exit_code(),
            2
        );
        assert_eq!(read(&["logs"], &[]).expect_err("no channel").exit_code(), 2);
        assert_eq!(action(&["top", "--once"]), OperatorAction::Top { once: true });
    }

    #[test]
    fn a_deployment_is_one_thing_at_a_time() {
        let action = |arguments: &[&str]| command(arguments).0.action;
        let deploy = |channel: Option<&str>, is_dry_run| OperatorAction::Deploy {
            file: "chat.wasm".into(),
            channel: channel.map(str::to_owned),
            is_dry_run,
        };
        assert_eq!(action(&["deploy", "chat.wasm", "--to", "http://h"]), deploy(None, false));
        let named = ["deploy", "--name", "talk", "--dry-run", "chat.wasm"];
        assert_eq!(action(&named), deploy(Some("talk"), true));
        assert_eq!(action(&["deploy", "--list"]), OperatorAction::List);
        let rollback = OperatorAction::Rollback { channel: "chat".to_owned(), is_dry_run: true };
        assert_eq!(action(&["deploy", "--rollback", "chat", "--dry-run"]), rollback);
        let withdraw = OperatorAction::Withdraw { channel: "chat".to_owned() };
        assert_eq!(action(&["deploy", "--withdraw", "chat"]), withdraw);
        for wrong in [
            ["deploy"].as_slice(),
            &["deploy", "chat.wasm", "--list"],
            &["deploy", "--rollback", "a", "--withdraw", "b"],
            &["deploy", "--list", "--dry-run"],
            &["deploy", "--list", "--name", "chat"],
        ] {
            assert_eq!(read(wrong, &[]).expect_err("not one thing").exit_code(), 2, "{wrong:?}");
        }
    }
}
