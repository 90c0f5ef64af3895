//! The gateway, with the authorities that it is trusted by.

use std::path::Path;

use harness::host_file;
use harness::http::{Gateway, has_certificates};

use super::{UsageError, wrong};

/// Returns the gateway; an empty option means no gateway.
///
/// # Errors
/// [`UsageError`] when its address or the file with certificates cannot be used.
pub(super) fn gateway(
    address: Option<&str>,
    authorities: Option<&Path>,
) -> Result<Option<Gateway>, UsageError> {
    let Some(text) = address.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let mut gateway: Gateway = text.parse().map_err(|error| {
        wrong(
            error,
            "write it like `https://127.0.0.1:443` in `--gateway` (CCCI_GATEWAY)",
        )
    })?;
    let Some(path) = authorities.filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(Some(gateway));
    };
    let (shown, hints) = (
        path.display(),
        vec!["name a file with certificates as PEM in `--gateway-ca` (CCCI_GATEWAY_CA)".to_owned()],
    );
    let text = match host_file::text(path) {
        Ok(text) if has_certificates(&text) => text,
        Ok(_) => {
            return Err(UsageError {
                error: format!("`{shown}` holds no certificate").into(),
                hints,
            });
        }
        Err(error) => {
            return Err(UsageError {
                error: format!("the certificates in `{shown}` cannot be read: {error}").into(),
                hints,
            });
        }
    };
    gateway.authorities = Some(text);
    Ok(Some(gateway))
}
