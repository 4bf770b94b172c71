//! The libvirt calls behind each look and each step.
//!
//! Run on a [`crate::worker`] thread. Done already is done: starting what runs and destroying what is
//! off succeed.

use skerry_compute::{DomainObserved, DomainPower, Hold, HypervisorError, OffReason};
use skerry_model::{Id, Vm};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::sys;

use crate::failure::CallError;
use crate::files::Places;
use crate::label::{self, Label, NAMESPACE};
use crate::{agent, devices, disks, drives, memory, nics};

/// All domains that carry our label.
pub fn observe(connection: &Connect, places: &Places) -> Result<Vec<DomainObserved>, CallError> {
    let mut seen = Vec::new();
    for domain in connection.list_all_domains(0)? {
        if let Some(domain) = look(&domain, places)? {
            seen.push(domain);
        }
    }
    Ok(seen)
}

/// One domain.
pub fn observe_one(
    connection: &Connect,
    places: &Places,
    vm: Id<Vm>,
) -> Result<Option<DomainObserved>, CallError> {
    match find(connection, vm)? {
        Some(domain) => look(&domain, places),
        None => Ok(None),
    }
}

/// Defines a domain from its XML.
pub fn define(connection: &Connect, vm: Id<Vm>, xml: &str) -> Result<(), CallError> {
    // A domain with this id that is not ours is not ours to change.
    if let Some(domain) = find(connection, vm)? {
        owned(&domain, vm, "define")?;
    }
    Domain::define_xml(connection, xml)?;
    Ok(())
}

/// Starts a domain; with `held`, its guest does nothing yet.
pub fn start(connection: &Connect, vm: Id<Vm>, held: bool) -> Result<(), CallError> {
    let Some(domain) = find(connection, vm)? else {
        let message = "it is not defined".to_owned();
        return Err(HypervisorError::Failed { call: "start", vm, message }.into());
    };
    owned(&domain, vm, "start")?;
    if domain.is_active()? {
        return Ok(());
    }
    let flags = if held { sys::VIR_DOMAIN_START_PAUSED } else { 0 };
    match domain.create_with_flags(flags) {
        Ok(_) => Ok(()),
        // Somebody else was faster.
        Err(_) if domain.is_active().unwrap_or(false) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Presses the power button of a running guest.
pub fn shutdown(connection: &Connect, vm: Id<Vm>) -> Result<(), CallError> {
    while_active(connection, vm, "shutdown", |domain| domain.shutdown().map(drop))
}

/// Holds a running guest.
pub fn pause(connection: &Connect, vm: Id<Vm>) -> Result<(), CallError> {
    while_active(connection, vm, "pause", |domain| {
        let (state, _) = domain.get_state()?;
        if state == sys::VIR_DOMAIN_RUNNING { domain.suspend().map(drop) } else { Ok(()) }
    })
}

/// Presses the reset button of a running guest.
pub fn reset(connection: &Connect, vm: Id<Vm>) -> Result<(), CallError> {
    while_active(connection, vm, "reset", |domain| domain.reset().map(drop))
}

/// Asks a running guest to reboot: its power button is pressed, and what would be its end becomes a reset.
pub fn reboot(connection: &Connect, vm: Id<Vm>) -> Result<(), CallError> {
    let button = sys::VIR_DOMAIN_REBOOT_ACPI_POWER_BTN;
    while_active(connection, vm, "reboot", |domain| domain.reboot(button))
}

/// Puts a guest's memory on disk and ends its process. However it stood, it runs when it goes on.
pub fn save(connection: &Connect, vm: Id<Vm>) -> Result<(), CallError> {
    while_active(connection, vm, "save", |domain| {
        domain.managed_save(sys::VIR_DOMAIN_SAVE_RUNNING).map(drop)
    })
}

/// Makes libvirt forget memory on disk. The file itself goes with it if libvirt knows of it.
pub fn discard(connection: &Connect, vm: Id<Vm>) -> Result<(), CallError> {
    let Some(domain) = find(connection, vm)? else { return Ok(()) };
    owned(&domain, vm, "discard")?;
    if domain.has_managed_save(0)? {
        domain.managed_save_remove(0)?;
    }
    Ok(())
}

/// Whether a guest's memory is just being put on disk.
pub fn is_being_saved(connection: &Connect, vm: Id<Vm>) -> Result<bool, CallError> {
    let Some(domain) = find(connection, vm)? else { return Ok(false) };
    let (state, reason) = domain.get_state()?;
    let saving = u32::try_from(reason) == Ok(sys::VIR_DOMAIN_PAUSED_SAVE);
    Ok(state == sys::VIR_DOMAIN_PAUSED && saving)
}

/// Lets a held guest run on.
pub fn resume(connection: &Connect, vm: Id<Vm>) -> Result<(), CallError> {
    while_active(connection, vm, "resume", |domain| {
        let (state, _) = domain.get_state()?;
        if state == sys::VIR_DOMAIN_PAUSED { domain.resume().map(drop) } else { Ok(()) }
    })
}

/// Does something with a domain of ours, which has to be there.
pub fn with_domain<T>(
    connection: &Connect,
    vm: Id<Vm>,
    call: &'static str,
    act: impl Fn(&Domain) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let Some(domain) = find(connection, vm)? else {
        let message = "it is not defined".to_owned();
        return Err(HypervisorError::Failed { call, vm, message }.into());
    };
    owned(&domain, vm, call)?;
    act(&domain)
}

/// Gives a running guest so many processors.
pub fn set_vcpus(connection: &Connect, vm: Id<Vm>, count: u32) -> Result<(), CallError> {
    while_active(connection, vm, "add processors", |domain| {
        if domain.get_vcpus_flags(sys::VIR_DOMAIN_VCPU_LIVE)? == count {
            return Ok(());
        }
        domain.set_vcpus_flags(count, sys::VIR_DOMAIN_VCPU_LIVE).map(drop)
    })
}

/// Ends a domain's process.
pub fn destroy(connection: &Connect, vm: Id<Vm>) -> Result<(), CallError> {
    while_active(connection, vm, "destroy", Domain::destroy)
}

/// Forgets a domain's definition.
pub fn undefine(connection: &Connect, vm: Id<Vm>) -> Result<(), CallError> {
    let Some(domain) = find(connection, vm)? else { return Ok(()) };
    owned(&domain, vm, "undefine")?;
    if !domain.is_persistent()? {
        return Ok(());
    }
    let mut flags =
        sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA;
    // Only there if it boots by UEFI. The file goes with the machine's folder.
    if domain.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?.contains("<nvram") {
        flags |= sys::VIR_DOMAIN_UNDEFINE_KEEP_NVRAM;
    }
    domain.undefine_flags(flags)?;
    Ok(())
}

fn while_active(
    connection: &Connect,
    vm: Id<Vm>,
    call: &'static str,
    act: impl Fn(&Domain) -> Result<(), Error>,
) -> Result<(), CallError> {
    let Some(domain) = find(connection, vm)? else { return Ok(()) };
    owned(&domain, vm, call)?;
    if !domain.is_active()? {
        return Ok(());
    }
    match act(&domain) {
        // It went off at the same moment.
        Err(error)
            if error.code() == ErrorNumber::OperationInvalid
                && !domain.is_active().unwrap_or(true) =>
        {
            Ok(())
        }
        result => Ok(result?),
    }
}

fn find(connection: &Connect, vm: Id<Vm>) -> Result<Option<Domain>, CallError> {
    match Domain::lookup_by_uuid(connection, vm.uuid()) {
        Ok(domain) => Ok(Some(domain)),
        Err(error) if error.code() == ErrorNumber::NoDomain => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn owned(domain: &Domain, vm: Id<Vm>, call: &'static str) -> Result<(), CallError> {
    if label_of(domain, sys::VIR_DOMAIN_AFFECT_CURRENT)?.is_some_and(|label| label.vm == vm) {
        return Ok(());
    }
    let message = "a domain with its id exists that this node did not make: remove it".to_owned();
    Err(HypervisorError::Refused { call, vm, message }.into())
}

fn look(domain: &Domain, places: &Places) -> Result<Option<DomainObserved>, CallError> {
    match examine(domain, places) {
        // It was there when it was listed, and has gone since.
        Err(CallError::Libvirt(error)) if error.code() == ErrorNumber::NoDomain => Ok(None),
        result => result,
    }
}

fn examine(domain: &Domain, places: &Places) -> Result<Option<DomainObserved>, CallError> {
    let (state, reason) = domain.get_state()?;
    let power = power(state, reason);
    let defined = if domain.is_persistent()? {
        label_of(domain, sys::VIR_DOMAIN_AFFECT_CONFIG)?
    } else {
        None
    };
    let live = if power.is_up() { label_of(domain, sys::VIR_DOMAIN_AFFECT_LIVE)? } else { None };
    let Some(vm) = defined.as_ref().or(live.as_ref()).map(|label| label.vm) else {
        return Ok(None);
    };
    let pid = if power.is_up() { places.pid(&domain.get_name()?) } else { None };
    let saved = !power.is_up()
        && match places.saved(vm) {
            Some(saved) => saved,
            None => domain.has_managed_save(0)?,
        };
    let live_xml = if power.is_up() { domain.get_xml_desc(0)? } else { String::new() };
    // One that goes off between two calls has none.
    let vcpus =
        power.is_up().then(|| domain.get_vcpus_flags(sys::VIR_DOMAIN_VCPU_LIVE).ok()).flatten();
    let info = power.is_up().then(|| domain.get_info().ok()).flatten();
    let mut disks = disks::of(&live_xml);
    // Not one of those that come and go.
    disks.retain(|disk| disk.path != places.seed(vm));
    let paths = |hot: bool| {
        disks.iter().filter(|disk| disk.hot || !hot).map(|disk| disk.path.clone()).collect()
    };
    Ok(Some(DomainObserved {
        vm,
        vcpus,
        most_memory_mib: info.map(|info| info.max_mem / 1024),
        memory: memory::of(&live_xml),
        disks: paths(false),
        hot_disks: paths(true),
        drives: drives::of(&live_xml),
        usb: devices::of(&live_xml),
        nics: nics::of(&live_xml),
        power,
        agent: agent::link(&live_xml),
        saved,
        defined: defined.map(|label| label.fingerprint),
        live: live.map(|label| label.fingerprint),
        pid,
        files: places.has_files(vm),
    }))
}

/// The label, or `None` if there is none. A domain that went off between two calls has no live one.
fn label_of(domain: &Domain, which: u32) -> Result<Option<Label>, CallError> {
    let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or_default();
    match domain.get_metadata(kind, Some(NAMESPACE), which) {
        Ok(text) => Ok(label::read(&text)),
        Err(error)
            if matches!(
                error.code(),
                ErrorNumber::NoDomainMetadata | ErrorNumber::OperationInvalid
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// libvirt's state as the compute domain knows it.
fn power(state: sys::virDomainState, reason: i32) -> DomainPower {
    let reason = u32::try_from(reason).unwrap_or_default();
    match state {
        // A domain is held for a moment while it is being started.
        sys::VIR_DOMAIN_PAUSED if reason == sys::VIR_DOMAIN_PAUSED_STARTING_UP => {
            DomainPower::Running
        }
        sys::VIR_DOMAIN_PAUSED => DomainPower::Paused(match reason {
            // With its memory from disk it is started held, and let go once that cannot come back. It is never moved.
            sys::VIR_DOMAIN_PAUSED_USER | sys::VIR_DOMAIN_PAUSED_MIGRATION => Hold::Asked,
            sys::VIR_DOMAIN_PAUSED_IOERROR => Hold::DiskFault,
            _ => Hold::Other,
        }),
        sys::VIR_DOMAIN_PMSUSPENDED => DomainPower::Paused(Hold::Other),
        sys::VIR_DOMAIN_SHUTOFF => DomainPower::Off(match reason {
            sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN => OffReason::Shutdown,
            sys::VIR_DOMAIN_SHUTOFF_DESTROYED => OffReason::Destroyed,
            sys::VIR_DOMAIN_SHUTOFF_CRASHED | sys::VIR_DOMAIN_SHUTOFF_DAEMON => OffReason::Crashed,
            sys::VIR_DOMAIN_SHUTOFF_FAILED => OffReason::Failed,
            _ => OffReason::Unknown,
        }),
        sys::VIR_DOMAIN_CRASHED => DomainPower::Off(OffReason::Crashed),
        _ => DomainPower::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_by_their_reasons() {
        let off = |reason: u32| power(sys::VIR_DOMAIN_SHUTOFF, i32::try_from(reason).unwrap());
        assert_eq!(off(sys::VIR_DOMAIN_SHUTOFF_UNKNOWN), DomainPower::Off(OffReason::Unknown));
        assert_eq!(off(sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN), DomainPower::Off(OffReason::Shutdown));
        assert_eq!(off(sys::VIR_DOMAIN_SHUTOFF_CRASHED), DomainPower::Off(OffReason::Crashed));
        assert_eq!(off(sys::VIR_DOMAIN_SHUTOFF_DAEMON), DomainPower::Off(OffReason::Crashed));
        assert_eq!(power(sys::VIR_DOMAIN_RUNNING, 1), DomainPower::Running);
        // The guest has shut down and its process is about to end.
        assert_eq!(power(sys::VIR_DOMAIN_SHUTDOWN, 1), DomainPower::Running);
        assert_eq!(power(sys::VIR_DOMAIN_PAUSED, 1), DomainPower::Paused(Hold::Asked));
        let restored = i32::try_from(sys::VIR_DOMAIN_PAUSED_MIGRATION).unwrap();
        assert_eq!(power(sys::VIR_DOMAIN_PAUSED, restored), DomainPower::Paused(Hold::Asked));
        let disk = i32::try_from(sys::VIR_DOMAIN_PAUSED_IOERROR).unwrap();
        assert_eq!(power(sys::VIR_DOMAIN_PAUSED, disk), DomainPower::Paused(Hold::DiskFault));
        let starting = i32::try_from(sys::VIR_DOMAIN_PAUSED_STARTING_UP).unwrap();
        assert_eq!(power(sys::VIR_DOMAIN_PAUSED, starting), DomainPower::Running);
    }
}
