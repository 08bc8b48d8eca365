//! Debian's packages without root and without touching the system's apt: the machine's own
//! mirror, proxy and keys, but lists, cache and state of our own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Outcome, capture, run_logged, run_within};
use crate::workspace::{create_folder, entries, remove_folder};

/// Time limit for fetching a suite's list of packages: 10 MB for the largest.
const UPDATE_LIMIT: Duration = Duration::from_secs(180);

/// Time limit for fetching a package: 45 MB for the larger one.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);

/// Debian's keyrings, with the keys that its suites are signed with.
const DEBIAN_KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// Names of Debian's suites. Entries of other distributions are ignored.
const DEBIAN_SUITES: [&str; 9] =
    ["bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable", "duke"];

/// A Debian archive that this machine's apt uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Address, as apt's sources write it.
    pub uri: String,
    /// Keyring that its entry asks for, if that is a file.
    pub signed_by: Option<String>,
}

impl Mirror {
    /// Returns the Debian archives in this machine's apt sources, in their order.
    pub fn of_this_machine() -> Outcome<Vec<Mirror>> {
        let etc = Path::new("/etc/apt");
        let mut files = vec![etc.join("sources.list")];
        let parts = etc.join("sources.list.d");
        files.extend(entries(&parts)?.iter().map(|name| parts.join(name)));
        let mut mirrors: Vec<Mirror> = Vec::new();
        for file in files {
            let Ok(text) = fs::read_to_string(&file) else {
                continue;
            };
            let found = match file.extension().and_then(|e| e.to_str()) {
                Some("list") => one_line_entries(&text),
                Some("sources") => stanzas(&text),
                _ => continue,
            };
            for mirror in found {
                if !mirrors.iter().any(|known| known.uri == mirror.uri) {
                    mirrors.push(mirror);
                }
            }
        }
        Ok(mirrors)
    }
}

/// One suite of a mirror, with its list of packages fetched.
pub struct Suite {
    /// Name, such as `trixie-backports`.
    pub name: String,
    configuration: PathBuf,
    folder: PathBuf,
}

impl Suite {
    /// Fetches the suite's list of packages into `folder`, and has apt check its signature.
    pub fn fetch(mirror: &Mirror, name: &str, folder: PathBuf) -> Outcome<Suite> {
        remove_folder(&folder)?;
        for part in ["lists/partial", "cache/archives/partial"] {
            create_folder(&folder.join(part))?;
        }
        let present = DEBIAN_KEYRINGS.into_iter().find(|file| Path::new(file).is_file());
        let source = source_line(mirror, name, present)?;
        let configuration = folder.join("apt.conf");
        for (file, text) in [
            (folder.join("sources.list"), source),
            (folder.join("status"), String::new()),
            (configuration.clone(), settings(&folder)),
        ] {
            fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        }
        let suite = Suite { name: name.to_owned(), configuration, folder };
        let log = suite.folder.join("update.log");
        match run_logged(suite.apt("apt-get").arg("update"), &log, UPDATE_LIMIT) {
            Ok(()) => Ok(suite),
            Err(failure) => Err(main_complaint(&log).unwrap_or(failure)),
        }
    }

    /// Returns the versions of a package in this suite, newest first.
    pub fn versions(&self, package: &str) -> Outcome<Vec<String>> {
        let table = capture(self.apt("apt-cache").args(["madison", package]))?;
        let version = |line: &str| Some(line.split('|').nth(1)?.trim().to_owned());
        Ok(table.lines().filter_map(version).collect())
    }

    /// Downloads a package, checked by apt against the suite's signed list, and returns the file.
    pub fn download(&self, package: &str, version: &str) -> Outcome<PathBuf> {
        let folder = self.folder.join("packages").join(package);
        create_folder(&folder)?;
        let wanted = format!("{package}={version}");
        let mut command = self.apt("apt-get");
        command.args(["download", &wanted]).current_dir(&folder);
        run_within(&mut command, DOWNLOAD_LIMIT)?;
        let names = entries(&folder)?;
        let file = names.into_iter().find(|name| name.ends_with(".deb"));
        file.map(|name| folder.join(name))
            .ok_or_else(|| format!("`apt-get download {wanted}` brought no package"))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.configuration).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command
    }
}

/// Returns true if a failure to fetch one suite says that the others need not be tried.
pub fn is_unreachable(failure: &str) -> bool {
    [
        "Could not connect",
        "Unable to connect",
        "resolving",
        "Could not resolve",
        "timed out",
        "Connection failed",
        "was stopped",
    ]
    .iter()
    .any(|sign| failure.contains(sign))
}

/// Returns the first error that apt wrote. The later ones repeat it or follow from it.
fn main_complaint(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("E: "))?;
    Some(line.trim().to_owned())
}

/// Returns the entry of a suite, with the keyrings that its signature is checked with.
///
/// # Errors
///
/// There is no keyring: apt would take any key that the machine trusts, those of other archives
/// included.
fn source_line(mirror: &Mirror, name: &str, debian_keyring: Option<&str>) -> Outcome<String> {
    let keyrings: Vec<&str> =
        debian_keyring.into_iter().chain(mirror.signed_by.as_deref()).collect();
    if keyrings.is_empty() {
        return Err(format!(
            "there is no keyring for {}: install Debian's (`apt-get install \
             debian-archive-keyring`), or name one with `signed-by` in apt's sources",
            mirror.uri
        ));
    }
    Ok(format!("deb [signed-by={}] {} {name} main\n", keyrings.join(","), mirror.uri))
}

/// Returns the settings that apt reads after the machine's own, whose proxies and the like stay in
/// force.
fn settings(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "\
Dir::Etc::SourceList \"{folder}/sources.list\";
Dir::Etc::SourceParts \"-\";
Dir::State \"{folder}\";
Dir::State::Lists \"{folder}/lists\";
Dir::State::Status \"{folder}/status\";
Dir::Cache \"{folder}/cache\";
// The folder may be one that apt's own user cannot read. Has no effect but for root.
APT::Sandbox::User \"root\";
// A list that could not be fetched is a failure, not a warning.
APT::Update::Error-Mode \"any\";
// Signatures are checked whatever the machine allows for its own packages: what is fetched here is
// compiled into every plugin.
APT::Get::AllowUnauthenticated \"false\";
Acquire::AllowInsecureRepositories \"false\";
Acquire::AllowDowngradeToInsecureRepositories \"false\";
Acquire::AllowWeakRepositories \"false\";
// Commands that the machine runs after its own updates, and lists that only they need.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large-hidpi;
#clear Acquire::IndexTargets::deb::CNF;
Acquire::Languages \"none\";
Acquire::Retries \"1\";
Acquire::http::Timeout \"20\";
Acquire::https::Timeout \"20\";
"
    )
}

/// Returns true if an entry is of the Debian archive itself, not of security updates or of another
/// distribution.
fn is_debian(suite: &str, components: &[&str]) -> bool {
    let (base, addition) = suite.split_once(['-', '/']).unwrap_or((suite, ""));
    DEBIAN_SUITES.contains(&base) && addition != "security" && components.contains(&"main")
}

/// Returns the entries of the old form: `deb [options] URI SUITE COMPONENT…`.
fn one_line_entries(text: &str) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb ").map(str::trim_start) else {
            continue;
        };
        let (options, rest) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [uri, suite, components @ ..] = words.as_slice() else {
            continue;
        };
        if is_debian(suite, components) {
            let signed_by =
                options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
            mirrors.push(Mirror {
                uri: (*uri).to_owned(),
                signed_by: signed_by.and_then(keyring_file),
            });
        }
    }
    mirrors
}

/// Returns the entries of the new form: fields such as `URIs:` in stanzas (deb822).
fn stanzas(text: &str) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    // A comment line is not a blank line: it does not end a stanza.
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let text = lines.map(str::trim_end).collect::<Vec<_>>().join("\n");
    for stanza in text.split("\n\n") {
        let words = |field: &str| field_of(stanza, field);
        let [types, uris, suites, components] =
            ["Types", "URIs", "Suites", "Components"].map(words);
        let enabled = words("Enabled").first() != Some(&"no");
        let debian = suites.iter().any(|suite| is_debian(suite, &components));
        if enabled && debian && types.contains(&"deb") {
            let signed_by = words("Signed-By");
            for uri in uris {
                mirrors.push(Mirror {
                    uri: uri.to_owned(),
                    signed_by: signed_by.first().copied().and_then(keyring_file),
                });
            }
        }
    }
    mirrors
}

/// Returns the words of a field, its continuation lines included.
fn field_of<'a>(stanza: &'a str, field: &str) -> Vec<&'a str> {
    let mut words = Vec::new();
    let mut inside = false;
    for line in stanza.lines() {
        let value = if line.starts_with([' ', '\t']) {
            Some(line)
        } else {
            let named = line.split_once(':');
            inside = named.is_some_and(|(name, _)| name.eq_ignore_ascii_case(field));
            named.map(|(_, value)| value)
        };
        if inside {
            words.extend(value.into_iter().flat_map(str::split_whitespace));
        }
    }
    words
}

/// Returns the keyring in a field's value if it is a file. A fingerprint or a whole key is ignored.
fn keyring_file(value: &str) -> Option<String> {
    value.starts_with('/').then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(uri: &str, signed_by: Option<&str>) -> Mirror {
        Mirror { uri: uri.to_owned(), signed_by: signed_by.map(str::to_owned) }
    }

    #[test]
    fn a_suite_is_fetched_with_a_keyring_or_not_at_all() {
        let uri = "http://plain.invalid/debian";
        let line = |signed_by, present| source_line(&mirror(uri, signed_by), "sid", present);
        let with = |keyrings| Ok(format!("deb [signed-by={keyrings}] {uri} sid main\n"));
        assert_eq!(line(None, Some("/debian.gpg")), with("/debian.gpg"));
        assert_eq!(line(Some("/own.gpg"), None), with("/own.gpg"));
        assert_eq!(line(Some("/own.gpg"), Some("/debian.gpg")), with("/debian.gpg,/own.gpg"));
        let failure = line(None, None).expect_err("no keyring");
        assert!(failure.contains("debian-archive-keyring"), "{failure}");
    }

    #[test]
    fn the_machine_cannot_switch_the_check_of_signatures_off() {
        let settings = settings(Path::new("/work"));
        for option in [
            "APT::Get::AllowUnauthenticated",
            "Acquire::AllowInsecureRepositories",
            "Acquire::AllowDowngradeToInsecureRepositories",
            "Acquire::AllowWeakRepositories",
        ] {
            assert!(settings.contains(&format!("\n{option} \"false\";\n")), "{option}");
        }
    }

    #[test]
    fn one_line_entries_give_debian_mirrors_and_their_keyrings() {
        let text = "\
# deb http://commented.invalid/debian trixie main
deb http://plain.invalid/debian trixie main contrib
deb [arch=amd64 signed-by=/keys/debian.gpg] http://signed.invalid/debian sid main # a remark
deb-src http://source.invalid/debian trixie main
deb http://security.invalid/debian-security trixie-security main
deb http://other.invalid/ubuntu noble main
deb http://partial.invalid/debian trixie contrib
deb http://broken.invalid/debian
";
        assert_eq!(
            one_line_entries(text),
            [
                mirror("http://plain.invalid/debian", None),
                mirror("http://signed.invalid/debian", Some("/keys/debian.gpg")),
            ]
        );
    }

    #[test]
    fn stanzas_give_debian_mirrors_and_their_keyrings() {
        let text = "\
# The archive
Types: deb deb-src
URIs: http://first.invalid/debian
# a comment inside a stanza
 http://second.invalid/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /keys/debian.gpg

Types: deb
URIs: http://security.invalid/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://off.invalid/debian
Suites: trixie
Components: main
Enabled: no

types: deb
uris: http://lower.invalid/debian
suites: trixie
components: main
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
";
        assert_eq!(
            stanzas(text),
            [
                mirror("http://first.invalid/debian", Some("/keys/debian.gpg")),
                mirror("http://second.invalid/debian", Some("/keys/debian.gpg")),
                mirror("http://lower.invalid/debian", None),
            ]
        );
    }
}
