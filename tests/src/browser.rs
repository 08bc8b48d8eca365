//! A real browser: headless Chromium, driven by `clients/browser.mjs`.

use std::process::Command;

use serde_json::{Value, json};

use crate::artefacts::{clients, existing, screenshots};
use crate::{ForeignClient, eventually};

/// A browser with one tab.
#[derive(Debug)]
pub struct Browser {
    driver: ForeignClient,
}

impl Browser {
    /// Starts a browser.
    pub fn start() -> Browser {
        existing(clients().join("node_modules/ws/package.json"));
        let mut command = Command::new("node");
        command.arg(clients().join("browser.mjs"));
        Browser { driver: ForeignClient::run(command) }
    }

    /// Goes to a page and waits until it has loaded.
    pub async fn open(&mut self, url: &str) {
        self.order(json!({ "open": url })).await;
    }

    /// Evaluates an expression of JavaScript in the page, promises awaited.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let mut answer = self.order(json!({ "evaluate": expression })).await;
        answer["value"].take()
    }

    /// Waits until an expression is true.
    pub async fn wait_for(&mut self, expression: &str) {
        let what = format!("{expression} in the browser");
        eventually(&what, async || (self.evaluate(expression).await == true).then_some(())).await;
    }

    /// Makes the window so large, and prefers `light` or `dark`.
    pub async fn view(&mut self, width: u32, height: u32, scheme: &str) {
        self.order(json!({ "view": [width, height, scheme] })).await;
    }

    /// Writes a picture of the page into the target folder.
    pub async fn screenshot(&mut self, name: &str) {
        let file = screenshots().join(format!("{name}.png"));
        self.order(json!({ "screenshot": file })).await;
    }

    /// Uncaught errors, refused resources and errors on the console so far.
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
