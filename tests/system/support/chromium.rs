//! Headless Chromium, driven by its WebDriver.

use std::{
    env,
    fs::{self, File},
    future::Future,
    path::{Path, PathBuf},
    process::{self, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, wd::WebDriverCompatibleCommand};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

/// A driver that runs, and starts browsers. Dropping it ends it and all of them.
#[derive(Debug)]
pub(crate) struct Driver {
    child: Child,
    url: String,
}

/// What a browser shows pages on, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The size of the window, in CSS pixels.
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) scheme: Scheme,
    pub(crate) scripts: Scripts,
}

/// What the user prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

/// Whether pages may run scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scripts {
    On,
    Off,
}

impl Look {
    pub(crate) const DESKTOP: Self = Self {
        width: 1280,
        height: 900,
        scheme: Scheme::Light,
        scripts: Scripts::On,
    };
    pub(crate) const PHONE: Self = Self {
        width: 390,
        height: 844,
        ..Self::DESKTOP
    };

    /// Has a browser show pages so, but for scripts, which are for [`Driver::open`] to decide.
    pub(crate) async fn apply(self, client: &Client) {
        // A window is never narrower than the browser's own bars; what pages see is.
        let size = json!({
            "width": self.width, "height": self.height, "deviceScaleFactor": 1, "mobile": false,
        });
        devtools(client, "Emulation.setDeviceMetricsOverride", size).await;
        let scheme = match self.scheme {
            Scheme::Dark => "dark",
            Scheme::Light => "light",
        };
        let media = json!({
            "features": [{ "name": "prefers-color-scheme", "value": scheme }],
        });
        devtools(client, "Emulation.setEmulatedMedia", media).await;
    }

    pub(crate) const fn dark(self) -> Self {
        Self {
            scheme: Scheme::Dark,
            ..self
        }
    }

    pub(crate) const fn without_scripts(self) -> Self {
        Self {
            scripts: Scripts::Off,
            ..self
        }
    }
}

impl Driver {
    /// Starts the driver on a port that it chooses.
    pub(crate) async fn start() -> Self {
        let log = scratch("chromedriver").with_extension("log");
        let log = File::create(log).expect("the target directory can be written");
        let mut command = Command::new("chromedriver");
        command
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        // Its browsers die with it.
        #[cfg(unix)]
        command.process_group(0);
        let spawned = command.spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!("it is missing ({error}): run `apt-get install chromium chromium-driver`")
        });
        let stdout = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines();
        let port = timeout(PATIENCE, async {
            loop {
                let line = lines.next_line().await.expect("it can be read");
                let line = line.expect("it says its port before it ends");
                let said = line.split_once("started successfully on port ");
                if let Some((_, port)) = said
                    && let Ok(port) = port.trim_end_matches('.').parse::<u16>()
                {
                    return port;
                }
            }
        });
        let port = port.await.expect("it says its port");
        // It blocks when nobody reads on.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Opens a browser with a profile of its own.
    pub(crate) async fn open(&self, look: Look) -> Client {
        let profile = scratch("chromium");
        let scripts = match look.scripts {
            Scripts::On => 1,
            Scripts::Off => 2,
        };
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": {
                "args": [
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-quic",
                    "--disable-dev-shm-usage",
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    "--hide-scrollbars",
                    "--force-device-scale-factor=1",
                    format!("--window-size={},{}", look.width, look.height),
                    format!("--user-data-dir={}", profile.display()),
                ],
                "prefs": {
                    "profile.managed_default_content_settings.javascript": scripts,
                },
            },
        });
        let Value::Object(capabilities) = capabilities else {
            unreachable!("it is written as one");
        };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let opened = builder.capabilities(capabilities).connect(&self.url);
        let client = opened.await.expect("a browser can be started");
        look.apply(&client).await;
        client
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The group is the driver's and that of its browsers alone.
        #[cfg(unix)]
        if let Some(id) = self.child.id() {
            let killed = process::Command::new("sh")
                .args(["-c", &format!("kill -KILL -{id}")])
                .status();
            if let Err(error) = killed {
                eprintln!("browsers stay: {error}");
            }
        }
    }
}

/// Writes the whole page, not only what fits the window, into the directory that the variable
/// `SCREENSHOTS` names. Without it nothing is written.
pub(crate) async fn screenshot(client: &Client, name: &str) {
    let Some(directory) = env::var_os("SCREENSHOTS") else {
        return;
    };
    let whole = json!({ "format": "png", "captureBeyondViewport": true });
    let shot = devtools(client, "Page.captureScreenshot", whole).await;
    let shot = shot["data"].as_str().expect("a picture");
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, shot);
    let directory = PathBuf::from(directory);
    fs::create_dir_all(&directory).expect("it can be written");
    let file = directory.join(format!("{name}.png"));
    fs::write(file, bytes.expect("base64")).expect("it can be written");
}

/// Waits until something is so, which is asked again and again.
pub(crate) async fn until<F>(what: &str, mut is_so: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let so = async {
        while !is_so().await {
            sleep(PAUSE).await;
        }
    };
    if timeout(PATIENCE, so).await.is_err() {
        panic!("it is never so: {what}");
    }
}

/// Gives a command of the DevTools protocol. Returns the result.
pub(crate) async fn devtools(client: &Client, method: &'static str, params: Value) -> Value {
    let command = DevTools { method, params };
    let result = client.issue_cmd(command).await;
    result.unwrap_or_else(|error| panic!("{method}: {error}"))
}

/// What Chromium's driver has beside the standard.
#[derive(Debug)]
struct DevTools {
    method: &'static str,
    params: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        let body = json!({ "cmd": self.method, "params": self.params });
        (Method::POST, Some(body.to_string()))
    }
}

/// A path that nobody has, below the directory for what tests write.
fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let unique = format!("{name}-{}-{count}", process::id());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique)
}

const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);
