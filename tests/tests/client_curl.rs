//! curl through the proxy.

use fluidity_tests::{BYTES, MIB, Origin, Pattern, Scratch, Setup, Stack, Tool, run, tool, until, web};
use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(40);

async fn curl(curl: &Tool, proxy: SocketAddr, args: &[&str]) -> Output {
    let mut command = curl.command();
    command
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--proxy",
            &format!("http://{proxy}"),
        ])
        .args(args);
    run(&mut command, DEADLINE).await
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn curl_downloads_by_get_and_by_connect() {
    let Some(tool) = tool("curl") else { return };
    let web = web().await;
    let stack = Stack::for_origin(web.addr()).await;
    let url = format!("http://{}/bytes/3000000", web.addr());
    for extra in [&[][..], &["--proxytunnel"][..], &["--http1.0"][..]] {
        let output = curl(&tool, stack.proxy(), &[extra, &[&url]].concat()).await;
        assert!(
            output.status.success(),
            "{extra:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.stdout == BYTES.bytes(3_000_000), "{extra:?}: other bytes");
    }
    // Two URLs on one connection, and a HEAD.
    let head = text(&curl(&tool, stack.proxy(), &["--head", &url]).await);
    assert!(
        head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("content-length: 3000000"),
        "{head}"
    );
    let both = curl(
        &tool,
        stack.proxy(),
        &[
            "--write-out",
            "%{num_connects}",
            "-o",
            "/dev/null",
            "-o",
            "/dev/null",
            &url,
            &url,
        ],
    )
    .await;
    assert_eq!(text(&both), "10", "one connection for two requests");
}

#[tokio::test]
async fn curl_uploads_with_a_length_and_in_chunks() {
    let Some(tool) = tool("curl") else { return };
    let web = web().await;
    let stack = Stack::for_origin(web.addr()).await;
    let scratch = Scratch::new();
    let file = scratch.path().join("upload");
    std::fs::write(&file, Pattern::new(1).bytes(5 * MIB as usize)).expect("a file to upload");
    let (file, url) = (file.to_str().expect("UTF-8"), format!("http://{}/up", web.addr()));
    // Over 1 MiB, curl asks with `Expect: 100-continue` first; `--verbose` shows that it got its 100.
    let cases = [
        &["--verbose", "-T", file][..],
        &["--verbose", "-T", file, "-H", "Transfer-Encoding: chunked"][..],
        &["--verbose", "--proxytunnel", "-T", file][..],
    ];
    for extra in cases {
        let output = curl(
            &tool,
            stack.proxy(),
            &[extra, &["-H", "Expect: 100-continue", &url]].concat(),
        )
        .await;
        assert_eq!(text(&output), (5 * MIB).to_string(), "{extra:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("< HTTP/1.1 100"), "{extra:?}: {said}");
    }
    let form = curl(&tool, stack.proxy(), &["--data", "a=b&c=d", &url]).await;
    assert_eq!(text(&form), "7");
}

#[tokio::test]
async fn curl_sees_trailers() {
    let Some(tool) = tool("curl") else { return };
    let web = web().await;
    let stack = Stack::for_origin(web.addr()).await;
    let url = format!("http://{}/trailers", web.addr());
    // What curl takes for trailers goes where header fields go.
    let scratch = Scratch::new();
    let fields = scratch.path().join("fields");
    let to = fields.to_str().expect("UTF-8");
    let output = curl(
        &tool,
        stack.proxy(),
        &["--dump-header", to, "-H", "TE: trailers", &url],
    )
    .await;
    assert_eq!(text(&output), "body");
    let said = std::fs::read_to_string(&fields)
        .expect("the fields")
        .to_lowercase();
    let (_, trailers) = said.split_once("\r\n\r\n").expect("a head");
    assert!(trailers.contains("x-sum: 42"), "{said}");
}

#[tokio::test]
async fn curl_is_told_why_a_target_is_refused() {
    let Some(tool) = tool("curl") else { return };
    let stack = Setup::new().start().await;
    let plain = curl(
        &tool,
        stack.proxy(),
        &["--include", "http://169.254.169.254/latest/"],
    )
    .await;
    let said = text(&plain);
    assert!(
        said.starts_with("HTTP/1.1 403") && said.to_lowercase().contains("proxy-status:"),
        "{said}"
    );
    let tunnel = curl(
        &tool,
        stack.proxy(),
        &["--proxytunnel", "http://169.254.169.254/"],
    )
    .await;
    assert_eq!(tunnel.status.code(), Some(56), "{tunnel:?}");
    assert!(
        String::from_utf8_lossy(&tunnel.stderr).contains("403"),
        "{tunnel:?}"
    );
}

/// The failure of every tunnel that was measured: a truncated file and exit code 0.
#[tokio::test]
async fn curl_fails_when_a_daemon_dies_in_its_download() {
    let Some(tool) = tool("curl") else { return };
    for victim in ["server", "agent"] {
        for (framing, extra) in [
            ("close", &[][..]),
            ("close", &["--proxytunnel"][..]),
            ("chunked", &[][..]),
        ] {
            let origin = Origin::bind().await;
            let stack = Setup::new()
                .allow(origin.addr())
                .short_idle_timeout()
                .start()
                .await;
            let url = format!("http://{}/endless", origin.addr());
            let (tool, proxy) = (tool.clone(), stack.proxy());
            let client = tokio::spawn(async move {
                curl(&tool, proxy, &[extra, &["-o", "/dev/null", &url]].concat()).await
            });
            let mut upstream = origin.accept().await;
            upstream.read_head().await;
            match framing {
                "close" => {
                    upstream
                        .write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                        .await
                }
                _ => {
                    upstream
                        .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n")
                        .await
                }
            }
            upstream.send(Pattern::new(1), MIB).await;
            until(Duration::from_secs(5), "1 MiB has passed", || async {
                let status = stack.agent.status().await;
                if status["bytes"]["down"].as_u64() >= Some(MIB) {
                    Ok(())
                } else {
                    Err(status)
                }
            })
            .await;
            if victim == "server" {
                stack.server.signal("KILL")
            } else {
                stack.agent.signal("KILL")
            }
            let output = client.await.expect("curl");
            let code = output.status.code().expect("an exit code");
            assert!(
                [18, 52, 56].contains(&code),
                "{victim} killed, {framing} {extra:?}: exit code {code}"
            );
        }
    }
}
