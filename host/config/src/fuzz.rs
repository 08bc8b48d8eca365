//! The fuzz target `configuration`: a file, or variables if it begins with one.

use super::tests::{environment, from_file};
use super::*;

/// Returns the kind of an error and the end of its text: the beginning repeats the input.
fn kind(error: &ConfigError) -> String {
    let shown = format!("{error:?}");
    let kind = shown.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let letters = error.to_string();
    let letters = letters.chars().rev().filter(|c| c.is_ascii_alphabetic());
    format!("{kind} {}", letters.take(24).collect::<String>())
}

/// Checks that a configuration is refused with a reason, or reads back as the same when it is printed.
#[test]
fn fuzz_configuration() {
    let mut words: Vec<&[u8]> = SETTINGS.iter().map(|setting| setting.key.as_bytes()).collect();
    let others = [
        " = ",
        "\n",
        "[channels.chat]\n",
        "[channels.chat.settings]\n",
        "[channels.chat.secrets]\n",
        "[token]\n",
        "[channels.chat.token]\n",
        "{ env = \"KEY\" }",
        "{ file = \"key\" }",
        "\"\"",
        "[\"https://*.example\"]",
        "true",
        "-1",
        "1e3",
        "18446744073709551616",
        "http_hosts",
        "WHARF_",
        "WHARF_CHANNELS__CHAT__",
        "\"localhost:0\"",
        "secret",
        "public_key",
        "jwks_file",
    ];
    words.extend(others.map(str::as_bytes));
    wharf_fuzz::run("configuration", &words, |input| {
        let text = String::from_utf8_lossy(input).replace('\0', "");
        let loaded = if text.starts_with("WHARF_") {
            let variables: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
            let folder = tempfile::tempdir().expect("a folder");
            load(&Given {
                working_folder: folder.path().to_owned(),
                environment: environment(&variables),
                ..Given::default()
            })
        } else {
            from_file(&text)
        };
        match loaded {
            Ok((config, sources)) => {
                let printed = config.effective(&sources);
                // Secrets are not printed.
                if !printed.contains("***") {
                    let (again, _) = from_file(&config.effective(&Sources::default()))
                        .unwrap_or_else(|error| panic!("{error}\n{printed}"));
                    assert_eq!(again, config);
                }
                (config.channels.len().to_string(), config.token.is_some())
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                (kind(&error), false)
            }
        }
    });
}
