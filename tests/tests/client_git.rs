//! git through the proxy: clone and push, over http and over https (CONNECT).

use fluidity_tests::{
    Pattern, Scratch, Script, Setup, Stack, TlsFiles, Tool, client_file, python, run, tool,
};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

struct Git<'a> {
    tool: &'a Tool,
    home: &'a Path,
}

impl Git<'_> {
    /// Runs git with no configuration of this machine; returns what it prints.
    async fn run(&self, dir: &Path, config: &[String], args: &[&str]) -> String {
        let mut command = self.tool.command();
        for pair in config {
            command.args(["-c", pair]);
        }
        command
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.com",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(args)
            .current_dir(dir)
            .env("HOME", self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            // The machine's own choice would win over http.sslCAInfo.
            .env_remove("GIT_SSL_CAINFO");
        let output = run(&mut command, Duration::from_secs(60)).await;
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

async fn clone_and_push(tls: Option<TlsFiles>) {
    let (Some(git), Some(python)) = (tool("git"), python("ssl")) else {
        return;
    };
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    let git = Git {
        tool: &git,
        home: scratch.path(),
    };
    std::fs::create_dir(&root).expect("root");
    git.run(&root, &[], &["init", "--quiet", "--bare", "repo.git"])
        .await;
    git.run(
        &root.join("repo.git"),
        &[],
        &["config", "http.receivepack", "true"],
    )
    .await;

    let mut command = python.command();
    command.arg(client_file("git_server.py")).arg(&root);
    if let Some(files) = &tls {
        command.arg(&files.certificate).arg(&files.key);
    }
    let server = Script::start(&mut command).await;
    let rule = json!({ "cidr": "127.0.0.1/32", "ports": [server.port] });
    let stack: Stack = Setup::new().allow_rule(rule).start().await;
    let mut config = vec![format!("http.proxy=http://{}", stack.proxy())];
    let scheme = if let Some(files) = &tls {
        config.push(format!("http.sslCAInfo={}", files.ca.display()));
        "https"
    } else {
        "http"
    };
    let url = format!("{scheme}://127.0.0.1:{}/repo.git", server.port);

    git.run(scratch.path(), &config, &["clone", "--quiet", &url, "one"])
        .await;
    let one = scratch.path().join("one");
    // More than http.postBuffer: the push is chunked.
    std::fs::write(one.join("large"), Pattern::new(1).bytes(8_000_000)).expect("a file");
    for number in 0..50 {
        std::fs::write(one.join(format!("file-{number}")), format!("{number}\n")).expect("a file");
    }
    git.run(&one, &[], &["checkout", "--quiet", "-B", "main"]).await;
    git.run(&one, &[], &["add", "."]).await;
    git.run(&one, &[], &["commit", "--quiet", "-m", "first"]).await;
    git.run(&one, &config, &["push", "--quiet", "origin", "main"])
        .await;

    git.run(
        scratch.path(),
        &config,
        &["clone", "--quiet", "--branch", "main", &url, "two"],
    )
    .await;
    let two = scratch.path().join("two");
    git.run(&two, &[], &["fsck", "--full"]).await;
    let head = git.run(&one, &[], &["rev-parse", "HEAD"]).await;
    assert_eq!(git.run(&two, &[], &["rev-parse", "HEAD"]).await, head);
    assert!(std::fs::read(two.join("large")).expect("the file") == Pattern::new(1).bytes(8_000_000));

    std::fs::write(two.join("file-0"), "changed\n").expect("a file");
    git.run(&two, &[], &["commit", "--quiet", "-a", "-m", "second"])
        .await;
    git.run(&two, &config, &["push", "--quiet", "origin", "main"])
        .await;
    git.run(&one, &config, &["pull", "--quiet", "--ff-only", "origin", "main"])
        .await;
    assert_eq!(
        std::fs::read_to_string(one.join("file-0")).expect("the file"),
        "changed\n"
    );
    let sessions = stack.server.status().await["sessions"]["total"].as_u64();
    assert!(sessions >= Some(4), "git went through the tunnel: {sessions:?}");
}

#[tokio::test]
async fn git_clones_and_pushes_over_http() {
    clone_and_push(None).await;
}

#[tokio::test]
async fn git_clones_and_pushes_over_https() {
    clone_and_push(Some(TlsFiles::new())).await;
}
