//! The mark by which our domains are known: an element in libvirt's metadata.

use roxmltree::Document;
use skerry_compute::{DomainDefinition, Fingerprint};
use skerry_model::{Id, Vm};

use crate::xml::Element;

/// Name space of the element. A name, not an address.
pub const NAMESPACE: &str = "urn:skerry:vm:1";

/// What the element says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Which machine the domain is.
    pub vm: Id<Vm>,
    /// Digest of the definition that the domain was made from.
    pub fingerprint: Fingerprint,
}

/// The element for a definition.
pub fn element(definition: &DomainDefinition) -> Element {
    Element::new("skerry:vm")
        .attribute("xmlns:skerry", NAMESPACE)
        .attribute("id", definition.vm)
        .attribute("generation", definition.generation)
        .attribute("definition", definition.fingerprint().as_str())
}

/// Reads the element as libvirt gives it back. `None` if it is not one of ours.
pub fn read(text: &str) -> Option<Label> {
    let document = Document::parse(text).ok()?;
    let root = document.root_element();
    let vm = root.attribute("id")?.parse().ok()?;
    let fingerprint = Fingerprint::recorded(root.attribute("definition").unwrap_or_default());
    (root.tag_name().name() == "vm").then_some(Label { vm, fingerprint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_label_of_ours_is_read() {
        let id = "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c";
        let label = read(&format!("<vm id='{id}' generation='3' definition='abc'/>")).unwrap();
        assert_eq!(label.vm.to_string(), id);
        assert_eq!(label.fingerprint, Fingerprint::recorded("abc"));
        let bare = read(&format!("<vm id='{id}'/>")).unwrap();
        assert_eq!(bare.fingerprint, Fingerprint::recorded(""), "leads to a new definition");
        for other in ["", "<vm/>", "<vm id='x'/>", &format!("<other id='{id}'/>"), "<vm"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
