//! The command line: which command, and what was given to it.
//!
//! Every setting of [`Config`] is a flag, made from the same list as the rest of it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use wharf_config::{self, Config, Given, SETTINGS, Setting, Sources};

/// What the operator asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run the server.
    Serve(Config, Sources),
    /// Print the configuration that `serve` would have, with where each value came from:
    /// [`Config::effective`].
    Config(Config, Sources),
    /// Make a plugin's crate: of this name, in this folder or one of its name.
    New(String, Option<PathBuf>),
    /// Say what these files are, for people or as JSON, and whether a server with this
    /// configuration would load them.
    Check {
        /// The files.
        files: Vec<PathBuf>,
        /// Whether to write JSON.
        json: bool,
        /// The server's.
        config: Config,
    },
    /// Run the server, and build the plugins in these folders whenever they change.
    Dev(Vec<PathBuf>, Config, Sources),
    /// Run a plugin's tests on its component.
    Test {
        /// The folder of its crate.
        folder: PathBuf,
        /// What `cargo test` is given besides.
        arguments: Vec<OsString>,
        /// Where compiled plugins are kept.
        cache: Option<PathBuf>,
    },
    /// Be the host of a test, with this component; with where compiled plugins are kept.
    TestHost(PathBuf, Option<PathBuf>),
}

impl Command {
    /// Read the process's arguments, environment and configuration file. Where they ask for
    /// help or the version, or cannot be used, this prints what there is to say and
    /// ends the process; with exit code 2 if something was wrong.
    pub fn from_process() -> Command {
        let environment = std::env::vars_os().collect();
        match Command::read(std::env::args_os(), environment, PathBuf::new()) {
            Ok(command) => command,
            Err(error) => error.exit(),
        }
    }

    /// Read the given arguments (the program's name is the first) and environment. `wharf.toml`
    /// is looked for in `working_folder`.
    ///
    /// # Errors
    ///
    /// Help and version as well as mistakes; the error knows what to print and the exit code.
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
        let paths = |name: &str| {
            let paths = matches.try_get_many::<PathBuf>(name).ok().flatten();
            paths.into_iter().flatten().cloned().collect::<Vec<_>>()
        };
        if name == "new" {
            let name = matches.get_one::<String>("name").cloned().unwrap_or_default();
            return Ok(Command::New(name, paths("path").pop()));
        }
        if name == "test" {
            let arguments = matches.get_many::<OsString>("arguments").into_iter().flatten();
            return Ok(Command::Test {
                folder: paths("crate").pop().unwrap_or_else(|| PathBuf::from(".")),
                arguments: arguments.cloned().collect(),
                cache: config::cache_of(&environment),
            });
        }
        if name == "test-host" {
            let file = paths("file").pop().unwrap_or_default();
            return Ok(Command::TestHost(file, config::cache_of(&environment)));
        }
        let given = Given {
            working_folder,
            file: matches.get_one::<PathBuf>("config").cloned(),
            environment,
            flags: flags(matches),
        };
        let (config, sources) = config::load(&given).map_err(|error| {
            let text = format!("the configuration cannot be used: {error}\n");
            clap::Error::raw(ErrorKind::ValueValidation, text)
        })?;
        match name {
            "config" => Ok(Command::Config(config, sources)),
            "check" => {
                let (files, json) = (paths("files"), matches.get_flag("json"));
                Ok(Command::Check { files, json, config })
            }
            "dev" => Ok(Command::Dev(paths("crates"), config, sources)),
            _ => Ok(Command::Serve(config, sources)),
        }
    }
}

/// The names of all flags, which clap wants to borrow for as long as the process lives.
static FLAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| SETTINGS.iter().map(Setting::flag).collect());

const ABOUT: &str = "Wharf, a WASM-scriptable channel host: it owns the sockets, and what a \
    channel does lives in plugins that can be replaced under open connections.";

const EXAMPLES: &str = "\
Examples:
  wharf serve
      Serve the plugins in ./plugins on 127.0.0.1:4000
  wharf new hello
      Make a plugin's crate in ./hello, ready to be built and tested
  wharf dev
      In such a folder: build the plugin, serve it, and again whenever it is saved
  wharf test
      In such a folder: run the plugin's tests on what it is compiled to
  wharf serve --plugins /srv/plugins --listen 0.0.0.0:4000
      Serve another folder to other machines
  wharf serve --config /etc/wharf.toml --log info,wharf=debug
      Take the settings from a file, and log more than it says
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
             It stops on SIGINT or SIGTERM, after saying goodbye to its clients.",
    );
    let config = clap::Command::new("config")
        .about("Print the configuration that `serve` would have")
        .long_about(
            "Print the configuration that `serve` would have with the same flags, as a wharf.toml. \
             A comment after each value says where it comes from.",
        );
    clap::Command::new("wharf")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(
            "New here? `wharf new hello`, then `wharf dev` in the new folder.\n\
             `wharf serve --help` explains every setting.",
        )
        .after_long_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_settings(serve))
        .subcommand(with_settings(config))
        .subcommand(new())
        .subcommand(check())
        .subcommand(dev())
        .subcommand(test())
        .subcommand(test_host())
}

fn new() -> clap::Command {
    clap::Command::new("new")
        .about("Make a plugin's crate")
        .long_about(
            "Make a plugin's crate: a small channel with tests, and the SDK in a folder of its own, so \
             that nothing else is needed but Rust and its target wasm32-wasip2. Nothing that exists \
             is written over.",
        )
        .after_help(
            "Example:\n  wharf new hello\n  cd hello\n  cargo test\n  \
             cargo build --release --target wasm32-wasip2\n  \
             cp target/wasm32-wasip2/release/hello.wasm PLUGINS/\n\n\
             `wharf dev` in the new folder builds, copies and serves, whenever you save.",
        )
        .arg(Arg::new("name").value_name("NAME").required(true).help(
            "The crate's and the channel's name: lower-case words with `-` between them",
        ))
        .arg(
            Arg::new("path")
                .long("path")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("The crate's folder, new or empty [default: ./NAME]"),
        )
}

fn check() -> clap::Command {
    let check = clap::Command::new("check")
        .about("Say what a plugin is and needs, and whether this host would load it")
        .long_about(
            "Say what plugins export, import and need, and whether a host with the same settings \
             would load them, for the reasons that its log would give. Several files are \
             looked at together, as if they were in one plugin folder.\n\
             The exit code is 0 if all of them would be loaded, 1 if not.",
        )
        .arg(
            Arg::new("files")
                .value_name("FILE")
                .num_args(1..)
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("A component: a .wasm file built for wasm32-wasip2"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Write a JSON array with an object for each file"),
        );
    with_settings(check).mut_args(only_in_long_help)
}

fn dev() -> clap::Command {
    let dev = clap::Command::new("dev")
        .about("Serve plugins, and build them again whenever they are saved")
        .long_about(
            "Build plugins with cargo, put them into the plugin folder (which is made if it is \
             missing), serve it, and do so again whenever a source is saved. Open connections go on \
             with the new code. What does not compile is shown as cargo shows it, and the code \
             before it keeps serving. Ctrl-C ends it.",
        )
        .arg(
            Arg::new("crates")
                .value_name("CRATE_DIR")
                .num_args(0..)
                .value_parser(value_parser!(PathBuf))
                .help("The folder of a plugin's crate [default: the working directory]"),
        );
    with_settings(dev).mut_args(only_in_long_help)
}

fn test() -> clap::Command {
    clap::Command::new("test")
        .about("Run a plugin's tests on the component that it is compiled to")
        .long_about(
            "Build a plugin with cargo, as `wharf dev` does, then run `cargo test` in its folder with \
             the component in place of the native code: what uses `wharf::testing::TestHost::new` \
             runs in this host's own engine, with fake clients and a clock that the test moves.\n\
             The exit code is that of `cargo test`.",
        )
        .after_help(
            "Examples:\n  wharf test\n  wharf test plugins/chat\n  \
             wharf test -- members_hear_each_other -- --nocapture",
        )
        .arg(
            Arg::new("crate")
                .value_name("CRATE_DIR")
                .value_parser(value_parser!(PathBuf))
                .help("The folder of the plugin's crate [default: the working directory]"),
        )
        .arg(
            Arg::new("arguments")
                .value_name("ARGUMENT")
                .num_args(0..)
                .last(true)
                .value_parser(value_parser!(OsString))
                .help("What `cargo test` is given besides"),
        )
}

/// For the SDK's test kit alone, which speaks to it in lines of JSON.
fn test_host() -> clap::Command {
    clap::Command::new("test-host")
        .hide(true)
        .about("Be the host of a plugin's test: `wharf test` has it started")
        .arg(Arg::new("file").required(true).value_parser(value_parser!(PathBuf)))
}

/// The settings are `serve`'s, and many.
fn only_in_long_help(argument: Arg) -> Arg {
    let is_setting = SETTINGS.iter().any(|setting| argument.get_id() == setting.key);
    let is_common = ["plugins", "listen"].iter().any(|key| argument.get_id() == key);
    argument.hide_short_help(is_setting && !is_common)
}

fn with_settings(command: clap::Command) -> clap::Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help_heading(SETTINGS.first().map_or("", |setting| setting.group))
        .help("The configuration file [default: wharf.toml if it exists]")
        .long_help(
            "The configuration file, also named by WHARF_CONFIG. A file that is named must exist. \
             [default: wharf.toml in the working directory, if it exists]",
        );
    let settings = SETTINGS.iter().zip(FLAGS.iter());
    command
        .after_help("`--help` says more about each setting.")
        .after_long_help(format!("{EXAMPLES}\n\n{SOURCES}"))
        .arg(file)
        .args(settings.map(|(setting, flag)| argument(setting, flag)))
}

fn argument(setting: &'static Setting, flag: &'static str) -> Arg {
    let doc = setting.doc();
    // Most of the list has to fit on a screen: the first sentence names the setting.
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
    // A value that starts with a dash is not read as a flag where it can only be a number.
    let argument = argument.allow_negative_numbers(true);
    match setting.is_list() {
        true => argument.action(ArgAction::Append),
        false => argument,
    }
}

/// The flags that were given, as text. Reading it is the configuration's task.
fn flags(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    let text = |setting: &'static Setting| {
        let values: Vec<_> = matches.get_many::<String>(setting.key)?.cloned().collect();
        Some((setting.key, values.join(",")))
    };
    SETTINGS.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Command, clap::Error> {
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
        // Were the value taken from the next argument, this flag would swallow it.
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
    fn commands_for_authors_take_files_folders_and_settings() {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let read = |arguments: &[&str]| read(arguments, &[]).expect("a command");
        assert_eq!(read(&["new", "hello"]), Command::New("hello".to_owned(), None));
        let elsewhere = Some(PathBuf::from("x"));
        let command = read(&["new", "hello", "--path", "x"]);
        assert_eq!(command, Command::New("hello".to_owned(), elsewhere));
        let command = read(&["check", "a.wasm", "b.wasm", "--json", "--start-budget-ms", "7"]);
        let Command::Check { files, json, config } = command else { panic!("{command:?}") };
        assert_eq!((files, json), (paths(&["a.wasm", "b.wasm"]), true));
        assert_eq!(config.start_budget.as_millis(), 7);
        let command = read(&["dev", "--workers", "2", "a", "b"]);
        let Command::Dev(crates, config, _) = command else { panic!("{command:?}") };
        assert_eq!((crates, config.workers), (paths(&["a", "b"]), 2));
        assert!(matches!(read(&["dev"]), Command::Dev(crates, ..) if crates.is_empty()));
        let test = |folder: &str, arguments: &[&str]| Command::Test {
            folder: folder.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
            cache: None,
        };
        assert_eq!(read(&["test"]), test(".", &[]));
        let command = read(&["test", "a", "--", "--test", "b", "--", "--nocapture"]);
        assert_eq!(command, test("a", &["--test", "b", "--", "--nocapture"]));
        assert_eq!(read(&["test-host", "a.wasm"]), Command::TestHost("a.wasm".into(), None));
    }

    #[test]
    fn the_short_help_of_commands_for_authors_is_short() {
        for command in ["check", "dev"] {
            let help = |flag| read(&[command, flag], &[]).expect_err("help").to_string();
            assert!(help("-h").lines().count() < 30, "{}", help("-h"));
            assert!(help("--help").contains("--max-message-bytes"));
        }
    }

    #[test]
    fn without_a_command_there_is_help() {
        let error = read(&[], &[]).expect_err("no command");
        assert!(error.to_string().contains("Usage: wharf <COMMAND>"), "{error}");
    }
}
