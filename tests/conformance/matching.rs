//! What counts as expected.

use std::collections::HashMap;

use serde_json::Value;

/// The values of names during one play of a scenario.
pub(crate) type Names = HashMap<String, Value>;

/// Whether `found` matches `expected`. An object has at least the expected fields, and a list has
/// exactly these elements. `"$name"` matches anything at its first use, and the same value later;
/// `null` matches what is absent; `{"$min":n}` and `{"$max":n}` match a number within these bounds,
/// `{"$length":n}` a list of that length, `{"$has":[…]}` a list that contains all of these.
pub(crate) fn matches(expected: &Value, found: &Value, names: &mut Names) -> Result<(), String> {
    let differs = || Err(format!("expected {}, found {}", short(expected), short(found)));
    match (expected, found) {
        (Value::String(text), _) if text.starts_with('$') => {
            if let Some(before) = names.get(text) {
                return if same(before, found) { Ok(()) } else { differs() };
            }
            if found.is_null() {
                return differs();
            }
            names.insert(text.clone(), found.clone());
            Ok(())
        }
        (Value::Object(fields), _) if fields.keys().any(|key| key.starts_with('$')) => {
            for (key, bound) in fields {
                let holds = match key.as_str() {
                    "$min" => found.as_f64() >= Some(number(bound, names)) && found.is_number(),
                    "$max" => found.as_f64() <= Some(number(bound, names)) && found.is_number(),
                    "$length" => {
                        found.as_array().map(Vec::len) == bound.as_u64().map(|n| n as usize)
                    }
                    "$has" => {
                        let all = found.as_array().map(Vec::as_slice).unwrap_or_default();
                        let wanted = bound.as_array().map(Vec::as_slice).unwrap_or_default();
                        wanted.iter().all(|want| {
                            all.iter().any(|one| matches(want, one, &mut names.clone()).is_ok())
                        })
                    }
                    other => return Err(format!("no such word: {other}")),
                };
                if !holds {
                    return differs();
                }
            }
            Ok(())
        }
        (Value::Object(wanted), Value::Object(there)) => {
            for (field, value) in wanted {
                let found = there.get(field).unwrap_or(&Value::Null);
                matches(value, found, names).map_err(|why| format!("{field}: {why}"))?;
            }
            Ok(())
        }
        (Value::Array(wanted), Value::Array(there)) if wanted.len() == there.len() => {
            wanted.iter().zip(there).try_for_each(|(want, found)| matches(want, found, names))
        }
        _ if same(expected, found) => Ok(()),
        _ => differs(),
    }
}

fn number(bound: &Value, names: &Names) -> f64 {
    let named = bound.as_str().and_then(|name| names.get(name));
    named.unwrap_or(bound).as_f64().unwrap_or(f64::NAN)
}

/// Whether two JSON values mean the same. `1` and `1.0` do, because not all languages distinguish
/// them.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|o| same(value, o)))
        }
        _ => one == other,
    }
}

/// Replaces names in `step` by their values: a whole string `"$name"` becomes the value, `{$name}`
/// in a longer string becomes its text.
pub(crate) fn filled(step: &Value, names: &Names) -> Value {
    match step {
        Value::String(text) => match names.get(text) {
            Some(value) => value.clone(),
            None if text.contains("{$") => {
                let text = names.iter().fold(text.clone(), |text, (name, value)| {
                    let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    text.replace(&format!("{{{name}}}"), &plain)
                });
                text.into()
            }
            None => step.clone(),
        },
        Value::Array(all) => all.iter().map(|one| filled(one, names)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), filled(value, names))).collect()
        }
        _ => step.clone(),
    }
}

/// Returns as much of a value as is useful in an error.
pub(crate) fn short(value: &Value) -> String {
    let text = value.to_string();
    let most: String = text.chars().take(600).collect();
    if most.len() < text.len() { format!("{most}… ({} bytes)", text.len()) } else { text }
}

#[test]
fn what_differs_is_found() {
    use serde_json::json;
    let holds = |expected: Value, found: Value| {
        let mut names = Names::from([("$a".to_owned(), json!(7))]);
        matches(&expected, &found, &mut names).is_ok()
    };
    assert!(holds(json!({ "a": 1, "b": null }), json!({ "a": 1.0, "c": 2 })));
    assert!(!holds(json!({ "a": 1, "b": null }), json!({ "a": 1, "b": 2 })));
    assert!(!holds(json!([1]), json!([1, 2])));
    assert!(holds(json!("$a"), json!(7)) && !holds(json!("$a"), json!(8)));
    assert!(
        holds(json!(["$b", "$b"]), json!([1, 1])) && !holds(json!(["$b", "$b"]), json!([1, 2]))
    );
    assert!(holds(json!({ "$min": "$a" }), json!(7)) && !holds(json!({ "$max": 6 }), json!(7)));
    assert!(
        holds(json!({ "$has": [2] }), json!([1, 2]))
            && !holds(json!({ "$has": [3] }), json!([1, 2]))
    );
    assert!(!holds(json!({ "a": "$c" }), json!({})));
    assert!(!same(&json!({ "a": 1 }), &json!({ "a": 1, "b": 1 })));
}
