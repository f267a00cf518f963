//! Python's requests and websockets through the proxy. The scripts make the assertions.

use fluidity_tests::{Scratch, Script, Setup, TlsFiles, client_file, python, run, web};
use serde_json::json;
use std::process::Output;
use std::time::Duration;

fn assert_ok(output: &Output) {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success() && out.trim() == "ok", "{out}\n{err}");
}

#[tokio::test]
async fn python_requests_work() {
    let Some(python) = python("requests") else { return };
    let web = web().await;
    let files = TlsFiles::new();
    let empty = Scratch::new();
    let mut command = python.command();
    command
        .arg(client_file("git_server.py"))
        .args([empty.path(), &files.certificate, &files.key]);
    let https = Script::start(&mut command).await;
    let rule = json!({ "cidr": "127.0.0.1/32", "ports": [https.port, web.addr().port()] });
    let stack = Setup::new().allow_rule(rule).start().await;

    let mut command = python.command();
    command
        .arg(client_file("requests_client.py"))
        .arg(format!("http://{}", stack.proxy()))
        .arg(format!("http://{}", web.addr()))
        .arg(format!("https://127.0.0.1:{}", https.port))
        .arg(&files.ca);
    assert_ok(&run(&mut command, Duration::from_secs(90)).await);
}

#[tokio::test]
async fn python_websockets_work() {
    let Some(python) = python("websockets") else {
        return;
    };
    // The script's server chooses its port later.
    let stack = Setup::new()
        .allow_rule(json!({ "cidr": "127.0.0.1/32" }))
        .start()
        .await;
    let mut command = python.command();
    command
        .arg(client_file("websockets_client.py"))
        .arg(format!("http://{}", stack.proxy()));
    assert_ok(&run(&mut command, Duration::from_secs(90)).await);
}
