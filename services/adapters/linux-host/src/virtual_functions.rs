//! Virtual functions of PCI cards: made through `/sys`, and what their card is told of them through rtnetlink.
//!
//! Brings about what it is asked for and decides nothing. The machine's own drivers are kept off new virtual functions, so
//! that they become no network devices of the node; the driver that hands them to guests is named to the kernel and takes
//! them all the same.

use std::io;
use std::path::Path;

use futures::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::Handle;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    LinkAttribute, LinkExtentMask, LinkMessage, LinkVfInfo, VfInfo, VfInfoMac, VfInfoSpoofCheck,
    VfInfoTrust, VfInfoVlan,
};
use skerry_compute::{VirtualCard, VirtualError};
use skerry_model::PciAddress;

use crate::roots::{Roots, link_name, number};

/// See [`skerry_compute::TopologyHost::make_virtual`]. Blocks for as long as the card takes, which may be seconds.
pub(crate) fn make(roots: &Roots, of: &PciAddress, count: u32) -> Result<(), VirtualError> {
    let folder = roots.sys.join("bus/pci/devices").join(of.as_str());
    let file = folder.join("sriov_numvfs");
    let present = number(&file);
    if present == Some(u64::from(count)) {
        return Ok(());
    }
    let driver = link_name(folder.join("driver")).unwrap_or_else(|| "none".to_owned());
    let refused = |error: &io::Error| VirtualError(explain(error, &driver, count));
    // Kernels before 4.12 do not have it, and lose nothing but that.
    let probe = folder.join("sriov_drivers_autoprobe");
    if probe.exists() {
        write(&probe, "0").map_err(|error| refused(&error))?;
    }
    if present != Some(0) {
        // The kernel goes from one number to another by way of none alone.
        write(&file, "0").map_err(|error| refused(&error))?;
    }
    write(&file, &count.to_string()).map_err(|error| refused(&error))?;
    match number(&file) {
        Some(now) if now == u64::from(count) => Ok(()),
        now => {
            let now = now.unwrap_or(0);
            let told = format!(
                "was asked for {count} virtual functions, and its driver {driver} made {now}"
            );
            Err(VirtualError(told))
        }
    }
}

/// In one write, as the kernel wants it.
fn write(file: &Path, text: &str) -> io::Result<()> {
    use io::Write;
    std::fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

fn explain(error: &io::Error, driver: &str, count: u32) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
            format!("has the driver {driver}, which does not make virtual functions")
        }
        Some(Errno::ENOMEM | Errno::ENOSPC | Errno::EIO | Errno::ENODEV) => format!(
            "could not be given {count} virtual functions ({error}): often the firmware has set no room aside for them; switch SR-IOV on there"
        ),
        Some(Errno::EBUSY) => "has virtual functions that are in use".to_owned(),
        _ => {
            format!("could not be given {count} virtual functions by its driver {driver}: {error}")
        }
    }
}

/// See [`skerry_compute::TopologyHost::set_virtual`].
pub(crate) async fn set(card: &VirtualCard) -> Result<(), VirtualError> {
    let nic = &card.nic;
    let broken = |error: io::Error| VirtualError(format!("{nic} cannot be asked: {error}"));
    let (connection, handle, _) = rtnetlink::new_connection().map_err(broken)?;
    let task = tokio::spawn(connection);
    let done = tell(&handle, card).await;
    task.abort();
    done
}

async fn tell(handle: &Handle, card: &VirtualCard) -> Result<(), VirtualError> {
    for number in others_with(handle, card).await? {
        // A machine that had it before: two with one address are heard by neither.
        let none = VfInfo::Mac(VfInfoMac::new(number, &[0; 6]));
        if let Err(error) = ask(handle, &card.nic, none).await {
            let nic = &card.nic;
            tracing::warn!(nic, number, %error, "an old Ethernet address stays with a virtual function");
        }
    }
    for (what, info, usual) in orders(card) {
        match ask(handle, &card.nic, info).await {
            Ok(()) => {}
            // A driver that does not know the order does what is usual.
            Err(error) if usual && is_unknown(&error) => {}
            Err(error) => {
                let (nic, number) = (&card.nic, card.number);
                let told = format!(
                    "the card {nic} refuses {what} of its virtual function {number}: {error}"
                );
                return Err(VirtualError(told));
            }
        }
    }
    Ok(())
}

/// What is told, each by itself: a driver that knows one and not the next has taken the first. Whether it is what a card
/// does unasked.
fn orders(card: &VirtualCard) -> Vec<(String, VfInfo, bool)> {
    let number = card.number;
    let (mac, vlan) = (card.mac, card.vlan.unwrap_or(0));
    let shown = |on: bool| if on { "on" } else { "off" };
    vec![
        // First, since a change of address is refused to guests by the check.
        (
            format!("the trust ({})", shown(card.trust)),
            VfInfo::Trust(VfInfoTrust::new(number, card.trust)),
            !card.trust,
        ),
        (
            format!("the Ethernet address {mac}"),
            VfInfo::Mac(VfInfoMac::new(number, &mac.octets())),
            false,
        ),
        (
            format!("the VLAN {vlan}"),
            VfInfo::Vlan(VfInfoVlan::new(number, vlan.into(), 0)),
            vlan == 0,
        ),
        (
            format!("the check of sender addresses ({})", shown(card.spoof_check)),
            VfInfo::SpoofCheck(VfInfoSpoofCheck::new(number, card.spoof_check)),
            card.spoof_check,
        ),
    ]
}

fn is_unknown(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    let code = message.code.map_or(0, |code| code.get().saturating_abs());
    matches!(Errno::from_raw(code), Errno::EOPNOTSUPP | Errno::ENOSYS)
}

async fn ask(handle: &Handle, nic: &str, info: VfInfo) -> Result<(), rtnetlink::Error> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(nic.to_owned()),
        LinkAttribute::VfInfoList(vec![LinkVfInfo(vec![info])]),
    ];
    handle.link().set(message).execute().await
}

/// Other virtual functions of the card that have this address.
async fn others_with(handle: &Handle, card: &VirtualCard) -> Result<Vec<u32>, VirtualError> {
    let nic = &card.nic;
    let request = handle.link().get().match_name(nic.clone());
    let request = request.set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::Vf]);
    let links: Result<Vec<LinkMessage>, _> = request.execute().try_collect().await;
    let links = links.map_err(|error| {
        VirtualError(format!("the card {nic} does not tell of its virtual functions: {error}"))
    })?;
    Ok(links.iter().flat_map(|link| with_address(link, card)).collect())
}

fn with_address(link: &LinkMessage, card: &VirtualCard) -> Vec<u32> {
    let lists = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::VfInfoList(list) => Some(list),
        _ => None,
    });
    let infos = lists.flatten().flat_map(|one| &one.0);
    let same =
        |mac: &VfInfoMac| mac.vf_id != card.number && mac.mac.starts_with(&card.mac.octets());
    infos
        .filter_map(|info| match info {
            VfInfo::Mac(mac) if same(mac) => Some(mac.vf_id),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> VirtualCard {
        VirtualCard {
            nic: "eth1".to_owned(),
            number: 1,
            mac: "02:00:00:00:00:07".parse().unwrap(),
            vlan: None,
            spoof_check: true,
            trust: false,
        }
    }

    #[test]
    fn the_number_is_written_once_and_drivers_are_kept_off() {
        let tree = tempfile::tempdir().unwrap();
        let roots = Roots::below(tree.path());
        let of: PciAddress = "0000:01:00.0".parse().unwrap();
        let folder = roots.sys.join("bus/pci/devices/0000:01:00.0");
        std::fs::create_dir_all(&folder).unwrap();
        let told = make(&roots, &of, 2).unwrap_err().to_string();
        assert!(told.contains("does not make virtual functions"), "{told}");
        assert!(!folder.join("sriov_numvfs").exists(), "nothing is made up");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        std::fs::write(folder.join("sriov_numvfs"), "0").unwrap();
        std::fs::write(folder.join("sriov_drivers_autoprobe"), "1").unwrap();
        make(&roots, &of, 2).unwrap();
        assert_eq!(
            (read("sriov_numvfs"), read("sriov_drivers_autoprobe")),
            ("2".into(), "0".into())
        );
        std::fs::write(folder.join("sriov_drivers_autoprobe"), "1").unwrap();
        make(&roots, &of, 2).unwrap();
        assert_eq!(read("sriov_drivers_autoprobe"), "1", "nothing is written if they are there");
        make(&roots, &of, 4).unwrap();
        assert_eq!(read("sriov_numvfs"), "4");
    }

    #[test]
    fn refusals_say_what_to_do() {
        let told = |errno: Errno| explain(&io::Error::from_raw_os_error(errno as i32), "igb", 3);
        assert!(told(Errno::ENOENT).contains("the driver igb, which does not make"));
        assert!(told(Errno::ENOMEM).contains("switch SR-IOV on"));
        assert!(told(Errno::EBUSY).contains("in use"));
        assert!(told(Errno::EINVAL).contains("3 virtual functions by its driver igb"));
    }

    #[test]
    fn a_card_is_told_everything_one_by_one() {
        let told = orders(&card());
        let words: Vec<_> = told.iter().map(|(what, _, usual)| (what.as_str(), *usual)).collect();
        assert_eq!(
            words,
            [
                ("the trust (off)", true),
                ("the Ethernet address 02:00:00:00:00:07", false),
                ("the VLAN 0", true),
                ("the check of sender addresses (on)", true),
            ]
        );
        let loose = VirtualCard { vlan: Some(9), spoof_check: false, trust: true, ..card() };
        let told = orders(&loose);
        assert!(told.iter().all(|(_, _, usual)| !usual), "what is not usual must be done");
        assert_eq!(told[2].1, VfInfo::Vlan(VfInfoVlan::new(1, 9, 0)));
    }

    #[test]
    fn others_with_the_same_address_are_found() {
        let mac = |number, last| VfInfo::Mac(VfInfoMac::new(number, &[2, 0, 0, 0, 0, last]));
        let list = [mac(0, 7), mac(1, 7), mac(2, 8), mac(3, 7)].map(|one| LinkVfInfo(vec![one]));
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::VfInfoList(list.to_vec())];
        assert_eq!(with_address(&link, &card()), [0, 3]);
    }
}
