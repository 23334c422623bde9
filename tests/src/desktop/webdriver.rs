//! As much of WebDriver as the stories need, spoken to `WebKitWebDriver` directly.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(60);

/// The app's page.
#[derive(Debug)]
pub struct Page {
    driver: SocketAddr,
    session: String,
}

impl Page {
    /// Starts `app` with `arguments` under the driver and waits for its page.
    pub async fn open(driver: SocketAddr, app: &Path, arguments: &[String]) -> Result<Page> {
        let options = json!({ "binary": app, "args": arguments });
        let wanted =
            json!({ "capabilities": { "alwaysMatch": { "webkitgtk:browserOptions": options } } });
        let made = call(driver, Method::POST, "/session", &wanted)
            .await
            .context("no session with the app's page")?;
        let session = made["sessionId"].as_str().context("a session without an id")?.to_owned();
        Ok(Page { driver, session })
    }

    /// Runs a script (a function's body) in the page.
    pub async fn run(&self, script: &str) -> Result<Value> {
        self.script("sync", script, json!([])).await
    }

    /// Runs a script that calls its last argument with its result.
    pub async fn run_until_done(&self, script: &str, arguments: Value) -> Result<Value> {
        self.script("async", script, arguments).await
    }

    /// Calls a command of the shell as the page does.
    pub async fn invoke(&self, command: &str, arguments: Value) -> Result<Value> {
        let script = "const [command, args, done] = arguments;
            window.__TAURI_INTERNALS__.invoke(command, args).then((value) => done({ value }), (error) => done({ error }));";
        let mut answer = self.script("async", script, json!([command, arguments])).await?;
        if let Some(error) = answer.get("error") {
            bail!("{command}: {error}");
        }
        Ok(answer["value"].take())
    }

    async fn script(&self, kind: &str, script: &str, args: Value) -> Result<Value> {
        let path = format!("/session/{}/execute/{kind}", self.session);
        call(self.driver, Method::POST, &path, &json!({ "script": script, "args": args })).await
    }

    /// What the page shows, as text.
    pub async fn text(&self) -> Result<String> {
        let text = self.run("return document.body.innerText").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }
}

async fn call(driver: SocketAddr, method: Method, path: &str, body: &Value) -> Result<Value> {
    let exchange = async {
        let stream = TcpStream::connect(driver).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", driver.to_string())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(body)?)))?;
        let answer = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
        let mut answer: Value = serde_json::from_slice(&answer)?;
        if let Some(error) = answer["value"].get("error").and_then(Value::as_str) {
            bail!("{path}: {error}: {}", answer["value"]["message"]);
        }
        Ok(answer["value"].take())
    };
    tokio::time::timeout(PATIENCE, exchange).await.with_context(|| format!("{path}: no answer"))?
}
