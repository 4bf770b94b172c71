//! What the firmware says of the machine (SMBIOS), through the kernel's `/sys/class/dmi/id` and its copy of the table.
//!
//! The table is bytes from outside: every offset is checked, and what does not fit is left out.

use skerry_upkeep::{BiosInfo, BoardInfo, MemoryModule, SystemInfo};

use crate::roots::{Roots, bytes, text};

/// What makers write when they have nothing to say, in lower case.
const PLACEHOLDERS: [&str; 14] = [
    "",
    "0",
    "0123456789",
    "123456789",
    "default string",
    "n/a",
    "none",
    "not available",
    "not specified",
    "system manufacturer",
    "system product name",
    "system serial number",
    "to be filled by o.e.m.",
    "unknown",
];

fn said(text: Option<String>) -> Option<String> {
    text.filter(|text| !PLACEHOLDERS.contains(&text.to_lowercase().as_str()))
}

/// The machine and its firmware.
pub(crate) fn system(roots: &Roots, cpu_flags: &[String]) -> SystemInfo {
    let id = |name: &str| said(text(roots.sys.join("class/dmi/id").join(name)));
    let vendor = id("sys_vendor");
    let product = id("product_name");
    SystemInfo {
        virtualization: virtualization(vendor.as_deref(), product.as_deref(), cpu_flags),
        vendor,
        product,
        version: id("product_version"),
        serial: id("product_serial"),
        uuid: id("product_uuid"),
        asset_tag: id("chassis_asset_tag"),
        bios: BiosInfo {
            vendor: id("bios_vendor"),
            version: id("bios_version"),
            date: id("bios_date"),
        },
    }
}

/// The mainboard, without the profile, which the machine does not know.
pub(crate) fn board(roots: &Roots) -> BoardInfo {
    let id = |name: &str| said(text(roots.sys.join("class/dmi/id").join(name)));
    BoardInfo {
        vendor: id("board_vendor"),
        product: id("board_name"),
        version: id("board_version"),
        serial: id("board_serial"),
        profile: None,
    }
}

fn virtualization(
    vendor: Option<&str>,
    product: Option<&str>,
    cpu_flags: &[String],
) -> Option<String> {
    let (vendor, product) = (vendor.unwrap_or_default(), product.unwrap_or_default());
    let known = match () {
        () if product.contains("KVM") => Some("kvm"),
        () if vendor.contains("QEMU") => Some("qemu"),
        () if vendor.contains("VMware") => Some("vmware"),
        () if vendor.contains("Microsoft") && product.contains("Virtual Machine") => {
            Some("microsoft")
        }
        () if vendor.contains("innotek") || product.contains("VirtualBox") => Some("oracle"),
        () if vendor.contains("Xen") => Some("xen"),
        () if cpu_flags.iter().any(|flag| flag == "hypervisor") => Some("other"),
        () => None,
    };
    known.map(str::to_owned)
}

/// The memory modules, where the kernel lets us see the table (root only).
pub(crate) fn memory_modules(roots: &Roots) -> Vec<MemoryModule> {
    let table = bytes(roots.sys.join("firmware/dmi/tables/DMI")).unwrap_or_default();
    structures(&table).into_iter().filter_map(|structure| structure.memory_module()).collect()
}

/// One structure of the table: a fixed part and its strings (DSP0134 6.1.2, 6.1.3).
struct Structure<'a> {
    fixed: &'a [u8],
    strings: Vec<&'a [u8]>,
}

fn structures(table: &[u8]) -> Vec<Structure<'_>> {
    let mut found = Vec::new();
    let mut rest = table;
    // The fixed part's length stands in its second byte and counts its own header of four.
    while let Some(length) = rest.get(1).map(|length| usize::from(*length)) {
        let (Some(fixed), Some(after)) = (rest.get(..length), rest.get(length..)) else { break };
        let Some(end) = after.windows(2).position(|pair| pair == [0, 0]) else { break };
        if length < 4 {
            break;
        }
        let strings = after.get(..end).unwrap_or_default().split(|byte| *byte == 0).collect();
        found.push(Structure { fixed, strings });
        rest = after.get(end.saturating_add(2)..).unwrap_or_default();
    }
    found
}

impl Structure<'_> {
    fn u8(&self, at: usize) -> Option<u8> {
        self.fixed.get(at).copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes([self.u8(at)?, self.u8(at.checked_add(1)?)?]))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let high = self.u16(at.checked_add(2)?)?;
        Some(u32::from(self.u16(at)?) | u32::from(high) << 16)
    }

    /// The string whose number, from 1, stands at this place.
    fn string(&self, at: usize) -> Option<String> {
        let index = usize::from(self.u8(at)?).checked_sub(1)?;
        let text = String::from_utf8_lossy(self.strings.get(index)?);
        let clean: String = text.chars().filter(|c| !c.is_control()).collect();
        said(Some(clean.trim().to_owned()))
    }

    /// A type 17 structure (DSP0134 7.18) with something in the slot.
    fn memory_module(&self) -> Option<MemoryModule> {
        if self.u8(0)? != 17 {
            return None;
        }
        Some(MemoryModule {
            size_bytes: self.memory_size()?,
            locator: self.string(0x10).unwrap_or_default(),
            technology: technology(self.u8(0x12)?).map(str::to_owned),
            speed_mts: self.speed(0x20, 0x58).or_else(|| self.speed(0x15, 0x54)),
            vendor: self.string(0x17),
            serial: self.string(0x18),
            part: self.string(0x1a),
        })
    }

    fn memory_size(&self) -> Option<u64> {
        const MIB: u64 = 1024 * 1024;
        match self.u16(0x0c)? {
            0 | 0xffff => None,
            // Too large for 15 bits: the extended size counts in MiB.
            0x7fff => u64::from(self.u32(0x1c)? & 0x7fff_ffff).checked_mul(MIB),
            kib if kib & 0x8000 != 0 => u64::from(kib & 0x7fff).checked_mul(1024),
            mib => u64::from(mib).checked_mul(MIB),
        }
        .filter(|size| *size > 0)
    }

    fn speed(&self, at: usize, extended: usize) -> Option<u32> {
        match self.u16(at)? {
            0 => None,
            0xffff => self.u32(extended).filter(|speed| *speed > 0),
            speed => Some(u32::from(speed)),
        }
    }
}

fn technology(code: u8) -> Option<&'static str> {
    Some(match code {
        0x07 => "RAM",
        0x0f => "SDRAM",
        0x12 => "DDR",
        0x13 => "DDR2",
        0x18 => "DDR3",
        0x1a => "DDR4",
        0x1b => "LPDDR",
        0x1c => "LPDDR2",
        0x1d => "LPDDR3",
        0x1e => "LPDDR4",
        0x20 => "HBM",
        0x21 => "HBM2",
        0x22 => "DDR5",
        0x23 => "LPDDR5",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A type 17 structure of SMBIOS 3.2 length with four strings.
    fn module(size: u16, extended: u32) -> Vec<u8> {
        let mut fixed = vec![0_u8; 0x54];
        fixed[0] = 17;
        fixed[1] = 0x54;
        fixed[0x0c..0x0e].copy_from_slice(&size.to_le_bytes());
        fixed[0x10] = 1;
        fixed[0x12] = 0x1a;
        fixed[0x15..0x17].copy_from_slice(&3200_u16.to_le_bytes());
        fixed[0x17] = 2;
        fixed[0x18] = 3;
        fixed[0x1a] = 4;
        fixed[0x1c..0x20].copy_from_slice(&extended.to_le_bytes());
        fixed.extend_from_slice(b"DIMM A1\0Northmem\0Not Specified\0NM-16G \0\0");
        fixed
    }

    #[test]
    fn modules_are_read_and_empty_slots_left_out() {
        let mut table = vec![16, 4, 0, 0, 0, 0];
        table.extend(module(16384, 0));
        table.extend(module(0, 0));
        table.extend(module(0x7fff, 64 * 1024));
        let found: Vec<_> =
            structures(&table).into_iter().filter_map(|s| s.memory_module()).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].size_bytes, 16 << 30);
        assert_eq!(found[0].locator, "DIMM A1");
        assert_eq!(found[0].technology.as_deref(), Some("DDR4"));
        assert_eq!(found[0].speed_mts, Some(3200));
        assert_eq!(found[0].vendor.as_deref(), Some("Northmem"));
        assert_eq!(found[0].serial, None, "a placeholder is nothing");
        assert_eq!(found[0].part.as_deref(), Some("NM-16G"));
        assert_eq!(found[1].size_bytes, 64 << 30);
    }

    #[test]
    fn makers_of_virtual_machines_are_known() {
        let hypervisor = ["hypervisor".to_owned()];
        let of = |vendor, product, flags| virtualization(Some(vendor), Some(product), flags);
        assert_eq!(of("QEMU", "Standard PC (Q35)", &hypervisor).as_deref(), Some("qemu"));
        assert_eq!(of("Acme", "Rack 1", &hypervisor).as_deref(), Some("other"));
        assert_eq!(of("Acme", "Rack 1", &[]), None);
        assert_eq!(virtualization(None, None, &[]), None);
    }

    proptest! {
        #[test]
        fn no_table_panics(table in proptest::collection::vec(any::<u8>(), 0..600)) {
            for structure in structures(&table) {
                let _ = structure.memory_module();
            }
        }

        #[test]
        fn no_cut_or_changed_table_panics(cut in 0_usize..200, at in 0_usize..200, value: u8) {
            let mut table = module(16384, 7);
            if let Some(byte) = table.get_mut(at) {
                *byte = value;
            }
            table.truncate(cut);
            for structure in structures(&table) {
                let _ = structure.memory_module();
            }
        }
    }
}
