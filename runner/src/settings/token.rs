//! The forge's token.

use harness::git::token::Token;
use harness::host_file;

use super::{UsageError, wrong};
use crate::env;

/// Returns the token that opens private repositories of the forge, if one is given.
pub(super) fn token(forge: Option<&str>) -> Result<Option<Token>, UsageError> {
    let secret = match (
        env::var("CCCI_FORGE_TOKEN"),
        env::path("CCCI_FORGE_TOKEN_FILE"),
    ) {
        (Some(secret), _) => secret,
        (None, Some(path)) => host_file::text(&path).map_err(|error| {
            wrong(
                format!(
                    "the token file `{}` cannot be read: {error}",
                    path.display()
                ),
                "correct CCCI_FORGE_TOKEN_FILE, or leave it unset for public repositories",
            )
        })?,
        (None, None) => return Ok(None),
    };
    let Some(forge) = forge else {
        return Err(wrong(
            "a forge token is given without CCCI_FORGE_URL",
            "set CCCI_FORGE_URL to the forge it is for",
        ));
    };
    Token::new(forge, secret.trim())
        .map(Some)
        .map_err(|error| wrong(error, "CCCI_FORGE_URL must be an http(s) URL"))
}
