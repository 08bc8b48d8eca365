//! The command line: the command and its arguments.
//!
//! Every setting of [`Config`] is a flag, made from the list of settings.

#[cfg(feature = "author")]
mod author;
mod data;
mod health;
mod operator;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use clap_complete::Shell;
use wharf_config::{self as config, Config, Given, SETTINGS, Setting, Sources};

#[cfg(feature = "author")]
pub use author::AuthorCommand;
pub use data::DataCommand;
pub use health::HealthCommand;
pub use operator::{OperatorAction, OperatorCommand};

use crate::output;

/// Exit code of a command line or a configuration that cannot be used.
const USAGE: u8 = 2;

/// The command that the operator asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run the server.
    Serve(Config, Sources),
    /// Print the configuration that `serve` would have, with the source of each value:
    /// [`Config::effective`].
    Config(Config, Sources),
    /// Say that this file can be used, or why not.
    CheckConfig(PathBuf, Config, Sources),
    /// Copy, show or change the data folder of a server with this configuration.
    Data(DataCommand, Config, Sources),
    /// Ask a running host, whose address and token are those of this configuration if the command has none.
    Operator(OperatorCommand, Config, Sources),
    /// Ask a running host for its health. Its address is that of this configuration if the command has none.
    Health(HealthCommand, Config),
    /// Print the completions of this command line for a shell.
    Completions(Shell),
    /// Write the manual pages into a folder.
    Man(PathBuf),
    /// Help an author of plugins.
    #[cfg(feature = "author")]
    Author(AuthorCommand),
}

impl Command {
    /// Reads the process's arguments, environment and configuration file. If they ask for help or
    /// the version, or are wrong, this prints the text.
    ///
    /// # Errors
    ///
    /// There is nothing more to do: the exit code, which is 2 if something was wrong.
    pub fn from_process() -> Result<Command, ExitCode> {
        let environment = std::env::vars_os().collect();
        Command::read(std::env::args_os(), environment, PathBuf::new()).map_err(|error| {
            let printed = output::finished(error.print());
            match printed {
                // A complaint that cannot be written is still told by the exit code.
                _ if error.use_stderr() => ExitCode::from(USAGE),
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    output::complain(format_args!("{error:#}"));
                    ExitCode::FAILURE
                }
            }
        })
    }

    /// Reads the given arguments (the program's name is the first) and environment. `wharf.toml`
    /// is looked for in `working_folder`.
    ///
    /// # Errors
    ///
    /// The arguments ask for help or the version, or are wrong. The error knows the text to print
    /// and the exit code.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        environment: Vec<(OsString, OsString)>,
        working_folder: PathBuf,
    ) -> Result<Command, clap::Error> {
        let mut parser = parser();
        let matches = parser.try_get_matches_from_mut(arguments)?;
        let Some((name, matches)) = matches.subcommand() else {
            return Err(parser.error(ErrorKind::MissingSubcommand, "a command is missing"));
        };
        if let Some(shell) = (name == "completions").then(|| matches.get_one("shell")).flatten() {
            return Ok(Command::Completions(*shell));
        }
        if let Some(folder) =
            (name == "man").then(|| matches.get_one::<PathBuf>("folder")).flatten()
        {
            return Ok(Command::Man(folder.clone()));
        }
        #[cfg(feature = "author")]
        if let Some(command) = author::without_settings(name, matches, &environment) {
            return Ok(Command::Author(command));
        }
        let health = health::read(name, matches);
        // As below: what has an address needs no configuration, except one that is named.
        if let Some(command) = &health
            && command.url.is_some()
            && !matches.contains_id("config")
        {
            return Ok(Command::Health(command.clone(), Config::default()));
        }
        let operator = operator::read(name, matches);
        // The configuration may be that of another machine, or of another user.
        if let Some(command) = &operator
            && command.url.is_some()
            && command.token.is_some()
            && !matches.contains_id("config")
        {
            return Ok(Command::Operator(command.clone(), Config::default(), Sources::default()));
        }
        // Those of a command within a command have the flags that are before it as well.
        let innermost = matches.subcommand().map_or(matches, |(_, matches)| matches);
        let checked = match matches.try_get_one::<PathBuf>(CHECK) {
            Ok(checked) => checked.cloned(),
            // Another command than `config`.
            Err(_) => None,
        };
        let given = Given {
            working_folder,
            file: checked.clone().or_else(|| innermost.get_one::<PathBuf>("config").cloned()),
            environment,
            flags: flags(innermost),
        };
        let (config, sources) = config::load(&given).map_err(|error| {
            let text = format!("the configuration cannot be used: {error}\n");
            clap::Error::raw(ErrorKind::ValueValidation, text)
        })?;
        #[cfg(feature = "author")]
        if let Some(command) = author::with_config(name, matches, (&config, &sources)) {
            return Ok(Command::Author(command));
        }
        if let Some(command) = health {
            return Ok(Command::Health(command, config));
        }
        if let Some(command) = operator {
            return Ok(Command::Operator(command, config, sources));
        }
        if let Some(command) = data::read(name, matches) {
            return Ok(Command::Data(command, config, sources));
        }
        Ok(match (name, checked) {
            (_, Some(file)) => Command::CheckConfig(file, config, sources),
            ("config", None) => Command::Config(config, sources),
            _ => Command::Serve(config, sources),
        })
    }
}

/// The names of all flags, which clap borrows for as long as the process lives.
static FLAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| SETTINGS.iter().map(Setting::flag).collect());

/// Flag of `wharf config` with a file to be checked.
const CHECK: &str = "check";

const ABOUT: &str = "Wharf, a WASM-scriptable channel host: it owns the sockets, and what a \
    channel does lives in plugins that can be replaced under open connections.";

/// The first steps for a new user.
#[cfg(feature = "author")]
const HINT: &str = "\
New here? `wharf new hello`, then `wharf dev` in the new folder.
`wharf serve --help` explains every setting.";
#[cfg(not(feature = "author"))]
const HINT: &str = "`wharf serve --help` explains every setting.";

const EXAMPLES: &str = "\
Examples:
  wharf serve
      Serve the plugins in ./plugins on localhost:4000
  wharf new hello
      Make a plugin's crate in ./hello, ready to be built and tested
  wharf dev
      In such a folder: build the plugin, serve it, and again whenever it is saved
  wharf test
      In such a folder: run the plugin's tests on what it is compiled to
  wharf add ../chat
      Build the plugin in that folder, check it, and put it into ./plugins
  wharf serve --plugins /srv/plugins --listen 0.0.0.0:4000
      Serve another folder to other machines
  wharf serve --config /etc/wharf.toml --log info,wharf=debug
      Take the settings from a file, and log more than it says
  wharf backup /backups/monday
      Copy the data folder, also while the server runs
  wharf status
      Show the hosts of a cluster, and the plugins that they run
  wharf top
      Show the figures of a running host and of its channels, each second
  wharf logs chat
      Show the log of a channel, and follow it
  wharf deploy chat.wasm --to http://127.0.0.1:4001
      Send a plugin to all hosts of a cluster
  WHARF_MAX_MESSAGE_BYTES=64KiB wharf config
      Show the configuration that results, and where each value comes from";

const SOURCES: &str = "\
Every setting can be given in three ways; the flag wins over the variable, and that over the file:
  --max-message-bytes 65536           as a flag
  WHARF_MAX_MESSAGE_BYTES=65536       as an environment variable
  max_message_bytes = 65536           in the file, ./wharf.toml unless --config names another
Sizes may have a unit (64KiB, 1MiB). Durations are in milliseconds.

`wharf config` shows what is in effect, as a file.";

fn parser() -> clap::Command {
    let serve = clap::Command::new("serve").about("Run the server").long_about(
        "Run the server: load the plugins, listen, and replace plugins as their files change.\n\
             It stops on SIGINT, SIGTERM or SIGHUP, after saying goodbye to its clients; a second \
             signal ends it at once.",
    );
    let config = clap::Command::new("config")
        .about("Print the configuration that `serve` would have")
        .long_about(
            "Print the configuration that `serve` would have with the same flags, as a wharf.toml. \
             A comment after each value says where it comes from.\n\
             With --check it prints no configuration, and says whether a host could use that file: its \
             keys and values, secrets that are kept elsewhere, and the certificates for TLS.",
        )
        .arg(
            Arg::new(CHECK)
                .long(CHECK)
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with("config")
                .help("Only check this file; the exit code is 0 if it can be used"),
        );
    let wharf = clap::Command::new("wharf")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(HINT)
        .after_long_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_settings(serve))
        .subcommand(with_settings(config))
        .subcommands(data::subcommands())
        .subcommands(operator::subcommands())
        .subcommand(health::subcommand())
        .subcommand(completions())
        .subcommand(man());
    #[cfg(feature = "author")]
    let wharf = wharf.subcommands(author::subcommands());
    wharf
}

fn completions() -> clap::Command {
    clap::Command::new("completions")
        .about("Print what a shell needs to complete the arguments of `wharf`")
        .after_help(
            "Examples:\n  \
             wharf completions bash > ~/.local/share/bash-completion/completions/wharf\n  \
             wharf completions fish > ~/.config/fish/completions/wharf.fish\n  \
             wharf completions zsh > ~/.zfunc/_wharf          # a folder of your $fpath",
        )
        .arg(
            Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)),
        )
}

fn man() -> clap::Command {
    clap::Command::new("man")
        .about("Write the manual pages of `wharf` and its commands into a folder")
        .after_help("Example:\n  wharf man /usr/local/share/man/man1")
        .arg(
            Arg::new("folder")
                .value_name("FOLDER")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The folder, which must exist; pages of the same name are replaced"),
        )
}

/// Writes a manual page for the program and for each command, from what `--help` says.
///
/// # Errors
///
/// The folder does not exist, or cannot be written to.
pub fn write_pages(folder: &Path) -> std::io::Result<()> {
    clap_mangen::generate_to(parser(), folder)
}

/// Returns the script with which a shell completes this command line.
pub fn completions_for(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut parser(), "wharf", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn with_settings(command: clap::Command) -> clap::Command {
    let settings = SETTINGS.iter().zip(FLAGS.iter());
    command
        .after_help("`--help` says more about each setting.")
        .after_long_help(format!("{EXAMPLES}\n\n{SOURCES}"))
        .arg(configuration_file())
        .args(settings.map(|(setting, flag)| argument(setting, flag)))
}

fn configuration_file() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help_heading(SETTINGS.first().map_or("", |setting| setting.group))
        .help("The configuration file [default: wharf.toml if it exists]")
        .long_help(
            "The configuration file, also named by WHARF_CONFIG. A file that is named must exist. \
             [default: wharf.toml in the working directory, if it exists]",
        )
}

fn argument(setting: &'static Setting, flag: &'static str) -> Arg {
    let doc = setting.doc();
    // Most of the list must fit on a screen, so only the first sentence of each setting is shown.
    let summary = doc.split_inclusive(". ").next().unwrap_or_default();
    let summary = summary.trim_end().trim_end_matches('.');
    let default = setting.default();
    let argument = Arg::new(setting.key)
        .long(flag)
        .value_name(setting.metavar())
        .help_heading(setting.group)
        .help(format!("{summary} [default: {default}]"))
        .long_help(format!("{doc} [default: {default}] [allowed: {}]", setting.allowed()));
    if setting.is_switch() {
        return argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(PossibleValuesParser::new(["true", "false"]))
            .hide_possible_values(true);
    }
    // A value that starts with a dash is not read as a flag if it can only be a number.
    let argument = argument.allow_negative_numbers(true);
    match setting.is_list() {
        true => argument.action(ArgAction::Append),
        false => argument,
    }
}

/// Returns the given flags as text, which the configuration reads. Some commands have a few of them only.
fn flags(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    let text = |setting: &'static Setting| {
        let values = matches.try_get_many::<String>(setting.key).ok().flatten()?;
        let values: Vec<_> = values.cloned().collect();
        Some((setting.key, values.join(",")))
    };
    SETTINGS.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn read(
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Command, clap::Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = ["wharf"].iter().chain(arguments).map(OsString::from);
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        Command::read(arguments, environment.collect(), folder.path().to_owned())
    }

    fn served(arguments: &[&str]) -> Config {
        let arguments: Vec<_> = ["serve"].iter().chain(arguments).copied().collect();
        match read(&arguments, &[]) {
            Ok(Command::Serve(config, _)) => config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_parser_is_sound() {
        parser().debug_assert();
    }

    #[test]
    fn serve_without_flags_has_the_defaults() {
        assert_eq!(served(&[]), Config::default());
    }

    #[test]
    fn every_setting_has_a_flag_that_takes_its_default() {
        for setting in SETTINGS {
            let default = setting.show(&Config::default());
            let value = default.trim_matches(['"', '[', ']']);
            let flag = format!("--{}={value}", setting.flag());
            assert_eq!(served(&[&flag]), Config::default(), "{flag}");
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment() {
        let environment = [("WHARF_WORKERS", "3"), ("WHARF_MAX_CONNECTIONS", "30")];
        let command = read(&["config", "--workers", "2"], &environment);
        let Ok(Command::Config(config, sources)) = command else { panic!("{command:?}") };
        assert_eq!((config.workers, config.max_connections), (2, 30));
        assert_eq!(sources.of("workers").to_string(), "--workers");
        assert_eq!(sources.of("max_connections").to_string(), "WHARF_MAX_CONNECTIONS");
    }

    #[test]
    fn a_switch_needs_no_value() {
        assert!(served(&["--require-origin"]).require_origin);
        assert!(!served(&["--page=false"]).page);
        // If the flag took the next argument as its value, it would swallow `--workers`.
        assert_eq!(served(&["--require-origin", "--workers", "1"]).workers, 1);
    }

    #[test]
    fn a_list_is_given_by_commas_or_by_repeating_the_flag() {
        let once = served(&["--allowed-origins", "https://a.example,https://b.example"]);
        let twice = served(&[
            "--allowed-origins",
            "https://a.example",
            "--allowed-origins",
            "https://b.example",
        ]);
        assert_eq!(once.allowed_origins.len(), 2);
        assert_eq!(once, twice);
    }

    #[test]
    fn mistakes_exit_with_code_2_and_name_the_flag() {
        for arguments in [
            ["serve", "--workers=-1"].as_slice(),
            &["serve", "--workers", "-1"],
            &["serve", "--workers", "many"],
            &["config", "--workers", "513"],
            &["serve", "--workers"],
        ] {
            let error = read(arguments, &[]).expect_err("not allowed");
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
            assert!(error.to_string().contains("--workers"), "{error}");
        }
    }

    #[test]
    fn an_unknown_flag_is_refused_with_a_suggestion() {
        let error = read(&["serve", "--max-mesage-bytes", "1"], &[]).expect_err("unknown");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--max-message-bytes"), "{error}");
    }

    #[test]
    fn help_lists_every_setting_with_its_default() {
        let help = read(&["serve", "--help"], &[]).expect_err("help is not a command");
        assert_eq!(help.exit_code(), 0);
        let help = help.to_string();
        for setting in SETTINGS {
            let flag = format!("--{}", setting.flag());
            let after = help.split(&flag).nth(1).unwrap_or_else(|| panic!("no {flag}"));
            let default = format!("[default: {}]", setting.default());
            let entry: String = after.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(entry.contains(&default), "{flag} without {default}");
        }
    }

    #[test]
    fn without_a_command_there_is_help() {
        let error = read(&[], &[]).expect_err("no command");
        assert!(error.to_string().contains("Usage: wharf <COMMAND>"), "{error}");
    }
}
