//! The JSON schema of `results.json`, made of its types.

use schemars::generate::SchemaSettings;

use super::results::Results;

/// Returns the JSON schema of `results.json`, as it is published in `docs/results.schema.json`: what a run writes, so that
/// every field is there. A reader must take more fields than it has.
#[must_use]
pub fn schema() -> String {
    let generator = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = generator.into_generator().into_root_schema_for::<Results>();
    schema.insert("title".to_owned(), "results.json".into());
    let mut text =
        serde_json::to_string_pretty(&schema).expect("a schema of texts and numbers is valid JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let published = include_str!("../../../docs/results.schema.json");
        assert!(
            published == schema(),
            "run `recipe-ci report schema > docs/results.schema.json`"
        );
    }
}
