//! Where a key stands in a YAML text: the library keeps no places for values, so lines are looked through once.
//!
//! Understands block mappings by their indentation, as people write configurations. A key inside a flow mapping
//! (`{…}`) is placed at the block key that it belongs to.

use std::collections::BTreeMap;

/// The places of a text's block keys.
#[derive(Debug)]
pub(super) struct Locator {
    places: BTreeMap<String, (usize, usize)>,
}

impl Locator {
    /// Looks a text through.
    pub(super) fn new(text: &str) -> Self {
        let mut places = BTreeMap::new();
        // The keys that enclose the current line, with their indentation.
        let mut open: Vec<(usize, String)> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let Some(key) = key(line.trim_start()) else {
                continue;
            };
            open.retain(|(outer, _)| *outer < indent);
            let path = match open.last() {
                Some((_, section)) => format!("{section}.{key}"),
                None => key.to_owned(),
            };
            places.entry(path.clone()).or_insert((number + 1, indent + 1));
            open.push((indent, path));
        }
        Self { places }
    }

    /// Line and column of a key, or of the nearest section around it that has a line of its own, from 1.
    pub(super) fn find(&self, path: &str) -> (usize, usize) {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            match path.rsplit_once('.') {
                Some((section, _)) => path = section,
                None => return (1, 1),
            }
        }
    }
}

/// The key that a line of a block mapping begins with.
fn key(line: &str) -> Option<&str> {
    if line.starts_with(['#', '-', '{', '[', '}', ']']) {
        return None;
    }
    let (key, rest) = line.split_once(':')?;
    if !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let key = key.trim();
    let quoted = |quote| {
        key.strip_prefix(quote)
            .and_then(|key: &str| key.strip_suffix(quote))
    };
    Some(quoted('"').or_else(|| quoted('\'')).unwrap_or(key))
}
