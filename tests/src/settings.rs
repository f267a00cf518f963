//! A daemon's configuration as a tree that tests change by dotted key. Written as JSON, which is YAML.

use serde_json::{Map, Value};

/// A configuration under construction.
#[derive(Clone, Debug)]
pub struct Settings(Value);

impl Settings {
    /// Starts from a JSON object.
    pub fn new(value: Value) -> Self {
        assert!(value.is_object(), "settings are an object");
        Self(value)
    }

    /// Sets `quic.idle-timeout` and the like, making the levels above it.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        let mut at = &mut self.0;
        for part in key.split('.') {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            let Value::Object(map) = at else {
                unreachable!("made an object above")
            };
            at = map.entry(part).or_insert(Value::Null);
        }
        *at = value.into();
        self
    }

    /// The file's text.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("JSON values always serialize")
    }
}
