//! Virtual functions that the node makes: which the settings ask for, whether they can be made now, and what the cards are
//! told of those that guests have.
//!
//! Pure. A card makes all of its virtual functions anew when their number changes, so that is done while no machine has one.

use skerry_model::{MacAddress, Name, PciAddress, PciGiven};

use crate::{PciFunction, PciHeld};

/// Virtual functions that the node's settings ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualWish {
    /// The physical function.
    pub of: PciAddress,
    /// How many.
    pub count: u32,
    /// The group that they belong to.
    pub group: Name,
    /// The VLAN of those whose machine names none; none if absent.
    pub vlan: Option<u16>,
    /// Whether guests may send from their own Ethernet addresses alone.
    pub spoof_check: bool,
    /// Whether guests may change their Ethernet addresses and hear what is not meant for them.
    pub trust: bool,
}

/// What has to be done for a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VirtualPlan {
    /// Nothing: there are as many as asked for.
    Kept,
    /// They have to be made; those that there are go.
    Make,
}

/// What became of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualReport {
    /// The physical function.
    pub of: PciAddress,
    /// Whether there are as many as asked for.
    pub good: bool,
    /// A sentence for people that begins with the function's address.
    pub message: String,
}

/// What a card is to know of a virtual function that a guest gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualCard {
    /// Name of the network device of the physical function.
    pub nic: String,
    /// Which of its virtual functions, from 0.
    pub number: u32,
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// Its VLAN; none if absent.
    pub vlan: Option<u16>,
    /// See [`VirtualWish`].
    pub spoof_check: bool,
    /// See [`VirtualWish`].
    pub trust: bool,
}

/// What the machine refused to do with virtual functions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct VirtualError(pub String);

impl VirtualWish {
    /// What has to be done, or why that cannot be.
    pub fn plan(&self, held: &PciHeld) -> Result<VirtualPlan, String> {
        let (of, count) = (&self.of, self.count);
        let function = held.functions.iter().find(|one| one.address == *of);
        let function = function.ok_or("is not there: correct `of` in the node's settings")?;
        if let Some(parent) = &function.parent {
            return Err(format!("is itself a virtual function, of {parent}: name that"));
        }
        if let Some(who) = held.taken.get(of) {
            return Err(format!("is in use as a whole by the machine `{who}`"));
        }
        let (most, present) = (function.most_virtual, function.virtual_functions);
        if most == 0 {
            let why = "has no SR-IOV, so it can have no virtual functions; if its maker says otherwise, switch SR-IOV on in the firmware";
            return Err(why.to_owned());
        }
        if count > most {
            return Err(format!(
                "can have {most} virtual functions at most, and {count} are asked for: lower `count` in the node's settings"
            ));
        }
        if present == count {
            return Ok(VirtualPlan::Kept);
        }
        if function.driver.is_none() {
            return Err("has no driver that could make virtual functions".to_owned());
        }
        match in_the_way(held, of) {
            Some(what) => Err(format!(
                "has {present} virtual functions, and {count} are asked for: all are made anew, so they stay until {what}"
            )),
            None => Ok(VirtualPlan::Make),
        }
    }
}

/// What must end before the virtual functions of this one may go.
fn in_the_way(held: &PciHeld, of: &PciAddress) -> Option<String> {
    let parts = || held.functions.iter().filter(|one| one.parent.as_ref() == Some(of));
    let mut users: Vec<&str> =
        parts().filter_map(|one| held.taken.get(&one.address)).map(String::as_str).collect();
    users.sort_unstable();
    users.dedup();
    if !users.is_empty() {
        return Some(format!("these machines are off: `{}`", users.join("`, `")));
    }
    let needed = parts().find_map(|one| one.needed.as_ref().map(|why| (&one.address, why)));
    needed.map(|(address, why)| format!("the node needs {address} no more, which {why}"))
}

/// What is said of a physical function's virtual ones. `refused` is what the machine said when they were to be made.
pub fn describe(
    wish: Option<&VirtualWish>,
    function: &PciFunction,
    held: &PciHeld,
    refused: Option<&str>,
) -> String {
    let said = match wish.map(|wish| (wish, wish.plan(held))) {
        None => "the node's settings ask for none (`virtual_functions`)".to_owned(),
        Some((wish, Ok(VirtualPlan::Kept))) => {
            format!("as the node's settings ask, in the group `{}`", wish.group)
        }
        Some((_, Ok(VirtualPlan::Make))) => refused.unwrap_or("are about to be made").to_owned(),
        Some((_, Err(why))) => why,
    };
    match &function.needed {
        Some(needed) => {
            format!("{said}; it {needed}, which keeps none of its virtual functions from machines")
        }
        None => said,
    }
}

/// What the cards have to be told before a machine starts with these functions; or why they cannot be told.
pub fn cards(
    given: &[PciGiven],
    held: &PciHeld,
    wishes: &[VirtualWish],
) -> Result<Vec<VirtualCard>, String> {
    let one = |given: &PciGiven| {
        let (parent, mac) = (given.virtual_function_of.as_ref()?, given.mac?);
        Some(card(given, parent, mac, held, wishes))
    };
    given.iter().filter_map(one).collect()
}

fn card(
    given: &PciGiven,
    parent: &PciAddress,
    mac: MacAddress,
    held: &PciHeld,
    wishes: &[VirtualWish],
) -> Result<VirtualCard, String> {
    let find = |address: &PciAddress| held.functions.iter().find(|one| one.address == *address);
    let number = find(&given.address).and_then(|one| one.number);
    let nic = find(parent).and_then(|one| one.nic.clone());
    let (Some(number), Some(nic)) = (number, nic) else {
        return Err(format!(
            "{} is a virtual function of {parent}, which has no network device to tell its Ethernet address",
            given.address
        ));
    };
    let wish = wishes.iter().find(|wish| wish.of == *parent);
    Ok(VirtualCard {
        nic,
        number,
        mac,
        vlan: given.vlan,
        spoof_check: wish.is_none_or(|wish| wish.spoof_check),
        trust: wish.is_some_and(|wish| wish.trust),
    })
}

#[cfg(test)]
#[path = "virtual_functions_tests.rs"]
mod tests;
