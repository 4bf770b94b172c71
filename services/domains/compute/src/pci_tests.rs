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
        virtual_functions: 0,
        needed: None,
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
        Ok(address) => VmPci { address: Some(address), group: None },
        Err(_) => VmPci { address: None, group: Some(Name::new(*text).unwrap()) },
    };
    list.iter().map(wish).collect()
}

fn chosen(held: &PciHeld, list: &[&str]) -> Result<Vec<String>, String> {
    let short = |given: &PciGiven| {
        format!("{}{}", &given.address.as_str()[5..], if given.along { " along" } else { "" })
    };
    held.choose(&wishes(list), &[]).map(|given| given.iter().map(short).collect())
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
    let had = machine.choose(&wishes(&["gpu"]), &[]).unwrap();
    assert_eq!(had[0].address.as_str(), "0000:01:00.0");
    machine.take("first", &had);
    let next = machine.choose(&wishes(&["gpu"]), &[]).unwrap();
    assert_eq!(next[0].address.as_str(), "0000:02:00.0");
    machine.taken.clear();
    assert_eq!(machine.choose(&wishes(&["gpu"]), &next).unwrap(), next);
}

#[test]
fn refusals_name_who_has_it() {
    let mut machine = machine();
    let both = machine.choose(&wishes(&["01:00.0", "02:00.0"]), &[]).unwrap();
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
