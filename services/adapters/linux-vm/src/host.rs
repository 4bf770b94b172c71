//! What this machine can run guests with.

use std::fs::OpenOptions;
use std::path::Path;

use roxmltree::Document;
use skerry_model::Accelerator;

/// The accelerator that works here. KVM only if the processor has the feature *and* the device can be
/// opened: on machines without nested virtualization the device may exist, and guests hang in it.
pub fn usable_accelerator() -> Accelerator {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let device = OpenOptions::new().read(true).write(true).open(Path::new("/dev/kvm"));
    if has_virtualization(&cpuinfo) && device.is_ok() {
        Accelerator::Kvm
    } else {
        Accelerator::Emulation
    }
}

fn has_virtualization(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

/// The versioned machine type behind `q35`, from libvirt's capabilities.
pub fn newest_q35(capabilities: &str) -> Option<String> {
    let document = Document::parse(capabilities).ok()?;
    let machine = document
        .descendants()
        .filter(|node| node.has_tag_name("arch") && node.attribute("name") == Some("x86_64"))
        .flat_map(|arch| arch.descendants())
        .find(|node| node.has_tag_name("machine") && node.text() == Some("q35"))?;
    machine.attribute("canonical").map(str::to_owned)
}

/// libvirt packs versions as major * 1,000,000 + minor * 1,000 + release.
pub fn version(packed: u32) -> String {
    format!("{}.{}.{}", packed / 1_000_000, packed / 1000 % 1000, packed % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alias_is_resolved() {
        let capabilities = "<capabilities><guest><arch name='i686'>\
            <machine canonical='pc-q35-1.0'>q35</machine></arch></guest>\
            <guest><arch name='x86_64'><machine maxCpus='255'>pc-i440fx-10.0</machine>\
            <machine canonical='pc-q35-10.0' maxCpus='288'>q35</machine></arch></guest>\
            </capabilities>";
        assert_eq!(newest_q35(capabilities).as_deref(), Some("pc-q35-10.0"));
        assert_eq!(newest_q35("<capabilities/>"), None);
        assert_eq!(newest_q35("no xml"), None);
    }

    #[test]
    fn the_processor_flag_counts_and_not_a_part_of_a_word() {
        assert!(has_virtualization("model name : x\nflags\t\t: fpu vmx sse\n"));
        assert!(has_virtualization("flags : svm"));
        assert!(!has_virtualization("flags : fpu vmx_like\nmodel name: svm\n"));
    }

    #[test]
    fn versions_are_unpacked() {
        assert_eq!(version(11_003_000), "11.3.0");
    }
}
