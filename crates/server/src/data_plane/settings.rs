//! The settings document.

use wire::routes::Call as C;

use super::{Answer, Failure, Request};

pub(super) async fn answer(request: Request<'_>) -> Result<Answer, Failure> {
    let (pool, call) = (request.pool, &request.call);
    match request.route.call {
        C::GetSetting(None) | C::UpdateSetting(None) => {
            Err(pool.refuse_setting(call, request.route.operation()).await.into())
        }
        C::UpdateSetting(Some(setting)) => {
            let value = request.parse(wire::settings::parse_value).await?;
            let settings = pool.update_setting(call, setting, value).await?;
            Answer::ok(wire::settings::setting(setting, settings.value(setting)))
        }
        C::GetSetting(Some(setting)) => {
            let settings = pool.settings(call, request.route.operation()).await?;
            Answer::ok(wire::settings::setting(setting, settings.value(setting)))
        }
        _ => {
            let settings = pool.settings(call, request.route.operation()).await?;
            Answer::ok(wire::settings::setting_list(settings))
        }
    }
}
