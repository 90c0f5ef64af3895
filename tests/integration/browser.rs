//! The page of a run in a real browser, with `--features real`: it says nothing on the console, asks for nothing, nothing
//! is wider than the screen, and what a recipe calls itself stays text.
//!
//! The browser is spoken to by two pipes, with a NUL behind each message:
//! <https://chromedevtools.github.io/devtools-protocol/>. `RECIPE_CI_SHOTS=DIR` keeps the pictures.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use harness::outcome::{Owner, Stage, Status, Verdict};
use harness::report::papers::Form;
use harness::report::results::{Output, Results, Test, Tier};
use serde_json::{Value, json};

use crate::support::{command, variable};

/// What a hostile recipe calls things, and writes.
const HOSTILE: &str = "</pre><script>alert(1)</script><img src=http://127.0.0.1:1/x onerror=alert(2)>\u{202e}\u{1b}[31m&lt;";

/// A browser with one page.
struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: Value,
    last: u64,
    /// What happened since the page was opened.
    events: Vec<Value>,
}

impl Browser {
    fn start(dir: &Path) -> Self {
        let (to, from) = (dir.join("to"), dir.join("from"));
        let made = command("mkfifo").args([&to, &from]).status().unwrap();
        assert!(made.success());
        // The browser reads descriptor 3 and writes 4. No sandbox: the tests run as root, and the page is our own.
        let script = "exec chromium --headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars \
             --remote-debugging-pipe --user-data-dir=\"$1/profile\" 3<\"$1/to\" 4>\"$1/from\"";
        let child = command("sh")
            .args(["-c", script, "sh"])
            .arg(dir)
            .env("HOME", dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let opened = harness::host_file::options().write(true).open(&to).unwrap();
        let from = BufReader::new(harness::host_file::open(&from).unwrap());
        let mut browser = Self {
            child,
            to: opened,
            from,
            session: Value::Null,
            last: 0,
            events: Vec::new(),
        };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", attach);
        browser.session = session["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Sends a command and returns its answer; what happens meanwhile is kept.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.to
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        loop {
            let message = self.read();
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "the browser has ended");
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Opens a page at a width, in a scheme of colours, and waits until all of it is there.
    fn open(&mut self, page: &Path, width: u32, scheme: &str) {
        let screen =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", screen);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", media);
        self.events.clear();
        self.ask(
            "Page.navigate",
            json!({ "url": format!("file://{}", page.display()) }),
        );
        let is_loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(is_loaded) {
            let event = self.read();
            self.events.push(event);
        }
    }

    fn evaluate(&mut self, script: &str) -> Value {
        let asked = json!({ "expression": script, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{script}: {answer}");
        answer["result"]["value"].clone()
    }

    fn screenshot(&mut self, path: &Path) {
        let asked = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.ask("Page.captureScreenshot", asked);
        let mut decode = command("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(File::create(path).unwrap())
            .spawn()
            .unwrap();
        let text = picture["data"].as_str().unwrap();
        decode
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(decode.wait().unwrap().success());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns runs that ended in each way, with hostile words wherever a recipe has a say.
fn runs() -> Vec<(&'static str, Results)> {
    let test = |id: &str, status, message: &str| Test {
        id: id.to_owned(),
        name: id.to_owned(),
        owner: Owner::Recipe,
        file: Some(HOSTILE.to_owned()),
        status,
        kind: None,
        started_at: String::new(),
        duration_ms: 1200,
        message: Some(message.to_owned()),
        log: None,
    };
    let tier = |name, status, tests: Vec<Test>| Tier {
        name,
        status,
        reason: (status != Status::Pass).then(|| format!("because {HOSTILE}")),
        blames_recipe: status == Status::Fail,
        duration_ms: 2500,
        tests,
    };
    let of = |verdict, exit_code, reason: Option<&str>, tiers: Vec<Tier>| {
        let mut results = Results::default();
        (results.verdict, results.exit_code) = (verdict, exit_code);
        results.recipe = format!("notes{HOSTILE}");
        results.reason = reason.map(str::to_owned);
        results.reference = Some(HOSTILE.to_owned());
        results.repeat = format!("recipe-ci run {}", "long-".repeat(60));
        results.host = "ci1".to_owned();
        results.tiers = tiers;
        results.phases.deploy_ms = 900;
        results.phases.converge_ms = 4000;
        results.warnings = vec![HOSTILE.to_owned(), "x".repeat(400)];
        results
    };
    let good = || {
        tier(
            Stage::Install,
            Status::Pass,
            vec![test("install/generic: serving", Status::Pass, HOSTILE)],
        )
    };
    let mut red = of(
        Verdict::Failed,
        1,
        Some(HOSTILE),
        vec![
            good(),
            tier(
                Stage::Upgrade,
                Status::Fail,
                vec![test("upgrade/test_x.sh", Status::Fail, HOSTILE)],
            ),
            tier(Stage::Backup, Status::Unver, Vec::new()),
        ],
    );
    red.hints = vec![HOSTILE.to_owned()];
    red.output = vec![Output {
        tier: Some(Stage::Upgrade),
        app: None,
        title: format!("log of service `{HOSTILE}`"),
        lines: vec![
            HOSTILE.to_owned(),
            "y".repeat(3000),
            "名前 🎉 naïve".to_owned(),
        ],
        log: None,
    }];
    vec![
        ("green", of(Verdict::Passed, 0, None, vec![good()])),
        ("red", red),
        (
            "cancelled",
            of(
                Verdict::Cancelled,
                143,
                Some("SIGTERM received"),
                vec![good()],
            ),
        ),
        (
            "orphaned",
            of(
                Verdict::Orphaned,
                137,
                Some("the worker was killed"),
                Vec::new(),
            ),
        ),
        (
            "refused",
            of(Verdict::Refused, 2, Some(HOSTILE), Vec::new()),
        ),
    ]
}

#[test]
fn a_browser_shows_the_page_of_every_end_and_has_nothing_to_say_about_it() {
    let dir = tempfile::tempdir().unwrap();
    let shots = variable("RECIPE_CI_SHOTS").map(PathBuf::from);
    let mut browser = Browser::start(dir.path());
    for (name, results) in runs() {
        let page = dir.path().join(format!("{name}.html"));
        std::fs::write(&page, Form::Html.of(&results)).unwrap();
        for (width, scheme) in [
            (360, "light"),
            (360, "dark"),
            (1280, "light"),
            (1280, "dark"),
        ] {
            let at = format!("{name} at {width} px, {scheme}");
            browser.open(&page, width, scheme);
            let wide = browser.evaluate(
                "[...document.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
                   .map(e => e.tagName + ' ' + e.textContent.slice(0, 40)).slice(0, 5)",
            );
            assert_eq!(wide, json!([]), "{at}: wider than the screen");
            let bad = browser
                .evaluate("document.querySelectorAll('script, img, iframe, object, a').length");
            assert_eq!(bad, 0, "{at}: the recipe's words became elements");
            let heading = browser.evaluate("document.querySelector('h1').textContent");
            assert!(
                heading.as_str().unwrap().contains("<script>"),
                "{at}: {heading}"
            );
            let dark = browser.evaluate("getComputedStyle(document.body).backgroundColor");
            assert_eq!(
                dark == "rgb(255, 255, 255)",
                scheme == "light",
                "{at}: {dark}"
            );
            if let Some(shots) = &shots {
                browser.screenshot(&shots.join(format!("{name}-{width}-{scheme}.png")));
            }
            let said = browser.events.iter().filter(|event| {
                let method = event["method"].as_str().unwrap_or_default();
                let url = event["params"]["request"]["url"]
                    .as_str()
                    .unwrap_or_default();
                let is_own = url.ends_with(&format!("{name}.html")) || url.starts_with("data:,");
                matches!(
                    method,
                    "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded"
                ) || method == "Network.requestWillBeSent" && !is_own
            });
            let said: Vec<&Value> = said.collect();
            assert!(said.is_empty(), "{at}: {said:#?}");
        }
    }
}
