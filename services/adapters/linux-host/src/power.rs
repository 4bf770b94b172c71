//! Restart and power off through systemd, so that every unit gets its orderly stop.

use std::time::Duration;

use skerry_upkeep::{HostError, PowerAction};
use zbus::Connection;

/// Asks systemd for the target that ends this boot, as `systemctl reboot` and `systemctl poweroff` do.
///
/// `StartUnit` of the target is the orderly way; the manager's own `Reboot` method would skip the units' stop.
pub(crate) async fn power(action: PowerAction) -> Result<(), HostError> {
    let (name, target) = match action {
        PowerAction::Restart => ("restart the machine", "reboot.target"),
        PowerAction::PowerOff => ("power off the machine", "poweroff.target"),
    };
    let refused =
        |error: zbus::Error| HostError::Refused { action: name, detail: error.to_string() };
    let bus = Connection::system().await.map_err(refused)?;
    bus.call_method(
        Some("org.freedesktop.systemd1"),
        "/org/freedesktop/systemd1",
        Some("org.freedesktop.systemd1.Manager"),
        "StartUnit",
        &(target, "replace-irreversibly"),
    )
    .await
    .map_err(refused)?;
    Ok(())
}

/// systemd answers at once or, if it is in trouble itself, not at all.
const ANSWER: Duration = Duration::from_secs(5);

/// Whether systemd is on its way to a target that ends this boot. That it cannot be asked is logged and counts as no.
pub(crate) async fn going_down() -> bool {
    match tokio::time::timeout(ANSWER, manager_state()).await {
        Ok(Ok(state)) => state == "stopping",
        Ok(Err(error)) => {
            tracing::warn!(%error, "systemd does not say whether the machine goes down");
            false
        }
        Err(_) => {
            tracing::warn!("systemd does not answer whether the machine goes down");
            false
        }
    }
}

async fn manager_state() -> zbus::Result<String> {
    let bus = Connection::system().await?;
    let answer = bus
        .call_method(
            Some("org.freedesktop.systemd1"),
            "/org/freedesktop/systemd1",
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &("org.freedesktop.systemd1.Manager", "SystemState"),
        )
        .await?;
    let value: zbus::OwnedVariant = answer.body().deserialize()?;
    String::try_from(value)
}
