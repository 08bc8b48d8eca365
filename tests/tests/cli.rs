//! The command line and the configuration, from an operator's point of view.

use std::fs;
use std::process::Output;

use wharf_tests::{Line, Wharf, run, run_in};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the line of `wharf config` about a key.
fn line<'a>(text: &'a str, key: &str) -> &'a str {
    let start = format!("{key} = ");
    text.lines()
        .find(|line| line.starts_with(&start))
        .unwrap_or_else(|| panic!("no {key} in {text}"))
}

#[test]
fn help_names_the_commands_and_shows_an_example() {
    for arguments in [["--help"].as_slice(), &["help"]] {
        let output = run(arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let help = said(&output);
        for word in ["serve", "config", "wharf serve --plugins"] {
            assert!(help.contains(word), "{arguments:?} does not say {word:?}: {help}");
        }
    }
    let serve = said(&run(&["serve", "--help"], &[]));
    for word in
        ["--max-message-bytes", "WHARF_MAX_MESSAGE_BYTES", "max_message_bytes = ", "[default:"]
    {
        assert!(serve.contains(word), "{word:?} is not in the help of serve");
    }
    let version = run(&["--version"], &[]);
    assert!(said(&version).starts_with("wharf 0."), "{}", said(&version));
}

#[test]
fn each_shell_gets_its_completions() {
    for (shell, words) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef wharf"),
        ("fish", "complete -c wharf"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let output = run(&["completions", shell], &[]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = said(&output);
        for word in [words, "max-message-bytes", "template"] {
            assert!(script.contains(word), "{word:?} is not in the completions of {shell}");
        }
    }
    let output = run(&["completions", "sh"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(complained(&output).contains("bash"), "{}", complained(&output));
}

#[test]
fn each_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().to_string_lossy().into_owned();
    let output = run(&["man", &place], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
    for (page, words) in [
        ("wharf", ["wharf\\-serve(1)", "WASM\\-scriptable"]),
        ("wharf-serve", ["max\\-message\\-bytes", "Examples:"]),
        ("wharf-data-export", ["skip\\-damaged", "export"]),
        ("wharf-health", ["\\-\\-ready", "exit code"]),
    ] {
        let file = folder.path().join(format!("{page}.1"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".TH "), "{page} is no manual page: {text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in the page {page}: {text}");
        }
    }
    let output = run(&["man", &format!("{place}/nowhere")], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complained(&output).contains("no manual pages can be written to"),
        "{}",
        complained(&output)
    );
}

#[test]
fn without_a_command_there_is_help_and_exit_code_2() {
    let output = run(&[], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(complained(&output).contains("Usage: wharf"), "{}", complained(&output));
}

#[test]
fn config_shows_what_is_in_effect_and_where_it_comes_from() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("wharf.toml"),
        "max_connections = 7\nworkers = 3\nlog = \"warn\"\n",
    )
    .expect("a file");
    let environment = [("WHARF_WORKERS", "4"), ("WHARF_MAX_MESSAGE_BYTES", "64KiB")];
    let output = run_in(folder.path(), &["config", "--log", "debug"], &environment);
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
    let text = said(&output);
    for (key, value, origin) in [
        ("max_connections", "7", "wharf.toml"),
        ("workers", "4", "WHARF_WORKERS"),
        ("max_message_bytes", "65536", "WHARF_MAX_MESSAGE_BYTES"),
        ("log", "\"debug\"", "--log"),
        ("listen", "\"localhost:4000\"", "default"),
    ] {
        let line = line(&text, key);
        assert!(line.starts_with(&format!("{key} = {value} ")), "{line}");
        assert!(line.contains(origin), "{line}");
    }
    // The output is a file that `serve` reads, with the same meaning.
    let copy = folder.path().join("copy.toml");
    fs::write(&copy, &text).expect("a file");
    let again = said(&run_in(folder.path(), &["config", "--config", "copy.toml"], &[]));
    for line in text.lines().filter(|line| line.contains(" = ")) {
        let setting = line.split(" #").next().unwrap_or_default().trim_end();
        assert!(again.contains(setting), "{setting} has changed");
    }
}

#[tokio::test]
async fn variables_of_somebody_else_are_told_and_do_not_keep_the_host_from_starting() {
    let environment =
        [("WHARF_NAME", "/web/wharf"), ("WHARF_IMAGE", "x"), ("WHARF_ENV_PATH", "/bin")];
    let output = run(&["config"], &environment);
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
    for (name, _) in environment {
        assert!(complained(&output).contains(name), "{}", complained(&output));
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("plugins")).expect("a folder for plugins");
    let variables = environment.map(|(name, value)| format!("{name}={value}"));
    let mut wrapper = vec!["env"];
    wrapper.extend(variables.iter().map(String::as_str));
    let wharf = Wharf::start_under(&wrapper, folder, &[]).await;
    let is_told = |line: &Line| line.message().contains("WHARF_IMAGE");
    let line = wharf.log.wait_for("the warning", is_told).await;
    assert_eq!(line.str("level"), "WARN");
    assert_eq!(wharf.log.find(is_told).len(), 1, "one line for all of them");
}

#[test]
fn what_cannot_be_used_is_named_with_where_it_was_given_and_exit_code_2() {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, arguments, environment, words) in [
        (
            "max_mesage_bytes = 1",
            [].as_slice(),
            [].as_slice(),
            ["max_mesage_bytes", "max_message_bytes"],
        ),
        ("workers = \"many\"", &[], &[], ["workers", "wharf.toml"]),
        ("workers = 3 = 4", &[], &[], ["wharf.toml", "line 1"]),
        ("", &["--workers", "1000"], &[], ["--workers", "512"]),
        ("", &["--max-mesage-bytes", "1"], &[], ["--max-mesage-bytes", "--max-message-bytes"]),
        ("", &["--listen", "localhost"], &[], ["--listen", "localhost"]),
        ("", &["--config", "missing.toml"], &[], ["missing.toml", "No such file"]),
        ("", &[], &[("WHARF_PAGE", "maybe")], ["WHARF_PAGE", "true"]),
        (
            "",
            &[],
            &[("WHARF_MAX_CONECTIONS", "1")],
            ["WHARF_MAX_CONECTIONS", "WHARF_MAX_CONNECTIONS"],
        ),
        ("", &["--cpu-budget-ms", "9000"], &[], ["cpu_budget_ms", "wall_budget_ms"]),
        ("", &["--log", "loud"], &[], ["log", "loud"]),
    ] {
        fs::write(folder.path().join("wharf.toml"), file).expect("a file");
        for command in ["serve", "config"] {
            let arguments: Vec<_> = [command].iter().chain(arguments).copied().collect();
            let output = run_in(folder.path(), &arguments, environment);
            let complaint = complained(&output);
            let case = format!("{file:?} {arguments:?} {environment:?}: {complaint}");
            assert_eq!(output.status.code(), Some(2), "{case}");
            for word in words {
                assert!(
                    complaint.to_lowercase().contains(&word.to_lowercase()),
                    "no {word:?}: {case}"
                );
            }
        }
    }
}

#[test]
fn a_missing_plugin_folder_is_named_with_what_to_do() {
    let output = run(&["serve", "--plugins", "nowhere", "--listen", "127.0.0.1:0"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = complained(&output);
    for word in ["nowhere", "--plugins"] {
        assert!(complaint.contains(word), "{complaint}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_what_to_do() {
    let wharf = Wharf::start(&[], &[]).await;
    let address = wharf.address.to_string();
    let output = run_in(wharf.folder(), &["serve", "--listen", &address], &[]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = complained(&output);
    assert!(complaint.contains(&address) && complaint.contains("--listen"), "{complaint}");
}

#[tokio::test]
async fn a_file_in_the_working_directory_is_used_and_its_paths_are_relative_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("plugins")).expect("a folder");
    let echo = wharf_tests::artefacts::component("echo");
    fs::write(folder.path().join("plugins/echo.wasm"), echo).expect("a plugin");
    fs::write(folder.path().join("wharf.toml"), "max_message_bytes = \"10 parsecs\"\n")
        .expect("a file");
    // The unit does not exist.
    let output = run_in(folder.path(), &["config"], &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    fs::write(folder.path().join("wharf.toml"), "max_message_bytes = 10\n").expect("a file");
    let wharf = Wharf::start_in(folder, &[]).await;
    let mut client = wharf.connect("/echo").await;
    assert_eq!(client.ask("0123456789").await, "0123456789");
    client.send("0123456789a").await;
    assert_eq!(client.close_code().await, 1009);
}

#[tokio::test]
async fn an_empty_plugin_folder_is_pointed_out() {
    let wharf = Wharf::start(&[], &[]).await;
    let line = wharf.log.wait_for("a hint", |line| line.begins("no plugin is loaded")).await;
    assert_eq!(line.str("level"), "WARN");
}

/// Runs a shell with the program as `$0`, and returns its output.
fn shell(script: &str) -> Output {
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(script).arg(wharf_tests::artefacts::binary());
    shell.env_clear().output().expect("a shell")
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error_in_one_line() {
    for command in ["config", "--help", "--version", "serve --help"] {
        let output = shell(&format!("exec \"$0\" {command} > /dev/full"));
        assert_eq!(output.status.code(), Some(1), "{command}");
        let complaint = complained(&output);
        assert_eq!(complaint.lines().count(), 1, "{command}: {complaint}");
        assert!(complaint.contains("standard output cannot be written to"), "{complaint}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    for command in ["config", "--help", "serve --help"] {
        let script = format!("{{ \"$0\" {command}; echo $? >&2; }} | true");
        // The reader may be gone before or after the text is written.
        for _ in 0..5 {
            assert_eq!(complained(&shell(&script)), "0\n", "{command}");
        }
    }
}

#[test]
fn a_complaint_that_cannot_be_written_is_still_an_exit_code() {
    for (command, code) in [("nonsense", 2), ("serve --plugins /nowhere", 1)] {
        let output = shell(&format!("exec \"$0\" {command} 2> /dev/full"));
        assert_eq!(output.status.code(), Some(code), "{command}");
    }
}
