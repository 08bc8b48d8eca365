//! Folders and files that are mounts of their own, as containers have them: ConfigMaps, Secrets, single files.

use std::fs;

use wharf_tests::artefacts::component;
use wharf_tests::config_map::ConfigMap;
use wharf_tests::tokens::hs256_with;
use wharf_tests::{Wharf, configured, eventually, json, mounts};

use crate::tokens::{admitted, with_header};

/// Mounts the folder `outside` over `inside`, so that the host can only read it.
const READ_ONLY: &str =
    "mount --bind outside inside && mount -o remount,bind,ro inside && exec \"$0\" \"$@\"";

#[tokio::test]
async fn a_config_map_of_plugins_that_changes_is_a_swap_under_open_connections() {
    let folder = configured(&[], "plugins = \"inside\"\n");
    fs::create_dir(folder.path().join("inside")).expect("a place for the mount");
    let counts = component("counts");
    let mut map = ConfigMap::new(&folder.path().join("outside"), &[("counts.wasm", &counts)]);
    let flags = ["--plugins inside", "--removal-grace-ms 500"];
    let wharf = Wharf::start_under(&mounts(READ_ONLY), folder, &flags).await;
    let mut client = wharf.connect("/counts/a").await;
    assert_eq!(client.ask_for_json("before").await["version"], 1);
    // Another version, and another plugin.
    let (second, echo) = (component("counts-v2"), component("echo"));
    let start = wharf.log.len();
    map.update(&[("counts.wasm", &second), ("echo.wasm", &echo)]);
    wharf.in_service_after(start, "counts").await;
    wharf.in_service_after(start, "echo").await;
    let answer = client.ask_for_json("after").await;
    assert_eq!((&answer["version"], &answer["count"]), (&json!(2), &json!(2)));
    assert_eq!(wharf.connect("/echo").await.ask("new").await, "new");
    assert!(wharf.log.find(|line| line.says("plugin removed")).is_empty());
    // And without it again.
    map.update(&[("counts.wasm", &second)]);
    wharf.log.wait_for("the end of it", |line| line.says("plugin removed")).await;
    assert_eq!(client.ask_for_json("last").await["count"], 3);
    assert!(wharf.log.find(|line| line.begins("plugin refused")).is_empty());
}

#[tokio::test]
async fn a_secret_that_changes_in_its_mount_is_read_again() {
    let (first, second) =
        ("the first secret, which is long enough", "the 2nd secret, which is longer enough");
    let folder = configured(
        &["echo", "vouched"],
        "[channels.vouched.token]\nsecret = { file = \"inside/secret\" }\n",
    );
    fs::create_dir(folder.path().join("inside")).expect("a place for the mount");
    let mut map = ConfigMap::new(&folder.path().join("outside"), &[("secret", first.as_bytes())]);
    let wharf = Wharf::start_under(&mounts(READ_ONLY), folder, &[]).await;
    let by = |secret: &str| hs256_with(secret, json!({ "sub": "ann" }));
    admitted(&wharf, &by(first)).await;
    map.update(&[("secret", second.as_bytes())]);
    eventually("the new secret", async || with_header(&wharf, &by(second)).await.ok()).await;
    assert_eq!(with_header(&wharf, &by(first)).await.expect_err("the old one").status, 401);
}

#[tokio::test]
async fn a_configuration_is_read_from_a_config_map_and_from_a_mount_of_one_file() {
    let text = "keep_alive_interval_ms = 12345\n";
    for (script, file) in [
        (READ_ONLY, "inside/wharf.toml"),
        ("mount --bind outside/wharf.toml single.toml && exec \"$0\" \"$@\"", "single.toml"),
    ] {
        let folder = configured(&["echo"], "keep_alive_interval_ms = 1\n");
        fs::create_dir(folder.path().join("inside")).expect("a place for the mount");
        fs::write(folder.path().join("single.toml"), "").expect("a place for the mount");
        ConfigMap::new(&folder.path().join("outside"), &[("wharf.toml", text.as_bytes())]);
        let program = mounts(script);
        let mut command = std::process::Command::new(program[0]);
        command.args(&program[1..]).arg(wharf_tests::artefacts::binary());
        command.args(["config", "--config", file]).current_dir(folder.path()).env_clear();
        let output = command.output().expect("it runs");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = shown.lines().find(|line| line.starts_with("keep_alive_interval_ms"));
        let line =
            line.unwrap_or_else(|| panic!("{shown}{}", String::from_utf8_lossy(&output.stderr)));
        assert!(line.contains("12345") && line.contains(file), "{line}");
    }
}
