//! The reading of all sources, and their merging into one configuration.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::mistake::{excerpt, unknown, unknown_variable};
use super::sources::{Source, Sources};
use super::tables::{self, Contents, Tables};
use super::{Config, ConfigError, Listen, SETTINGS, Secret, Stated};

/// The file that is read if none is named.
const DEFAULT_FILE: &str = "wharf.toml";
/// The key of the host's own secret.
/// A function that returns the field of a secret.
type SecretField = fn(&mut Config) -> &mut Option<Secret>;

/// The settings of the host that are secrets, with their fields.
const SECRETS: [(&str, SecretField); 3] = [
    ("operator_token", |config| &mut config.operator_token),
    ("metrics_token", |config| &mut config.metrics_token),
    ("cluster", |config| &mut config.cluster),
];
/// The variable that names the file.
const FILE_VARIABLE: &str = "WHARF_CONFIG";
/// The variable that names the folder of compiled plugins.
const CACHE_VARIABLE: &str = "WHARF_CACHE";
/// The prefix of the variables of `wharf test`, for a plugin's tests that start a server of their
/// own.
const TEST_VARIABLES: &str = "WHARF_TEST_";

/// The operator's input, before it is read.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Folder in which `wharf.toml` is looked for and to which paths outside of files are relative:
    /// empty for the working directory.
    pub working_folder: PathBuf,
    /// The file named by a flag.
    pub file: Option<PathBuf>,
    /// Environment. Only variables that start with `WHARF_` are settings; others name the user's
    /// cache folder.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags by the key of their setting.
    pub flags: Vec<(&'static str, String)>,
}

/// Merges all sources into one checked configuration.
///
/// # Errors
///
/// The first mistake: a file, a key, a value, or two values that do not fit.
pub fn load(given: &Given) -> Result<(Config, Sources), ConfigError> {
    let mut sources = Sources::default();
    let (file, environment) = (read_file(given)?, read_environment(given, &mut sources)?);
    let folder_of_file = match file.as_ref().map(|layer| &layer.source) {
        Some(Source::File(path)) => path.parent().map(Path::to_owned),
        _ => None,
    };
    let flags = given.flags.iter().map(|(key, text)| Layer {
        source: Source::Flag(key.replace('_', "-")),
        values: Dict::from([((*key).to_owned(), Value::from(text.as_str()))]),
    });

    let mut layers: Vec<Layer> = file.into_iter().chain(environment).chain(flags).collect();
    let in_tables = layers.iter_mut().flat_map(|layer| {
        tables::ALL_KEYS.into_iter().filter_map(|key| {
            let value = layer.values.remove(key)?;
            Some((layer.source.clone(), key, value))
        })
    });
    let in_tables: Vec<(Source, &'static str, Value)> = in_tables.collect();
    let mut merged = Figment::new();
    for (index, layer) in layers.iter().enumerate() {
        merged = merged.merge(Numbered { index, layer });
    }

    let mut values =
        merged.data().unwrap_or_default().remove(&Profile::Default).unwrap_or_default();
    let source_of = |value: &Value| {
        let metadata = merged.get_metadata(value.tag());
        let index = metadata.and_then(|metadata| metadata.name.parse::<usize>().ok());
        index
            .and_then(|index| layers.get(index))
            .map_or(Source::Default, |layer| layer.source.clone())
    };

    let mut config = Config::default();
    let variable = |name: &str| {
        let mut variables = given.environment.iter();
        variables.find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let tables = Tables { variable: &variable, working_folder: &given.working_folder };
    // A secret may be kept elsewhere, and an error about one does not repeat it.
    for (key, field) in SECRETS {
        let Some(value) = values.remove(key) else { continue };
        let source = source_of(&value);
        if value.as_str() != Some("") {
            *field(&mut config) = Some(tables.secret_of_host(key, &value, &source)?);
        }
        sources.note(key, &source);
    }
    for setting in SETTINGS {
        let Some(value) = values.remove(setting.key) else {
            continue;
        };
        let source = source_of(&value);
        if !(setting.set)(&mut config, &value) {
            let stated = Stated { key: setting.key, value: excerpt(&value), source };
            return Err(ConfigError::Invalid { stated, allowed: setting.allowed() });
        }
        sources.note(setting.key, &source);
    }
    if let Some((key, value)) = values.into_iter().next() {
        return Err(unknown(key, source_of(&value)));
    }

    let beside = |key: &str, path: &mut PathBuf| {
        if let Source::File(file) = sources.of(key)
            && let Some(folder) = file.parent()
        {
            *path = folder.join(&path);
        }
    };
    beside("plugins", &mut config.plugins);
    for (key, listen) in
        [("listen", &mut config.listen), ("operator_listen", &mut config.operator_listen)]
    {
        listen.iter_mut().filter_map(Listen::path_mut).for_each(|path| beside(key, path));
    }
    if let Some(cache) = &mut config.cache {
        beside("cache", cache);
    }
    if let Some(data) = &mut config.data {
        beside("data", data);
        if let (Source::Default, Some(folder)) = (sources.of("data"), folder_of_file) {
            *data = folder.join(&data);
        }
    }
    if let Some(roots) = &mut config.http_extra_roots {
        beside("http_extra_roots", roots);
    }
    for (key, certificates) in
        [("tls", &mut config.tls), ("operator_tls", &mut config.operator_tls)]
    {
        for files in certificates {
            beside(key, &mut files.certificate);
            beside(key, &mut files.key);
        }
    }
    for (key, authorities) in [
        ("tls_client_authorities", &mut config.tls_client_authorities),
        ("operator_tls_client_authorities", &mut config.operator_tls_client_authorities),
    ] {
        authorities.iter_mut().for_each(|path| beside(key, path));
    }
    if *sources.of("cache") == Source::Default {
        config.cache = user_cache(&given.environment);
    }
    config.listen_at(config.listen.clone(), &sources);
    let Contents { channels, token } = tables.read(&in_tables, &mut sources)?;
    (config.channels, config.token) = (channels, token);
    config.check(&sources)?;
    Ok((config, sources))
}

/// Returns the folder of compiled plugins, as the environment alone determines it.
pub fn cache_of(environment: &[(OsString, OsString)]) -> Option<PathBuf> {
    match environment.iter().find(|(name, _)| name == CACHE_VARIABLE) {
        Some((_, folder)) => Some(PathBuf::from(folder)).filter(|f| !f.as_os_str().is_empty()),
        None => user_cache(environment),
    }
}

/// Returns the user's folder for caches according to the XDG base directory specification; relative
/// paths are to be ignored.
fn user_cache(environment: &[(OsString, OsString)]) -> Option<PathBuf> {
    let folder = |variable: &str| {
        let (_, value) = environment.iter().find(|(name, _)| name == variable)?;
        Some(PathBuf::from(value)).filter(|path| path.is_absolute())
    };
    let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(caches.join("wharf"))
}

/// The values of one source.
struct Layer {
    source: Source,
    values: Dict,
}

/// A layer in figment's form. Its values carry the layer's number, which leads to their source
/// after merging.
struct Numbered<'a> {
    index: usize,
    layer: &'a Layer,
}

impl Provider for Numbered<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.index.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.layer.values.clone()))
    }
}

/// Returns the file: the named one, else `wharf.toml` if there is one.
fn read_file(given: &Given) -> Result<Option<Layer>, ConfigError> {
    let by_variable = || {
        let found = given.environment.iter().find(|(name, _)| name == FILE_VARIABLE);
        found.map(|(_, value)| PathBuf::from(value))
    };
    let named = given.file.clone().or_else(by_variable);
    let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let failed = |reason: String| ConfigError::File { path: path.clone(), reason };

    let text = match std::fs::read_to_string(given.working_folder.join(&path)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => return Ok(None),
        Err(error) => {
            return Err(failed(format!("cannot read the configuration file: {error}")));
        }
    };
    // An editor's byte order mark is not a part of the first key.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let values = toml::from_str(text).map_err(|error| failed(not_toml(text, &error)))?;
    Ok(Some(Layer { source: Source::File(path), values }))
}

/// Describes the mistake in a file and its place; without the line itself, which may contain a
/// secret.
fn not_toml(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let place = before.map_or(String::new(), |before| {
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!(" at line {line}, column {column}")
    });
    format!("not valid TOML{place}: {}", error.message())
}

/// Returns the environment, one layer a variable, so that each is known by its name. Notes the
/// variables that are not the host's.
fn read_environment(given: &Given, sources: &mut Sources) -> Result<Vec<Layer>, ConfigError> {
    let mut layers = Vec::new();
    for (name, value) in &given.environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with("WHARF_")) else {
            continue;
        };
        if name == FILE_VARIABLE || name.starts_with(TEST_VARIABLES) {
            continue;
        }
        let source = Source::Environment(name.to_owned());
        if let Some(values) = tables::of_variable(name, &value.to_string_lossy()) {
            // The value may contain a secret, so the error does not repeat it.
            if value.to_str().is_none() {
                let (key, reason) = (name.to_owned(), "it is not UTF-8".to_owned());
                return Err(ConfigError::Refused { key, given: source, reason });
            }
            layers.push(Layer { source, values });
            continue;
        }
        let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == name) else {
            if is_service_link(name, &value.to_string_lossy()) {
                continue;
            }
            let key = name.trim_start_matches("WHARF_").to_lowercase();
            match unknown_variable(&key, &source) {
                Some(error) => return Err(error),
                None => sources.note_ignored(name),
            }
            continue;
        };
        let Some(value) = value.to_str() else {
            let stated = Stated { key: setting.key, value: format!("{value:?}"), source };
            let allowed = format!("UTF-8, and {}", setting.allowed());
            return Err(ConfigError::Invalid { stated, allowed });
        };
        let values = Dict::from([(setting.key.to_owned(), Value::from(value))]);
        layers.push(Layer { source, values });
    }
    Ok(layers)
}

/// Returns true if a variable describes a service called `wharf…`, as Kubernetes puts it into every
/// container beside that service. The operator did not write it, so it must not keep the host from
/// starting.
fn is_service_link(name: &str, value: &str) -> bool {
    let port_number = || {
        let (_, rest) = name.split_once("_PORT_")?;
        let (number, protocol) = rest.split_once('_')?;
        let protocol = protocol.split('_').next()?;
        Some(number.parse::<u16>().is_ok() && ["TCP", "UDP", "SCTP"].contains(&protocol))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || port_number().unwrap_or(false)
}
