//! How much a task may write to its log.

use serde_json::Value;

use super::{Limits, Notes, mapping, text};
use crate::trust::size;

/// How many files a log may have, and how small one may be, in bytes. The engine renames each file at every rotation,
/// before it writes the next line: 10 million files of one byte kept it from answering for minutes
/// (<https://github.com/moby/moby/blob/v20.10.24/daemon/logger/loggerutils/logfile.go>, `rotate`).
const LOG_FILES: u64 = 10;
const LOG_FILE: u64 = 64 << 10;

pub(super) fn bound(
    service: &mut Value,
    name: &str,
    limits: Limits,
    theirs: &dyn Fn(&str) -> bool,
    notes: &mut Notes,
) {
    let driver = service.pointer("/logging/driver").and_then(Value::as_str);
    let driver = driver
        .filter(|driver| !driver.is_empty())
        .map(str::to_owned);
    // Another driver is there by the operator's word only.
    if driver
        .as_deref()
        .is_some_and(|name| !matches!(name, "json-file" | "local"))
        || theirs("logging.driver")
        || theirs("logging.options.max-size")
    {
        return;
    }
    let Some(map) = mapping(service, &["logging", "options"]) else {
        return;
    };
    let option = |key: &str| map.get(key).map(text);
    let size = option("max-size").and_then(|text| size::bytes(&text).ok());
    let default = if driver.as_deref() == Some("local") {
        5
    } else {
        1
    };
    let files = option("max-file").map_or(Some(default), |text| text.parse::<u64>().ok());
    let total = size
        .zip(files)
        // The driver `local` takes no file for one.
        .and_then(|(size, files)| size.checked_mul(files.max(1)));
    let renames = files.is_none_or(|files| files > LOG_FILES);
    let rotates = size.is_none_or(|size| size < LOG_FILE);
    if renames || rotates || total.is_none_or(|total| total > limits.log_size) {
        map.insert(
            "max-size".to_owned(),
            size::in_words(limits.log_size / 2).into(),
        );
        map.insert("max-file".to_owned(), "2".into());
        let most = size::in_words(limits.log_size);
        notes.add(format!("limited to a log of {most} a task"), name);
    }
    if driver.is_none()
        && let Some(map) = mapping(service, &["logging"])
    {
        map.insert("driver".to_owned(), "json-file".into());
    }
}
