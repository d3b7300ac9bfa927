//! The answer to a LIST: cut the same whatever the chunks, and as a JSON parser cuts it.

#![no_main]

use refloat_cluster::fuzzing::split_list;
use serde_json::value::RawValue;

#[derive(serde::Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&chunk, answer)) = data.split_first() else {
        return;
    };
    let whole = split_list(answer, answer.len());
    assert_eq!(split_list(answer, usize::from(chunk)), whole, "chunks of {chunk}");
    // What the parser passes over need not be UTF-8 for it, only for the second look below.
    if std::str::from_utf8(answer).is_err() {
        return;
    }
    // A key may be spelled with escapes; no API server does, and the splitter need not see it.
    if answer.contains(&b'\\') {
        return;
    }
    let Ok(list) = serde_json::from_slice::<List<'_>>(answer) else {
        return;
    };
    let items = list.items.unwrap_or_default();
    if items.iter().all(|item| item.get().starts_with('{')) {
        let (objects, envelope) = whole.expect("a list of objects is cut");
        let expected: Vec<&[u8]> = items.iter().map(|item| item.get().as_bytes()).collect();
        assert_eq!(objects, expected);
        serde_json::from_slice::<serde_json::Value>(&envelope).expect("the rest is JSON too");
    }
});
