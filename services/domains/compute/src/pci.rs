//! PCI functions of the machine: which can be given to guests and why others cannot, and which a guest gets.
//!
//! Pure. What may reach memory by itself is kept apart by the IOMMU, and what is in one of its groups is not kept apart
//! from the rest of that: so a group goes as a whole to one guest, or not at all. Bridges between buses in it do not count,
//! nor do others that no driver has.

use std::collections::BTreeMap;
use std::str::FromStr;

use skerry_model::{Id, MacAddress, Name, PciAddress, PciGiven, Vm, VmPci};

use crate::VirtualWish;

/// A PCI function as the machine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciFunction {
    /// Its address.
    pub address: PciAddress,
    /// Class, subclass and interface, six hex digits.
    pub class: String,
    /// Maker, four hex digits.
    pub vendor_id: String,
    /// Model, four hex digits.
    pub device_id: String,
    /// Maker's and model's names, where they are known.
    pub vendor: Option<String>,
    /// See above.
    pub model: Option<String>,
    /// The kernel's driver that has it now.
    pub driver: Option<String>,
    /// Its IOMMU group, if the machine has an IOMMU that is on.
    pub iommu_group: Option<u32>,
    /// The function that it is a virtual one of.
    pub parent: Option<PciAddress>,
    /// Which of that function's virtual ones it is, from 0.
    pub number: Option<u32>,
    /// How many virtual functions it has.
    pub virtual_functions: u32,
    /// How many it can have.
    pub most_virtual: u32,
    /// The NUMA node that it is attached to, if the machine says.
    pub numa_node: Option<u32>,
    /// Name of its network device, if its driver has made one.
    pub nic: Option<String>,
    /// What the node needs it for, such as `is the network card eth0, which carries the node's own traffic`.
    pub needed: Option<String>,
}

impl PciFunction {
    fn is_bridge(&self) -> bool {
        self.class.starts_with("06")
    }

    /// Whether it lets its neighbours go to a guest without it. A bridge between buses does; one to other things, such as
    /// serial lines and timers, moves data by itself if it has a driver.
    fn stands_aside(&self) -> bool {
        let between = ["0604", "0609"].iter().any(|class| self.class.starts_with(class));
        self.is_bridge() && (between || self.driver.is_none())
    }

    /// Whether it is a network card that a physical function has made, and which that can be told the address of.
    fn is_virtual_card(&self) -> bool {
        self.parent.is_some() && self.class.starts_with("02")
    }

    /// Why it cannot be given away, whatever its neighbours are.
    fn kept(&self) -> Option<String> {
        if self.is_bridge() {
            return Some("is a bridge to others".to_owned());
        }
        if let Some(needed) = &self.needed {
            return Some(format!("the node needs it: it {needed}"));
        }
        let count = self.virtual_functions;
        (count > 0).then(|| {
            format!("has {count} virtual functions, which would be gone: give away those instead")
        })
    }
}

/// Whether a function can be given to a guest: with what else, which is in one IOMMU group with it; or why not.
pub fn explain<'a>(
    all: &'a [PciFunction],
    function: &PciFunction,
) -> Result<Vec<&'a PciFunction>, String> {
    if let Some(why) = function.kept() {
        return Err(why);
    }
    let Some(group) = function.iommu_group else {
        return Err(
            "the machine has no IOMMU, or it is off: switch on VT-d or AMD-Vi in its firmware"
                .to_owned(),
        );
    };
    let mates = all.iter().filter(|other| {
        other.iommu_group == Some(group)
            && other.address != function.address
            && !other.stands_aside()
    });
    let mates: Vec<_> = mates.collect();
    for mate in &mates {
        let address = &mate.address;
        if function.parent.as_ref() == Some(address) {
            return Err(format!(
                "shares its IOMMU group {group} with {address}, whose virtual function it is: \
                 the slot does not keep them apart (ACS); another slot may"
            ));
        }
        if let Some(why) = mate.kept() {
            return Err(format!(
                "shares its IOMMU group {group} with {address}, which cannot be given away: {why}"
            ));
        }
    }
    Ok(mates)
}

/// What the members of a group of functions have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PciMatch {
    /// The function at this address.
    Address(PciAddress),
    /// All of one model, by the ids of maker and model.
    Model(String, String),
    /// The virtual functions of this one.
    VirtualOf(PciAddress),
}

/// A text that says nothing of what functions have in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither an address such as 0000:01:00.0, nor maker and model such as 10de:2236, nor vf: and an address"
)]
pub struct PciMatchError(String);

impl FromStr for PciMatch {
    type Err = PciMatchError;

    fn from_str(text: &str) -> Result<Self, PciMatchError> {
        let wrong = || PciMatchError(text.chars().take(40).collect());
        if let Some(parent) = text.strip_prefix("vf:") {
            return parent.parse().map(Self::VirtualOf).map_err(|_| wrong());
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let id = |id: &str| id.len() == 4 && id.chars().all(|c| c.is_ascii_hexdigit());
        match text.split_once(':') {
            Some((vendor, device)) if id(vendor) && id(device) => {
                Ok(Self::Model(vendor.to_ascii_lowercase(), device.to_ascii_lowercase()))
            }
            _ => Err(wrong()),
        }
    }
}

impl PciMatch {
    fn holds(&self, function: &PciFunction) -> bool {
        match self {
            Self::Address(address) => *address == function.address,
            Self::Model(vendor, device) => {
                *vendor == function.vendor_id && *device == function.device_id
            }
            Self::VirtualOf(parent) => function.parent.as_ref() == Some(parent),
        }
    }
}

/// Groups of functions by name, as the node's settings list them.
pub type PciGroups = BTreeMap<Name, Vec<PciMatch>>;

/// The machine's functions, the groups, and who has which of them.
#[derive(Debug, Clone, Default)]
pub struct PciHeld {
    /// All functions.
    pub functions: Vec<PciFunction>,
    /// The groups.
    pub groups: PciGroups,
    /// What the settings say of virtual functions.
    pub virtual_wishes: Vec<VirtualWish>,
    /// Names of the machines that have one.
    pub taken: BTreeMap<PciAddress, String>,
    /// Ethernet addresses of virtual functions, and the machines that have them.
    pub macs: BTreeMap<MacAddress, String>,
}

/// What functions a machine asks for.
#[derive(Debug, Clone, Copy)]
pub struct PciAsk<'a> {
    /// Its wishes.
    pub wishes: &'a [VmPci],
    /// What it had the last time, which it has again if that is free.
    pub former: &'a [PciGiven],
    /// The NUMA nodes of its processors and memory; none if it runs anywhere.
    pub near: &'a [u32],
    /// The machine, if there is one already.
    pub vm: Option<Id<Vm>>,
}

impl<'a> PciAsk<'a> {
    /// These wishes of a machine that there is not yet.
    pub const fn new(wishes: &'a [VmPci]) -> Self {
        Self { wishes, former: &[], near: &[], vm: None }
    }
}

impl PciHeld {
    /// Notes what a machine has.
    pub fn take(&mut self, who: &str, given: &[PciGiven]) {
        self.taken.extend(given.iter().map(|given| (given.address.clone(), who.to_owned())));
        let macs = given.iter().filter_map(|given| given.mac);
        self.macs.extend(macs.map(|mac| (mac, who.to_owned())));
    }

    /// Names of the groups that a function belongs to.
    pub fn groups_of(&self, function: &PciFunction) -> Vec<String> {
        let own = |matches: &[PciMatch]| matches.iter().any(|one| one.holds(function));
        let groups = self.groups.iter().filter(|(_, matches)| own(matches));
        groups.map(|(name, _)| name.to_string()).collect()
    }

    /// The functions for these wishes, with all that goes along; or why there are none. From a group, what is near the
    /// machine's processors and memory goes first; then what it had the last time.
    pub fn choose(&self, ask: &PciAsk<'_>) -> Result<Vec<PciGiven>, String> {
        let wishes = ask.wishes;
        let mut chosen: Vec<Option<&PciFunction>> = vec![None; wishes.len()];
        let mut faults = Vec::new();
        // Whoever names an address has no choice.
        for named in [true, false] {
            for (index, wish) in wishes.iter().enumerate() {
                if wish.address.is_some() != named {
                    continue;
                }
                let found = self.one(wish, &chosen, ask);
                match found.and_then(|found| self.suits(wish, found).map(|()| found)) {
                    Ok(function) => {
                        if let Some(place) = chosen.get_mut(index) {
                            *place = Some(function);
                        }
                    }
                    Err(why) => faults.push(why),
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults.join("; "));
        }
        Ok(self.with_mates(ask, &chosen.into_iter().flatten().collect::<Vec<_>>()))
    }

    /// Whether a function can be what is wished of it beyond being there.
    fn suits(&self, wish: &VmPci, function: &PciFunction) -> Result<(), String> {
        if (wish.mac.is_some() || wish.vlan.is_some()) && !function.is_virtual_card() {
            return Err(format!(
                "{} is no virtual function of a network card, which alone can be given `mac` and `vlan`: leave them out",
                function.address
            ));
        }
        match wish.mac.and_then(|mac| Some((mac, self.macs.get(&mac)?))) {
            Some((mac, who)) => {
                Err(format!("the Ethernet address {mac} is that of the machine `{who}`"))
            }
            None => Ok(()),
        }
    }

    fn one(
        &self,
        wish: &VmPci,
        chosen: &[Option<&PciFunction>],
        ask: &PciAsk<'_>,
    ) -> Result<&PciFunction, String> {
        let free = |function: &&PciFunction| self.free(function);
        let Some(group) = &wish.group else {
            let found =
                self.functions.iter().find(|one| Some(&one.address) == wish.address.as_ref());
            let shown = wish.address.as_ref().map(PciAddress::as_str).unwrap_or_default();
            let found = found.ok_or_else(|| format!("there is no PCI function {shown}"))?;
            return free(&found).map(|()| found).map_err(|why| format!("{shown} {why}"));
        };
        let Some(matches) = self.groups.get(group) else {
            return Err(format!(
                "there is no group `{group}` of PCI functions: list it in the node's settings"
            ));
        };
        let of_group = |function: &&PciFunction| matches.iter().any(|one| one.holds(function));
        let mut members: Vec<_> = self.functions.iter().filter(of_group).collect();
        let had = |function: &&PciFunction| {
            ask.former.iter().any(|one| one.address == function.address && one.group.is_some())
        };
        // One of which the machine does not say where it is attached is far from nothing.
        let far = |function: &&PciFunction| {
            !ask.near.is_empty() && function.numa_node.is_some_and(|node| !ask.near.contains(&node))
        };
        members.sort_by_key(|function| (far(function), !had(function)));
        let mut faults = Vec::new();
        for function in members {
            if chosen.iter().flatten().any(|one| one.address == function.address) {
                faults.push(format!("{} is asked for already", function.address));
                continue;
            }
            match free(&function) {
                Ok(()) => return Ok(function),
                Err(why) => faults.push(format!("{} {why}", function.address)),
            }
        }
        let why = if faults.is_empty() { "it has none".to_owned() } else { faults.join(", ") };
        Err(format!("no PCI function of the group `{group}` is free: {why}"))
    }

    fn free(&self, function: &PciFunction) -> Result<(), String> {
        let mates = explain(&self.functions, function)?;
        for one in [function].into_iter().chain(mates) {
            if let Some(who) = self.taken.get(&one.address) {
                return Err(match one.address == function.address {
                    true => format!("is in use by the machine `{who}`"),
                    false => format!(
                        "shares its IOMMU group with {}, which is in use by the machine `{who}`",
                        one.address
                    ),
                });
            }
        }
        Ok(())
    }

    fn with_mates(&self, ask: &PciAsk<'_>, chosen: &[&PciFunction]) -> Vec<PciGiven> {
        let mut given: Vec<_> = ask
            .wishes
            .iter()
            .zip(chosen)
            .enumerate()
            .map(|(index, (wish, function))| self.given(ask.vm, index, wish, function))
            .collect();
        for function in chosen {
            for mate in explain(&self.functions, function).unwrap_or_default() {
                if given.iter().all(|one| one.address != mate.address) {
                    given.push(PciGiven { along: true, ..plainly(mate, None) });
                }
            }
        }
        given
    }

    fn given(
        &self,
        vm: Option<Id<Vm>>,
        index: usize,
        wish: &VmPci,
        function: &PciFunction,
    ) -> PciGiven {
        let plain = plainly(function, wish.group.clone());
        if !function.is_virtual_card() {
            return plain;
        }
        let of = |setting: &&VirtualWish| Some(&setting.of) == function.parent.as_ref();
        let usual = self.virtual_wishes.iter().find(of).and_then(|setting| setting.vlan);
        PciGiven {
            mac: wish.mac.or_else(|| vm.map(|vm| own_address(vm, index))),
            vlan: wish.vlan.or(usual),
            ..plain
        }
    }
}

fn plainly(function: &PciFunction, group: Option<Name>) -> PciGiven {
    PciGiven {
        virtual_function_of: function.parent.clone(),
        numa_node: function.numa_node,
        ..PciGiven::new(function.address.clone(), group)
    }
}

/// The Ethernet address for the function at this place in a machine's list: always the same, and another one for every
/// machine, as their ids are random.
fn own_address(vm: Id<Vm>, index: usize) -> MacAddress {
    let [.., a, b, c, d, e] = *vm.uuid().as_bytes();
    let place = u8::try_from(index).unwrap_or(u8::MAX);
    MacAddress::local([a, b, c, d, e ^ place])
}

#[cfg(test)]
#[path = "pci_tests.rs"]
pub(crate) mod tests;
