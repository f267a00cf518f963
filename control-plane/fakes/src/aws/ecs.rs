//! ECS, JSON 1.1.

use super::world::{Task, World};
use super::{CLUSTER, REGION, Refusal, SERVICE};
use crate::http;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde_json::{Value, json};

pub(super) fn answer(world: &mut World, operation: &str, input: &Value) -> Result<Value, Refusal> {
    if operation != "TagResource" && !names(&input["cluster"], CLUSTER) {
        return Err(Refusal::new("ClusterNotFoundException"));
    }
    match operation {
        "DescribeServices" => Ok(describe_services(world, input)),
        "UpdateService" => update_service(world, input),
        "TagResource" => tag_resource(world, input),
        "ListTasks" => Ok(list_tasks(world, input)),
        "DescribeTasks" => Ok(describe_tasks(world, input)),
        _ => Err(Refusal::new("UnknownOperationException")),
    }
}

/// The task metadata endpoint, version 4: `TASK/task`, unsigned.
pub(super) fn metadata(world: &World, path: &str) -> Response<Full<Bytes>> {
    let known = path
        .strip_suffix("/task")
        .and_then(|id| world.tasks().iter().find(|task| task.id == id));
    match known {
        Some(task) => http::answer(200, "application/json", metadata_of(task).to_string()),
        None => http::answer(404, "text/plain", "no such task"),
    }
}

fn metadata_of(task: &Task) -> Value {
    json!({
        "Cluster": CLUSTER,
        "TaskARN": task_arn(task),
        "Family": SERVICE,
        "Revision": "1",
        "ServiceName": SERVICE,
        "DesiredStatus": "RUNNING",
        "KnownStatus": task.status,
        "LaunchType": "FARGATE",
        "AvailabilityZone": format!("{REGION}a"),
    })
}

fn describe_services(world: &World, input: &Value) -> Value {
    let asked = input["services"].as_array().cloned().unwrap_or_default();
    let with_tags = input["include"]
        .as_array()
        .is_some_and(|include| include.contains(&json!("TAGS")));
    let (known, unknown): (Vec<_>, Vec<_>) = asked.iter().partition(|name| names(name, SERVICE));
    let failures: Vec<_> = unknown
        .iter()
        .map(|name| json!({"arn": name, "reason": "MISSING"}))
        .collect();
    let services: Vec<_> = known.iter().map(|_| service(world, with_tags)).collect();
    json!({"services": services, "failures": failures})
}

fn update_service(world: &mut World, input: &Value) -> Result<Value, Refusal> {
    if !names(&input["service"], SERVICE) {
        return Err(Refusal::new("ServiceNotFoundException"));
    }
    if let Some(desired) = input["desiredCount"].as_u64() {
        world.set_desired(u32::try_from(desired).expect("a small count"));
    }
    Ok(json!({"service": service(world, false)}))
}

fn tag_resource(world: &mut World, input: &Value) -> Result<Value, Refusal> {
    if input["resourceArn"] != service_arn() {
        return Err(Refusal::new("InvalidParameterException"));
    }
    for tag in input["tags"].as_array().into_iter().flatten() {
        let text = |key: &str| tag[key].as_str().unwrap_or_default().to_owned();
        world.set_tag(&text("key"), text("value"));
    }
    Ok(json!({}))
}

fn list_tasks(world: &World, input: &Value) -> Value {
    let stopped = input["desiredStatus"] == "STOPPED";
    let tasks = world.tasks().iter().filter(|task| task.wanted != stopped);
    let ended = world.ended().iter().filter(|_| stopped).map(|ended| &ended.task);
    let arns: Vec<_> = tasks
        .chain(ended)
        .filter(|_| names(&input["serviceName"], SERVICE))
        .map(task_arn)
        .collect();
    json!({"taskArns": arns})
}

fn describe_tasks(world: &World, input: &Value) -> Value {
    let asked = input["tasks"].as_array().cloned().unwrap_or_default();
    let is_asked = |task: &Task| asked.contains(&json!(task_arn(task)));
    let tasks = world.tasks().iter().filter(|task| is_asked(task)).map(described);
    let ended = world.ended().iter().filter(|ended| is_asked(&ended.task));
    let ended = ended.map(|ended| {
        let mut described = described(&ended.task);
        described["lastStatus"] = json!("STOPPED");
        described["desiredStatus"] = json!("STOPPED");
        described["stoppedAt"] = json!(ended.stopped);
        described["stopCode"] = json!(ended.code);
        described["stoppedReason"] = json!(ended.reason);
        described
    });
    json!({"tasks": tasks.chain(ended).collect::<Vec<_>>(), "failures": []})
}

fn service(world: &World, with_tags: bool) -> Value {
    let counts = world.service();
    let tags: Vec<_> = world
        .tags()
        .iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    let event = |message: &String| json!({"id": "1", "createdAt": now(), "message": message});
    let mut service = json!({
        "serviceArn": service_arn(),
        "serviceName": SERVICE,
        "clusterArn": format!("arn:aws:ecs:{REGION}:123456789012:cluster/{CLUSTER}"),
        "status": "ACTIVE",
        "desiredCount": counts.desired,
        "runningCount": counts.running,
        "pendingCount": counts.pending,
        "deployments": [{
            "id": "ecs-svc/1",
            "status": "PRIMARY",
            "desiredCount": counts.desired,
            "runningCount": counts.running,
            "pendingCount": counts.pending,
            "failedTasks": 0,
            "createdAt": 1_700_000_000,
            "updatedAt": world.deployment_changed,
            "rolloutState": "COMPLETED",
        }],
        "events": world.latest_event.iter().map(event).collect::<Vec<_>>(),
    });
    if with_tags {
        service["tags"] = json!(tags);
    }
    service
}

fn described(task: &Task) -> Value {
    let mut described = json!({
        "taskArn": task_arn(task),
        "lastStatus": task.status,
        "desiredStatus": if task.wanted { "RUNNING" } else { "STOPPED" },
        "createdAt": task.created,
        "launchType": "FARGATE",
        "attachments": [],
    });
    if let Some(started) = task.started {
        described["startedAt"] = json!(started);
    }
    if let Some(interface) = &task.interface {
        described["attachments"] = json!([{
            "id": "4f3c1a5e",
            "type": "ElasticNetworkInterface",
            "status": "ATTACHED",
            "details": [
                {"name": "subnetId", "value": "subnet-1"},
                {"name": "networkInterfaceId", "value": interface},
                {"name": "privateIPv4Address", "value": "10.0.0.7"},
            ],
        }]);
    }
    described
}

fn now() -> u64 {
    crate::now()
}

/// A name, or an ARN that ends in it.
fn names(value: &Value, name: &str) -> bool {
    value
        .as_str()
        .is_some_and(|text| text == name || text.ends_with(&format!("/{name}")))
}

fn service_arn() -> String {
    format!("arn:aws:ecs:{REGION}:123456789012:service/{CLUSTER}/{SERVICE}")
}

fn task_arn(task: &Task) -> String {
    format!("arn:aws:ecs:{REGION}:123456789012:task/{CLUSTER}/{}", task.id)
}
