//! Headless Chromium, driven through `tests/peers/chromium.mjs`.

use serde_json::{Value, json};

use super::peer::Peer;

/// A browser with a fresh profile; it ends when dropped.
pub(crate) struct Chromium(Peer);

/// What a tab shows.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) url: String,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

impl Chromium {
    pub(crate) fn start() -> Self {
        Self(Peer::start("chromium.mjs", &[]).0)
    }

    /// One that takes cookies of foreign sites' frames, as it does where an administrator says so.
    pub(crate) fn start_with_third_party_cookies() -> Self {
        Self(Peer::start("chromium.mjs", &["third-party-cookies"]).0)
    }

    #[track_caller]
    fn run(&mut self, command: &Value) -> Value {
        let result = self.0.ask(command);
        if let Some(fault) = result.get("error") {
            let picture = self.picture(command["tab"].as_u64().unwrap_or(0));
            panic!("{command}: {fault} (see {picture})");
        }
        result
    }

    /// A screenshot in the temporary folder, to see what went wrong.
    pub(crate) fn picture(&mut self, tab: u64) -> String {
        let name = format!("vestibule-chromium-{}.png", std::process::id());
        let file = std::env::temp_dir().join(name);
        let file = file.display().to_string();
        self.0
            .ask(&json!({ "do": "picture", "tab": tab, "file": file }));
        file
    }

    /// A new tab at that address.
    #[track_caller]
    pub(crate) fn open(&mut self, url: &str) -> u64 {
        self.run(&json!({ "do": "open", "url": url }))["tab"]
            .as_u64()
            .unwrap()
    }

    /// Tabs for all of these at once.
    #[track_caller]
    pub(crate) fn open_many(&mut self, urls: &[String]) -> Vec<u64> {
        let result = self.run(&json!({ "do": "open_many", "urls": urls }));
        let tabs = result["tabs"].as_array().unwrap();
        tabs.iter().map(|tab| tab.as_u64().unwrap()).collect()
    }

    #[track_caller]
    pub(crate) fn go(&mut self, tab: u64, url: &str) {
        self.run(&json!({ "do": "go", "tab": tab, "url": url }));
    }

    /// Fills in the provider's login form.
    #[track_caller]
    pub(crate) fn sign_in(&mut self, tab: u64, user: &str) {
        self.run(&json!({ "do": "sign_in", "tab": tab, "user": user }));
    }

    /// Waits until the tab is at an address that starts so.
    #[track_caller]
    pub(crate) fn arrive(&mut self, tab: u64, at: &str) {
        self.run(&json!({ "do": "arrive", "tab": tab, "at": at }));
    }

    /// Clicks.
    #[track_caller]
    pub(crate) fn press(&mut self, tab: u64, what: &str) {
        self.run(&json!({ "do": "press", "tab": tab, "what": what }));
    }

    /// Clicks in the page's frame.
    #[track_caller]
    pub(crate) fn press_in_frame(&mut self, tab: u64, what: &str) {
        self.run(&json!({ "do": "press", "tab": tab, "what": what, "frame": true }));
    }

    /// Puts a frame into the page.
    #[track_caller]
    pub(crate) fn frame(&mut self, tab: u64, url: &str) {
        self.run(&json!({ "do": "frame", "tab": tab, "url": url }));
    }

    #[track_caller]
    pub(crate) fn look(&mut self, tab: u64) -> Sight {
        let result = self.run(&json!({ "do": "look", "tab": tab }));
        Sight::of(&result)
    }

    #[track_caller]
    pub(crate) fn look_in_frame(&mut self, tab: u64) -> Sight {
        let result = self.run(&json!({ "do": "look", "tab": tab, "frame": true }));
        Sight::of(&result)
    }

    /// What an expression of JavaScript comes to in the page, once it is settled.
    #[track_caller]
    pub(crate) fn evaluate(&mut self, tab: u64, expression: &str) -> Value {
        let result = self.run(&json!({ "do": "evaluate", "tab": tab, "text": expression }));
        result["value"].clone()
    }

    /// The cookies that go to that address.
    #[track_caller]
    pub(crate) fn cookies(&mut self, url: &str) -> Vec<Value> {
        let result = self.run(&json!({ "do": "cookies", "url": url }));
        result["cookies"].as_array().unwrap().clone()
    }
}

impl Sight {
    fn of(result: &Value) -> Self {
        let text = |name: &str| result[name].as_str().unwrap().to_owned();
        Self {
            url: text("url"),
            title: text("title"),
            text: text("text"),
            html: text("html"),
        }
    }
}
