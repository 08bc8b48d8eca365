use std::ffi::OsString;

use proptest::prelude::*;

use super::super::{
    ChannelToken, Config, ConfigError, Given, SecretPlace, Sources, TokenKey, load,
};

const SECRET: &str = "correct-horse";

/// Returns the configuration of a folder with these files, of which the first is `wharf.toml`.
fn loaded(file: &str, variables: &[(&str, &str)]) -> Result<(Config, Sources), ConfigError> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("wharf.toml"), file).expect("a file");
    std::fs::write(folder.path().join("key"), format!("{SECRET}\r\n")).expect("a file");
    std::fs::write(folder.path().join("long"), "x".repeat(64 * 1024 + 2)).expect("a file");
    let variable = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    load(&Given {
        working_folder: folder.path().to_owned(),
        environment: variables.iter().map(variable).collect(),
        ..Given::default()
    })
}

#[track_caller]
fn config(file: &str, variables: &[(&str, &str)]) -> Config {
    loaded(file, variables).expect("a configuration").0
}

#[track_caller]
fn refusal(file: &str, variables: &[(&str, &str)]) -> String {
    let error = loaded(file, variables).expect_err("a configuration that cannot be used");
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    error.to_string()
}

#[test]
fn a_channel_has_what_its_table_says_and_another_has_nothing() {
    let config = config(
        "[channels.chat]\nhttp_hosts = [\"api.example.com\"]\npublish_to = [\"news\"]\n\
         [channels.chat.settings]\ngreeting = \"hello\"\nlimit = 5\nloud = true\nratio = 0.5\n\
         [channels.chat.secrets]\nkey = \"correct-horse\"\n",
        &[],
    );
    let chat = config.channel("chat");
    let values = ["greeting", "limit", "loud", "ratio", "key", "other"].map(|n| chat.setting(n));
    let text = [Some("hello"), Some("5"), Some("true"), Some("0.5"), Some(SECRET), None];
    assert_eq!(values, text);
    assert!(chat.grants.may_publish_to("news") && !chat.grants.may_publish_to("chat"));
    assert!(chat.grants.may_call("api.example.com", 443));
    let other = config.channel("other");
    assert_eq!(other.setting("greeting"), None);
    assert!(!other.grants.may_publish_to("news"));
}

#[test]
fn a_channels_limits_win_over_the_hosts() {
    let file = "max_connections_per_channel = 9\n[channels.chat]\n\
                max_connections_per_channel = 0\nmax_messages_per_second = \"5\"\n";
    let config = config(file, &[("WHARF_CHANNELS__NEWS__MAX_CONNECTIONS_PER_CHANNEL", "7")]);
    let limits = |name: &str| {
        let own = config.channel(name);
        (own.max_connections(&config), own.max_messages_per_second(&config))
    };
    assert_eq!([limits("chat"), limits("news"), limits("other")], [(0, 5), (7, 0), (9, 0)]);
    for (key, value) in [("max_connections_per_channel", "-1"), ("max_messages_per_second", "1.5")]
    {
        let text = refusal(&format!("[channels.chat]\n{key} = {value}"), &[]);
        assert!(text.starts_with(&format!("channels.chat.{key} ")), "{text}");
        assert!(text.contains("is not allowed: it must be 0 to "), "{text}");
    }
}

#[test]
fn a_secret_is_in_the_file_in_a_variable_or_in_a_file_of_its_own() {
    for file in
        ["key = \"correct-horse\"", "key = { env = \"ITS_KEY\" }", "key = { file = \"key\" }"]
    {
        let file = format!("[channels.chat.secrets]\n{file}");
        let config = config(&file, &[("ITS_KEY", SECRET)]);
        assert_eq!(config.channel("chat").setting("key"), Some(SECRET), "{file}");
        assert!(!format!("{config:?}").contains(SECRET));
    }
    for variable in ["KEY__FILE", "KEY__ENV"] {
        let variables =
            [(&*format!("WHARF_CHANNELS__CHAT__SECRETS__{variable}"), "key"), ("key", SECRET)];
        assert_eq!(config("", &variables).channel("chat").setting("key"), Some(SECRET));
    }
}

#[test]
fn variables_win_over_the_file_value_by_value() {
    let file =
        "[channels.my-chat]\npublish_to = [\"a\"]\n[channels.my-chat.settings]\na = 1\nb = 2\n";
    let config = config(
        file,
        &[
            ("WHARF_CHANNELS__MY_CHAT__SETTINGS__B", "3"),
            ("WHARF_CHANNELS__MY_CHAT__SECRETS__KEY", SECRET),
            ("WHARF_CHANNELS__MY_CHAT__PUBLISH_TO", "b, c"),
            ("WHARF_CHANNELS__ONLY_HERE__SETTINGS__A", "4"),
        ],
    );
    assert_eq!(config.channels.len(), 2);
    // Cargo names the file of a package called my-chat like this.
    for name in ["my-chat", "my_chat", "My-Chat"] {
        let channel = config.channel(name);
        let values = ["a", "b", "key"].map(|name| channel.setting(name));
        assert_eq!(values, [Some("1"), Some("3"), Some(SECRET)], "{name}");
        assert_eq!(channel.grants.publish_to, ["b", "c"]);
    }
    assert_eq!(config.channel("only-here").setting("a"), Some("4"));
    assert_eq!(config.channel("onlyhere").setting("a"), None);
}

#[test]
fn what_cannot_be_used_is_named_with_where_it_was_given_and_no_secret_is_repeated() {
    let chat = |rest: &str| format!("[channels.chat{rest}");
    for (file, words) in [
        ("channels = 1".to_owned(), ["channels", "table"]),
        (chat("]\nsecret = 1"), ["channels.chat.secret", "did you mean `secrets`"]),
        (chat("]\nwhatever_this_is = 1"), ["whatever_this_is", "settings, secrets, http_hosts"]),
        (chat("]\nsettings = 1"), ["channels.chat.settings", "table"]),
        (chat(".settings]\nGreeting = 1"), ["channels.chat.settings.Greeting", "lower-case"]),
        (chat(".settings]\na = [1]"), ["channels.chat.settings.a", "text"]),
        (chat(".secrets]\na = 12345"), ["channels.chat.secrets.a", "{ env = "]),
        (chat(".secrets]\na = \"\""), ["channels.chat.secrets.a", "empty"]),
        (chat(".secrets]\na = \"***\""), ["channels.chat.secrets.a", "wharf config"]),
        (
            chat(".secrets]\na = { env = \"NOT_SET\" }"),
            ["NOT_SET", "channels.chat.secrets.a (wharf.toml)"],
        ),
        (chat(".secrets]\na = { file = \"nowhere\" }"), ["nowhere", "channels.chat.secrets.a"]),
        (chat(".secrets]\na = { file = \"long\" }"), ["65536 bytes", "channels.chat.secrets.a"]),
        (chat(".secrets]\na = { fiel = \"key\" }"), ["did you mean `file`", "secrets.a.fiel"]),
        (chat(".secrets]\na = { file = \"key\", env = \"A\" }"), ["{ env = ", "secrets.a"]),
        (
            chat(".secrets]\na = \"correct-horse\"\n[channels.chat.settings]\na = 1"),
            ["secrets.a", "rename"],
        ),
        (chat("]\nhttp_hosts = [\"http://a\"]"), ["http_hosts", "api.example.com"]),
        (chat("]\npublish_to = [1]"), ["publish_to", "names of channels"]),
        ("[channels.a-b]\n[channels.a_b]".to_owned(), ["a-b", "a_b"]),
        (chat(".secrets]\na = \"correct-horse\" \"correct-horse\""), ["line 2", "not valid TOML"]),
    ] {
        let error = refusal(&file, &[]);
        for word in words {
            assert!(error.contains(word), "no {word:?} about {file:?}: {error}");
        }
    }
    let error = refusal("", &[("WHARF_CHANNELS__CHAT__SECRET__A", SECRET)]);
    assert!(
        error.contains("WHARF_CHANNELS__CHAT__SECRET__A") && error.contains("`secrets`"),
        "{error}"
    );
}

#[test]
fn what_is_in_effect_is_shown_without_secrets_and_with_where_it_comes_from() {
    let file = "[channels.chat]\nhttp_hosts = [\"a.example:81\"]\n[channels.chat.settings]\ngreeting = \"hi\"\n\
                [channels.chat.secrets]\nplain = \"correct-horse\"\nelsewhere = { file = \"key\" }\n";
    let variable = ("WHARF_CHANNELS__CHAT__SECRETS__GIVEN", SECRET);
    let (config, sources) = loaded(file, &[variable]).expect("a configuration");
    let text = config.effective(&sources);
    assert!(!text.contains(SECRET), "{text}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = text.lines().map(words).collect();
    for line in [
        "[channels.chat]",
        "http_hosts = [\"a.example:81\"] # wharf.toml",
        "greeting = \"hi\" # wharf.toml",
        "plain = \"***\" # wharf.toml",
        "elsewhere = { file = \"key\" } # wharf.toml",
        "given = \"***\" # WHARF_CHANNELS__CHAT__SECRETS__GIVEN",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "no {line:?} in {text}");
    }
    // The printed configuration without secrets reads back.
    let open = "[channels.\"a b\".settings]\nx = \"a\\nb\"\n[channels.c]\npublish_to = [\"d\"]\n";
    let (config, sources) = loaded(open, &[]).expect("a configuration");
    let (again, _) = loaded(&config.effective(&sources), &[]).expect("what was printed");
    assert_eq!(again.channels, config.channels);
}

#[test]
fn only_keys_of_this_machine_are_fetched_without_encryption() {
    let file = |address: &str| format!("[token]\njwks = \"{address}\"\n");
    for near in ["http://localhost/keys", "http://127.0.0.1:8080/keys", "http://[::1]/keys"] {
        config(&file(near), &[]);
    }
    config(&file("https://login.example.com/keys"), &[]);
    for far in
        ["http://10.0.0.1/keys", "http://localhost.example.com/keys", "HTTP://login.example.com"]
    {
        let text = refusal(&file(far), &[]);
        assert!(text.starts_with("token.jwks ") && text.contains("use `https://`"), "{text}");
    }
}

#[test]
fn rules_for_tokens_are_read_shown_and_switched_off() {
    let file = "[token]\nsecret = \"correct-horse\"\nissuer = \"us\"\n\
                [channels.open]\ntoken = false\n[channels.own.token]\njwks = \"keys.json\"\n";
    let variables = [
        ("WHARF_TOKEN__AUDIENCE", "a, b"),
        ("WHARF_CHANNELS__OWN__TOKEN__LEEWAY_SECONDS", "5"),
        ("WHARF_CHANNELS__OTHER__TOKEN", "false"),
    ];
    let (config, sources) = loaded(file, &variables).expect("a configuration");
    let token = config.token.as_ref().expect("a table");
    assert_eq!(
        (&*token.keys[0].issuers, &*token.keys[0].audiences),
        (&["us".into()][..], &["a".into(), "b".into()][..])
    );
    assert_eq!((token.query_parameter.as_deref(), token.required), (Some("token"), true));
    for name in ["open", "other"] {
        assert_eq!(config.channel(name).token, ChannelToken::Off, "{name}");
    }
    let ChannelToken::Own(own) = &config.channel("own").token else { panic!("no table") };
    // A channel's own table does not inherit from the general one.
    assert_eq!((own.leeway.as_secs(), own.keys[0].issuers.len()), (5, 0));
    assert_eq!(own.keys[0].key, TokenKey::Jwks("keys.json".into()));
    assert_eq!(config.channel("whatever").token, ChannelToken::Inherited);

    let text = config.effective(&sources);
    assert!(!text.contains(SECRET), "{text}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = text.lines().map(words).collect();
    for line in [
        "secret = \"***\" # wharf.toml",
        "audience = [\"a\", \"b\"] # WHARF_TOKEN__AUDIENCE",
        "token = false # WHARF_CHANNELS__OTHER__TOKEN",
        "leeway_seconds = 5 # WHARF_CHANNELS__OWN__TOKEN__LEEWAY_SECONDS",
        "required = true # default",
        "subprotocol = \"bearer\" # default",
        "jwks_refresh_seconds = 300 # default",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "no {line:?} in {text}");
    }
    let (again, _) = loaded(&text.replace("***", SECRET), &[]).expect("what was printed");
    assert_eq!((again.token, again.channels), (config.token, config.channels));
}

#[test]
fn several_sets_of_keys_have_tables_and_rules_of_their_own() {
    let file = "[channels.chat.token]\naudience = \"chat\"\nsubprotocol = \"\"\n\
                [channels.chat.token.keys.login]\njwks = \"https://login.example.com/keys\"\n\
                issuer = \"https://login.example.com\"\n\
                [channels.chat.token.keys.old]\npublic_key = \"old.pem\"\naudience = [\"a\"]\n";
    let variable = ("WHARF_CHANNELS__CHAT__TOKEN__KEYS__OURS__SECRET", SECRET);
    let (config, sources) = loaded(file, &[variable]).expect("a configuration");
    let ChannelToken::Own(token) = &config.channel("chat").token else { panic!("no table") };
    let names: Vec<_> = token.keys.iter().map(|keys| keys.name.as_deref()).collect();
    assert_eq!(names, [Some("login"), Some("old"), Some("ours")]);
    let audiences: Vec<_> = token.keys.iter().map(|keys| keys.audiences.join(",")).collect();
    assert_eq!(
        audiences,
        ["chat", "a", "chat"],
        "a table without a rule has that of the table above"
    );
    assert_eq!(token.keys[0].key, TokenKey::JwksUrl("https://login.example.com/keys".to_owned()));
    assert_eq!((token.keys[0].issuers.len(), token.keys[1].issuers.len()), (1, 0));
    assert_eq!(token.subprotocol, None);
    let text = config.effective(&sources);
    assert!(text.contains("[channels.chat.token.keys.login]"), "{text}");
    let (again, _) = loaded(&text.replace("***", SECRET), &[]).expect("what was printed");
    assert_eq!(again.channels, config.channels);
}

#[test]
fn secrets_of_tokens_are_text_or_base64_and_files_of_them_are_read_later() {
    let secret = |lines: &str| {
        let config = config(&format!("[token]\n{lines}\n"), &[("KEY", "Y29ycmVjdC1ob3JzZQ")]);
        let TokenKey::Secret(secret) = &config.token.expect("a table").keys[0].key else {
            panic!("no secret")
        };
        assert!(!format!("{secret:?}").contains("horse"));
        secret.place.clone()
    };
    let given = |variable: Option<&str>| {
        SecretPlace::Given(SECRET.as_bytes().into(), variable.map(str::to_owned))
    };
    for (lines, variable) in [
        ("secret = \"correct-horse\"", None),
        ("secret = \"correct-horse\"\nsecret_encoding = \"text\"", None),
        ("secret = \"Y29ycmVjdC1ob3JzZQ==\"\nsecret_encoding = \"base64\"", None),
        ("secret = \"\"\"\nY29ycmVjdC1o\nb3JzZQ==\n\"\"\"\nsecret_encoding = \"base64\"", None),
        ("secret = { env = \"KEY\" }\nsecret_encoding = \"base64url\"", Some("KEY")),
    ] {
        assert!(secret(lines) == given(variable), "{lines}");
    }
    let file = "secret = { file = \"nowhere\" }\nsecret_encoding = \"bytes\"";
    assert!(matches!(secret(file), SecretPlace::File(path) if path.ends_with("nowhere")));
}

#[test]
fn what_is_no_key_is_named_by_its_kind_and_the_key_that_it_is_for() {
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----";
    let secret = |value: &str| format!("secret = '''{value}'''");
    let base64 = |value: &str| format!("{}\nsecret_encoding = \"base64\"", secret(value));
    for (lines, words) in [
        (secret(pem), ["token.secret", "a public key in PEM (Ed25519)", "`public_key`"]),
        (
            secret("-----BEGIN CERTIFICATE-----\nAA"),
            ["token.secret", "a certificate in PEM", "`public_key`"],
        ),
        (secret("{\"keys\":[]}"), ["token.secret", "a JSON Web Key Set", "`jwks`"]),
        (
            secret("{\"kty\":\"oct\",\"k\":\"AA\"}"),
            ["token.secret", "a single JSON Web Key", "base64url"],
        ),
        (secret("eyJhbGciOiJub25lIn0.e30.AAAA"), ["token.secret", "a token", "secret is expected"]),
        (base64("a-b_cQ=="), ["token.secret", "not base64 but base64url", "secret_encoding"]),
        (base64("%"), ["token.secret", "not base64", "another form"]),
        (
            base64("LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0="),
            ["token.secret", "in base64", "public key"],
        ),
        (
            base64("AA==").replace("base64", "base65"),
            ["token.secret_encoding", "`base64url`", "`bytes`"],
        ),
        (base64("AA==").replace("base64", "bytes"), ["token.secret", "bytes", "file = "]),
        (format!("public_key = '''{pem}'''"), ["token.public_key", "itself", "write it to a file"]),
        ("jwks = '{\"keys\":[]}'".to_owned(), ["token.jwks", "a JSON Web Key Set", "to a file"]),
        ("jwks = \"ftp://a/b\"".to_owned(), ["token.jwks", "`https://`", "path"]),
        ("jwks = \"https://ann@a/b\"".to_owned(), ["token.jwks", "no user", "host"]),
        (
            "jwks = \"a\"\nsecret_encoding = \"text\"".to_owned(),
            ["token.secret_encoding", "`secret`", "none"],
        ),
        ("jwks_refresh_seconds = 0".to_owned(), ["jwks_refresh_seconds", "1 to 86400", "seconds"]),
        ("subprotocol = \"a b\"".to_owned(), ["token.subprotocol", "subprotocol's name", "none"]),
        ("[token.keys.a]\nissuer = \"us\"".to_owned(), ["token.keys.a", "give one of", "`jwks`"]),
        (
            "[token.keys.a]\nrequired = true".to_owned(),
            ["token.keys.a.required", "there are secret", "jwks"],
        ),
        ("[token.keys.A]\njwks = \"a\"".to_owned(), ["token.keys.A", "lower-case", "name"]),
    ] {
        let error = refusal(&format!("[token]\n{lines}\n"), &[]);
        for word in words {
            assert!(error.contains(word), "no {word:?} about {lines:?}: {error}");
        }
    }
}

proptest! {
    #[test]
    fn no_input_panics(name in "WHARF_CHANNELS__\\PC{0,40}", value in "\\PC{0,40}", key in "[a-z_.\"]{0,20}") {
        let _ = loaded(&format!("[channels.{key}]\n{key} = \"{value}\""), &[]);
        let _ = loaded("", &[(&name.replace('\0', ""), &value.replace('\0', ""))]);
    }
}
