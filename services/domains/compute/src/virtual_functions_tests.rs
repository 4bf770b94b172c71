//! When virtual functions are made, what is said of them, and what cards are told.

use super::*;
use crate::pci::tests::{function, part};

fn wish(of: &str, count: u32) -> VirtualWish {
    VirtualWish {
        of: of.parse().unwrap(),
        count,
        group: Name::new("fast").unwrap(),
        vlan: None,
        spoof_check: true,
        trust: false,
    }
}

/// A card with so many virtual functions of eight.
fn machine(present: u32) -> PciHeld {
    let card = PciFunction {
        virtual_functions: present,
        most_virtual: 8,
        driver: Some("ixgbe".to_owned()),
        nic: Some("eth1".to_owned()),
        ..function("01:00.0", "020000", Some(1))
    };
    let parts = (0..present).map(|number| part(&card.address, number));
    let mut functions: Vec<_> = parts.collect();
    functions.insert(0, card);
    PciHeld { functions, ..PciHeld::default() }
}

#[test]
fn they_are_made_once_and_anew_if_nobody_has_one() {
    assert_eq!(wish("01:00.0", 4).plan(&machine(0)), Ok(VirtualPlan::Make));
    assert_eq!(wish("01:00.0", 4).plan(&machine(4)), Ok(VirtualPlan::Kept));
    assert_eq!(wish("01:00.0", 4).plan(&machine(2)), Ok(VirtualPlan::Make));
    assert_eq!(wish("01:00.0", 8).plan(&machine(0)), Ok(VirtualPlan::Make));
}

#[test]
fn why_they_cannot_be_made_is_said() {
    let mut others = machine(1);
    others.functions.push(function("02:00.0", "020000", None));
    let mut driverless = machine(0);
    driverless.functions[0].driver = None;
    let mut used = machine(2);
    used.take("web", &[PciGiven::new("01:10.1".parse().unwrap(), None)]);
    let mut whole = machine(0);
    whole.take("desk", &[PciGiven::new("01:00.0".parse().unwrap(), None)]);
    let mut needed = machine(2);
    needed.functions[1].needed = Some("is the network card eth7, which carries".to_owned());
    for (held, wish, says) in [
        (&machine(0), wish("09:00.0", 1), "is not there"),
        (&others, wish("01:10.0", 1), "is itself a virtual function, of 0000:01:00.0"),
        (&others, wish("02:00.0", 1), "has no SR-IOV"),
        (&machine(0), wish("01:00.0", 9), "can have 8 virtual functions at most, and 9 are"),
        (&driverless, wish("01:00.0", 1), "has no driver"),
        (&used, wish("01:00.0", 3), "stay until these machines are off: `web`"),
        (&whole, wish("01:00.0", 3), "in use as a whole by the machine `desk`"),
        (&needed, wish("01:00.0", 3), "until the node needs 0000:01:10.0 no more, which is the"),
    ] {
        let told = wish.plan(held).unwrap_err();
        assert!(told.contains(says), "{told}");
    }
    assert_eq!(wish("01:00.0", 2).plan(&used), Ok(VirtualPlan::Kept));
}

#[test]
fn what_becomes_of_them_is_said() {
    let mut held = machine(0);
    let said = |wish: Option<&VirtualWish>, held: &PciHeld, refused| {
        describe(wish, &held.functions[0], held, refused)
    };
    let two = wish("01:00.0", 2);
    assert!(said(None, &held, None).contains("ask for none"));
    assert_eq!(said(Some(&two), &held, None), "are about to be made");
    assert_eq!(said(Some(&two), &held, Some("no room")), "no room");
    assert!(said(Some(&two), &machine(2), None).contains("in the group `fast`"));
    assert!(said(Some(&wish("01:00.0", 9)), &held, None).contains("8 virtual functions at most"));
    held.functions[0].needed = Some("is the network card eth0, which carries".to_owned());
    let told = said(Some(&two), &held, None);
    assert!(told.contains("it is the network card eth0") && told.contains("keeps none"), "{told}");
}

#[test]
fn cards_are_told_what_the_settings_and_the_machine_say() {
    let mut held = machine(2);
    let given = PciGiven {
        virtual_function_of: Some("01:00.0".parse().unwrap()),
        mac: Some("02:00:00:00:00:07".parse().unwrap()),
        vlan: Some(9),
        ..PciGiven::new("01:10.1".parse().unwrap(), None)
    };
    let plain = PciGiven::new("02:00.0".parse().unwrap(), None);
    let both = [plain, given.clone()];
    let usual = cards(&both, &held, &[]).unwrap();
    let told = VirtualCard {
        nic: "eth1".to_owned(),
        number: 1,
        mac: given.mac.unwrap(),
        vlan: Some(9),
        spoof_check: true,
        trust: false,
    };
    assert_eq!(usual, std::slice::from_ref(&told));
    let loose = VirtualWish { spoof_check: false, trust: true, ..wish("01:00.0", 2) };
    let loose = cards(&both, &held, &[loose]).unwrap();
    assert_eq!(loose, [VirtualCard { spoof_check: false, trust: true, ..told }]);
    held.functions[0].nic = None;
    let told = cards(&both, &held, &[]).unwrap_err();
    assert!(told.contains("0000:01:00.0, which has no network device"), "{told}");
}
