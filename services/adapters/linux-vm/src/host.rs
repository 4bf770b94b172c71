//! What libvirt says about itself.

use roxmltree::Document;

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
    fn versions_are_unpacked() {
        assert_eq!(version(11_003_000), "11.3.0");
    }
}
