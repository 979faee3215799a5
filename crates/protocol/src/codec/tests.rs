use super::*;
use crate::json_text::changed;

/// Reads a record in order. `Err` has what is wrong with it, or `None` if it has to be read in
/// another way.
fn in_order<T>(text: &str, read: impl Fn(&mut Fields<'_>) -> Read<T>) -> Result<T, Option<String>> {
    let mut wrong = None;
    let record = Source::Json(text).in_order(read, &mut wrong);
    record.ok_or_else(|| wrong.map(|wrong| wrong.message))
}

/// Reading in the order of the specification gives the same as reading in any order, and finds the
/// same errors. And every frame that we write ourselves is read in order.
#[test]
fn the_way_in_order_agrees_with_the_way_in_any_order() {
    let read = |fields: &mut Fields<'_>| {
        op_of(fields, frames::CLIENT_OPS).and_then(|op| frames::get_client(op, fields))
    };
    let (mut ordered, mut faults, mut right) = (0, 0, 0);
    changed::frames(100_000, |text| {
        let one = in_order(text, read);
        let any = in_any_order(Source::Json(text), read);
        match one {
            Ok(frame) => {
                ordered += 1;
                assert_eq!(Ok(frame), any, "{text}");
            }
            Err(Some(message)) => {
                faults += 1;
                let wrong = any.as_ref().unwrap_err();
                assert_eq!(
                    (&message, id_of(Source::Json(text))),
                    (&wrong.message, wrong.id),
                    "{text}"
                );
            }
            Err(None) => {}
        }
        let Ok(frame) = any else { return };
        right += 1;
        let ours = Codec::Json.encode_client(&frame);
        let ours = std::str::from_utf8(&ours).unwrap();
        let again = in_order(ours, read);
        assert_eq!(again, Ok(frame), "{ours}");
    });
    let said = format!("{ordered} {faults} {right}: too few to say anything");
    assert!(ordered > 10_000 && faults > 300 && right > ordered, "{said}");
}

/// The edge cases: where a name or a value ends, what follows, what is missing.
#[test]
fn in_order_is_all_there_and_nothing_else() {
    let read = |fields: &mut Fields<'_>| {
        let a: Option<u32> = fields.optional("a")?;
        let b: Option<u32> = fields.optional("b")?;
        Ok((a, b))
    };
    let in_order = |text: &str| in_order(text, read);
    for (text, found) in [
        ("{}", (None, None)),
        (r#"{"a":1}"#, (Some(1), None)),
        (r#"{"b":2}"#, (None, Some(2))),
        (r#"{ "a" : 1 , "b" : 2 }"#, (Some(1), Some(2))),
        (r#"{"a":null,"b":2}"#, (None, Some(2))),
    ] {
        assert_eq!(in_order(text), Ok(found), "{text}");
    }
    for text in [
        "",
        "{",
        "}",
        "a",
        r#"{"a""#,
        r#"{"a":"#,
        r#"{"a":1"#,
        r#"{"a":1,"#,
        r#"{"a":1,}"#,
        "{,}",
        r#"{"a":1}}"#,
        r#"{"a":1} "#,
        r#"{"a":1 "b":2}"#,
        r#"{"a":1,,"b":2}"#,
        r#"{"b":2,"a":1}"#,
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"c":1}"#,
        r#"{"ab":1}"#,
        r#"{"a" 1}"#,
        r#"{"a":x"b":2}"#,
        r#"{"a":01}"#,
        r#"{"a":1}"b":2}"#,
        r#"{"a":1,b":2}"#,
        r#"{"a":1,"b:2}"#,
        " {}",
    ] {
        assert_eq!(in_order(text), Err(None), "{text}");
    }
}
