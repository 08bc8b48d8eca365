use std::ffi::OsString;
use std::path::Path;

use proptest::prelude::*;

use super::order::ORDERED;
use super::*;

/// Returns a folder with this `wharf.toml` in it, as the working folder.
fn folder_with(file: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("wharf.toml"), file).expect("a file");
    folder
}

pub(super) fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

pub(super) fn from_file(file: &str) -> Result<(Config, Sources), ConfigError> {
    let folder = folder_with(file);
    load(&Given { working_folder: folder.path().to_owned(), ..Given::default() })
}

/// Loads these variables like [`from_file`], in a folder without a file.
fn from_environment(variables: &[(&str, &str)]) -> Result<(Config, Sources), ConfigError> {
    let folder = tempfile::tempdir().expect("a folder");
    load(&Given {
        working_folder: folder.path().to_owned(),
        environment: environment(variables),
        ..Given::default()
    })
}

#[track_caller]
fn refusal(result: Result<(Config, Sources), ConfigError>) -> String {
    result.expect_err("a configuration that cannot be used").to_string()
}

#[test]
fn without_any_source_the_defaults_are_in_effect() {
    let (config, sources) = from_environment(&[]).expect("defaults");
    assert_eq!(config, Config::default());
    assert_eq!(sources, Sources::default());
}

#[test]
fn the_defaults_fit_each_other() {
    Config::default().check(&Sources::default()).expect("defaults");
}

#[test]
fn every_default_is_allowed() {
    for setting in SETTINGS {
        let file = format!("{} = {}", setting.key, setting.show(&Config::default()));
        from_file(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[test]
fn later_sources_win_and_are_named() {
    let folder = folder_with("workers = 1\nmax_instances = 10\nmax_connections = 100\n");
    let (config, sources) = load(&Given {
        working_folder: folder.path().to_owned(),
        file: None,
        environment: environment(&[("WHARF_WORKERS", "2"), ("WHARF_MAX_INSTANCES", "20")]),
        flags: vec![("workers", "3".to_owned())],
    })
    .expect("a configuration");
    assert_eq!((config.workers, config.max_instances, config.max_connections), (3, 20, 100));
    assert_eq!(*sources.of("workers"), Source::Flag("workers".to_owned()));
    assert_eq!(*sources.of("max_instances"), Source::Environment("WHARF_MAX_INSTANCES".to_owned()));
    assert_eq!(*sources.of("max_connections"), Source::File("wharf.toml".into()));
    assert_eq!(*sources.of("listen"), Source::Default);
}

#[test]
fn a_list_replaces_an_earlier_list() {
    let folder = folder_with("allowed_origins = [\"https://a.example\"]");
    let (config, _) = load(&Given {
        working_folder: folder.path().to_owned(),
        environment: environment(&[("WHARF_ALLOWED_ORIGINS", "https://b.example, *")]),
        ..Given::default()
    })
    .expect("a configuration");
    let origins: Vec<_> = config.allowed_origins.iter().map(AllowedOrigin::to_string).collect();
    assert_eq!(origins, ["https://b.example", "*"]);
}

#[test]
fn durations_are_in_milliseconds() {
    let (config, _) = from_file("cpu_budget_ms = 250").expect("a duration");
    assert_eq!(config.cpu_budget, Duration::from_millis(250));
}

#[test]
fn sizes_may_have_a_unit() {
    for (text, bytes) in
        [("64KiB", 65_536), ("64 KiB", 65_536), ("1MiB", 1 << 20), ("2kB", 2000), ("70000", 70_000)]
    {
        let (config, _) = from_file(&format!("max_message_bytes = \"{text}\"")).expect(text);
        assert_eq!(config.max_message_bytes, bytes);
        let (config, _) = from_environment(&[("WHARF_MAX_MESSAGE_BYTES", text)]).expect(text);
        assert_eq!(config.max_message_bytes, bytes);
    }
    for text in ["KiB", "1.5MiB", "1 mib", "-1KiB", "99999999999999999999999999999999999999GiB"] {
        let error = refusal(from_environment(&[("WHARF_MAX_MESSAGE_BYTES", text)]));
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn text_that_looks_like_a_number_is_still_text() {
    let (config, _) = from_environment(&[("WHARF_PLUGINS", "2024")]).expect("a folder");
    assert_eq!(config.plugins, Path::new("2024"));
}

#[test]
fn a_value_out_of_range_is_refused_with_key_value_source_and_range() {
    let error = refusal(from_file("max_header_bytes = 100"));
    for part in ["max_header_bytes = 100", "wharf.toml", "8192 to 1048576 bytes"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = refusal(from_environment(&[("WHARF_LISTEN", "localhost")]));
    for part in ["listen = \"localhost\"", "WHARF_LISTEN", "localhost:4000"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    for file in [
        "workers = \"many\"",
        "workers = 1.5",
        "workers = -1",
        "workers = [1]",
        "listen = 4000",
        "page = 1",
        "log = \"\"",
        "log = \"=what=\"",
        "log_format = \"xml\"",
        "allowed_origins = [1]",
        "plugins = \"\"",
        "[workers]\nmin = 1",
    ] {
        let error = from_file(file).expect_err(file);
        assert!(matches!(error, ConfigError::Invalid { .. }), "{file}: {error}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    for (file, key, nearest) in [
        ("max_mesage_bytes = 1", "max_mesage_bytes", "`max_message_bytes`"),
        ("keep_alive_interval = 1", "keep_alive_interval", "`keep_alive_interval_ms`"),
        ("Listen = \"\"", "Listen", "`listen`"),
        ("[channel.chat]\nmax_connections = 1", "channel", "`channels`"),
        ("[tokens]\nsecret = \"x\"", "tokens", "`token`"),
    ] {
        let error = refusal(from_file(file));
        for part in [key, "wharf.toml", nearest] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    let error = refusal(from_file("[something_else]\nx = 1"));
    assert!(error.contains("something_else") && error.contains("--help"), "{error}");
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_one() {
    let error = refusal(from_environment(&[("WHARF_LISTN", "127.0.0.1:1")]));
    assert!(error.contains("WHARF_LISTN") && error.contains("WHARF_LISTEN"), "{error}");
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_are_no_settings() {
    let (config, _) = from_environment(&[
        ("WHARF_SERVICE_HOST", "10.0.0.1"),
        ("WHARF_SERVICE_PORT", "4000"),
        ("WHARF_SERVICE_PORT_HTTP", "4000"),
        ("WHARF_PORT", "tcp://10.0.0.1:4000"),
        ("WHARF_PORT_4000_TCP", "tcp://10.0.0.1:4000"),
        ("WHARF_PORT_4000_TCP_ADDR", "10.0.0.1"),
        ("WHARF_REDIS_PORT_6379_TCP_PROTO", "tcp"),
    ])
    .expect("nothing that is ours");
    assert_eq!(config, Config::default());
}

#[test]
fn variables_that_resemble_no_setting_are_told_and_ignored() {
    let (config, sources) = from_environment(&[
        ("WHARF_NAME", "/web/wharf"),
        ("WHARF_IMAGE", "x"),
        ("WHARF_PORT", "4000"),
        ("WHARF_ENV_PATH", "/bin"),
    ])
    .expect("nothing that is ours");
    assert_eq!(config, Config::default());
    let told = sources.ignored().expect("a sentence");
    for name in ["WHARF_NAME", "WHARF_IMAGE", "WHARF_PORT", "WHARF_ENV_PATH", "--help"] {
        assert!(told.contains(name), "{told}");
    }
    let (_, sources) = from_environment(&[("WHARF_VERSION", "1")]).expect("not ours");
    let told = sources.ignored().expect("a sentence");
    assert!(told.starts_with("WHARF_VERSION names no setting and is ignored"), "{told}");
    assert_eq!(from_environment(&[]).expect("defaults").1.ignored(), None);
}

#[test]
fn variables_that_resemble_a_setting_are_mistakes() {
    for (name, meant) in [
        ("WHARF_LISTN", "WHARF_LISTEN"),
        ("WHARF_PAGES", "WHARF_PAGE"),
        ("WHARF_MAX_MESSAGE", "WHARF_MAX_MESSAGE_BYTES"),
        ("WHARF_MAX_CONNECTION", "WHARF_MAX_CONNECTIONS"),
        ("WHARF_HANDSHAKE_TIMEOUT", "WHARF_HANDSHAKE_TIMEOUT_MS"),
    ] {
        let error = refusal(from_environment(&[(name, "1")]));
        assert!(error.contains(name) && error.contains(&format!("`{meant}`")), "{error}");
    }
    // A table is the host's, whatever is wrong in it.
    refusal(from_environment(&[("WHARF_CHANNELS__CHAT__SETINGS__X", "1")]));
}

#[test]
fn other_variables_are_not_looked_at() {
    from_environment(&[("PATH", "/bin"), ("WHARFLISTEN", "x")]).expect("nothing that is ours");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let value = OsString::from_vec(b"plug\xffins".to_vec());
    let given = Given { environment: vec![("WHARF_PLUGINS".into(), value)], ..Given::default() };
    assert!(refusal(load(&given)).contains("WHARF_PLUGINS"));
}

#[test]
fn a_named_file_must_exist() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut given = Given {
        working_folder: folder.path().to_owned(),
        file: Some("other.toml".into()),
        ..Given::default()
    };
    assert!(refusal(load(&given)).contains("other.toml"));
    given.file = None;
    given.environment = environment(&[("WHARF_CONFIG", "third.toml")]);
    assert!(refusal(load(&given)).contains("third.toml"));
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_line() {
    let error = refusal(from_file("workers = 1\nworkers = = 2\n"));
    assert!(error.contains("wharf.toml") && error.contains("line 2"), "{error}");
}

#[test]
fn a_relative_folder_in_a_file_is_relative_to_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("conf")).expect("a folder");
    let file = "plugins = \"here\"\ncache = \"there\"";
    std::fs::write(folder.path().join("conf/w.toml"), file).expect("a file");
    let mut given = Given {
        working_folder: folder.path().to_owned(),
        file: Some("conf/w.toml".into()),
        ..Given::default()
    };
    let (config, _) = load(&given).expect("a configuration");
    assert_eq!(config.plugins, Path::new("conf/here"));
    assert_eq!(config.cache.as_deref(), Some(Path::new("conf/there")));
    given.flags = vec![("plugins", "here".to_owned())];
    assert_eq!(load(&given).expect("a configuration").0.plugins, Path::new("here"));
}

#[test]
fn data_is_beside_the_file_unless_it_is_said_where() {
    let root = tempfile::tempdir().expect("a folder");
    let file = root.path().join("wharf.toml");
    let data = |content: &str, variables: &[(&str, &str)]| {
        std::fs::write(&file, content).expect("a file");
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let given = Given {
            file: Some(file.clone()),
            environment: environment.collect(),
            ..Given::default()
        };
        load(&given).expect("a configuration").0.data
    };
    assert_eq!(data("", &[]), Some(root.path().join("wharf-data")));
    assert_eq!(data("data = \"kept\"", &[]), Some(root.path().join("kept")));
    assert_eq!(data("data = \"\"", &[]), None);
    assert_eq!(data("", &[("WHARF_DATA", "here")]), Some(PathBuf::from("here")));
    assert_eq!(data("", &[("WHARF_DATA", "")]), None);
    let without_file = from_environment(&[]).expect("the defaults").0.data;
    assert_eq!(without_file, Some(PathBuf::from("wharf-data")));
}

#[test]
fn the_cache_is_in_the_users_own_unless_another_or_none_is_given() {
    let cache = |variables: &[(&str, &str)]| from_environment(variables).expect("a folder").0.cache;
    let home = ("HOME", "/h");
    assert_eq!(cache(&[home]).as_deref(), Some(Path::new("/h/.cache/wharf")));
    assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x")]).as_deref(), Some(Path::new("/x/wharf")));
    for ignored in ["", "relative"] {
        let found = cache(&[("XDG_CACHE_HOME", ignored), home]);
        assert_eq!(found.as_deref(), Some(Path::new("/h/.cache/wharf")), "{ignored:?}");
    }
    assert_eq!(cache(&[]), None);
    assert_eq!(cache(&[home, ("WHARF_CACHE", "there")]).as_deref(), Some(Path::new("there")));
    assert_eq!(cache(&[home, ("WHARF_CACHE", "")]), None);
}

#[test]
fn settings_that_are_compared_exist_and_have_one_unit() {
    for (small, large, _) in ORDERED {
        let unit = |key: &str| {
            let setting = Setting::find(key).unwrap_or_else(|| panic!("no setting {key}"));
            setting.metavar()
        };
        assert_eq!(unit(small), unit(large), "{small} and {large}");
    }
}

#[test]
fn limits_that_contradict_each_other_are_refused_with_both_named() {
    for (file, keys) in [
        (
            "outbound_queue_bytes = 65536",
            ["max_outbound_message_bytes = 1048576 (default)", "outbound_queue_bytes = 65536"],
        ),
        ("hostcall_bytes = 65536", ["max_outbound_message_bytes", "hostcall_bytes"]),
        ("max_effect_bytes_per_event = 1", ["max_outbound", "max_effect_bytes_per_event"]),
        (
            "max_effect_bytes_per_event = \"2MiB\"",
            ["max_effect_bytes_per_event", "outbound_queue_bytes"],
        ),
        ("cpu_budget_ms = 9000", ["cpu_budget_ms = 9000 (wharf.toml)", "wall_budget_ms"]),
        ("settle_ms = 3000", ["settle_ms", "reconcile_ms"]),
        ("max_instances_per_channel = 1", ["reserved_instances_per_channel = 4", "channel = 1"]),
        ("max_message_bytes = \"128MiB\"", ["max_message_bytes", "max_memory_bytes"]),
        ("max_session_bytes = \"9MiB\"", ["max_session_bytes", "hostcall_bytes"]),
        ("max_store_value_bytes = \"9MiB\"", ["max_store_value_bytes", "hostcall_bytes"]),
        ("max_store_bytes = \"64KiB\"", ["max_store_value_bytes", "max_store_bytes"]),
    ] {
        let error = refusal(from_file(file));
        for key in keys {
            assert!(error.contains(key), "{key}: {error}");
        }
    }
}

#[test]
fn the_effective_configuration_names_every_source() {
    let folder = folder_with("workers = 2\nlog = \"warn\"");
    let (config, sources) = load(&Given {
        working_folder: folder.path().to_owned(),
        environment: environment(&[("WHARF_LISTEN", "[::1]:80")]),
        flags: vec![("workers", "3".to_owned())],
        ..Given::default()
    })
    .expect("a configuration");
    let text = config.effective(&sources);
    let line = |key: &str| {
        let found = text.lines().find(|line| line.starts_with(&format!("{key} = ")));
        found.expect(key).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("workers"), "workers = 3 # --workers");
    assert_eq!(line("log"), "log = \"warn\" # wharf.toml");
    assert_eq!(line("listen"), "listen = \"[::1]:80\" # WHARF_LISTEN");
    assert_eq!(line("page"), "page = true # default");
    assert_eq!(line("settle_ms"), "settle_ms = 50 # default");
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_as_the_same_configuration(
        workers in 0_usize..=512,
        message in 1_usize..=1 << 20,
        interval in 10_u64..=DAY,
        page: bool,
        plugins in "[^\0]{1,20}",
        port: u16,
        addresses in 1_usize..=2,
    ) {
        let config = Config {
            workers,
            max_message_bytes: message,
            keep_alive_interval: Duration::from_millis(interval),
            page,
            plugins: plugins.into(),
            listen: [Listen::Localhost(port), Listen::Unix("/run/a".into())]
                .into_iter()
                .take(addresses)
                .collect(),
            log_format: LogFormat::Json,
            allowed_origins: AllowedOrigin::parse("https://*.a.example:8443").into_iter().collect(),
            ..Config::default()
        };
        let (read, _) = from_file(&config.effective(&Sources::default())).expect("what was printed");
        prop_assert_eq!(read, config);
    }

    #[test]
    fn no_input_panics(name in "WHARF_\\PC{0,80}", value in "\\PC{0,80}", file in "\\PC{0,80}") {
        let _ = from_file(&file);
        let _ = from_environment(&[(&name, &value)]);
        for setting in SETTINGS {
            let _ = from_environment(&[(&setting.variable(), &value)]);
        }
        let origin = Origin::parse(&name);
        let _ = AllowedOrigin::parse(&value).zip(origin).map(|(allowed, origin)| allowed.matches(&origin));
    }
}

/// Marks around the generated part of `docs/configuration.md`.
const GENERATED: [&str; 2] = ["<!-- settings: begin", "<!-- settings: end -->"];

/// Compares the page with the list of settings, or writes it anew if `WHARF_DOCS=overwrite` asks
/// for it.
#[test]
fn the_configuration_page_shows_every_setting_as_it_is() {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let page = folders
        .find_map(|folder| Some(folder.join("docs/configuration.md")).filter(|page| page.exists()))
        .expect("docs/configuration.md is in the repository");
    let text = std::fs::read_to_string(&page).expect("the page is a text");
    let (before, rest) = text.split_once(GENERATED[0]).expect("the first mark");
    let (mark, rest) = rest.split_once('\n').expect("a line");
    let (shown, after) = rest.split_once(GENERATED[1]).expect("the last mark");
    let wanted = format!("\n{}\n\n", reference().trim_end());
    if std::env::var_os("WHARF_DOCS").is_some_and(|value| value == "overwrite") {
        let text =
            [before, GENERATED[0], mark, "\n", wanted.as_str(), GENERATED[1], after].concat();
        std::fs::write(&page, text).expect("the page can be written");
        return;
    }
    let differing = wanted.lines().zip(shown.lines()).find(|(wanted, shown)| wanted != shown);
    assert!(
        shown == wanted,
        "docs/configuration.md is not what the list of settings says; run this test with \
         WHARF_DOCS=overwrite. First difference, wanted and shown: {differing:#?}"
    );
}
