//! Restart and power off through systemd, so that every unit gets its orderly stop.

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
