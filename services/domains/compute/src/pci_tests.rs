//! Which functions can be given away and which a guest gets.

use super::*;

pub fn function(address: &str, class: &str, group: Option<u32>) -> PciFunction {
    PciFunction {
        address: address.parse().unwrap(),
        class: class.to_owned(),
        vendor_id: "10de".to_owned(),
        device_id: "2236".to_owned(),
        vendor: None,
        model: None,
        driver: None,
        iommu_group: group,
        parent: None,
        number: None,
        virtual_functions: 0,
        most_virtual: 0,
        numa_node: None,
        nic: None,
        needed: None,
    }
}

/// A virtual function of a card, in an IOMMU group of its own.
pub fn part(of: &PciAddress, number: u32) -> PciFunction {
    let [_, bus, ..] = of.parts().unwrap();
    PciFunction {
        parent: Some(of.clone()),
        number: Some(number),
        ..function(&format!("{bus}:10.{number}"), "020000", Some(100 + number))
    }
}

/// A bridge with a disk and its neighbour; a card with its sound; two network functions, one virtual.
fn machine() -> PciHeld {
    let disk = PciFunction {
        needed: Some("holds the disk sda, which the node uses".to_owned()),
        ..function("00:02.0", "010601", Some(1))
    };
    let card = PciFunction { virtual_functions: 1, ..function("03:00.0", "020000", Some(4)) };
    let part = PciFunction {
        parent: Some(card.address.clone()),
        device_id: "154c".to_owned(),
        ..function("03:02.0", "020000", Some(5))
    };
    let functions = vec![
        function("00:01.0", "060400", Some(2)),
        disk,
        function("00:02.1", "0c0330", Some(1)),
        function("01:00.0", "030000", Some(2)),
        function("01:00.1", "040300", Some(2)),
        function("02:00.0", "030000", Some(3)),
        card,
        part,
        function("04:00.0", "020000", None),
    ];
    let group = |name: &str, texts: &[&str]| {
        let matches = texts.iter().map(|text| text.parse().unwrap()).collect();
        (Name::new(name).unwrap(), matches)
    };
    let groups = [
        group("gpu", &["01:00.0", "02:00.0"]),
        group("vf", &["vf:03:00.0"]),
        group("all", &["10de:2236"]),
        group("none", &["1111:2222"]),
    ];
    PciHeld { functions, groups: groups.into_iter().collect(), ..PciHeld::default() }
}

fn wishes(list: &[&str]) -> Vec<VmPci> {
    let wish = |text: &&str| match text.parse() {
        Ok(address) => VmPci { address: Some(address), ..VmPci::default() },
        Err(_) => VmPci { group: Some(Name::new(*text).unwrap()), ..VmPci::default() },
    };
    list.iter().map(wish).collect()
}

fn chosen(held: &PciHeld, list: &[&str]) -> Result<Vec<String>, String> {
    let short = |given: &PciGiven| {
        format!("{}{}", &given.address.as_str()[5..], if given.along { " along" } else { "" })
    };
    held.choose(&PciAsk::new(&wishes(list))).map(|given| given.iter().map(short).collect())
}

#[test]
fn why_a_function_cannot_be_given_away_is_said() {
    let machine = machine();
    let why = |address: &str| {
        let address: PciAddress = address.parse().unwrap();
        let found = machine.functions.iter().find(|one| one.address == address).unwrap();
        explain(&machine.functions, found)
            .map(|mates| mates.iter().map(|mate| mate.address.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(why("01:00.0"), Ok(vec!["0000:01:00.1".to_owned()]), "bridges do not count");
    assert_eq!(why("03:02.0"), Ok(vec![]));
    for (address, says) in [
        ("00:01.0", "is a bridge"),
        ("00:02.0", "the node needs it: it holds the disk sda"),
        ("00:02.1", "shares its IOMMU group 1 with 0000:00:02.0, which cannot be given away"),
        ("03:00.0", "has 1 virtual functions"),
        ("04:00.0", "no IOMMU"),
    ] {
        let told = why(address).unwrap_err();
        assert!(told.contains(says), "{address}: {told}");
    }
}

#[test]
fn a_whole_iommu_group_goes_along() {
    let machine = machine();
    assert_eq!(chosen(&machine, &["01:00.0"]).unwrap(), ["01:00.0", "01:00.1 along"]);
    assert_eq!(chosen(&machine, &["01:00.1", "01:00.0"]).unwrap(), ["01:00.1", "01:00.0"]);
    assert_eq!(chosen(&machine, &["vf"]).unwrap(), ["03:02.0"]);
    assert_eq!(chosen(&machine, &[]).unwrap(), Vec::<String>::new());
}

#[test]
fn a_group_gives_what_is_free_and_what_was_had_before() {
    let mut machine = machine();
    assert_eq!(chosen(&machine, &["gpu", "01:00.0"]).unwrap()[..2], ["02:00.0", "01:00.0"]);
    let gpu = wishes(&["gpu"]);
    let had = machine.choose(&PciAsk::new(&gpu)).unwrap();
    assert_eq!(had[0].address.as_str(), "0000:01:00.0");
    machine.take("first", &had);
    let next = machine.choose(&PciAsk::new(&gpu)).unwrap();
    assert_eq!(next[0].address.as_str(), "0000:02:00.0");
    machine.taken.clear();
    let again = PciAsk { former: &next, ..PciAsk::new(&gpu) };
    assert_eq!(machine.choose(&again).unwrap(), next);
}

#[test]
fn refusals_name_who_has_it() {
    let mut machine = machine();
    let both = machine.choose(&PciAsk::new(&wishes(&["01:00.0", "02:00.0"]))).unwrap();
    machine.take("desk", &both);
    for (asked, says) in [
        ("02:00.0", "0000:02:00.0 is in use by the machine `desk`"),
        (
            "gpu",
            "no PCI function of the group `gpu` is free: 0000:01:00.0 is in use by the machine",
        ),
        ("09:00.0", "there is no PCI function 0000:09:00.0"),
        ("other", "there is no group `other`"),
        ("none", "is free: it has none"),
        ("all", "0000:00:01.0 is a bridge to others, 0000:00:02.0 the node needs it"),
    ] {
        let told = chosen(&machine, &[asked]).unwrap_err();
        assert!(told.contains(says), "{asked}: {told}");
    }
    let two = chosen(&machine, &["02:00.0", "09:00.0"]).unwrap_err();
    assert!(two.contains("`desk`; there is no"), "{two}");
}

#[test]
fn what_functions_have_in_common_is_read() {
    let model = PciMatch::Model("10de".to_owned(), "2236".to_owned());
    assert_eq!("10DE:2236".parse(), Ok(model));
    let parent = PciMatch::VirtualOf("0000:01:00.0".parse().unwrap());
    assert_eq!("vf:01:00.0".parse(), Ok(parent));
    for bad in ["", "10de", "10de:22", "vf:eth0", "vf:10de:2236", "gpu"] {
        assert!(bad.parse::<PciMatch>().is_err(), "{bad}");
    }
}

#[test]
fn from_a_group_the_near_goes_first_then_the_former_then_any() {
    let at = |address: &str, node| PciFunction {
        numa_node: node,
        ..function(address, "030000", Some(u32::from(address.as_bytes()[1])))
    };
    let functions = vec![at("01:00.0", Some(0)), at("02:00.0", Some(1)), at("03:00.0", Some(1))];
    let matches = vec!["10de:2236".parse().unwrap()];
    let groups = [(Name::new("gpu").unwrap(), matches)].into_iter().collect();
    let mut held = PciHeld { functions, groups, ..PciHeld::default() };
    let gpu = wishes(&["gpu"]);
    let given = |held: &PciHeld, near: &[u32], former: &[PciGiven]| {
        let ask = PciAsk { near, former, ..PciAsk::new(&gpu) };
        let [one] = &held.choose(&ask).unwrap()[..] else { panic!("one") };
        one.clone()
    };
    let third = given(&held, &[1], &[given(&held, &[], &[])]);
    assert_eq!((third.address.as_str(), third.numa_node), ("0000:02:00.0", Some(1)), "near");
    let former = PciGiven::new("03:00.0".parse().unwrap(), Some(Name::new("gpu").unwrap()));
    let same = std::slice::from_ref(&former);
    assert_eq!(given(&held, &[1], same).address, former.address, "near and former");
    assert_eq!(given(&held, &[0], same).numa_node, Some(0), "near goes before former");
    assert_eq!(given(&held, &[], same).address, former.address, "anywhere: former");
    assert_eq!(given(&held, &[7], &[]).numa_node, Some(0), "none is near: any");
    held.functions[0].numa_node = None;
    assert_eq!(given(&held, &[1], &[]).address.as_str(), "0000:01:00.0", "unknown is not far");
}

#[test]
fn virtual_cards_get_an_address_and_a_vlan() {
    let mut held = machine();
    let wish = |mac: Option<&str>, vlan| VmPci {
        group: Some(Name::new("vf").unwrap()),
        mac: mac.map(|mac| mac.parse().unwrap()),
        vlan,
        ..VmPci::default()
    };
    held.virtual_wishes = vec![VirtualWish {
        of: "03:00.0".parse().unwrap(),
        count: 1,
        group: Name::new("vf").unwrap(),
        vlan: Some(5),
        spoof_check: true,
        trust: false,
    }];
    let vm = Id::new(uuid::Uuid::from_u128(0x0102_0304_0506));
    let given = |held: &PciHeld, wish: VmPci, vm| {
        held.choose(&PciAsk { vm, ..PciAsk::new(&[wish]) }).map(|given| given[0].clone())
    };
    let own = given(&held, wish(None, None), Some(vm)).unwrap();
    assert_eq!(own.virtual_function_of.as_ref().unwrap().as_str(), "0000:03:00.0");
    assert_eq!((own.mac.unwrap().to_string(), own.vlan), ("02:02:03:04:05:06".into(), Some(5)));
    let named = given(&held, wish(Some("02:00:00:00:00:07"), Some(9)), Some(vm)).unwrap();
    assert_eq!((named.mac.unwrap().to_string(), named.vlan), ("02:00:00:00:00:07".into(), Some(9)));
    assert_eq!(given(&held, wish(None, None), None).unwrap().mac, None, "no machine yet");

    held.macs.insert(named.mac.unwrap(), "web".to_owned());
    let told = given(&held, wish(Some("02:00:00:00:00:07"), None), Some(vm)).unwrap_err();
    assert!(told.contains("02:00:00:00:00:07 is that of the machine `web`"), "{told}");
    let whole = VmPci { group: Some(Name::new("gpu").unwrap()), ..wish(None, Some(3)) };
    let told = given(&held, whole, Some(vm)).unwrap_err();
    assert!(told.contains("0000:01:00.0 is no virtual function of a network card"), "{told}");
}

#[test]
fn a_bridge_stands_aside_unless_it_moves_data_itself() {
    let driven = |address: &str, class: &str, driver: &str| PciFunction {
        driver: Some(driver.to_owned()),
        ..function(address, class, Some(7))
    };
    let sata = function("00:1f.2", "010601", Some(7));
    let given = |bridge: PciFunction| {
        let all = [bridge, sata.clone()];
        explain(&all, &sata).map(|mates| mates.len())
    };
    assert_eq!(given(driven("00:1c.0", "060400", "pcieport")), Ok(0));
    assert_eq!(given(function("00:1f.0", "060100", Some(7))), Ok(0));
    let told = given(driven("00:1f.0", "060100", "lpc_ich")).unwrap_err();
    assert!(told.contains("0000:00:1f.0, which cannot be given away: is a bridge"), "{told}");
}

#[test]
fn a_virtual_function_beside_its_card_is_not_kept_apart() {
    let card = PciFunction { virtual_functions: 1, ..function("03:00.0", "020000", Some(4)) };
    let beside = PciFunction { iommu_group: Some(4), ..part(&card.address, 0) };
    let all = [card, beside];
    let told = explain(&all, &all[1]).unwrap_err();
    assert!(
        told.contains("0000:03:00.0, whose virtual function it is") && told.contains("ACS"),
        "{told}"
    );
}
