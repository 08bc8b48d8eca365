//! The arguments of the commands for authors of plugins.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use wharf_author::{add, new};
use wharf_config::{self as config, Config, SETTINGS, Sources};

use super::with_settings;

/// A command for authors of plugins.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthorCommand {
    /// Make a plugin's crate.
    New(new::Request),
    /// Put a plugin into the folder of a server with this configuration.
    Add(add::Request, Config),
    /// Describe these files, for people or as JSON, and tell if a server with this configuration
    /// would load them.
    Check {
        /// The files; the crate in the working directory if there are none.
        files: Vec<PathBuf>,
        /// Write JSON.
        json: bool,
        /// The server's configuration.
        config: Config,
    },
    /// Run the server, and build the plugins in these folders again when they change.
    Dev(Vec<PathBuf>, Config, Sources),
    /// Run a plugin's tests on its component.
    Test {
        /// The folder of its crate.
        folder: PathBuf,
        /// Further arguments for `cargo test`.
        arguments: Vec<OsString>,
        /// The folder of compiled plugins.
        cache: Option<PathBuf>,
    },
    /// Be the host of a test with this component and this folder of compiled plugins.
    TestHost(PathBuf, Option<PathBuf>),
}

/// Reads the commands that need no configuration. `None` for all others.
pub(super) fn without_settings(
    name: &str,
    matches: &ArgMatches,
    environment: &[(OsString, OsString)],
) -> Option<AuthorCommand> {
    match name {
        "new" => {
            let template = matches.get_one::<String>("template");
            let template = template.and_then(|name| new::Template::named(name));
            let usual = new::Request::default();
            Some(AuthorCommand::New(new::Request {
                name: matches.get_one::<String>("name").cloned().unwrap_or_default(),
                folder: paths(matches, "path").pop(),
                template: template.unwrap_or(usual.template),
                in_workspace: matches.get_flag("workspace"),
            }))
        }
        "test" => {
            let arguments = matches.get_many::<OsString>("arguments").into_iter().flatten();
            Some(AuthorCommand::Test {
                folder: paths(matches, "crate").pop().unwrap_or_else(|| PathBuf::from(".")),
                arguments: arguments.cloned().collect(),
                cache: config::cache_of(environment),
            })
        }
        "test-host" => {
            let file = paths(matches, "file").pop().unwrap_or_default();
            Some(AuthorCommand::TestHost(file, config::cache_of(environment)))
        }
        _ => None,
    }
}

/// Reads the commands that take the server's settings. `None` for all others.
pub(super) fn with_config(
    name: &str,
    matches: &ArgMatches,
    (config, sources): (&Config, &Sources),
) -> Option<AuthorCommand> {
    match name {
        "add" => {
            let plugin = paths(matches, "plugin").pop().unwrap_or_default();
            let name = matches.get_one::<String>("name").cloned();
            Some(AuthorCommand::Add(add::Request { plugin, name }, config.clone()))
        }
        "check" => Some(AuthorCommand::Check {
            files: paths(matches, "files"),
            json: matches.get_flag("json"),
            config: config.clone(),
        }),
        "dev" => {
            let crates = paths(matches, "crates");
            Some(AuthorCommand::Dev(crates, config.clone(), sources.clone()))
        }
        _ => None,
    }
}

fn paths(matches: &ArgMatches, name: &str) -> Vec<PathBuf> {
    matches.get_many::<PathBuf>(name).into_iter().flatten().cloned().collect()
}

/// Returns the parsers of all of these commands.
pub(super) fn subcommands() -> [clap::Command; 6] {
    [new_command(), dev(), test(), check(), add_command(), test_host()]
}

fn add_command() -> clap::Command {
    let add = clap::Command::new("add")
        .about("Put an existing plugin into the plugin folder")
        .long_about(
            "Put an existing plugin into the plugin folder of a host with the same settings: build it \
             by its own release profile, check it like `wharf check`, say what it needs in wharf.toml, and \
             copy it in one step. A host that serves this folder swaps it in. What this \
             host would not load is not copied.\n\
             Building runs code of the plugin's author on this machine. A .wasm file from somebody else \
             does not.",
        )
        .arg(
            Arg::new("plugin")
                .value_name("PLUGIN")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The folder of a plugin's crate, such as a git checkout, or a .wasm file"),
        )
        .arg(Arg::new("name").long("name").value_name("NAME").help(
            "The channel's name [default: that of the crate or the file]",
        ));
    let examples =
        "Examples:\n  wharf add ../chat\n  wharf add chat.wasm --plugins /srv/wharf/plugins";
    with_settings(add).mut_args(only_in_long_help).after_help(examples)
}

fn new_command() -> clap::Command {
    clap::Command::new("new")
        .about("Make a plugin's crate")
        .long_about(
            "Make a plugin's crate: a small channel with tests, and the SDK in a folder of its own, so \
             that nothing else is needed but Rust and its target wasm32-wasip2. Nothing that exists \
             is written over. In a cargo workspace the crate becomes a member, and shares the \
             workspace's copy of the SDK and its folder of compiled code.",
        )
        .after_help(
            "Example:\n  wharf new hello\n  cd hello\n  cargo test\n  \
             cargo build --release --target wasm32-wasip2\n  \
             cp target/wasm32-wasip2/release/hello.wasm PLUGINS/\n\n\
             `wharf dev` in the new folder builds, serves, and does both again whenever you save.",
        )
        .arg(
            Arg::new("template")
                .long("template")
                .value_name("TEMPLATE")
                .value_parser(PossibleValuesParser::new(
                    new::TEMPLATES.map(|one| PossibleValue::new(one.name).help(one.about)),
                ))
                .default_value(new::Request::default().template.name)
                .help("The channel to begin with"),
        )
        .arg(Arg::new("workspace").long("workspace").action(ArgAction::SetTrue).help(
            "Make the folder above the crate's a cargo workspace, if it is in none: crates that are \
             made beside each other then share compiled code",
        ))
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
                .num_args(0..)
                .value_parser(value_parser!(PathBuf))
                .help(
                    "A component: a .wasm file built for wasm32-wasip2 [default: the crate in the \
                     working directory, built as `wharf dev` does]",
                ),
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
             Afterwards the same tests run natively, and those that pass at one level only are named, with \
             the usual reasons.\n\
             The exit code is that of `cargo test` with the component.",
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

/// Returns the command that only the SDK's test kit uses, which speaks to it in lines of JSON.
fn test_host() -> clap::Command {
    clap::Command::new("test-host")
        .hide(true)
        .about("Be the host of a plugin's test: `wharf test` has it started")
        .arg(Arg::new("file").required(true).value_parser(value_parser!(PathBuf)))
}

/// Hides an argument from the short help. The settings are those of `serve`, and many.
fn only_in_long_help(argument: Arg) -> Arg {
    let is_setting = SETTINGS.iter().any(|setting| argument.get_id() == setting.key);
    let is_common = ["plugins", "listen"].iter().any(|key| argument.get_id() == key);
    argument.hide_short_help(is_setting && !is_common)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Command;
    use crate::arguments::tests::read;

    #[test]
    fn commands_for_authors_take_files_folders_and_settings() {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let read = |arguments: &[&str]| match read(arguments, &[]) {
            Ok(Command::Author(command)) => command,
            other => panic!("{other:?}"),
        };
        let hello = new::Request { name: "hello".to_owned(), ..new::Request::default() };
        assert_eq!(hello.template.name, "chat");
        assert_eq!(read(&["new", "hello"]), AuthorCommand::New(hello.clone()));
        let command =
            read(&["new", "hello", "--path", "x", "--template", "minimal", "--workspace"]);
        let template = new::Template::named("minimal").expect("a template");
        let folder = Some(PathBuf::from("x"));
        let elsewhere = new::Request { folder, template, in_workspace: true, ..hello };
        assert_eq!(command, AuthorCommand::New(elsewhere));
        let command = read(&["add", "../chat", "--name", "talk", "--plugins", "p"]);
        let AuthorCommand::Add(request, config) = command else { panic!("{command:?}") };
        let talk = Some("talk".to_owned());
        assert_eq!(request, add::Request { plugin: PathBuf::from("../chat"), name: talk });
        assert_eq!(config.plugins, PathBuf::from("p"));
        let command = read(&["check", "a.wasm", "b.wasm", "--json", "--start-budget-ms", "7"]);
        let AuthorCommand::Check { files, json, config } = command else { panic!("{command:?}") };
        assert_eq!((files, json), (paths(&["a.wasm", "b.wasm"]), true));
        assert_eq!(config.start_budget.as_millis(), 7);
        assert!(matches!(read(&["check"]), AuthorCommand::Check { files, .. } if files.is_empty()));
        let command = read(&["dev", "--workers", "2", "a", "b"]);
        let AuthorCommand::Dev(crates, config, _) = command else { panic!("{command:?}") };
        assert_eq!((crates, config.workers), (paths(&["a", "b"]), 2));
        assert!(matches!(read(&["dev"]), AuthorCommand::Dev(crates, ..) if crates.is_empty()));
        let test = |folder: &str, arguments: &[&str]| AuthorCommand::Test {
            folder: folder.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
            cache: None,
        };
        assert_eq!(read(&["test"]), test(".", &[]));
        let command = read(&["test", "a", "--", "--test", "b", "--", "--nocapture"]);
        assert_eq!(command, test("a", &["--test", "b", "--", "--nocapture"]));
        assert_eq!(read(&["test-host", "a.wasm"]), AuthorCommand::TestHost("a.wasm".into(), None));
    }

    #[test]
    fn the_short_help_of_commands_for_authors_is_short() {
        for command in ["add", "check", "dev"] {
            let help = |flag| read(&[command, flag], &[]).expect_err("help").to_string();
            assert!(help("-h").lines().count() < 30, "{}", help("-h"));
            assert!(help("--help").contains("--max-message-bytes"));
        }
    }
}
