//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The Ethernet address of one network card: six pairs of lower-case hex digits, such as `02:00:00:00:00:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

/// A text that is no address of one network card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no Ethernet address of one card: write six pairs of hex digits, such as 02:00:00:00:00:01, the first even"
)]
pub struct MacAddressError;

impl MacAddress {
    /// An address of the kind that nobody's maker has given out, from five bytes.
    pub const fn local([a, b, c, d, e]: [u8; 5]) -> Self {
        Self([0x02, a, b, c, d, e])
    }

    /// Its bytes.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(MacAddressError)?;
            // A sign would be read as part of a number.
            let digits = part.bytes().all(|byte| byte.is_ascii_hexdigit());
            let number = u8::from_str_radix(part, 16).ok().filter(|_| digits);
            *octet = number.ok_or(MacAddressError)?;
        }
        let [first, ..] = octets;
        // The lowest bit of the first byte stands for groups of cards.
        let one_card = first & 1 == 0 && octets != [0; 6];
        (one_card && parts.next().is_none()).then_some(Self(octets)).ok_or(MacAddressError)
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacAddressError;

    fn try_from(text: String) -> Result<Self, MacAddressError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_of_one_card_have_one_form() {
        let address: MacAddress = "3C:fd:FE:00:00:0a".parse().unwrap();
        assert_eq!(address.to_string(), "3c:fd:fe:00:00:0a");
        assert_eq!(MacAddress::local([0, 0, 0, 0, 9]).to_string(), "02:00:00:00:00:09");
        for bad in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "02-00-00-00-00-01",
            "00:00:00:00:00:00",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "+2:00:00:00:00:01",
            "2:0:0:0:0:1",
        ] {
            assert_eq!(bad.parse::<MacAddress>(), Err(MacAddressError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_reads_again(text in "\\PC{0,20}") {
            if let Ok(address) = text.parse::<MacAddress>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
