//! Ways into a document that is being changed.

use serde_json::{Map, Value, json};

/// Returns the objects of a section, such as `services`, with their names.
pub(super) fn entries<'a>(
    document: &'a mut Value,
    section: &str,
) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    let entries = document.get_mut(section).and_then(Value::as_object_mut);
    entries.into_iter().flat_map(|map| map.iter_mut())
}

/// Returns the mapping at `keys` below `value`, made where there is none.
pub(super) fn mapping<'a>(
    value: &'a mut Value,
    keys: &[&str],
) -> Option<&'a mut Map<String, Value>> {
    let mut at = value;
    for key in keys {
        let map = at.as_object_mut()?;
        at = map.entry(*key).or_insert_with(|| json!({}));
        if at.is_null() {
            *at = json!({});
        }
    }
    at.as_object_mut()
}
