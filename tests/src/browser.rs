//! A real browser: headless Chromium, driven by `clients/browser.mjs`.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::artefacts::{clients, screenshots};
use crate::{ForeignClient, PATIENCE};

/// A browser with one tab.
#[derive(Debug)]
pub struct Browser {
    driver: ForeignClient,
    /// The browser's own files, which must exist as long as it runs.
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser.
    pub fn start() -> Browser {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("node");
        command.arg(clients().join("browser.mjs")).arg(profile.path());
        Browser { driver: ForeignClient::run(command), _profile: profile }
    }

    /// Goes to a page and waits until it has loaded.
    pub async fn open(&mut self, url: &str) {
        self.order(json!({ "open": url })).await;
    }

    /// Goes back to the page before. Returns true if the browser had kept that page, as it was, in its
    /// back/forward cache.
    pub async fn back(&mut self) -> bool {
        self.order(json!({ "back": true })).await["back"] == true
    }

    /// Freezes the page, as a browser does with one that nobody looks at, or lets it go on.
    pub async fn freeze(&mut self, is_frozen: bool) {
        self.order(json!({ "freeze": is_frozen })).await;
    }

    /// Evaluates an expression of JavaScript in the page, promises awaited.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let mut answer = self.order(json!({ "evaluate": expression })).await;
        answer["value"].take()
    }

    /// Waits until an expression is true, and fails with the page's text if it never is.
    pub async fn wait_for(&mut self, expression: &str) {
        let start = Instant::now();
        while self.evaluate(expression).await != true {
            if start.elapsed() > PATIENCE {
                let text = self.evaluate("document.body.innerText").await;
                let text = text.as_str().unwrap_or_default();
                panic!("waited {PATIENCE:?} for {expression} on a page that says:\n{text}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Presses a key such as `Enter`; any other word is typed.
    pub async fn press(&mut self, key: &str) {
        self.order(json!({ "key": key })).await;
    }

    /// Sets the size of the window and the preference for `light` or `dark`.
    pub async fn view(&mut self, width: u32, height: u32, scheme: &str) {
        self.order(json!({ "view": [width, height, scheme] })).await;
    }

    /// Sets the preference for less motion.
    pub async fn less_motion(&mut self) {
        self.order(json!({ "lessMotion": true })).await;
    }

    /// Writes a picture of the page into the target folder.
    pub async fn screenshot(&mut self, name: &str) {
        let file = screenshots().join(format!("{name}.png"));
        self.order(json!({ "screenshot": file })).await;
    }

    /// Returns uncaught errors, refused resources and errors on the console so far.
    pub async fn complaints(&mut self) -> Value {
        self.order(json!({ "complaints": true })).await["complaints"].take()
    }

    async fn order(&mut self, order: Value) -> Value {
        let what = order.to_string();
        self.driver.order(order);
        let answer = self.driver.event().await;
        assert!(answer.get("error").is_none(), "{what}: {}", answer["error"]);
        answer
    }
}
