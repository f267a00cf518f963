//! CloudWatch, RPCv2 CBOR: PutMetricData and GetMetricData. Inside, it is JSON with times as numbers.

use super::Refusal;
use super::world::{MetricKey, World};
use ciborium::value::Value as Cbor;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub(super) fn answer(world: &mut World, operation: &str, input: &Value) -> Result<Value, Refusal> {
    match operation {
        "PutMetricData" => put(world, input),
        "GetMetricData" => Ok(get(world, input)),
        _ => Err(Refusal::new("UnknownOperation")),
    }
}

fn put(world: &mut World, input: &Value) -> Result<Value, Refusal> {
    let missing = || Refusal::new("MissingParameter");
    let namespace = input["Namespace"].as_str().ok_or_else(missing)?;
    for datum in input["MetricData"].as_array().ok_or_else(missing)? {
        let name = datum["MetricName"].as_str().ok_or_else(missing)?;
        let value = datum["Value"].as_f64().ok_or_else(missing)?;
        let at = seconds(&datum["Timestamp"]).unwrap_or_else(crate::now);
        let key = MetricKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            dimensions: dimensions(&datum["Dimensions"]),
        };
        world.put(key, at, value);
    }
    Ok(json!({}))
}

fn get(world: &World, input: &Value) -> Value {
    let range = seconds(&input["StartTime"]).unwrap_or(0)..seconds(&input["EndTime"]).unwrap_or(u64::MAX);
    let results: Vec<_> = input["MetricDataQueries"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|query| {
            let (stat, metric) = (&query["MetricStat"], &query["MetricStat"]["Metric"]);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let points = world.points(&MetricKey {
                namespace: text(&metric["Namespace"]),
                name: text(&metric["MetricName"]),
                dimensions: dimensions(&metric["Dimensions"]),
            });
            let period = stat["Period"].as_u64().unwrap_or(60);
            let periods = periods(points, range.clone(), period, &text(&stat["Stat"]));
            let (times, values): (Vec<_>, Vec<_>) = periods.into_iter().rev().unzip();
            json!({
                "Id": query["Id"],
                "Label": metric["MetricName"],
                "Timestamps": times,
                "Values": values,
                "StatusCode": "Complete",
            })
        })
        .collect();
    json!({"MetricDataResults": results, "Messages": []})
}

/// The statistic of each period, the oldest first.
fn periods(
    points: Vec<(u64, f64)>,
    range: std::ops::Range<u64>,
    period: u64,
    stat: &str,
) -> BTreeMap<u64, f64> {
    let mut periods: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (at, value) in points {
        let start = at - at % period;
        if range.contains(&start) {
            periods.entry(start).or_default().push(value);
        }
    }
    let of = |values: Vec<f64>| {
        let sum: f64 = values.iter().sum();
        match stat {
            "Maximum" => values.into_iter().fold(f64::NEG_INFINITY, f64::max),
            "Minimum" => values.into_iter().fold(f64::INFINITY, f64::min),
            "Sum" => sum,
            "Average" => sum / values.len() as f64,
            other => panic!("the fake knows no {other}"),
        }
    };
    periods
        .into_iter()
        .map(|(start, values)| (start, of(values)))
        .collect()
}

fn dimensions(value: &Value) -> Vec<(String, String)> {
    let text = |dimension: &Value, key: &str| dimension[key].as_str().unwrap_or_default().to_owned();
    let mut pairs: Vec<_> = value
        .as_array()
        .into_iter()
        .flatten()
        .map(|dimension| (text(dimension, "Name"), text(dimension, "Value")))
        .collect();
    pairs.sort();
    pairs
}

fn seconds(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_f64().map(|seconds| seconds as u64))
}

pub(super) fn decode(body: &[u8]) -> Result<Value, String> {
    let cbor: Cbor = ciborium::from_reader(body).map_err(|error| error.to_string())?;
    Ok(to_json(cbor))
}

/// Everything under `Timestamps` becomes a time, every other number with a point a double.
pub(super) fn encode(output: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&to_cbor(output, false), &mut bytes).expect("writes into memory");
    bytes
}

fn to_json(cbor: Cbor) -> Value {
    match cbor {
        Cbor::Integer(number) => json!(i64::try_from(number).expect("a small number")),
        Cbor::Float(number) => json!(number),
        Cbor::Text(text) => json!(text),
        Cbor::Bool(value) => json!(value),
        // Tag 1: seconds since 1970.
        Cbor::Tag(1, time) => to_json(*time),
        Cbor::Array(items) => items.into_iter().map(to_json).collect(),
        Cbor::Map(pairs) => {
            let pairs = pairs.into_iter().map(|(key, value)| {
                let key = key.into_text().expect("a text for a key");
                (key, to_json(value))
            });
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        Cbor::Null => Value::Null,
        other => panic!("the fake reads no {other:?}"),
    }
}

fn to_cbor(value: &Value, times: bool) -> Cbor {
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(value) => Cbor::Bool(*value),
        Value::String(text) => Cbor::Text(text.clone()),
        Value::Number(number) if times => {
            Cbor::Tag(1, Box::new(Cbor::Float(number.as_f64().expect("a number"))))
        }
        Value::Number(number) => match number.as_i64() {
            Some(number) => Cbor::Integer(number.into()),
            None => Cbor::Float(number.as_f64().expect("a number")),
        },
        Value::Array(items) => Cbor::Array(items.iter().map(|item| to_cbor(item, times)).collect()),
        Value::Object(pairs) => Cbor::Map(
            pairs
                .iter()
                .map(|(key, value)| (Cbor::Text(key.clone()), to_cbor(value, key == "Timestamps")))
                .collect(),
        ),
    }
}
