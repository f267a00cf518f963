//! Scale to zero, end to end: a real agent, the real functions, a real server that comes and goes, and an AWS that is
//! played on this machine (there is no AWS account here: what only AWS can show is listed in docs/control-plane.md).

use fluidity_fakes::{events, script::Fault};
use fluidity_tests::{
    API_KEY, Cloud, Head, Origin, Peer, Scratch, Settings, TestAgent, binary, until, within,
};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Output;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(15);

async fn get(proxy: SocketAddr, origin: SocketAddr) -> (Head, String) {
    let mut client = Peer::dial(proxy).await.with_deadline(Duration::from_secs(40));
    client
        .write(format!(
            "GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n"
        ))
        .await;
    let (head, body) = client.read_response().await;
    (head, String::from_utf8_lossy(&body).into_owned())
}

async fn assert_served(agent: &TestAgent, origin: SocketAddr) {
    let (head, body) = get(agent.proxy(), origin).await;
    assert_eq!((head.status(), body.as_str()), (200, "hello"), "{head:?}");
}

/// Waits until the agent is in this state; returns its status.
async fn in_state(agent: &TestAgent, state: &str, deadline: Duration) -> Value {
    until(deadline, &format!("the agent is {state}"), || async {
        let status = agent.status().await;
        if status["state"] == state {
            Ok(status)
        } else {
            Err(status)
        }
    })
    .await
}

/// A line of the status that says `text` in the control plane's error or the agent's own.
async fn says(agent: &TestAgent, text: &str) {
    until(SOON, &format!("the status says {text:?}"), || async {
        let status = agent.status().await;
        let said = [&status["last_error"], &status["control_plane"]["error"]];
        if said
            .iter()
            .any(|said| said.as_str().is_some_and(|said| said.contains(text)))
        {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
}

async fn command(settings: &Settings, args: &[&str]) -> Output {
    let scratch = Scratch::new();
    let file = scratch.write("agent.yaml", &settings.text());
    let mut command = tokio::process::Command::new(binary("fluidity"));
    command.args(args).arg("-c").arg(file);
    within(Duration::from_secs(30), "the command ends", command.output())
        .await
        .expect("run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn from_start_to_wake_to_traffic_to_the_kill_by_the_last_agent() {
    let web = Origin::bind().await.hello("hello");
    let cloud = Cloud::start(&[web.addr()]).await;
    let agent = TestAgent::start(&cloud.agent_settings()).await;
    in_state(&agent, "connected", SOON).await;
    assert_served(&agent, web.addr()).await;

    let status = agent.status().await;
    assert_eq!(status["control_plane"]["state"], "running", "{status}");
    assert!(status["server"]["awake_seconds"].is_u64(), "{status}");
    let status = until(SOON, "the server has told who else is there", || async {
        let status = agent.status().await;
        if status["server"]["others"]["count"] == 0 {
            Ok(status)
        } else {
            Err(status)
        }
    })
    .await;
    assert_eq!(status["cost"]["currency"], "USD", "{status}");

    agent.signal("TERM");
    let (exit, log) = agent.exit(Duration::from_secs(10)).await;
    assert!(exit.status.success(), "{log}");
    assert!(!log.contains(API_KEY), "the key is in the log");
    cloud.desired(0, SOON).await;
    cloud.gone(SOON).await;
}

#[tokio::test]
async fn an_agent_that_is_not_the_last_leaves_the_server_to_the_others() {
    let web = Origin::bind().await.hello("hello");
    let cloud = Cloud::start(&[web.addr()]).await;
    cloud.pki.issue_agent("phone");
    let mut settings = cloud.agent_settings();
    let laptop = TestAgent::start(&settings).await;
    settings.set("identity", cloud.pki.identity("phone"));
    let phone = TestAgent::start(&settings).await;
    for agent in [&laptop, &phone] {
        in_state(agent, "connected", SOON).await;
    }
    until(SOON, "the laptop knows of the phone", || async {
        let status = laptop.status().await;
        if status["server"]["others"]["agents"][0] == "phone" {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    laptop.signal("TERM");
    let (exit, log) = laptop.exit(Duration::from_secs(10)).await;
    assert!(exit.status.success(), "{log}");
    assert_eq!(cloud.aws.service().desired, 1, "{log}");
    assert_served(&phone, web.addr()).await;
    until(SOON, "the phone knows that it is alone", || async {
        let status = phone.status().await;
        if status["server"]["others"]["count"] == 0 {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    phone.signal("TERM");
    phone.exit(Duration::from_secs(10)).await;
    cloud.desired(0, SOON).await;
}

/// Two machines with copies of one `agent.yaml`, the most natural mistake there is.
#[tokio::test]
async fn two_agents_with_one_identity_are_two_and_only_the_last_of_them_has_the_server_killed() {
    let web = Origin::bind().await.hello("hello");
    let cloud = Cloud::start(&[web.addr()]).await;
    let settings = cloud.agent_settings();
    let first = TestAgent::start(&settings).await;
    let mut elsewhere = settings.clone();
    let state = cloud.pki.dir().join("elsewhere").join("agent.json");
    elsewhere.set("state-file", state.to_str().expect("UTF-8"));
    let second = TestAgent::start(&elsewhere).await;
    for agent in [&first, &second] {
        in_state(agent, "connected", SOON).await;
        let status = until(SOON, "it knows of the other one", || async {
            let status = agent.status().await;
            if status["server"]["others"]["count"] == 1 {
                Ok(status)
            } else {
                Err(status)
            }
        })
        .await;
        assert_eq!(status["server"]["others"]["same_name"], 1, "{status}");
    }

    // Both sides say what is wrong, once it is no restart; the idle timeout is 3 s here.
    for agent in [&first, &second] {
        until(Duration::from_secs(60), "the agent warns", || async {
            let log = agent.log();
            let warned = log.contains("another agent is connected with this agent's identity");
            if warned { Ok(()) } else { Err(log) }
        })
        .await;
    }
    until(Duration::from_secs(60), "the server warns", || async {
        let server = cloud.server().await;
        let server = server.as_ref().expect("a server");
        let (log, status) = (server.log(), server.status().await);
        let metrics = server.admin("/metrics").await.1;
        let warned = log.matches("several agents use one identity").count() == 1
            && status["doubled_identities"][0] == "laptop"
            && metrics.contains("fluidity_server_doubled_identities 1");
        if warned { Ok(()) } else { Err((log, status)) }
    })
    .await;
    let mut asked = settings.clone();
    asked.set("admin", first.port("admin").to_string());
    let said = command(&asked, &["status"]).await;
    let said = text(&said.stdout);
    assert!(said.contains("identity   in use by another agent, too"), "{said}");

    let mut client = Peer::tunnel(second.proxy(), web.addr()).await;
    first.signal("TERM");
    let (exit, log) = first.exit(Duration::from_secs(20)).await;
    assert!(exit.status.success(), "{log}");
    assert_eq!(cloud.gateway.script().count("kill"), 0, "{log}");
    assert_eq!(cloud.aws.service().desired, 1, "{log}");
    client
        .write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(client.read_head().await.status(), 200, "its session goes on");

    until(SOON, "the second one knows that it is alone", || async {
        let status = second.status().await;
        let others = &status["server"]["others"];
        if others["count"] == 0 && others["same_name"] == 0 {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    drop(client);
    second.signal("TERM");
    second.exit(Duration::from_secs(20)).await;
    cloud.desired(0, SOON).await;
}

#[tokio::test]
async fn idle_then_asleep_by_schedule_then_awake_again_with_the_request_held_and_answered() {
    let web = Origin::bind().await.hello("hello");
    let cloud = Cloud::start(&[web.addr()]).await;
    let mut settings = cloud.agent_settings();
    settings.set("idle-disconnect", "2s");
    let agent = TestAgent::start(&settings).await;
    assert_served(&agent, web.addr()).await;
    let task = cloud.aws.newest_task().expect("a task").id;

    // Nobody wants it: the agent lets go, by itself.
    in_state(&agent, "dormant", SOON).await;
    // The server tells CloudWatch; the schedule finds it idle over two fresh periods and stops it.
    let schedule = cloud.sleep.every(Duration::from_secs(2));
    cloud.desired(0, Duration::from_secs(90)).await;
    cloud.gone(SOON).await;
    drop(schedule);
    let published = cloud.aws.metric(&task, "ActiveConnections");
    assert!(published.len() >= 3, "from the server itself: {published:?}");
    assert_eq!(agent.status().await["state"], "dormant");

    // Fifty at once make one server, and all are answered.
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..50 {
        held.spawn(get(agent.proxy(), web.addr()));
    }
    while let Some(answer) = held.join_next().await {
        let (head, body) = answer.expect("a request");
        assert_eq!((head.status(), body.as_str()), (200, "hello"));
    }
    assert_eq!(cloud.aws.service().desired, 1);
    assert_ne!(cloud.aws.newest_task().expect("a task").id, task);
}

#[tokio::test]
async fn an_agent_on_demand_wakes_nobody_before_the_first_request() {
    let web = Origin::bind().await.hello("hello");
    let cloud = Cloud::start(&[web.addr()]).await;
    let mut settings = cloud.agent_settings();
    settings.set("start", "on-demand");
    let agent = TestAgent::start(&settings).await;
    in_state(&agent, "dormant", SOON).await;
    assert_eq!(agent.admin("/readyz").await.0, 200, "it can serve: on demand");
    assert_eq!(cloud.gateway.script().count("wake"), 0);
    assert_served(&agent, web.addr()).await;
    assert_eq!(cloud.aws.service().desired, 1);
}

#[tokio::test]
async fn a_request_that_cannot_be_served_in_time_gets_503_a_time_and_a_reason() {
    let origin = Origin::bind().await;
    let cloud = Cloud::start(&[origin.addr()]).await;
    cloud.get_stuck();
    let mut settings = cloud.agent_settings();
    settings.set("start", "on-demand").set("connection-timeout", "2s");
    let agent = TestAgent::start(&settings).await;
    let began = Instant::now();
    let (head, body) = get(agent.proxy(), origin.addr()).await;
    assert_eq!(head.status(), 503, "{head:?} {body}");
    assert!(head.one("retry-after").is_some(), "{head:?}");
    assert!(
        head.one("proxy-status")
            .is_some_and(|status| status.contains("error=")),
        "{head:?}"
    );
    assert!(body.contains("within 2s") && body.contains("starting"), "{body}");
    assert!(began.elapsed() >= Duration::from_secs(2));
    in_state(&agent, "dormant", SOON).await;
}

#[tokio::test]
async fn a_server_lost_while_in_use_is_woken_again_by_itself_and_without_a_stampede() {
    let web = Origin::bind().await.hello("hello");
    let cloud = Cloud::start(&[web.addr()]).await;
    let agent = TestAgent::start(&cloud.agent_settings()).await;
    assert_served(&agent, web.addr()).await;
    cloud.gateway.script().forget_calls();
    cloud.lose_server().await;
    in_state(&agent, "connected", Duration::from_secs(30)).await;
    until(SOON, "it is the new server", || async {
        let status = agent.status().await;
        if status["reconnects"].as_u64() >= Some(1) {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    assert_served(&agent, web.addr()).await;
    let calls = cloud.gateway.script().count("wake");
    assert!(calls <= 20, "{calls} calls for one loss");

    // Stopped on purpose, and the agent has used it only a moment ago: it asks for it again.
    let killed = command(&cloud.agent_settings(), &["kill"]).await;
    assert!(killed.status.success(), "{}", text(&killed.stderr));
    assert_served(&agent, web.addr()).await;
}

#[tokio::test]
async fn a_server_lost_while_nobody_uses_it_is_left_asleep_until_somebody_does() {
    let web = Origin::bind().await.hello("hello");
    let cloud = Cloud::start(&[web.addr()]).await;
    let mut settings = cloud.agent_settings();
    // In use is what was used within half of this.
    settings.set("idle-disconnect", "4s");
    let agent = TestAgent::start(&settings).await;
    assert_served(&agent, web.addr()).await;
    let began = Instant::now();
    in_state(&agent, "connected", SOON).await;
    // The time is the subject of this test.
    tokio::time::sleep(Duration::from_millis(2500).saturating_sub(began.elapsed())).await;
    cloud.gateway.script().forget_calls();
    let killed = command(&settings, &["kill"]).await;
    assert!(killed.status.success(), "{}", text(&killed.stderr));
    in_state(&agent, "dormant", SOON).await;
    cloud.gone(SOON).await;
    assert_eq!(cloud.gateway.script().count("wake"), 0);
    assert_eq!(cloud.aws.service().desired, 0);
    assert_served(&agent, web.addr()).await;
}

#[tokio::test]
async fn an_api_in_trouble_leaves_the_agent_up_and_saying_what_is_wrong() {
    let web = Origin::bind().await.hello("hello");
    let cloud = Cloud::start(&[web.addr()]).await;
    let script = cloud.gateway.script();
    let error = |status, code| Fault::Error { status, code };
    for (fault, said) in [
        (error(403, "Forbidden"), "does not accept the API key"),
        (error(429, "Too Many Requests"), "429"),
        (error(500, "Internal server error"), "failed (500"),
        (Fault::Garbage("<html>"), "not understood"),
        (Fault::Cut, "cannot be reached"),
        (Fault::Hang, "within 2s"),
    ] {
        script.always("wake", fault);
        let mut settings = cloud.agent_settings();
        settings.set("start", "on-demand").set("connection-timeout", "2s");
        let agent = TestAgent::start(&settings).await;
        let (head, body) = get(agent.proxy(), web.addr()).await;
        assert_eq!(head.status(), 503, "{said}: {head:?} {body}");
        assert!(body.contains(said), "no {said:?} in {body}");
        says(&agent, said).await;
        assert_eq!(agent.admin("/healthz").await.0, 200, "{said}: it stays up");
        assert!(!agent.log().contains(API_KEY));

        // The trouble passes, and the next request is served.
        script.clear();
        assert_served(&agent, web.addr()).await;
        agent.kill().await;
    }
}

#[tokio::test]
async fn with_the_api_down_a_known_address_still_serves() {
    let web = Origin::bind().await.hello("hello");
    let cloud = Cloud::start(&[web.addr()]).await;
    let agent = TestAgent::start(&cloud.agent_settings()).await;
    assert_served(&agent, web.addr()).await;
    let known = agent.status().await["server"]["address"]
        .as_str()
        .expect("an address")
        .to_owned();
    cloud.gateway.script().always(
        "wake",
        Fault::Error {
            status: 500,
            code: "down",
        },
    );
    let mut settings = cloud.agent_settings();
    settings.set("server.address", known);
    let second = TestAgent::start(&settings).await;
    in_state(&second, "connected", SOON).await;
    assert_served(&second, web.addr()).await;
}

#[tokio::test]
async fn a_person_wakes_looks_and_kills_by_hand() {
    let web = Origin::bind().await.hello("hello");
    let cloud = Cloud::start(&[web.addr()]).await;
    let mut settings = cloud.agent_settings();
    let once = command(&settings, &["wake"]).await;
    assert!(once.status.success(), "{}", text(&once.stderr));
    assert!(
        text(&once.stdout).contains("state    starting"),
        "{}",
        text(&once.stdout)
    );
    let waited = command(&settings, &["wake", "--wait"]).await;
    let said = text(&waited.stdout);
    assert!(waited.status.success(), "{}", text(&waited.stderr));
    assert!(
        said.contains("state    running") && said.contains("address  127.0.0.1:"),
        "{said}"
    );

    let agent = TestAgent::start(&settings).await;
    assert_served(&agent, web.addr()).await;
    settings.set("admin", agent.port("admin").to_string());
    let status = command(&settings, &["status"]).await;
    let said = text(&status.stdout);
    assert!(status.status.success(), "{said}");
    for word in [
        "connected for",
        "awake",
        "others",
        "service    running",
        "this month about",
    ] {
        assert!(said.contains(word), "no {word:?} in\n{said}");
    }

    let killed = command(&settings, &["kill"]).await;
    assert!(killed.status.success(), "{}", text(&killed.stderr));
    cloud.desired(0, SOON).await;

    settings.set("api-key", "another-key");
    let refused = command(&settings, &["wake"]).await;
    assert!(!refused.status.success());
    assert!(
        text(&refused.stderr).contains("check api-key"),
        "{}",
        text(&refused.stderr)
    );
    assert!(!text(&refused.stderr).contains("another-key"));
}

#[tokio::test]
async fn the_schedule_never_stops_a_server_that_is_in_use() {
    let origin = Origin::bind().await;
    let cloud = Cloud::start(&[origin.addr()]).await;
    let agent = TestAgent::start(&cloud.agent_settings()).await;
    let mut client = Peer::tunnel(agent.proxy(), origin.addr()).await;
    let mut upstream = origin.accept().await;
    let began = Instant::now();
    // Past the threshold, the two periods and the newest, a session that carries a byte now and then is in use.
    while began.elapsed() < Duration::from_secs(45) {
        client.write("x").await;
        assert_eq!(upstream.read_exact(1).await, "x");
        let answer = cloud.sleep.invoke(events::schedule()).await.expect("an answer");
        assert_eq!(answer["desiredCount"], 1, "{answer}");
        // The time is the subject of this test.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
