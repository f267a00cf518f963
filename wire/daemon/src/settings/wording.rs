//! What the YAML and the typed settings say, in the words of whoever wrote the file.

/// An error of a deserializer, without the types of the code.
pub(super) fn plain(message: &str) -> String {
    // The YAML puts the path of the key in front.
    let start = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|kind| message.find(kind));
    let (path, rest) = message
        .split_at_checked(start.unwrap_or_default())
        .unwrap_or(("", message));
    let wrong = start.and_then(|_| rest.split_once(": ")?.1.rsplit_once(", expected "));
    if let Some((found, wanted)) = wrong {
        let quotes = match wanted == "a string" && found.contains('`') {
            true => "; put it in quotes",
            false => "",
        };
        return format!("{path}must be {}, not {}{quotes}", expected(wanted), shown(found));
    }
    let variant = message.strip_prefix("unknown variant ");
    if let Some((found, wanted)) = variant.and_then(|rest| rest.split_once(", expected ")) {
        return format!("must be {wanted}, not {found}");
    }
    if let Some((path, name)) = message.split_once("duplicate entry with key ") {
        let name = name.trim_matches('"');
        return format!("{path}`{name}` is here for the second time; keep one of the two");
    }
    if message.starts_with("deserializing from YAML containing more than one document") {
        return "the file has several documents, divided by lines of `---`; keep one".into();
    }
    message.to_owned()
}

fn expected(wanted: &str) -> &str {
    match wanted {
        "u8" | "i8" => "a whole number from 0 to 255",
        "u16" | "i16" => "a whole number from 0 to 65535",
        "u32" | "i32" => "a whole number from 0 to 4294967295",
        "u64" | "i64" | "usize" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list, such as [ a, b ]",
        "a map" => "keys and values, such as { key: value }",
        // What is asked for where a number is larger than YAML's own.
        "any YAML value" => "a smaller number",
        wanted if wanted.starts_with("struct ") => "keys and values, such as { key: value }",
        wanted => wanted,
    }
}

/// `string "many"` and `` integer `-1` `` without the kind, which the value shows.
fn shown(found: &str) -> String {
    match found {
        "sequence" => "a list".into(),
        "map" => "keys and values".into(),
        "unit value" | "null" | "Option value" => "nothing".into(),
        found => match found.strip_prefix("string ") {
            Some(text) => format!("`{}`", text.trim_matches('"')),
            None => found
                .find('`')
                .and_then(|start| found.get(start..=found.rfind('`')?))
                .unwrap_or(found)
                .to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_type_of_the_code_is_named() {
        for (message, said) in [
            (
                "invalid type: string \"many\", expected usize",
                "must be a whole number, not `many`",
            ),
            (
                "invalid value: integer `-1`, expected u16",
                "must be a whole number from 0 to 65535, not `-1`",
            ),
            (
                "invalid type: floating point `1.5`, expected u64",
                "must be a whole number, not `1.5`",
            ),
            (
                "invalid type: sequence, expected a string",
                "must be a text, not a list",
            ),
            (
                "invalid type: integer `5`, expected a string",
                "must be a text, not `5`; put it in quotes",
            ),
            (
                "invalid type: string \"x\", expected a sequence",
                "must be a list, such as [ a, b ], not `x`",
            ),
            (
                "invalid type: string \"x\", expected struct Rule",
                "must be keys and values, such as { key: value }, not `x`",
            ),
            (
                "unknown variant `maybe`, expected `allow` or `deny`",
                "must be `allow` or `deny`, not `maybe`",
            ),
            (
                "unknown variant `a`, expected one of `b`, `c`, `d`",
                "must be one of `b`, `c`, `d`, not `a`",
            ),
            (
                "server.password: invalid type: map, expected a string",
                "server.password: must be a text, not keys and values",
            ),
            (
                "invalid type: integer `99999999999999999999999` as u128, expected any YAML value",
                "must be a smaller number, not `99999999999999999999999`",
            ),
            ("something else", "something else"),
        ] {
            assert_eq!(plain(message), said);
        }
    }
}
