//! EC2: forms in, XML out. It knows the interfaces of the tasks.

use super::Refusal;
use super::world::World;
use serde_json::{Map, Value, json};

pub(super) fn answer(world: &World, operation: &str, input: &Value) -> Result<Value, Refusal> {
    if operation != "DescribeNetworkInterfaces" || input["Version"] != "2016-11-15" {
        return Err(Refusal::new("InvalidAction"));
    }
    let asked = &input["NetworkInterfaceId.1"];
    let task = world
        .tasks()
        .iter()
        .find(|task| task.interface.as_deref() == asked.as_str())
        .ok_or_else(|| Refusal::new("InvalidNetworkInterfaceID.NotFound"))?;
    Ok(json!({
        "interface": asked,
        "address": task.address.map(|address| address.to_string()),
    }))
}

/// A form without escapes, which is all that the control plane sends.
pub(super) fn decode(body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let form: Map<String, Value> = pairs
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    Ok(Value::Object(form))
}

pub(super) fn encode(output: &Value) -> String {
    let interface = output["interface"].as_str().unwrap_or_default();
    let association = output["address"].as_str().map_or_else(String::new, |address| {
        format!(
            "<association><publicIp>{address}</publicIp><publicDnsName>ec2-fake</publicDnsName>\
             <ipOwnerId>amazon</ipOwnerId></association>"
        )
    });
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeNetworkInterfacesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
    <requestId>fake-request</requestId>
    <networkInterfaceSet>
        <item>
            <networkInterfaceId>{interface}</networkInterfaceId>
            <privateIpAddress>10.0.0.7</privateIpAddress>
            {association}
            <privateIpAddressesSet><item><privateIpAddress>10.0.0.7</privateIpAddress>
            <primary>true</primary>{association}</item></privateIpAddressesSet>
        </item>
    </networkInterfaceSet>
</DescribeNetworkInterfacesResponse>"#
    )
}

pub(super) fn refusal(code: &str, message: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>fake-request</RequestID></Response>"#
    )
}
