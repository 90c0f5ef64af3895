//! The gateway, looked at before anything is made: its faults are the host's.

use super::context::Context;
use super::error::RunError;
use engine::http::Http;

/// Makes sure that the gateway answers, and with a certificate that this host trusts for the app's domain.
///
/// # Errors
/// [`RunError::Infra`].
pub(super) async fn answers(context: &Context<'_>) -> Result<(), RunError> {
    let settings = &context.settings;
    let Some(gateway) = &settings.gateway else {
        return Ok(());
    };
    let http = Http::new(&settings.domain, Some(gateway)).map_err(RunError::infra)?;
    http.examine().await.map_err(|fault| {
        let hints = vec![
            fault.hint().to_owned(),
            "the recipe is not to blame; without `--gateway` the app is asked directly".to_owned(),
        ];
        RunError::Infra {
            error: fault.into(),
            hints,
        }
    })
}
