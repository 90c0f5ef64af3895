//! The secret that opens private repositories of one forge.

use std::fmt;

use reqwest::Url;

use super::source::{RemoteUrl, SourceError};

/// An access token together with the only origin (scheme, host, port) that may see it.
///
/// It lives in memory alone: it is sent as a header, and no configuration, argument list, error or log line
/// ever holds it.
#[derive(Clone)]
pub struct Token {
    forge: Url,
    secret: String,
}

impl Token {
    /// Returns the token `secret` of the forge at `forge_url`.
    ///
    /// # Errors
    /// [`SourceError`] when the address is not one of an HTTP forge.
    pub fn new(forge_url: &str, secret: impl Into<String>) -> Result<Self, SourceError> {
        let forge = RemoteUrl::parse(forge_url)?;
        if forge.local_path().is_some() {
            return Err(SourceError::Scheme {
                scheme: "file".to_owned(),
            });
        }
        Ok(Self {
            forge: forge.into_url(),
            secret: secret.into(),
        })
    }

    /// Hands the secret to `hide`, which must make sure that it is never shown.
    pub fn hide_by(&self, hide: impl FnOnce(&str)) {
        hide(&self.secret);
    }

    /// Returns the secret when `url` is of the token's own origin.
    ///
    /// The scheme counts: a token of an `https` forge is never sent in clear text.
    pub(super) fn secret_for(&self, url: &Url) -> Option<&str> {
        (self.forge.origin() == url.origin()).then_some(self.secret.as_str())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Token(… for {})",
            self.forge.origin().ascii_serialization()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn only_the_forges_origin_gets_the_secret() {
        let token = Token::new("https://git.example.org/", "s3cret").unwrap();
        assert_eq!(
            token.secret_for(&url("https://git.example.org/a/b.git")),
            Some("s3cret")
        );
        assert_eq!(
            token.secret_for(&url("https://git.example.org:443/a")),
            Some("s3cret")
        );
        for other in [
            "http://git.example.org/a",
            "https://git.example.org:8443/a",
            "https://git.example.org.evil/a",
        ] {
            assert_eq!(token.secret_for(&url(other)), None, "{other}");
        }
    }

    #[test]
    fn debug_output_is_redacted() {
        let token = Token::new("https://git.example.org", "s3cret").unwrap();
        assert_eq!(format!("{token:?}"), "Token(… for https://git.example.org)");
    }

    #[test]
    fn a_forge_is_reached_over_http() {
        assert!(Token::new("file:///srv/git", "x").is_err());
        assert!(Token::new("ssh://git.example.org", "x").is_err());
    }
}
