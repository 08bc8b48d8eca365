//! The arguments of the commands for the data folder.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use wharf_config::SETTINGS;
use wharf_engine::Kind;

use super::{FLAGS, argument, configuration_file};

/// A command for the data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataCommand {
    /// Copy it into this folder.
    Backup(PathBuf),
    /// Print what is stored.
    Overview,
    /// Print the keys of a channel.
    Show {
        /// The channel.
        channel: String,
        /// The kind; all if there is none.
        kind: Option<Kind>,
    },
    /// Write records as lines of JSON.
    Export {
        /// The file; standard output if there is none.
        to: Option<PathBuf>,
        /// The channel; all if there is none.
        channel: Option<String>,
        /// Leave damaged records out.
        skip_damaged: bool,
    },
    /// Read such lines.
    Import {
        /// The file; standard input if there is none.
        from: Option<PathBuf>,
        /// Remove what the channels have before.
        replace: bool,
    },
    /// Remove a channel's records.
    Drop {
        /// The channel.
        channel: String,
    },
}

/// Reads the commands for the data folder. `None` for all others.
pub(super) fn read(name: &str, matches: &ArgMatches) -> Option<DataCommand> {
    if name == "backup" {
        return Some(DataCommand::Backup(path(matches, "folder").unwrap_or_default()));
    }
    if name != "data" {
        return None;
    }
    let Some((name, matches)) = matches.subcommand() else {
        return Some(DataCommand::Overview);
    };
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let channel = || text("channel").unwrap_or_default();
    // A file `-` is standard input or output.
    let file = || path(matches, "file").filter(|file| file != Path::new("-"));
    Some(match name {
        "show" => DataCommand::Show {
            channel: channel(),
            kind: text("kind").and_then(|name| Kind::named(&name)),
        },
        "export" => DataCommand::Export {
            to: file(),
            channel: text("channel"),
            skip_damaged: matches.get_flag("skip_damaged"),
        },
        "import" => DataCommand::Import { from: file(), replace: matches.get_flag("replace") },
        "drop" => DataCommand::Drop { channel: channel() },
        _ => DataCommand::Overview,
    })
}

fn path(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    matches.get_one::<PathBuf>(name).cloned()
}

/// Returns the parsers of these commands.
pub(super) fn subcommands() -> [clap::Command; 2] {
    [backup(), data()]
}

/// Adds the two settings that say which folder it is.
fn with_folder(command: clap::Command, is_global: bool) -> clap::Command {
    let data = SETTINGS.iter().zip(FLAGS.iter()).filter(|(setting, _)| setting.key == "data");
    let settings = data.map(|(setting, flag)| argument(setting, flag));
    let arguments = settings.chain([configuration_file()]);
    command.args(arguments.map(|argument| argument.global(is_global).help_heading("Data folder")))
}

fn backup() -> clap::Command {
    let backup = clap::Command::new("backup")
        .about("Copy the data folder, also while a host runs")
        .long_about(
            "Copy the data folder of a host with the same settings into a new or an empty folder. The host \
             may run meanwhile, and is not held up. The copy is that of one moment: all of its pages and \
             records are checked before it gets its name.\n\
             To restore it, stop the host and put the copy in the place of the data folder.",
        )
        .after_help(
            "Examples:\n  wharf backup /backups/monday\n  \
             wharf backup --config /etc/wharf/wharf.toml /backups/$(date +%F)",
        )
        .arg(
            Arg::new("folder")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The folder of the copy, new or empty"),
        );
    with_folder(backup, false)
}

fn data() -> clap::Command {
    let data = clap::Command::new("data")
        .about("Show what the data folder holds; export, import or drop records")
        .long_about(
            "Show what the data folder of a host with the same settings holds, by channel; or, with a \
             command, show keys, export, import or drop records. Reading works while a host runs. \
             `import` and `drop` need it to be stopped.",
        )
        .after_help(
            "Examples:\n  wharf data\n  wharf data show chat --kind store\n  \
             wharf data export --channel chat chat.jsonl\n  \
             wharf data import --data /srv/other/wharf-data chat.jsonl\n  wharf data drop old-chat",
        )
        .subcommands([show(), export(), import(), drop()]);
    with_folder(data, true)
}

fn channel() -> Arg {
    Arg::new("channel").value_name("CHANNEL")
}

fn show() -> clap::Command {
    clap::Command::new("show")
        .about("Show the keys of a channel, with sizes, versions and expiry")
        .arg(channel().required(true).help("The channel"))
        .arg(
            Arg::new("kind")
                .long("kind")
                .value_name("KIND")
                .value_parser(PossibleValuesParser::new(Kind::ALL.map(Kind::name)))
                .help("The kind of records [default: all]"),
        )
}

fn export() -> clap::Command {
    clap::Command::new("export")
        .about("Write records as lines of JSON")
        .long_about(
            "Write records as lines of JSON: a first line about the form, one line for each record, a last \
             line with their number. Keys and values are text where they are UTF-8, and otherwise base64 \
             in `key_base64` and `value_base64`. The records are those of one moment.",
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("The file, which is replaced as a whole [default: `-`, standard output]"),
        )
        .arg(channel().long("channel").help("Write the records of this channel only"))
        .arg(
            Arg::new("skip_damaged")
                .long("skip-damaged")
                .action(ArgAction::SetTrue)
                .help("Name damaged records and leave them out, instead of ending at the first one"),
        )
}

fn import() -> clap::Command {
    clap::Command::new("import")
        .about("Add the records of an export, all or none of them")
        .long_about(
            "Add the records of an export to the data folder, which is made if there is none. All of them \
             are added, or none. The host must be stopped. Channels that have records already are \
             refused.",
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The file that `wharf data export` has written; `-` for standard input"),
        )
        .arg(
            Arg::new("replace")
                .long("replace")
                .action(ArgAction::SetTrue)
                .help("Remove the records that the channels of the export have already"),
        )
}

fn drop() -> clap::Command {
    clap::Command::new("drop")
        .about("Remove all records of a channel")
        .long_about(
            "Remove all records of a channel, as those of one whose plugin is gone for good. It does not \
             ask, and says what it has removed. The host must be stopped.",
        )
        .arg(channel().required(true).help("The channel"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Command;
    use crate::arguments::tests::read;

    #[test]
    fn commands_for_data_take_the_folder_before_and_after_their_name() {
        let read = |arguments: &[&str]| match read(arguments, &[]) {
            Ok(Command::Data(command, config, _)) => (command, config.data),
            other => panic!("{other:?}"),
        };
        let (usual, given) = (Some(PathBuf::from("wharf-data")), Some(PathBuf::from("d")));
        assert_eq!(read(&["backup", "b"]), (DataCommand::Backup("b".into()), usual.clone()));
        assert_eq!(
            read(&["backup", "--data", "d", "b"]),
            (DataCommand::Backup("b".into()), given.clone())
        );
        assert_eq!(read(&["data"]), (DataCommand::Overview, usual.clone()));
        assert_eq!(read(&["data", "--data", ""]), (DataCommand::Overview, None));
        let export = |to: Option<&str>| DataCommand::Export {
            to: to.map(PathBuf::from),
            channel: None,
            skip_damaged: false,
        };
        assert_eq!(read(&["data", "--data", "d", "export"]), (export(None), given.clone()));
        assert_eq!(read(&["data", "export", "-", "--data", "d"]), (export(None), given));
        assert_eq!(read(&["data", "export", "f"]), (export(Some("f")), usual.clone()));
        let import = DataCommand::Import { from: None, replace: true };
        assert_eq!(read(&["data", "import", "-", "--replace"]), (import, usual.clone()));
        for kind in Kind::ALL {
            let show = DataCommand::Show { channel: "chat".to_owned(), kind: Some(kind) };
            let arguments = ["data", "show", "chat", "--kind", kind.name()];
            assert_eq!(read(&arguments), (show, usual.clone()));
        }
    }

    #[test]
    fn commands_for_data_have_no_other_settings() {
        for command in [["backup", "--workers=1"], ["data", "--workers=1"]] {
            assert_eq!(read(&command, &[]).expect_err("no setting of theirs").exit_code(), 2);
        }
        let help = read(&["data", "export", "--help"], &[]).expect_err("help").to_string();
        assert!(help.contains("--skip-damaged") && help.contains("--config <FILE>"), "{help}");
    }
}
