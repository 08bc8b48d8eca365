//! The samples of `deploy/` are what they say: the host accepts their configurations, systemd its units, and what they
//! share agrees.

use std::path::{Path, PathBuf};
use std::process::Command;

use wharf_tests::{Value, run_in};

/// Returns the path of a sample.
fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(sample(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the configuration in the ConfigMap of Kubernetes.
fn of_config_map() -> String {
    let map = read("kubernetes/configmap.yaml");
    let (_, text) = map.split_once("  wharf.toml: |\n").expect("a file");
    let lines: Vec<&str> =
        text.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    lines.join("\n")
}

/// Returns what `wharf config` says of a configuration, with files in the place of its secrets.
fn effective(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = text.to_owned();
    for (file, content) in [
        ("/run/credentials/wharf.service/operator-token", "correct-horse-battery-staple"),
        ("/run/credentials/wharf.service/metrics-token", "another-horse-battery-staple"),
        ("/run/secrets/wharf/operator-token", "correct-horse-battery-staple"),
        ("/run/secrets/wharf/metrics-token", "another-horse-battery-staple"),
        ("/run/secrets/wharf/engine", "redis://redis:6379"),
    ] {
        let path = folder.path().join(file.rsplit('/').next().unwrap_or_default());
        std::fs::write(&path, content).expect("a file");
        text = text.replace(file, &path.display().to_string());
    }
    std::fs::write(folder.path().join("wharf.toml"), text).expect("a file");
    let output = run_in(folder.path(), &["config"], &[]);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    said(&output.stdout)
}

/// Returns the number of a setting in milliseconds.
fn milliseconds(effective: &str, key: &str) -> u64 {
    let line = effective.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
    let number = line.and_then(|line| line.split([' ', '#']).next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no {key} in {effective}"))
}

#[test]
fn the_host_accepts_each_configuration() {
    for text in [read("systemd/wharf.toml"), read("container/wharf.toml"), of_config_map()] {
        let effective = effective(&text);
        assert!(effective.contains("page = false"), "{effective}");
    }
}

#[test]
fn a_supervisor_waits_for_longer_than_a_stop_takes() {
    let stop = |text: &str| {
        let effective = effective(text);
        milliseconds(&effective, "shutdown_delay_ms") + milliseconds(&effective, "drain_timeout_ms")
    };
    let number = |file: &str, key: &str| {
        let text = read(file);
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key).map(str::to_owned));
        line.and_then(|rest| rest.trim().parse::<u64>().ok())
            .unwrap_or_else(|| panic!("no {key} in {file}"))
            * 1000
    };
    assert!(stop(&read("systemd/wharf.toml")) < number("systemd/wharf.service", "TimeoutStopSec="));
    for file in ["kubernetes/deployment.yaml", "kubernetes/statefulset.yaml"] {
        assert!(stop(&of_config_map()) < number(file, "terminationGracePeriodSeconds:"), "{file}");
    }
}

#[test]
fn folders_and_ports_of_the_container_and_of_kubernetes_are_the_same() {
    let lines = |text: &str| {
        let keys = ["listen", "operator_listen", "plugins", "data", "cache"];
        let is_one = |line: &&str| keys.iter().any(|key| line.starts_with(&format!("{key} = ")));
        text.lines().filter(is_one).map(str::to_owned).collect::<Vec<_>>()
    };
    let of_image = lines(&read("container/wharf.toml"));
    assert_eq!(of_image.len(), 5);
    assert_eq!(of_image, lines(&of_config_map()));
    let dockerfile = read("Dockerfile");
    for file in ["kubernetes/deployment.yaml", "kubernetes/statefulset.yaml"] {
        let manifest = read(file);
        for (port, user) in [("4000", "65532"), ("4001", "65532")] {
            assert!(manifest.contains(&format!("containerPort: {port}")), "{file}");
            assert!(manifest.contains(&format!("runAsUser: {user}")), "{file}");
            assert!(dockerfile.contains(port) && dockerfile.contains(&format!("USER {user}")));
        }
        for folder in
            ["/etc/wharf", "/var/lib/wharf-data", "/var/cache/wharf", "/var/lib/wharf/plugins"]
        {
            assert!(manifest.contains(&format!("mountPath: {folder}\n")), "{file}: {folder}");
        }
    }
}

#[test]
fn systemd_accepts_the_units() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = ["wharf.service", "wharf.socket"].map(|name| {
        // It looks for the program.
        let text = read(&format!("systemd/{name}")).replace("/usr/local/bin/wharf", "/bin/sh");
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("a file");
        file
    });
    let verified = Command::new("systemd-analyze").arg("verify").args(&files).output();
    let Ok(verified) = verified else {
        assert!(std::env::var_os("CI").is_none(), "this machine has no systemd-analyze");
        println!("NOT RUN: this machine has no systemd-analyze");
        return;
    };
    let complaint = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && complaint.is_empty(), "{complaint}");
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--json=short"]).arg(&files[0]);
    let output = security.output().expect("it runs");
    // Older ones cannot do it.
    let Ok(rows) = serde_json::from_slice::<Value>(&output.stdout) else { return };
    let open = |name: &str| {
        let rows = rows.as_array().expect("a list");
        let row = rows.iter().find(|row| row["name"] == name || row["json_field"] == name);
        row.unwrap_or_else(|| panic!("no {name} in {rows:?}"))["set"] == false
    };
    for protection in ["NoNewPrivileges=", "ProtectSystem=", "PrivateDevices=", "PrivateUsers="] {
        assert!(!open(protection), "{protection}");
    }
    assert!(open("MemoryDenyWriteExecute="), "the host could not run plugins");
}
